"""What one client sends costs the others neither memory nor time, and HTTP is read as RFC 9110 and 9112 say."""

import gzip
import json
import os
import select
import signal
import zlib

import numpy as np
import pytest

from support import (Server, ask_identity, ask_simple, decode, encode, eventually, infer_path, same, tensor)
from triton import RELEASE

pytestmark = pytest.mark.threads

MEGABYTE = 1 << 20


def resident(server):
    with open(f"/proc/{server.process.pid}/status") as status:
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) * 1024


def head(path, *fields, method=b"POST"):
    return b"\r\n".join([b"%s %s HTTP/1.1" % (method, path.encode()), *fields, b"", b""])


# --- Memory ---


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("path, status", [
    (infer_path("nobody"), 404), ("/v2/nothing", 404), ("/v2/models/simple", 405),
    ("/v2/repository/models/simple/load", 503)])
def test_bodies_in_vain_are_not_read(serve, repository, path, status, framing):
    server = serve(repository.add("simple"))
    length = b"Content-Length: 9999999999" if framing == "length" else b"Transfer-Encoding: chunked"
    with server.connect() as connection:
        connection.send(head(path, b"Host: h", b"Inference-Header-Content-Length: 2", length))
        reply = connection.reply()  # before anything of the body has been sent
        assert reply.status == status and reply.headers["connection"] == "close"
    ask_simple(server)


def test_bodies_have_a_limit_where_they_have_one(serve, repository):
    server = serve(repository.add("simple"), "--http-max-input-size=1000000", "--http-max-inflight-bytes=3000000")
    paths = {infer_path("simple"): b"1000001", "/v2/repository/index": b"70000"}
    for path, length in paths.items():
        with server.connect() as connection:
            connection.send(head(path, b"Host: h", b"Content-Length: " + length))
            assert connection.reply().status == 400
    with server.connect() as connection:  # tensors may be longer, but not longer than all bodies together
        connection.send(head(infer_path("simple"), b"Host: h", b"Inference-Header-Content-Length: 2",
                             b"Content-Length: 3000001"))
        reply = connection.reply()
        assert reply.status == 413 and "--http-max-inflight-bytes" in reply.error


def test_an_announced_json_header_is_no_way_around_the_limit(serve, repository):
    server = serve(repository.add("simple"), "--http-max-input-size=100000")
    with server.connect() as connection:
        connection.send(head("/v2/repository/index", b"Host: h", b"Inference-Header-Content-Length: 2",
                             b"Content-Length: 200000"))
        assert connection.reply().status == 400


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_bodies_in_flight_have_a_budget(serve, repository, framing):
    budget = 10 * MEGABYTE  # three of the parts below
    server = serve(repository.add("identity"), "--threads=1", f"--http-max-inflight-bytes={budget}", "--cache-config=none",
                   program=RELEASE / "hippocamp")  # sanitizers keep what was freed
    before = resident(server)
    body, headers = encode({"INPUT0": np.zeros(MEGABYTE, np.float32)}, binary_in=True, binary_out=True)
    fields = [f"{name}: {value}".encode() for name, value in headers.items() if name.lower() != "content-length"]
    if framing == "length":
        start = head(infer_path("identity"), b"Host: h", *fields, b"Content-Length: %d" % len(body))
        part = body[:3 * MEGABYTE]
    else:
        start = head(infer_path("identity"), b"Host: h", *fields, b"Transfer-Encoding: chunked")
        part = b"%x\r\n%s\r\n" % (3 * MEGABYTE, body[:3 * MEGABYTE])
    connections = [server.connect() for _ in range(60)]
    for connection in connections:  # none is ever complete
        connection.send(start + part)
    eventually(lambda: len(answered(connections)) == 57, "as many refusals as do not fit")
    for connection in answered(connections):
        reply = connection.reply()
        assert reply.status == 503 and "--http-max-inflight-bytes" in reply.error
    # 180 MB were sent; idle blocks are kept for some seconds.
    eventually(lambda: resident(server) - before < 3 * budget, "no more memory than the budget and what is around it")
    ask_identity(server, [1, 2, 3])  # small ones are not counted
    for connection in connections:
        connection.__exit__()
    eventually(lambda: server.post(infer_path("identity"), body, headers).status == 200, "room for a large body again")


def answered(connections):
    return [connection for connection in connections if select.select([connection.socket], [], [], 0)[0]]


def test_what_unpacks_counts_too(serve, repository):
    server = serve(repository.add("identity"), "--http-max-inflight-bytes=1100000")
    body, headers = encode({"INPUT0": np.random.default_rng(1).random(100_000, np.float32)}, binary_in=True,
                           binary_out=True)
    headers["Content-Encoding"] = "gzip"
    reply = server.post(infer_path("identity"), gzip.compress(body), headers)
    assert reply.status == 200  # 400 KB, and as much packed
    text, headers = encode({"INPUT0": np.zeros(200_000, np.float32)})
    assert len(text) < 1_100_000  # but parsed it takes more
    reply = server.post(infer_path("identity"), text, headers)
    assert reply.status == 503 and "--http-max-inflight-bytes" in reply.error


def test_replies_that_nobody_takes_count_too(serve, repository):
    server = serve(repository.add("identity"), "--http-max-inflight-bytes=8000000")
    x = np.random.default_rng(1).random(500_000, np.float32)
    body, headers = encode({"INPUT0": x}, binary_in=True)  # 2 MB, and as text up to 13 MB
    reply = server.post(infer_path("identity"), body, headers)
    assert reply.status == 503 and "--http-max-inflight-bytes" in reply.error
    body, headers = encode({"INPUT0": x}, binary_in=True, binary_out=True)
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if name.lower() != "content-length")
    message = (f"POST {infer_path('identity')} HTTP/1.1\r\nHost: h\r\n{fields}Content-Length: {len(body)}\r\n\r\n").encode()
    connections = [server.connect() for _ in range(6)]
    for connection in connections:
        connection.send(message + body)  # and does not read
    statuses = sorted(connection.reply("POST").status for connection in connections)
    assert statuses[0] == 200 and statuses[-1] == 503
    for connection in connections:
        connection.__exit__()
    eventually(lambda: server.post(infer_path("identity"), body, headers).status == 200, "room again")


def test_texts_have_a_limit(serve, repository):
    server = serve(repository.add("identity"))
    x = tensor([1, 2])
    for members in ({"id": "x" * 2_000_000}, {"parameters": {"p": "x" * 2_000_000}}):
        body, headers = encode({"INPUT0": x}, **members)
        reply = server.post(infer_path("identity"), body, headers)
        assert reply.status == 400 and "bytes of text" in reply.error
    body, headers = encode({"INPUT0": x}, id="\u0001" * 100_000)
    assert server.post(infer_path("identity"), body, headers).json["id"] == "\u0001" * 100_000


@pytest.mark.parametrize("coding, pack", [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_small_bodies_that_unpack_to_much(serve, repository, coding, pack):
    """Packed bytes that came with the head are not taken for the next request."""
    server = serve(repository.add("identity"))
    x = np.zeros(40_000, np.float32)
    body, headers = encode({"INPUT0": x}, binary_in=True, binary_out=True)
    packed = pack(body)
    assert len(packed) < 8000
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if name.lower() != "content-length")
    with server.connect() as connection:
        for _ in range(3):
            connection.send(f"POST {infer_path('identity')} HTTP/1.1\r\nHost: h\r\n{fields}Content-Encoding: {coding}\r\n"
                            f"Content-Length: {len(packed)}\r\n\r\n".encode() + packed +
                            head("/v2/health/live", b"Host: h", method=b"GET"))
            same(decode(connection.reply("POST"))["OUTPUT0"], x)
            assert connection.reply().status == 200


def test_transfer_codings_that_are_not_known(serve, repository):
    server = serve(repository.add("identity"))
    with server.connect() as connection:
        connection.send(head(infer_path("identity"), b"Host: h", b"Transfer-Encoding: gzip, chunked"))
        assert connection.reply().status == 501


def test_bombs(serve, repository):
    server = serve(repository.add("identity"))
    mask = np.ones(4 * MEGABYTE // 4, np.float32)  # packs as well as a bomb, but is none
    body, headers = encode({"INPUT0": mask}, binary_in=True, binary_out=True)
    assert server.post(infer_path("identity"), gzip.compress(body), {**headers, "Content-Encoding": "gzip"}).status == 200
    for data in (bytes(60 * MEGABYTE), b"[" * (60 * MEGABYTE)):
        reply = server.post(infer_path("identity"), gzip.compress(data), {"Content-Encoding": "gzip"})
        assert reply.status == 400 and "times its size" in reply.error
    small = json.dumps({"inputs": []}).encode() + b" " * 500_000  # too small to do harm
    reply = server.post(infer_path("identity"), gzip.compress(small), {"Content-Encoding": "gzip"})
    assert reply.status == 400 and "times its size" not in reply.error


# --- Time ---


def test_long_requests_are_answered_rightly(serve, repository):
    """Requests that go to another thread: with JSON or a packed body, or a JSON or packed reply."""
    server = serve(repository.add("identity"), "--threads=1")
    x = np.random.default_rng(1).random(300_000, np.float32)
    for options in ({}, {"binary_in": True}, {"binary_out": True}, {"binary_in": True, "binary_out": True}):
        body, headers = encode({"INPUT0": x}, **options)
        for coding in (None, "gzip"):
            for accepted in ("identity", "gzip", "deflate"):
                fields = {**headers, "Accept-Encoding": accepted}
                data = body
                if coding:
                    fields["Content-Encoding"] = coding
                    data = gzip.compress(body, 1)
                reply = server.post(infer_path("identity"), data, fields)
                assert reply.headers.get("content-encoding", "identity") == accepted
                same(unpacked(reply)["OUTPUT0"], x)


def unpacked(reply):
    if "content-encoding" in reply.headers:
        reply.body = zlib.decompress(reply.body, 47)
    return decode(reply)


def test_a_client_that_leaves_while_another_thread_has_its_request(serve, repository):
    server = serve(repository.add("identity"), "--threads=1")
    body, headers = encode({"INPUT0": np.zeros(1_000_000, np.float32)})
    for _ in range(10):
        with server.connect() as connection:
            fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items()
                             if name.lower() != "content-length")
            connection.send(f"POST {infer_path('identity')} HTTP/1.1\r\nHost: h\r\n{fields}"
                            f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        ask_identity(server, [1, 2])
    server.stop()


# --- Files ---


CONFIG = {"name": "simple", "backend": "onnxruntime", "max_batch_size": 8,
          "input": [{"name": name, "data_type": "TYPE_INT32", "dims": [16]} for name in ("INPUT0", "INPUT1")],
          "output": [{"name": name, "data_type": "TYPE_INT32", "dims": [16]} for name in ("OUTPUT0", "OUTPUT1")]}
SAMPLE = {"name": "w", "batch_size": 1, "inputs": {
    name: {"data_type": "TYPE_INT32", "dims": [16], "input_data_file": "PATH"} for name in ("INPUT0", "INPUT1")}}
PLACES = {"label_filename": lambda path: {"output": [{**CONFIG["output"][0], "label_filename": path}, CONFIG["output"][1]]},
          "input_data_file": lambda path: {"model_warmup": json.loads(json.dumps([SAMPLE]).replace("PATH", path))},
          "default_model_filename": lambda path: {"default_model_filename": path}}


@pytest.mark.parametrize("path", ["../../../../../../../etc/passwd", "/etc/passwd", "a/../../x", "..", "./x", "pipe"])
@pytest.mark.parametrize("place", PLACES)
def test_files_of_a_model_lie_in_its_folder(serve, repository, place, path):
    """Whoever may load a model chooses its config, and with it these file names."""
    server = serve(repository.add("simple"), "--model-control-mode=explicit")
    folder = repository.path / "simple"
    for pipe in (folder / "pipe", folder / "1" / "pipe", folder / "warmup" / "pipe"):
        pipe.parent.mkdir(exist_ok=True)
        os.mkfifo(pipe)
    reply = server.post("/v2/repository/models/simple/load",
                        {"parameters": {"config": json.dumps({**CONFIG, **PLACES[place](path)})}})
    assert reply.status == 400 and "root:" not in reply.error
    assert path in reply.error


# --- HTTP ---


@pytest.mark.parametrize("fields, status", [
    ([], 400), ([b"Host: a", b"Host: a"], 400), ([b"Host: a/b"], 400), ([b"Host: "], 200), ([b"Host: a:80"], 200)])
def test_host(serve, repository, fields, status):
    server = serve(repository.add("identity"))
    for port in (server.port, server.metrics_port):
        with server.connect(port) as connection:
            connection.send(head("/v2/health/live", *fields, method=b"GET"))
            assert connection.reply().status == status
    with server.connect() as connection:
        connection.send(b"GET /v2/health/live HTTP/1.0\r\n\r\n")
        assert connection.reply().status == 200


def test_both_lengths(serve, repository):
    """The transfer coding decides; what follows on the connection is not taken for a request."""
    server = serve(repository.add("simple"))
    body, headers = encode({"INPUT0": tensor([[1] * 16], "INT32"), "INPUT1": tensor([[1] * 16], "INT32")})
    fields = [f"{name}: {value}".encode() for name, value in headers.items() if name.lower() != "content-length"]
    with server.connect() as connection:
        connection.send(head(infer_path("simple"), b"Host: h", b"Content-Length: 3", b"Transfer-Encoding: chunked",
                             *fields))
        connection.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        connection.send(head("/v2/health/live", b"Host: h", method=b"GET"))
        reply = connection.reply()
        assert reply.status == 200 and reply.headers["connection"] == "close"
        assert connection.closed()


def test_no_interim_answer_for_http_1_0(serve, repository):
    server = serve(repository.add("simple"))
    for version, interim in ((b"1.1", True), (b"1.0", False)):
        with server.connect() as connection:
            connection.send(b"POST /v2/repository/index HTTP/%s\r\nHost: h\r\nExpect: 100-continue\r\n"
                            b"Content-Length: 2\r\n\r\n" % version)
            if interim:
                assert connection.reply().status == 100
            connection.send(b"{}")
            assert connection.reply().status == 200


@pytest.mark.parametrize("path, allowed", [
    ("/v2/health/live", "GET, HEAD, OPTIONS"), (infer_path("simple"), "POST, OPTIONS"),
    ("/v2/logging", "GET, HEAD, POST, OPTIONS"), ("*", "GET, HEAD, POST, OPTIONS")])
def test_options(serve, repository, path, allowed):
    server = serve(repository.add("simple"))
    with server.connect() as connection:
        reply = connection.request("OPTIONS", path)
        assert reply.status == 200 and reply.headers["allow"] == allowed and reply.body == b""
        reply = connection.request("DELETE", path)
        if path != "*":
            assert reply.status == 405 and reply.headers["allow"] == allowed
        assert connection.request("OPTIONS", "/v2/nothing").status == 404


def test_head_where_get_is_known(serve, repository):
    server = serve(repository.add("simple"))
    for port, paths in ((server.port, ("/v2", "/v2/health/ready", "/v2/models/simple", "/v2/models/simple/config")),
                        (server.metrics_port, ("/metrics", "/v2/cache"))):
        for path in paths:
            with server.connect(port) as connection:
                reply = connection.request("HEAD", path)
                assert reply.status == 200
                assert int(reply.headers["content-length"]) == len(server.request("GET", path, port=port).body) or \
                    path == "/metrics"


# --- Signals ---


def test_a_crash_tells_where(start, repository):
    server = start(repository.add("simple"), program=RELEASE / "hippocamp", wrapper=["prlimit", "--core=0"])
    ask_simple(server)
    server.signal(signal.SIGSEGV)
    assert server.wait() == -signal.SIGSEGV
    told = server.lines(r"hippocamp \S+ \(build [0-9a-f]{40}\): fatal signal 11 SIGSEGV .* thread '[^']+'")
    assert len(told) == 1, "\n".join(server.log)  # in whichever thread: the kernel chooses among all
    assert server.lines(r"/hippocamp\(\+0x[0-9a-f]+\)\[0x"), "no frame of ours in the backtrace"


def test_sighup_reopens_the_log(serve, repository, tmp_path):
    path, moved = tmp_path / "log", tmp_path / "log.1"
    server = Server(f"--model-repository={repository.add('simple').path}", "--http-address=127.0.0.1", "--http-port=0",
                    "--metrics-port=0", f"--log-file={path}")
    try:
        eventually(lambda: path.exists() and "is ready" in path.read_text(), "the start")
        path.rename(moved)
        server.signal(signal.SIGHUP)
        eventually(lambda: path.exists() and "opened again" in path.read_text(), "a new log file")
        path.rename(tmp_path / "log.2")
        path.mkdir()  # cannot be opened: the previous file stays in use
        server.signal(signal.SIGHUP)
        eventually(lambda: "cannot open log file" in (tmp_path / "log.2").read_text(), "the failure")
        server.check_alive()
    finally:
        server.stop()
    assert "stopped" in (tmp_path / "log.2").read_text() and "stopped" not in moved.read_text()


def test_sighup_without_a_log_file(serve, repository):
    server = serve(repository.add("simple"))
    server.signal(signal.SIGHUP)
    assert server.wait_log("SIGHUP received")
    ask_simple(server)
