"""Emptying the cache by hand, what an administrator is shown, and several servers on one Redis."""

import json
import threading

import pytest

from conftest import started, stop_all
from support import PATIENCE, Repository, ask_identity, ask_scale, at_once, decode, eventually, infer, same, tensor
from traffic import EXPLICIT, cache_status, is_hit, metric, put, rows_counted, wait_connected, wait_stored

pytestmark = pytest.mark.threads

SECRET = "hush-not-for-replies"
PURGE = "/v2/cache/purge"


def purge(server, body=b"", port=None):
    reply = server.request("POST", PURGE, body, port=port or server.metrics_port)
    assert reply.status == 200, reply.body
    assert list(reply.json) == ["purged"]
    return reply.json["purged"]


def shown(server, port=None):
    reply = server.get("/v2/cache", port=port or server.metrics_port)
    assert reply.status == 200, reply.body
    assert reply.headers["content-type"] == "application/json"
    return reply.json


def ask(server, model, *values, version=None):
    """Asks and checks the answer; returns whether it was a hit."""
    array = tensor([[value] for value in values])
    reply = put(server, model, {"INPUT0": array}, version=version)
    factor = {("double", None): 2, ("double", 2): 2, ("double", 1): 5, ("triple", None): 3}[model, version]
    same(decode(reply)["OUTPUT0"], array * factor)
    return is_hit(reply)


@pytest.fixture
def filled(caching, repository):
    """filled(options): a server that knows two rows of double's version 1, three of its version 2 and one of triple."""
    def start(*options):
        repository.scale("double", {1: 5.0, 2: 2.0}, cached=True, extra="version_policy: { all { } }\n")
        repository.scale("triple", {1: 3.0}, cached=True)
        server = caching(repository, options=options)
        assert not any([ask(server, "double", 1, 2, version=1), ask(server, "double", 1, 2, 3), ask(server, "triple", 1)])
        wait_stored(server, 6)
        return server

    return start


def known(server):
    return [ask(server, "double", 1, 2, version=1), ask(server, "double", 1, 2, 3), ask(server, "triple", 1)]


PURGES = [  # body, entries purged, what is still known then
    (b"", 6, [False, False, False]), ({}, 6, [False, False, False]), ({"model": "double"}, 5, [False, False, True]),
    ({"model": "double", "version": "1"}, 2, [False, True, True]), ({"model": "double", "version": "2"}, 3, [True, False, True]),
    ({"model": "triple", "version": "1"}, 1, [True, True, False]), ({"model": "triple", "version": "7"}, 0, [True, True, True])]


def test_purge(filled):
    server = filled()
    stored = 6
    for body, purged, left in PURGES:
        assert known(server) == [True, True, True]
        assert purge(server, body) == purged, body
        assert server.wait_log(f"cache purged of .*: {purged} entries")
        assert known(server) == left, body
        stored += purged
        wait_stored(server, stored)


@pytest.mark.parametrize("name", ["doubl", "*", "double:1", "Double"])
def test_purge_of_an_unknown_model(filled, name):
    server = filled()
    reply = server.request("POST", PURGE, json.dumps({"model": name}).encode(), port=server.metrics_port)
    assert reply.status == 404 and name in reply.error
    assert known(server) == [True, True, True]


def test_purge_of_an_empty_cache(caching, repository):
    repository.scale("triple", {1: 3.0}, cached=True)
    server = caching(repository)
    assert purge(server) == 0
    assert not ask(server, "triple", 1)
    wait_stored(server, 1)
    assert [purge(server), purge(server)] == [1, 0]


def test_models_whose_names_are_patterns(caching, repository):
    """Characters that are special in a store's key patterns are not special in a name."""
    for name in ("a[b]", "ab", "a?", "a:1", "a"):
        repository.copy("identity", name, cached=True)
    server = caching(repository)
    for name in ("a%5Bb%5D", "ab", "a%3F", "a:1", "a"):
        ask_identity(server, [1], name)
    wait_stored(server, 5)
    for name in ("a[b]", "a?", "a", "a:1", "ab"):
        assert purge(server, {"model": name}) == 1, name


@pytest.mark.parametrize("body", [
    {"version": "1"}, {"model": 5}, {"model": None}, {"model": "double", "version": 1}, {"model": ["double"]},
    {"models": "double"}, {"model": "double", "force": True}, [], "all", b"{", b"nonsense"], ids=repr)
def test_wrong_purges(purged_by_nobody, body):
    reply = purged_by_nobody.request("POST", PURGE, body if isinstance(body, bytes) else json.dumps(body).encode(),
                                     port=purged_by_nobody.metrics_port)
    assert reply.status == 400, reply.body
    assert reply.error
    assert ask(purged_by_nobody, "triple", 1)


@pytest.fixture(scope="module")
def purged_by_nobody(tmp_path_factory, models):
    """One server for all requests that purge nothing."""
    servers = []
    repository = Repository(tmp_path_factory.mktemp("purge"), models)
    repository.scale("triple", {1: 3.0}, cached=True)
    server = started(servers, repository, [])
    ask(server, "triple", 1)
    yield server
    stop_all(servers)


def test_only_post_purges_and_get_shows(purged_by_nobody):
    port = purged_by_nobody.metrics_port
    assert purged_by_nobody.get(PURGE, port=port).status == 405
    assert purged_by_nobody.request("POST", "/v2/cache", b"", port=port).status == 405
    assert ask(purged_by_nobody, "triple", 1)


# --- Who may purge ---


EVERYWHERE = ("--http-address=0.0.0.0",)
PORTS = ("port", "metrics_port")


def purge_status(server, which, **headers):
    return server.request("POST", PURGE, b"{}", headers=headers or None, port=getattr(server, which)).status


@pytest.mark.parametrize("which", PORTS)
def test_by_those_who_reach_a_loopback_address(filled, which):
    server = filled()
    assert shown(server, getattr(server, which))["entries"] == shown(server)["entries"]
    assert purge(server, {"model": "triple"}, getattr(server, which)) == 1
    assert known(server) == [True, True, False]


@pytest.mark.parametrize("options, seen", [(EVERYWHERE, 200), (("--allow-cache-admin=false",), 403)],
                         ids=["everywhere", "forbidden"])
def test_not_by_those_who_may_not(filled, options, seen):
    server = filled(*options)
    for which in PORTS:
        reply = server.request("POST", PURGE, b"{}", port=getattr(server, which))
        assert reply.status == 403 and "--allow-cache-admin" in reply.error
    assert server.get("/v2/cache").status == 403
    assert server.get("/v2/cache", port=server.metrics_port).status == seen  # as open as the metrics
    reply = server.request("GET", "/v2/cache", headers={"Origin": "http://evil.example"}, port=server.metrics_port)
    assert reply.status == 403
    assert known(server) == [True, True, True]


@pytest.mark.parametrize("flag", ["--allow-cache-admin", "--allow-cache-admin=true"])
def test_by_everybody_if_allowed(serve, repository, flag):
    repository.scale("triple", {1: 3.0}, cached=True)
    server = serve(repository, *EVERYWHERE, flag)
    for which in PORTS:
        assert purge_status(server, which) == 200
        assert purge_status(server, which, Host="cache.internal:8002") == 200


@pytest.mark.parametrize("flags", [(), ("--allow-cache-admin",)], ids=["loopback", "allowed"])
def test_not_by_web_pages(serve, repository, flags):
    repository.scale("triple", {1: 3.0}, cached=True)
    server = serve(repository, *flags)
    for which in PORTS:
        own = f"localhost:{getattr(server, which)}"
        assert purge_status(server, which, Origin="http://evil.example") == 403
        assert purge_status(server, which, Origin="null") == 403
        assert purge_status(server, which, Host="evil.example", Origin="http://evil.example") == 403  # DNS rebinding
        assert purge_status(server, which, Host=own, Origin="http://localhost:1") == 403
        assert purge_status(server, which, Host=own, Origin=f"http://{own}") == 200  # a page of its own
        assert purge_status(server, which, Host="evil.example") == (200 if flags else 403)
        for field in ("Via", "X-Forwarded-For", "Forwarded"):  # through a proxy on the same machine
            assert purge_status(server, which, **{field: "1.2.3.4"}) == (200 if flags else 403)


# --- What is shown ---


def test_what_is_shown(filled):
    server = filled()
    assert known(server) == [True, True, True]
    state = shown(server)
    assert state["store"] == server.store
    assert isinstance(state["description"], str) and isinstance(state["configuration"], dict)
    assert state["lookups"] == 12 and state["hits"] == 6 and state["hit_ratio"] == pytest.approx(0.5)
    models = {(model["name"], model["version"]): model for model in state["models"]}
    assert set(models) == {("double", "1"), ("double", "2"), ("triple", "1")}
    for (name, version), rows in ((("double", "1"), 2), (("double", "2"), 3), (("triple", "1"), 1)):
        entry = models[name, version]
        counts = rows_counted(server, name, version)
        assert {name: entry[name] for name in counts} == counts
        assert (entry["lookups"], entry["hits"], entry["misses"]) == (2 * rows, rows, rows)
        assert entry["hit_ratio"] == pytest.approx(0.5)
    if server.store == "local":
        assert 15_000_000 < state["capacity_bytes"] < 17_000_000 and state["entries"] == 6
        assert 0 < state["used_bytes"] < 1_000_000


def test_configuration_is_shown(caching, repository):
    repository.scale("triple", {1: 3.0}, cached=True)
    configuration = shown(caching(repository, "ttl=77", "stale_if_error=5"))["configuration"]
    assert str(configuration["ttl"]) == "77"
    assert str(configuration["stale_if_error"]) == "5"


def test_numbers_before_any_request(caching, repository):
    repository.scale("triple", {1: 3.0}, cached=True)
    state = shown(caching(repository))
    assert (state["lookups"], state["hits"], state["hit_ratio"]) == (0, 0, 0)


def test_models_without_a_cache_are_not_shown(serve, repository):
    repository.add("identity").scale("triple", {1: 3.0}, cached=True)
    assert [model["name"] for model in shown(serve(repository))["models"]] == ["triple"]


@pytest.mark.parametrize("where", ["option", "environment"])
def test_secrets_are_not_shown(serve, repository, redis_server, where):
    redis = redis_server("--requirepass", SECRET)
    redis.password = SECRET
    repository.scale("triple", {1: 3.0}, cached=True)
    if where == "option":
        server = serve(repository, *redis.cache(f"password={SECRET}", f"key_secret={SECRET}-of-keys"))
    else:
        server = serve(repository, *redis.cache(), environment={"TRITONCACHE_REDIS_PASSWORD": SECRET,
                                                                "HIPPOCAMP_KEY_SECRET": f"{SECRET}-of-keys"})
    eventually(lambda: ask(server, "triple", 1), "a hit")
    for port, path in ((server.metrics_port, "/v2/cache"), (server.metrics_port, "/metrics"), (server.port, "/v2/cache")):
        assert SECRET.encode() not in server.get(path, port=port).body
    assert not server.lines(SECRET)


def test_without_a_cache(serve, repository):
    """Nothing to show and nothing to purge; whatever is said, the server goes on."""
    repository.scale("triple", {1: 3.0})
    server = serve(repository, "--cache-config=none", "--allow-cache-admin=true")
    for reply in (server.get("/v2/cache"), server.get("/v2/cache", port=server.metrics_port), server.post(PURGE)):
        assert reply.status in (200, 400, 404, 503) and reply.json
    ask_scale(server, 3, "triple")


# --- Under load ---


def test_purges_under_load(caching, repository):
    """However often the cache is purged, answers are right, and counts add up."""
    repository.scale("triple", {1: 3.0}, cached=True)
    server = caching(repository)
    over = threading.Event()

    def work(i):
        if i == 0:
            for _ in range(20):
                assert purge(server, {"model": "triple"}) >= 0
            over.set()
        else:
            count = 0
            while not over.is_set() or count < 10:
                ask(server, "triple", *range(count % 7, count % 7 + 4))
                count += 1

    at_once(4, work)
    rows_counted(server, "triple")
    purge(server)
    assert not ask(server, "triple", *range(8))


# --- Several servers on one Redis ---


@pytest.fixture
def two(serve, redis_server):
    """two(repository, other=None): servers on one Redis, both connected."""
    def start(repository, other=None, arguments=()):
        redis = redis_server()
        servers = [serve(place, *redis.cache("lookup_timeout=5000"), "--threads=1", *arguments)
                   for place in (repository, other or repository)]
        for server in servers:
            wait_connected(server)
        return redis, *servers

    return start


def test_a_purge_is_for_all_who_share_a_redis(two, repository):
    repository.scale("double", {1: 2.0}, cached=True)
    repository.scale("triple", {1: 3.0}, cached=True)
    redis, one, other = two(repository)
    ask(one, "double", 1, 2)
    ask(other, "triple", 1)
    redis.wait_entries(2, "double")
    redis.wait_entries(1, "triple")
    assert ask(other, "double", 1, 2) and ask(one, "triple", 1)
    assert purge(other, {"model": "double"}) == 2
    assert redis.entries("double") == [] and len(redis.entries("triple")) == 1
    assert not ask(one, "double", 1, 2)
    redis.wait_entries(2, "double")
    assert ask(other, "double", 1, 2)
    assert purge(one) == 3
    assert not ask(other, "triple", 1)


def test_a_purge_leaves_alone_what_is_not_ours(two, repository):
    repository.scale("triple", {1: 3.0}, cached=True)
    redis, one, _ = two(repository)
    ask(one, "triple", 1)
    redis.wait_entries(1, "triple")
    strange = ["triple:1", "other:triple:1:00000000:00000000000000000000000000000000", "hippocampus:triple:1:0:0", "x"]
    for key in strange:
        redis.command("SET", key, "theirs")
    secret = redis.command("GET", "hippocamp:key_secret")
    assert purge(one) == 1
    assert [redis.command("GET", key) for key in strange] == [b"theirs"] * 4
    assert redis.command("GET", "hippocamp:key_secret") == secret
    assert ask(one, "triple", 1) is False


def test_a_purge_of_many(two, repository):
    """More keys than one reply to SCAN lists."""
    repository.copy("identity_FP32", cached=True)
    redis, one, other = two(repository)
    for first in range(0, 1600, 8):
        infer(one, "identity_FP32", {"INPUT0": tensor([[first + i] for i in range(8)])})
    redis.wait_entries(1600, "identity_FP32")
    assert purge(other) == 1600
    assert redis.entries("identity_FP32") == []


def test_purge_while_redis_is_away(two, repository):
    """The purge fails, rather than purge nothing; and the server goes on."""
    repository.scale("triple", {1: 3.0}, cached=True)
    redis, one, _ = two(repository)
    redis.stop()
    eventually(lambda: metric(one, "hippocamp_cache_connections") == 0, "the loss of the connection")
    reply = one.request("POST", PURGE, port=one.metrics_port)
    assert reply.status == 503 and reply.error
    assert ask(one, "triple", 1) is False
    assert shown(one)["store"] == "redis"


def test_new_weights_under_an_old_version(two, repository):
    """One server reloads, the other does not yet: each answers by its own weights, with no purge."""
    repository.scale("scale", {1: 2.0}, cached=True)
    redis, one, other = two(repository, arguments=[EXPLICIT, "--load-model=scale"])
    for server in (one, other):
        ask_scale(server, 2)
    redis.wait_entries(1, "scale")
    repository.scale("scale", {1: 3.0}, cached=True)
    one.load("scale")
    for _ in range(3):
        ask_scale(one, 3)
        ask_scale(other, 2)
    redis.wait_entries(2, "scale")
    other.load("scale")
    assert is_hit(put(other, "scale", {"INPUT0": tensor([[3.0, -3.0]])}))  # what the first one stored
    ask_scale(other, 3)
    repository.scale("scale", {1: 2.0}, cached=True)
    one.load("scale")
    ask_scale(one, 2)  # the old answer is right again
    ask_scale(other, 3)


def test_reloads_under_load_on_one_redis(two, repository):
    """No answer comes from weights that the server no longer has, or does not have yet."""
    repository.scale("scale", {1: 2.0}, cached=True)
    _, one, other = two(repository, arguments=[EXPLICIT, "--load-model=scale"])
    over, failed = threading.Event(), []

    def work(server, allowed):
        try:
            while not over.is_set():
                factor = infer(server, "scale", {"INPUT0": tensor([[1.0], [2.0]])})["OUTPUT0"][0, 0]
                assert factor in allowed, factor
        except BaseException as failure:
            failed.append(failure)

    threads = [threading.Thread(target=work, args=[one, (2.0, 3.0)]), threading.Thread(target=work, args=[other, (2.0,)])]
    for thread in threads:
        thread.start()
    for factor in (3.0, 2.0, 3.0):
        repository.scale("scale", {1: factor}, cached=True)
        one.load("scale")
        for value in (1.0, 2.0, 5.0):
            ask_scale(one, factor, value=value)
    over.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert not failed, failed[0]


def test_partial_answers_across_servers(two, repository):
    """Rows of one batch that come from this server's run, from the other's, and from Redis."""
    repository.scale("triple", {1: 3.0}, cached=True)
    redis, one, other = two(repository)
    ask(one, "triple", 1, 2)
    redis.wait_entries(2, "triple")
    ask(other, "triple", 3, 1)
    redis.wait_entries(3, "triple")
    reply = put(one, "triple", {"INPUT0": tensor([[3], [9], [2]])})
    same(decode(reply)["OUTPUT0"], tensor([[9], [27], [6]]))
    assert cache_status(reply)["detail"] == "2 of 3 rows"
