"""HTTP and metrics over TLS: who is let in, what is renewed while the server runs, and what is said when files are bad."""

import shutil
import signal
import socket
import ssl

import numpy as np
import pytest
import tritonclient.http as triton

from support import LOCAL, Connection, decode, encode, eventually, infer_path, same, sums

HTTP1 = ["http/1.1"]


class Files:
    """The files of one server, in a folder of the test's own."""

    def __init__(self, folder, authority):
        self.cert, self.key, self.root = folder / "server.pem", folder / "server.key", folder / "root.pem"
        shutil.copy(authority.cert, self.root)
        self.hold(authority.server())

    def hold(self, identity):
        shutil.copy(identity.cert, self.cert)
        shutil.copy(identity.key, self.key)

    def options(self, *ports, mutual=False):
        found = []
        for port in ports:
            found += [f"--{port}-server-cert={self.cert}", f"--{port}-server-key={self.key}"]
            found += [f"--{port}-use-ssl-mutual", f"--{port}-root-cert={self.root}"] if mutual else [f"--{port}-use-ssl"]
        return found


@pytest.fixture
def files(tmp_path, authority):
    return Files(tmp_path, authority)


@pytest.fixture
def serve_tls(serve, repository, files):
    """serve_tls(*options, **files): a server of `simple` and `identity`, of which HTTP and metrics speak TLS."""
    repository.add("simple", "identity")
    return lambda *options, **which: serve(repository, *files.options("http", "metrics", **which), *options)


def context(authority, identity=None, protocols=HTTP1, version=None):
    made = ssl.create_default_context(cafile=authority.cert)
    made.set_alpn_protocols(protocols)
    if version:
        made.minimum_version = made.maximum_version = version
    if identity:
        made.load_cert_chain(identity.cert, identity.key)
    return made


class TlsConnection(Connection):
    def __init__(self, port, made):
        super().__init__(port)
        self.stream.close()
        self.socket = made.wrap_socket(self.socket, server_hostname=LOCAL)
        self.stream = self.socket.makefile("rb")

    def closed(self):
        try:
            return super().closed()
        except ssl.SSLError:
            return True


def number(connection):
    """The serial number of the server's certificate."""
    return connection.socket.getpeercert()["serialNumber"]


def ask(connection, first=1):
    inputs, expected = sums(first)
    body, headers = encode(inputs, binary_in=True, binary_out=True)
    answer = decode(connection.request("POST", infer_path("simple"), body, headers))
    for name, array in expected.items():
        same(answer[name], array)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_ports(serve_tls, authority, version):
    server = serve_tls()
    made = context(authority, version=version)
    with TlsConnection(server.port, made) as connection:
        assert connection.socket.selected_alpn_protocol() == "http/1.1"
        for first in (1, 1, 2):
            ask(connection, first)
        assert connection.request("GET", "/v2/health/ready").status == 200
    with TlsConnection(server.metrics_port, made) as connection:
        assert b"nv_inference_count" in connection.request("GET", "/metrics").body


def test_one_port_only(serve, repository, files, authority):
    repository.add("simple")
    server = serve(repository, *files.options("http"))
    assert server.get("/metrics", port=server.metrics_port).status == 200
    with TlsConnection(server.port, context(authority)) as connection:
        ask(connection)


def test_tritonclient(serve_tls, authority):
    server = serve_tls(mutual=True)
    identity = authority.client()
    client = triton.InferenceServerClient(
        f"{LOCAL}:{server.port}", ssl=True,
        ssl_options={"ca_certs": str(authority.cert), "certfile": str(identity.cert), "keyfile": str(identity.key)})
    inputs, expected = sums()
    given = []
    for name, array in inputs.items():
        given.append(triton.InferInput(name, array.shape, "INT32"))
        given[-1].set_data_from_numpy(array)
    assert client.is_server_ready()
    for _ in range(2):
        result = client.infer("simple", given)
        for name, array in expected.items():
            same(result.as_numpy(name), array)
    client.close()


@pytest.mark.threads
def test_large_bodies(serve_tls, authority):
    """More than sockets hold, each way; requests sent ahead come out of the bytes that TLS has already."""
    server = serve_tls()
    values = np.arange(3_000_000, dtype=np.float32)
    body, headers = encode({"INPUT0": values}, binary_in=True, binary_out=True)
    with TlsConnection(server.port, context(authority)) as connection:
        for _ in range(2):
            same(decode(connection.request("POST", infer_path("identity"), body, headers))["OUTPUT0"], values)
        connection.send(b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n" * 500)
        for _ in range(500):
            assert connection.reply().status == 200
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part)
                          for part in (body[at:at + 70_000] for at in range(0, len(body), 70_000)))
        reply = connection.request("POST", infer_path("identity"), chunks + b"0\r\n\r\n",
                                   {**headers, "Transfer-Encoding": "chunked"})
        same(decode(reply)["OUTPUT0"], values)


def test_bytes_one_by_one(serve_tls, authority):
    server = serve_tls("--threads=1")
    with TlsConnection(server.port, context(authority)) as connection:
        for byte in b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n":
            connection.send(bytes([byte]))
        assert connection.reply().status == 200
        connection.send(b"POST /v2/models/simple/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
                        b"Expect: 100-continue\r\n\r\n")
        assert connection.reply().status == 100
        connection.send(b"{}")
        assert "inputs" in connection.reply().error


def test_end_of_a_connection(serve_tls, authority):
    """The server's close_notify follows the last reply, and a client's does not keep it from its reply."""
    server = serve_tls()
    with TlsConnection(server.port, context(authority)) as connection:
        connection.socket.suppress_ragged_eofs = False
        assert connection.request("GET", "/v2", headers={"Connection": "close"}).status == 200
        assert connection.stream.read() == b""
    with TlsConnection(server.port, context(authority)) as connection:
        connection.socket.suppress_ragged_eofs = False
        connection.send(b"nonsense\r\n\r\n")
        assert connection.reply().status == 400
        assert connection.stream.read() == b""


def test_protocols(serve_tls, authority):
    server = serve_tls()
    with pytest.raises(ssl.SSLError, match="no application protocol"):
        TlsConnection(server.port, context(authority, protocols=["h2"]))
    with TlsConnection(server.port, context(authority, protocols=["h2", "http/1.1"])) as connection:
        ask(connection)
    with TlsConnection(server.port, ssl.create_default_context(cafile=authority.cert)) as connection:
        assert connection.socket.selected_alpn_protocol() is None
        ask(connection)


@pytest.mark.parametrize("data", [b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"a" * 70_000,
                                  b"\0" * 100, b""])
def test_no_tls(serve_tls, authority, data):
    """Nothing is answered in the clear, and others are served."""
    server = serve_tls("--threads=1", "--log-verbose=1")
    with socket.create_connection((LOCAL, server.port)) as plain:
        try:
            plain.sendall(data)
            plain.shutdown(socket.SHUT_WR)
            said = plain.recv(1000)
        except OSError:
            said = b""
    assert b"HTTP" not in said
    with TlsConnection(server.port, context(authority)) as connection:
        ask(connection)
    if data:
        server.wait_log("TLS with a client failed: ")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_mutual(serve_tls, authority, stranger, version):
    server = serve_tls("--log-verbose=1", mutual=True)
    with TlsConnection(server.port, context(authority, authority.client(), version=version)) as connection:
        ask(connection)
    for identity, alert in ((None, "required|handshake failure"), (stranger.client(), "unknown ca"),
                            (authority.client(expired=True), "expired")):
        with pytest.raises(ssl.SSLError, match=alert):
            with TlsConnection(server.port, context(authority, identity, version=version)) as connection:
                ask(connection)
    server.wait_log("TLS with a client failed: peer did not return a certificate")
    server.wait_log("TLS with a client failed: certificate has expired")


@pytest.mark.threads
def test_renewed_files_are_read(serve_tls, files, authority):
    server = serve_tls("--threads=2")
    made = context(authority)
    renewed = authority.server(LOCAL, "renewed.test")
    with TlsConnection(server.port, made) as old:
        before = number(old)
        files.hold(renewed)

        def is_new():
            with TlsConnection(server.port, made) as connection:
                ask(connection)
                return number(connection) != before

        eventually(is_new, "the new certificate")
        ask(old)
        assert len(server.lines("the certificates of HTTP have been read again")) == 1
        server.wait_log("the certificates of metrics have been read again")
        with TlsConnection(server.metrics_port, made) as connection:
            assert number(connection) != before


def test_hangup(serve_tls, files, authority):
    """SIGHUP reads files again that look unchanged; those that are bad change nothing."""
    server = serve_tls()
    made = context(authority)
    server.signal(signal.SIGHUP)
    server.wait_log("the certificates of HTTP have been read again")
    server.wait_log("the certificates of metrics have been read again")
    files.key.write_text("no key")
    server.signal(signal.SIGHUP)
    server.wait_log(r"--http-server-key: '.*server\.key' holds no private key .*; the former certificates of HTTP stay in use")
    with TlsConnection(server.port, made) as connection:
        ask(connection)
    files.hold(authority.server(LOCAL, "after.test"))
    eventually(lambda: len(server.lines("of HTTP have been read again")) == 2, "recovery")


def test_authorities_are_renewed(serve_tls, files, authority, stranger):
    server = serve_tls(mutual=True)
    identity = stranger.client()
    with TlsConnection(server.port, context(authority, authority.client())) as old:
        ask(old)
        shutil.copy(stranger.cert, files.root)
        server.wait_log("the certificates of HTTP have been read again")
        with TlsConnection(server.port, context(authority, identity)) as connection:
            ask(connection)
        ask(old)


def test_stops_with_open_connections(serve_tls, authority):
    server = serve_tls()
    with TlsConnection(server.port, context(authority)) as connection, socket.create_connection((LOCAL, server.port)):
        ask(connection)
        connection.socket.suppress_ragged_eofs = False
        server.stop()
        assert connection.stream.read() == b""


def test_bad_files(start, repository, files, authority, tmp_path):
    repository.add("simple")
    other = authority.client()
    for options, text in (
        ([f"--http-server-cert={files.cert}"], "--http-server-cert is given without --http-use-ssl"),
        (["--metrics-use-ssl"], "--metrics-use-ssl needs --metrics-server-cert=FILE"),
        (["--http-use-ssl", f"--http-server-cert={tmp_path}/none", f"--http-server-key={files.key}"],
         "--http-server-cert: '.*/none' cannot be read: No such file"),
        (["--metrics-use-ssl", f"--metrics-server-cert={files.cert}", f"--metrics-server-key={other.key}"],
         "does not belong to --metrics-server-cert"),
    ):
        server = start(repository, *options)
        assert server.wait() == 1
        assert len(server.lines(text)) == 1, server.log


def test_authorities_that_nobody_needs(serve, repository, files, authority):
    repository.add("simple")
    server = serve(repository, *files.options("http"), f"--http-root-cert={files.root}")
    server.wait_log("--http-root-cert has no effect without --http-use-ssl-mutual")
    with TlsConnection(server.port, context(authority)) as connection:
        ask(connection)
