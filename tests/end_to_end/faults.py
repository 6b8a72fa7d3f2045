"""A network that can be told to misbehave: a TCP proxy between a server and its Redis."""

import socket
import struct
import threading
import time

from support import LOCAL, PATIENCE, free_port

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
REMEMBERED = 1 << 20  # bytes
LONG = 300  # bytes: longer than a reply to a login, shorter than a reply with an entry


def reset(connection):
    """Closes a connection with a TCP reset, and wakes the threads that read from it."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        connection.shutdown(socket.SHUT_RD)
    except OSError:
        pass  # it is gone
    connection.close()


class Proxy:
    """Forwards bytes between its port and another one, unless told otherwise. An order takes effect at once, on open
    connections and on new ones.

    Attributes: `accepted` counts connections; `sent` is the first megabyte of what clients sent."""

    def __init__(self, target, address=LOCAL, port=None):
        self.target, self.address, self.port = target, address, port or free_port()
        self.changed = threading.Condition()
        self.stalled = self.stopped = False
        self.pause, self.left, self.torn = 0, None, None
        self.accepted, self.sent, self.tokens, self.logins = 0, b"", [], {}
        self.connections = set()
        self.listener = None
        self._listen()

    # Orders

    def flow(self):
        """Ends all faults. Bytes that were held back are forwarded; connections that were reset stay closed."""
        with self.changed:
            self.stalled, self.pause, self.left, self.torn = False, 0, None, None
            self.changed.notify_all()
        if self.listener is None:
            self._listen()

    def swallow(self):
        """A black hole: connections open, but no byte passes in either direction. As with TCP in a real one, nothing is
        lost: flow() forwards the bytes."""
        with self.changed:
            self.stalled = True

    def delay(self, milliseconds):
        """Delays each piece, in both directions."""
        with self.changed:
            self.pause = milliseconds / 1000

    def cut(self, count):
        """Resets the connection after `count` more bytes of replies, and each later connection at its first reply,
        until flow() is called."""
        with self.changed:
            self.left = count

    def tear(self, end):
        """Forwards half of each long reply; then resets the connection (end is "reset") or forwards no more until
        flow() is called (end is "silence")."""
        with self.changed:
            self.torn = end

    def refuse(self):
        """Stops listening, and resets open connections."""
        listener, self.listener = self.listener, None
        if listener:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            self.thread.join(PATIENCE)
        self.disconnect()

    def disconnect(self):
        """Resets all connections; new ones may be made."""
        with self.changed:
            connections, self.connections = self.connections, set()
        for connection in connections:
            reset(connection)

    def lapse(self, seconds, tokens):
        """Resets the connections without a login in the last `seconds`, as a server does when tokens expire, and
        returns their number. From now on, requests that contain one of `tokens` count as logins. For plain TCP only."""
        with self.changed:
            now = time.monotonic()
            if not self.tokens:  # the first call: count from now on
                self.logins = dict.fromkeys(self.logins, now)
            self.tokens = tokens
            late = [client for client, at in self.logins.items() if client in self.connections and now - at > seconds]
            self.connections -= set(late)
        for connection in late:
            reset(connection)
        return len(late)

    def stop(self):
        with self.changed:
            self.stopped = True
            self.changed.notify_all()
        self.refuse()

    # Implementation

    def _listen(self):
        self.listener = socket.create_server((self.address, self.port))
        self.thread = threading.Thread(target=self._accept, args=[self.listener], daemon=True)
        self.thread.start()

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # told to refuse
            self.accepted += 1
            try:
                redis = socket.create_connection((LOCAL, self.target), timeout=PATIENCE)
            except OSError:
                reset(client)
                continue
            redis.settimeout(None)
            with self.changed:
                self.connections |= {client, redis}
                self.logins[client] = time.monotonic()
            for source, sink in ((client, redis), (redis, client)):
                sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pump, args=[source, sink, sink is client], daemon=True).start()

    def _pump(self, source, sink, replies):
        try:
            while data := source.recv(65536):
                if not replies and any(token in data for token in self.tokens):
                    with self.changed:
                        self.logins[source] = time.monotonic()
                if not self._let_through(data, sink, replies):
                    break
            else:
                with self.changed:
                    if source in self.connections:  # forward an orderly end as one
                        sink.shutdown(socket.SHUT_WR)
                return
        except OSError:
            pass
        with self.changed:
            self.connections -= {source, sink}
        reset(source)
        reset(sink)

    def _let_through(self, data, sink, replies):
        """Forwards data as ordered; returns whether the connection goes on."""
        with self.changed:
            if not replies and len(self.sent) < REMEMBERED:
                self.sent += data
            if self.pause:
                self.changed.wait_for(lambda: self.stopped, self.pause)
            self.changed.wait_for(lambda: self.stopped or not self.stalled)
            if self.stopped:
                return False
            cut = replies and self.left is not None and len(data) >= self.left
            if replies and self.left is not None:
                data = data[: self.left]
                self.left -= len(data)
            torn = replies and len(data) > LONG and self.torn
        if torn:
            sink.sendall(data[: len(data) // 2])
            if torn == "reset" or not self._well_again():
                return False
            data = data[len(data) // 2 :]
        sink.sendall(data)
        return not cut

    def _well_again(self):
        """Waits for flow(); returns False if stop() came first."""
        with self.changed:
            self.changed.wait_for(lambda: self.stopped or not self.torn)
            return not self.stopped
