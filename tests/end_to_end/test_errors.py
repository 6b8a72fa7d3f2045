"""Bad input over HTTP gets Triton's status code and Triton's text."""

import json
import re

import numpy as np
import pytest

from support import encode, infer_path, sums, tensor, to_wire

UNKNOWN_ID = "[request id: <id_unknown>] "
NOTE = (" NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be prepended to each"
        " input shape. If you want to specify the full shape including the batch dim in your input dims config, try"
        " setting max_batch_size to zero. See the model configuration docs for more info on max_batch_size.")


def member(name="INPUT0", datatype="INT32", shape=(1, 16), **more):
    return {"name": name, "datatype": datatype, "shape": list(shape), **(more or {"data": list(range(16))})}


GOOD = [member("INPUT0"), member("INPUT1")]


def without(entry, name):
    return {key: value for key, value in entry.items() if key != name}


def non(kind, name):
    return f"Unable to parse '{name}': attempt to access JSON non-{kind} as {kind}"


def missing(name):
    return f"Unable to parse '{name}': attempt to access non-existing object member '{name}'"


def fails(server, reply, status, text):
    """Asserts the reply's status, and its text: equal to a string, or containing a match of a pattern."""
    assert reply.status == status, reply.body
    if isinstance(text, re.Pattern):
        assert text.search(reply.error), reply.error
    else:
        assert reply.error == text
    assert server.ready()


@pytest.mark.parametrize("method, path, status, text", [
    ("GET", "/v2/models/nope", 404, "Request for unknown model: 'nope' is not found"),
    ("GET", "/v2/models/nope/config", 404, "Request for unknown model: 'nope' is not found"),
    ("GET", "/v2/models/nope/versions/1", 404, "Request for unknown model: 'nope' is not found"),
    ("GET", "/v2/models/simple/versions/9", 404, "Request for unknown model: 'simple' version 9 is not found"),
    ("GET", "/v2/models/simple/versions/9/config", 404, "Request for unknown model: 'simple' version 9 is not found"),
    ("GET", "/v2/models/nope/stats", 400, "requested model 'nope' is not available"),
    ("GET", "/v2/models/simple/versions/9/stats", 400, "requested model version is not available for model 'simple'"),
    ("GET", "/v2/models/simple/versions/99999999999999999999", 400,
     "failed to get model version from specified version string '99999999999999999999' (details: stol), version should"
     " be an integral value > 0"),
    ("POST", "/v2/repository/models/simple/load", 503, "explicit model load / unload is not allowed if polling is enabled"),
    ("POST", "/v2/repository/models/simple/unload", 503, "explicit model load / unload is not allowed if polling is enabled"),
    ("POST", "/v2/repository/other/models/simple/load", 501, "'repository_name' specification is not supported"),
    ("GET", "/v2/systemsharedmemory/region/r/status", 404, "Unable to find system shared memory region: 'r'"),
    ("GET", "/v2/cudasharedmemory/region/r/status", 404, "Unable to find cuda shared memory region: 'r'"),
])
def test_paths(server, method, path, status, text):
    fails(server, server.request(method, path), status, text)


@pytest.mark.parametrize("model, version, status, text", [
    ("nope", None, 404, "Request for unknown model: 'nope' is not found"),
    ("nope", 1, 404, "Request for unknown model: 'nope' is not found"),
    ("simple", 9, 404, "Request for unknown model: 'simple' version 9 is not found"),
    ("simple", "99999999999999999999", 400,
     "failed to get model version from specified version string '99999999999999999999' (details: stol), version should"
     " be an integral value > 0"),
])
def test_infer_of_unknown_model(server, model, version, status, text):
    body, headers = encode(sums()[0])
    fails(server, server.post(infer_path(model, version), body, headers), status, text)


@pytest.mark.parametrize("body", [
    b"{", b"nonsense", b'{"inputs":[1,]}', b"{'inputs':[]}", b'{"inputs":[]} tail', b'{"inputs":[]}{}', b"{1:2}",
    b'{"inputs":[]} // comment', b'{"inputs":[1e999]}', b'{"inputs":[01]}', b'{"inputs":["\x01"]}', b'{"a":"unfinished',
    b"\xff\xfe{\x00}\x00", b"[" * 100_000, b'{"a":' * 100_000, b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b",}"])
def test_no_json(server, body):
    fails(server, server.post(infer_path("simple"), body), 500, re.compile("^failed to parse the request JSON buffer: .+ at "))


@pytest.mark.parametrize("body, text", [
    (b"{\"inputs\":tru}", "Invalid value. at 14"), (b'{"inputs":[]} {}', "The document root must not be followed by other values. at 14"),
])
def test_json_errors_say_where(server, body, text):
    fails(server, server.post(infer_path("simple"), body), 500, re.compile(re.escape(text)[:-2]))


@pytest.mark.parametrize("document, text", [
    ({}, missing("inputs")),
    ([], missing("inputs")),
    ({"inputs": 1}, non("array", "inputs")),
    ({"inputs": {}}, non("array", "inputs")),
    ({"inputs": GOOD, "id": 5}, non("string", "id")),
    ({"inputs": [without(GOOD[0], "name"), GOOD[1]]}, missing("name")),
    ({"inputs": [without(GOOD[0], "datatype"), GOOD[1]]}, missing("datatype")),
    ({"inputs": [without(GOOD[0], "shape"), GOOD[1]]}, missing("shape")),
    ({"inputs": [member(shape=[1, -16]), GOOD[1]]}, non("unsigned-integer", "shape")),
    ({"inputs": [member(shape=["1", 16]), GOOD[1]]}, non("unsigned-integer", "shape")),
    ({"inputs": [member(shape=[1, 1.5]), GOOD[1]]}, non("unsigned-integer", "shape")),
    ({"inputs": [member(data=7), GOOD[1]]}, re.compile("^Unable to parse 'data'")),
    ({"inputs": [member(data=[1] * 15), GOOD[1]]}, "Failed to parse 'data' field: shape does not match true shape"),
    ({"inputs": [member(data=[1] * 17), GOOD[1]]}, "Unable to parse 'data': Shape does not match true shape of 'data' field"),
    ({"inputs": [member(data=["1"] * 16), GOOD[1]]}, re.compile("^Unable to parse 'data'.*non-signed-integer as signed-integer$")),
    ({"inputs": [member(data=[1.5] * 16), GOOD[1]]}, re.compile("^Unable to parse 'data'.*non-signed-integer as signed-integer$")),
    ({"inputs": [member(data=[None] * 16), GOOD[1]]}, re.compile("^Unable to parse 'data'.*non-signed-integer as signed-integer$")),
    ({"inputs": [member(data=[True] * 16), GOOD[1]]}, re.compile("^Unable to parse 'data'.*non-signed-integer as signed-integer$")),
    ({"inputs": GOOD, "outputs": 5}, re.compile("attempt to access JSON non-array as array")),
    ({"inputs": GOOD, "outputs": [{}]}, missing("name")),
])
def test_wrong_json_shape_is_500(server, document, text):
    fails(server, server.post(infer_path("simple"), document), 500, text)


@pytest.mark.parametrize("path, document, status, text", [
    ("repository/index", {"ready": "x"}, 400, "Invalid value for 'ready': expected a boolean"),
    ("logging", {"log_info": "x"}, 500, "attempt to access JSON non-boolean as boolean"),
    ("logging", {"log_verbose_level": -1}, 500, "attempt to access JSON non-unsigned-integer as unsigned-integer"),
    ("logging", {"log_format": 1}, 500, "attempt to access JSON non-string as string"),
    ("logging", {"log_format": "x"}, 503, "invalid argument for --log_format, got: x")])
def test_wrong_settings(server, path, document, status, text):
    fails(server, server.post(f"/v2/{path}", document), status, text)


@pytest.mark.parametrize("datatype, value, kind", [
    ("BOOL", 1, "boolean"), ("UINT8", -1, "unsigned-integer"), ("UINT64", 1.0, "unsigned-integer"),
    ("INT64", "1", "signed-integer"), ("FP32", "1.0", "double"), ("FP64", True, "double"), ("BYTES", 1, "string")])
def test_wrong_element_type(server, datatype, value, kind):
    document = {"inputs": [member(datatype=datatype, shape=[1, 1], data=[value])]}
    fails(server, server.post(infer_path(f"identity_{datatype}"), document), 500, re.compile(f"^Unable to parse .*{kind}"))


SHAPE = "unexpected shape for input '{}' for model '{}'. Expected {}, got {}."


@pytest.mark.parametrize("document, text", [
    ({"inputs": [GOOD[0]]},
     UNKNOWN_ID + "expected 2 inputs but got 1 inputs for model 'simple'. Got input(s) ['INPUT0'], but missing required"
     " input(s) ['INPUT1']. Please provide all required input(s)."),
    ({"inputs": []},
     UNKNOWN_ID + "expected 2 inputs but got 0 inputs for model 'simple'. Got input(s) [], but missing required"
     " input(s) ['INPUT0','INPUT1']. Please provide all required input(s)."),
    ({"inputs": [GOOD[0]], "id": "q7"},
     "[request id: q7] expected 2 inputs but got 1 inputs for model 'simple'. Got input(s) ['INPUT0'], but missing"
     " required input(s) ['INPUT1']. Please provide all required input(s)."),
    ({"inputs": [GOOD[0], member("X")]}, "unexpected inference input 'X' for model 'simple'"),
    ({"inputs": [GOOD[0], GOOD[0]]}, UNKNOWN_ID + "input 'INPUT0' already exists in request"),
    ({"inputs": GOOD, "outputs": [{"name": "NOPE"}]}, "unexpected inference output 'NOPE' for model 'simple'"),
    ({"inputs": [GOOD[0], member("INPUT1", shape=[1, 8], data=[0] * 8)]},
     UNKNOWN_ID + SHAPE.format("INPUT1", "simple", "[-1,16]", "[1,8]") + NOTE),
    ({"inputs": [member("INPUT0", shape=[1, 4, 4]), GOOD[1]]},
     UNKNOWN_ID + SHAPE.format("INPUT0", "simple", "[-1,16]", "[1,4,4]") + NOTE),
    ({"inputs": [member("INPUT0", shape=[16]), member("INPUT1", shape=[16])]},
     UNKNOWN_ID + "inference request batch-size must be <= 8 for 'simple'"),
    ({"inputs": [member("INPUT0", shape=[9, 16], data=[0] * 144), member("INPUT1", shape=[9, 16], data=[0] * 144)]},
     UNKNOWN_ID + "inference request batch-size must be <= 8 for 'simple'"),
    ({"inputs": [GOOD[0], member("INPUT1", shape=[2, 16], data=[0] * 32)]},
     re.compile(r"batch size does not match other inputs for 'simple'$")),
    ({"inputs": [GOOD[0], member("INPUT1", "FP32")]},
     UNKNOWN_ID + "inference input 'INPUT1' data-type is 'FP32', but model 'simple' expects 'INT32'"),
    ({"inputs": [member(datatype="INT33"), GOOD[1]]}, "invalid datatype for input INPUT0"),
    ({"inputs": [without(GOOD[0], "data"), GOOD[1]]},
     "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters',"
     " 'shared_memory_region' in 'parameters'. But no field is set"),
    ({"inputs": [{**GOOD[0], "parameters": {"binary_data_size": 64}}, GOOD[1]]},
     "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters',"
     " 'shared_memory_region' in 'parameters'. But set 'data' 'binary_data_size'"),
    ({"inputs": GOOD, "parameters": {"a": [1]}},
     "parameter 'a' has invalid type. It should be either 'int', 'bool', or 'string'."),
    ({"inputs": GOOD, "parameters": {"a": {}}},
     "parameter 'a' has invalid type. It should be either 'int', 'bool', or 'string'."),
    ({"inputs": GOOD, "parameters": {"triton_x": 1}},
     "parameter keys starting with 'triton_' are reserved for Triton usage and should not be specified."),
])
def test_what_the_model_refuses(server, document, text):
    fails(server, server.post(infer_path("simple"), document), 400, text)


def test_long_sequence_id(server):
    document = {"inputs": GOOD, "parameters": {"sequence_id": "x" * 129}}
    fails(server, server.post(infer_path("simple"), document), 501, "string correlation ID cannot be longer than 128 characters")


def test_shape_of_a_model_without_batching(server):
    document = {"inputs": [member(datatype="FP32", shape=[1, 16])]}
    fails(server, server.post(infer_path("identity"), document), 400,
          re.compile("^" + re.escape(UNKNOWN_ID + SHAPE.format("INPUT0", "identity", "[-1]", "[1,16]")) + " ?$"))


def test_batch_of_no_rows(server):
    document = {"inputs": [member(name, shape=[0, 16], data=[]) for name in ("INPUT0", "INPUT1")]}
    reply = server.post(infer_path("simple"), document)
    assert reply.status == 400, reply.body
    assert server.ready()


@pytest.mark.parametrize("shape", [[2**31, 2**31, 4], [2**63 - 1, 2], [2**64, 1], [2**62, 2]])
def test_shape_too_large_for_any_memory(server, shape):
    """Triton 2.51 has no check; 2.73 answers 400 with a text of its own."""
    for model in ("identity_FP32", "identity"):
        document = {"inputs": [member(datatype="FP32", shape=shape, data=[1.0])]}
        assert server.post(infer_path(model), document).status in (400, 500)
        body = json.dumps({"inputs": [member(datatype="FP32", shape=shape, parameters={"binary_data_size": 4})]}).encode()
        reply = server.post(infer_path(model), body + b"1234", {"Inference-Header-Content-Length": len(body)})
        assert reply.status in (400, 500), reply.body
    assert server.ready()


@pytest.mark.parametrize("count, text", [
    (5, "expected 16 string elements for inference input 'INPUT0' for model 'simple_string', got 5"),
    (17, "unexpected number of string elements 17 for inference input 'INPUT0' for model 'simple_string', expecting 16")])
def test_number_of_strings(server, count, text):
    document = {"inputs": [member("INPUT0", "BYTES", data=["1"] * count), member("INPUT1", "BYTES", data=["1"] * 16)]}
    fails(server, server.post(infer_path("simple_string"), document), 400, UNKNOWN_ID + text)


@pytest.mark.parametrize("data", [b"\x05\x00\x00\x00abc", b"\xff\xff\xff\xff", b"\x01\x00", b"\x01\x00\x00\x00xy"],
                         ids=["short", "huge", "half_a_length", "rest"])
def test_broken_binary_strings(server, data):
    body = json.dumps({"inputs": [member(datatype="BYTES", shape=[1, 1], parameters={"binary_data_size": len(data)})]}).encode()
    reply = server.post(infer_path("identity_BYTES"), body + data, {"Inference-Header-Content-Length": len(body)})
    assert reply.status == 400, reply.body
    assert server.ready()


@pytest.mark.parametrize("sizes, length, text", [
    ((64, 64), 84, "unexpected size for input 'INPUT1', expecting 44 additional bytes for model 'simple'"),
    ((64, 64), 132, "unexpected additional input data for model 'simple'"),
    ((60, 64), 124, UNKNOWN_ID + "input byte size mismatch for input 'INPUT0' for model 'simple'. Expected 64, got 60"),
    ((64, 68), 132, UNKNOWN_ID + "input byte size mismatch for input 'INPUT1' for model 'simple'. Expected 64, got 68"),
    ((0, 64), 64, UNKNOWN_ID + "input byte size mismatch for input 'INPUT0' for model 'simple'. Expected 64, got 0"),
    ((2**63, 2**63), 128, re.compile("^unexpected size for input 'INPUT0'|attempt to access JSON")),
    ((-1, 64), 128, re.compile("attempt to access JSON non-unsigned-integer as unsigned-integer"))])
def test_binary_sizes(server, sizes, length, text):
    inputs = [member(f"INPUT{i}", parameters={"binary_data_size": size}) for i, size in enumerate(sizes)]
    body = json.dumps({"inputs": inputs}).encode()
    reply = server.post(infer_path("simple"), body + bytes(length), {"Inference-Header-Content-Length": len(body)})
    fails(server, reply, 500 if -1 in sizes else 400, text)


@pytest.mark.parametrize("header, text", [
    ("99999", "inference header size should be in range (0, {}), got: 99999"),
    ("-5", "inference header size should be in range (0, {}), got: -5"),
    ("", "Unable to parse Inference-Header-Content-Length, got: "),
    ("abc", "Unable to parse Inference-Header-Content-Length, got: abc"),
    ("99999999999999999999", re.compile("^inference header size should be in range|^Unable to parse Inference-Header-Content-Length"))])
def test_header_content_length(server, header, text):
    body, _ = encode(sums()[0])
    reply = server.post(infer_path("simple"), body, {"Inference-Header-Content-Length": header})
    fails(server, reply, 400, text if isinstance(text, re.Pattern) else text.format(len(body)))


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_floats_have_no_json_form(server, datatype):
    model = f"identity_{datatype}"
    document = {"inputs": [member(datatype=datatype, shape=[1, 1], data=[1.0])]}
    fails(server, server.post(infer_path(model), document), 400,
          f"receiving {datatype} data via JSON is not supported. Please use the binary data format for input INPUT0")
    body, headers = encode({"INPUT0": tensor([[1, 2]], datatype)}, binary_in=True)
    reply = server.post(infer_path(model), body, headers)
    assert reply.status == 400
    assert reply.error.startswith(f"sending {datatype} data via JSON is not supported. Please use the binary data format for output")


RAW_COUNT = "Raw request must only have 1 input (found 1) to be deduced but got 2 inputs in 'simple' model configuration"


@pytest.mark.parametrize("model, data, status, text", [
    ("simple", bytes(64), 400, re.compile(re.escape(RAW_COUNT))),
    ("identity_BYTES", b"text", 400, re.compile(r"For BYTE datatype raw input 'INPUT0', the model must have input shape \[1\]$")),
    ("identity_FP32", bytes(6), 400, re.compile(r"INPUT0|byte|size"))])
def test_raw_request(server, model, data, status, text):
    fails(server, server.post(infer_path(model), data, {"Inference-Header-Content-Length": 0}), status, text)


def test_empty_body(server):
    fails(server, server.post(infer_path("simple")), 400, re.compile(re.escape(RAW_COUNT)))


def test_classification_of_strings(server):
    body, headers = encode({"INPUT0": tensor(["a"], "BYTES", (1, 1))}, [("OUTPUT0", {"classification": 1})])
    fails(server, server.post(infer_path("identity_BYTES"), body, headers), 400,
          "class result not available for output due to unsupported type 'BYTES'")


def test_output_asked_for_twice(server):
    body, headers = encode(sums()[0], ["OUTPUT0", "OUTPUT0"])
    reply = server.post(infer_path("simple"), body, headers)
    assert reply.status == 400  # as Triton since 2.73; older ones answer the output once
    assert "OUTPUT0" in reply.error


@pytest.mark.parametrize("model, inputs, text", [
    ("simple_string", {name: tensor(["abc"] * 16, "BYTES", (1, 16)) for name in ("INPUT0", "INPUT1")}, "stoll"),
    ("gather", {"INPUT0": tensor([1, 2]), "INDEX": tensor([2], "INT64")}, "out of data bounds")])
def test_failure_of_the_model(server, model, inputs, text):
    failed = server.statistics(model)["fail"]
    body, headers = encode(inputs)
    reply = server.post(infer_path(model), body, headers)
    assert reply.status in (400, 500)
    assert text in reply.error
    server.expect(model, fail=failed + 1)
    assert server.ready()


def test_failure_of_the_echo_backend(server):
    body, headers = encode({"INPUT0": tensor([1])}, parameters={"fail": "no luck today"})
    fails(server, server.post(infer_path("identity"), body, headers), 500, re.compile("no luck today"))


@pytest.mark.parametrize("place", ["inputs", "outputs"])
def test_shared_memory_in_a_request(server, place):
    parameters = {"shared_memory_region": "r", "shared_memory_byte_size": 64}
    if place == "inputs":
        document = {"inputs": [member("INPUT0", parameters=parameters), GOOD[1]]}
    else:
        document = {"inputs": GOOD, "outputs": [{"name": "OUTPUT0", "parameters": parameters}]}
    fails(server, server.post(infer_path("simple"), document), 501, re.compile("(?i)shared memory"))


def test_shared_memory_register(server):
    reply = server.post("/v2/systemsharedmemory/region/r/register", {"key": "/r", "offset": 0, "byte_size": 64})
    fails(server, reply, 501, re.compile("(?i)shared memory"))


def test_content_encoding(server):
    body, headers = encode(sums()[0])
    reply = server.post(infer_path("simple"), body, {**headers, "Content-Encoding": "br"})
    fails(server, reply, 501, "Unsupported compression type")
    assert reply.headers["accept-encoding"] == "gzip, deflate"


def test_random_damage(server):
    """Damaged requests are answered, with whatever code, and the server lives."""
    random = np.random.default_rng(11)
    inputs, _ = sums()
    good, headers = encode(inputs, ["OUTPUT0"], binary_in=["INPUT1"], parameters={"a": 1}, id="x")
    assert to_wire(inputs["INPUT1"]) in good
    for _ in range(150):
        body = bytearray(good)
        for at in random.integers(0, len(body), random.integers(1, 4)):
            body[at] = random.integers(0, 256)
        if random.random() < 0.3:
            del body[random.integers(0, len(body)) :]
        reply = server.post(infer_path("simple"), bytes(body), headers)
        assert reply.status in (200, 400, 500, 501), reply.body
    assert server.ready()
