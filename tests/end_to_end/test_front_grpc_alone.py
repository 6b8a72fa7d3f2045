"""In front of a server that is known by its gRPC alone: clients of HTTP, too, get its answers."""

import gzip
import json
import signal
import struct

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2

from fronts import FakeGrpc
from support import (CACHE, LOCAL, Repository, ask_identity, ask_scale, ask_simple, at_once, decode, encode, eventually, free_port, infer,
                     infer_path, request_bytes, same, sums, tensor)
from traffic import EXPLICIT, ensemble, is_hit, metric, put, step, write_config

ALL = "--cache-models=*"
POLL = "--upstream-poll-secs=1"
DATATYPES = ["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"]
PORTS = {"X": "INT32"}, {"Y": "INT32"}


def address(server):
    return f"grpc://{LOCAL}:{server if isinstance(server, int) else server.grpc_port}"


def wait_known(server, model="m"):
    eventually(lambda: any(one["name"] == model for one in server.get("/v2/cache").json["models"]), f"{model} in front")


# --- The whole protocol, of a server of ours ---


def test_both_protocols_share_answers(front, serve, repository):
    behind = serve(repository.add("simple"), "--cache-config=none")
    through = front(address(behind), ALL)
    inputs, expected = sums()
    assert not is_hit(put(through, "simple", inputs))
    for binary in (False, True):
        assert is_hit(put(through, "simple", inputs, binary_in=binary, binary_out=binary))
    ask_simple(through)
    with triton.InferenceServerClient(f"{LOCAL}:{through.grpc_port}") as client:
        given = []
        for name, array in inputs.items():
            given.append(triton.InferInput(name, array.shape, "INT32"))
            given[-1].set_data_from_numpy(array)
        same(client.infer("simple", given).as_numpy("OUTPUT0"), expected["OUTPUT0"])
    behind.expect("simple", inference_count=1, execution_count=1)


@pytest.mark.parametrize("options", [[], [ALL]], ids=["passes", "cached"])
def test_every_datatype(front, serve, models, tmp_path, options):
    repository = Repository(tmp_path / "every", models).add(*(f"identity_{each}" for each in DATATYPES))
    through = front(address(serve(repository, "--cache-config=none")), *options)
    for datatype in DATATYPES:
        array = tensor(["a", "", "ä"] if datatype == "BYTES" else [0, 1, 1], datatype, (1, 3))
        for binary_in, binary_out in ((False, False), (False, True), (True, False), (True, True)):
            if datatype != "FP16" or (binary_in and binary_out):  # which JSON does not have
                answer = infer(through, f"identity_{datatype}", {"INPUT0": array}, binary_in=binary_in, binary_out=binary_out)
                same(answer["OUTPUT0"], array)


def test_documents_are_the_server_s(front, serve, repository):
    behind = serve(repository.add("simple", "densenet_onnx"), "--cache-config=none")
    through = front(address(behind))
    for path in ("/v2", "/v2/models/simple", "/v2/models/simple/versions/1", "/v2/models/simple/config",
                 "/v2/models/densenet_onnx/config", "/v2/models/simple/ready", "/v2/health/ready", "/v2/models/none"):
        theirs, ours = behind.get(path), through.get(path)
        assert (theirs.status, theirs.headers.get("content-type")) == (ours.status, ours.headers.get("content-type"))
        assert theirs.body == ours.body or theirs.json == ours.json
    assert through.get("/v2/models/none/ready").status == 400
    assert through.index() == behind.index()
    assert through.statistics("simple")["inference_count"] == 0


def test_what_grpc_lacks(front, serve, repository):
    behind = serve(repository.add("simple"), "--cache-config=none")
    through = front(address(behind), ALL)
    reply = through.post("/v2/models/simple/generate", b"{}")
    assert reply.status == 501 and "is not translated to gRPC" in reply.error and "--upstream" in reply.error
    body = json.loads(encode(sums()[0])[0]) | {"more": 1}
    reply = through.post(infer_path("simple"), json.dumps(body).encode())
    assert reply.status == 501 and "cannot be told over gRPC" in reply.error
    assert through.get("/v2/models/simple/infer").status == 405
    for i in range(5):  # none of which is the server's fault
        assert through.get("/nothing").status == 501
    ask_simple(through)
    assert metric(through, "hippocamp_upstream_up", upstream=address(behind)) == 1


def test_classification_passes(front, serve, repository):
    behind = serve(repository.add("simple"), "--cache-config=none")
    through = front(address(behind), ALL)
    body, headers = encode(sums()[0], outputs=[("OUTPUT0", {"classification": 2})])
    assert through.post(infer_path("simple"), body, headers).json == behind.post(infer_path("simple"), body, headers).json


@pytest.mark.parametrize("options", [[], [ALL]], ids=["passes", "cached"])
def test_long_requests(front, serve, repository, options):
    """They are transcoded beside the loop, also for clients that leave."""
    behind = serve(repository.add("identity"), "--cache-config=none")
    through = front(address(behind), *options)
    values = tensor(np.arange(100_000))
    for binary in (False, True):
        same(infer(through, "identity", {"INPUT0": values}, binary_in=binary, binary_out=binary)["OUTPUT0"], values)
    body, headers = encode({"INPUT0": values})
    for _ in range(5):
        with through.connect() as connection:
            connection.send(request_bytes("POST", infer_path("identity"), body, headers))
    packed = through.post(infer_path("identity"), gzip.compress(body), headers | {"Content-Encoding": "gzip"})
    same(decode(packed)["OUTPUT0"], values)


def test_limits(front, serve, repository):
    behind = serve(repository.add("identity"), "--cache-config=none")
    through = front(address(behind), "--http-max-input-size=100000", "--http-max-inflight-bytes=4000000")
    zeros, headers = encode({"INPUT0": tensor([0] * 100_000)})
    reply = through.post(infer_path("identity"), gzip.compress(zeros), headers | {"Content-Encoding": "gzip"})
    assert reply.status == 400 and "maximum allowed input size of 100000 bytes" in reply.error
    body, headers = encode({"INPUT0": tensor([0] * 500_000)})
    reply = through.post(infer_path("identity"), body, headers)
    assert reply.status == 503 and "--http-max-inflight-bytes" in reply.error
    ask_identity(through, [1, 2])


# --- Changes, failures ---


def known(server):
    """What ask_scale has asked before."""
    return decode(put(server, "scale", {"INPUT0": tensor([[3.0, -3.0]])}))["OUTPUT0"][0][0]


def test_models_that_are_loaded_again(front, serve, repository):
    repository.scale("scale", {1: 2})
    behind = serve(repository, EXPLICIT, "--load-model=*", "--cache-config=none")
    through = front(address(behind), ALL, POLL)
    for direct, factor in ((False, 3), (True, 4), (False, 5)):
        ask_scale(through, factor - 1 if factor > 3 else 2)
        repository.scale("scale", {1: factor})
        (behind if direct else through).load("scale")
        if direct:
            eventually(lambda factor=factor: known(through) == 3 * factor, "the look")
        ask_scale(through, factor)
    through.unload("scale")
    assert put(through, "scale", {"INPUT0": tensor([[3.0, -3.0]])}).status == 404


def test_a_server_that_is_restarted(front, serve, repository):
    """With other weights in the meantime, known questions are answered; then none of those answers is."""
    repository.scale("scale", {1: 2})
    port = free_port()
    behind = serve(repository, f"--grpc-port={port}", "--cache-config=none")
    through = front(address(port), ALL, POLL)
    ask_scale(through, 2)
    behind.stop()
    assert is_hit(put(through, "scale", {"INPUT0": tensor([[3.0, -3.0]])}))
    reply = put(through, "scale", {"INPUT0": tensor([[7.0]])})
    assert reply.status == 503 and address(port) in reply.error
    repository.scale("scale", {1: 9})
    serve(repository, f"--grpc-port={port}", "--cache-config=none")
    eventually(lambda: known(through) == 27, "the look")
    ask_scale(through, 9)


def test_replicas(front, start, repository):
    repository.scale("scale", {1: 2})
    servers = [start(repository, "--cache-config=none") for _ in range(2)]
    through = front(*map(address, servers), ALL, "--threads=2")
    ask_scale(through, 2, value=0)
    servers[0].signal(signal.SIGKILL)

    def ask(i):
        return decode(put(through, "scale", {"INPUT0": tensor([[float(i)]])}))["OUTPUT0"][0][0]

    assert at_once(8, ask) == [2.0 * i for i in range(8)]
    servers[0].wait()


# --- Servers of other kinds ---


@pytest.fixture
def made():
    """made(answer, config, port): a server of gRPC with the model m, which `answer` makes the responses of: answer(request,
    context) of service_pb2. It counts its `runs`."""
    those = []

    def make(answer, config=None, port=0):
        def answers(path, messages, context):
            request = next(messages)
            method = path.rsplit("/")[-1]
            model = service_pb2.ModelMetadataResponse(name="m", versions=["1"], platform="any")
            model.inputs.add(name="X", datatype="INT32", shape=[-1])
            model.outputs.add(name="Y", datatype="INT32", shape=[-1])
            replies = {
                "ServerMetadata": lambda: service_pb2.ServerMetadataResponse(
                    name="other", version="1", extensions=["statistics", "model_configuration"]),
                "ModelMetadata": lambda: model,
                "ModelReady": lambda: service_pb2.ModelReadyResponse(ready=True),
                "ServerReady": lambda: service_pb2.ServerReadyResponse(ready=True),
                "ModelStatistics": lambda: statistics(server.runs),
                "RepositoryIndex": lambda: service_pb2.RepositoryIndexResponse(
                    models=[service_pb2.RepositoryIndexResponse.ModelIndex(name="m", version="1", state="READY")]),
            }
            if method == "ModelInfer":
                server.runs += 1
                reply = answer(service_pb2.ModelInferRequest.FromString(request), context)
                yield reply if isinstance(reply, bytes) else reply.SerializeToString()
            elif method == "ModelConfig" and config is not None:
                yield service_pb2.ModelConfigResponse(config=config).SerializeToString()
            elif method in replies:
                yield replies[method]().SerializeToString()
            else:
                context.abort(grpc.StatusCode.UNIMPLEMENTED, "not here")

        server = FakeGrpc(answers, port=port)
        server.runs = 0
        those.append(server)
        return server

    yield make
    for one in those:
        one.stop()


def statistics(runs):
    response = service_pb2.ModelStatisticsResponse()
    model = response.model_stats.add(name="m", version="1", inference_count=runs, execution_count=runs)
    model.inference_stats.success.count = runs
    return response


def plus_one(request, context=None):
    """Y = X + 1, in raw contents."""
    values = np.frombuffer(request.raw_input_contents[0], np.int32) + 1
    answer = service_pb2.ModelInferResponse(model_name="m", model_version="1", id=request.id)
    answer.outputs.add(name="Y", datatype="INT32", shape=values.shape)
    answer.raw_output_contents.append(values.tobytes())
    return answer


def ask(server, *values, model="m", **options):
    return put(server, model, {"X": tensor(values, "INT32")}, **options)


def check(reply, *values):
    same(decode(reply)["Y"], tensor(values, "INT32"))
    return reply


def test_a_server_without_the_config_extension(front, made):
    server = made(plus_one)
    through = front(address(server), ALL)
    wait_known(through)
    assert not is_hit(check(ask(through, 1, 2), 2, 3)) and is_hit(check(ask(through, 1, 2), 2, 3))
    assert server.runs == 1


def test_typed_contents(front, made):
    def typed(request, context):
        answer = plus_one(request)
        answer.outputs[0].contents.int_contents.extend(np.frombuffer(answer.raw_output_contents.pop(), np.int32).tolist())
        return answer

    through = front(address(made(typed)), ALL)
    wait_known(through)
    for _ in range(2):
        check(ask(through, 1, -2), 2, -1)


def with_parameter(request, context):
    answer = plus_one(request)
    answer.parameters["share"].double_param = 0.5
    return answer


def test_parameters_of_an_answer(front, made):
    """Clients get them, and such answers are not kept."""
    server = made(with_parameter)
    through = front(address(server), ALL)
    wait_known(through)
    for _ in range(2):
        assert check(ask(through, 1), 2).json["parameters"] == {"share": 0.5}
    assert server.runs >= 2
    through.wait_log("not cached: its responses have parameters")


def lacks_raw(request, context):
    answer = plus_one(request)
    answer.outputs.add(name="Z", datatype="INT32", shape=[1])
    return answer


def too_short(request, context):
    answer = plus_one(request)
    answer.outputs[0].shape[0] += 1
    return answer


def with_more(request, context):
    return plus_one(request).SerializeToString() + b"\xaa\x06\x01x"  # a field 101


@pytest.mark.parametrize("answer", [lacks_raw, too_short, with_more, lambda request, context: b"\xff\xff"],
                         ids=["lacks_raw", "too_short", "with_more", "no_message"])
@pytest.mark.parametrize("options", [[], [ALL]], ids=["passes", "cached"])
def test_answers_that_are_none(front, made, answer, options):
    server = made(answer)
    through = front(address(server), *options)
    if options:
        wait_known(through)
    for binary in (False, True):
        reply = ask(through, 1, binary_in=binary, binary_out=binary)
        assert reply.status == 502 and "the response cannot be used" in reply.error
    assert server.runs >= 2


@pytest.mark.parametrize("code, status", [("NOT_FOUND", 404), ("INVALID_ARGUMENT", 400), ("UNAVAILABLE", 503), ("INTERNAL", 500),
                                          ("UNIMPLEMENTED", 501), ("PERMISSION_DENIED", 403), ("DEADLINE_EXCEEDED", 504)])
def test_failures(front, made, code, status):
    """They are the server's, and not kept."""
    server = made(lambda request, context: context.abort(getattr(grpc.StatusCode, code), "no: 50% ä"))
    through = front(address(server), ALL)
    wait_known(through)
    for count in (1, 2):
        reply = ask(through, 1)
        assert reply.status == status and reply.error == "no: 50% ä"
        assert server.runs >= count


@pytest.mark.parametrize("code", ["UNKNOWN", "INTERNAL", "DATA_LOSS", "CANCELLED", "ALREADY_EXISTS", "FAILED_PRECONDITION", "UNAVAILABLE"])
def test_codes_of_grpc(front, made, code):
    """A client of gRPC gets the server's own code, also of a cached model, which is asked by way of HTTP's statuses."""
    server = made(lambda request, context: context.abort(getattr(grpc.StatusCode, code), "no"))
    through = front(address(server), ALL)
    wait_known(through)
    with triton.InferenceServerClient(f"{LOCAL}:{through.grpc_port}") as client:
        given = triton.InferInput("X", [1], "INT32")
        given.set_data_from_numpy(np.array([1], np.int32))
        with pytest.raises(triton.InferenceServerException) as caught:
            client.infer("m", [given])
    assert caught.value.status() == f"StatusCode.{code}" and caught.value.message() == "no"


def test_answers_that_are_none_do_not_run_twice_for_ever(front, made):
    """The model is not cached any more: clients of gRPC get the answer, which they may understand."""
    server = made(with_more)
    through = front(address(server), ALL)
    wait_known(through)
    with triton.InferenceServerClient(f"{LOCAL}:{through.grpc_port}") as client:
        given = triton.InferInput("X", [1], "INT32")
        given.set_data_from_numpy(np.array([1], np.int32))
        for _ in range(10):
            same(client.infer("m", [given]).as_numpy("Y"), tensor([2], "INT32"))
        before = server.runs
        for _ in range(3):
            client.infer("m", [given])
    assert server.runs == before + 3
    assert through.lines("'m' version 1 is not cached: its responses are not understood")


@pytest.mark.parametrize("code, kept", [("UNAVAILABLE", False), ("FAILED_PRECONDITION", False), ("NOT_FOUND", True), ("UNIMPLEMENTED", True)])
def test_a_load_that_may_have_begun(front, made, code, kept):
    """Of what a gateway may have said nobody knows whether the model was loaded."""
    server = made(plus_one)
    answers = server.answers

    def failing(path, messages, context):
        if path.endswith("RepositoryModelLoad"):
            context.abort(getattr(grpc.StatusCode, code), "no")
        yield from answers(path, messages, context)

    server.answers = failing
    through = front(address(server), ALL, "--upstream-poll-secs=60")
    wait_known(through)
    check(ask(through, 1), 2)
    assert through.post("/v2/repository/models/m/load").status >= 400
    reply = check(ask(through, 1), 2)
    assert is_hit(reply) is kept if "cache-status" in reply.headers else not kept


def test_fields_go_along(front, made):
    server = made(plus_one)
    through = front(address(server), ALL, "--upstream-authorization=key", "--upstream-private-field=X-User")
    wait_known(through)
    for user in ("ann", "bob"):
        for expected in (False, True):
            reply = ask(through, 1, headers={"Authorization": "token", "X-User": user, "Accept-Encoding": "br"})
            assert is_hit(check(reply, 2)) is expected
    sent = [fields for path, fields in server.calls if path.endswith("ModelInfer")]
    assert [fields["x-user"] for fields in sent] == ["ann", "bob"] and sent[0]["authorization"] == "token"
    assert not {"accept-encoding", "host", "content-length"} & set(sent[0])


def test_a_server_without_an_index(front, made):
    def answers(path, messages, context):
        if path.endswith("ServerMetadata"):
            yield service_pb2.ServerMetadataResponse(name="bare").SerializeToString()
        elif path.endswith("ModelInfer"):
            yield plus_one(service_pb2.ModelInferRequest.FromString(next(messages))).SerializeToString()
        else:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "not here")

    server = FakeGrpc(answers)
    through = front(address(server), ALL)
    through.wait_log("its gRPC has no repository index")
    check(ask(through, 1), 2)  # passes
    server.stop()


# --- Models beside models of our own ---


def remote(repository, name, *servers, model="m", extra="", cached=True):
    parameters = {"url": ",".join(map(address, servers)), "model": model}
    text = "".join(f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n' for key, value in parameters.items())
    return write_config(repository, name, 'backend: "upstream"\n' + text + (CACHE if cached else "") + extra)


TENSORS = """\
input [ { name: "X", data_type: TYPE_INT32, dims: [ -1 ] } ]
output [ { name: "Y", data_type: TYPE_INT32, dims: [ -1 ] } ]
"""


def test_a_model_of_another_server(serve, repository, made):
    server = made(plus_one)
    remote(repository, "far", server)
    ensemble(repository, "twice", *PORTS, [step("far", {"X": "X"}, {"Y": "t"}), step("far", {"X": "t"}, {"Y": "Y"})], rows=0)
    ours = serve(repository, "--threads=1")
    assert not is_hit(check(ask(ours, 1, model="far"), 2)) and is_hit(check(ask(ours, 1, model="far"), 2))
    check(ask(ours, 1, model="twice"), 3)
    assert server.runs == 2


@pytest.mark.parametrize("cached", [True, False])
def test_a_circle(serve, repository, cached):
    port = free_port()
    remote(repository, "far", port, model="far", extra=TENSORS, cached=cached)
    ours = serve(repository, f"--grpc-port={port}", POLL)
    for i in range(2):
        for reply in at_once(4, lambda k, i=i: ask(ours, i, model="far")):
            assert reply.status >= 500 and "circle" in reply.error


def test_a_circle_of_fronts(front):
    port = free_port()
    through = front(address(port), f"--grpc-port={port}", ALL)
    assert "circle" in ask(through, 1).error


def test_a_model_that_may_change_unseen(serve, front, repository, made, tmp_path, models):
    """A server between that cannot see changes says so over gRPC, too: nobody keeps its answers."""
    answers = [2]

    def answer(request, context):
        made_answer = plus_one(request)
        made_answer.raw_output_contents[0] = struct.pack("<i", answers[0])
        return made_answer

    blind = made(answer)
    blind_answers = blind.answers

    def without_statistics(path, messages, context):
        if path.endswith("ServerMetadata"):
            next(messages)
            yield service_pb2.ServerMetadataResponse(name="blind", version="1").SerializeToString()
        else:
            yield from blind_answers(path, messages, context)

    blind.answers = without_statistics
    between = Repository(tmp_path / "between", models)
    remote(between, "mid", blind, extra=TENSORS)
    middle = serve(between, "--threads=1", POLL)
    remote(repository, "far", middle, model="mid", extra=TENSORS)
    ours, through = serve(repository, "--threads=1", POLL), front(address(middle), ALL, POLL)
    for value in (2, 1002):
        answers[0] = value
        for _ in range(3):
            for asked, model in ((ours, "far"), (through, "mid")):
                reply = check(ask(asked, 1, model=model), value)
                assert "cache-status" not in reply.headers or not is_hit(reply)
