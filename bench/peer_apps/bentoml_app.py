"""A model's server as people write it with BentoML: bentoml serve bentoml_app:Models."""

import bentoml
import onnx_model


@bentoml.service(logging={"access": {"enabled": False}})
class Models:
    def __init__(self):
        self.models = {name: onnx_model.Model(name) for name in onnx_model.MODELS}

    def infer(self, name, inputs):
        return onnx_model.to_json(name, self.models[name].run(onnx_model.from_json(inputs)))

    @bentoml.api(route="/v2/models/simple/infer")
    def simple(self, inputs: list[dict]) -> dict:
        return self.infer("simple", inputs)

    @bentoml.api(route="/v2/models/densenet_onnx/infer")
    def densenet(self, inputs: list[dict]) -> dict:
        return self.infer("densenet_onnx", inputs)
