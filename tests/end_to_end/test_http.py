"""HTTP/1.1 itself, by the byte."""

import gzip
import json
import socket
import struct
import zlib

import numpy as np
import pytest

from support import (Connection, ask_delay, ask_simple, at_once, decode, encode, infer_binary, infer_path, request_bytes,
                     same, sums, tensor)

PATH = infer_path("simple")


def question(first=1, **options):
    inputs, expected = sums(first, 2)
    body, headers = encode(inputs, **options)
    return body, headers, expected


def answered(reply, expected):
    answer = decode(reply)
    for name, array in expected.items():
        same(answer[name], array)


def infer_bytes(first=1, headers=None, **options):
    body, fields, expected = question(first, **options)
    return request_bytes("POST", PATH, body, {**fields, **(headers or {})}), expected


# --- Connections ---


def test_keep_alive(server):
    with server.connect() as connection:
        for i in range(20):
            body, headers, expected = question(i, binary_in=i % 2 == 0, binary_out=i % 3 == 0)
            answered(connection.request("POST", PATH, body, headers), expected)
            assert connection.request("GET", "/v2/models/nope").status == 404  # errors do not end a connection


def test_connection_close(server):
    with server.connect() as connection:
        data, expected = infer_bytes(headers={"Connection": "close"})
        connection.send(data)
        reply = connection.reply()
        answered(reply, expected)
        assert reply.headers["connection"].lower() == "close"
        assert connection.closed()


def test_http_1_0(server):
    with server.connect() as connection:
        body, headers, expected = question()
        answered(connection.request("POST", PATH, body, headers, version="HTTP/1.0"), expected)
        assert connection.closed()


def test_header_names_in_any_case(server):
    body, headers, expected = question(binary_in=True)
    length = headers.pop("Inference-Header-Content-Length")
    answered(server.post(PATH, body, {"INFERENCE-header-CONTENT-length": length}), expected)


def test_pipelining_is_answered_in_order(server):
    """Slow and fast questions in one write; the fast ones must wait for their turn."""
    with server.connect() as connection:
        data, expected = b"", []
        for i in range(12):
            if i % 4 == 0:
                array = tensor([i], "INT32")
                body, headers = encode({"INPUT0": array}, parameters={"delay_ms": 150 - 10 * i})
                data += request_bytes("POST", infer_path("delay"), body, headers)
                expected.append({"OUTPUT0": array})
            elif i % 4 == 1:
                data += request_bytes("GET", f"/v2/models/nope{i}")
                expected.append(i)
            else:
                one, outputs = infer_bytes(i, binary_in=i % 4 == 2, binary_out=i % 4 == 2)
                data += one
                expected.append(outputs)
        connection.send(data)
        for outputs in expected:
            reply = connection.reply()
            if isinstance(outputs, int):
                assert reply.error == f"Request for unknown model: 'nope{outputs}' is not found"
            else:
                answered(reply, outputs)


def test_pipelining_ends_with_close(server):
    with server.connect() as connection:
        one, expected = infer_bytes()
        last, _ = infer_bytes(headers={"Connection": "close"})
        connection.send(one + last + one)
        answered(connection.reply(), expected)
        answered(connection.reply(), expected)
        assert connection.closed()


def test_many_connections(server):
    connections = [server.connect() for _ in range(150)]
    try:
        for connection in connections[::2]:
            connection.send(b"POST /v2/models/simple/infer HTTP/1.1\r\nContent-")  # and no more
        ask_simple(server)
        at_once(16, lambda i: [ask_simple(server, first=i * 100 + k) for k in range(5)])
        for connection in connections[1::2]:
            assert connection.request("GET", "/v2/health/live").status == 200
    finally:
        for connection in connections:
            connection.__exit__()


# --- Slow, half-closed and vanishing clients ---


@pytest.mark.parametrize("options", [{}, {"binary_in": True, "binary_out": True}])
def test_one_byte_at_a_time(server, options):
    data, expected = infer_bytes(**options)
    with server.connect() as connection:
        for i in range(len(data)):
            connection.send(data[i : i + 1])
        answered(connection.reply(), expected)
        answered(connection.request("POST", PATH, *question(7)[:2]), question(7)[2])


@pytest.mark.parametrize("size", [17, 300])
def test_pieces_that_cut_across_requests(server, size):
    pairs = [infer_bytes(i, binary_in=i % 2 == 0) for i in range(10)]
    data = b"".join(one for one, _ in pairs)
    with server.connect() as connection:
        for i in range(0, len(data), size):
            connection.send(data[i : i + size])
        for _, expected in pairs:
            answered(connection.reply(), expected)


def test_half_closed_client_is_answered(server):
    data, expected = infer_bytes()
    with server.connect() as connection:
        connection.send(data)
        connection.socket.shutdown(socket.SHUT_WR)
        answered(connection.reply(), expected)
        assert connection.closed()


@pytest.mark.parametrize("part", [0.0, 0.05, 0.5, 0.99])
def test_half_a_request_then_the_end(server, part):
    data, _ = infer_bytes(binary_in=True)
    with server.connect() as connection:
        connection.send(data[: int(part * len(data))])
        connection.socket.shutdown(socket.SHUT_WR)
        try:
            assert connection.reply().status == 400
        except ConnectionResetError:
            pass  # closed without an answer is fine, too
    ask_simple(server)


def test_slow_reader(server):
    """A large reply waits for its reader without holding up anybody, and comes whole."""
    array = np.arange(4_000_000, dtype=np.float32)
    body, headers = encode({"INPUT0": array}, binary_in=True, binary_out=True)
    with Connection(server.port) as connection:
        connection.send(request_bytes("POST", infer_path("identity"), body, headers))
        at_once(4, lambda i: [ask_simple(server, first=i) for _ in range(10)])
        same(decode(connection.reply())["OUTPUT0"], array)


def vanish(connection):
    """Resets the connection."""
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.__exit__()


def test_clients_that_vanish_during_a_run(server):
    body, headers = encode({"INPUT0": tensor([1], "INT32")}, parameters={"delay_ms": 200})
    for i in range(10):
        connection = server.connect()
        connection.send(request_bytes("POST", infer_path("delay"), body, headers) * (1 + i % 3))
        vanish(connection)
    for _ in range(10):
        connection = server.connect()
        connection.send(request_bytes("POST", infer_path("delay"), body, headers))
        connection.__exit__()
    ask_delay(server, 1, [2])
    ask_simple(server)


def test_clients_that_vanish_at_any_point(server):
    data, _ = infer_bytes(binary_in=True)
    for at in range(0, len(data), 29):
        connection = server.connect()
        connection.send(data[:at])
        vanish(connection)
    ask_simple(server)


# --- Bodies ---


def chunked(data, size, extension=b"", trailer=b""):
    chunks = [data[i : i + size] for i in range(0, len(data), size)]
    return b"".join(b"%x%s\r\n%s\r\n" % (len(chunk), extension, chunk) for chunk in chunks) + b"0\r\n" + trailer + b"\r\n"


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
@pytest.mark.parametrize("binary", [False, True])
def test_chunked_body(server, size, binary):
    body, headers, expected = question(binary_in=binary, binary_out=binary)
    with server.connect() as connection:
        head = request_bytes("POST", PATH, b"", {**headers, "Transfer-Encoding": "chunked"})
        connection.send(head + chunked(body, size))
        answered(connection.reply(), expected)
        connection.send(head + chunked(body, size, b";name=value", b"Trailer: x\r\n"))
        answered(connection.reply(), expected)


def test_large_chunked_body(server):
    array = np.arange(500_000, dtype=np.float32)
    body, headers = encode({"INPUT0": array}, binary_in=True, binary_out=True)
    with server.connect() as connection:
        connection.send(request_bytes("POST", infer_path("identity"), b"", {**headers, "Transfer-Encoding": "chunked"}))
        connection.send(chunked(body, 65_536))
        same(decode(connection.reply())["OUTPUT0"], array)


def test_expect_100_continue(server):
    body, headers, expected = question(binary_in=True)
    with server.connect() as connection:
        connection.send(request_bytes("POST", PATH, b"", {**headers, "Expect": "100-continue", "Content-Length": len(body)}))
        assert connection.reply().status == 100
        connection.send(body)
        answered(connection.reply(), expected)
        connection.send(infer_bytes(5, headers={"Expect": "100-continue"})[0])  # the body comes at once
        reply = connection.reply()
        answered(reply if reply.status != 100 else connection.reply(), question(5)[2])


def test_binary_tensors_may_be_larger_than_the_limit(serve, repository):
    server = serve(repository.add("identity"), "--http-max-input-size=100000")
    array = np.arange(1_000_000, dtype=np.float32)
    same(infer_binary(server, "identity", {"INPUT0": array})["OUTPUT0"], array)


def test_more_than_64_mib_of_tensor(server):
    array = np.ones(17_000_000, dtype=np.float32)
    array[::1000] = np.arange(17_000)
    same(infer_binary(server, "identity", {"INPUT0": array})["OUTPUT0"], array)


def test_json_larger_than_the_limit(serve, repository):
    server = serve(repository.add("identity"), "--http-max-input-size=65536")
    body, headers = encode({"INPUT0": np.zeros(20_000, dtype=np.float32)})
    reply = server.post(infer_path("identity"), body, headers)
    assert reply.status == 400
    assert reply.error == (f"request JSON size of {len(body)} bytes exceeds the maximum allowed input size of 65536 bytes."
                           " Use --http-max-input-size to increase the limit.")
    assert server.ready()


@pytest.mark.parametrize("length", [2**63 - 1, 2**40])
def test_content_length_beyond_reason(server, length):
    """A body announced as huge is refused or waited for, but costs no memory and harms nobody."""
    with server.connect() as connection:
        connection.send(b"POST %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n{}" % (PATH.encode(), length))
        ask_simple(server)


# --- Compression ---


def pack(coding, data):
    return gzip.compress(data) if coding == "gzip" else zlib.compress(data) if coding == "deflate" else data


def unpack(reply):
    coding = reply.headers.pop("content-encoding", "identity")
    if coding == "gzip":
        reply.body = gzip.decompress(reply.body)
    elif coding == "deflate":
        reply.body = zlib.decompress(reply.body)
    return coding


@pytest.mark.parametrize("coding", ["gzip", "deflate", "identity"])
@pytest.mark.parametrize("binary", [False, True])
def test_compressed_request(server, coding, binary):
    body, headers, expected = question(binary_in=binary, binary_out=binary)
    answered(server.post(PATH, pack(coding, body), {**headers, "Content-Encoding": coding}), expected)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("accept, coding", [
    ("gzip", "gzip"), ("deflate", "deflate"), ("identity", "identity"), ("gzip, deflate", "gzip"), ("deflate, gzip", "deflate"),
    ("gzip;q=0.1, deflate;q=0.9", "deflate"), ("gzip;q=0.5, identity;q=0.8", "identity"), ("br", "identity"),
    ("br, gzip", "gzip"), ("", "identity")])
def test_compressed_reply(server, accept, coding, binary):
    body, headers, expected = question(binary_in=binary, binary_out=binary)
    reply = server.post(PATH, body, {**headers, "Accept-Encoding": accept})
    assert int(reply.headers["content-length"]) == len(reply.body)
    assert unpack(reply) == coding
    answered(reply, expected)


def test_metadata_is_not_compressed(server):
    reply = server.get("/v2/models/simple", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in reply.headers
    assert reply.json["name"] == "simple"


GOOD = gzip.compress(question()[0])


@pytest.mark.parametrize("data", [b"no gzip at all", GOOD[:-9], GOOD[:10], GOOD[:40] + b"\x00" * 20 + GOOD[60:],
                                  GOOD[:-8] + bytes(8), zlib.compress(question()[0])],
                         ids=["text", "truncated", "header_only", "damaged", "checksum", "zlib"])
def test_corrupt_gzip(server, data):
    reply = server.post(PATH, data, {"Content-Encoding": "gzip"})
    assert reply.status == 400, reply.body
    assert reply.error
    ask_simple(server)


def test_gzip_bomb(server):
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join([packer.compress(b" " * 2**20) for _ in range(80)] + [packer.flush()])
    assert len(bomb) < 100_000
    reply = server.post(PATH, bomb, {"Content-Encoding": "gzip"})
    assert reply.status == 400, reply.body
    ask_simple(server)


# --- Malformed HTTP ---


@pytest.mark.parametrize("data", [
    b"GARBAGE\r\n\r\n", b"GET\r\n\r\n", b"GET /v2 HTTQ/1.1\r\n\r\n", b"GET /v2 HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00\x00\x00\x00\r\n\r\n", b"G E T /v2 HTTP/1.1\r\n\r\n",
    b"GET /v2 HTTP/1.1\r\nno colon\r\n\r\n", b"GET /v2 HTTP/1.1\r\nbad name : x\r\n\r\n", b"get /v2 HTTP/1.1\r\n\r\n"],
    ids=lambda data: repr(data[:24]))
def test_malformed_head(server, data):
    with server.connect() as connection:
        connection.send(data)
        assert connection.reply().status == 400
        assert connection.closed()
    ask_simple(server)


@pytest.mark.parametrize("field", [
    "Content-Length: abc", "Content-Length: -1", "Content-Length: 5, 6", "Content-Length: 99999999999999999999999",
    "Content-Length: 4\r\nContent-Length: 5", "Content-Length: 4\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked, gzip"])
def test_ambiguous_length(server, field):
    """A request that two parsers could split differently is refused (request smuggling)."""
    with server.connect() as connection:
        connection.send(f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n0\r\n\r\n".encode())
        assert connection.reply().status in (400, 501)
        assert connection.closed()


@pytest.mark.parametrize("chunks", [b"xyz\r\n{}\r\n0\r\n\r\n", b"2\r\n{}garbage\r\n0\r\n\r\n", b"ffffffffffffffffff\r\n{}", b"-2\r\n{}\r\n"])
def test_malformed_chunks(server, chunks):
    with server.connect() as connection:
        connection.send(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunks)
        assert connection.reply().status == 400
        assert connection.closed()


@pytest.mark.parametrize("head", [
    b"GET /v2 HTTP/1.1\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n",
    b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\n\r\n",
    b"GET /v2 HTTP/1.1\r\n" + b"".join(b"X-%d: x\r\n" % i for i in range(20_000)) + b"\r\n"],
    ids=["field", "path", "fields"])
def test_head_too_large(server, head):
    with server.connect() as connection:
        try:
            connection.send(head)
        except (BrokenPipeError, ConnectionResetError):
            pass  # answered and closed before all was sent
        try:
            assert connection.reply().status in (400, 414, 431)
            assert connection.closed()
        except ConnectionResetError:
            pass  # the answer may be lost with what the server did not read
    ask_simple(server)


def test_ordinary_large_headers_pass(server):
    assert server.get("/v2/health/live", headers={"Cookie": "x" * 6000, **{f"X-{i}": "y" for i in range(40)}}).status == 200


@pytest.mark.parametrize("target", ["http://example.org/v2/health/live", "HTTP://example.org:80/v2/health/live?x=1",
                                    "https://[::1]:8000/v2/health/live"])
def test_absolute_target(server, target):
    assert server.get(target).status == 200


def test_error_replies_are_json_of_one_member(server):
    for path, body in (("/v2/none", b""), (PATH, b"{"), (infer_path("nope"), b"{}")):
        reply = server.post(path, body)
        assert reply.status >= 400
        assert list(json.loads(reply.body)) == ["error"]
