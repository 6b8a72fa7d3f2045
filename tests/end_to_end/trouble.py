"""Troubles of Redis in each kind of deployment: how each begins, and how it ends."""

import contextlib
import random
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from certificates import Authority
from faults import Proxy
from peers import Peer, error
from support import (LOCAL, PATIENCE, REDIS, Connection, Redis, RedisError, Server, clock_ahead, eventually, free_port)
from topology import Cluster, RedisTls, Sentinels, cache_options

USER, PASSWORD, OTHER = "hippo", "hush-the-first", "hush-the-second"
LOGIN = ["--user", USER, "on", f">{PASSWORD}", "~*", "&*", "+@all"]
# While Redis loads, it serves its clients after each KiB; uncompressed, its file is as long as its data.
OPTIONS = [*LOGIN, "--loading-process-events-interval-bytes", "1024", "--rdbcompression", "no"]
NAME = "redis.test"


# --- Places: a Redis, or several ---


class Place:
    """A deployment of one Redis or several. way: the proxy in front of it, if any; wrapper: the command that starts a
    server, so that the server can resolve the Redis's name; values: the number of INT32s in an entry. Whoever runs its
    troubles sets repository, a model repository, and renewing, requests that make a server store its entries again."""

    way, wrapper, values, program = None, (), 1000, REDIS
    repository, renewing = None, ()

    def cache(self, **options):
        """Command-line arguments for a server."""
        return cache_options(user=USER, password=PASSWORD, **options)

    def everyone(self):
        """Each Redis that has entries."""
        return [self.redis]

    def masters(self):
        """Each Redis that is written to."""
        return self.everyone()

    def whole(self):
        """Waits until all is in order."""

    def server(self, threads=1, **options):
        return Server(f"--model-repository={self.repository}", f"--http-address={LOCAL}", "--http-port=0",
                      "--metrics-port=0", f"--threads={threads}", *self.cache(), wrapper=self.wrapper, **options)

    @contextlib.contextmanager
    def others(self, count, **options):
        """Context manager: `count` more servers, all connected."""
        servers = []
        try:
            for _ in range(count):
                servers.append(self.server(**options))
            for server in servers:
                server.wait_log("connected to")
            yield servers
        finally:
            with ThreadPoolExecutor(count) as pool:
                list(pool.map(Server.stop, servers))

    def stop(self):
        self.way.stop()
        self.redis.stop()


class Single(Place):
    def __init__(self, folder, authority, program=REDIS):
        self.folder, self.program = folder, program
        self.redis = Redis(folder, free_port(), OPTIONS, program)
        self.way = Proxy(self.redis.port)

    def cache(self):
        return super().cache(host=LOCAL, port=self.way.port)


class Large(Single):
    """Entries of 80 kB."""

    values = 20_000


class Identity(Single):
    """A Redis whose clients log in with a token from a file, and again each second."""

    def __init__(self, folder, authority, program=REDIS):
        super().__init__(folder, authority, program)
        self.file = folder / "token"
        self.file.write_text(PASSWORD)

    def cache(self):
        return cache_options(host=LOCAL, port=self.way.port, user=USER, password_file=self.file, password_refresh=1)

    def issue(self, token):
        fresh = self.file.with_name("fresh")
        fresh.write_text(token)
        fresh.rename(self.file)


class Tls(Place):
    def __init__(self, folder, authority, program=REDIS):
        self.folder, self.trusted = folder, folder / "trusted.pem"
        shutil.copy(authority.cert, self.trusted)
        self.redis = RedisTls(folder, authority, authority.server(), options=OPTIONS, program=program)
        self.way = Proxy(self.redis.tls_port)

    def cache(self):
        return super().cache(host=LOCAL, port=self.way.port, tls_enabled="true", cacert=self.trusted)


class Named(Single):
    """A Redis that is reached by its name, through a name server of the test's own: a mount replaces /etc/resolv.conf
    for the server."""

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
    """A master and a replica behind sentinels."""

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


class Spread9(Spread):
    """A cluster of Valkey 9."""

    def __init__(self, folder, authority, program=None):
        super().__init__(folder, authority, "valkey-server-9")


PLACES = {"single": Single, "large": Large, "identity": Identity, "tls": Tls, "named": Named, "sentinel": Watched,
          "cluster": Spread, "cluster9": Spread9}


# --- Names ---


class NotHere(Exception):
    """This machine does not allow what a place needs."""


def apart():
    """A command that runs another in a mount namespace of its own."""
    for options in (["-m"], ["-rm"]):
        command = [shutil.which("unshare") or "unshare", *options]
        with contextlib.suppress(OSError):
            if subprocess.run([*command, "true"], capture_output=True, timeout=PATIENCE).returncode == 0:
                return command
    raise NotHere("a name server of the test's own takes a mount: run it as root, or allow user namespaces")


class NameServer:
    """A name server for one name. answer: "address" (it replies with `address`), "unknown" or "silence"."""

    def __init__(self):
        self.answer, self.address, self.port = "address", LOCAL, free_port()
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
                reply += b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + socket.inet_aton(self.address)
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
    """befall(place): a context manager; the trouble begins at its entry, and is over at its exit."""

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


@contextlib.contextmanager
def again_and_again(seconds, work):
    """Context manager: calls work() every `seconds`; the exit raises what work() raised."""
    over = threading.Event()

    def go_on():
        while not over.wait(seconds):
            work()

    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(go_on)
        try:
            yield
        finally:
            over.set()
        result.result(PATIENCE)


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


@trouble("writes held back (CLIENT PAUSE WRITE)", [*EVERYWHERE, "large"])
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
    """Changes the password, and ends all connections, so that clients log in again."""
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
    lambda value: value[:64] + b"\x1f\0\1\0" + b"\xff" * 20_000,  # 5 MB of equal bytes in LZ4
    lambda value: value[:64] + b"\x28\xb5\x2f\xfd\xa0\0\0\0\x7f" + b"\x03\0\x10\0" * 1000,  # 2 GB in zstd
]


def spoil(redis, spoiled):
    """Damages every entry. spoiled: {key: expiry} of those already damaged; storing one again changes its expiry."""
    keys = redis.command("KEYS", "hippocamp:*:????????:*")
    ends = redis.commands([("PEXPIRETIME", key) for key in keys])
    fresh = {key: end for key, end in zip(keys, ends) if spoiled.get(key) != end}
    values = redis.commands([("GET", key) for key in fresh])
    redis.commands([("SET", key, random.choice(DAMAGE)(value), "XX", "KEEPTTL")
                    for key, value in zip(fresh, values) if value])
    spoiled.update(fresh)


@trouble("all entries overwritten again and again: garbage, halves, flipped bits, bombs", EVERYWHERE)
def corrupt(place):
    spoiled = {redis: {} for redis in place.masters()}

    def spoil_all():
        for redis in spoiled:
            spoil(redis, spoiled[redis])

    spoil_all()
    with again_and_again(0.1, spoil_all):
        yield


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


MOVED = "127.0.0.2"


@trouble("its name leads to another server, and the one of before is its replica now", ["named"])
def name_moved(place):
    folder = place.folder / "moved"
    folder.mkdir(exist_ok=True)
    old, new = place.redis, Redis(folder, free_port(), OPTIONS, place.program)
    new.command("REPLICAOF", LOCAL, old.port)
    eventually(lambda: b"master_link_status:up" in new.command("INFO", "replication"), "a replica")
    way = Proxy(new.port, MOVED, place.way.port)
    new.command("REPLICAOF", "NO", "ONE")
    old.command("REPLICAOF", LOCAL, new.port)
    place.names.address = MOVED
    try:
        yield
        old.command("REPLICAOF", "NO", "ONE")
        place.names.address = LOCAL
    finally:
        way.stop()
        new.stop()


@trouble("its certificate is of an authority that the file does not have yet, and connections are lost", ["tls"])
def certificates_rotated(place):
    folder = Path(tempfile.mkdtemp(dir=place.folder))
    fresh = Authority(folder, "fresh")
    own = fresh.server()
    files = ["tls-ca-cert-file", fresh.cert, "tls-cert-file", own.cert, "tls-key-file", own.key]
    place.redis.command("CONFIG", "SET", *files)
    place.redis.options = [*place.redis.options, *(f"--{each}" if each in files[::2] else each for each in files)]
    place.way.disconnect()
    yield
    shutil.copy(fresh.cert, folder / "copy.pem")
    (folder / "copy.pem").rename(place.trusted)


@trouble("tokens lapse: one each half second, of which a login lasts for 1.8 s", ["identity"])
def tokens(place):
    valid = [PASSWORD]

    def renew():
        valid.append(f"token-{len(valid)}-{random.random()}")
        old = [f"<{token}" for token in valid[-3:-2]]
        place.redis.command("ACL", "SETUSER", USER, f">{valid[-1]}", *old)
        place.issue(valid[-1])
        assert place.way.lapse(1.8, [token.encode() for token in valid[-2:]]) == 0, "nobody logged in again in time"

    with again_and_again(0.5, renew):
        yield
    place.redis.command("ACL", "SETUSER", USER, "resetpass", f">{PASSWORD}")
    place.issue(PASSWORD)


def renew_entries(server, place):
    """Makes the server store all known entries again."""
    with Connection(server.port) as connection:
        for message in place.renewing:
            connection.send(message)
            assert connection.reply("POST").status == 200


@trouble("clocks apart: a server whose clock is an hour ahead stores the entries", ["single"])
def apart_in_time(place):
    with place.others(1, environment=clock_ahead(3600)) as (server,):
        with again_and_again(0.1, lambda: renew_entries(server, place)):
            yield


@trouble("a proxy that hangs up five times a second", WITH_PROXY)
def hung_up(place):
    with again_and_again(0.2, place.way.disconnect):
        yield


@trouble("errors in place of silence: a proxy whose server is away", ["single"])
def errors(place):
    def says(_, words, send):
        if words[0].upper() not in (b"HELLO", b"AUTH", b"CLIENT"):
            send(error("ERR upstream failure"))
            return True

    peer = Peer(says)
    place.way.target = peer.port
    place.way.disconnect()
    yield
    place.way.target = place.redis.port
    place.way.disconnect()
    peer.stop()


@trouble("client-output-buffer-limit below the size of an entry", ["large"])
def buffer_limit(place):
    place.redis.command("CONFIG", "SET", "client-output-buffer-limit", "normal 32kb 32kb 1")
    yield
    place.redis.command("CONFIG", "SET", "client-output-buffer-limit", "normal 0 0 0")


@trouble("killed under 16 servers, which all come back to it", ["single"])
def storm(place):
    with place.others(15):
        place.redis.stop()
        place.redis.start()
        yield


@trouble("half of a primary's slots move in one step (CLUSTER MIGRATESLOTS)", ["cluster9"])
def migrated(place):
    source, target, *_ = place.masters()
    slots = sorted(slot for slot, owner in place.nodes.owners().items() if owner is source)

    def move(one, other):
        eventually(place.nodes.agreed)
        one.command("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slots[0], slots[len(slots) // 2], "NODE", other.id)
        eventually(lambda: place.nodes.owners(other)[slots[0]] is other, "the slots at their new place")

    move(source, target)
    yield
    move(target, source)
    place.whole()
