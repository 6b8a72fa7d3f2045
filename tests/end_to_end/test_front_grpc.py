"""gRPC in front of another server: what passes through, and what the cache answers."""

import itertools
import json
import queue
import signal
import struct
import threading

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import np_to_triton_dtype

from fronts import (Behind, FakeGrpc, FakeTriton, Raw, both, http2_fields, http2_frame, http2_frames, response)
from support import LOCAL, eventually, free_port, same, sums, tensor, to_wire
from traffic import is_hit, metric, put

SERVICE = "/inference.GRPCInferenceService/"
ALL = "--cache-models=*"
HIT = "hippocamp; hit"


def refused(code, text=""):
    """answers() of a server that refuses all calls."""
    def answers(path, messages, context):
        context.abort(code, text)
        yield b""

    return answers


def echo(path, messages, context):
    yield from messages


@pytest.fixture
def made():
    """made(kind, ...): an instance that is stopped after the test."""
    those = []

    def make(kind, *arguments, **options):
        those.append(kind(*arguments, **options))
        return those[-1]

    yield make
    for one in those:
        one.stop()


@pytest.fixture
def channel():
    """channel(server): a channel of grpcio, closed after the test."""
    channels = []

    def make(server, *options):
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), *options]
        channels.append(grpc.insecure_channel(f"{LOCAL}:{server.grpc_port}", options=options))
        return channels[-1]

    yield make
    for one in channels:
        one.close()


def stub(one):
    return service_pb2_grpc.GRPCInferenceServiceStub(one)


def question(value, model="m", **members):
    request = service_pb2.ModelInferRequest(model_name=model, **members)
    request.inputs.add(name="X", datatype="INT32", shape=[1])
    request.raw_input_contents.append(struct.pack("<i", value))
    return request


def answer_of(request, add=1):
    """The ModelInferResponse of FakeTriton's model, as bytes."""
    answer = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
    value, = struct.unpack("<i", request.raw_input_contents[0])
    answer.outputs.add(name="Y", datatype="INT32", shape=[1])
    answer.raw_output_contents.append(struct.pack("<i", value + add))
    return answer


def value_of(answer):
    return struct.unpack("<i", answer.raw_output_contents[0])[0]


def serving(add=1):
    """answers() of FakeTriton's model."""
    def answers(path, messages, context):
        for message in messages:
            answer = answer_of(service_pb2.ModelInferRequest.FromString(message), add)
            if path.endswith("ModelStreamInfer"):
                answer = service_pb2.ModelStreamInferResponse(infer_response=answer)
            yield answer.SerializeToString()

    return answers


def wait_known(server, model="m"):
    eventually(lambda: any(one["name"] == model for one in server.get("/v2/cache").json["models"]), f"{model} in front")


def failure(call):
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


# --- What passes ---


def test_calls_pass_unchanged(front, made, channel):
    def answers(path, messages, context):
        context.send_initial_metadata((("early", "1"), ("early", "2"), ("raw-bin", b"\0\xff")))
        yield from messages
        context.set_trailing_metadata((("late", "x"), ("late-bin", b"\x01")))
        context.set_code(grpc.StatusCode.DATA_LOSS)
        context.set_details("lost: 50% \u00e4 \n")

    behind = made(FakeGrpc, answers)
    through = front(made(FakeTriton), behind.url)
    call = channel(through).stream_stream("/any.Service/Method")(
        iter([b"", b"\0one", b"two"]), metadata=(("mine", "a"), ("mine-bin", b"\xfe"), ("via", "1.0 fred")))
    got = []
    assert failure(lambda: got.extend(call)) == (grpc.StatusCode.DATA_LOSS, "lost: 50% \u00e4 \n")
    assert got == [b"", b"\0one", b"two"]
    early = [each for each in call.initial_metadata() if each[0] in ("early", "raw-bin")]
    assert early == [("early", "1"), ("early", "2"), ("raw-bin", b"\0\xff")]
    assert {("late", "x"), ("late-bin", b"\x01")} <= set(call.trailing_metadata())
    (path, metadata), = behind.calls
    assert path == "/any.Service/Method" and metadata["mine"] == "a" and metadata["mine-bin"] == b"\xfe"


def test_messages_come_at_once(front, made, channel):
    """Neither side waits for the other's last message."""
    behind = made(FakeGrpc, echo)
    through = front(made(FakeTriton), behind.url)
    sent = queue.Queue()
    call = channel(through).stream_stream("/any.Service/Method")(iter(sent.get, None))
    for i in range(10):
        sent.put(b"%d" % i)
        assert next(call) == b"%d" % i
    sent.put(None)
    assert list(call) == [] and call.code() == grpc.StatusCode.OK


def test_a_status_alone(front, made, channel):
    behind = made(FakeGrpc, refused(grpc.StatusCode.NOT_FOUND, "no such thing "))  # Triton's texts end so
    through = front(made(FakeTriton), behind.url)
    call = channel(through).unary_unary("/any.Service/Method")
    assert failure(lambda: call(b"x")) == (grpc.StatusCode.NOT_FOUND, "no such thing ")


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_messages(front, made, channel, compression):
    behind = made(FakeGrpc, echo, compression=compression)
    through = front(made(FakeTriton), behind.url)
    call = channel(through).stream_stream("/any.Service/Method")
    messages = [b"a" * 100_000, b"", bytes(range(256)) * 300]
    assert list(call(iter(messages), compression=compression)) == messages


def test_large_messages_to_a_slow_client(front, made, channel):
    behind = made(FakeGrpc, echo)
    through = front(made(FakeTriton), behind.url)
    message = np.random.default_rng(1).bytes(9_000_000)
    taken = 0
    for got in channel(through).stream_stream("/any.Service/Method")(iter([message] * 10)):
        taken += 1
        assert got == message
        threading.Event().wait(0.02)
    assert taken == 10


def test_a_long_stream(front, made, channel):
    def count(path, messages, context):
        for i in range(int(next(messages))):
            yield b"%d" % i

    behind = made(FakeGrpc, count)
    through = front(made(FakeTriton), behind.url)
    got = channel(through).unary_stream("/any.Service/Tokens")(b"20000")
    assert [int(each) for each in got] == list(range(20000))


def test_a_client_that_leaves(front, made, channel):
    left = threading.Event()

    def answers(path, messages, context):
        context.add_callback(left.set)
        yield b"1"
        left.wait(20)

    behind = made(FakeGrpc, answers)
    through = front(made(FakeTriton), behind.url)
    call = channel(through).unary_stream("/any.Service/Method")(b"x")
    assert next(call) == b"1" and not left.is_set()
    call.cancel()
    assert left.wait(10)


def test_deadlines_go_along(front, made, channel):
    seen = queue.Queue()

    def answers(path, messages, context):
        seen.put(context.time_remaining())
        threading.Event().wait(2)
        yield b""

    behind = made(FakeGrpc, answers)
    through = front(made(FakeTriton), behind.url)
    call = channel(through).unary_unary("/any.Service/Method")
    assert failure(lambda: call(b"x", timeout=0.7))[0] == grpc.StatusCode.DEADLINE_EXCEEDED
    assert 0 < seen.get(timeout=5) <= 0.8


def test_nobody_listens(front, made, channel):
    port = free_port()
    through = front(made(FakeTriton), f"grpc://{LOCAL}:{port}")
    code, text = failure(lambda: channel(through).unary_unary("/any.Service/Method")(b"x"))
    assert code == grpc.StatusCode.UNAVAILABLE and f"upstream grpc://{LOCAL}:{port}: Connection refused" in text


def test_a_port_of_http(front, made, channel):
    http = made(Behind, lambda _, send: send(response(b"", "400 Bad Request")))
    through = front(made(FakeTriton), f"grpc://{LOCAL}:{http.port}")
    code, text = failure(lambda: channel(through).unary_unary("/any.Service/Method")(b"x"))
    assert code == grpc.StatusCode.UNAVAILABLE and "is it a port of HTTP" in text


def test_a_server_that_is_restarted(front, made, channel):
    """Also where the old connection was kept: the call has not begun there."""
    first = made(FakeGrpc, echo)
    through = front(made(FakeTriton), first.url)
    call = channel(through).unary_unary("/any.Service/Method")
    assert call(b"1") == b"1"
    first.stop()
    eventually(lambda: failure(lambda: call(b"2"))[0] == grpc.StatusCode.UNAVAILABLE, "the end of the server")
    second = made(FakeGrpc, echo, port=first.grpc_port)
    assert call(b"3") == b"3" and len(second.calls) == 1


def test_a_replica_is_down(front, made, channel):
    behind = made(FakeGrpc, echo)
    through = front(made(FakeTriton), f"grpc://{LOCAL}:{free_port()}", behind.url)
    call = channel(through).unary_unary("/any.Service/Method")
    assert [call(b"%d" % i) for i in range(20)] == [b"%d" % i for i in range(20)]


@pytest.mark.parametrize("scheme", ["grpc", "grpcs"])
def test_a_replica_that_greets_nobody(front, made, channel, scheme):
    """As a load balancer whose own server is down: nothing can have begun there."""
    def closes(connection):
        connection.recv(10000)
        connection.close()

    bad, behind = made(Raw, closes), made(FakeGrpc, echo)
    through = front(made(FakeTriton), f"{scheme}://{LOCAL}:{bad.grpc_port}", behind.url)
    call = channel(through).unary_unary("/any.Service/Method")
    assert [call(b"%d" % i) for i in range(20)] == [b"%d" % i for i in range(20)]
    assert through.lines("is down") and bad.opened <= 4


def test_a_replica_that_never_greets(front, made, channel):
    """The time for a connection passes also while calls come."""
    bad = made(Raw, lambda connection: None)
    through = front(made(FakeTriton), bad.url, "--upstream-connect-timeout=1")
    call = channel(through).unary_unary("/any.Service/Method")
    calls = []

    def over():
        calls.append(call.future(b"x", timeout=60))
        return calls[0].done()

    eventually(over, "the end of the first call")
    assert calls[0].code() == grpc.StatusCode.UNAVAILABLE
    for each in calls:
        each.cancel()


def responding(*frames):
    """acts() of a server that answers each request with these frames: (kind, flags, body)."""
    def acts(connection):
        connection.sendall(http2_frame(4))
        for kind, flags, stream, _ in http2_frames(connection):
            if kind in (0, 1) and flags & 1:  # END_STREAM
                for each, flags, body in frames:
                    connection.sendall(http2_frame(each, flags, stream, body))

    return acts


def head(status=b"200", *fields):
    return http2_fields((b":status", status), (b"content-type", b"application/grpc"), *fields)


GOOD, BAD = http2_fields((b"grpc-status", b"0")), http2_fields((b"grpc-status", b"13"))
MESSAGE = b"\0\0\0\0\1x"


@pytest.mark.parametrize("frames, code", [
    ([(1, 4, head()), (0, 0, MESSAGE), (1, 5, GOOD)], "OK"),
    ([(1, 4, head(b"503")), (0, 0, MESSAGE), (1, 5, GOOD)], "UNAVAILABLE"),
    ([(1, 5, head(b"503", (b"grpc-status", b"0")))], "UNAVAILABLE"),
    ([(1, 4, head(b"200", (b"grpc-status", b"0"))), (0, 0, MESSAGE), (1, 5, BAD)], "INTERNAL"),
    ([(1, 4, head()), (0, 0, MESSAGE), (1, 5, GOOD + BAD)], "INTERNAL"),
    ([(1, 4, head()), (0, 1, MESSAGE)], "UNKNOWN"),
    ([(1, 4, head()), (3, 0, b"\0\0\0\x0b")], "RESOURCE_EXHAUSTED")])
def test_responses_of_gateways(front, made, channel, frames, code):
    """Never OK where the server has failed."""
    through = front(made(FakeTriton), made(Raw, responding(*frames)).url)
    call = channel(through).unary_unary("/any.Service/Method")
    if code == "OK":
        assert call(b"x") == b"x"
    else:
        assert failure(lambda: call(b"x"))[0].name == code


@pytest.mark.parametrize("path, count", [("/grpc.shop.Pay/Charge", 1), (SERVICE + "ServerMetadata", 2)])
def test_only_what_changes_nothing_is_sent_again(front, made, channel, path, count):
    seen = []

    def acts(connection):
        connection.sendall(http2_frame(4))
        for kind, flags, *_ in http2_frames(connection):
            if kind in (0, 1) and flags & 1:
                seen.append(path)
                connection.shutdown(2)
                return

    through = front(made(FakeTriton), made(Raw, acts).url, made(Raw, acts).url)
    assert failure(lambda: channel(through).unary_unary(path)(b""))[0] == grpc.StatusCode.UNAVAILABLE
    assert len(seen) == count


def test_long_texts_and_fields(front, made, channel):
    def answers(path, messages, context):
        context.send_initial_metadata([("large", "y" * 65380)])
        context.abort(grpc.StatusCode.INTERNAL, "Traceback " + "x" * 4000)
        yield b""

    behind = made(FakeGrpc, answers)
    through = front(made(FakeTriton), behind.url)
    call = channel(through, ("grpc.max_metadata_size", 1 << 20), ("grpc.absolute_max_metadata_size", 1 << 20))
    for _ in range(2):
        code, text = failure(lambda: call.unary_unary("/any.Service/Method")(b"x", timeout=20))
        assert code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE)
    behind.answers = refused(grpc.StatusCode.INTERNAL, "Traceback " + "x" * 4000)
    assert len(failure(lambda: channel(through).unary_unary("/any.Service/Method")(b"x"))[1]) == 4010


@pytest.mark.parametrize("path", ["/any.Service/Method", SERVICE + "ModelInfer"])
def test_what_waits_for_the_server_is_bounded(front, made, channel, path):
    release = threading.Event()

    def answers(path, messages, context):
        release.wait(30)
        yield b""

    through = front(made(FakeTriton), made(FakeGrpc, answers).url, "--http-max-inflight-bytes=16MiB")
    request = question(1, model="other")
    request.raw_input_contents[0] = b"x" * 4_000_000
    call = channel(through).unary_unary(path)
    calls = [call.future(request.SerializeToString()) for _ in range(12)]
    eventually(lambda: sum(each.done() for each in calls) >= 8, "calls that are refused")
    assert {each.code() for each in calls if each.done()} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    release.set()
    for each in calls:
        each.cancel()


def test_a_replica_that_is_back_is_noticed(front, made, channel):
    """Without a call that finds out."""
    first = made(FakeGrpc, echo)
    through = front(made(FakeTriton), first.url)
    assert channel(through).unary_unary("/any.Service/Method")(b"1") == b"1"
    first.stop()
    call = channel(through).unary_unary("/any.Service/Method")
    eventually(lambda: failure(lambda: call(b"2")) and through.lines("is down"), "the breaker")
    made(FakeGrpc, echo, port=first.grpc_port)
    through.wait_log("answers again")


@pytest.mark.parametrize("path", ["ModelInfer", "ModelStreamInfer", "ModelStatistics", "ServerReady", "RepositoryModelLoad"])
def test_calls_that_end_before_their_message(front, made, channel, path):
    through = front(made(FakeTriton), made(FakeGrpc, echo).url)
    wait_known(through)
    for _ in range(5):
        sent = queue.Queue()
        call = channel(through).stream_stream(SERVICE + path)(iter(sent.get, None))
        threading.Event().wait(0.02)
        call.cancel()
        sent.put(None)
    assert stub(channel(through)).ServerLive(service_pb2.ServerLiveRequest()).live


def test_the_health_of_the_server_is_watched_until_the_stop(front, made, channel):
    left = threading.Event()

    def answers(path, messages, context):
        context.add_callback(left.set)
        yield b"\x08\x01"
        left.wait(20)

    through = front(made(FakeTriton), made(FakeGrpc, answers).url)
    call = channel(through).unary_stream("/grpc.health.v1.Health/Watch")(b"")
    assert next(call) == b"\x08\x01"
    through.stop()
    assert failure(lambda: list(call))[0] == grpc.StatusCode.UNAVAILABLE


def test_a_circle(front, made, channel):
    port = free_port()
    through = front(made(FakeTriton), f"grpc://{LOCAL}:{port}", f"--grpc-port={port}")
    code, text = failure(lambda: stub(channel(through)).ModelInfer(question(1, model="other")))
    assert code == grpc.StatusCode.FAILED_PRECONDITION and "circle" in text
    code, text = failure(lambda: channel(through).unary_unary("/any.Service/Method")(b"x"))
    assert code == grpc.StatusCode.FAILED_PRECONDITION and "circle" in text


def test_tls_behind(front, serve, repository, authority, channel):
    identity = authority.server()
    server = serve(repository.add("simple"), "--grpc-use-ssl=true", f"--grpc-server-cert={identity.cert}",
                   f"--grpc-server-key={identity.key}")
    url = f"grpcs://localhost:{server.grpc_port}"
    ready = service_pb2.ServerReadyRequest()
    assert stub(channel(front(server, url, f"--upstream-cacert={authority.cert}"))).ServerMetadata(
        service_pb2.ServerMetadataRequest()).version
    code, text = failure(lambda: stub(channel(front(server, url, "--upstream-readiness=behind"))).ServerReady(ready))
    assert code == grpc.StatusCode.UNAVAILABLE and "certificate" in text


def test_metrics_of_the_servers_behind(front, made, channel):
    server, behind = made(FakeTriton), made(FakeGrpc, echo)
    down = f"grpc://{LOCAL}:{free_port()}"
    through = front(server, behind.url, down)
    call = channel(through).unary_unary("/any.Service/Method")
    for _ in range(8):
        assert call(b"x") == b"x"
    samples = through.metrics()

    def figure(name, url):
        return samples[f"hippocamp_upstream_{name}", frozenset({("upstream", url)})]

    assert figure("requests_total", behind.url) == 8 and figure("failures_total", behind.url) == 0
    assert figure("failures_total", down) == figure("requests_total", down)
    through.wait_log(f"upstream {down} is down: Connection refused")  # though no more calls go there
    samples = through.metrics()
    assert (figure("up", behind.url), figure("up", down)) == (1, 0)
    assert figure("up", f"http://{LOCAL}:{server.port}") == 1
    assert figure("requests_outstanding", behind.url) == figure("hedged_total", behind.url) == 0
    assert figure("requests_total", f"http://{LOCAL}:{server.port}") > 0


# --- What the cache answers ---


def test_known_questions_do_not_reach_the_server(front, made, channel):
    server, behind = made(FakeTriton), made(FakeGrpc, refused(grpc.StatusCode.INTERNAL))
    through = front(server, behind.url)
    wait_known(through)
    ask = stub(channel(through)).ModelInfer
    for i in range(3):
        answer, call = ask.with_call(question(5, id=f"{i}"))
        assert (value_of(answer), answer.id) == (6, f"{i}")
        assert dict(call.initial_metadata())["cache-status"].startswith(HIT) == (i > 0)
    assert is_hit(put(through, "m", {"X": tensor([5], "INT32")}))  # one cache for both protocols
    assert server.runs == 1 and not behind.calls


def test_what_is_not_understood_passes(front, made, channel):
    server, behind = made(FakeTriton), made(FakeGrpc, serving(100))
    through = front(server, behind.url, "--log-verbose=1")
    wait_known(through)
    ask = stub(channel(through)).ModelInfer
    assert value_of(ask(question(5))) == 6

    def changed(change):
        request = question(5)
        change(request)
        return request

    def unknown_field(request):
        request.MergeFromString(b"\xfa\x01\x01x")  # field 31

    for i, change in enumerate([
            lambda r: r.parameters["sequence_id"].__setattr__("int64_param", 7),
            lambda r: r.inputs[0].parameters["shared_memory_region"].__setattr__("string_param", "r"),
            lambda r: r.inputs[0].parameters["content_type"].__setattr__("int64_param", 1),
            lambda r: r.outputs.add(name="Y").parameters["classification"].__setattr__("int64_param", 1),
            lambda r: r.parameters["custom"].__setattr__("uint64_param", 1),
            lambda r: r.raw_input_contents.append(b"more"),
            lambda r: r.inputs[0].__setattr__("datatype", "FP32"),
            lambda r: r.__setattr__("model_version", "2"),
            unknown_field]):
        answer, call = ask.with_call(changed(change))
        told = dict(call.initial_metadata())["cache-status"]
        assert value_of(answer) == 105, i
        assert told == "hippocamp; fwd=bypass; detail=" + ("not-cached" if i == 7 else "request"), i
    assert len(behind.calls) == 9 and server.runs == 1
    assert metric(through, "hippocamp_passed_total", reason="request") == 8
    line = "grpc infer model='m' cache='hippocamp; fwd=bypass; detail=request'"
    eventually(lambda: len(through.lines(line)) == 8, "the lines of the log")


def test_content_types_of_tensors(front, made, channel):
    """MLServer's: both ways, and from the same entries as HTTP's."""
    server, behind = made(FakeTriton), made(FakeGrpc, serving(100))

    def answers(fields, document, values, count):
        stated = document["inputs"][0].get("parameters", {}).get("content_type")
        output = {"name": "Y", "datatype": "INT32", "shape": [1], "data": [8],
                  "parameters": {"content_type": f"of {stated}"}}
        return response(json.dumps({"model_name": "m", "model_version": "1", "outputs": [output]}).encode())

    server.answers = answers
    through = front(server, behind.url)
    wait_known(through)
    ask = stub(channel(through)).ModelInfer
    request = question(5)
    request.inputs[0].parameters["content_type"].string_param = "np"
    for _ in range(2):
        answer = ask(request)
        assert value_of(answer) == 8
        assert answer.outputs[0].parameters["content_type"].string_param == "of np"
    assert server.runs == 1 and not behind.calls


def test_failures_of_the_model_are_told_once(front, made, channel):
    """With the server's text, and without a second run."""
    server = made(FakeTriton, lambda *_: response(b'{"error":"it is 666"}', "500 Internal Server Error"))
    behind = made(FakeGrpc, echo)
    through = front(server, behind.url)
    wait_known(through)
    ask = stub(channel(through)).ModelInfer
    for runs, metadata in ((1, []), (2, []), (3, [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")])):
        assert failure(lambda: ask(question(666), metadata=metadata)) == (grpc.StatusCode.INTERNAL, "it is 666")
        assert server.runs == runs
    assert not behind.calls


def test_failures_that_one_http_status_does_not_tell(front, made, channel):
    server = made(FakeTriton, lambda *_: response(b'{"error":"odd"}', "400 Bad Request"))
    behind = made(FakeGrpc, refused(grpc.StatusCode.UNKNOWN, "odd"))
    through = front(server, behind.url)
    wait_known(through)
    ask = stub(channel(through)).ModelInfer
    assert failure(lambda: ask(question(1))) == (grpc.StatusCode.UNKNOWN, "odd")
    server.answers = lambda *_: response(b'{"error":"full"}', "503 Service Unavailable")
    assert failure(lambda: ask(question(2))) == (grpc.StatusCode.UNAVAILABLE, "full")
    assert len(behind.calls) == 1


@pytest.mark.parametrize("policy", ["pass", "key", "shared"])
def test_authorization(front, made, channel, policy):
    server, behind = made(FakeTriton), made(FakeGrpc, serving())
    through = front(server, behind.url, f"--upstream-authorization={policy}", "--upstream-private-field=X-User")
    wait_known(through)
    ask = stub(channel(through)).ModelInfer
    for metadata in ([("authorization", "a")], [("authorization", "b")], [("x-user", "a")], []):
        for _ in range(2):
            assert value_of(ask(question(5), metadata=metadata)) == 6
    assert (server.runs, len(behind.calls)) == {"pass": (1, 6), "key": (4, 0), "shared": (1, 0)}[policy]


@pytest.mark.parametrize("policy", ["pass", "shared"])
def test_a_miss_belongs_to_its_clients_trace(front, made, channel, policy):
    seen = []
    server = made(FakeTriton, lambda fields, document, values, count: seen.append(fields) or [value + 1 for value in values])
    behind = made(FakeGrpc, serving())
    through = front(server, behind.url, f"--upstream-authorization={policy}")
    wait_known(through)
    ask = stub(channel(through)).ModelInfer
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert value_of(ask(question(5), metadata=[("traceparent", parent)])) == 6
    assert value_of(ask(question(5))) == 6 and value_of(ask(question(5), metadata=[("traceparent", "00-x")])) == 6
    assert len(seen) == 1 and seen[0]["traceparent"] == parent and not behind.calls


def test_a_model_that_is_loaded_through_us(front, made, channel):
    """No old answer from the moment at which the reply to the load has come."""
    server = made(FakeTriton)
    added = itertools.count(100)
    adds = [1]

    def answers(path, messages, context):
        if path.endswith("ModelInfer"):
            yield from serving(adds[-1])(path, messages, context)
            return
        list(messages)
        adds.append(next(added))
        yield b""

    server.answers = lambda fields, document, values, count: [each + adds[-1] for each in values]
    through = front(server, made(FakeGrpc, answers).url)
    wait_known(through)
    calls = stub(channel(through))

    def hit():
        answer, call = calls.ModelInfer.with_call(question(5))
        assert value_of(answer) == 5 + adds[-1]
        return dict(call.initial_metadata()).get("cache-status", "").startswith(HIT)

    for load in (calls.RepositoryModelLoad, calls.RepositoryModelUnload, calls.RepositoryModelLoad):
        eventually(hit, "hits")
        load(service_pb2.RepositoryModelLoadRequest(model_name="m") if load is not calls.RepositoryModelUnload
             else service_pb2.RepositoryModelUnloadRequest(model_name="m"))
        assert not hit()


def test_a_load_whose_client_leaves(front, made, channel):
    """The server goes on to load."""
    loaded, release = threading.Event(), threading.Event()

    def answers(path, messages, context):
        if path.endswith("ModelInfer"):
            yield from serving(2)(path, messages, context)
            return
        list(messages)
        loaded.set()
        release.wait(30)
        yield b""

    server = made(FakeTriton)
    through = front(server, made(FakeGrpc, answers).url)
    wait_known(through)
    calls = stub(channel(through))
    assert value_of(calls.ModelInfer(question(5))) == 6
    load = calls.RepositoryModelLoad.future(service_pb2.RepositoryModelLoadRequest(model_name="m"))
    assert loaded.wait(10)
    server.answers = lambda fields, document, values, count: [each + 2 for each in values]
    load.cancel()
    eventually(lambda: value_of(calls.ModelInfer(question(5))) == 7, "the new answer")
    for _ in range(20):
        assert value_of(calls.ModelInfer(question(5))) == 7
    through.stop()  # does not wait for the load
    release.set()


def test_a_load_goes_to_all_replicas(front, made, channel):
    """Over gRPC. The text of a failure says whose it is, and that they differ."""
    refuses = []

    def answers(path, messages, context):
        list(messages)
        if path.endswith("RepositoryModelLoad") and refuses:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no: 50%")
        yield b""

    def loads(server):
        return [path for path, _ in server.calls if path.endswith("RepositoryModelLoad")]

    steady = made(FakeGrpc, lambda path, messages, context: iter([b"" for _ in [list(messages)]]))
    other = made(FakeGrpc, answers)
    through = front(made(FakeTriton), steady.url, other.url)
    calls = stub(channel(through))
    request = service_pb2.RepositoryModelLoadRequest(model_name="m")
    calls.RepositoryModelLoad(request)
    assert len(loads(steady)) == len(loads(other)) == 1
    refuses.append(True)
    code, text = failure(lambda: calls.RepositoryModelLoad(request))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert text == f"upstream {other.url}: no: 50%; other replicas have done it: repeat it until all have"
    other.stop()
    code, text = failure(lambda: calls.RepositoryModelUnload(service_pb2.RepositoryModelUnloadRequest(model_name="m")))
    assert code == grpc.StatusCode.UNAVAILABLE and other.url in text and "repeat it until all have" in text


def test_readiness_of_a_silent_server(front, made, channel):
    """The models are known, so that known questions are answered."""
    through = front(made(FakeTriton), made(Raw, lambda connection: connection.sendall(http2_frame(4))).url)
    wait_known(through)
    assert stub(channel(through)).ServerReady(service_pb2.ServerReadyRequest(), timeout=20).ready


def test_readiness_is_told_once(front, made, channel):
    def acts(connection):
        connection.sendall(http2_frame(4))
        for kind, flags, stream, _ in http2_frames(connection):
            if kind in (0, 1) and flags & 1:
                connection.sendall(http2_frame(1, 4, stream, head()) + http2_frame(0, 0, stream, b"\0\0\0\0\0"))
                connection.shutdown(2)
                return

    through = front(made(FakeTriton), made(Raw, acts).url)
    wait_known(through)
    got = []
    call = channel(through).unary_stream(SERVICE + "ServerReady")(b"")
    assert failure(lambda: got.extend(call))[0] == grpc.StatusCode.UNAVAILABLE and got in ([], [b""])


def test_known_questions_while_the_server_is_down(front, made, channel):
    server, behind = made(FakeTriton), made(FakeGrpc, serving())
    through = front(server, behind.url)
    wait_known(through)
    calls = stub(channel(through))
    assert value_of(calls.ModelInfer(question(5))) == 6
    server.stop()
    server.hang_up()
    behind.stop()
    for _ in range(3):
        assert value_of(calls.ModelInfer(question(5))) == 6
    assert calls.ServerReady(service_pb2.ServerReadyRequest()).ready
    assert calls.ServerLive(service_pb2.ServerLiveRequest()).live
    assert failure(lambda: calls.ModelInfer(question(6)))[0] == grpc.StatusCode.UNAVAILABLE


# --- Streams ---


def test_streams_from_the_cache(front, made, channel):
    server, behind = made(FakeTriton), made(FakeGrpc, refused(grpc.StatusCode.INTERNAL))
    through = front(server, behind.url)
    wait_known(through)
    values = [i % 7 for i in range(200)]
    got = stub(channel(through)).ModelStreamInfer(question(value, id=f"{i}") for i, value in enumerate(values))
    got = [each.infer_response for each in got]
    assert [(value_of(each), each.id) for each in got] == [(value + 1, f"{i}") for i, value in enumerate(values)]
    assert server.runs == 7 and not behind.calls


def test_a_stream_passes_from_the_first_that_is_not_known(front, made, channel):
    """All answers come in the order of the requests, also those to requests that were begun here."""
    release = threading.Event()

    def slow(fields, document, values, count):
        release.wait(10)
        return [value + 1 for value in values]

    server, behind = made(FakeTriton), made(FakeGrpc, serving(1))
    through = front(server, behind.url)
    wait_known(through)
    calls = stub(channel(through))
    assert value_of(calls.ModelInfer(question(1))) == 2
    server.answers = slow
    models = ["m", "m", "other", "m", "other", "m"]
    threading.Timer(0.3, release.set).start()
    got = calls.ModelStreamInfer(question(i, model=model, id=f"{i}") for i, model in enumerate(models))
    assert [(each.infer_response.id, value_of(each.infer_response)) for each in got] == [(f"{i}", i + 1) for i in range(6)]
    (path, _), = behind.calls
    assert path == SERVICE + "ModelStreamInfer"


def test_a_stream_of_another_model_stays_open(front, made, channel):
    """Several answers to one request, which come before the next is sent."""
    def answers(path, messages, context):
        for message in messages:
            request = service_pb2.ModelInferRequest.FromString(message)
            for i in range(3):
                answer = service_pb2.ModelStreamInferResponse(infer_response=answer_of(request, i))
                yield answer.SerializeToString()

    behind = made(FakeGrpc, answers)
    through = front(made(FakeTriton), behind.url)
    sent = queue.Queue()
    got = stub(channel(through)).ModelStreamInfer(iter(sent.get, None))
    for value in (10, 20):
        sent.put(question(value, model="decoupled"))
        assert [value_of(next(got).infer_response) for _ in range(3)] == [value, value + 1, value + 2]
    sent.put(None)
    assert list(got) == []


def test_a_stream_that_passes_later_in_another_coding(front, made, channel):
    server, behind = made(FakeTriton), made(FakeGrpc, serving(1), compression=grpc.Compression.Gzip)
    through = front(server, behind.url)
    wait_known(through)
    asked = [question(i, model=model, id="a" * 3000) for i, model in enumerate(["m", "other", "m"])]
    got = stub(channel(through)).ModelStreamInfer(iter(asked))
    assert [value_of(each.infer_response) for each in got] == [1, 2, 3]


@pytest.mark.parametrize("first", ["m", "other"])
def test_a_stream_waits_while_the_server_does(front, made, channel, first):
    """What has been read of it is bounded, also where it was begun here."""
    here, there = threading.Event(), threading.Event()

    def slow(fields, document, values, count):
        here.wait(30)
        return [value + 1 for value in values]

    def answers(path, messages, context):
        there.wait(30)
        yield from ()

    through = front(made(FakeTriton, slow), made(FakeGrpc, answers).url)
    wait_known(through)
    taken = itertools.count()
    count = [0]

    def requests():
        yield question(1, model=first)
        large = question(2, model="other")
        large.raw_input_contents[0] = b"x" * 60_000
        for i in taken:
            count[0] = i
            yield large

    call = stub(channel(through)).ModelStreamInfer(requests())
    eventually(lambda: count[0] > 3, "requests")
    here.set()

    def settled():
        before = count[0]
        threading.Event().wait(0.5)
        return count[0] == before

    eventually(settled, "the end of the reading")
    assert count[0] < 1500
    there.set()
    call.cancel()


def stopping(through):
    through.process.send_signal(signal.SIGTERM)
    through.wait_log("Signal .* received")


def test_a_call_that_is_on_its_way_at_the_stop(front, made, channel):
    """Its message is still sent behind."""
    def answers(path, messages, context):
        yield b"%d" % len(list(messages))

    behind = made(FakeGrpc, answers)
    through = front(made(FakeTriton), behind.url)
    sent = queue.Queue()
    call = channel(through).stream_stream("/any.Service/Unary")(iter(sent.get, None))
    eventually(lambda: behind.calls, "the call")
    stopping(through)
    sent.put(b"x")
    sent.put(None)
    assert list(call) == [b"1"]
    assert through.wait() == 0


def test_a_stream_that_is_complete_after_the_stop(front, made, channel):
    release = threading.Event()

    def answers(path, messages, context):
        yield from messages
        release.wait(20)

    behind = made(FakeGrpc, answers)
    through = front(made(FakeTriton), behind.url)
    sent = queue.Queue()
    call = channel(through).stream_stream("/any.Service/Method")(iter(sent.get, None))
    sent.put(b"1")
    assert next(call) == b"1"
    stopping(through)
    sent.put(None)
    threading.Timer(0.3, release.set).start()
    assert list(call) == [] and call.code() == grpc.StatusCode.OK
    assert through.wait() == 0


def test_a_stream_that_passes_after_the_stop(front, made, channel):
    release = threading.Event()

    def slow(fields, document, values, count):
        release.wait(20)
        return [value + 1 for value in values]

    server = made(FakeTriton, slow)
    through = front(server, made(FakeGrpc, serving()).url)
    wait_known(through)
    sent = queue.Queue()
    call = stub(channel(through)).ModelStreamInfer(iter(sent.get, None))
    sent.put(question(1))
    sent.put(question(2, model="other"))
    eventually(lambda: server.runs == 1, "the run of the first")
    stopping(through)
    release.set()
    got = []
    assert failure(lambda: got.extend(call))[0] == grpc.StatusCode.UNAVAILABLE
    assert [value_of(each.infer_response) for each in got] in ([2, 3], [2])
    sent.put(None)
    assert through.wait() == 0


def test_the_stop_ends_streams(front, made, channel):
    behind = made(FakeGrpc, echo)
    through = front(made(FakeTriton), behind.url)
    sent = queue.Queue()
    call = channel(through).stream_stream("/any.Service/Method")(iter(sent.get, None))
    sent.put(b"1")
    assert next(call) == b"1"
    through.stop()
    assert failure(lambda: list(call))[0] == grpc.StatusCode.UNAVAILABLE
    sent.put(None)


# --- A whole server behind ---


def inputs_of(arrays):
    inputs = []
    for name, array in arrays.items():
        inputs.append(triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(array)
    return inputs


def test_nvidias_client(front, serve, repository):
    server = serve(repository.add("simple"), "--model-control-mode=explicit", "--load-model=simple", "--cache-config=none")
    through = front(*both(server), ALL)
    wait_known(through, "simple")
    with triton.InferenceServerClient(f"{LOCAL}:{through.grpc_port}") as client:
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("simple")
        assert client.get_server_metadata().name == "triton"
        assert client.get_model_config("simple").config.max_batch_size == 8
        assert [one.name for one in client.get_model_repository_index().models] == ["simple"]
        arrays, expected = sums()
        for _ in range(3):
            result = client.infer("simple", inputs_of(arrays), outputs=[triton.InferRequestedOutput("OUTPUT1")])
            same(result.as_numpy("OUTPUT1"), expected["OUTPUT1"])
            assert result.as_numpy("OUTPUT0") is None
        model, = client.get_inference_statistics("simple").model_stats
        assert model.execution_count == 1
        assert (model.inference_stats.success.count, model.inference_stats.cache_hit.count) == (3, 2)
        client.unload_model("simple")
        with pytest.raises(triton.InferenceServerException, match="not found|not available|no available"):
            client.infer("simple", inputs_of(arrays))


# --- The command line ---


@pytest.mark.parametrize("arguments, said", [
    (["http://a", "grpc://a:1/x"], "has a path, which gRPC has no place for"),
    (["http://a", "grpc://a"], "names no port"),
    (["grpc://a:99999"], "names a port that is no number from 1 to 65535"),
    (["http://a", "--cache-models="], "--cache-models= names no model")])
def test_wrong_options(start_front, arguments, said):
    server = start_front(*arguments)
    assert server.wait() != 0
    assert any(said in line for line in server.log)
