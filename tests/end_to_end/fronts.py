"""Hippocamp in front of another server, and servers behind that are told what to say."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote

import grpc

from faults import reset
from support import LOCAL, Server, eventually


class Front(Server):
    """A running `hippocamp serve --upstream`. Arguments: the URLs of servers, or servers, and options. With one loop
    thread, unless they say otherwise: it stores an answer before it takes the next request. gRPC is on if one of the
    URLs is of gRPC: see `both`."""

    def __init__(self, *arguments, **options):
        texts = [argument if isinstance(argument, str) else f"http://{LOCAL}:{argument.port}" for argument in arguments]
        texts = [text if text.startswith("--") else f"--upstream={text}" for text in texts]
        if not any(text.startswith("--http-address") for text in texts):
            texts.append(f"--http-address={LOCAL}")
        if not any(text.startswith("--http-port") for text in texts):
            texts.append("--http-port=0")
        if not any(text.startswith("--threads") for text in texts):
            texts.append("--threads=1")
        speaks_grpc = any(text.startswith("--upstream=grpc") for text in texts)
        doors = ["--grpc-port=0", f"--grpc-address={LOCAL}"] if speaks_grpc else ["--allow-grpc=false"]
        super().__init__("--metrics-port=0", *doors, *texts, **options)


def both(server):
    """The addresses of one that speaks HTTP and gRPC."""
    return [server, f"grpc://{LOCAL}:{server.grpc_port}"]


class FakeGrpc:
    """A server of gRPC whose methods a function makes: answers(path, messages, context) yields the responses' bytes.

    `calls` are those that have come: (path, {name: value} of metadata)."""

    def __init__(self, answers, port=0, **options):
        self.answers, self.calls, self.lock = answers, [], threading.Lock()
        self.server = grpc.server(ThreadPoolExecutor(32), options=[("grpc.max_receive_message_length", -1),
                                                                   ("grpc.max_send_message_length", -1)], **options)
        self.server.add_generic_rpc_handlers([self])
        self.grpc_port = self.server.add_insecure_port(f"{LOCAL}:{port}")
        self.server.start()

    def service(self, details):
        def call(messages, context):
            with self.lock:
                self.calls.append((details.method, dict(context.invocation_metadata())))
            yield from self.answers(details.method, messages, context)

        return grpc.stream_stream_rpc_method_handler(call)  # of bytes

    @property
    def url(self):
        return f"grpc://{LOCAL}:{self.grpc_port}"

    def stop(self, grace=None):
        self.server.stop(grace).wait()


class Raw:
    """A server that does what a function says with each connection: acts(connection). `opened` counts them."""

    def __init__(self, acts):
        self.opened, self.kept, self.acts = 0, [], acts
        self.listener = socket.create_server((LOCAL, 0))
        self.grpc_port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.opened += 1
            self.kept.append(connection)
            threading.Thread(target=self._act, args=(connection,), daemon=True).start()

    def _act(self, connection):
        try:
            self.acts(connection)
        except OSError:
            pass  # it was closed meanwhile

    @property
    def url(self):
        return f"grpc://{LOCAL}:{self.grpc_port}"

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.kept:
            connection.close()


def http2_frame(kind, flags=0, stream=0, body=b""):
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


def http2_fields(*fields):
    """A header block without compression (RFC 7541 section 6.2.2); values of up to 126 bytes."""
    return b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in fields)


def http2_frames(connection):
    """(kind, flags, stream, body) of each frame that comes, behind the preface."""
    with connection.makefile("rb") as stream:
        stream.read(24)
        while head := stream.read(9):
            body = stream.read(int.from_bytes(head[:3], "big"))
            yield head[3], head[4], int.from_bytes(head[5:9], "big"), body


class Behind:
    """A server whose replies a function makes: says(request, send) for each request; its bytes are sent as they are. A
    function that returns False closes the connection; one that returns None has sent a whole reply.

    What the front asks for itself, to follow the models, gets 404 unless `followed`. `requests` are the others that have
    come: (line, {field: value}, body). `open` counts connections that carry such ones."""

    followed = False

    def __init__(self, says, path=None, port=0):
        self.says, self.requests, self.used = says, [], set()
        self.lock, self.connections = threading.Lock(), set()
        if path is None:
            self.listener = socket.create_server((LOCAL, port))
            self.port = self.listener.getsockname()[1]
        else:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(str(path))
            self.listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            with connection, connection.makefile("rb") as stream:
                self.connections.add(connection)
                while self._answer(connection, stream):
                    pass
        except OSError:
            pass
        finally:
            with self.lock:
                self.used.discard(connection)

    @property
    def open(self):
        return len(self.used)

    @staticmethod
    def _read_head(stream):
        """(line, {field: value}); the line is empty where the connection has ended."""
        line, fields = stream.readline().decode("latin-1").rstrip("\r\n"), {}
        while line and (text := stream.readline().decode("latin-1").rstrip("\r\n")) != "":
            name, _, value = text.partition(":")
            fields[name.lower()] = value.strip()
        return line, fields

    def _answer(self, connection, stream):
        line, fields = self._read_head(stream)
        if not line:
            return False
        request = (line, fields, stream.read(int(fields.get("content-length", 0))))
        if "via" in fields:
            with self.lock:
                self.requests.append(request)
                self.used.add(connection)
        elif not self.followed:
            connection.sendall(response(b"{}", "404 Not Found"))
            return True
        outcome = self.says(request, connection.sendall)
        if outcome == "reset":
            reset(connection)
        return outcome is None

    def wait_requests(self, count):
        eventually(lambda: len(self.requests) == count, f"{count} requests")

    def hang_up(self):
        """Closes all connections, as a server does that is restarted."""
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is closed already
        self.connections.clear()

    def stop(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)  # ends accept() in its thread
        except OSError:
            pass  # it was stopped before
        self.listener.close()


def response(body=b"", status="200 OK", fields=()):
    lines = [f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


EXTENSIONS = ["model_repository", "model_configuration", "statistics", "binary_tensor_data"]


class FakeTriton(Behind):
    """A server of one model `m`, INT32 [-1] in X to INT32 [-1] in Y. answers(fields, document, values, count) makes the
    reply to an infer request, whose inputs may be JSON or binary: bytes, or the values of Y. By default Y is X + 1.

    `runs` counts infer requests, and `polls` the looks at its models. The attributes may be changed at any time."""

    followed = True

    def __init__(self, answers=None, **options):
        self.answers = answers or (lambda fields, document, values, count: [value + 1 for value in values])
        self.runs, self.polls, self.state, self.extensions, self.count = 0, 0, "READY", EXTENSIONS, 1000
        self.ready, self.loading, self.others, self.names = "200 OK", False, {}, None
        self.versions, self.loads = ["1"], lambda send: send(response())
        self.word = None  # what the index says in the place of a version, as MLServer's; "": nothing
        self.config = {"name": "m", "platform": "", "backend": "python", "max_batch_size": 0,
                       "input": [{"name": "X", "data_type": "TYPE_INT32", "dims": [-1]}],
                       "output": [{"name": "Y", "data_type": "TYPE_INT32", "dims": [-1]}],
                       "response_cache": {"enable": True}}
        super().__init__(self._says, **options)

    def _says(self, request, send):
        line, fields, body = request
        path = line.split()[1].partition("?")[0]
        self.polls += path == "/v2/repository/index"
        if path.endswith("/infer"):
            if "/versions/" in path and self.names is not None:
                return send(response(b"{}", "501 Not Implemented"))
            return self._infer(fields, body, send)
        if path == "/v2/repository/index" and body != b"{}":
            return send(response(b"{}", "422 Unprocessable Content"))  # as MLServer
        if path == "/v2/health/ready":
            return send(response(b"", self.ready))
        if unquote(path).rstrip("/").endswith("/load"):
            self.loading = True
            try:
                return self.loads(send)
            finally:
                self.loading = False
        found = self.documents().get(path)
        send(response(b"{}", "404 Not Found") if found is None else response(json.dumps(found).encode()))
        return None

    def documents(self):
        """{path: what GET gives}. With `names` there is a list of models in place of the index, and no versions."""
        if self.names is not None:
            return {"/v2": {"name": "kserve", "version": "0.21.0", "extensions": ["model_repository_extension"]},
                    "/v2/models": {"models": self.names},
                    "/v2/models/m": {"name": "m", "versions": None, "platform": "",
                                     "inputs": [{"name": "X", "datatype": "INT32", "shape": [-1]}],
                                     "outputs": [{"name": "Y", "datatype": "INT32", "shape": [-1]}]}}
        return {"/v2": {"name": "triton", "version": "2.51.0", "extensions": self.extensions},
                "/v2/repository/index": [{"name": "m", "version": each, "state": self.state} for each in self.versions]
                if self.word is None else [{"name": "m", "state": self.state} | ({"version": self.word} if self.word else {})],
                "/v2/models/stats": {"model_stats": [{"name": "m", "version": each, "inference_count": self.count,
                                                      "execution_count": self.count, "inference_stats": {
                                                          "success": {"count": self.count + self.runs, "ns": 1}}}
                                                     for each in self.versions]},
                "/v2/models/m": {"name": "m", "versions": ["1"], "platform": "python",
                                 "inputs": [{"name": "X", "datatype": "INT32", "shape": [-1]}],
                                 "outputs": [{"name": "Y", "datatype": "INT32", "shape": [-1]}]},
                "/v2/models/m/config": self.config, **self.others}

    def _infer(self, fields, body, send):
        length = int(fields.get("inference-header-content-length", len(body)))
        document = json.loads(body[:length])
        (given,) = document["inputs"]
        values = given.get("data") or list(memoryview(body[length:]).cast("i"))
        with self.lock:
            self.runs += 1
            count = self.runs
        answer = self.answers(fields, document, values, count)
        if answer is None or isinstance(answer, str):
            return answer or False
        send(answer if isinstance(answer, bytes) else answered(answer))
        return None


def answered(values, binary=False, **members):
    """A reply to an infer request of FakeTriton."""
    output = {"name": "Y", "datatype": "INT32", "shape": [len(values)]}
    data = memoryview(bytearray(b"".join(int(value).to_bytes(4, "little", signed=True) for value in values)))
    if binary:
        output["parameters"] = {"binary_data_size": len(data)}
    else:
        output["data"] = list(values)
    head = json.dumps({"model_name": "m", "model_version": "1", "outputs": [output], **members}).encode()
    fields = [f"Inference-Header-Content-Length: {len(head)}"] if binary else []
    return response(head + (bytes(data) if binary else b""), fields=fields)
