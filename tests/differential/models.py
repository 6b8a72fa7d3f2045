"""The same models twice: for Triton's python backend, and as ONNX for Hippocamp."""

import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import model_builder

PRELUDE = """\
import numpy as np
import triton_python_backend_utils as pb_utils


def ask(request, name):
    return pb_utils.get_input_tensor_by_name(request, name)


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            try:
                answers.append(pb_utils.InferenceResponse(self.run(request)))
            except Exception as failure:
                answers.append(pb_utils.InferenceResponse([], pb_utils.TritonError(str(failure))))
        return answers

"""

IDENTITY = """\
    def run(self, request):
        return [pb_utils.Tensor("OUTPUT0", ask(request, "INPUT0").as_numpy())]
"""

IDENTITY_BF16 = """\
    def run(self, request):
        return [pb_utils.Tensor.from_dlpack("OUTPUT0", ask(request, "INPUT0").to_dlpack())]
"""

SIMPLE = """\
    def run(self, request):
        a, b = (ask(request, name).as_numpy() for name in ("INPUT0", "INPUT1"))
        return [pb_utils.Tensor("OUTPUT0", a + b), pb_utils.Tensor("OUTPUT1", a - b)]
"""

SIMPLE_STRING = """\
    def run(self, request):
        a, b = (ask(request, name).as_numpy().astype(np.int32) for name in ("INPUT0", "INPUT1"))
        return [pb_utils.Tensor(name, np.array([str(x).encode() for x in values.ravel()], dtype=object)
                                .reshape(values.shape))
                for name, values in (("OUTPUT0", a + b), ("OUTPUT1", a - b))]
"""

GATHER = """\
    def run(self, request):
        return [pb_utils.Tensor("OUTPUT0", ask(request, "INPUT0").as_numpy()[ask(request, "INDEX").as_numpy()])]
"""

# Decoupled: as many answers as the input has elements, then the end. Hippocamp has no such models: for the record only.
DECOUPLED = """\
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            values = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
            for value in values:
                if value < 0:
                    sender.send(pb_utils.InferenceResponse([], pb_utils.TritonError("it is negative")))
                else:
                    sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", np.array([value]))]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        return None
"""


@dataclass
class Model:
    inputs: dict                 # {name: (datatype, dims)}
    outputs: dict
    python: str
    onnx: object = None          # makes the ONNX model
    batch: int = 0
    versions: tuple = (1,)
    extra: str = ""
    files: dict = field(default_factory=dict)


def row(datatype, dims=(-1,)):
    return {"INPUT0": (datatype, dims)}, {"OUTPUT0": (datatype, dims)}


def identity_onnx(datatype, shape):
    return lambda: model_builder.build("identity", [("Identity", "INPUT0", "OUTPUT0")],
                                       {"INPUT0": (datatype, shape)}, {"OUTPUT0": (datatype, shape)})


PAIR = {"INPUT0": ("INT32", (16,)), "INPUT1": ("INT32", (16,))}, {"OUTPUT0": ("INT32", (16,)), "OUTPUT1": ("INT32", (16,))}
STRINGS = tuple({name: ("BYTES", (16,)) for name in part} for part in PAIR)
CACHE = "response_cache { enable: true }\n"

MAIN = {
    "simple": Model(*PAIR, SIMPLE, model_builder.simple, 8),
    "simple_string": Model(*STRINGS, SIMPLE_STRING, model_builder.simple_string, 8),
    "cached": Model(*PAIR, SIMPLE, model_builder.simple, 8, extra=CACHE),
    "counted": Model(*PAIR, SIMPLE, model_builder.simple, 8),
    "counted_cached": Model(*PAIR, SIMPLE, model_builder.simple, 8, extra=CACHE),
    **{f"identity_{datatype}": Model(*row(datatype), IDENTITY_BF16 if datatype == "BF16" else IDENTITY,
                                     identity_onnx(datatype, ["batch", "n"]), 8)
       for datatype in model_builder.DATATYPES},
    "nobatch": Model(*row("FP32"), IDENTITY, identity_onnx("FP32", ["n"])),
    "bytes_one": Model(*row("BYTES", (1,)), IDENTITY, identity_onnx("BYTES", [1])),
    "matrix": Model(*row("FP32", (-1, -1)), IDENTITY, identity_onnx("FP32", ["a", "b"])),
    "fixed": Model(*row("FP32", (2, 3)), IDENTITY, identity_onnx("FP32", [2, 3])),
    "labels": Model(*row("FP32", (4,)), IDENTITY, identity_onnx("FP32", ["batch", 4]), 8,
                    files={"labels.txt": "cat\ndog\nbird\n"}),
    "versions": Model(*row("INT32"), IDENTITY, identity_onnx("INT32", ["n"]), versions=(1, 3),
                      extra="version_policy { all { } }\n"),
    "newest": Model(*row("INT32"), IDENTITY, identity_onnx("INT32", ["n"]), versions=(1, 3)),
    "gather": Model({"INPUT0": ("FP32", (-1,)), "INDEX": ("INT64", (-1,))}, {"OUTPUT0": ("FP32", (-1,))}, GATHER,
                    model_builder.gather),
    "decoupled": Model(*row("INT32"), DECOUPLED, extra="model_transaction_policy { decoupled: true }\n"),
}
EXPLICIT = {
    "simple": MAIN["simple"],
    "second": MAIN["newest"],
    "no_version": Model(*PAIR, SIMPLE, model_builder.simple, 8, versions=()),
    "bad_dims": Model(*row("FP32", (0,)), IDENTITY, identity_onnx("FP32", ["n"])),
    "bad_text": Model(*row("FP32"), IDENTITY, identity_onnx("FP32", ["n"]), extra="nonsense: 1\n"),
    "bad_name": Model(*row("FP32"), IDENTITY, identity_onnx("FP32", ["n"]), extra=""),
}


def tensors(kind, those, labels):
    return kind + " [\n" + ",\n".join(
        f'  {{ name: "{name}" data_type: TYPE_{datatype.replace("BYTES", "STRING")} dims: [ {", ".join(map(str, dims))} ]'
        + (' label_filename: "labels.txt"' if labels and kind == "output" else "") + " }"
        for name, (datatype, dims) in those.items()) + "\n]\n"


def write(folder, models, triton):
    """Writes a repository, for the python backend if `triton`, else of ONNX models."""
    for name, model in models.items():
        if not triton and model.onnx is None:
            continue
        place = Path(folder, name)
        place.mkdir(parents=True)
        text = f'name: "{"other" if name == "bad_name" else name}"\n'
        text += 'backend: "python"\n' if triton else 'backend: "onnxruntime"\n'
        text += f"max_batch_size: {model.batch}\n"
        text += tensors("input", model.inputs, model.files) + tensors("output", model.outputs, model.files)
        text += "instance_group [ { count: 1 kind: KIND_CPU } ]\n" + model.extra
        (place / "config.pbtxt").write_text(text)
        for file, content in model.files.items():
            (place / file).write_text(content)
        for version in model.versions:
            (place / str(version)).mkdir()
            if triton:
                whole = model.python if "class " in model.python else PRELUDE + model.python
                (place / str(version) / "model.py").write_text(whole)
            else:
                (place / str(version) / "model.onnx").write_bytes(model.onnx().SerializeToString(deterministic=True))
    return folder


def copy(source, target):
    shutil.copytree(source, target)
    return target
