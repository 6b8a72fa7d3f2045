"""What the servers of bench/peers share: a model in ONNX Runtime, and tensors in KServe v2's JSON and binary forms."""

import json
import os
import sys
from pathlib import Path

import numpy as np

sys.path.append(os.environ["ONNXRUNTIME_PACKAGES"])  # behind the server's own packages
import onnxruntime

TYPES = {"INT32": np.int32, "FP32": np.float32}
NAMES = {np.dtype(kind): name for name, kind in TYPES.items()}
MODELS = ("simple", "densenet_onnx")


class Model:
    def __init__(self, name):
        file = Path(os.environ["MODELS"], name, "1", "model.onnx")
        self.session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        self.shapes = {each.name: [size if isinstance(size, int) else -1 for size in each.shape]
                       for each in self.session.get_inputs()}
        self.outputs = [each.name for each in self.session.get_outputs()]

    def run(self, inputs):
        """{name: array} of the outputs, for {name: array} of the inputs."""
        shaped = {name: array.reshape(self.shapes[name]) for name, array in inputs.items()}
        return dict(zip(self.outputs, self.session.run(None, shaped)))


def from_json(inputs):
    """{name: array} of the list `inputs` of a request in JSON."""
    return {each["name"]: np.array(each["data"], TYPES[each["datatype"]]).reshape(each["shape"]) for each in inputs}


def to_json(model, outputs):
    return {"model_name": model, "outputs": [
        {"name": name, "datatype": NAMES[array.dtype], "shape": list(array.shape), "data": array.ravel().tolist()}
        for name, array in outputs.items()]}


def from_binary(body, length):
    """{name: array} of a body whose JSON, of this length, is followed by the tensors' bytes."""
    inputs, offset = {}, length
    for each in json.loads(body[:length])["inputs"]:
        size = each["parameters"]["binary_data_size"]
        array = np.frombuffer(body, TYPES[each["datatype"]], size // np.dtype(TYPES[each["datatype"]]).itemsize, offset)
        inputs[each["name"]] = array.reshape(each["shape"])
        offset += size
    return inputs


def to_binary(model, outputs):
    """(body, length of its JSON)."""
    header = json.dumps({"model_name": model, "outputs": [
        {"name": name, "datatype": NAMES[array.dtype], "shape": list(array.shape),
         "parameters": {"binary_data_size": array.nbytes}} for name, array in outputs.items()]}).encode()
    return header + b"".join(array.tobytes() for array in outputs.values()), len(header)
