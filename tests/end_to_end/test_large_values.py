"""Values of very different sizes: large ones have connections of their own, and the bytes in flight are bounded."""

import threading

import numpy as np
import pytest

from support import decode, eventually, same
from traffic import is_hit, metric, put, wait_metric

SMALL, LARGE = 10, 50_000  # numbers of 4 bytes


@pytest.fixture
def identities(serve, repository):
    """A server of two models, one with small and one with large answers, as sizes are learnt per model."""
    for name in ("small", "large"):
        repository.copy("identity", name, cached=True)
    return lambda redis, *options, threads=1: serve(repository, *redis.cache("lookup_timeout=5000", *options),
                                                    f"--threads={threads}")


def ask(server, model, seed=1):
    array = np.float32(np.arange(LARGE if model == "large" else SMALL) + seed)
    reply = put(server, model, {"INPUT0": array}, binary_in=True, binary_out=True)
    same(decode(reply)["OUTPUT0"], array)
    return is_hit(reply)


def wait_hit(server, model, seed=1):
    eventually(lambda: ask(server, model, seed), f"a hit of model {model}")


def connections(redis):
    """{id: fields of CLIENT LIST} of the server's connections."""
    lines = redis.command("CLIENT", "LIST").decode().splitlines()
    found = [dict(word.partition("=")[::2] for word in line.split()) for line in lines]
    return {each["id"]: each for each in found if each["name"] == "hippocamp"}


def test_a_connection_of_their_own(identities, redis_server):
    """Large values get a connection when they first need one."""
    redis = redis_server()
    server = identities(redis)
    wait_hit(server, "small")
    first = set(eventually(lambda: len(connections(redis)) == 2 and connections(redis), "one for writes, one for the rest"))
    ask(server, "large")
    redis.wait_entries(1, "large")
    wait_hit(server, "large")
    eventually(lambda: len(set(connections(redis)) - first) == 2, "others for what is large")
    wait_metric(server, "hippocamp_cache_connections", 4)
    wait_hit(server, "small")


def test_small_ones_do_not_wait_behind_large_ones_that_are_stored(serve, repository, peer):
    """The Redis here takes a large value as slowly as it can."""
    for name in ("small", "large"):
        repository.copy("identity", name, cached=True)
    redis = peer()
    server = serve(repository, *redis.cache(lookup_timeout=5000, socket_timeout=60000, wait_timeout=60000), "--threads=1")
    wait_hit(server, "small")
    wait_hit(server, "large")
    redis.pause = 60
    kept = len(redis.kept)
    ask(server, "large", 2)
    for seed in range(2, 5):
        ask(server, "small", seed)
        wait_hit(server, "small", seed)
    eventually(lambda: len(redis.kept) == kept + 3, "the small values")
    redis.disconnect()


def test_pool(identities, redis_server):
    redis = redis_server()
    server = identities(redis, "pool_size=3", threads=2)
    eventually(lambda: len(connections(redis)) >= 6, "three connections of each thread")
    for seed in range(30):
        ask(server, "small", seed)
    for seed in range(30):
        wait_hit(server, "small", seed)
    assert 7 <= metric(server, "hippocamp_cache_connections") <= 8  # one more of each thread that stores


def test_what_is_asked_for_is_bounded(identities, redis_server):
    """Beyond in_flight_size, look-ups are misses at once. Other look-ups are not affected, and a single one is made
    however large its value is."""
    redis = redis_server()
    server = identities(redis, f"in_flight_size={LARGE}", "socket_timeout=60000", "wait_timeout=60000")
    for seed in range(2):
        ask(server, "large", seed)
        wait_hit(server, "large", seed)
    wait_hit(server, "small")
    before = metric(server, "hippocamp_cache_lookup_failures_total")
    redis.pause()
    first = threading.Thread(target=ask, args=[server, "large", 0])
    first.start()
    while metric(server, "hippocamp_cache_lookup_failures_total") == before:
        assert not ask(server, "large", 1)
    redis.resume()
    first.join()
    wait_hit(server, "small")
    wait_hit(server, "large", 1)


def test_what_is_stored_is_bounded(identities, redis_server):
    redis = redis_server()
    server = identities(redis, f"write_behind_size={LARGE}")
    wait_hit(server, "small")
    before = metric(server, "hippocamp_cache_dropped_total")
    for count in range(1, 6):
        assert not ask(server, "large")
        wait_metric(server, "hippocamp_cache_dropped_total", before + count)
    assert not redis.entries("large")
    assert ask(server, "small")


def test_the_connection_for_large_ones_ends(identities, redis_server):
    """Look-ups of small values go on."""
    redis = redis_server()
    server = identities(redis)
    wait_hit(server, "small")
    ask(server, "large")
    wait_hit(server, "large")
    eventually(lambda: ask(server, "large") and len(connections(redis)) == 4, "connections for writes and for large values")
    last = max(connections(redis), key=int)
    redis.command("CLIENT", "KILL", "ID", last)
    assert ask(server, "small")
    wait_hit(server, "large")
    eventually(lambda: ask(server, "large") and len(connections(redis)) == 4 and last not in connections(redis), "the connection, made again")
