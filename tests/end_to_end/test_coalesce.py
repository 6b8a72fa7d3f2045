"""Equal questions at one time to servers that share a store, and how long a look-up may take."""

import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from faults import Proxy
from support import (LOCAL, NEWER, ask_identity, at_once, decode, encode, eventually, infer_path, request_bytes, same,
                     tensor)
from traffic import (ONE_INSTANCE, batching, echo, ensemble, is_hit, label, put, rows_counted, sent_echo,
                     step, wait_metric)

COST = 2  # seconds that the slow model runs
LEASES = ["granted", "held", "answered", "takeover", "duplicate"]


def leases(server, model="slow"):
    metrics = server.metrics()
    return {name: metrics[(f"hippocamp_cache_lease_{name}_total", label(model))] for name in LEASES}


def wait_leases(server, **expected):
    for name, count in expected.items():
        wait_metric(server, f"hippocamp_cache_lease_{name}_total", count, model="slow", version="1")


def all_leases(servers):
    counts = [leases(server) for server in servers]
    return {name: sum(count[name] for count in counts) for name in LEASES}


def runs(server, model="slow"):
    return server.statistics(model)["inference_count"]


def measured(server, model="slow", values=None):
    """Waits for the server's connection to Redis, and makes it run the model once, so that it knows the cost."""
    value = [random.random()]

    def warm():
        before = server.statistics("warm")["cache_hit"]
        ask_identity(server, value, "warm")
        return server.statistics("warm")["cache_hit"] > before

    eventually(warm, "a connection to Redis")
    ask_identity(server, [[random.randrange(1 << 30)]] if values is None else values, model, "INT32")
    server.expect(model, inference_count=1)


@pytest.fixture
def fleet(serve, repository, redis_server):
    """fleet(count, *options): servers of the model `slow`, an echo, on one Redis, which is fleet.redis."""
    repository.copy("identity", "warm", cached=True)

    def start(count, *options, delay_ms=COST * 1000, extra=ONE_INSTANCE, threads=1):
        echo(repository, "slow", rows=8, delay_ms=int(delay_ms), cached=True, extra=extra)
        start.redis = redis_server()
        servers = [serve(repository, *start.redis.cache("lookup_timeout=5000", "coalesce=shared", *options),
                         f"--threads={threads}") for _ in range(count)]
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(measured, servers))
        return servers

    return start


@pytest.fixture
def behind():
    """behind(redis): a proxy in front of a Redis; its cache() gives arguments for a server that connects through it."""
    proxies = []

    def start(redis):
        proxies.append(Proxy(redis.port))
        proxies[-1].cache = lambda *options: [
            f"--cache-config=redis,{option}" for option in (f"host={LOCAL}", f"port={proxies[-1].port}", *options)]
        return proxies[-1]

    yield start
    for proxy in proxies:
        proxy.stop()


def wait_leased(redis, count=1):
    eventually(lambda: len(redis.command("KEYS", "*:lease:*")) == count, f"{count} leases")


def led(fleet, server, values=((7,),), **options):
    """Sends a request, and waits until its run is leased."""
    connection = sent_echo(server, values, "slow", **options)
    wait_leased(fleet.redis)
    return connection


def waiting(server, values=((7,),), count=1, **options):
    """Sends a request, and waits until it waits for another server."""
    connection = sent_echo(server, values, "slow", **options)
    wait_leases(server, held=count)
    return connection


def all_waiting(servers):
    connections = [sent_echo(server, [[7]], "slow") for server in servers]
    for server in servers:
        wait_leases(server, held=1)
    return connections


def right(connection, values=((7,),)):
    reply = connection.reply("POST")
    same(decode(reply)["OUTPUT0"], tensor(values, "INT32"))
    return reply


# --- One run in the fleet ---


def test_equal_requests_run_once_in_all_servers(fleet):
    servers = fleet(3)
    at_once(12, lambda i: ask_identity(servers[i % 3], [[5]], "slow", "INT32"))
    assert sum(map(runs, servers)) == 3 + 1  # each has been measured
    counts = all_leases(servers)
    assert counts == {"granted": 1, "held": 2, "answered": 2, "takeover": 0, "duplicate": 0}, counts
    counts = [rows_counted(server, "slow") for server in servers]
    assert sum(count["hits"] for count in counts) == 2
    assert sum(count["misses"] for count in counts) == 3 + 1
    wait_leased(fleet.redis, 0)


@pytest.mark.parametrize("program", NEWER)
def test_leases_are_let_go_exactly(fleet, program):
    """Valkey 9 removes a lease only if it is still the holder's own (DELIFEQ); Redis can since 8.4 (DELEX)."""
    servers = fleet(2)
    at_once(4, lambda i: ask_identity(servers[i % 2], [[5]], "slow", "INT32"))
    wait_leased(fleet.redis, 0)
    exact = b"cmdstat_delifeq:" in fleet.redis.command("INFO", "commandstats")
    assert exact == (program == "valkey-server-9")


def test_each_server_runs_its_own_unless_told_otherwise(fleet):
    servers = fleet(2, "coalesce=process")
    at_once(4, lambda i: ask_identity(servers[i % 2], [[5]], "slow", "INT32"))
    assert sum(map(runs, servers)) == 2 + 2
    assert not any(all_leases(servers).values())


def test_a_step_of_an_ensemble_runs_once_in_all_servers(fleet, repository):
    ports = {"INPUT0": "INT32"}, {"OUTPUT0": "INT32"}
    ensemble(repository, "whole", *ports, [step("slow", {"INPUT0": "INPUT0"}, {"OUTPUT0": "OUTPUT0"})], cached=True)
    servers = fleet(2)
    for value in range(2):  # the ensemble's cost is measured by the first
        at_once(4, lambda i: ask_identity(servers[i % 2], [[value]], "whole", "INT32"))
        assert sum(map(runs, servers)) == 2 + 1 + value
    assert sum(leases(server, "whole")["answered"] for server in servers) == 1
    wait_leased(fleet.redis, 0)


def test_random_batches(fleet):
    """Many overlapping batches on all servers, some of whose clients go away: right answers, and nothing is left."""
    servers = fleet(3, delay_ms=20, extra="instance_group [ { kind: KIND_CPU count: 2 } ]\n", threads=2)

    def ask(i):
        chance = random.Random(i)
        for turn in range(12):
            rows = [[turn * 10 + chance.randrange(10)] for _ in range(chance.randint(1, 8))]
            if chance.random() < 0.1:
                with servers[i % 3].connect() as connection:
                    body, fields = encode({"INPUT0": tensor(rows, "INT32")})
                    connection.send(request_bytes("POST", infer_path("slow"), body, fields))
            else:
                ask_identity(servers[i % 3], rows, "slow", "INT32")

    at_once(12, ask)
    counts = all_leases(servers)
    assert counts["held"] >= counts["answered"] + counts["takeover"] + counts["duplicate"] > 0, counts
    assert counts["answered"] > 0
    for server in servers:
        rows_counted(server, "slow")
        server.stop()
    wait_leased(fleet.redis, 0)


# --- When something goes wrong ---


def test_owner_killed(fleet):
    servers = fleet(3)
    led(fleet, servers[0])
    waiters = all_waiting(servers[1:])
    start = time.monotonic()
    servers[0].process.kill()
    servers[0].process.wait()
    for waiter in waiters:
        right(waiter)
    assert time.monotonic() - start < 4 * COST + 2
    counts = all_leases(servers[1:])
    assert counts["takeover"] >= 1 and counts["takeover"] + counts["answered"] + counts["duplicate"] == 2, counts


def test_timeout_while_waiting(fleet):
    policy = "timeout_action: REJECT default_timeout_microseconds: 100000"
    one, two = fleet(2, extra=ONE_INSTANCE + batching(policy=policy))
    leader, waiter = led(fleet, one), waiting(two)
    reply = waiter.reply("POST")
    assert reply.status == 503 and "timeout" in reply.error
    right(leader)


def test_server_that_ends_does_not_wait(fleet):
    one, two = fleet(2)
    leader, waiter = led(fleet, one), waiting(two)
    two.signal(signal.SIGTERM)
    assert not is_hit(right(waiter))
    right(leader)
    assert two.wait() == 0


# --- How long a look-up may take ---


@pytest.mark.parametrize("timeout, ran", [("auto", 0), ("5", 1)])
def test_slow_look_up(serve, repository, redis_server, behind, timeout, ran):
    """A late answer from Redis is still used; with auto, the model does not run meanwhile."""
    redis = redis_server()
    proxy = behind(redis)
    repository.copy("identity", "warm", cached=True)
    echo(repository, "slow", rows=8, delay_ms=int(COST * 1000), cached=True)
    measured(serve(repository, *redis.cache(), "--threads=1"), values=[[7]])
    redis.wait_entries(1, "slow")
    reader = serve(repository, *proxy.cache(f"lookup_timeout={timeout}"), "--threads=1")
    measured(reader)
    proxy.delay(10)
    start = time.monotonic()
    assert is_hit(put(reader, "slow", {"INPUT0": tensor([[7]], "INT32")}))
    assert time.monotonic() - start < COST
    reader.expect("slow", execution_count=1 + ran)
