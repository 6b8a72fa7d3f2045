"""Builds ONNX models for examples and tests. They are the same, byte for byte, on every run."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, checker, helper, numpy_helper
from onnx.backend.test.loader import DATA_DIR

IR_VERSION = 8  # with OPSET, low enough for every onnxruntime since 1.10
OPSET = 13
LIGHT = Path(DATA_DIR, "light")

# The protocol's datatypes and their numbers in ONNX.
DATATYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}


def build(name, nodes, inputs, outputs, constants=None):
    """Makes a model of `nodes`: (operator, inputs, outputs[, attributes]). `inputs` and `outputs`
    are {name: (datatype, shape)}, `constants` is {name: value}."""
    graph = helper.make_graph(
        [helper.make_node(operator, ins.split(), outs.split(), **dict(*attributes))
         for operator, ins, outs, *attributes in nodes],
        name, tensor_infos(inputs), tensor_infos(outputs),
        [numpy_helper.from_array(value, constant)
         for constant, value in (constants or {}).items()])
    return finish(graph, OPSET)


def tensor_infos(tensors):
    return [helper.make_tensor_value_info(name, DATATYPES[datatype], shape)
            for name, (datatype, shape) in tensors.items()]


def finish(graph, opset):
    model = helper.make_model(graph, producer_name="hippocamp", ir_version=IR_VERSION,
                              opset_imports=[helper.make_opsetid("", opset)])
    checker.check_model(model, full_check=True)
    return model


def simple():
    """OUTPUT0 = INPUT0 + INPUT1, OUTPUT1 = INPUT0 - INPUT1."""
    row = ("INT32", ["batch", 16])
    return build("simple",
                 [("Add", "INPUT0 INPUT1", "OUTPUT0"),
                  ("Sub", "INPUT0 INPUT1", "OUTPUT1")],
                 {"INPUT0": row, "INPUT1": row}, {"OUTPUT0": row, "OUTPUT1": row})


def simple_string():
    """As simple(), on decimal strings; fails at run time for one that does not start with a number."""
    row = ("BYTES", ["batch", 16])
    number, text = {"to": TensorProto.INT32}, {"to": TensorProto.STRING}
    return build("simple_string",
                 [("Cast", "INPUT0", "a", number),
                  ("Cast", "INPUT1", "b", number),
                  ("Add", "a b", "sum"),
                  ("Sub", "a b", "difference"),
                  ("Cast", "sum", "OUTPUT0", text),
                  ("Cast", "difference", "OUTPUT1", text)],
                 {"INPUT0": row, "INPUT1": row}, {"OUTPUT0": row, "OUTPUT1": row})


def identity(datatype):
    row = (datatype, ["batch", "n"])
    return build(f"identity_{datatype}", [("Identity", "INPUT0", "OUTPUT0")],
                 {"INPUT0": row}, {"OUTPUT0": row})


def scalar():
    """The sum of all elements: a result without dimensions."""
    return build("scalar", [("ReduceSum", "INPUT0", "OUTPUT0", {"keepdims": 0})],
                 {"INPUT0": ("FP32", ["n"])}, {"OUTPUT0": ("FP32", [])})


def pass_through():
    """One output that is the input itself, one that is computed."""
    return build("pass_through", [("Relu", "X", "Y")],
                 {"X": ("FP32", ["batch", 4])}, {"X": ("FP32", ["batch", 4]), "Y": ("FP32", ["batch", 4])})


def positive():
    """The elements above zero: a result that may be empty."""
    return build("positive",
                 [("Greater", "INPUT0 zero", "mask"),
                  ("Compress", "INPUT0 mask", "OUTPUT0", {"axis": 0})],
                 {"INPUT0": ("FP32", ["n"])}, {"OUTPUT0": ("FP32", ["m"])},
                 {"zero": np.float32(0)})


def nonzero():
    """The indices, [1, m], of the elements that are not zero."""
    return build("nonzero", [("NonZero", "INPUT0", "OUTPUT0")],
                 {"INPUT0": ("FP32", ["n"])}, {"OUTPUT0": ("INT64", [1, "m"])})


def rows_of_three():
    """Fails at run time unless the number of elements is a multiple of three."""
    return build("rows_of_three", [("Reshape", "INPUT0 shape", "OUTPUT0")],
                 {"INPUT0": ("FP32", ["n"])}, {"OUTPUT0": ("FP32", ["m", 3])},
                 {"shape": np.array([-1, 3])})


def gather():
    """INPUT0[INDEX]; fails at run time, at least on the CPU, for an index out of range."""
    return build("gather", [("Gather", "INPUT0 INDEX", "OUTPUT0")],
                 {"INPUT0": ("FP32", ["n"]), "INDEX": ("INT64", ["m"])},
                 {"OUTPUT0": ("FP32", ["m"])})


def add():
    """OUTPUT0 = INPUT0 + INPUT1, rows of any width."""
    row = ("FP32", ["batch", "n"])
    return build("add", [("Add", "INPUT0 INPUT1", "OUTPUT0")], {"INPUT0": row, "INPUT1": row}, {"OUTPUT0": row})


def embedding():
    """Rows of a table of ten; fails at run time, at least on the CPU, for a batch with an index out of range."""
    return build("embedding", [("Gather", "TABLE INDEX", "OUTPUT0")],
                 {"INDEX": ("INT64", ["batch", "n"])}, {"OUTPUT0": ("FP32", ["batch", "n", 4])},
                 {"TABLE": np.arange(40, dtype=np.float32).reshape(10, 4)})


def row_sum():
    """The sum of each row: a result whose only dimension is the batch."""
    return build("row_sum", [("ReduceSum", "INPUT0 axes", "OUTPUT0", {"keepdims": 0})],
                 {"INPUT0": ("FP32", ["batch", "n"])}, {"OUTPUT0": ("FP32", ["batch"])}, {"axes": np.array([1])})


def noise():
    """Random numbers, new in every run: two equal answers come from one run."""
    row = ("FP32", ["batch", "n"])
    return build("noise", [("RandomUniformLike", "INPUT0", "OUTPUT0")], {"INPUT0": row}, {"OUTPUT0": row})


def light_model_names():
    """Names of the onnx package's models of well-known networks, whose weights are constants."""
    return sorted(path.stem.removeprefix("light_") for path in LIGHT.glob("light_*.onnx"))


def light_model(name):
    """The package's model unchanged; its weights are inputs of its graph, too."""
    return onnx.load(LIGHT / f"light_{name}.onnx")


def network_inputs(graph):
    """The inputs of a request: those of the graph but the weights."""
    weights = {weight.name for weight in graph.initializer}
    return [tensor for tensor in graph.input if tensor.name not in weights]


def with_weights(name, seed):
    """The light model with weights that make its answers depend on the input.

    In a light model ConstantOfShape makes the large weights, all 0.02; some small weights of the
    trained network are stored. Here all weights are random and stored.
    """
    source = light_model(name)
    graph = source.graph
    random = np.random.default_rng(seed)
    uses = tensor_uses(graph)
    weights = [numpy_helper.from_array(random_weight(random, *uses[tensor], shape), tensor)
               for tensor, shape in sorted(weight_shapes(graph).items()) if tensor in uses]
    others = [tensor for tensor in graph.initializer
              if tensor.data_type != TensorProto.FLOAT
              and uses.get(tensor.name, ("ConstantOfShape",))[0] != "ConstantOfShape"]
    nodes = [node for node in graph.node if node.op_type != "ConstantOfShape"]
    graph = helper.make_graph(nodes, name, network_inputs(graph), graph.output, weights + others)
    return finish(graph, source.opset_import[0].version)


def tensor_uses(graph):
    """{tensor: (operator, position)}: the node that uses the tensor, and as which of its inputs."""
    uses = {tensor: (node.op_type, position)
            for node in graph.node for position, tensor in enumerate(node.input)}
    # The scale and the shift behind a BatchNormalization reach Mul and Add by Unsqueeze.
    for node in graph.node:
        if node.op_type == "Unsqueeze":
            uses[node.input[0]] = uses[node.output[0]]
    return uses


def weight_shapes(graph):
    """{tensor: shape} of the weights, both stored and made by ConstantOfShape."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    shapes = {name: value.shape for name, value in stored.items() if value.dtype == np.float32}
    for node in graph.node:
        if node.op_type == "ConstantOfShape":
            shapes[node.output[0]] = stored[node.input[0]]
    return shapes


def random_weight(random, operator, position, shape):
    """A weight for input number `position` of an operator.

    Each filter sums to zero, so that it responds only to the variation of its inputs. Otherwise
    all answers would be alike, since the output of Relu is mostly a mean common to all inputs.
    The variance of filters is 4 / fan-in, twice the usual, since only variation gets through.
    Other weights hardly change their inputs: factors and variances are near 1, the rest near 0.

    The draws are integers, scaled by single operations, so that all machines round them alike.
    """
    draw = random.integers(-1000, 1001, shape)
    if operator in ("Conv", "Gemm") and position == 1:
        filters = draw.reshape(shape[0], -1)
        fan_in = filters.shape[1]
        filters = filters - filters.sum(axis=1, keepdims=True) / fan_in
        weight = (filters * (np.sqrt(12 / fan_in) / 1000)).reshape(shape)
    elif (operator, position) in (("BatchNormalization", 1), ("BatchNormalization", 4), ("Mul", 1)):
        weight = 1 + draw / 5000
    else:
        weight = draw / 10000
    return weight.astype(np.float32)
