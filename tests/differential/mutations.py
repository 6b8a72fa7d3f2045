"""Questions made from valid ModelInferRequests, by a generator with a fixed seed."""

import copy
import random

from ask import Question, floats, ints, strings
from valid import FIELDS, VALUES, identity, labels, one, simple, simple_string

COUNT = 500
SEED = 20251
NAMES = ["INPUT0", "INPUT1", "OUTPUT0", "OUTPUT1", "", "X", "input0", "INPUT0 "]
VERSIONS = ["", "1", "-1", "0", "abc", "2", "1 ", "3"]
DIMS = [0, 1, 2, 3, 8, 9, 16, 17, -1, -2, 2**31, 2**32, 2**62, 2**63 - 1, -2**63]
KINDS = {"bool_param": [True, False], "int64_param": [0, 1, -1, 5, 2**63 - 1, -2**63], "string_param": ["", "x", "1"],
         "double_param": [0.0, 1.5, -1e300], "uint64_param": [0, 1, 2**64 - 1]}
KEYS = ["custom", "sequence_id", "sequence_start", "sequence_end", "priority", "timeout", "triton_x", "triton_enable_empty_final_response",
        "binary_data_output", "classification", "binary_data"]
DATATYPES = [*VALUES, "FP16", "BF16", "STRING", "", "int32", "INVALID"]
TYPED = ["bool_contents", "int_contents", "int64_contents", "uint_contents", "uint64_contents", "fp32_contents", "fp64_contents", "bytes_contents"]


def bases():
    yield lambda: simple()
    yield lambda: simple(typed=True)
    yield lambda: simple(rows=4, id="four", outputs=["OUTPUT1"])
    yield lambda: simple_string()
    yield lambda: simple_string(typed=True)
    yield lambda: labels(classes=2, id="labels")
    yield lambda: labels(rows=2)
    yield lambda: one("nobatch", "FP32", [3], floats(1, 2, 3))
    yield lambda: one("matrix", "FP32", [2, 2], contents={"fp32_contents": [1, 2, 3, 4]})
    yield lambda: one("identity_BYTES", "BYTES", [1, 2], strings(b"a", b"\xff\x00"))
    yield lambda: one("versions", "INT32", [2], ints(1, 2), model_version="3")
    for datatype in FIELDS:
        yield lambda datatype=datatype: identity(datatype)


def set_parameter(pick, parameters):
    key, kind = pick(KEYS), pick(list(KINDS))
    setattr(parameters[key], kind, pick(KINDS[kind]))


def change_tensor(pick, tensor):
    what = pick(["name", "datatype", "dim", "more_dims", "fewer_dims", "typed_other", "typed_more", "typed_fewer", "parameter"])
    if what == "name":
        tensor.name = pick(NAMES)
    elif what == "datatype":
        tensor.datatype = pick(DATATYPES)
    elif what == "dim" and tensor.shape:
        tensor.shape[pick(range(len(tensor.shape)))] = pick(DIMS)
    elif what == "more_dims":
        tensor.shape.insert(pick(range(len(tensor.shape) + 1)), pick(DIMS))
    elif what == "fewer_dims" and tensor.shape:
        del tensor.shape[pick(range(len(tensor.shape)))]
    elif what == "parameter":
        set_parameter(pick, tensor.parameters)
    elif what == "typed_other":
        field = pick(TYPED)
        count = pick([1, 3, 16])
        if pick([True, False]):
            tensor.contents.Clear()
        getattr(tensor.contents, field).extend([b"1" if field == "bytes_contents" else 1] * count)
    else:
        for descriptor, values in tensor.contents.ListFields():
            if what == "typed_more":
                values.append(values[0])
            else:
                values.pop()


def change_raw(pick, message):
    raw = message.raw_input_contents
    what = pick(["drop", "add", "duplicate", "cut", "longer", "empty", "flip", "swap"])
    if what == "add" or not raw:
        raw.append(pick([b"", b"\x00" * 4, b"\x00" * 64]))
        return
    place = pick(range(len(raw)))
    if what == "drop":
        del raw[place]
    elif what == "duplicate":
        raw.insert(place, raw[place])
    elif what == "cut":
        raw[place] = raw[place][:pick(range(len(raw[place]) + 1))]
    elif what == "longer":
        raw[place] = raw[place] + bytes(pick([1, 4, 64]))
    elif what == "empty":
        raw[place] = b""
    elif what == "flip" and raw[place] and message.model_name in ("identity_BYTES", "nobatch"):
        data = bytearray(raw[place])
        data[pick(range(len(data)))] ^= 1 << pick(range(8))
        raw[place] = bytes(data)
    elif what == "swap":
        first = raw[0]
        raw[0] = raw[-1]
        raw[-1] = first


def change(pick, message):
    what = pick(["tensor"] * 6 + ["raw"] * 3 + ["version", "id", "drop_input", "duplicate_input", "swap_inputs", "output", "output",
                                               "parameter", "parameter", "output_parameter"])
    inputs = message.inputs
    if what == "tensor" and inputs:
        change_tensor(pick, pick(inputs))
    elif what == "raw":
        change_raw(pick, message)
    elif what == "version":
        message.model_version = pick(VERSIONS)
    elif what == "id":
        message.id = pick(["", "x", "an id", "\u00e9", "<b>"])
    elif what == "drop_input" and inputs:
        del inputs[pick(range(len(inputs)))]
    elif what == "duplicate_input" and inputs:
        inputs.add().CopyFrom(pick(inputs))
    elif what == "swap_inputs" and len(inputs) > 1:
        first = copy.deepcopy(inputs[0])
        inputs[0].CopyFrom(inputs[1])
        inputs[1].CopyFrom(first)
    elif what == "output":
        message.outputs.add(name=pick(NAMES))
    elif what == "parameter":
        set_parameter(pick, message.parameters)
    elif what == "output_parameter":
        output = message.outputs.add(name=pick(["OUTPUT0", "OUTPUT1"])) if not message.outputs else pick(message.outputs)
        set_parameter(pick, output.parameters)


def garble(pick, data):
    """Changes the serialised bytes."""
    data = bytearray(data)
    for _ in range(pick([1, 1, 2])):
        what = pick(["flip", "flip", "cut", "insert", "delete"])
        place = pick(range(len(data))) if data else 0
        if what == "flip" and data:
            data[place] ^= 1 << pick(range(8))
        elif what == "cut":
            del data[place:]
        elif what == "insert":
            data[place:place] = bytes(pick(range(256)) for _ in range(pick([1, 2, 5])))
        elif data:
            del data[place:place + pick([1, 2, 5])]
    return bytes(data)


def mutations(count=COUNT, seed=SEED):
    random_numbers = random.Random(seed)
    pick = random_numbers.choice
    made = [base for base in bases()]
    for number in range(count):
        message = pick(made)()
        name = message.model_name
        kind = "bytes" if number % 5 == 4 else "fields"
        for _ in range(pick([0, 1]) if kind == "bytes" else pick([1, 1, 2, 3])):
            change(pick, message)
        data = message.SerializeToString(deterministic=True)
        if kind == "bytes":
            data = garble(pick, data)
        streamed = number % 7 == 6
        yield Question(f"grpc/mutation/{number:03}_{kind}_{name}", "ModelStreamInfer" if streamed else "ModelInfer", [data],
                       shape="stream" if streamed else "unary")
