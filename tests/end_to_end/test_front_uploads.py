"""Large requests that pass through: their bytes go on as they come."""

import hashlib
import json
import signal
import socket
import ssl
import threading
import time

import pytest

from fronts import Behind, response
from support import LOCAL, eventually, free_port

PIECE = 100_000


class Taking(Behind):
    """A server that reads the body of what passes by itself: takes(fields, read, send), where `read` is that of the stream."""

    def __init__(self, takes, **options):
        self.heads = []
        super().__init__(None, **options)
        self.takes = takes

    def _answer(self, connection, stream):
        line, fields = self._read_head(stream)
        if not line:
            return False
        if "via" not in fields:
            stream.read(int(fields.get("content-length", 0)))
            connection.sendall(response(b"{}", "404 Not Found"))
            return True
        self.heads.append((line, fields))
        self.used.add(connection)
        return self.takes(fields, stream.read, connection.sendall) is None


@pytest.fixture
def taking():
    made = []

    def make(takes, **options):
        made.append(Taking(takes, **options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def open_upload(server, length, path="/any", fields=(), context=None):
    connection = socket.create_connection((LOCAL, server.port), timeout=20)
    if context:
        connection = context.wrap_socket(connection, server_hostname=LOCAL)
    connection.sendall("\r\n".join([f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {length}", *fields, "", ""]).encode())
    return connection


def read_reply(connection):
    """(status, {field: value}, body)."""
    with connection.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        fields = {}
        while (line := stream.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            fields[name.decode().lower()] = value.strip().decode()
        return status, fields, stream.read(int(fields["content-length"]))


def pieces(count):
    return [bytes([number]) * PIECE for number in range(count)]


def digest(data):
    return hashlib.sha256(data).hexdigest().encode()


@pytest.fixture
def counting(taking):
    """A server that reads in pieces, tells how much it has (`there`), and answers with a digest of all."""
    there = []

    def takes(fields, read, send):
        whole = b""
        while len(whole) < int(fields["content-length"]):
            part = read(min(PIECE, int(fields["content-length"]) - len(whole)))
            if not part:
                there.append("end")
                return False
            whole += part
            there.append(len(whole))
        send(response(digest(whole)))

    server = taking(takes)
    server.there = there
    return server


def test_an_inference_that_is_not_cached(front, counting):
    """By its model, which is known before the body; nothing of the body is needed to say so."""
    with open_upload(front(counting), 3 * PIECE, "/v2/models/unknown/infer", ["Inference-Header-Content-Length: 99"]) as connection:
        for number, piece in enumerate(pieces(3), 1):
            connection.sendall(piece)
            eventually(lambda: number * PIECE in counting.there, "the server has what was sent")
        status, fields, body = read_reply(connection)
        assert (status, body) == (200, digest(b"".join(pieces(3)))) and "not-cached" in fields["cache-status"]


@pytest.mark.parametrize("over", ["plain", "tls"])
def test_bytes_go_on_as_they_come(front, counting, authority, over):
    options = []
    if over == "tls":
        identity = authority.server()
        options = ["--http-use-ssl=true", f"--http-server-cert={identity.cert}", f"--http-server-key={identity.key}"]
    through = front(counting, *options)
    data = pieces(6)
    context = ssl.create_default_context(cafile=str(authority.cert)) if over == "tls" else None
    with open_upload(through, 6 * PIECE, context=context) as connection:
        for number, piece in enumerate(data, 1):
            connection.sendall(piece)
            eventually(lambda: number * PIECE in counting.there, "the server has what was sent")
        assert read_reply(connection)[::2] == (200, digest(b"".join(data)))
        connection.sendall(b"POST /again HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")  # the connection goes on
        assert read_reply(connection)[::2] == (200, digest(b"abc"))
    assert [head[1]["content-length"] for head in counting.heads] == [str(6 * PIECE), "3"]


def test_a_client_that_asks_before_it_sends(front, counting):
    with open_upload(front(counting), PIECE, fields=["Expect: 100-continue"]) as connection:
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        eventually(lambda: counting.heads, "the server has the head")
        connection.sendall(pieces(1)[0])
        assert read_reply(connection)[::2] == (200, digest(pieces(1)[0]))
    assert "expect" not in counting.heads[0][1]


@pytest.mark.parametrize("ends", [True, False], ids=["closes", "stays"])
def test_a_reply_that_comes_first(front, taking, ends):
    """The client may go on sending for a while; it gets the reply, and no other request is taken for the rest of its body."""
    server = taking(lambda fields, read, send: send(response(b"too much", "413 Content Too Large")) or (False if ends else None))
    through = front(server)
    with open_upload(through, 20 * PIECE) as connection:
        connection.sendall(pieces(1)[0])
        assert read_reply(connection)[::2] == (413, b"too much")
        try:
            for piece in pieces(10):
                connection.sendall(piece)
        except OSError:
            pass  # it is closed
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""
    assert len(server.heads) == 1
    with open_upload(through, 3) as connection:
        connection.sendall(b"abc")
        assert read_reply(connection)[0] == 413


def test_a_client_that_leaves(front, counting):
    through = front(counting)
    with open_upload(through, 4 * PIECE) as connection:
        connection.sendall(pieces(1)[0])
        eventually(lambda: PIECE in counting.there, "the server has a part")
    eventually(lambda: counting.there[-1] == "end" and counting.open == 0, "the server sees that no more comes")
    assert len(counting.heads) == 1


def test_two_ways_at_once(front, taking):
    """What is answered piece by piece comes back so, while the client still sends."""
    def takes(fields, read, send):
        send(f"HTTP/1.1 200 OK\r\nContent-Length: {fields['content-length']}\r\n\r\n".encode())
        for _ in range(int(fields["content-length"]) // PIECE):
            send(read(PIECE))

    with open_upload(front(taking(takes)), 8 * PIECE) as connection, connection.makefile("rb") as stream:
        for number, piece in enumerate(pieces(8)):
            connection.sendall(piece)
            if number == 0:
                assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
                while stream.readline() != b"\r\n":
                    pass
            assert stream.read(PIECE) == piece
        assert stream.read() == b""  # a reply that begins before the request is whole ends the connection


@pytest.mark.parametrize("length", [10_000, 1_000_000, 3_000_000, 4_250_000, 4_500_000, 6_000_000])
def test_a_whole_reply_to_a_client_that_sends_all_first(front, taking, length):
    """Whatever of it lies between the two, what the client still sends is taken from it."""
    def takes(fields, read, send):
        send(response(b"r" * length))
        read(int(fields["content-length"]))

    with open_upload(front(taking(takes)), 200 * PIECE) as connection:
        connection.sendall(pieces(1)[0] * 200)
        status, fields, body = read_reply(connection)
        assert (status, len(body)) == (200, length) and fields["connection"] == "close"


def test_a_client_that_sends_all_before_it_reads(front, taking):
    """The reply is longer than what lies between the two: it waits, and is whole."""
    def takes(fields, read, send):
        length = int(fields["content-length"])
        send(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode())
        whole = b"".join(read(PIECE) for _ in range(length // PIECE))
        send(whole)

    data = b"".join(pieces(100))
    with open_upload(front(taking(takes)), len(data)) as connection:
        connection.sendall(data)
        assert read_reply(connection)[2] == data


def test_a_replica_that_is_down(front, counting):
    """Nothing of the request was sent there: the other one gets what has come so far, and the rest."""
    through = front(f"http://{LOCAL}:{free_port()}", counting)
    for _ in range(3):
        with open_upload(through, 3 * PIECE) as connection:
            for piece in pieces(3):
                connection.sendall(piece)
                time.sleep(0.02)
            assert read_reply(connection)[::2] == (200, digest(b"".join(pieces(3))))


def test_no_server(front):
    with open_upload(front(f"http://{LOCAL}:{free_port()}"), 30 * PIECE) as connection:
        connection.sendall(pieces(1)[0])
        status, fields, body = read_reply(connection)
        assert status in (502, 503) and "upstream" in json.loads(body)["error"] and fields["connection"] == "close"


def test_a_server_that_dies_in_the_middle(front, taking):
    server = taking(lambda fields, read, send: read(PIECE) and False)
    with open_upload(front(server), 8 * PIECE) as connection:
        try:
            for piece in pieces(8):
                connection.sendall(piece)
        except OSError:
            pass
        assert read_reply(connection)[0] == 502
    assert len(server.heads) == 1  # it may have run


def test_bodies_over_the_budget(front, counting):
    through = front(counting, "--http-max-inflight-bytes=1000000")
    with open_upload(through, 9 * PIECE) as first, open_upload(through, 9 * PIECE) as second:
        for piece in pieces(6):
            first.sendall(piece)
        eventually(lambda: 6 * PIECE in counting.there, "the first one's part")
        try:
            for piece in pieces(9):
                second.sendall(piece)
        except OSError:
            pass
        status, _, body = read_reply(second)
        assert status == 503 and "--http-max-inflight-bytes" in json.loads(body)["error"]
        for piece in pieces(9)[6:]:
            first.sendall(piece)
        assert read_reply(first)[::2] == (200, digest(b"".join(pieces(9))))
    with open_upload(through, 9 * PIECE) as third:  # all of it was given back
        third.sendall(b"".join(pieces(9)))
        assert read_reply(third)[0] == 200


def test_many_at_once(front, counting):
    """Each gets the answer to its own bytes."""
    through = front(counting, "--threads=2")
    wrong = []

    def upload(number):
        data = bytes([number]) * (3 * PIECE + number)
        with open_upload(through, len(data)) as connection:
            for at in range(0, len(data), 7777 + number):
                connection.sendall(data[at:at + 7777 + number])
            if read_reply(connection)[::2] != (200, digest(data)):
                wrong.append(number)

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and len(counting.heads) == 24


def test_the_stop(front, counting):
    through = front(counting)
    with open_upload(through, 3 * PIECE) as connection:
        connection.sendall(pieces(1)[0])
        eventually(lambda: PIECE in counting.there, "a part is there")
        through.process.send_signal(signal.SIGTERM)
        eventually(lambda: any("waiting for requests in flight" in line for line in through.log), "it stops")
        for piece in pieces(3)[1:]:
            connection.sendall(piece)
        assert read_reply(connection)[::2] == (200, digest(b"".join(pieces(3))))
    assert through.process.wait(10) == 0
