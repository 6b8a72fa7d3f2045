"""What befalls a Redis, in each way in which it may be set up: how the trouble begins, and how it ends."""

import contextlib
import random
import shutil
import socket
import struct
import subprocess
import threading
from dataclasses import dataclass
from typing import Callable

from faults import Proxy
from support import LOCAL, PATIENCE, REDIS, Redis, RedisError, eventually, free_port
from topology import Cluster, RedisTls, Sentinels, cache_options

USER, PASSWORD, OTHER = "hippo", "hush-the-first", "hush-the-second"
LOGIN = ["--user", USER, "on", f">{PASSWORD}", "~*", "&*", "+@all"]
# A Redis that loads listens to its clients after each KiB; its file is as long as what is in it.
OPTIONS = [*LOGIN, "--loading-process-events-interval-bytes", "1024", "--rdbcompression", "no"]
NAME = "redis.test"


# --- Places: a Redis, or several ---


class Place:
    """Where entries are kept. way: the proxy before it, if one can be there; wrapper: what a server of it is started
    by, so that it finds the Redis's name."""

    way, wrapper = None, ()

    def cache(self, **options):
        """Arguments of a server."""
        return cache_options(user=USER, password=PASSWORD, **options)

    def everyone(self):
        """Each Redis that has entries."""
        return [self.redis]

    def masters(self):
        """Those that are written to."""
        return self.everyone()

    def whole(self):
        """Returns when all is in order."""

    def stop(self):
        self.way.stop()
        self.redis.stop()


class Single(Place):
    def __init__(self, folder, authority, program=REDIS):
        self.redis = Redis(folder, free_port(), OPTIONS, program)
        self.way = Proxy(self.redis.port)

    def cache(self):
        return super().cache(host=LOCAL, port=self.way.port)


class Tls(Place):
    def __init__(self, folder, authority, program=REDIS):
        self.redis = RedisTls(folder, authority, authority.server(), options=OPTIONS, program=program)
        self.way = Proxy(self.redis.tls_port)

    def cache(self):
        return super().cache(host=LOCAL, port=self.way.port, tls_enabled="true", cacert=self.redis.authority.cert)


class Named(Single):
    """A Redis that is known by its name, in a network with a name server of the test's own: the machine's is hidden
    from the server by a mount."""

    def __init__(self, folder, authority, program=REDIS):
        super().__init__(folder, authority, program)
        self.names = NameServer()
        file = folder / "resolv.conf"
        file.write_text(f"nameserver {LOCAL}:{self.names.port}\n")
        self.wrapper = [*apart(), "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', file]

    def cache(self):
        return Place.cache(self, host=NAME, port=self.way.port)

    def stop(self):
        self.names.stop()
        super().stop()


class Watched(Place):
    """Behind sentinels."""

    def __init__(self, folder, authority, program=REDIS):
        self.group = Sentinels(folder, options=OPTIONS, program=program)

    def cache(self):
        return self.group.cache(lookup_timeout=None, user=USER, password=PASSWORD)

    def everyone(self):
        return self.group.redis

    def masters(self):
        return [self.group.master()]

    def whole(self):
        eventually(self.group.agreed, "sentinels that agree")

    def stop(self):
        self.group.stop()


class Spread(Place):
    """A cluster."""

    def __init__(self, folder, authority, program=REDIS):
        self.nodes = Cluster(folder, options=OPTIONS, program=program)

    def cache(self):
        return self.nodes.cache(lookup_timeout=None, user=USER, password=PASSWORD)

    def everyone(self):
        return self.nodes.nodes

    def masters(self):
        return self.nodes.primaries()

    def whole(self):
        eventually(self.nodes.agreed, "a cluster whose nodes agree")

    def stop(self):
        self.nodes.stop()


PLACES = {"single": Single, "tls": Tls, "named": Named, "sentinel": Watched, "cluster": Spread}


# --- Names ---


class NotHere(Exception):
    """This machine does not allow it."""


def apart():
    """A command that runs another with mounts of its own."""
    for options in (["-m"], ["-rm"]):
        command = [shutil.which("unshare") or "unshare", *options]
        with contextlib.suppress(OSError):
            if subprocess.run([*command, "true"], capture_output=True, timeout=PATIENCE).returncode == 0:
                return command
    raise NotHere("a name server of the test's own takes a mount: run it as root, or allow user namespaces")


class NameServer:
    """Knows one name. answer is "address", "unknown" or "silence"."""

    def __init__(self):
        self.answer, self.port = "address", free_port()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((LOCAL, self.port))
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while self.answer is not None:
            query, client = self.socket.recvfrom(512)
            end = query.index(b"\0", 12) + 5  # of the one question
            address = self.answer == "address" and query[end - 4 : end - 2] == b"\0\1"
            flags = 0x8183 if self.answer == "unknown" else 0x8180
            reply = query[:2] + struct.pack(">5H", flags, 1, address, 0, 0) + query[12:end]
            if address:
                reply += b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + socket.inet_aton(LOCAL)
            if self.answer in ("address", "unknown"):
                self.socket.sendto(reply, client)

    def stop(self):
        self.answer = None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(bytes(17), (LOCAL, self.port))
        self.thread.join(PATIENCE)
        self.socket.close()


# --- Troubles ---


@dataclass
class Trouble:
    """befall(place): a context; within it, the trouble is there, and when it ends, all is well again."""

    name: str
    words: str
    places: list
    befall: Callable


TROUBLES = {}
EVERYWHERE = ["single", "tls", "sentinel", "cluster"]
WITH_PROXY = ["single", "tls"]


def trouble(words, places):
    def register(function):
        name = function.__name__
        TROUBLES[name] = Trouble(name, words, places, contextlib.contextmanager(function))
        return function

    return register


def troubles_of(place):
    return [each for each in TROUBLES.values() if place in each.places]


@trouble("killed, and started again empty", EVERYWHERE)
def killed(place):
    lost = place.masters() if len(place.everyone()) == 2 else place.everyone()  # a replica takes over from a master
    for redis in lost:
        redis.stop()
    yield
    for redis in lost:
        redis.start()
    place.whole()


@trouble("stopped (SIGSTOP), and woken", EVERYWHERE)
def stopped(place):
    hung = place.masters() if len(place.everyone()) == 2 else place.everyone()
    for redis in hung:
        redis.pause()
    yield
    for redis in hung:
        redis.resume()
    place.whole()


@trouble("one primary killed, and started again", ["cluster"])
def one_killed(place):
    lost = place.masters()[0]
    lost.stop()
    yield
    lost.start()
    place.whole()


@trouble("one primary stopped, and woken", ["cluster"])
def one_stopped(place):
    hung = place.masters()[1]
    hung.pause()
    yield
    hung.resume()
    place.whole()


@trouble("master and replica change places", ["sentinel"])
def handed_over(place):
    place.group.hand_over()
    yield
    place.whole()


@trouble("a primary and its replica change places", ["cluster"])
def changed_places(place):
    place.nodes.fail_over(1)
    yield
    place.whole()


@trouble("black hole: no byte comes through", WITH_PROXY)
def swallowed(place):
    place.way.swallow()
    yield
    place.way.flow()


def slow(milliseconds):
    def befall(place):
        place.way.delay(milliseconds)
        yield
        place.way.flow()

    befall.__name__ = f"slow_{milliseconds}"
    trouble(f"slow: {milliseconds} ms more each way", WITH_PROXY)(befall)


for each in (5, 50, 500):
    slow(each)


@trouble("reset in the middle of a reply", WITH_PROXY)
def torn(place):
    place.way.tear("reset")
    yield
    place.way.flow()


@trouble("half a reply, then silence", WITH_PROXY)
def halved(place):
    place.way.tear("silence")
    yield
    place.way.flow()


@trouble("reset after 2,000 bytes of replies, then within each login", WITH_PROXY)
def cut(place):
    place.way.cut(2000)
    yield
    place.way.flow()


@trouble("refuses connections", WITH_PROXY)
def refused(place):
    place.way.refuse()
    yield
    place.way.flow()


@trouble("full (maxmemory, noeviction)", EVERYWHERE)
def full(place):
    for redis in place.masters():
        redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", 1)
    yield
    for redis in place.everyone():
        redis.command("CONFIG", "SET", "maxmemory", 0)


@trouble("writes held back (CLIENT PAUSE WRITE)", EVERYWHERE)
def held_back(place):
    for redis in place.masters():
        redis.command("CLIENT", "PAUSE", 600_000, "WRITE")
    yield
    for redis in place.everyone():
        redis.command("CLIENT", "UNPAUSE")


@trouble("read-only: the replica of one who is dead", WITH_PROXY)
def read_only(place):
    place.redis.command("REPLICAOF", LOCAL, free_port())
    yield
    place.redis.command("REPLICAOF", "NO", "ONE")


@trouble("loading its data", WITH_PROXY)
def loading(place):
    redis = place.redis
    redis.command("EVAL", "for i = 1, 1000 do redis.call('SET', 'other:' .. i, string.rep('x', 2000)) end", 0)
    redis.command("SAVE")
    redis.stop()
    well, redis.options = redis.options, [*redis.options, "--key-load-delay", "20000"]
    redis.start()
    assert b"\nloading:1" in redis.command("INFO", "persistence")
    yield
    redis.options = well
    redis.command("CONFIG", "SET", "key-load-delay", 0)
    eventually(lambda: b"\nloading:0" in redis.command("INFO", "persistence"), "the end of loading")
    redis.command("EVAL", "for i = 1, 1000 do redis.call('UNLINK', 'other:' .. i) end", 0)
    (redis.folder / "dump.rdb").unlink()


@trouble("busy with a script that does not end", ["single", "tls", "cluster"])
def busy(place):
    redis = place.masters()[0]
    redis.command("CONFIG", "SET", "busy-reply-threshold", 50)

    def spin():
        with contextlib.suppress(RedisError, OSError):
            redis.command("EVAL", "while true do end", 0)

    def is_busy():
        try:
            redis.command("PING")
        except RedisError as refusal:
            return "BUSY" in str(refusal)

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    eventually(is_busy, "a script that goes on")
    yield
    redis.command("SCRIPT", "KILL")
    thread.join(PATIENCE)


def change_password(place, password):
    """For who comes from now on; and all have to come again."""
    for redis in place.everyone():
        redis.commands([("ACL", "SETUSER", USER, "resetpass", f">{password}"), ("CLIENT", "KILL", "USER", USER)])


@trouble("the password is another, and then the old one again", EVERYWHERE)
def rotated(place):
    change_password(place, OTHER)
    yield
    change_password(place, PASSWORD)


DAMAGE = [
    lambda value: b"",
    lambda value: b"garbage" * 100,
    lambda value: bytes(len(value)),
    lambda value: value[: len(value) // 2],
    lambda value: value + value,
    lambda value: value[: len(value) // 2] + bytes([value[len(value) // 2] ^ 4]) + value[len(value) // 2 + 1 :],
    lambda value: value[:8] + b"\xff" * 48 + value[56:],
    lambda value: value[:64] + b"\x1f\0\1\0" + b"\xff" * 20_000,  # LZ4's form of 5 MB that are all equal
    lambda value: value[:64] + b"\x28\xb5\x2f\xfd\xa0\0\0\0\x7f" + b"\x03\0\x10\0" * 1000,  # zstd's, of 2 GB
]


def spoil(redis, spoiled):
    """Every entry becomes something else. spoiled: {key: when it expires} of those that already did; who stores one
    again sets another time."""
    keys = redis.command("KEYS", "hippocamp:*:????????:*")
    ends = redis.commands([("PEXPIRETIME", key) for key in keys])
    fresh = {key: end for key, end in zip(keys, ends) if spoiled.get(key) != end}
    values = redis.commands([("GET", key) for key in fresh])
    redis.commands([("SET", key, random.choice(DAMAGE)(value), "XX", "KEEPTTL")
                    for key, value in zip(fresh, values) if value])
    spoiled.update(fresh)


@trouble("all entries overwritten again and again: garbage, halves, flipped bits, bombs", EVERYWHERE)
def corrupt(place):
    over, spoiled = threading.Event(), {redis: {} for redis in place.masters()}

    def go_on():
        while not over.wait(0.1):
            for redis in spoiled:
                spoil(redis, spoiled[redis])

    for redis in spoiled:
        spoil(redis, spoiled[redis])
    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(PATIENCE)


@trouble("its name is unknown to the name server, and connections are lost", ["named"])
def name_unknown(place):
    place.names.answer = "unknown"
    place.way.disconnect()
    yield
    place.names.answer = "address"


@trouble("the name server is silent, and connections are lost", ["named"])
def no_name_server(place):
    place.names.answer = "silence"
    place.way.disconnect()
    yield
    place.names.answer = "address"
