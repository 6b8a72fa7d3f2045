"""Peers that are not quite Redis: never a wrong answer, never a failed request, and bounded memory and log."""

import itertools
import re
import time
from contextlib import contextmanager

import numpy as np
import pytest

from load import Load, ask, complaints, wait_hits
from peers import array, bulk, error, number, slots
from support import LOCAL, decode, eventually, same
from topology import cache_options
from traffic import is_hit, put

QUESTIONS = range(20)
FEW = 20  # lines of the log
MIB = 1 << 20
PASSWORD = "hush-the-first"
ENOUGH = 1500 * MIB  # a sanitizer enlarges small objects, and keeps freed ones


@pytest.fixture
def simple(serve, repository):
    repository.add("simple")
    return lambda *arguments: serve(repository, *arguments, "--threads=1")


def is_lookup(words):
    return words[0] == b"GET" and not words[1].endswith(b":key_secret")


def to_lookups(reply):
    """Answers look-ups, and nothing else, with `reply`."""
    def says(peer, words, send):
        if is_lookup(words):
            send(reply(peer) if callable(reply) else reply)
            return True

    return says


def memory(server):
    """The server's peak memory, in bytes."""
    with open(f"/proc/{server.process.pid}/status") as status:
        return int(re.search(r"VmHWM:\s*(\d+) kB", status.read())[1]) * 1024


@contextmanager
def case(server, name):
    """One of the cases that a test tries on one server: names it if it fails, and bounds what is logged during it."""
    before = len(complaints(server))
    try:
        yield
        assert len(complaints(server)) - before <= FEW, complaints(server)[before:]
    except BaseException as failure:
        failure.add_note(f"case: {name}")
        raise


def misbehave(server, peer, says, name=""):
    """Checks for right answers while the peer misbehaves, a short log, and hits when it behaves again."""
    with case(server, name):
        wait_hits(server, QUESTIONS)
        peer.says = says
        with Load(server, len(QUESTIONS), 2) as load:
            load.go_on()
            peer.says = None
            peer.disconnect()
        wait_hits(server, QUESTIONS, "hits of a peer that has come to reason")


# --- Correct peers ---


def test_a_peer(simple, peer):
    one = peer()
    server = simple(*one.cache())
    wait_hits(server, QUESTIONS)
    assert not complaints(server)


def test_no_hello(simple, peer):
    """As Redis before version 6."""
    def old(peer, words, send):
        if words[0] == b"HELLO":
            send(error("ERR unknown command 'HELLO'"))
            return True
        if words[0] in (b"GET", b"SET") and peer.answer(words) == b"_\r\n":
            send(b"$-1\r\n")
            return True

    one = peer(old)
    server = simple(*one.cache())
    wait_hits(server, QUESTIONS)
    assert not complaints(server)


def test_slow_but_steady(serve, repository, peer):
    """A large value takes longer than socket_timeout, but no pause between its bytes does."""
    repository.copy("identity", cached=True)
    one = peer()
    server = serve(repository, *one.cache(socket_timeout=300, lookup_timeout=5000), "--threads=1")

    def hit(seed):
        array = np.arange(600_000, dtype=np.float32) + seed
        reply = put(server, "identity", {"INPUT0": array}, binary_in=True, binary_out=True)
        same(decode(reply)["OUTPUT0"], array)
        return is_hit(reply)

    def stored():
        return sum(len(value) > MIB for value in list(one.kept.values()))

    eventually(lambda: hit(0) and one.accepted == 4, "a hit, and the connections for large values and for what is written")
    accepted, begun = one.accepted, time.monotonic()
    one.pause = 0.03
    assert not hit(1)
    eventually(lambda: stored() == 2, "the large value")
    assert time.monotonic() - begun > 0.6
    assert hit(1)
    assert one.accepted == accepted and not complaints(server)


# --- Odd replies ---


ODD = {
    "integer": b":1\r\n",
    "status": b"+OK\r\n",
    "double": b",1.5\r\n",
    "boolean": b"#t\r\n",
    "big_number": b"(123456789012345678901234567890\r\n",
    "verbatim": b"=7\r\ntxt:abc\r\n",
    "array": array(bulk(b"a")),
    "empty_array": b"*0\r\n",
    "no_array": b"*-1\r\n",
    "map": b"%1\r\n$1\r\na\r\n$1\r\nb\r\n",
    "set": b"~1\r\n$1\r\na\r\n",
    "attribute": b"|1\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n",
    "deep_array": b"*1\r\n" * 8 + b":1\r\n",
    "too_deep_array": b"*1\r\n" * 100 + b":1\r\n",
    "error": error("ERR odd"),
    "empty_error": b"-\r\n",
    "long_error": error("ERR " + "odd " * 10_000),
    "error_of_bytes": b"-\xff\x00\x1b[31m\xfe\r\n",
    "empty": bulk(b""),
    "some_bytes": bulk(bytes(range(256)) * 4),
    "length_below_none": b"$-2\r\n",
    "length_no_number": b"$abc\r\n",
    "length_beyond_all": b"$99999999999999999999\r\n",
    "length_huge": b"$9000000000000000000\r\n",
    "count_huge": b"*1000000000\r\n",
    "count_beyond_all": b"*99999999999999999999\r\n",
    "no_type": b"?what\r\n",
    "zeros": bytes(1000),
    "web": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "two": bulk(b"a") + bulk(b"b"),
    "ten": number(1) * 10,
}


def test_odd_replies(simple, peer):
    one = peer()
    server = simple(*one.cache())
    for name, reply in ODD.items():
        misbehave(server, one, to_lookups(reply), name)


def test_half_a_reply_and_silence(simple, peer):
    one = peer()
    server = simple(*one.cache(socket_timeout=200))
    for reply in [b"", b"$", b"$1000\r\n", bulk(b"x" * 1000)[:-3], b"*3\r\n:1\r\n", b"-ERR"]:
        misbehave(server, one, to_lookups(reply), reply)


def test_half_a_reply_and_the_end(simple, peer):
    def says(peer, words, send):
        if is_lookup(words):
            send(b"$1000\r\nabc")
            peer.disconnect()
            return True

    one = peer()
    misbehave(simple(*one.cache()), one, says)


def test_value_of_another_key(simple, peer):
    values = itertools.cycle(QUESTIONS)

    def other(peer):
        entries = [value for key, value in sorted(peer.kept.items()) if b":simple:" in key]
        return bulk(entries[next(values) % len(entries)])

    one = peer()
    misbehave(simple(*one.cache()), one, to_lookups(other))


def test_replies_out_of_nowhere(simple, peer):
    """Each later reply is taken for that to the next command."""
    def before_each(extra):
        def says(peer, words, send):
            send(extra + peer.answer(words) if is_lookup(words) else peer.answer(words))
            return True

        return says

    one = peer()
    server = simple(*one.cache())
    for extra in [number(1), b"_\r\n", bulk(b"abc"), array(bulk(b"a"), bulk(b"b"))]:
        misbehave(server, one, before_each(extra), extra)


def test_replies_in_another_order(simple, peer):
    held = []

    def says(peer, words, send):
        if not is_lookup(words):
            return False
        held.append(peer.answer(words))
        if len(held) > 1:
            send(held.pop() + held.pop())
        return True

    one = peer()
    misbehave(simple(*one.cache(socket_timeout=200)), one, says)


PUSHES = {
    "message": b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n",
    "subscribe": b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
    "unsubscribe": b">3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n$1\r\nx\r\n",
    "invalidate_all": b">2\r\n$10\r\ninvalidate\r\n_\r\n",
    "invalidate": b">2\r\n$10\r\ninvalidate\r\n*1\r\n$16\r\nhippocamp:purges\r\n",
    "invalidate_number": b">2\r\n$10\r\ninvalidate\r\n:7\r\n",
    "one": b">1\r\n$10\r\ninvalidate\r\n",
    "empty": b">0\r\n",
    "numbers": b">3\r\n:1\r\n:2\r\n:3\r\n",
    "nested": b">2\r\n*1\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n",
}


def test_pushes_that_nobody_asked_for(simple, peer):
    def around(push):
        def says(peer, words, send):
            send(push + peer.answer(words) + push)
            return True

        return says

    one = peer()
    server = simple(*one.cache())
    for name, push in PUSHES.items():
        misbehave(server, one, around(push), name)


# --- Too much ---


def pour(piece, begin):
    """Answers each look-up with `begin`, and then with `piece` without end."""
    def says(peer, words, send):
        if is_lookup(words):
            send(begin)
            while peer.says is says:
                send(piece)
            return True

    return says


ENDLESS = {
    "line": (b"x" * 65536, b"+"),
    "error": (b"x" * 65536, b"-"),
    "length": (b"1" * 65536, b"$"),
    "count": (b"1" * 65536, b"*"),
    "no_type": (b"\0" * 65536, b""),
    "push": (b"x" * 65536, b">1\r\n$1000000000\r\n"),
    "value": (b"x" * 65536, b"$1000000000\r\n"),
}


ARRAYS = {"array_of_arrays": (b"*60000\r\n" + b":1\r\n" * 60_000, b"*60000\r\n")}  # the reader makes objects of them


@pytest.mark.parametrize("replies", [ENDLESS, pytest.param(ARRAYS, marks=pytest.mark.thorough)], ids=["bytes", "arrays"])
def test_without_an_end(simple, peer, replies):
    one = peer()
    server = simple(*one.cache())
    wait_hits(server, QUESTIONS)
    before = memory(server)
    for name, (piece, begin) in replies.items():
        with case(server, name):
            accepted = one.accepted
            one.says = pour(piece, begin)
            with Load(server, len(QUESTIONS), 1) as load:
                eventually(lambda: one.accepted > accepted, "a connection that is given up")
                load.go_on()
                one.says = None
            wait_hits(server, QUESTIONS)
            assert memory(server) - before < ENOUGH


# --- Log-in ---


@pytest.mark.parametrize("reply", [
    b"", b"+OK\r\n", b"_\r\n", b"*0\r\n", b"%1\r\n:1\r\n:2\r\n", b"*3\r\n+mode\r\n+a\r\n+b\r\n",
    b"%1\r\n+mode\r\n+cluster\r\n", error("ERR " + "no " * 1000), b"220 mail\r\n"])
def test_odd_greeting(simple, peer, reply):
    def says(peer, words, send):
        if words[0] == b"HELLO":
            send(reply)
            return True

    one = peer(says)
    server = simple(*one.cache(connect_timeout=200))
    with Load(server, len(QUESTIONS), 2):
        one.says = None
        one.disconnect()
        wait_hits(server, QUESTIONS)
    assert len(complaints(server)) <= FEW


@pytest.mark.parametrize("hello", ["ERR unknown command 'HELLO'", "WRONGPASS no {} here"], ids=["old", "new"])
def test_a_refusal_that_quotes_the_password(simple, peer, hello):
    def says(peer, words, send):
        if words[0] in (b"HELLO", b"AUTH"):
            send(error(hello.format(PASSWORD) if words[0] == b"HELLO" else f"ERR what is AUTH {PASSWORD}?"))
            return True

    one = peer(says)
    server = simple(*one.cache(password=PASSWORD), "--log-verbose=1")
    server.wait_log(r"^[EW].*cache 'redis'.*logging in was refused")
    assert not ask(server)
    assert not server.lines(PASSWORD)
    one.says = None
    wait_hits(server)
    assert not server.lines(PASSWORD)


def test_stopped_before_the_secret_is_known(simple, peer):
    def says(peer, words, send):
        return words[0] == b"SET" and words[1].endswith(b":key_secret")  # which gets no reply

    one = peer(says)
    server = simple(*one.cache(pool_size=4, socket_timeout=60000))
    eventually(lambda: one.accepted >= 4 and one.asked.get(b"SET"), "the secret on its way")
    assert not ask(server)
    server.stop()


def test_closed_at_once(simple, peer):
    one = peer(lambda peer, words, send: peer.disconnect() or True)
    server = simple(*one.cache())
    with Load(server, len(QUESTIONS), 2):
        eventually(lambda: one.accepted > 3, "several attempts")
        one.says = None
        wait_hits(server, QUESTIONS)
    assert len(complaints(server)) == 1


# --- Clusters ---


def in_cluster(reply, told=None):
    """Answers look-ups with `reply`, and CLUSTER SLOTS with `told`, by default that this peer has all slots."""
    def says(peer, words, send):
        if words[0] == b"CLUSTER":
            send(told if told is not None else slots((0, 16383, LOCAL, peer.port)))
        elif reply is not None and is_lookup(words):
            send(reply(peer) if callable(reply) else reply)
        else:
            return False
        return True

    return says


COUNTER = itertools.count()
REDIRECTIONS = {
    "to_itself": lambda peer: error(f"MOVED 1 {LOCAL}:{peer.port}"),
    "ask_itself": lambda peer: error(f"ASK 1 {LOCAL}:{peer.port}"),
    "to_nobody": lambda peer: error(f"MOVED 1 {LOCAL}:1"),
    "to_ever_other": lambda peer: error(f"MOVED {next(COUNTER) % 16384} 127.1.{next(COUNTER) % 256}.1:1"),
    "ask_ever_other": lambda peer: error(f"ASK {next(COUNTER) % 16384} 127.1.{next(COUNTER) % 256}.1:1"),
    "to_no_such_name": lambda peer: error("MOVED 1 no-such-host.invalid:6379"),
    "to_unknown": lambda peer: error("MOVED 1 ?:6379"),
    "to_empty": lambda peer: error(f"MOVED 1 :{peer.port}"),
    "no_slot": lambda peer: error(f"MOVED x {LOCAL}:{peer.port}"),
    "slot_beyond": lambda peer: error(f"MOVED 99999 {LOCAL}:{peer.port}"),
    "port_beyond": lambda peer: error(f"MOVED 1 {LOCAL}:99999"),
    "no_port": lambda peer: error(f"MOVED 1 {LOCAL}"),
    "nothing_else": lambda peer: error("MOVED"),
    "try_again": lambda peer: error("TRYAGAIN Multiple keys request during rehashing of slot"),
    "cross_slot": lambda peer: error("CROSSSLOT Keys in request don't hash to the same slot"),
}


@pytest.mark.parametrize("cluster", ["true", "auto", "false"])
def test_redirections(simple, peer, cluster):
    one = peer(in_cluster(None))
    server = simple(*one.cache(cluster=cluster))
    for name, reply in REDIRECTIONS.items():
        with case(server, name):
            wait_hits(server, QUESTIONS)
            one.says = in_cluster(reply)
            with Load(server, len(QUESTIONS), 2) as load:
                load.go_on()
                one.says = in_cluster(None)
                wait_hits(server, QUESTIONS, "hits of a peer that has come to reason")


def test_scan_is_not_redirected(simple, peer):
    """SCAN asks each node for its own keys: if one redirects, the purge fails, and the next one does not."""
    def says(peer, words, send):
        if words[0] == b"SCAN" and peer is one and moves:
            send(error(f"MOVED 1 {LOCAL}:{other.port}"))
        elif words[0] == b"SCAN":
            send(array(bulk(b"0"), array(*map(bulk, list(peer.kept)))))
        elif words[0] == b"UNLINK":
            send(number(sum(peer.kept.pop(key, None) is not None for key in words[1:])))
        else:
            return in_cluster(None, told)(peer, words, send)
        return True

    def purge():
        return server.request("POST", "/v2/cache/purge", b"", port=server.metrics_port)

    one, other, moves = peer(), peer(), True
    told = slots((0, 8191, LOCAL, one.port), (8192, 16383, LOCAL, other.port))
    one.says = other.says = says
    server = simple(*one.cache(cluster="true"))
    wait_hits(server, QUESTIONS)
    assert purge().status == 503
    assert one.asked[b"SCAN"] == other.asked[b"SCAN"] == 1
    wait_hits(server, QUESTIONS)
    moves = False
    reply = purge()
    assert reply.status == 200 and reply.json["purged"] == len(QUESTIONS)
    wait_hits(server, QUESTIONS)


SLOTS = {  # caches/redis/topology/slots_test.c has more
    "none": b"*0\r\n",
    "error": error("ERR This instance has cluster support disabled"),
    "unknown_host": slots((0, 16383, "?", 6379)),
    "no_such_host": slots((0, 16383, "no-such-host.invalid", 6379)),
    "wrong_port": slots((0, 16383, LOCAL, 1)),
    "short_node": array(array(number(0), number(16383), array(bulk(b"a")))),
}


@pytest.mark.parametrize("told", SLOTS.values(), ids=SLOTS)
def test_odd_slots(simple, peer, told):
    """The slots are odd at first; once they are right, there are hits."""
    one = peer(in_cluster(None, told))
    server = simple(*one.cache(cluster="true"))
    with Load(server, len(QUESTIONS), 2) as load:
        eventually(lambda: one.asked.get(b"CLUSTER", 0) > 0, "the question for slots")
        load.go_on()
        one.says = in_cluster(None)
        wait_hits(server, QUESTIONS, "hits of a cluster that knows itself")
    assert len(complaints(server)) <= FEW, complaints(server)


# --- Sentinels ---


def watching(reply, after=b""):
    """A sentinel that answers questions with `reply`, and sends `after` to subscribers."""
    def says(peer, words, send):
        if words[0] == b"SENTINEL":
            send(reply)
        elif words[0] == b"SUBSCRIBE":
            send(b"*3\r\n$9\r\nsubscribe\r\n" + bulk(words[1]) + b":1\r\n" + after)
        else:
            return False
        return True

    return says


MASTERS = {
    "none": b"*-1\r\n",
    "number": b":1\r\n",
    "empty": b"*0\r\n",
    "one": array(bulk(LOCAL.encode())),
    "numbers": array(number(1), number(2)),
    "no_port": array(bulk(LOCAL.encode()), bulk(b"x")),
    "port_beyond": array(bulk(LOCAL.encode()), bulk(b"99999")),
    "no_host": array(bulk(b""), bulk(b"6379")),
    "long_host": array(bulk(b"a" * 5000), bulk(b"6379")),
    "error": error("ERR odd"),
    "silence": b"",
}
SAID = {
    "status": b"+OK\r\n",
    "error": error("ERR odd"),
    "empty": b"*0\r\n",
    "one": array(bulk(b"message")),
    "numbers": array(number(1), number(2), number(3)),
    "other_channel": array(bulk(b"message"), bulk(b"other"), bulk(b"x")),
    "no_text": array(bulk(b"message"), bulk(b"+switch-master"), number(1)),
    "other_master": array(bulk(b"message"), bulk(b"+switch-master"), bulk(b"other 1.2.3.4 1 1.2.3.5 1")),
    "half": array(bulk(b"message"), bulk(b"+switch-master"), bulk(b"prime 1.2.3.4")),
    "port_beyond": array(bulk(b"message"), bulk(b"+switch-master"), bulk(b"prime 1.2.3.4 1 1.2.3.5 99999")),
    "nobody": array(bulk(b"message"), bulk(b"+switch-master"), bulk(f"prime {LOCAL} 1 {LOCAL} 1".encode())),
    "unsubscribed": array(bulk(b"unsubscribe"), bulk(b"+switch-master"), number(0)),
    "unsubscribed_oddly": array(bulk(b"unsubscribe"), bulk(b"+switch-master"), bulk(b"x")),
    "subscribed": array(bulk(b"subscribe"), bulk(b"other"), number(2)),
    "long": b"+" + b"x" * 1_000_000,
}


def by_sentinel(sentinel, **options):
    return cache_options(sentinels=f"{LOCAL}:{sentinel.port}", sentinel_master="prime", lookup_timeout=300,
                         connect_timeout=200, socket_timeout=200, **options)


def the_master(redis):
    return array(bulk(LOCAL.encode()), bulk(str(redis.port).encode()))


@pytest.mark.parametrize("read_from", ["primary", "prefer_replica"])
def test_odd_masters(simple, peer, read_from):
    redis, sentinel = peer(), peer()
    sentinel.says = watching(the_master(redis))
    server = simple(*by_sentinel(sentinel, read_from=read_from))
    for name, told in MASTERS.items():
        with case(server, name), Load(server, len(QUESTIONS), 2) as load:
            asked = sentinel.asked.get(b"SENTINEL", 0)
            sentinel.says = watching(told)
            sentinel.disconnect()
            eventually(lambda: sentinel.asked[b"SENTINEL"] > asked + 1, "questions for the master")
            load.go_on()
            sentinel.says = watching(the_master(redis))
            sentinel.disconnect()
            wait_hits(server, QUESTIONS, "hits of the master")


def test_odd_messages_of_sentinels(simple, peer):
    redis, sentinel = peer(), peer()
    sentinel.says = watching(the_master(redis))
    server = simple(*by_sentinel(sentinel))
    for name, said in SAID.items():
        with case(server, name), Load(server, len(QUESTIONS), 2) as load:
            sentinel.says = watching(the_master(redis), said)
            subscribed = sentinel.asked.get(b"SUBSCRIBE", 0)
            sentinel.disconnect()
            eventually(lambda: sentinel.asked.get(b"SUBSCRIBE", 0) > subscribed, "a subscription")
            load.go_on()
            sentinel.says = watching(the_master(redis))
            sentinel.disconnect()
            wait_hits(server, QUESTIONS)


def test_read_only_without_a_word_of_sentinels(simple, peer):
    """The primary's refusals alone make the server ask a sentinel again."""
    def read_only(peer, words, send):
        if words[0] == b"SET":
            send(error("READONLY You can't write against a read only replica."))
            return True

    old, new, sentinel = peer(), peer(), peer()
    sentinel.says = watching(the_master(old))
    server = simple(*by_sentinel(sentinel))
    wait_hits(server, QUESTIONS)
    time.sleep(1)  # until the question that is due from the start has been asked
    sentinel.says = watching(the_master(new))
    asked = sentinel.asked[b"SENTINEL"]
    assert ask(server) and not new.accepted
    old.says = read_only
    wait_hits(server, range(100, 110), "hits of the new primary")
    assert sentinel.asked[b"SENTINEL"] > asked
    assert len(new.kept) >= 10
    assert len(complaints(server)) <= FEW, complaints(server)
