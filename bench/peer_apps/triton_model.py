"""A model of Triton's python backend in ONNX Runtime."""

import json
import os
import sys

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.append(os.environ["PEER_APPS"])
import onnx_model


class TritonPythonModel:
    def initialize(self, args):
        self.model = onnx_model.Model(args["model_name"])
        config = json.loads(args["model_config"])
        self.inputs = [each["name"] for each in config["input"]]
        self.batched = config["max_batch_size"] > 0
        self.shapes = {each["name"]: each["dims"] for each in config["output"]}

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        # DLPack instead of as_numpy(): this backend was built for numpy 1, whose arrays numpy 2 misreads.
        inputs = {name: np.from_dlpack(pb_utils.get_input_tensor_by_name(request, name)) for name in self.inputs}
        outputs = self.model.run(inputs)
        if not self.batched:  # the runtime's model has a batch of one
            outputs = {name: array.reshape(self.shapes[name]) for name, array in outputs.items()}
        return pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack(name, array) for name, array in outputs.items()])
