"""Inference over HTTP: every form of a tensor, in and out, checked against numpy."""

import json

import numpy as np
import pytest

from support import (DATATYPES, NAMES, classes, decode, encode, infer, infer_binary, infer_json, infer_path, same, sums,
                     tensor)

FORMS = [(datatype, binary_in, binary_out) for datatype in DATATYPES for binary_in in (False, True)
         for binary_out in (False, True) if datatype not in ("FP16", "BF16") or (binary_in and binary_out)]


def extremes(datatype):
    """Values at the edges of a datatype."""
    if datatype == "BOOL":
        return [True, False, True, True]
    if datatype == "BYTES":
        return ["", "word", "Grüße, 世界 🦛", 'quote " backslash \\ line\n tab\t bell\x07']
    kind = DATATYPES[datatype]
    if datatype.startswith(("INT", "UINT")):
        return [np.iinfo(kind).min, np.iinfo(kind).max, 0, 1]
    if datatype == "BF16":
        return [0.0, -1.5, 3.3895e38, 1e-38]
    finite = np.finfo(kind)
    return [finite.max, finite.min, finite.tiny, -0.0, 0.1, 1 / 3, float(finite.smallest_subnormal), 1.0]


@pytest.mark.parametrize("datatype, binary_in, binary_out", FORMS)
def test_datatype(server, datatype, binary_in, binary_out):
    array = tensor(extremes(datatype), datatype, (2, -1))
    answer = infer(server, f"identity_{datatype}", {"INPUT0": array}, binary_in=binary_in, binary_out=binary_out)
    same(answer["OUTPUT0"], array)
    assert answer.document["outputs"][0]["datatype"] == datatype
    assert bool(answer.binary) == binary_out


@pytest.mark.parametrize("datatype", [name for name in DATATYPES if name not in ("BOOL", "BYTES")])
def test_every_bit_pattern_survives_binary(server, datatype):
    kind = np.dtype(DATATYPES[datatype])
    data = np.random.default_rng(7).bytes(kind.itemsize * 3 * 100)
    array = np.frombuffer(data, dtype=kind).reshape(3, 100)
    same(infer_binary(server, f"identity_{datatype}", {"INPUT0": array})["OUTPUT0"], array)


@pytest.mark.parametrize("elements", [
    [b"\xff\xfe\x80"], [b"\x00"], [b"a\x00b", b"", b"\x00\x00"], [bytes(range(256))], [b"x" * 100_000, b""]],
    ids=["not_utf8", "nul", "nul_inside", "all_bytes", "long"])
def test_any_bytes_in_binary_strings(server, elements):
    array = tensor(elements, "BYTES", (1, -1))
    same(infer_binary(server, "identity_BYTES", {"INPUT0": array})["OUTPUT0"], array)


def test_strings_with_json_escapes(server):
    body = (rb'{"inputs":[{"name":"INPUT0","datatype":"BYTES","shape":[1,4],'
            rb'"data":["\u00e4\ud83e\udd9b","\"\\\/\b\f\n\r\t","","\u0000x"]}]}')
    answer = decode(server.post(infer_path("identity_BYTES"), body))
    same(answer["OUTPUT0"], tensor(["ä🦛", '"\\/\b\f\n\r\t', "", "\0x"], "BYTES", (1, 4)))


def test_not_utf8_cannot_leave_as_json(server):
    array = tensor([b"\xff"], "BYTES", (1, 1))
    body, headers = encode({"INPUT0": array}, binary_in=True)
    reply = server.post(infer_path("identity_BYTES"), body, headers)
    assert reply.status == 400
    assert "OUTPUT0" in reply.error and "UTF-8" in reply.error


@pytest.mark.parametrize("mode", [{}, {"binary_in": True}, {"binary_out": True}, {"binary_in": True, "binary_out": True}])
@pytest.mark.parametrize("rows", [1, 2, 8])
def test_simple(server, rows, mode):
    inputs, expected = sums(rows * 100, -7, rows)
    answer = infer(server, "simple", inputs, **mode)
    assert list(answer.outputs) == ["OUTPUT0", "OUTPUT1"]
    for name, array in expected.items():
        same(answer[name], array)


@pytest.mark.parametrize("binary_out", [["OUTPUT0"], ["OUTPUT1"], []])
@pytest.mark.parametrize("binary_in", [["INPUT0"], ["INPUT1"], ["INPUT0", "INPUT1"]])
def test_json_and_binary_mix(server, binary_in, binary_out):
    inputs, expected = sums(3, 5)
    answer = infer(server, "simple", inputs, ["OUTPUT0", "OUTPUT1"], binary_in=binary_in, binary_out=binary_out)
    for name, array in expected.items():
        same(answer[name], array)
    assert answer.binary == set(binary_out)


def test_binary_data_output_is_the_default_for_unlisted(server):
    inputs, expected = sums(2, 2)
    answer = infer(server, "simple", inputs, parameters={"binary_data_output": True})
    assert answer.binary == {"OUTPUT0", "OUTPUT1"}
    for name, array in expected.items():
        same(answer[name], array)


def test_binary_payload_follows_the_order_of_inputs(server):
    inputs, expected = sums(9, 4)
    turned = {"INPUT1": inputs["INPUT1"], "INPUT0": inputs["INPUT0"]}
    answer = infer_binary(server, "simple", turned)
    for name, array in expected.items():
        same(answer[name], array)


@pytest.mark.parametrize("asked, given", [
    (["OUTPUT0"], ["OUTPUT0"]), (["OUTPUT1"], ["OUTPUT1"]), (["OUTPUT1", "OUTPUT0"], ["OUTPUT0", "OUTPUT1"]),
    ([], ["OUTPUT0", "OUTPUT1"])])
@pytest.mark.parametrize("binary", [False, True])
def test_requested_outputs_come_in_the_model_order(server, asked, given, binary):
    inputs, expected = sums(11, 3)
    answer = infer(server, "simple", inputs, asked, binary_out=binary and asked)
    assert list(answer.outputs) == given
    for name in given:
        same(answer[name], expected[name])


@pytest.mark.parametrize("name", ["", "42", "an id", 'ä "quoted" \\', "x" * 1000])
def test_id_is_echoed(server, name):
    answer = infer(server, "simple", sums()[0], id=name)
    assert answer.document.get("id", "") == name
    assert ("id" in answer.document) == bool(name)


def test_reply_form(server):
    body, headers = encode(sums()[0], id="7")
    reply = server.post(infer_path("simple"), body, headers)
    assert reply.headers["content-type"] == "application/json"
    assert "inference-header-content-length" not in reply.headers
    assert list(reply.json) == ["id", "model_name", "model_version", "outputs"]
    assert (reply.json["model_name"], reply.json["model_version"]) == ("simple", "1")
    assert list(reply.json["outputs"][0]) == ["name", "datatype", "shape", "data"]
    assert reply.json["outputs"][0]["data"] == list(range(2, 18))  # flat whatever the rank

    body, headers = encode(sums()[0], binary_in=True, binary_out=True)
    reply = server.post(infer_path("simple"), body, headers)
    assert reply.headers["content-type"] == "application/octet-stream"
    length = int(reply.headers["inference-header-content-length"])
    document = json.loads(reply.body[:length])
    assert list(document["outputs"][1]) == ["name", "datatype", "shape", "parameters"]
    assert document["outputs"][1]["parameters"] == {"binary_data_size": 64}
    assert len(reply.body) == length + 128


@pytest.mark.parametrize("nesting", ["[1,2,3,4,5,6]", "[[1,2,3],[4,5,6]]", "[[1,2],[3,4],[5,6]]", "[[[1]],2,[3,[4,5]],6]"])
def test_only_the_order_of_data_matters(server, nesting):
    body = b'{"inputs":[{"name":"INPUT0","shape":[2,3],"datatype":"INT64","data":%s}]}' % nesting.encode()
    same(decode(server.post(infer_path("identity_INT64"), body))["OUTPUT0"], tensor([1, 2, 3, 4, 5, 6], "INT64", (2, 3)))


@pytest.mark.parametrize("datatype, text, values", [
    ("INT32", "1099511627776", [0]), ("INT8", "200", [-56]), ("UINT8", "256", [0]),
    ("UINT64", "18446744073709551615", [2**64 - 1]), ("INT64", "-9223372036854775808", [-2**63]),
    ("FP32", "1", [1.0]), ("FP32", "-0.0", [-0.0]), ("FP32", "1e-45", [1e-45]), ("FP64", "5e-324", [5e-324]),
    ("FP64", "0.1", [0.1]), ("FP64", "12345678901234567890", [12345678901234567890.0]), ("FP32", "16777217", [16777216.0]),
    ("FP32", "NaN", [np.nan]), ("FP32", "Infinity", [np.inf]), ("FP32", "-Infinity", [-np.inf]),
    ("FP64", "NaN", [np.nan]), ("FP64", "Infinity", [np.inf]), ("FP64", "-Infinity", [-np.inf]), ("FP32", "Inf", [np.inf])])
def test_number_forms(server, datatype, text, values):
    body = b'{"inputs":[{"name":"INPUT0","shape":[1,1],"datatype":"%s","data":[%s]}]}' % (datatype.encode(), text.encode())
    actual = decode(server.post(infer_path(f"identity_{datatype}"), body))["OUTPUT0"]
    expected = tensor(values, datatype, (1, 1))
    if np.issubdtype(expected.dtype, np.floating) and np.isnan(expected).all():
        assert np.isnan(actual).all()
    else:
        same(actual, expected)


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_printed_floats_read_back_exactly(server, datatype):
    kind, random = DATATYPES[datatype], np.random.default_rng(3)
    bits = random.integers(0, 2 ** (8 * np.dtype(kind).itemsize), 400, dtype=f"u{np.dtype(kind).itemsize}")
    array = bits.view(kind)
    array = np.where(np.isnan(array), kind(0), array).reshape(1, -1)
    same(infer(server, f"identity_{datatype}", {"INPUT0": array}, binary_in=True)["OUTPUT0"], array)
    text = server.post(infer_path(f"identity_{datatype}"),
                       b'{"inputs":[{"name":"INPUT0","shape":[1,3],"datatype":"%s","data":[1,0.5,-3]}]}' % datatype.encode())
    assert b'"data":[1.0,0.5,-3.0]' in text.body


@pytest.mark.parametrize("shape", [(1, 0), (3, 0), (1, 1), (8, 3), (1, 5000)])
@pytest.mark.parametrize("binary", [False, True])
def test_dynamic_shapes(server, shape, binary):
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    answer = infer(server, "identity_FP32", {"INPUT0": array}, binary_in=binary, binary_out=binary)
    same(answer["OUTPUT0"], array)


def test_all_binary_outputs_empty_is_plain_json(server):
    body, headers = encode({"INPUT0": tensor([], "FP32", (1, 0))}, binary_in=True, binary_out=True)
    reply = server.post(infer_path("identity_FP32"), body, headers)
    assert reply.status == 200
    assert "inference-header-content-length" not in reply.headers
    assert reply.json["outputs"][0]["parameters"] == {"binary_data_size": 0}


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("values", [[0, 1, 0, 2], [0, 0], [5]])
def test_result_may_be_empty(server, values, binary):
    array = tensor(values)
    answer = infer(server, "nonzero", {"INPUT0": array}, binary_in=binary, binary_out=binary)
    same(answer["OUTPUT0"], np.stack(np.nonzero(array)).astype(np.int64))


@pytest.mark.parametrize("binary", [False, True])
def test_scalar(server, binary):
    answer = infer(server, "scalar", {"INPUT0": tensor([1, 2, 3.5])}, binary_in=binary, binary_out=binary)
    same(answer["OUTPUT0"], tensor([6.5]))  # the config says dims [1]


def test_two_shapes_in_one_model(server):
    values, index = tensor([1.5, 2.5, 3.5]), tensor([2, -3, 0, 1], "INT64")
    answer = infer_json(server, "gather", {"INPUT0": values, "INDEX": index})
    same(answer["OUTPUT0"], values[index])


def test_string_arithmetic(server):
    a, b = np.arange(16) * 1000, np.arange(16) - 8
    inputs = {"INPUT0": tensor([str(x) for x in a], "BYTES", (1, 16)), "INPUT1": tensor([str(x) for x in b], "BYTES", (1, 16))}
    for mode in (False, True):
        answer = infer(server, "simple_string", inputs, binary_in=mode, binary_out=mode)
        same(answer["OUTPUT0"], tensor([str(x) for x in a + b], "BYTES", (1, 16)))
        same(answer["OUTPUT1"], tensor([str(x) for x in a - b], "BYTES", (1, 16)))


def raw(server, model, data):
    return server.post(infer_path(model), data, {"Inference-Header-Content-Length": 0})


@pytest.mark.parametrize("model, array, shape", [
    ("identity", tensor([1, 2, 3]), (3,)), ("identity_FP16", tensor([1, 2, 3], "FP16"), (1, 3)),
    ("identity_INT64", tensor([-1], "INT64"), (1, 1))])
def test_raw_binary_request(server, model, array, shape):
    reply = raw(server, model, array.tobytes())
    assert reply.headers["content-type"] == "application/octet-stream"
    answer = decode(reply)
    same(answer["OUTPUT0"], array.reshape(shape))
    assert answer.binary == {"OUTPUT0"}


def test_raw_binary_image(server):
    image = np.random.default_rng(1).random((3, 224, 224), dtype=np.float32)
    one = decode(raw(server, "densenet_onnx", image.tobytes()))["fc6_1"]
    other = infer_binary(server, "densenet_onnx", {"data_0": image})["fc6_1"]
    assert one.shape == (1000,)
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("count", [1, 3, 1000, 5000])
def test_classification_with_labels(server, count, binary):
    image = np.random.default_rng(2).random((3, 224, 224), dtype=np.float32)
    scores = infer_binary(server, "densenet_onnx", {"data_0": image})["fc6_1"]
    answer = infer(server, "densenet_onnx", {"data_0": image}, [("fc6_1", {"classification": count})], binary_in=True,
                   binary_out=binary)
    labels = [f"label{i}" for i in range(1000)]
    same(answer["fc6_1"], tensor(classes(scores, count, labels), "BYTES"))
    assert answer.document["outputs"][0]["datatype"] == "BYTES"


@pytest.mark.parametrize("datatype", [name for name in NAMES.values() if name not in ("BOOL", "BYTES", "FP16", "BF16")])
def test_classification_of_each_row(server, datatype):
    array = tensor([[1, 9, 3, 9], [4, 3, 2, 1]], datatype)
    answer = infer(server, f"identity_{datatype}", {"INPUT0": array}, [("OUTPUT0", {"classification": 2})])
    assert answer["OUTPUT0"].shape == (2, 2)
    assert list(answer["OUTPUT0"][1]) == classes(array[1], 2)
    assert sorted(answer["OUTPUT0"][0]) == sorted(classes(array[0], 2))


def test_classification_zero_is_off(server):
    array = tensor([[1, 2]])
    answer = infer(server, "identity_FP32", {"INPUT0": array}, [("OUTPUT0", {"classification": 0})])
    same(answer["OUTPUT0"], array)


def test_unknown_members_and_parameters_are_no_trouble(server):
    inputs, expected = sums()
    answer = infer(server, "simple", inputs, surprise={"a": [1]},
                   parameters={"text": "x", "number": 5, "flag": True, "real": 0.5, "priority": 1, "timeout": 1000000})
    same(answer["OUTPUT0"], expected["OUTPUT0"])


def test_duplicate_member_the_first_wins(server):
    body = (b'{"id":"first","id":"second","inputs":[{"name":"INPUT0","shape":[1,1],"datatype":"INT32","data":[1],"data":[2]}]}')
    answer = decode(server.post(infer_path("identity_INT32"), body))
    assert answer.document["id"] == "first"
    same(answer["OUTPUT0"], tensor([[1]], "INT32"))


def test_byte_order_mark_and_white_space(server):
    body, headers = encode(sums()[0])
    answer = decode(server.post(infer_path("simple"), b"\xef\xbb\xbf \r\n\t" + body + b" \n", headers))
    same(answer["OUTPUT0"], sums()[1]["OUTPUT0"])


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "nonsense"])
def test_content_type_is_ignored(server, content_type):
    body, _ = encode(sums()[0])
    assert server.post(infer_path("simple"), body, {"Content-Type": content_type}).status == 200


def test_header_length_may_span_the_whole_body(server):
    body, _ = encode(sums()[0])
    reply = server.post(infer_path("simple"), body, {"inference-header-content-length": len(body)})
    same(decode(reply)["OUTPUT1"], sums()[1]["OUTPUT1"])
