"""A model of MLServer in ONNX Runtime. Over HTTP MLServer takes tensors in JSON only."""

import onnx_model
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Onnx(MLModel):
    async def load(self):
        self.model = onnx_model.Model(self.name)
        return True

    async def predict(self, payload):
        outputs = self.model.run({each.name: NumpyCodec.decode_input(each) for each in payload.inputs})
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=[
            NumpyCodec.encode_output(name, array) for name, array in outputs.items()])
