"""The cache in Redis: shared, surviving, and never in the way."""

import random
import re

import pytest

from support import (REDIS, VALKEY, Repository, ask_identity, ask_scale, ask_simple, at_once, encode, eventually,
                     free_port, infer_path, tensor)

pytestmark = pytest.mark.threads

KEY = re.compile(rb"^hippocamp:simple:1:[0-9a-f]{8}:[0-9a-f]{32,64}$")


def hits(server, model="simple"):
    return server.statistics(model)["cache_hit"]


def asked_until_hit(server, first=1, what="a hit"):
    """Asks, and gets right answers, until one comes from the cache."""
    def hit():
        before = hits(server)
        ask_simple(server, first)
        return hits(server) > before

    eventually(hit, what)


@pytest.fixture
def joined(serve, repository):
    """joined(redis, *options): a server of `simple` (and of the repository's other models) that is connected to Redis:
    until then, questions are answered without the cache. One thread, as each has a connection of its own."""
    repository.add("simple").copy("identity", "warm", cached=True)

    def start(redis, *options, repository=repository, **more):
        server = serve(repository, *redis.cache("lookup_timeout=5000", *options), "--threads=1", **more)
        value = [random.random()]

        def warm():
            ask_identity(server, value, "warm")
            return hits(server, "warm")

        eventually(warm, "a connection to Redis")
        return server

    return start


@pytest.mark.parametrize("program", [REDIS, VALKEY])
def test_servers_share(joined, redis_server):
    redis = redis_server()
    one, two = joined(redis), joined(redis)
    ask_simple(one)
    redis.wait_entries(1)
    ask_simple(two, binary_out=True)
    two.expect("simple", success=1, cache_hit=1, cache_miss=0, execution_count=0)
    ask_simple(two, 7)
    redis.wait_entries(2)
    ask_simple(one, 7)
    one.expect("simple", cache_hit=1, execution_count=1)


def test_entries_survive_the_server(joined, redis_server):
    redis = redis_server()
    server = joined(redis)
    for first in range(5):
        ask_simple(server, first)
    redis.wait_entries(5)
    server.stop()
    server = joined(redis)
    for first in range(5):
        ask_simple(server, first)
    server.expect("simple", cache_hit=5, execution_count=0)


def test_what_is_being_stored_when_the_server_ends_is_stored(joined, redis_server):
    redis = redis_server()
    server = joined(redis)
    for first in range(50):
        ask_simple(server, first)
    server.stop()
    assert len(redis.entries("simple")) == 50


def test_keys(joined, redis_server):
    redis = redis_server()
    server = joined(redis)
    ask_simple(server)
    (key,) = redis.wait_entries(1)
    assert KEY.match(key), key
    assert all(name.startswith(b"hippocamp:") for name in redis.command("KEYS", "*"))
    server.stop()
    server = joined(redis, "key_prefix=moon")
    ask_simple(server)
    keys = redis.wait_entries(2)
    assert key in keys
    assert all(name.startswith(b"moon:") for name in keys if name != key)
    assert all(redis.command("TYPE", name) == b"string" for name in keys)


@pytest.mark.parametrize("options, shortest, longest", [
    (["ttl=60"], 50, 66), ([], 21 * 3600, 26.4 * 3600)], ids=["ttl", "default"])
def test_time_to_live(joined, redis_server, options, shortest, longest):
    redis = redis_server()
    server = joined(redis, *options)
    for first in range(20):
        ask_simple(server, first)
    for key in redis.wait_entries(20):
        assert shortest * 1000 < redis.command("PTTL", key) <= longest * 1000  # with jitter


def test_no_end_of_life(joined, redis_server):
    redis = redis_server()
    ask_simple(joined(redis, "ttl=0"))
    (key,) = redis.wait_entries(1)
    assert redis.command("PTTL", key) == -1


def test_new_weights_make_new_keys(joined, repository, redis_server):
    redis = redis_server()
    for count, factor in enumerate((2.0, 3.0), 1):
        repository.scale("scale", {1: factor}, cached=True)
        server = joined(redis)
        ask_scale(server, factor)
        keys = redis.wait_entries(count, "scale")
        ask_scale(server, factor)
        server.expect("scale", cache_hit=1, execution_count=1)
        server.stop()
    assert len({key.split(b":")[3] for key in keys}) == 2  # the fingerprint


def test_equal_models_in_other_folders_share(joined, redis_server, models, tmp_path):
    redis = redis_server()
    other = Repository(tmp_path / "other", models).add("simple")
    other.copy("identity", "warm", cached=True)
    ask_simple(joined(redis))
    redis.wait_entries(1)
    server = joined(redis, repository=other)
    ask_simple(server)
    server.expect("simple", cache_hit=1, execution_count=0)


def test_concurrent_load(serve, repository, redis_server):
    redis = redis_server()
    repository.add("simple")
    servers = [serve(repository, *redis.cache()) for _ in range(2)]
    at_once(8, lambda i: [ask_simple(servers[(i + k) % 2], first=k % 10, binary_in=i % 2 == 0) for k in range(30)])
    for server in servers:
        server.expect("simple", success=120, fail=0)
        asked_until_hit(server)


# --- Values that are not ours, or not whole ---


DAMAGE = {
    "empty": lambda value: b"",
    "one_byte": lambda value: value[:1],
    "header_only": lambda value: value[:24],
    "half": lambda value: value[: len(value) // 2],
    "last_byte_missing": lambda value: value[:-1],
    "one_more_byte": lambda value: value + b"\0",
    "twice": lambda value: value + value,
    "first_byte": lambda value: bytes([value[0] ^ 1]) + value[1:],
    "last_byte": lambda value: value[:-1] + bytes([value[-1] ^ 1]),
    "middle": lambda value: value[: len(value) * 3 // 4] + b"\x5a\xa5" + value[len(value) * 3 // 4 + 2 :],
    "text": lambda value: b"hello",
    "zeros": lambda value: bytes(len(value)),
    "ones": lambda value: b"\xff" * len(value),
    "large": lambda value: b"\x01" * 1_000_000,
    "sizes_beyond_reason": lambda value: value[:8] + b"\xff" * 48 + value[56:],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_values_are_misses_and_are_overwritten(joined, redis_server, damage):
    redis = redis_server()
    server = joined(redis)
    ask_simple(server)
    (key,) = redis.wait_entries(1)
    bad = damage(redis.command("GET", key))
    redis.command("SET", key, bad)
    ask_simple(server)
    server.expect("simple", success=2, cache_hit=0, execution_count=2)
    eventually(lambda: redis.command("GET", key) != bad, "a good value in place of the bad one")
    asked_until_hit(server)


@pytest.mark.parametrize("command", [["HSET", "0:b", "x"], ["RPUSH", "x"], ["SADD", "x"]], ids=lambda words: words[0])
def test_values_of_another_type(joined, redis_server, command):
    redis = redis_server()
    server = joined(redis)
    ask_simple(server)
    (key,) = redis.wait_entries(1)
    redis.command("DEL", key)
    redis.command(command[0], key, *command[1:])
    ask_simple(server)
    server.expect("simple", success=2, cache_hit=0, execution_count=2)
    eventually(lambda: redis.command("TYPE", key) == b"string", "a value of ours")
    asked_until_hit(server)


def test_no_single_bit_gives_a_wrong_answer(joined, redis_server):
    redis = redis_server()
    server = joined(redis)
    ask_simple(server)
    (key,) = redis.wait_entries(1)
    value = redis.command("GET", key)
    for i in range(len(value)):
        redis.command("SET", key, value[:i] + bytes([value[i] ^ (1 << i % 8)]) + value[i + 1 :])
        ask_simple(server)


def test_entries_exchanged_by_hand(joined, repository, redis_server):
    """A whole, valid value under another question's key."""
    redis = redis_server()
    repository.add("simple_string")
    server = joined(redis)
    ask_simple(server)
    (key,) = redis.wait_entries(1)
    inputs = {name: tensor(["5"] * 16, "BYTES", (1, 16)) for name in ("INPUT0", "INPUT1")}
    body, headers = encode(inputs)
    assert server.post(infer_path("simple_string"), body, headers).status == 200
    (other,) = redis.wait_entries(1, "simple_string")
    redis.command("SET", other, redis.command("GET", key))
    reply = server.post(infer_path("simple_string"), body, headers)
    assert reply.status == 200
    assert reply.json["outputs"][0]["datatype"] == "BYTES"
    assert reply.json["outputs"][0]["data"] == ["10"] * 16


# --- Redis in trouble ---


def test_start_with_redis_down_and_heal(serve, repository, redis_server):
    port = free_port()
    cache = ["--cache-config=redis,host=127.0.0.1", f"--cache-config=redis,port={port}"]
    server = serve(repository.add("simple"), *cache)
    assert server.ready()
    for _ in range(2):
        ask_simple(server)
    redis_server(port=port)
    asked_until_hit(server, what="a hit after Redis came up")


def test_unknown_host(serve, repository):
    server = serve(repository.add("simple"), "--cache-config=redis,host=no-such-host.invalid", "--cache-config=redis,port=6379")
    for first in range(3):
        ask_simple(server, first)
    assert server.ready()


def test_a_port_that_speaks_no_redis(serve, repository, server):
    other = serve(repository.add("simple"), "--cache-config=redis,host=127.0.0.1", f"--cache-config=redis,port={server.port}")
    for first in range(5):
        ask_simple(other, first)


@pytest.mark.parametrize("program", [REDIS, VALKEY])
def test_killed_and_restarted(serve, repository, redis_server):
    redis = redis_server()
    server = serve(repository.add("simple"), *redis.cache())
    asked_until_hit(server)
    redis.stop()
    at_once(4, lambda i: [ask_simple(server, first) for first in range(10)])
    assert server.ready()
    redis.start()
    asked_until_hit(server, what="a hit after Redis was restarted")


def test_hung_and_woken(serve, repository, redis_server):
    """A Redis that takes connections and never answers."""
    redis = redis_server()
    server = serve(repository.add("simple"), *redis.cache())
    asked_until_hit(server)
    redis.pause()
    try:
        at_once(4, lambda i: [ask_simple(server, first) for first in range(10)])
        assert server.ready()
    finally:
        redis.resume()
    asked_until_hit(server, what="a hit after Redis woke up")


def test_the_server_ends_though_redis_hangs(serve, repository, redis_server):
    redis = redis_server()
    server = serve(repository.add("simple"), *redis.cache(), "--exit-timeout-secs=5")
    asked_until_hit(server)
    redis.pause()
    for first in range(20, 25):
        ask_simple(server, first)
    server.stop()
    redis.resume()


def test_flushed(serve, repository, redis_server):
    """FLUSHALL also takes the deployment's secret; answers stay right and the cache comes back."""
    redis = redis_server()
    repository.add("simple")
    servers = [serve(repository, *redis.cache()) for _ in range(2)]
    for server in servers:
        asked_until_hit(server)
    redis.command("FLUSHALL")
    for server in servers:
        ask_simple(server)
        asked_until_hit(server)


def test_restarted_empty_while_busy(serve, repository, redis_server):
    redis = redis_server()
    server = serve(repository.add("simple"), *redis.cache())
    done = []

    def work(i):
        if i == 0:
            for _ in range(3):
                redis.stop()
                redis.start()
            redis.pause()
            redis.resume()
            redis.command("CLIENT", "KILL", "TYPE", "normal")
            done.append(True)
        else:
            first = 0
            while not done or first < 30:
                ask_simple(server, first % 20, second=i)
                first += 1

    at_once(4, work)
    asked_until_hit(server)
    assert server.statistics("simple")["fail"] == 0


def test_full(serve, repository, redis_server):
    redis = redis_server("--maxmemory", "1mb", "--maxmemory-policy", "noeviction")
    server = serve(repository.add("simple"), *redis.cache())
    for first in range(30):
        ask_simple(server, first)
    assert len(server.lines(r"OOM|maxmemory|used memory")) <= 3, "one line for a change, not for each request"


SECRET = "hush-not-for-logs"


def test_password(serve, repository, redis_server):
    redis = redis_server("--requirepass", SECRET)
    redis.password = SECRET
    server = serve(repository.add("simple"), *redis.cache(f"password={SECRET}"), "--log-verbose=1")
    asked_until_hit(server)
    assert not server.lines(SECRET)


def test_password_from_the_environment(serve, repository, redis_server):
    redis = redis_server("--requirepass", SECRET)
    redis.password = SECRET
    server = serve(repository.add("simple"), *redis.cache(), "--log-verbose=1",
                   environment={"TRITONCACHE_REDIS_PASSWORD": SECRET})
    asked_until_hit(server)
    assert not server.lines(SECRET)


@pytest.mark.parametrize("options", [[], [f"password=wrong-{SECRET}"]], ids=["none", "wrong"])
def test_wrong_password(serve, repository, redis_server, options):
    redis = redis_server("--requirepass", "right")
    redis.password = "right"
    server = serve(repository.add("simple"), *redis.cache(*options), "--log-verbose=1")
    for first in range(20):
        ask_simple(server, first)
    server.wait_log(r"WRONGPASS|NOAUTH|(?i:password|authenticat)")
    lines = server.lines(r"^[EW].*(WRONGPASS|NOAUTH|(?i:password|authenticat))")
    assert len(lines) == 1, lines
    assert str(redis.port) in lines[0]
    assert not server.lines(SECRET)
    assert redis.command("DBSIZE") == 0


def test_answers_of_any_size(joined, repository, redis_server):
    redis = redis_server()
    repository.copy("identity", cached=True)
    server = joined(redis)
    for count in (0, 1, 1000, 300_000):
        values = [float(i % 1000) for i in range(count)]
        ask_identity(server, values, binary_in=True, binary_out=True)
    redis.wait_entries(4, "identity")
    for count in (0, 1, 1000, 300_000):
        ask_identity(server, [float(i % 1000) for i in range(count)], binary_in=True, binary_out=True)
    server.expect("identity", cache_hit=4, execution_count=4)
