"""A model's server as people write it with LitServe: litserve_app.py PORT. It takes JSON, or forms."""

import sys

import litserve
import onnx_model


class Api(litserve.LitAPI):
    def __init__(self, name):
        super().__init__(api_path=f"/v2/models/{name}/infer")
        self.name = name

    def setup(self, device):
        self.model = onnx_model.Model(self.name)

    def decode_request(self, request):
        return onnx_model.from_json(request["inputs"])

    def predict(self, inputs):
        return self.model.run(inputs)

    def encode_response(self, outputs):
        return onnx_model.to_json(self.name, outputs)


if __name__ == "__main__":
    litserve.LitServer([Api(name) for name in onnx_model.MODELS], accelerator="cpu").run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
