"""Every kind of server that is supported: what the cache needs of each, and what only the newer ones have."""

import json

import pytest

from load import ask, wait_hits
from support import NEWER, REDIS, VALKEY, eventually
from traffic import metric

PURGE = "/v2/cache/purge"
ALL = pytest.mark.parametrize("program", [REDIS, VALKEY, *NEWER])


@pytest.fixture
def simple(serve, repository):
    repository.add("simple")
    return lambda *arguments: serve(repository, *arguments, "--threads=2")


def tiers(redis):
    return [option.replace("redis,", "tiered,redis.") for option in redis.cache()] + ["--cache-config=tiered,lookup_timeout=1000"]


@ALL
def test_shared_and_purged(simple, redis_server):
    redis = redis_server()
    one, two = simple(*redis.cache("lookup_timeout=1000", "ttl=1h")), simple(*redis.cache("lookup_timeout=1000", "ttl=1h"))
    wait_hits(one, range(5))
    wait_hits(two, range(5))
    assert 0 < redis.command("PTTL", redis.entries()[0]) <= 2 * 3_600_000
    assert one.request("POST", PURGE, json.dumps({"model": "simple"}).encode(), port=one.metrics_port).json["purged"] == 5
    assert not any(ask(two, seed) for seed in range(5))
    assert metric(two, "hippocamp_cache_refusals_total", reason="other") == 0


@ALL
def test_told_of_purges(simple, redis_server):
    """A purge empties the other server's local tier at once: Redis tells it (CLIENT TRACKING)."""
    redis = redis_server()
    one, two = simple(*tiers(redis)), simple(*tiers(redis))
    for server in (one, two):
        wait_hits(server)
        eventually(lambda: all(ask(server) for _ in range(3)), "it is in front")
    assert one.request("POST", PURGE, b"{}", port=one.metrics_port).status == 200
    assert not ask(one)
    eventually(lambda: metric(two, "nv_cache_num_entries") == 0, "nothing in front any more")
    assert not two.lines("does not tell of purges")
