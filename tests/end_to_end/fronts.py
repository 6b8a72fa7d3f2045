"""Hippocamp in front of another server, and servers behind that are told what to say."""

import socket
import threading

from faults import reset
from support import LOCAL, Server, eventually


class Front(Server):
    """A running `hippocamp serve --upstream`. Arguments: the URLs of servers, or servers, and options."""

    def __init__(self, *arguments, **options):
        texts = [argument if isinstance(argument, str) else f"http://{LOCAL}:{argument.port}" for argument in arguments]
        texts = [text if text.startswith("--") else f"--upstream={text}" for text in texts]
        if not any(text.startswith("--http-address") for text in texts):
            texts.append(f"--http-address={LOCAL}")
        super().__init__("--http-port=0", "--metrics-port=0", "--allow-grpc=false", *texts, **options)


class Behind:
    """A server whose replies a function makes: says(request, send) for each request; its bytes are sent as they are. A
    function that returns False closes the connection; one that returns None has sent a whole reply.

    `requests` are those that have come: (line, {field: value}, body). `open` counts connections."""

    def __init__(self, says, path=None):
        self.says, self.requests, self.open, self.accepted = says, [], 0, 0
        self.lock = threading.Lock()
        if path is None:
            self.listener = socket.create_server((LOCAL, 0))
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
            with self.lock:
                self.open += 1
                self.accepted += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            with connection, connection.makefile("rb") as stream:
                while self._answer(connection, stream):
                    pass
        except OSError:
            pass
        finally:
            with self.lock:
                self.open -= 1

    def _answer(self, connection, stream):
        line = stream.readline().decode("latin-1").rstrip("\r\n")
        if not line:
            return False
        fields = {}
        while (text := stream.readline().decode("latin-1").rstrip("\r\n")) != "":
            name, _, value = text.partition(":")
            fields[name.lower()] = value.strip()
        request = (line, fields, stream.read(int(fields.get("content-length", 0))))
        with self.lock:
            self.requests.append(request)
        outcome = self.says(request, connection.sendall)
        if outcome == "reset":
            reset(connection)
        return outcome is None

    def wait_requests(self, count):
        eventually(lambda: len(self.requests) == count, f"{count} requests")

    def stop(self):
        self.listener.close()


def response(body=b"", status="200 OK", fields=()):
    lines = [f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)
