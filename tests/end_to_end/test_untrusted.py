"""Foreign values in Redis under a server's keys are misses, are overwritten, and cause no wrong answers."""

import numpy as np
import pytest

from support import decode, eventually, same
from traffic import cache_status, is_hit, label, put

MODEL = "triple"
ROWS = 5


@pytest.fixture
def triple(serve, repository):
    """triple(*arguments): a server of two models, both cached by row."""
    repository.scale(MODEL, {1: 3.0}, cached=True)
    repository.scale("double", {1: 2.0}, cached=True)
    return lambda *arguments: serve(repository, *arguments, "--threads=1")


def ask(server, *values, model=MODEL, factor=3):
    """Asks and checks the rows; returns whether all came from the cache."""
    array = np.float32([[value] for value in values])
    reply = put(server, model, {"INPUT0": array})
    same(decode(reply)["OUTPUT0"], array * np.float32(factor))
    return is_hit(reply) and cache_status(reply).get("detail") != "joined"  # joined: with an entry still being stored


def wait_hit(server, *values, **options):
    eventually(lambda: ask(server, *values, **options), "hits")


def corrupt(server):
    return server.metrics()["hippocamp_cache_corrupt_total", label(MODEL)]


def entry(redis, server, value, model=MODEL, factor=3):
    """Asks a new row; returns the key and the value of its entry."""
    wait_hit(server, 1000, model=model, factor=factor)
    before = set(redis.entries(model))
    assert not ask(server, value, model=model, factor=factor)
    (key,) = eventually(lambda: set(redis.entries(model)) - before, "the entry")
    wait_hit(server, value, model=model, factor=factor)  # until then a question joins the one that still stores it
    return key, redis.command("GET", key)


FOREIGN = {
    "empty": lambda good, others: b"",
    "text": lambda good, others: b"hello",
    "json": lambda good, others: b'{"outputs":[]}',
    "of_another_key": lambda good, others: others[0],
    "of_another_model": lambda good, others: others[1],
    "half": lambda good, others: good[:len(good) // 2],
    "one_byte_less": lambda good, others: good[:-1],
    "one_byte_more": lambda good, others: good + b"\0",
    "another_version": lambda good, others: good[:4] + bytes([good[4] + 1]) + good[5:],
    "another_magic": lambda good, others: b"XXXX" + good[4:],
    "zeros": lambda good, others: bytes(len(good)),
    "large": lambda good, others: bytes(3_000_000),
}


@pytest.mark.parametrize("rows", [1, ROWS], ids=["one", "several"])
def test_foreign_values(triple, redis_server, rows):
    """Alone (GET), and among good ones (MGET)."""
    redis = redis_server()
    server = triple(*redis.cache("lookup_timeout=5000"))
    values = list(range(1, 1 + rows))
    key, good = entry(redis, server, 1)
    others = [entry(redis, server, 50)[1], entry(redis, server, 1, "double", 2)[1]]
    wait_hit(server, *values)
    for name, make in FOREIGN.items():
        before = corrupt(server)
        redis.command("SET", key, make(good, others))
        assert not ask(server, *values), name
        assert corrupt(server) == before + 1, name
        wait_hit(server, *values)


OTHER_TYPES = [["RPUSH", "x"], ["HSET", "0:b", "x"], ["SADD", "x"], ["ZADD", "1", "x"], ["XADD", "*", "a", "b"]]


@pytest.mark.parametrize("rows", [1, ROWS], ids=["one", "several"])
def test_other_types(triple, redis_server, rows):
    redis = redis_server()
    server = triple(*redis.cache("lookup_timeout=5000"))
    values = list(range(1, 1 + rows))
    key, _ = entry(redis, server, 1)
    wait_hit(server, *values)
    for command, *words in OTHER_TYPES:
        redis.command("DEL", key)
        redis.command(command, key, *words)
        assert not ask(server, *values), command
        eventually(lambda: redis.command("TYPE", key) == b"string", f"a value in the place of what {command} made")
        wait_hit(server, *values)


def test_in_a_cluster(triple, cluster):
    nodes = cluster()
    server = triple(*nodes.cache())
    values = list(range(1, 1 + ROWS))
    wait_hit(server, *values)
    for node in nodes.primaries():
        for key in node.entries(MODEL):
            node.command("SET", key, "hello")
    assert not ask(server, *values)
    assert corrupt(server) == ROWS
    wait_hit(server, *values)
    for node in nodes.primaries():
        for key in node.entries(MODEL):
            node.command("DEL", key)
            node.command("RPUSH", key, "x")
    assert not ask(server, *values)
    wait_hit(server, *values)


SAID = r"^W.*(secret|WRONGTYPE)"


@pytest.mark.parametrize("what", ["text", "short", "list"])
def test_secret_that_is_none(triple, redis_server, what):
    """The log says so once; when the bad secret is gone, servers agree on another."""
    redis = redis_server()
    if what == "list":
        redis.command("RPUSH", "hippocamp:key_secret", "x")
    else:
        redis.command("SET", "hippocamp:key_secret", "hello" if what == "text" else "ab" * 31)
    server = triple(*redis.cache("lookup_timeout=5000"))
    server.wait_log(SAID)
    for value in range(10):
        assert not ask(server, value)
    redis.command("DEL", "hippocamp:key_secret")
    wait_hit(server, 1)
    assert len(server.lines(SAID)) == 1


# --- Writers to Redis that do not have the secret ---


def wrong_macs(server):
    return server.metrics()["hippocamp_cache_wrong_mac_total", label(MODEL)]


def altered(good, value):
    """The same entry with another answer: all that a forger can do without the secret."""
    at = good.rindex(np.float32(value).tobytes())
    return good[:at] + np.float32(value + 1).tobytes() + good[at + 4:]


@pytest.mark.parametrize("options", [[], ["key_hash=sha256"], ["compression=lz4", "compression_min_size=1"]], ids=["ghash", "sha256", "packed"])
def test_nobody_makes_an_answer_without_the_secret(triple, redis_server, tmp_path, options):
    secret = tmp_path / "secret"
    secret.write_text("a secret of the owner's\n")
    redis = redis_server()
    server = triple(*redis.cache("lookup_timeout=5000", f"key_secret_file={secret}", *options))
    key, good = entry(redis, server, 1)
    redis.command("SET", key, altered(good, 3.0))
    assert not ask(server, 1)
    assert wrong_macs(server) == corrupt(server) == 1
    wait_hit(server, 1)


def test_servers_of_different_secrets_share_nothing(triple, redis_server):
    redis = redis_server()
    one = triple(*redis.cache("lookup_timeout=5000", "key_secret=one"))
    two = triple(*redis.cache("lookup_timeout=5000", "key_secret=two"))
    wait_hit(one, 1)
    assert not ask(two, 1)
    wait_hit(two, 1)
    (first, second) = redis.entries(MODEL)
    values = redis.command("GET", first), redis.command("GET", second)
    redis.command("SET", first, values[1])
    redis.command("SET", second, values[0])
    for server in (one, two):
        assert not ask(server, 1)
        assert wrong_macs(server) == 1


def test_secret_from_the_environment(triple, redis_server, monkeypatch):
    monkeypatch.setenv("HIPPOCAMP_KEY_SECRET", "shared")
    redis = redis_server()
    one = triple(*redis.cache("lookup_timeout=5000"))
    wait_hit(one, 1)
    monkeypatch.delenv("HIPPOCAMP_KEY_SECRET")
    two = triple(*redis.cache("lookup_timeout=5000", "key_secret=shared"))
    wait_hit(two, 1)
    assert len(redis.entries(MODEL)) == 1, "it is the same secret"
    assert not redis.command("EXISTS", "hippocamp:key_secret")


def test_an_old_hash_is_refused(triple, redis_server):
    from support import run_program

    done = run_program("serve", "--model-repository=/", "--cache-config=local,key_hash=xxh3")
    assert done.returncode != 0 and "ghash" in done.stderr and "sha256" in done.stderr
