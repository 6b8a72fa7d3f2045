"""What passes through to the server behind, and back: unchanged, as it comes, and never cut off in silence."""

import socket
import ssl
import threading

import pytest

from fronts import Behind, chunk, response
from support import LOCAL, eventually, free_port
from traffic import echo

CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def behind():
    made = []

    def make(says, **options):
        made.append(Behind(says, **options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def answering(*replies):
    """says() that sends these in turn, the last one again and again."""
    left = list(replies)

    def says(_, send):
        send(left.pop(0) if len(left) > 1 else left[0])

    return says


def test_requests_and_replies_are_unchanged(front, behind):
    reply = response(b"\x00body", "418 I'm a teapot", ["X-One: 1", "x-two: a", "x-two: b", "Connection: x-hop, close",
                                                      "X-Hop: gone", "Keep-Alive: timeout=5"])
    server = behind(answering(reply))
    got = front(server).request("PUT", "/any/thing%20?a=b&c", b"\xffdata", {
        "X-Mine": "m", "Connection": "keep-alive, X-Private", "X-Private": "p", "TE": "trailers", "Via": "1.0 fred"})
    assert (got.status, got.body) == (418, b"\x00body")
    assert got.headers["x-one"] == "1" and got.headers["via"] == "1.1 hippocamp"
    assert not {"x-hop", "keep-alive"} & set(got.headers)
    (line, fields, body), = server.requests
    assert (line, body) == ("PUT /any/thing%20?a=b&c HTTP/1.1", b"\xffdata")
    assert fields["x-mine"] == "m" and fields["host"] == f"{LOCAL}:{server.port}"
    assert not {"x-private", "te", "connection"} & set(fields)


def test_a_path_of_the_server_behind(front, behind):
    server = behind(answering(response(b"x")))
    front(f"http://{LOCAL}:{server.port}/serving/").get("/v2")
    assert server.requests[0][0] == "GET /serving/v2 HTTP/1.1"


def test_a_unix_socket_behind(front, behind, tmp_path):
    behind(answering(response(b"x")), path=tmp_path / "behind")
    assert front(f"unix:{tmp_path / 'behind'}").get("/v2").body == b"x"


def test_parts_come_at_once(front, behind):
    """A client gets each event when the server behind has sent it, long before the end."""
    go = threading.Event()

    def says(_, send):
        send(CHUNKED + chunk(b"data: 1\n\n"))
        assert go.wait(30)
        send(chunk(b"data: 2\n\n") + chunk(b""))

    with front(behind(says)).connect() as client:
        client.send(b"POST /v2/models/m/generate_stream HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}")
        while b"data: 1" not in client.stream.readline():
            pass
        go.set()
        while b"data: 2" not in client.stream.readline():
            pass
        while client.stream.readline() != b"0\r\n":
            pass
        assert client.stream.readline() == b"\r\n"
        assert client.request("GET", "/v2").status == 200


def test_old_clients_get_no_chunks(front, behind):
    server = front(behind(answering(CHUNKED + chunk(b"ab") + chunk(b"cd") + chunk(b""))))
    with server.connect() as client:
        client.send(b"GET /v2 HTTP/1.0\r\n\r\n")
        text = client.stream.read()
    assert text.endswith(b"\r\n\r\nabcd") and b"chunked" not in text.lower()


def test_fields_that_frame_a_body_stay(front, behind):
    reply = b"HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 2\r\n\r\nok"
    with front(behind(answering(reply))).connect() as client:
        for _ in range(2):
            got = client.request("GET", "/v2")
            assert got.headers["content-length"] == "2" and got.body == b"ok"


def test_bodies_where_there_is_none(front, behind):
    """What a server sends behind its reply to HEAD is not the reply to the next request."""
    def says(request, send):
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n")
        if request[0].startswith("HEAD"):
            send(response(b"planted"))
        else:
            send(b"x" * 50)

    through = front(behind(says))
    for _ in range(20):
        assert through.request("HEAD", "/v2").status == 200
        assert through.post("/v2/x", b"1").body == b"x" * 50


def test_targets_that_are_no_paths(front, behind):
    server = behind(answering(response(b"ok")))
    through = front(f"http://{LOCAL}:{server.port}/serving")
    for target in ("ftp://h/x", "http://h?x=1"):
        assert through.get(target).status == 400
    assert through.request("OPTIONS", "*").status == 200
    assert [line for line, *_ in server.requests] == ["OPTIONS * HTTP/1.1"]


def test_head_requests(front, behind):
    server = front(behind(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n")))
    with server.connect() as client:
        for _ in range(2):
            reply = client.request("HEAD", "/v2")
            assert reply.status == 200 and reply.headers["content-length"] == "77"


@pytest.mark.parametrize("reply", [
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", CHUNKED + chunk(b"short"), CHUNKED + b"5\r\nsho"],
    ids=["length", "chunks", "chunk"])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_reply_that_is_cut_off_is_seen_to_be(front, behind, reply, version):
    def says(_, send):
        send(reply)
        return False

    server = front(behind(says))
    with server.connect() as client:
        client.send(f"GET /v2 HTTP/{version}\r\nHost: h\r\n\r\n".encode())
        try:
            text = client.stream.read()
        except ConnectionResetError:
            return
        assert not text.endswith(b"0\r\n\r\n")
        assert version == "1.1" or b"Content-Length: 100" in text
    server.wait_log("cut off")


def test_over_tls_a_reply_that_is_cut_off_does_not_end_well(front, behind, authority):
    """To HTTP/1.0 only close_notify says that a reply without a length is whole (RFC 9112 section 9.8)."""
    def says(_, send):
        send(CHUNKED + chunk(b"short"))
        return False

    identity = authority.server()
    server = front(behind(says), "--http-use-ssl", f"--http-server-cert={identity.cert}",
                   f"--http-server-key={identity.key}")
    context = ssl.create_default_context(cafile=authority.cert)
    with socket.create_connection((LOCAL, server.port)) as plain, \
            context.wrap_socket(plain, server_hostname=LOCAL, suppress_ragged_eofs=False) as client:
        client.sendall(b"GET /v2 HTTP/1.0\r\n\r\n")
        with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
            while client.recv(4096):
                pass


def test_replies_before_one_that_is_cut_off_arrive(front, behind):
    """Also where more requests wait, which the server then does not read."""
    def says(request, send):
        whole = "/whole" in request[0]
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + bytes(300000 if whole else 10))
        return None if whole else False

    server = front(behind(says))
    with server.connect() as client:
        client.send(b"GET /whole HTTP/1.1\r\nHost: h\r\n\r\n" + b"GET /cut HTTP/1.1\r\nHost: h\r\n\r\n" * 2000)
        server.wait_log("cut off")
        assert client.stream.read().count(0) == 300010


@pytest.mark.parametrize("reply, status, said", [
    (b"", 502, "closed the connection"), (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70000, 502, "too large"), (b"220 smtp ready\r\n", 502, ""), (b"HTTP/1.1 200 OK\r\nA b\r\n\r\n", 502, "")])
def test_no_reply(front, behind, reply, status, said):
    def says(_, send):
        send(reply)
        return False

    got = front(behind(says)).get("/v2/x")
    assert got.status == status and said in got.json["error"] and f"upstream http://{LOCAL}:" in got.json["error"]


def test_nobody_listens(front):
    port = free_port()
    server = front(f"http://{LOCAL}:{port}")
    for _ in range(5):
        got = server.get("/v2")
        assert got.status == 503 and f"http://{LOCAL}:{port}" in got.json["error"]
    assert server.get("/v2/health/live").status == 200
    server.wait_log("is down: Connection refused")
    assert len(server.lines("is down")) == 1


def test_a_large_reply_to_a_slow_client(front, behind):
    """The front reads on only when the client does."""
    sent = []

    def says(_, send):
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n")
        for _ in range(200):
            send(b"x" * 1_000_000)
            sent.append(1)

    server = front(behind(says))
    with server.connect() as client:
        client.send(b"GET /v2 HTTP/1.1\r\nHost: h\r\n\r\n")
        assert client.stream.readline() == b"HTTP/1.1 200 OK\r\n"
        before = -1
        while before != len(sent):
            before = len(sent)
            threading.Event().wait(0.3)
        assert len(sent) < 100
        while client.stream.readline() != b"\r\n":
            pass
        assert len(client.stream.read(200_000_000)) == 200_000_000


def test_a_client_that_leaves(front, behind):
    server = behind(lambda _, send: send(CHUNKED + chunk(b"data: 1\n\n")) or threading.Event().wait(0.01) or None)
    through = front(server)
    with through.connect() as client:
        client.send(b"GET /v2 HTTP/1.1\r\nHost: h\r\n\r\n")
        assert client.stream.readline()
        assert server.open == 1
    eventually(lambda: server.open == 0, "the end of the connection behind")


def test_large_bodies_go_through(front, behind):
    server = behind(answering(response(b"ok")))
    body = bytes(range(256)) * 400_000
    through = front(server, "--http-max-input-size=1000")
    assert through.post("/v2/repository/models/m/load", body).body == b"ok"
    assert server.requests[0][2] == body
    with through.connect() as client:
        client.send(b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"ab") + chunk(b"c") + chunk(b""))
        assert client.reply().body == b"ok"
    assert server.requests[1][2] == b"abc"


# --- Replicas ---


def test_a_replica_is_down(front, behind):
    server = behind(answering(response(b"x")))
    through = front(f"http://{LOCAL}:{free_port()}", server)
    assert [through.post("/v2/any", b"1").status for _ in range(20)] == [200] * 20


def test_what_may_have_run_is_not_sent_again(front, behind):
    """Only a safe method is."""
    broken, good = behind(lambda *_: "reset"), behind(answering(response(b"x")))
    through = front(broken, good)
    statuses = [through.post("/v2/models/m/infer", b"{}").status for _ in range(2)]
    assert sorted(statuses) == [200, 502]
    assert [through.get("/v2").status for _ in range(10)] == [200] * 10
    assert len([line for line, *_ in broken.requests if "POST" in line]) == 1


# --- The command line ---


@pytest.mark.parametrize("arguments, said", [
    (["ftp://x"], "--upstream=ftp://x has no scheme that is known: give http://HOST:PORT"),
    (["http://a", "--model-repository=/tmp"], "--model-repository and --upstream are both given"),
    (["http://a", "--upstream-private-field=X User:"], "no header field can have that name"),
    (["https://a", "--upstream-cacert=/nothing"], "--upstream-cacert=/nothing cannot be used"),
    (["http://a", "http://a"], "--upstream=http://a is given twice"),
    (["http://a", "--upstream-group="], "--upstream-group= names no group"),
    (["http://a", "--upstream-group=g"], "--upstream-group=g needs a cache that the group shares"),
    (["http://a", "--upstream-group=g", "--upstream-generation=1"], "are both given: fronts agree"),
    (["http://a", "--upstream-cert=/x"], "--upstream-cert=FILE and --upstream-key=FILE belong together")])
def test_wrong_options(start_front, arguments, said):
    server = start_front(*arguments)
    assert server.wait() != 0
    assert any(said in line for line in server.log)


# --- TLS ---


def test_a_circle(front):
    port = free_port()
    server = front(f"http://{LOCAL}:{port}", f"--http-port={port}", "--threads=2")
    reply = server.get("/v2/x")
    assert reply.status == 508 and "circle" in reply.json["error"]


def test_https_behind(front, serve, repository, authority):
    identity = authority.server()
    server = serve(repository.add("simple"), "--http-use-ssl", f"--http-server-cert={identity.cert}",
                   f"--http-server-key={identity.key}")
    url = f"https://localhost:{server.port}"
    assert front(url, f"--upstream-cacert={authority.cert}").get("/v2").status == 200
    untrusted = front(url).get("/v2")
    assert untrusted.status == 503 and "certificate" in untrusted.json["error"]
    assert front(f"https://127.0.0.9:{server.port}", f"--upstream-cacert={authority.cert}").get("/v2").status == 503
    plain = front(f"http://localhost:{server.port}").get("/v2")
    assert plain.status == 502


def test_sockets_are_closed_at_the_stop(front, behind):
    server = behind(answering(response(b"x")))
    through = front(server)
    assert through.get("/v2").status == 200
    assert server.open == 1
    through.stop()
    eventually(lambda: server.open == 0, "the end of the connection behind")

