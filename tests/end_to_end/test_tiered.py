"""The local store in front of Redis: which tier answers, what is promoted, and what a purge leaves."""

import threading

import pytest

from support import LOCAL, PATIENCE, eventually, free_port, infer, same, tensor
from test_purge import PURGE, ask, purge, shown
from traffic import cache_status, is_hit, many, metric, put, rows_counted, wait_connected, wait_stored

pytestmark = pytest.mark.threads

SECRET = "key_secret=no servant of Redis"


def tier_options(redis, *options):
    """Command-line arguments; options of both tiers have their prefixes."""
    return [f"--cache-config=tiered,{option}" for option in
            (f"redis.host={LOCAL}", f"redis.port={redis.port}", "lookup_timeout=5000", *options)]


@pytest.fixture
def tiered(serve, repository):
    """tiered(redis, *options): a server of `triple` whose connection to Redis is up."""
    repository.scale("triple", {1: 3.0}, cached=True)

    def start(redis, *options, threads=1):
        server = serve(repository, *tier_options(redis, *options), f"--threads={threads}")
        wait_connected(server)
        return server

    return start


def tier_hits(server):
    return tuple(metric(server, "hippocamp_cache_tier_hits_total", tier=tier) for tier in ("local", "redis"))


def promote(server, redis, *values):
    """Promotes entries: the first time each is stored, the second time found in Redis."""
    for value in values:
        assert not ask(server, "triple", value)
    eventually(lambda: len(redis.entries("triple")) >= len(values), "entries in Redis")
    for value in values:
        assert ask(server, "triple", value)


# --- Who answers ---


def test_entries_survive_the_server(tiered, redis_server):
    redis = redis_server()
    server = tiered(redis)
    for value in range(5):
        assert not ask(server, "triple", value)
    redis.wait_entries(5, "triple")
    assert tier_hits(server) == (0, 0)
    server.stop()
    server = tiered(redis)
    for value in range(5):
        assert ask(server, "triple", value)
    assert tier_hits(server) == (0, 5)
    server.expect("triple", cache_hit=5, execution_count=0)


@pytest.mark.parametrize("fate", ["stop", "pause"])
def test_the_second_hit_comes_to_the_front(tiered, redis_server, fate):
    redis = redis_server()
    server = tiered(redis)
    ask(server, "triple", 1)
    redis.wait_entries(1, "triple")
    server.stop()
    server = tiered(redis)
    assert ask(server, "triple", 1) and ask(server, "triple", 1)
    assert tier_hits(server) == (0, 2)
    assert metric(server, "hippocamp_cache_promotions_total") == 1
    getattr(redis, fate)()
    for _ in range(3):
        assert ask(server, "triple", 1)
    assert tier_hits(server) == (3, 2)
    if fate == "pause":
        redis.resume()


def test_what_is_stored_again_comes_to_the_front(tiered, redis_server):
    """A key whose entry Redis lost between two runs."""
    redis = redis_server()
    server = tiered(redis)
    for _ in range(2):
        assert not ask(server, "triple", 1)
        (key,) = redis.wait_entries(1, "triple")
        redis.command("DEL", key)
    wait_stored(server, 2)
    assert ask(server, "triple", 1)
    assert tier_hits(server) == (1, 0)


def test_rows_from_everywhere(tiered, redis_server):
    """One batch: rows of the local store, of Redis, and of the model."""
    redis = redis_server()
    server = tiered(redis)
    promote(server, redis, 1)
    ask(server, "triple", 2)
    redis.wait_entries(2, "triple")
    reply = put(server, "triple", {"INPUT0": tensor([[1], [7], [2]])})
    assert cache_status(reply)["detail"] == "2 of 3 rows"
    assert tier_hits(server) == (1, 2)
    rows_counted(server, "triple")


# --- What stays in front ---


@pytest.fixture
def identity(tiered, repository):
    repository.copy("identity_FP32", cached=True)
    return tiered


def scan(server, first, count):
    for row in range(first, first + count, 8):
        array = tensor([[row + i] for i in range(8)])
        same(infer(server, "identity_FP32", {"INPUT0": array})["OUTPUT0"], array)


def test_a_scan_flushes_nothing(identity, redis_server):
    redis = redis_server()
    server = identity(redis, "local.size=64KB")
    promote(server, redis, 1, 2, 3)
    scan(server, 0, 1600)
    wait_stored(server, 1603)
    assert metric(server, "hippocamp_cache_evictions_total") == 0
    before = tier_hits(server)
    assert ask(server, "triple", 1, 2, 3)
    assert tier_hits(server) == (before[0] + 3, before[1])


def test_the_window(identity, redis_server):
    """Questions repeat, but with more others in between than the window remembers."""
    redis = redis_server()
    server = identity(redis, "promotion_window=16")
    for _ in range(3):
        scan(server, 0, 400)
        redis.wait_entries(400, "identity_FP32")
    assert metric(server, "hippocamp_cache_promotions_total") == 0
    assert tier_hits(server) == (0, 800)
    server = identity(redis)
    for _ in range(3):
        scan(server, 0, 400)
    assert metric(server, "hippocamp_cache_promotions_total") == 400
    assert tier_hits(server) == (400, 800)


def test_nothing_outlives_its_time(tiered, redis_server):
    redis = redis_server()
    server = tiered(redis, "ttl=3")
    promote(server, redis, 1)
    assert ask(server, "triple", 1)
    assert tier_hits(server)[0] == 1
    eventually(lambda: not ask(server, "triple", 1), "the end of the entry", patience=6)


def test_damaged_values_do_not_come_to_the_front(tiered, redis_server):
    redis = redis_server()
    server = tiered(redis)
    ask(server, "triple", 1)
    (key,) = redis.wait_entries(1, "triple")
    good = redis.command("GET", key)
    server.stop()
    server = tiered(redis)
    redis.command("SET", key, good[:-1] + bytes([good[-1] ^ 1]))
    assert not ask(server, "triple", 1)
    assert metric(server, "hippocamp_cache_promotions_total") == 0
    eventually(lambda: redis.command("GET", key) != good[:-1] + bytes([good[-1] ^ 1]), "a good value")
    for _ in range(3):
        assert ask(server, "triple", 1)
    assert tier_hits(server)[0] == 2


def test_an_answer_asked_for_anew_replaces(tiered, redis_server):
    redis = redis_server()
    server = tiered(redis, "promotion_window=1")
    promote(server, redis, 1)
    for value in range(10, 40):
        ask(server, "triple", value)

    def asked(headers=None):
        return put(server, "triple", {"INPUT0": tensor([[1]])}, headers)

    eventually(lambda: int(asked().headers["age"]) > 0, "a second's age", patience=5)
    age = int(asked().headers["age"])
    assert not is_hit(asked({"Cache-Control": "no-cache"}))
    wait_stored(server, 32)
    assert is_hit(asked()) and int(asked().headers["age"]) < age


# --- Purge ---


def test_a_purge_empties_both(tiered, redis_server):
    redis = redis_server()
    server = tiered(redis)
    promote(server, redis, 1, 2)
    ask(server, "triple", 3)
    redis.wait_entries(3, "triple")
    assert purge(server, {"model": "triple", "version": "7"}) == 0
    assert ask(server, "triple", 1, 2, 3)
    assert purge(server, {"model": "triple"}) == 3
    assert redis.entries("triple") == []
    assert shown(server)["entries"] == 0
    assert not ask(server, "triple", 1)


def test_a_purge_while_redis_is_away(tiered, redis_server):
    """The purge fails, but the local store is emptied."""
    redis = redis_server()
    server = tiered(redis)
    promote(server, redis, 1, 2)
    redis.stop()
    eventually(lambda: metric(server, "hippocamp_cache_connections") == 0, "the loss of the connection")
    assert ask(server, "triple", 1, 2)
    reply = server.request("POST", "/v2/cache/purge", port=server.metrics_port)
    assert reply.status == 503
    assert "2 entries" in reply.error
    assert not ask(server, "triple", 1)


def test_a_purge_of_another_server_is_seen(tiered, redis_server):
    redis = redis_server()
    one, other = tiered(redis), tiered(redis)
    promote(other, redis, 1, 2)
    assert ask(other, "triple", 1, 2)
    assert purge(one) == 2
    eventually(lambda: shown(other)["entries"] == 0, "the end of the other's entries", patience=10)
    assert not ask(other, "triple", 1)


def test_a_purge_is_seen_after_redis_has_lost_all(tiered, redis_server):
    """Redis also lost its record of the purges: that of the second must differ from that of the first."""
    redis = redis_server()
    one, other = tiered(redis, SECRET), tiered(redis, SECRET)
    purge(one)
    promote(other, redis, 1, 2)
    redis.command("FLUSHALL")
    eventually(lambda: shown(other)["entries"] == 0, "the end of entries of which nothing is known", patience=10)
    promote(other, redis, 3, 4)
    assert shown(other)["entries"] == 2
    assert purge(one) == 2
    eventually(lambda: shown(other)["entries"] == 0, "the end of the other's entries", patience=10)
    assert not ask(other, "triple", 3)


def test_purges_under_load(tiered, redis_server):
    redis = redis_server()
    server = tiered(redis, threads=2)
    over = threading.Event()

    def work(i):
        if i == 0:
            try:
                for _ in range(20):  # a slow Redis may not be asked to the end: then the reply says to purge again
                    eventually(lambda: server.request("POST", PURGE, {"model": "triple"}, port=server.metrics_port).status == 200,
                               "the purge")
            finally:
                over.set()
        else:
            while not over.is_set():
                for first in range(6):
                    ask(server, "triple", *range(first, first + 4))

    many(4, work, threads=4)
    rows_counted(server, "triple")
    purge(server)
    assert shown(server)["entries"] == 0
    assert not ask(server, "triple", *range(8))


# --- The command line, and what an administrator sees ---


def test_local_and_redis_together(serve, repository, redis_server):
    repository.scale("triple", {1: 3.0}, cached=True)
    redis = redis_server()
    server = serve(repository, "--cache-config=local,size=1MB", *redis.cache("lookup_timeout=5000", "password=hush"),
                   "--cache-config=local,ttl=500", "--cache-config=redis,ttl=500", "--threads=1")
    configuration = shown(server)["configuration"]
    assert shown(server)["store"] == "tiered"
    assert configuration["local.size"] == "1MB" and configuration["redis.port"] == str(redis.port)
    assert configuration["promotion_window"] == "65536" and configuration["ttl"] == "500"
    assert "redis.password" not in configuration and "hush" not in str(configuration)
    assert shown(server)["capacity_bytes"] == 1_000_000


def test_metrics(tiered, redis_server):
    redis = redis_server()
    server = tiered(redis, "local.size=1MB")
    promote(server, redis, 1)
    assert ask(server, "triple", 1) and not ask(server, "triple", 2)
    wait_stored(server, 2)
    assert tier_hits(server) == (1, 1)
    assert metric(server, "nv_cache_num_entries") == 1
    assert metric(server, "nv_cache_num_lookups") == 4
    assert metric(server, "nv_cache_num_hits") == 2
    assert metric(server, "nv_cache_num_misses") == 2
    assert 0 < metric(server, "nv_cache_util") < 1
    assert metric(server, "hippocamp_cache_connections") == 2  # one of them for what is written
    assert metric(server, "hippocamp_cache_inserts_total") == 2
    assert cache_status(put(server, "triple", {"INPUT0": tensor([[1]])}))["detail"] == "tiered"


# --- Redis in trouble ---


def test_start_with_redis_down(serve, repository, redis_server):
    """Answers that are computed twice are kept in front, and Redis is used as soon as it is there."""
    port = free_port()
    repository.scale("triple", {1: 3.0}, cached=True)
    server = serve(repository, f"--cache-config=tiered,redis.host={LOCAL}", f"--cache-config=tiered,redis.port={port}",
                   f"--cache-config=tiered,{SECRET}", "--cache-config=tiered,lookup_timeout=5000", "--threads=1")
    assert [ask(server, "triple", 1) for _ in range(4)] == [False, False, True, True]
    assert tier_hits(server) == (2, 0)
    redis = redis_server(port=port)
    eventually(lambda: metric(server, "hippocamp_cache_connections") == 1, "Redis's connection")
    ask(server, "triple", 2)
    redis.wait_entries(1, "triple")


def test_hits_go_on_while_redis_comes_and_goes(tiered, redis_server):
    redis = redis_server()
    server = tiered(redis)
    promote(server, redis, 1)
    for _ in range(2):
        redis.stop()
        assert ask(server, "triple", 1)
        assert ask(server, "triple", 5) in (True, False)
        redis.start()
        eventually(lambda: metric(server, "hippocamp_cache_connections") == 1, "Redis's connection", PATIENCE)
        assert ask(server, "triple", 1)
    server.expect("triple", fail=0)
