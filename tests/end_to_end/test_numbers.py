"""The counters add up: while requests run, fail, are steered, leave, and while Redis comes and goes."""

import json
import threading

import numpy as np
import pytest

from support import PATIENCE, at_once, decode, encode, eventually, infer_path, request_bytes, same, tensor
from traffic import (EXPLICIT, ONE_INSTANCE, ONE_THREAD, answers, batching, cache_parameters, echo, ensemble, hold, label, metric,
                     put, rows_counted, sent_echo, step, wait_connected, wait_metric, wait_queued, wait_rows, wait_stored)

TABLE = np.arange(40, dtype=np.float32).reshape(10, 4)
STEERED = [{}, {}, {}, {"cache": "bypass"}, {"cache": "refresh"}, {"cache": "only"}]
CONTROLS = [None, None, None, "no-cache", "no-store", "max-age=1", "only-if-cached", "max-stale=3"]


class Watcher:
    """Reads the metrics repeatedly on a thread of its own, and asserts that they add up each time."""

    def __init__(self, servers, model):
        self.servers, self.model, self.over, self.failure, self.looks = servers, model, threading.Event(), None, 0
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        try:
            while not self.over.is_set():
                for server in self.servers:
                    rows_counted(server, self.model)
                    self.looks += 1
        except BaseException as failure:
            self.failure = failure

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(PATIENCE)
        if self.failure:
            raise self.failure
        assert self.looks > 0


def work(server, seed, count, good=0, bad=0):
    """Asks random batches of `embedding`: with bad rows if `bad`, steered at random unless `good`. Returns counts of
    rows and of each outcome."""
    random = np.random.default_rng(seed)
    outcomes = {"rows": 0, 200: 0, 504: 0, "failed": 0}
    for _ in range(count):
        index = random.integers(-10 - bad, 10 + bad, (random.integers(1, 9), 1))
        control = CONTROLS[random.integers(len(CONTROLS))] if good == 0 else None
        headers = {} if control is None else {"Cache-Control": control}
        parameters = STEERED[random.integers(len(STEERED))] if good == 0 and control is None else {}
        reply = put(server, "embedding", {"INDEX": index}, headers, parameters=parameters)
        outcomes["rows"] += len(index)
        if reply.status == 200:
            same(decode(reply)["OUTPUT0"], TABLE[index])
            outcomes[200] += 1
        elif reply.status == 504:
            outcomes[504] += 1
        else:
            assert "out of data bounds" in reply.error, reply.body
            assert not np.all((index >= -10) & (index < 10)), index
            outcomes["failed"] += 1
    return outcomes


def total(outcomes):
    return {name: sum(outcome[name] for outcome in outcomes) for name in outcomes[0]}


@pytest.mark.parametrize("bad", [0, 1])
def test_under_load(caching, repository, bad):
    repository.copy("embedding", cached=True, extra=batching(delay_us=500) + cache_parameters(ttl=1))
    server = caching(repository, "stale_while_revalidate=1", "refresh_ahead=1")
    with Watcher([server], "embedding"):
        outcomes = total(at_once(4, lambda i: work(server, i, 60, bad=bad)))
    server.expect("embedding", success=outcomes[200])
    wait_rows(server, "embedding", lookups=outcomes["rows"])
    assert bool(outcomes["failed"]) == bool(bad)
    counts = server.statistics("embedding")
    assert counts["success"] == outcomes[200]
    assert counts["fail"] >= outcomes["failed"]


@pytest.mark.parametrize("granularity", ["row", "request"])
def test_what_is_one(deploy, repository, granularity):
    """Rows count where rows are cached, else requests; Triton's two counters always count requests."""
    repository.copy("simple", extra=cache_parameters(granularity=granularity))
    server = deploy(repository)
    for first, rows in ((0, 4), (0, 4), (0, 2), (2, 4)):
        a = np.arange(first, first + rows, dtype=np.int32)[:, None] + np.zeros((1, 16), dtype=np.int32)
        answer = decode(put(server, "simple", {"INPUT0": a, "INPUT1": a}))
        same(answer["OUTPUT0"], 2 * a)
    row = granularity == "row"
    wait_rows(server, "simple", lookups=14 if row else 4, hits=8 if row else 1, misses=6 if row else 3, joined=0)
    wait_metric(server, "nv_cache_num_hits_per_model", 2 if row else 1, model="simple", version="1")
    wait_metric(server, "nv_cache_num_misses_per_model", 2 if row else 3, model="simple", version="1")


def test_each_way_to_be_answered(deploy, repository):
    echo(repository, rows=8, cached=True, extra=ONE_INSTANCE + batching())
    server = deploy(repository)
    held = hold(server)  # one miss
    connections = [sent_echo(server, [[1], [2]]),  # two misses
                   sent_echo(server, [[2], [2], [1]]),  # three that join
                   sent_echo(server, [[1], [5]], parameters={"cache": "bypass"})]  # two that pass by
    answers([held, *connections])
    wait_rows(server, "echo", lookups=8, hits=0, misses=3, joined=3, bypassed=2, errors=0)
    answers([sent_echo(server, [[2], [1]])])
    wait_rows(server, "echo", lookups=10, hits=2, misses=3, joined=3, bypassed=2, errors=0)
    wait_metric(server, "nv_cache_num_hits_per_model", 2, model="echo", version="1")
    wait_metric(server, "nv_cache_num_misses_per_model", 2, model="echo", version="1")
    server.expect("echo", success=5, cache_hit=2, cache_miss=2, inference_count=5)


def test_equal_rows_of_a_batch_join(deploy, repository):
    echo(repository, rows=8, cached=True)
    server = deploy(repository)
    answers([sent_echo(server, [[1]] * 6 + [[2]])])
    wait_rows(server, "echo", lookups=7, misses=2, joined=5)
    server.expect("echo", cache_hit=0, cache_miss=1)


def test_requests_that_were_never_valid_are_not_counted(deploy, repository):
    repository.copy("embedding", cached=True)
    server = deploy(repository)
    for body, status in ((b"{", 500), ({"inputs": []}, 400)):
        assert server.post(infer_path("embedding"), body).status == status
    assert put(server, "embedding", {"INDEX": np.array([[1]])}, parameters={"cache": "nonsense"}).status == 400
    assert put(server, "embedding", {"INDEX": np.array([[1]])}).status == 200
    wait_rows(server, "embedding", lookups=1, misses=1)


def test_failures_and_refusals(deploy, repository):
    echo(repository, rows=8, cached=True, extra=ONE_INSTANCE + batching(policy="max_queue_size: 1"))
    server = deploy(repository)
    held, waiting = hold(server), sent_echo(server, [[1]])
    wait_queued(server, "echo", 1)
    for _ in range(2):
        assert put(server, "echo", {"INPUT0": tensor([[2], [3]], "INT32")}).status == 503
    answers([held, waiting])
    assert put(server, "echo", {"INPUT0": tensor([[4]], "INT32")}, parameters={"fail": "no luck"}).status == 500
    assert put(server, "echo", {"INPUT0": tensor([[4]], "INT32")}, parameters={"cache": "only"}).status == 504
    wait_rows(server, "echo", lookups=8)
    counts = rows_counted(server, "echo")
    assert counts["hits"] == counts["joined"] == 0
    server.expect("echo", success=2)


def test_clients_that_leave(serve, repository):
    echo(repository, rows=8, delay_ms=20, cached=True, extra=ONE_INSTANCE + batching())
    server = serve(repository, "--threads=2")
    with Watcher([server], "echo"):
        for i in range(40):
            body, fields = encode({"INPUT0": tensor([[i % 7], [i % 5]], "INT32")})
            with server.connect() as connection:
                connection.send(request_bytes("POST", infer_path("echo"), body, fields))
                if i % 3 == 0:
                    connection.reply("POST")
    wait_queued(server, "echo", 0)
    eventually(lambda: rows_counted(server, "echo")["lookups"] >= 28, "the rows of those that stayed")
    answers([sent_echo(server, [[1], [2]])])


@pytest.mark.parametrize("trouble", ["killed", "paused", "flushed"])
def test_while_redis_is_in_trouble(serve, repository, redis_server, trouble):
    redis = redis_server()
    repository.copy("embedding", cached=True)
    settings = redis.cache("lookup_timeout=50", "socket_timeout=200", "wait_timeout=100")
    servers = [serve(repository, *settings, "--threads=2") for _ in range(2)]

    def unanswered():
        return rows_counted(servers[0], "embedding")["errors"] > 0

    def disturb():
        if trouble == "killed":
            redis.stop()
            eventually(lambda: metric(servers[0], "hippocamp_cache_connections") == 0, "the loss")
            eventually(unanswered, "look-ups that are not answered")
            redis.start()
        elif trouble == "paused":
            redis.pause()
            try:
                eventually(unanswered, "look-ups that are not answered")
            finally:
                redis.resume()
        else:
            redis.command("FLUSHALL")

    over = threading.Event()

    def ask(i):
        if i == 0:
            try:
                for _ in range(2):
                    disturb()
            finally:
                over.set()
            return {"rows": 0, 200: 0, 504: 0, "failed": 0}
        outcomes, seed = [], 1000 * i
        while not over.is_set() or len(outcomes) < 3:
            outcomes.append(work(servers[i % 2], seed + len(outcomes), 10, good=1))
        return total(outcomes)

    with Watcher(servers, "embedding"):
        outcomes = at_once(5, ask)
    for number, server in enumerate(servers):
        mine = total([outcome for i, outcome in enumerate(outcomes) if i % 2 == number])
        assert mine["failed"] == mine[504] == 0
        server.expect("embedding", success=mine[200], fail=0)
        wait_rows(server, "embedding", lookups=mine["rows"])
    if trouble != "flushed":
        assert sum(rows_counted(server, "embedding")["errors"] for server in servers) > 0


def test_without_redis_every_row_is_an_error(serve, repository):
    repository.copy("embedding", cached=True)
    server = serve(repository, "--cache-config=redis,host=127.0.0.1", "--cache-config=redis,port=1")
    assert put(server, "embedding", {"INDEX": np.array([[1], [2], [3]])}).status == 200
    wait_rows(server, "embedding", lookups=3, errors=3)


def test_of_ensembles(deploy, repository):
    """An ensemble and its steps are counted separately."""
    for name, factor in (("double", 2.0), ("triple", 3.0)):
        repository.scale(name, {1: factor}, cached=True)
    steps = [step("double", {"INPUT0": "IN"}, {"OUTPUT0": "x"}), step("triple", {"INPUT0": "x"}, {"OUTPUT0": "OUT"})]
    ensemble(repository, "chain", {"IN": "FP32"}, {"OUT": "FP32"}, steps, cached=True)
    server = deploy(repository)
    with Watcher([server], "double"), Watcher([server], "chain"):
        for values in ([1, 2], [2, 3], [1, 3], [4]):
            array = tensor([[value] for value in values])
            same(decode(put(server, "chain", {"IN": array}))["OUT"], array * 6)
    wait_rows(server, "chain", lookups=7, hits=3, misses=4)
    for name in ("double", "triple"):
        wait_rows(server, name, lookups=4, hits=0, misses=4)


def test_reloads_keep_the_sums_right(serve, repository):
    repository.scale("scale", {1: 2.0}, cached=True)
    server = serve(repository, EXPLICIT, "--load-model=scale")
    over = threading.Event()

    def ask(i):
        if i == 0:
            for factor in (3.0, 2.0) * 2:
                repository.scale("scale", {1: factor}, cached=True)
                server.load("scale")
            over.set()
        while not over.is_set():
            reply = put(server, "scale", {"INPUT0": tensor([[1.0], [2.0], [float(i)]])})
            assert reply.status == 200

    with Watcher([server], "scale"):
        at_once(4, ask)


# --- Other figures ---


def buckets(server, name, model):
    """A histogram's (bound, count) pairs, sum and count; asserts that they agree."""
    metrics = server.metrics()
    own = dict(label(model))
    found = [(float(dict(labels)["le"]), value) for (metric_name, labels), value in metrics.items()
             if metric_name == f"{name}_bucket" and own.items() <= dict(labels).items()]
    found.sort()
    counts = [count for _, count in found]
    assert len(found) > 2 and found[-1][0] == float("inf")
    assert counts == sorted(counts)
    assert counts[-1] == metrics[(f"{name}_count", label(model))]
    return found, metrics[(f"{name}_sum", label(model))], counts[-1]


def test_ages_of_hits(deploy, repository):
    repository.copy("embedding", cached=True)
    server = deploy(repository)
    assert buckets(server, "hippocamp_cache_hit_age_seconds", "embedding")[1:] == (0, 0)
    for _ in range(3):
        assert put(server, "embedding", {"INDEX": np.array([[1], [2]])}).status == 200
    wait_rows(server, "embedding", lookups=6, hits=4)
    _, age, count = buckets(server, "hippocamp_cache_hit_age_seconds", "embedding")
    assert count == 4 and 0 <= age < 4 * PATIENCE


def test_sizes_of_values(deploy_on_either, repository):
    repository.copy("identity", cached=True)
    server = deploy_on_either(repository)
    for count in (10, 1000):
        assert put(server, "identity", {"INPUT0": tensor(range(count))}).status == 200
    wait_stored(server, 2)
    _, size, count = buckets(server, "hippocamp_cache_value_size_bytes", "identity")
    assert count == 2 and 4040 <= size < 6000


def test_what_hits_save(deploy, repository):
    echo(repository, rows=8, delay_ms=100, cached=True)
    server = deploy(repository)
    saved = "hippocamp_cache_saved_seconds_total"
    answers([sent_echo(server, [[1]])])
    assert metric(server, saved, model="echo", version="1") == 0
    for _ in range(3):
        answers([sent_echo(server, [[1]])])
    wait_metric(server, saved, lambda now: now >= 0.29, model="echo", version="1")


def test_damaged_entries_are_counted(serve, repository, redis_server):
    redis = redis_server()
    repository.copy("embedding", cached=True)
    server = serve(repository, *redis.cache("lookup_timeout=5000"), ONE_THREAD)
    wait_connected(server)
    question = {"INDEX": np.array([[1], [2]])}
    put(server, "embedding", question)
    keys = redis.wait_entries(2, "embedding")
    redis.command("SET", keys[0], b"nonsense")
    same(decode(put(server, "embedding", question))["OUTPUT0"], TABLE[question["INDEX"]])
    wait_metric(server, "hippocamp_cache_corrupt_total", 1, model="embedding", version="1")
    wait_rows(server, "embedding", lookups=4, hits=1, misses=3, errors=0)


def test_evictions_are_counted(serve, repository):
    repository.copy("identity", cached=True)
    server = serve(repository, "--cache-config=local,size=1MB")
    for value in range(150):
        put(server, "identity", {"INPUT0": tensor([value] * 4000)}, binary_in=True)
    wait_metric(server, "hippocamp_cache_evictions_total", lambda now: now > 50)
    metrics = server.metrics()
    inserts, evictions, entries = (metrics[(name, frozenset())] for name in (
        "hippocamp_cache_inserts_total", "hippocamp_cache_evictions_total", "nv_cache_num_entries"))
    assert (inserts, inserts - evictions) == (150, entries)



def test_the_page_and_the_metrics_agree(caching, repository):
    repository.copy("embedding", cached=True)
    server = caching(repository)
    at_once(3, lambda i: work(server, i, 10, good=1))
    server.expect("embedding", success=30)
    counts = rows_counted(server, "embedding")
    page = server.get("/v2/cache", port=server.metrics_port).json
    (entry,) = page["models"]
    assert {name: entry[name] for name in counts} == counts
    assert json.dumps(page)
