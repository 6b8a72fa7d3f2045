"""Builders of valid requests; the questions change them."""

import json

import tritonclient.grpc.service_pb2 as pb

from ask import floats, ints, strings

FIELDS = {"BOOL": "bool_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
          "UINT64": "uint64_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
          "INT64": "int64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents"}
VALUES = {"BOOL": [True, False, True], "UINT8": [0, 200, 255], "UINT16": [0, 1, 65535], "UINT32": [0, 1, 2**32 - 1],
          "UINT64": [0, 1, 2**64 - 1], "INT8": [-128, 0, 127], "INT16": [-32768, 0, 32767],
          "INT32": [-2**31, 0, 2**31 - 1], "INT64": [-2**63, 0, 2**63 - 1], "FP32": [-0.0, 1.5, 1e30],
          "FP64": [-0.0, 0.1, 1e300], "BYTES": [b"", b"a\xff", b"three"]}
SIZES = {"BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8, "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8,
         "FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8}


def request(model, inputs, outputs=(), raw=None, **fields):
    """inputs: (name, datatype, shape, {contents field: values} or None)."""
    message = pb.ModelInferRequest(model_name=model, **fields)
    for name, datatype, shape, contents in inputs:
        tensor = message.inputs.add(name=name, datatype=datatype, shape=shape)
        for key, values in (contents or {}).items():
            getattr(tensor.contents, key).extend(values)
    for name in outputs:
        message.outputs.add(name=name)
    message.raw_input_contents.extend(raw or ())
    return message


FIRST, SECOND = list(range(16)), [1] * 16


def simple(model="simple", typed=False, rows=1, first=FIRST, second=SECOND, **options):
    contents = [{"int_contents": list(values) * rows} if typed else None for values in (first, second)]
    raw = None if typed else [ints(*list(values) * rows) for values in (first, second)]
    return request(model, [(name, "INT32", [rows, 16], those) for name, those in zip(("INPUT0", "INPUT1"), contents)],
                   raw=raw, **options)


def simple_string(typed=False, **options):
    first, second = ([str(value).encode() for value in values] for values in (FIRST, SECOND))
    contents = [{"bytes_contents": values} if typed else None for values in (first, second)]
    raw = None if typed else [strings(*first), strings(*second)]
    return request("simple_string", [(name, "BYTES", [1, 16], those) for name, those in zip(("INPUT0", "INPUT1"), contents)],
                   raw=raw, **options)


def one(model, datatype, shape, raw=None, contents=None, **options):
    """A request for a model with one input."""
    return request(model, [("INPUT0", datatype, shape, contents)], raw=None if raw is None else [raw], **options)


def identity(datatype, **options):
    return one(f"identity_{datatype}", datatype, [1, 3], contents={FIELDS[datatype]: VALUES[datatype]}, **options)


def labels(rows=1, classes=None, **options):
    message = one("labels", "FP32", [rows, 4], floats(*[0.25, 4.5, -1.0, 2.0] * rows), **options)
    if classes is not None:
        output = message.outputs.add(name="OUTPUT0")
        output.parameters["classification"].int64_param = classes
    return message


def with_parameters(message, **values):
    """Sets parameters; a value is (kind, value)."""
    for key, (kind, value) in values.items():
        setattr(message.parameters[key], kind, value)
    return message


def changed(message, change):
    change(message)
    return message


def document(inputs=None, **members):
    """The JSON of a request for `simple`."""
    if inputs is None:
        inputs = [{"name": name, "datatype": "INT32", "shape": [1, 16], "data": values}
                  for name, values in (("INPUT0", FIRST), ("INPUT1", SECOND))]
    return {"inputs": inputs, **members}


def encode(those):
    return those if isinstance(those, bytes) else json.dumps(those).encode()
