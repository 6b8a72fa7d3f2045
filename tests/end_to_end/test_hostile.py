"""What must not happen: wrong answers from models and stores that behave oddly, and small requests that hold up others."""

import contextlib
import http.client
import json
import socket
import threading

import numpy as np
import pytest

from support import (ask_identity, ask_simple, at_once, encode, eventually, infer, infer_path, same, tensor)

pytestmark = pytest.mark.threads

EXPLICIT = "--model-control-mode=explicit"


def test_input_that_is_an_output(serve, repository):
    server = serve(repository.add("pass_through"))
    for first in (1, 7, 7):
        x = tensor([[first, -2, 3, -4], [5, 6, -7, 8]])
        answer = infer(server, "pass_through", {"X": x}, binary_in=True, binary_out=True)
        same(answer["X"], x)
        same(answer["Y"], np.maximum(x, 0))
    server.expect("pass_through", execution_count=2, cache_hit=1)


@pytest.mark.parametrize("body", [
    {"parameters": {f"p{i}": i for i in range(40_000)}, "inputs": []},
    {"inputs": [{"name": f"i{i}", "datatype": "FP32", "shape": [0], "data": []} for i in range(40_000)]},
    {"inputs": [], "outputs": [{"name": f"o{i}"} for i in range(40_000)]},
], ids=["parameters", "inputs", "outputs"])
def test_thousands_of_names_are_refused_at_once(serve, repository, body):
    server = serve(repository.add("simple"), "--threads=1")
    text = json.dumps(body)
    with server.connect() as connection:  # a quadratic search would outlast its time-out
        reply = connection.request("POST", infer_path("simple"), text.encode())
    assert reply.status == 400
    ask_simple(server)


def test_head_has_no_body(serve, repository):
    server = serve(repository.add("identity"))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    for _ in range(3):
        connection.request("HEAD", "/v2/health/live")
        reply = connection.getresponse()
        assert reply.status == 200 and reply.read() == b""
        connection.request("HEAD", infer_path("identity"))
        reply = connection.getresponse()
        assert reply.status == 405 and reply.read() == b"" and reply.headers["Allow"] == "POST, OPTIONS"
    connection.request("GET", "/v2/health/live")
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize("size", [16384, 32768])
def test_chunks_behind_a_head_that_fills_the_buffer(serve, repository, size):
    server = serve(repository.add("identity"))
    body, headers = encode({"INPUT0": tensor([1, 2])})
    head = f"POST {infer_path('identity')} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items() if name.lower() != "content-length")
    head += "X-Filler: "
    head += "x" * (size - len(head) - 4) + "\r\n\r\n"
    with server.connect() as connection:
        connection.send(head.encode())
        connection.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        assert connection.reply().status == 200


def test_echo_has_no_optional_inputs(start, repository):
    folder = repository.copy("identity")
    config = folder / "config.pbtxt"
    config.write_text(config.read_text().replace('name: "INPUT0"', 'name: "INPUT0" optional: true'))
    server = start(repository, "--exit-on-error=false")
    assert server.wait_log("has no optional inputs: 'INPUT0'")
    assert infer_status(server, "identity") == 404


def test_model_file_outside_of_its_version(start, repository):
    folder = repository.copy("simple")
    config = folder / "config.pbtxt"
    config.write_text(config.read_text() + 'default_model_filename: "../1/model.onnx"\n')
    server = start(repository, "--exit-on-error=false")
    assert server.wait_log("'default_model_filename' must name a file of the version folder")
    assert infer_status(server, "simple") == 404


def infer_status(server, model):
    return server.get(f"/v2/models/{model}").status


def test_failed_override_leaves_no_trace(serve, repository):
    server = serve(repository.add("simple"), EXPLICIT, "--load-model=simple")
    bad = server.post("/v2/repository/models/simple/load",
                      json.dumps({"parameters": {"config": '{"max_batch_size": 8, "input": [{"name": "NO"}]}'}}).encode())
    assert bad.status == 400
    ask_simple(server)
    assert server.ready()
    server.load("simple")
    ask_simple(server, 5, 6)


def test_names_that_are_none(serve, repository):
    server = serve(repository.add("identity"), EXPLICIT, "--load-model=identity")
    for name in ("identity%00x", "..", "a%2fb", ".hidden"):
        assert server.post(f"/v2/repository/models/{name}/load").status == 500
    assert set(server.index()) == {("identity", "1")}


class LyingRedis:
    """A fake Redis: once `slip` is set, each reply to a look-up is that of the look-up before."""

    def __init__(self):
        self.store, self.lock, self.slip = {}, threading.Lock(), threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        late = None  # the reply that should have gone out before
        with contextlib.suppress(OSError, ValueError), client, client.makefile("rwb") as stream:
            while words := self._read(stream):
                reply = self._answer(words)
                if words[0] == b"GET" and not words[1].endswith(b":key_secret") and self.slip.is_set():
                    reply, late = late if late is not None else b"$-1\r\n", reply
                stream.write(reply)
                stream.flush()

    @staticmethod
    def _read(stream):
        line = stream.readline()
        if not line:
            return None
        words = []
        for _ in range(int(line[1:])):
            length = int(stream.readline()[1:])
            words.append(stream.read(length))
            stream.read(2)
        return words

    def _answer(self, words):
        with self.lock:
            if words[0] == b"SET":
                if b"NX" not in words or words[1] not in self.store:
                    self.store[words[1]] = words[2]
                return b"+OK\r\n"
            if words[0] == b"GET":
                value = self.store.get(words[1])
                return b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value)
            return b"+OK\r\n"


def test_redis_whose_replies_slip(serve, repository):
    redis = LyingRedis()
    with contextlib.closing(redis):
        repository.copy("identity", cached=True)
        server = serve(repository, "--cache-config=redis,host=127.0.0.1", f"--cache-config=redis,port={redis.port}",
                       "--cache-config=redis,lookup_timeout=5000", "--threads=1")

        def hit():
            ask_identity(server, [1])
            return server.statistics("identity")["cache_hit"] > 0

        eventually(hit, "a hit")
        for value in range(20):
            ask_identity(server, [value])
        redis.slip.set()
        for _ in range(3):
            at_once(20, lambda i: ask_identity(server, [i]))  # compares each answer
        assert server.lines("an answer that belongs to another question")


def test_full_redis_can_still_be_read(serve, repository, redis_server):
    redis = redis_server()
    first = serve(repository.add("simple"), *redis.cache("lookup_timeout=5000"), "--threads=1")

    def stored():
        ask_simple(first, 3, 4)
        return len(redis.entries()) > 0

    eventually(stored, "an entry in Redis")
    redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    redis.command("CONFIG", "SET", "maxmemory", "1")
    second = serve(repository, *redis.cache("lookup_timeout=5000"), "--threads=1")

    def hit():
        ask_simple(second, 3, 4)
        return second.statistics("simple")["cache_hit"] > 0

    eventually(hit, "a hit from a Redis that takes no entries")
    ask_simple(second, 9, 9)
    second.wait_log("a command was refused: OOM.*maxmemory")


def test_evicted_secret_is_put_back(serve, repository, redis_server):
    redis = redis_server()
    server = serve(repository.add("simple"), *redis.cache("lookup_timeout=5000", "socket_timeout=200"), "--threads=1")

    def stored():
        ask_simple(server, 3, 4)
        return len(redis.entries()) > 0

    eventually(stored, "an entry in Redis")
    secret = redis.command("GET", "hippocamp:key_secret")
    redis.command("DEL", "hippocamp:key_secret")
    eventually(lambda: redis.command("GET", "hippocamp:key_secret") == secret, "the same secret in Redis again")
    ask_simple(server, 3, 4)
    before = server.statistics("simple")["cache_hit"]
    redis.command("SET", "hippocamp:key_secret", "0" * 64)
    server.wait_log("the key secret in Redis has changed")
    ask_simple(server, 3, 4)  # under another key now: the model answers
    assert server.statistics("simple")["cache_hit"] == before
