"""Values that are packed before they go to Redis: smaller there, readable by every server, and never trusted."""

import random

import numpy as np
import pytest

from support import decode, eventually, same
from traffic import cache_status, echo, is_hit, metric, put, wait_connected

pytestmark = pytest.mark.threads

COUNT = 4096
PLAIN = 4 * COUNT  # bytes
GIB = 1 << 30
rng = np.random.default_rng()


@pytest.fixture
def identity(serve, repository):
    """identity(redis, *options): a server of the model `identity` that is connected to Redis."""
    repository.copy("identity", cached=True)

    def start(redis, *options):
        server = serve(repository, *redis.cache("lookup_timeout=5000", *options), "--threads=1")
        eventually(lambda: ask(server, repetitive(0)), "hits")
        return server

    return start


@pytest.fixture
def caching_rows(serve, repository):
    """As identity, of a model that answers rows of any length."""
    echo(repository, "identity", rows=8, datatype="FP32", cached=True)

    def start(redis, *options):
        server = serve(repository, *redis.cache("lookup_timeout=5000", *options), "--threads=1")
        wait_connected(server)
        return server

    return start


def repetitive(seed):
    return np.float32(np.arange(COUNT) % 7 + seed)


def noise():
    return rng.integers(0, 256, PLAIN, dtype=np.uint8).view(np.float32)


def ask(server, array):
    """Asks and checks the answer; returns whether it came from the cache."""
    reply = put(server, "identity", {"INPUT0": array}, binary_in=True, binary_out=True)
    same(decode(reply)["OUTPUT0"], array)
    return is_hit(reply) and cache_status(reply).get("detail") != "joined"  # joined: with an entry still being stored


def stored(server, redis, array):
    """Asks a new question; returns the key and the length of its entry in Redis."""
    before = set(redis.entries("identity"))
    assert not ask(server, array)
    (key,) = eventually(lambda: set(redis.entries("identity")) - before, "the entry in Redis")
    return key, redis.command("STRLEN", key)


def sum_of(server, name):
    return sum(value for (each, _), value in server.metrics().items() if each == f"hippocamp_cache_compression_{name}")


def codecs(server):
    return {dict(labels)["codec"] for name, labels in server.metrics() if name == "hippocamp_cache_compression_codec"}


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_smaller(identity, redis_server, codec):
    redis = redis_server()
    server = identity(redis, f"compression={codec}")
    _, length = stored(server, redis, repetitive(1))
    assert length < PLAIN / 8
    assert ask(server, repetitive(1))
    assert codecs(server) == {codec}
    assert sum_of(server, "output_bytes_total") < sum_of(server, "input_bytes_total") / 2
    assert sum_of(server, "seconds_total") > 0


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_large_ones(caching_rows, redis_server, codec):
    """Large values are packed and unpacked outside the loop: several of a batch, and damaged ones."""
    redis = redis_server()
    server = caching_rows(redis, f"compression={codec}")
    large = np.float32(np.arange(300_000) % 1000)
    rows = [large, large + 1, large + 2]

    def ask_rows(*which):
        array = np.stack([rows[i] for i in which])
        reply = put(server, "identity", {"INPUT0": array}, binary_in=True, binary_out=True)
        same(decode(reply)["OUTPUT0"], array)
        return cache_status(reply)

    assert ask_rows(0, 1, 2)["fwd"] == "miss"
    keys = eventually(lambda: len(found := redis.entries("identity")) == 3 and found, "the entries in Redis")
    assert all(redis.command("STRLEN", key) < large.nbytes / 4 for key in keys)
    for which in ((0, 1, 2), (2,), (1, 0)):
        assert "hit" in ask_rows(*which)
    value = redis.command("GET", keys[0])
    middle = len(value) // 2
    redis.command("SET", keys[0], value[:middle] + bytes([value[middle] ^ 1]) + value[middle + 1 :])
    assert ask_rows(0, 1, 2)["detail"] == "2 of 3 rows"


def test_what_is_packed_may_be_longer_than_what_is_on_its_way(caching_rows, redis_server):
    """write_behind_size bounds the packed bytes, which are few."""
    redis = redis_server()
    server = caching_rows(redis, "compression=zstd", "write_behind_size=500KB")
    array = np.float32(np.arange(300_000) % 1000)[None]
    put(server, "identity", {"INPUT0": array}, binary_in=True, binary_out=True)
    assert len(eventually(lambda: redis.entries("identity"), "the entry")) == 1


def test_not_without_the_option(identity, redis_server):
    redis = redis_server()
    server = identity(redis)
    _, length = stored(server, redis, repetitive(1))
    assert length >= PLAIN
    assert ask(server, repetitive(1))
    assert not codecs(server)


@pytest.mark.parametrize("codec", ["lz4", "zstd", "auto"])
def test_noise_is_left_alone(identity, redis_server, codec):
    redis = redis_server()
    server = identity(redis, f"compression={codec}")
    for array in [noise() for _ in range(6)]:
        _, length = stored(server, redis, array)
        assert PLAIN <= length < PLAIN + 500
        assert ask(server, array)


def test_small_ones_are_left_alone(identity, redis_server):
    redis = redis_server()
    server = identity(redis, "compression=zstd", f"compression_min_size={2 * PLAIN}")
    _, length = stored(server, redis, repetitive(1))
    assert length >= PLAIN
    assert ask(server, repetitive(1))


def test_auto_finds_what_pays(identity, redis_server):
    redis = redis_server()
    server = identity(redis, "compression=auto")
    lengths = [stored(server, redis, repetitive(seed))[1] for seed in range(1, 9)]
    assert lengths[-1] < PLAIN / 8, lengths
    assert codecs(server) < {"lz4", "zstd"}
    assert all(ask(server, repetitive(seed)) for seed in range(1, 9))


@pytest.mark.parametrize("writer, reader", [
    ("lz4", "none"), ("zstd", "none"), ("none", "zstd"), ("lz4", "zstd"), ("zstd", "lz4"), ("zstd", "auto")])
def test_others_read_it(identity, redis_server, writer, reader):
    redis = redis_server()
    other, server = identity(redis, f"compression={reader}"), identity(redis, f"compression={writer}")
    stored(server, redis, repetitive(1))
    assert ask(other, repetitive(1))
    assert metric(other, "hippocamp_cache_unpack_failures_total") == 0


def flipped(value, at):
    return value[:at] + bytes([value[at] ^ 1]) + value[at + 1:]


DAMAGE = {
    "magic_only": lambda value: value[:4],
    "header_only": lambda value: value[:24],
    "half": lambda value: value[:len(value) // 2],
    "last_byte_missing": lambda value: value[:-1],
    "one_more_byte": lambda value: value + b"\0",
    "twice": lambda value: value + value,
    "version": lambda value: flipped(value, 4),
    "codec": lambda value: flipped(value, 6),
    "length": lambda value: flipped(value, 8),
    "checksum": lambda value: flipped(value, 16),
    "first_of_payload": lambda value: flipped(value, 24),
    "last_of_payload": lambda value: flipped(value, len(value) - 1),
    "bomb": lambda value: value[:8] + GIB.to_bytes(8, "little") + value[16:],
    "beyond_all": lambda value: value[:8] + b"\xff" * 8 + value[16:],
}


def memory(server):
    with open(f"/proc/{server.process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4096


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_damaged(identity, redis_server, codec):
    """Each damaged value is a miss, is counted, and is overwritten."""
    redis = redis_server()
    server = identity(redis, f"compression={codec}")
    array = repetitive(1)
    key, _ = stored(server, redis, array)
    good, before = redis.command("GET", key), memory(server)
    assert good[:4] == b"HMCZ"
    for count, (name, damage) in enumerate(DAMAGE.items(), 1):
        redis.command("SET", key, damage(good))
        assert not ask(server, array), name
        assert metric(server, "hippocamp_cache_unpack_failures_total") == count, name
        eventually(lambda: ask(server, array), f"a good value in the place of the bad one: {name}")
    assert memory(server) - before < GIB / 8


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_no_bit_gives_a_wrong_answer(identity, redis_server, codec):
    redis = redis_server()
    server = identity(redis, f"compression={codec}")
    array = repetitive(1)
    key, length = stored(server, redis, array)
    good = redis.command("GET", key)
    for _ in range(60):
        redis.command("SET", key, flipped(good, random.randrange(length)))
        ask(server, array)
