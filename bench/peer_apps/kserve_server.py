"""A model's server as people write it with KServe's Python SDK: kserve_server.py HTTP_PORT GRPC_PORT."""

import sys

import onnx_model
from kserve import InferOutput, InferResponse, Model, ModelServer


class Onnx(Model):
    def load(self):
        self.model = onnx_model.Model(self.name)
        self.ready = True

    def predict(self, payload, headers=None, response_headers=None):
        response = []
        for name, array in self.model.run({each.name: each.as_numpy() for each in payload.inputs}).items():
            output = InferOutput(name=name, shape=list(array.shape), datatype=onnx_model.NAMES[array.dtype])
            output.set_data_from_numpy(array, binary_data=bool(payload.use_binary_outputs))
            response.append(output)
        return InferResponse(response_id=payload.id or "", model_name=self.name, infer_outputs=response,
                             use_binary_outputs=bool(payload.use_binary_outputs))


if __name__ == "__main__":
    models = [Onnx(name) for name in onnx_model.MODELS]
    for model in models:
        model.load()
    ModelServer(http_port=int(sys.argv[1]), grpc_port=int(sys.argv[2]), workers=1).start(models)
