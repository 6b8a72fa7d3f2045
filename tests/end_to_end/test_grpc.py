"""gRPC: Triton's clients, as they are used; the cache behind both front ends; cancels, deadlines and streams."""

import asyncio
import itertools
import os
import queue
import re
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from google.protobuf import json_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from support import LOCAL, PATIENCE, ROOT, ask_simple, classes, eventually, same, sums, tensor, to_wire
from traffic import EXPLICIT, ONE_THREAD, echo, hold, is_hit, put, wait_metric, wait_queued
from triton import RELEASE

GO_CLIENT = ROOT / ".deps/gotools/bin/go_client"


def client(server, **options):
    return triton.InferenceServerClient(f"{LOCAL}:{server.grpc_port}", **options)


def stub(channel):
    return service_pb2_grpc.GRPCInferenceServiceStub(channel)


@pytest.fixture
def channel():
    """channel(server): a plain channel of grpcio, closed after the test."""
    channels = []

    def make(server, *options):
        channels.append(grpc.insecure_channel(f"{LOCAL}:{server.grpc_port}", options=list(options)))
        return channels[-1]

    yield make
    for one in channels:
        one.close()


def inputs_of(arrays, kind=triton.InferInput, datatypes=None):
    inputs = []
    for name, array in arrays.items():
        inputs.append(kind(name, list(array.shape), (datatypes or {}).get(name) or np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(array)
    return inputs


def check_simple(result, expected):
    for name, array in expected.items():
        same(result.as_numpy(name), array)


def message(model, arrays, **members):
    """A ModelInferRequest with raw contents."""
    request = service_pb2.ModelInferRequest(model_name=model, **members)
    for name, array in arrays.items():
        request.inputs.add(name=name, datatype=np_to_triton_dtype(array.dtype), shape=array.shape)
        request.raw_input_contents.append(to_wire(array))
    return request


def refusal(call):
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


# --- Triton's client, method by method ---


def test_health_and_metadata(server):
    with client(server) as connection:
        assert connection.is_server_live() and connection.is_server_ready()
        assert connection.is_model_ready("simple") and connection.is_model_ready("simple", "1")
        assert not connection.is_model_ready("nope") and not connection.is_model_ready("simple", "9")
        metadata = connection.get_server_metadata()
        http = server.get("/v2").json
        assert (metadata.name, metadata.version, list(metadata.extensions)) == (
            http["name"], http["version"], http["extensions"])


@pytest.mark.parametrize("model", ["simple", "densenet_onnx", "identity_BYTES", "scalar"])
def test_metadata_and_config_equal_those_of_http(server, model):
    with client(server) as connection:
        metadata = connection.get_model_metadata(model, as_json=True)
        http = server.get(f"/v2/models/{model}").json
        for kind in ("inputs", "outputs"):
            for grpcs, https in zip(metadata[kind], http[kind], strict=True):
                assert (grpcs["name"], grpcs["datatype"], [int(n) for n in grpcs.get("shape", [])]) == (
                    https["name"], https["datatype"], https["shape"])
        config = connection.get_model_config(model).config
        text = server.get(f"/v2/models/{model}/config").body.decode()
        assert config == json_format.Parse(text, model_config_pb2.ModelConfig(), ignore_unknown_fields=True)


def test_statistics(serve, repository):
    server = serve(repository.add("simple"))
    with client(server) as connection:
        for _ in range(3):
            connection.infer("simple", inputs_of(sums()[0]))
        model, = connection.get_inference_statistics("simple").model_stats
        assert (model.name, model.version) == ("simple", "1")
        assert (model.inference_count, model.execution_count) == (1, 1)
        assert model.inference_stats.success.count == 3 and model.inference_stats.cache_hit.count == 2
        assert [one.name for one in connection.get_inference_statistics().model_stats] == ["simple"]
        with pytest.raises(InferenceServerException, match="requested model 'nope' is not available"):
            connection.get_inference_statistics("nope")


def test_model_control(serve, repository, models):
    server = serve(repository.add("simple"), EXPLICIT)
    with client(server) as connection:
        assert [(one.name, one.state) for one in connection.get_model_repository_index().models] == [("simple", "")]
        connection.load_model("simple")
        one, = connection.get_model_repository_index().models
        assert (one.name, one.version, one.state) == ("simple", "1", "READY")
        check_simple(connection.infer("simple", inputs_of(sums()[0])), sums()[1])
        connection.load_model("simple", config=json_format.MessageToJson(connection.get_model_config("simple").config)
                              .replace('"maxBatchSize": 8', '"maxBatchSize": 3'))
        assert connection.get_model_config("simple").config.max_batch_size == 3
        connection.unload_model("simple")
        eventually(lambda: not connection.is_model_ready("simple"), "the unload")
        with pytest.raises(InferenceServerException, match="failed to load 'nope'"):
            connection.load_model("nope")
        content = (models("simple") / "1" / "model.onnx").read_bytes()
        connection.load_model("made", config='{"backend":"onnxruntime"}', files={"file:1/model.onnx": content})
        check_simple(connection.infer("made", inputs_of(sums()[0])), sums()[1])


def test_model_control_is_refused_in_other_modes(server):
    with client(server) as connection, pytest.raises(InferenceServerException, match="not allowed") as caught:
        connection.load_model("simple")
    assert caught.value.status() == "StatusCode.UNAVAILABLE"


def test_a_repository_cannot_be_named(server, channel):
    request = service_pb2.RepositoryModelLoadRequest(repository_name="x", model_name="simple")
    assert refusal(lambda: stub(channel(server)).RepositoryModelLoad(request)) == (
        grpc.StatusCode.UNIMPLEMENTED, "'repository_name' specification is not supported")


def test_settings_and_shared_memory(serve, repository):
    server = serve(repository.add("simple"))
    with client(server) as connection:
        assert connection.get_log_settings().settings["log_verbose_level"].uint32_param == 0
        changed = connection.update_log_settings({"log_verbose_level": 1}).settings
        assert changed["log_verbose_level"].uint32_param == 1
        with pytest.raises(InferenceServerException, match="log file location"):
            connection.update_log_settings({"log_file": "/tmp/x"})
        assert list(connection.get_trace_settings("simple").settings["trace_level"].value) == ["OFF"]
        assert not connection.get_system_shared_memory_status().regions
        assert not connection.get_cuda_shared_memory_status().regions
        connection.unregister_system_shared_memory()
        connection.unregister_cuda_shared_memory()
        for status, kind in ((connection.get_system_shared_memory_status, "system"),
                             (connection.get_cuda_shared_memory_status, "cuda")):
            with pytest.raises(InferenceServerException, match=f"Unable to find {kind} shared memory region: 'r'") as caught:
                status("r")
            assert caught.value.status() == "StatusCode.NOT_FOUND"
        with pytest.raises(InferenceServerException, match="GPUs not supported"):
            connection.register_cuda_shared_memory("r", b"aGFuZGxl", 0, 64)


# --- Inference ---


def test_infer(server):
    for rows in (1, 3, 8):
        arrays, expected = sums(rows, 2, rows)
        with client(server) as connection:
            result = connection.infer("simple", inputs_of(arrays), request_id=f"request {rows}")
        check_simple(result, expected)
        assert result.get_response().id == f"request {rows}"
        assert (result.get_response().model_name, result.get_response().model_version) == ("simple", "1")


def test_requested_outputs_and_classification(server):
    arrays, expected = sums(5, 3)
    with client(server) as connection:
        result = connection.infer("simple", inputs_of(arrays), outputs=[triton.InferRequestedOutput("OUTPUT1")])
        assert [one.name for one in result.get_response().outputs] == ["OUTPUT1"]
        same(result.as_numpy("OUTPUT1"), expected["OUTPUT1"])
        result = connection.infer("simple", inputs_of(arrays),
                                  outputs=[triton.InferRequestedOutput("OUTPUT0", class_count=3)])
    assert list(result.as_numpy("OUTPUT0")[0]) == classes(expected["OUTPUT0"][0], 3)


DATATYPES = {"BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
             "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
             "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents"}
VALUES = {"BOOL": [True, False, True], "BYTES": [b"", b"\xff\x00", b"three"],
          **{f"UINT{bits}": [0, 1, 2**bits - 1] for bits in (8, 16, 32, 64)},
          **{f"INT{bits}": [-2**(bits - 1), -1, 2**(bits - 1) - 1] for bits in (8, 16, 32, 64)},
          "FP32": [0.1, -0.0, 1e30], "FP64": [0.1, -0.0, 1e300]}


@pytest.mark.parametrize("datatype", DATATYPES)
def test_typed_and_raw_contents_are_one_question(server, channel, datatype):
    array = tensor(VALUES[datatype], datatype, (1, 3))
    typed = service_pb2.ModelInferRequest(model_name=f"identity_{datatype}")
    one = typed.inputs.add(name="INPUT0", datatype=datatype, shape=[1, 3])
    getattr(one.contents, DATATYPES[datatype]).extend(VALUES[datatype])
    typed.parameters["cache_status"].bool_param = True
    raw = service_pb2.ModelInferRequest(model_name=f"identity_{datatype}", raw_input_contents=[to_wire(array)])
    raw.inputs.add(name="INPUT0", datatype=datatype, shape=[1, 3])
    ask = stub(channel(server)).ModelInfer
    first, second = ask(typed), ask(raw)
    assert first.raw_output_contents == second.raw_output_contents == [to_wire(array)]
    assert not first.outputs[0].HasField("contents")


@pytest.mark.parametrize("kind", ["FP16", "BF16"])
def test_raw_only_datatypes(server, channel, kind):
    request = service_pb2.ModelInferRequest(model_name=f"identity_{kind}", raw_input_contents=[b"\x01\x02\x03\x04"])
    request.inputs.add(name="INPUT0", datatype=kind, shape=[1, 2])
    assert stub(channel(server)).ModelInfer(request).raw_output_contents == [b"\x01\x02\x03\x04"]


def test_strings(server):
    array = np.array([[b"one", b"\xff\x00", b""]], dtype=np.object_)
    with client(server) as connection:
        result = connection.infer("identity_BYTES", inputs_of({"INPUT0": array}, datatypes={"INPUT0": "BYTES"}))
    assert result.as_numpy("OUTPUT0").tolist() == array.tolist()


def long_numbers(count):
    return np.arange(count, dtype=np.float32)


@pytest.mark.parametrize("count", [1000, 20_000, 1_000_000])
def test_long_tensors(server, count):
    array = long_numbers(count)
    with client(server) as connection:
        same(connection.infer("identity", inputs_of({"INPUT0": array})).as_numpy("OUTPUT0"), array)


@pytest.mark.threads
def test_long_typed_contents(server, channel):
    array = long_numbers(100_000)
    request = service_pb2.ModelInferRequest(model_name="identity")
    one = request.inputs.add(name="INPUT0", datatype="FP32", shape=array.shape)
    one.contents.fp32_contents.extend(array.ravel().tolist())
    wide = channel(server, ("grpc.max_receive_message_length", -1))
    assert stub(wide).ModelInfer(request).raw_output_contents == [array.tobytes()]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
@pytest.mark.parametrize("count", [10, 100_000])
def test_compressed_requests(server, algorithm, count):
    array = long_numbers(count)
    with client(server) as connection:
        same(connection.infer("identity", inputs_of({"INPUT0": array}), compression_algorithm=algorithm)
             .as_numpy("OUTPUT0"), array)


@pytest.mark.parametrize("count", [10, 100_000])
def test_compressed_responses(serve, repository, count):
    server = serve(repository.add("identity"), "--grpc-infer-response-compression-level=low")
    array = long_numbers(count)
    with client(server) as connection:
        same(connection.infer("identity", inputs_of({"INPUT0": array})).as_numpy("OUTPUT0"), array)


def wrong(change):
    request = message("simple", sums()[0])
    change(request)
    return request


INVALID = {
    "unknown model": (lambda r: setattr(r, "model_name", "nope"), "NOT_FOUND",
                      "Request for unknown model: 'nope' is not found"),
    "unknown version": (lambda r: setattr(r, "model_version", "9"), "NOT_FOUND",
                        "Request for unknown model: 'simple' version 9 is not found"),
    "no number": (lambda r: setattr(r, "model_version", "x"), "INVALID_ARGUMENT", "(details: stol)"),
    "negative version": (lambda r: setattr(r, "model_version", "-1"), "INVALID_ARGUMENT",
                         "invalid model version specified '-1' , version should be an integral value > 0"),
    "raw and typed": (lambda r: r.inputs[0].contents.int_contents.append(1), "INVALID_ARGUMENT",
                      "contents field must not be specified when using raw_input_contents for 'INPUT0' for model "
                      "'simple'"),
    "too few raw": (lambda r: r.raw_input_contents.pop(), "INVALID_ARGUMENT",
                    "unable to find data for input tensor 'INPUT1' for model 'simple' in request."),
    "short raw": (lambda r: r.raw_input_contents.__setitem__(0, b"1"), "INVALID_ARGUMENT",
                  "input byte size mismatch for input 'INPUT0' for model 'simple'. Expected 64, got 1"),
    "shape": (lambda r: r.inputs[0].shape.__setitem__(1, 15), "INVALID_ARGUMENT", "unexpected shape for input 'INPUT0'"),
    "datatype": (lambda r: setattr(r.inputs[0], "datatype", "FP32"), "INVALID_ARGUMENT",
                 "inference input 'INPUT0' data-type is 'FP32', but model 'simple' expects 'INT32'"),
    "no datatype": (lambda r: setattr(r.inputs[0], "datatype", "STRING"), "INVALID_ARGUMENT", "data-type is '<invalid>'"),
    "missing input": (lambda r: r.inputs.pop(), "INVALID_ARGUMENT", "expected 2 inputs but got 1 inputs"),
    "unknown output": (lambda r: r.outputs.add(name="NOPE"), "INVALID_ARGUMENT",
                       "unexpected inference output 'NOPE' for model 'simple'"),
    "reserved": (lambda r: setattr(r.parameters["triton_x"], "bool_param", True), "INVALID_ARGUMENT",
                 "parameter keys starting with 'triton_' are reserved for Triton usage"),
    "reserved and unset": (lambda r: r.parameters["triton_x"].Clear(), "INVALID_ARGUMENT",
                           "parameter keys starting with 'triton_' are reserved for Triton usage"),
    "twice, and too few raw": (lambda r: (setattr(r.inputs[1], "name", "INPUT0"), r.raw_input_contents.pop()),
                               "INVALID_ARGUMENT", "[request id: <id_unknown>] input 'INPUT0' already exists in request"),
    "long sequence id": (lambda r: setattr(r.parameters["sequence_id"], "string_param", "x" * 129), "UNIMPLEMENTED",
                         "string correlation ID cannot be longer than 128 characters"),
}


@pytest.mark.parametrize("shape", [-1, -3, -2**63])
def test_negative_dimensions(server, channel, shape):
    request = message("identity", {"INPUT0": np.ones(2, np.float32)})
    request.inputs[0].shape[:] = [shape]
    assert refusal(lambda: stub(channel(server)).ModelInfer(request)) == (
        grpc.StatusCode.INVALID_ARGUMENT, "[request id: <id_unknown>] All input dimensions should be specified for input "
        f"'INPUT0' for model 'identity', got [{shape}]")


@pytest.mark.parametrize("good, rest, text", [
    (16, b"\x05\0\0\0", "unexpected number of string elements 17 for"),
    (19, b"", "unexpected number of string elements 17 for"),
    (15, b"\x05\0\0\0A", "expecting string of length 5 but only 1 bytes available"),
    (6, b"\x01\0\1\0A", "expected 16 string elements for inference input 'INPUT0' for model 'simple_string', got 7"),
    (3, b"\x01\0", "expecting 4 bytes but only 2 bytes available")])
def test_broken_strings(server, channel, good, rest, text):
    request = message("simple_string", {name: np.array([[b"1"] * 16], dtype=object) for name in ("INPUT0", "INPUT1")})
    request.raw_input_contents[0] = b"\x01\0\0\0A" * good + rest
    code, got = refusal(lambda: stub(channel(server)).ModelInfer(request))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and text in got


@pytest.mark.parametrize("case", INVALID)
def test_invalid_requests(server, channel, case):
    change, code, text = INVALID[case]
    ask = stub(channel(server))
    got = refusal(lambda: ask.ModelInfer(wrong(change)))
    assert got[0].name == code and text in got[1]
    stream = ask.ModelStreamInfer(iter([wrong(change), message("simple", sums()[0], id="good")]))
    first, second = list(stream)  # an error does not end the stream
    assert text in first.error_message
    assert second.error_message == "" and second.infer_response.id == "good"


def test_wrong_typed_contents(server, channel):
    request = service_pb2.ModelInferRequest(model_name="simple")
    for name in ("INPUT0", "INPUT1"):
        one = request.inputs.add(name=name, datatype="INT32", shape=[1, 16])
        one.contents.fp32_contents.extend([1.0] * 16)
    assert refusal(lambda: stub(channel(server)).ModelInfer(request)) == (
        grpc.StatusCode.INVALID_ARGUMENT, "unexpected explicit tensor data for input tensor 'INPUT0' for model "
        "'simple' of type 'FP32', expected datatype 'INT32'")


def test_garbage_and_unknown_methods(server, channel):
    wire = channel(server)

    def call(path, content):
        return wire.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)(content)

    code, _ = refusal(lambda: call("/inference.GRPCInferenceService/ModelInfer", b"\xff\xff"))
    assert code == grpc.StatusCode.INTERNAL
    assert refusal(lambda: call("/inference.GRPCInferenceService/ServerLive", b"\xff\xff"))[0] == grpc.StatusCode.INTERNAL
    assert refusal(lambda: call("/inference.GRPCInferenceService/Nope", b""))[0] == grpc.StatusCode.UNIMPLEMENTED
    assert refusal(lambda: call("/nope", b""))[0] == grpc.StatusCode.UNIMPLEMENTED


# --- One cache behind both front ends ---


def test_an_answer_stored_by_one_protocol_is_a_hit_by_the_other(serve, repository, channel):
    server = serve(repository.add("simple"))
    ask = stub(channel(server)).ModelInfer
    arrays, _ = sums(7, 7)
    assert not is_hit(put(server, "simple", arrays))
    _, call = ask.with_call(message("simple", arrays))
    metadata = dict(call.initial_metadata())
    assert metadata["cache-status"].startswith("hippocamp; hit") and int(metadata["age"]) >= 0
    arrays, _ = sums(8, 8)
    _, call = ask.with_call(message("simple", arrays))
    assert dict(call.initial_metadata())["cache-status"].startswith("hippocamp; fwd=miss")
    assert is_hit(put(server, "simple", arrays))


@pytest.mark.threads
def test_rows_are_shared_by_both(serve, repository, channel):
    server = serve(repository.add("simple"))
    arrays, _ = sums(1, 1, 4)
    put(server, "simple", {name: array[:3] for name, array in arrays.items()})
    answer, call = stub(channel(server)).ModelInfer.with_call(message("simple", arrays))
    assert "3 of 4 rows" in dict(call.initial_metadata())["cache-status"]
    assert answer.raw_output_contents[0] == (arrays["INPUT0"] + arrays["INPUT1"]).tobytes()


@pytest.mark.parametrize("integer", ["int64_param", "uint64_param"])
def test_a_parameter_is_the_same_in_both(serve, repository, channel, integer):
    server = serve(repository.add("simple"))
    arrays, _ = sums()
    put(server, "simple", arrays, parameters={"custom": 5})
    request = message("simple", arrays)
    setattr(request.parameters["custom"], integer, 5)
    _, call = stub(channel(server)).ModelInfer.with_call(request)
    assert dict(call.initial_metadata())["cache-status"].startswith("hippocamp; hit")
    setattr(request.parameters["custom"], integer, 6)
    _, call = stub(channel(server)).ModelInfer.with_call(request)
    assert dict(call.initial_metadata())["cache-status"].startswith("hippocamp; fwd=miss")


def test_directives(serve, repository, channel):
    server = serve(repository.add("simple"))
    ask = stub(channel(server)).ModelInfer
    request = message("simple", sums()[0])
    request.parameters["cache"].string_param = "only"
    code, _ = refusal(lambda: ask(request))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    request.parameters["cache"].string_param = "default"
    request.parameters["cache_status"].bool_param = True
    assert ask(request).parameters["cache_status"].string_param.startswith("hippocamp; fwd=miss")
    assert ask(request).parameters["cache_status"].string_param.startswith("hippocamp; hit")
    status = ask(request, metadata=[("cache-control", "no-cache")]).parameters["cache_status"].string_param
    assert status.startswith("hippocamp; fwd=request")
    request.parameters["cache"].string_param = "bypass"
    assert ask(request).parameters["cache_status"].string_param.startswith("hippocamp; fwd=bypass")


@pytest.mark.threads
def test_equal_calls_join(serve, repository, channel):
    server = serve(echo_repository(repository, cached=True))
    ask = stub(channel(server)).ModelInfer
    request = message("echo", {"INPUT0": np.array([5], np.int32)})
    request.parameters["delay_ms"].int64_param = 300
    calls = [ask.future(request) for _ in range(20)]
    assert {call.result().raw_output_contents[0] for call in calls} == {np.array([5], np.int32).tobytes()}
    assert server.statistics("echo")["execution_count"] == 1


def echo_repository(repository, **options):
    echo(repository, **options)
    return repository


# --- Streams ---


@pytest.mark.threads
def test_stream(server):
    results = queue.Queue()
    with client(server) as connection:
        connection.start_stream(lambda result, error: results.put((result, error)))
        for i in range(500):
            connection.async_stream_infer("simple", inputs_of(sums(i % 50, 1)[0]), request_id=str(i))
        for i in range(500):
            result, error = results.get(timeout=PATIENCE)
            assert error is None and result.get_response().id == str(i)
            check_simple(result, sums(i % 50, 1)[1])
            assert result.get_response().parameters["triton_final_response"].bool_param
        connection.async_stream_infer("nope", inputs_of(sums()[0]), request_id="unknown")
        result, error = results.get(timeout=PATIENCE)
        assert result is None and "Request for unknown model" in str(error)
        connection.stop_stream()


def test_a_stream_answers_in_order(serve, repository, channel):
    server = serve(echo_repository(repository, extra="instance_group [ { kind: KIND_CPU count: 4 } ]\n"))

    def requests():
        for i, delay in enumerate((300, 0, 100, 0)):
            request = message("echo", {"INPUT0": np.array([i], np.int32)}, id=str(i))
            request.parameters["delay_ms"].int64_param = delay
            yield request

    assert [one.infer_response.id for one in stub(channel(server)).ModelStreamInfer(requests())] == list("0123")


@pytest.mark.parametrize("ends", [False, True])
def test_a_model_that_fails_in_a_stream(server, channel, ends):
    """Unlike a refused request, it is told with the model's name, and with triton_grpc_error ends the stream."""
    bad = message("simple_string", {name: np.array([[b"no number"] * 16], dtype=object) for name in ("INPUT0", "INPUT1")}, id="bad")
    requests = [message("nope", sums()[0], id="refused"), message("simple", sums()[0], id="good"), bad,
                message("simple", sums()[0], id="after")]
    call = stub(channel(server)).ModelStreamInfer(iter(requests), metadata=(("triton_grpc_error", "true"),) if ends else ())
    answers = [next(call), next(call)]
    assert [one.infer_response.id for one in answers] == ["refused", "good"]
    assert "unknown model" in answers[0].error_message and not answers[0].infer_response.parameters
    if ends:
        code, text = refusal(lambda: next(call))
        assert code == grpc.StatusCode.INTERNAL and text.startswith("onnx runtime error")
        return
    failed, after = call
    assert failed.error_message.startswith("onnx runtime error")
    assert (failed.infer_response.model_name, failed.infer_response.id) == ("simple_string", "bad")
    assert failed.infer_response.parameters["triton_final_response"].bool_param
    assert after.infer_response.id == "after" and not after.error_message


def test_ten_thousand_requests_in_one_stream(server, channel):
    requests = (message("simple", sums(i % 100)[0], id=str(i)) for i in range(10_000))
    for i, answer in enumerate(stub(channel(server)).ModelStreamInfer(requests)):
        assert answer.infer_response.id == str(i) and not answer.error_message
        assert answer.infer_response.raw_output_contents[0] == sums(i % 100)[1]["OUTPUT0"].tobytes()
    assert i == 9_999


def test_a_stream_that_is_cancelled(serve, repository, channel):
    server = serve(echo_repository(repository), ONE_THREAD)
    stream = stub(channel(server)).ModelStreamInfer(iter([delayed(i, 3000 if i == 0 else 400) for i in range(10)]))
    wait_queued(server, "echo", 9)
    stream.cancel()
    wait_queued(server, "echo", 0)
    assert stub(channel(server)).ModelInfer(delayed(1, 0)).id == "1"


def test_the_aio_client(server):
    async def use():
        async with triton_aio.InferenceServerClient(f"{LOCAL}:{server.grpc_port}") as connection:
            assert await connection.is_server_ready()
            results = await asyncio.gather(*(connection.infer("simple", inputs_of(sums(i)[0])) for i in range(50)))
            for i, result in enumerate(results):
                check_simple(result, sums(i)[1])

            async def requests():
                for i in range(20):
                    yield {"model_name": "simple", "inputs": inputs_of(sums(i)[0]), "request_id": str(i)}

            i = 0
            async for result, error in connection.stream_infer(requests()):
                assert error is None and result.get_response().id == str(i)
                i += 1
            assert i == 20

    asyncio.run(asyncio.wait_for(use(), PATIENCE))


@pytest.mark.threads
def test_async_infer(server):
    results = queue.Queue()
    with client(server) as connection:
        for i in range(50):
            connection.async_infer("simple", inputs_of(sums(i)[0]), request_id=str(i),
                                   callback=lambda result, error: results.put((result, error)))
        for _ in range(50):
            result, error = results.get(timeout=PATIENCE)
            assert error is None
            check_simple(result, sums(int(result.get_response().id))[1])


# --- Clients that do not wait ---


def delayed(value, milliseconds, model="echo"):
    request = message(model, {"INPUT0": np.array([value], np.int32)}, id=str(value))
    request.parameters["delay_ms"].int64_param = milliseconds
    return request


@pytest.mark.threads
def test_cancelled_calls_leave_the_queue(serve, repository, channel):
    server = serve(echo_repository(repository), ONE_THREAD)
    ask = stub(channel(server)).ModelInfer
    held = hold(server, milliseconds=3000, values=(-1,))
    calls = [ask.future(delayed(i, 5000)) for i in range(19)]
    wait_queued(server, "echo", 19)
    for call in calls:
        call.cancel()
    wait_queued(server, "echo", 0)
    assert held.reply("POST").status == 200
    wait_metric(server, "nv_inference_request_failure", 19, model="echo", version="1", reason="CANCELED")


def test_calls_past_their_deadline_leave_the_queue(serve, repository, channel):
    server = serve(echo_repository(repository), ONE_THREAD)
    held = hold(server, milliseconds=2000, values=(-1,))
    code, _ = refusal(lambda: stub(channel(server)).ModelInfer(delayed(1, 5000), timeout=0.2))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    wait_queued(server, "echo", 0)
    assert held.reply("POST").status == 200


def test_the_server_keeps_the_deadline_itself(serve, repository):
    """The client's own clock does not end the call: its deadline is in the metadata only."""
    server = serve(echo_repository(repository), ONE_THREAD)
    held = hold(server, milliseconds=1000, values=(-1,))
    content = delayed(1, 5000).SerializeToString()
    done = subprocess.run(["nghttp", "-v", "-H", ":method: POST", "-H", "content-type: application/grpc", "-H", "te: trailers",
                           "-H", "grpc-timeout: 100m", "-d", "-",
                           f"http://{LOCAL}:{server.grpc_port}/inference.GRPCInferenceService/ModelInfer"],
                          input=b"\0" + len(content).to_bytes(4, "big") + content, capture_output=True, timeout=PATIENCE)
    assert b"grpc-status: 4" in done.stdout, done.stdout
    assert held.reply("POST").status == 200


@pytest.mark.threads
def test_many_cancels(serve, repository, channel):
    """Triton ends with SIGSEGV after some hundred."""
    server = serve(echo_repository(repository, cached=True))
    ask = stub(channel(server)).ModelInfer
    for i in range(2000):
        ask.future(delayed(i, 20)).cancel()
    assert ask(delayed(5000, 0)).id == "5000"
    wait_queued(server, "echo", 0)


@pytest.mark.threads
def test_a_client_that_leaves(serve, repository, channel):
    server = serve(echo_repository(repository), ONE_THREAD)
    wire = channel(server)
    calls = [stub(wire).ModelInfer.future(delayed(i, 3000)) for i in range(10)]
    wait_queued(server, "echo", 9)
    wire.close()
    wait_queued(server, "echo", 0)
    del calls


# --- Health, reflection, access, stop ---


SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"  # HealthCheckResponse, serialized


def test_health_service(serve, repository, channel):
    server = serve(repository.add("simple"), EXPLICIT)
    wire = channel(server)
    raw = {"request_serializer": bytes, "response_deserializer": bytes}
    assert wire.unary_unary("/grpc.health.v1.Health/Check", **raw)(b"") == SERVING
    assert SERVING in wire.unary_unary("/grpc.health.v1.Health/List", **raw)(b"")
    watch = wire.unary_stream("/grpc.health.v1.Health/Watch", **raw)(b"\x0a\x01x")
    assert next(watch) == SERVING
    server.signal(15)
    assert next(watch) == NOT_SERVING
    with pytest.raises(grpc.RpcError):
        next(watch)
    assert server.wait() == 0


def test_restricted_protocols(serve, repository, channel):
    server = serve(repository.add("simple"), "--grpc-restricted-protocol=model-config,statistics:admin-key=secret",
                   "--grpc-restricted-protocol=inference:infer-key=other")
    ask = stub(channel(server))
    request = service_pb2.ModelConfigRequest(name="simple")
    assert refusal(lambda: ask.ModelConfig(request)) == (
        grpc.StatusCode.UNAVAILABLE,
        "This protocol is restricted, expecting header 'triton-grpc-protocol-admin-key'")
    assert ask.ModelConfig(request, metadata=[("triton-grpc-protocol-admin-key", "secret")]).config.name == "simple"
    assert refusal(lambda: ask.ModelConfig(request, metadata=[("triton-grpc-protocol-admin-key", "no")]))
    assert refusal(lambda: ask.ModelInfer(message("simple", sums()[0])))[0] == grpc.StatusCode.UNAVAILABLE
    assert refusal(lambda: list(ask.ModelStreamInfer(iter([message("simple", sums()[0])]))))[0] == \
        grpc.StatusCode.UNAVAILABLE
    key = [("triton-grpc-protocol-infer-key", "other")]
    assert ask.ModelInfer(message("simple", sums()[0]), metadata=key).model_name == "simple"
    assert ask.ServerLive(service_pb2.ServerLiveRequest()).live


@pytest.mark.threads
def test_calls_in_flight_end_before_the_server(serve, repository, channel):
    server = serve(echo_repository(repository), ONE_THREAD)
    wire = channel(server)
    calls = [stub(wire).ModelInfer.future(delayed(i, 700)) for i in range(2)]
    wait_queued(server, "echo", 1)  # and the other one runs
    server.signal(15)
    assert [call.result().id for call in calls] == ["0", "1"]
    assert server.wait() == 0


def test_idle_clients_do_not_delay_the_stop(serve, repository, channel):
    server = serve(repository.add("simple"))
    wires = [channel(server, ("grpc.use_local_subchannel_pool", 1)) for _ in range(3)]
    for wire in wires:
        stub(wire).ServerLive(service_pb2.ServerLiveRequest())
    server.signal(15)
    assert server.wait() == 0


def test_the_connection_age(serve, repository, channel):
    """Calls go on while the client is asked to connect anew."""
    server = serve(repository.add("simple"), "--grpc-max-connection-age=1000")
    ask = stub(channel(server)).ModelInfer
    peers = set()  # of the server's connections

    def anew():
        _, call = ask.with_call(message("simple", sums()[0]))
        assert call.code() == grpc.StatusCode.OK
        peers.update(established(server.grpc_port))
        return len(peers) > 2

    eventually(anew, "a third connection")


def established(port):
    """The clients' ports of the connections to a port of this machine."""
    rows = [line.split() for line in open("/proc/net/tcp", encoding="ascii")][1:]
    return {int(row[2].split(":")[1], 16) for row in rows if row[3] == "01" and int(row[1].split(":")[1], 16) == port}


def test_a_unix_socket(serve, repository, tmp_path):
    server = serve(repository.add("simple"), f"--grpc-address=unix:{tmp_path / 'grpc.sock'}")
    with grpc.insecure_channel(f"unix:{tmp_path / 'grpc.sock'}") as wire:
        assert stub(wire).ServerLive(service_pb2.ServerLiveRequest()).live
    server.stop()
    assert not (tmp_path / "grpc.sock").exists()


def test_grpc_can_be_off(serve, repository):
    server = serve(repository.add("simple"), "--allow-grpc=false")
    assert not server.lines("GRPCInferenceService")
    ask_simple(server)


def test_options_without_effect_say_so(serve, repository):
    server = serve(repository.add("simple"), "--grpc-infer-thread-count=4", "--grpc-max-response-pool-size=1",
                   "--grpc-header-forward-pattern=.*")
    assert server.lines("grpc-infer-thread-count has no effect") and server.lines("grpc-header-forward-pattern has no")
    assert server.lines("grpc-max-response-pool-size have no effect")


# --- A client in Go ---


@pytest.mark.parametrize("command", [["live"], ["infer", "200"], ["stream", "500"]])
def test_go_client(server, command):
    done = subprocess.run([GO_CLIENT, "-proto", ROOT / "wire/grpc_service.proto", f"{LOCAL}:{server.grpc_port}", *command],
                          capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr


# --- TLS ---


def tls_options(identity, *more):
    return [f"--grpc-server-cert={identity.cert}", f"--grpc-server-key={identity.key}", *(more or ["--grpc-use-ssl"])]


def credentials(authority, identity=None):
    read = lambda path: path.read_bytes()
    return grpc.ssl_channel_credentials(read(authority.cert), *((read(identity.key), read(identity.cert)) if identity
                                                                else ()))


def secure(server, *arguments):
    return grpc.secure_channel(f"{LOCAL}:{server.grpc_port}", credentials(*arguments))


def test_tls(serve, repository, authority, stranger):
    server = serve(repository.add("simple", "identity"), *tls_options(authority.server()))
    with triton.InferenceServerClient(f"{LOCAL}:{server.grpc_port}", ssl=True,
                                      root_certificates=str(authority.cert)) as connection:
        check_simple(connection.infer("simple", inputs_of(sums()[0])), sums()[1])
        array = long_numbers(1_000_000)
        same(connection.infer("identity", inputs_of({"INPUT0": array})).as_numpy("OUTPUT0"), array)
    with secure(server, stranger) as wire:
        assert refusal(lambda: stub(wire).ServerLive(service_pb2.ServerLiveRequest()))[0] == grpc.StatusCode.UNAVAILABLE


def test_clients_of_another_protocol(serve, repository, authority):
    server = serve(repository.add("simple"), *tls_options(authority.server()), "--log-verbose=1")
    with socket.create_connection((LOCAL, server.grpc_port)) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
        server.wait_log("TLS with a client of gRPC failed: ")
    plain = serve(repository, "--log-verbose=1")
    with socket.create_connection((LOCAL, plain.grpc_port)) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        plain.wait_log("a client of gRPC does not speak HTTP/2")


def test_a_client_without_handshake_costs_nothing(serve, repository, authority):
    """The server, which has its SETTINGS to write, waits for the client."""
    server = serve(repository.add("simple"), *tls_options(authority.server()))

    def ticks():
        fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    with socket.create_connection((LOCAL, server.grpc_port)):
        time.sleep(0.2)  # the accept
        before = ticks()
        time.sleep(1)
        assert ticks() - before <= 0.05 * os.sysconf("SC_CLK_TCK")


def test_mutual_tls(serve, repository, authority, stranger):
    server = serve(repository.add("simple"), *tls_options(authority.server(), "--grpc-use-ssl-mutual",
                                                          f"--grpc-root-cert={authority.cert}"))
    with secure(server, authority, authority.client()) as wire:
        assert stub(wire).ModelInfer(message("simple", sums()[0])).model_name == "simple"
    for arguments in ([authority], [authority, stranger.client()]):
        with secure(server, *arguments) as wire:
            code, _ = refusal(lambda: stub(wire).ServerLive(service_pb2.ServerLiveRequest()))
            assert code == grpc.StatusCode.UNAVAILABLE


def test_renewed_certificates(serve, repository, authority, stranger, tmp_path):
    files = [tmp_path / "server.pem", tmp_path / "server.key"]

    def hold(identity):
        shutil.copy(identity.cert, files[0])
        shutil.copy(identity.key, files[1])

    hold(authority.server())
    server = serve(repository.add("simple"), f"--grpc-server-cert={files[0]}", f"--grpc-server-key={files[1]}",
                   "--grpc-use-ssl")
    with secure(server, authority) as old, secure(server, stranger) as new:
        assert stub(old).ServerLive(service_pb2.ServerLiveRequest()).live
        hold(stranger.server())
        server.wait_log("the certificates of gRPC have been read again")
        assert stub(new).ServerLive(service_pb2.ServerLiveRequest(), wait_for_ready=True, timeout=PATIENCE).live
        assert stub(old).ServerLive(service_pb2.ServerLiveRequest()).live  # its connection keeps what it began with


@pytest.mark.threads
def test_work_that_outlives_its_call_delays_the_stop(serve, repository, channel):
    """Decoding, decompression and loading go on while their client has left and the server stops."""
    server = serve(repository.add("simple", "identity"), EXPLICIT, "--load-model=identity", "--load-model=simple")
    array = long_numbers(4_000_000)
    wires = [channel(server, ("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)) for _ in range(6)]
    request = message("identity", {"INPUT0": array})
    calls = [stub(wire).ModelInfer.future(request, compression=grpc.Compression.Gzip if i % 2 else None)
             for i, wire in enumerate(wires[:4])]
    calls += [stub(wire).RepositoryModelLoad.future(service_pb2.RepositoryModelLoadRequest(model_name="simple"))
              for wire in wires[4:]]
    time.sleep(0.5)  # somewhere within the work
    for wire in wires:
        wire.close()
    server.signal(15)
    assert server.wait() == 0
    assert all(call.code() is not None for call in calls)


# --- What hostile clients and reviewers found ---


def resident(server):
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s*(\d+)", status)[1]) << 10


def test_a_load_that_is_cancelled_before_its_message(serve, repository, channel):
    server = serve(repository.add("simple"))
    load = channel(server).stream_unary("/inference.GRPCInferenceService/RepositoryModelLoad", request_serializer=bytes,
                                        response_deserializer=bytes)
    release = threading.Event()

    def nothing():
        release.wait(PATIENCE)
        yield from ()

    for _ in range(5):
        call = load.future(nothing())
        time.sleep(0.1)  # its header fields are there, its message is not
        call.cancel()
    release.set()
    assert stub(channel(server)).ServerLive(service_pb2.ServerLiveRequest()).live


def test_an_idle_stream_does_not_delay_the_stop(serve, repository, channel):
    server = serve(repository.add("simple"))
    requests = queue.Queue()
    requests.put(message("simple", sums()[0], id="first"))
    stream = stub(channel(server)).ModelStreamInfer(iter(requests.get, None))
    assert next(stream).infer_response.id == "first"
    server.signal(15)
    with pytest.raises(grpc.RpcError) as caught:
        next(stream)
    requests.put(None)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert server.wait() == 0


def test_answers_that_nobody_takes_bound_the_memory(serve, repository, channel):
    """Of streams of inferences and of reflection; gRPC's client stops reading at its window of 64 KiB."""
    server = serve(repository.add("simple"), program=RELEASE / "hippocamp")
    wire = channel(server, ("grpc.http2.lookahead_bytes", 65535), ("grpc.http2.bdp_probe", 0))
    raw = {"request_serializer": bytes, "response_deserializer": bytes}
    before = resident(server)
    calls = []
    stream, reflection = "/inference.GRPCInferenceService/ModelStreamInfer", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    symbol = b"inference.GRPCInferenceService"
    for path, content in ((stream, message("nope", sums()[0]).SerializeToString()), (stream, b""),
                          (reflection, b"\x22" + bytes([len(symbol)]) + symbol)):
        calls.append(wire.stream_stream(path, **raw)(itertools.repeat(content, 200_000)))
    time.sleep(3)
    assert resident(server) - before < 200 << 20
    for call in calls:
        call.cancel()


def test_compressed_messages_are_charged_before_they_unpack(serve, repository, channel):
    server = serve(repository.add("identity"), "--http-max-inflight-bytes=16MiB", program=RELEASE / "hippocamp")
    before = resident(server)
    ask = stub(channel(server, ("grpc.max_send_message_length", -1))).ModelInfer
    request = message("identity", {"INPUT0": np.random.default_rng(1).integers(0, 2, 10_000_000).astype(np.float32)})
    code, _ = refusal(lambda: ask(request, compression=grpc.Compression.Gzip))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert resident(server) - before < 100 << 20


def test_directives_in_several_fields(serve, repository, channel):
    server = serve(repository.add("simple"))
    ask = stub(channel(server)).ModelInfer
    for turn in range(2):
        _, call = ask.with_call(message("simple", sums()[0]), metadata=[("cache-control", "x"), ("cache-control", "no-store")])
        assert dict(call.initial_metadata())["cache-status"] == "hippocamp; fwd=miss", turn
