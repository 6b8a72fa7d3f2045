"""Fake Redis servers, which reply as no real one does."""

import socket
import threading

from faults import reset
from support import LOCAL, free_port
from topology import cache_options

PIECE = 1 << 16  # bytes


def bulk(text):
    return b"$%d\r\n%s\r\n" % (len(text), text)


def error(text):
    return f"-{text}\r\n".encode()


def array(*parts):
    return b"*%d\r\n" % len(parts) + b"".join(parts)


def number(value):
    return b":%d\r\n" % value


def slots(*ranges):
    """A reply to CLUSTER SLOTS, of (first, last, host, port)."""
    return array(*(array(number(first), number(last), array(bulk(host.encode()), number(port), bulk(b"0" * 40)))
                   for first, last, host, port in ranges))


class Peer:
    """A fake Redis that stores strings; a function may answer commands in its place.

    says(peer, words, send) is called for each command, and returns whether it has dealt with it. `words` are bytes;
    send(bytes) raises OSError once the client has gone. Attributes: `says`, which may be changed at any time; `kept`,
    the strings; `accepted` counts connections, and `asked` commands, by name; `pause`, seconds between the pieces in
    which long strings are read."""

    def __init__(self, says=None):
        self.says, self.kept = says, {}
        self.accepted, self.asked, self.pause = 0, {}, 0
        self.lock, self.hurry = threading.Lock(), threading.Event()
        self.connections = set()
        self.port = free_port()
        self.listener = socket.create_server((LOCAL, self.port))
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE)
        threading.Thread(target=self._accept, daemon=True).start()

    def cache(self, **options):
        return cache_options(**{"host": LOCAL, "port": self.port, "lookup_timeout": 300, **options})

    def disconnect(self):
        with self.lock:
            connections, self.connections = self.connections, set()
            self.hurry.set()
            self.hurry = threading.Event()
        for connection in connections:
            reset(connection)

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.disconnect()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return  # told to stop
            with self.lock:
                self.accepted += 1
                self.connections.add(connection)
                hurry = self.hurry
            threading.Thread(target=self._serve, args=[connection, hurry], daemon=True).start()

    def _string(self, stream, length, hurry):
        read = bytearray()
        while len(read) < length:
            piece = stream.read(min(PIECE, length - len(read)))
            if not piece:
                raise OSError("it has gone")
            read += piece
            if length > PIECE:
                hurry.wait(self.pause)
        return bytes(read)

    def _serve(self, connection, hurry):
        stream = connection.makefile("rb")
        try:
            while line := stream.readline():
                words = []
                for _ in range(int(line[1:])):
                    length = int(stream.readline()[1:])
                    words.append(self._string(stream, length + 2, hurry)[:-2])
                name = words[0].upper()
                with self.lock:
                    self.asked[name] = self.asked.get(name, 0) + 1
                if self.says is None or not self.says(self, words, connection.sendall):
                    connection.sendall(self.answer(words))
        except (OSError, ValueError):
            pass  # the client has gone
        with self.lock:
            self.connections.discard(connection)
        reset(connection)

    def answer(self, words):
        """The reply of a real Redis, without pushes."""
        name, *rest = words[0].upper(), *words[1:]
        if name == b"HELLO":
            return b"%3\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n"
        if name == b"GET":
            found = self.kept.get(rest[0])
            return b"_\r\n" if found is None else bulk(found)
        if name == b"SET":
            if b"NX" in rest[2:] and rest[0] in self.kept:
                return b"_\r\n"
            self.kept[rest[0]] = rest[1]
            return b"+OK\r\n"
        if name == b"DEL":
            return b":%d\r\n" % (self.kept.pop(rest[0], None) is not None)
        if name == b"INFO":
            return bulk(b"# Memory\r\nmaxmemory:1000000\r\nmaxmemory_policy:allkeys-lru\r\n")
        return b"+OK\r\n"
