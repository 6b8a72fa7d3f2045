"""How long an answer is good, what may be served after that, what is renewed ahead, and what is worth storing."""

import numpy as np
import pytest

from support import ask_identity, at_once, clock_ahead, decode, eventually, run_program, same, tensor
from traffic import (EXPLICIT, ONE_INSTANCE, ONE_THREAD, answers, asked_until, batching, cache_parameters, cache_status, echo,
                     ensemble, first_ready, hold, is_hit, metric, put, rows_counted, sent_echo, step, wait_connected, wait_metric,
                     wait_stored)


def ask(server, values=((1.0,),), model="noise", control=None, **options):
    return put(server, model, {"INPUT0": tensor(values)}, {} if control is None else {"Cache-Control": control}, **options)


def drawn(reply):
    return decode(reply)["OUTPUT0"].tolist()


def stale(status):
    return "hit" in status and status.get("ttl", 1) < 0


def model_metric(server, name, model="noise"):
    return metric(server, f"hippocamp_cache_{name}_total", model=model, version="1")


@pytest.fixture
def noisy(caching, repository):
    """noisy(*settings, **parameters of the model): a server of `noise`, with each store."""
    def start(*settings, **parameters):
        repository.copy("noise", cached=True, extra=cache_parameters(**parameters))
        return caching(repository, *settings)

    return start


# --- Time to live ---


TIMES = {"cache": ({}, 110), "longer": ({"ttl": 600}, 660), "shorter": ({"ttl": 60}, 66)}  # the longest with jitter


def test_time_to_live(caching, repository):
    for name, (parameters, _) in TIMES.items():
        repository.copy("noise", name, cached=True, extra=cache_parameters(**parameters))
    server = caching(repository, "ttl=100")
    values = [[float(value)] for value in range(5)]
    for name in TIMES:
        ask(server, values, name)
    wait_stored(server, 15)
    for name, (_, longest) in TIMES.items():
        for value in values:
            assert longest * 0.75 < cache_status(ask(server, [value], name))["ttl"] <= longest
    if server.redis:
        for key in [key for name in TIMES for key in server.redis.entries(name)]:
            longest = TIMES[key.decode().split(":")[1]][1]
            assert longest * 750 < server.redis.command("PTTL", key) <= longest * 1000


def test_a_model_may_have_no_end_of_life(noisy):
    server = noisy("ttl=60", ttl=0)
    ask(server)
    wait_stored(server, 1)
    assert "ttl" not in cache_status(ask(server))


@pytest.mark.parametrize("caching", ["redis"], indirect=True)
def test_expired_answers_are_run_again(noisy):
    server = noisy("ttl=1")
    first = drawn(ask(server))
    reply = asked_until(lambda: ask(server), lambda status: "fwd" in status, "the end of an entry's life")
    assert cache_status(reply)["fwd"] in ("stale", "miss")  # stale if the store still has it
    assert "stored" in cache_status(reply)
    assert drawn(reply) != first
    eventually(lambda: drawn(ask(server)) == drawn(reply), "a hit on the new answer", patience=5)


# --- Stale answers ---


@pytest.mark.parametrize("caching", ["redis"], indirect=True)
def test_stale_while_revalidate(noisy):
    """The old entry answers at once; the server then renews it without being asked."""
    server = noisy("ttl=1", "stale_while_revalidate=60")
    first = drawn(ask(server))
    reply = asked_until(lambda: ask(server), stale, "a stale answer")
    assert drawn(reply) == first
    assert int(reply.headers["age"]) >= 0
    server.expect("noise", execution_count=2)
    wait_metric(server, "hippocamp_cache_refreshes_total", 1, model="noise", version="1")
    reply = asked_until(lambda: ask(server), lambda status: "hit" in status and status["ttl"] >= 0, "a fresh answer")
    assert drawn(reply) != first
    assert model_metric(server, "stale") >= 1
    rows_counted(server, "noise")


def test_stale_if_error(serve, repository):
    """When the queue is full, the expired entry answers in place of a 503."""
    echo(repository, rows=8, cached=True, extra=ONE_INSTANCE + batching(policy="max_queue_size: 1")
         + cache_parameters(ttl=1, stale_if_error=60))
    server = serve(repository, ONE_THREAD)
    question = {"INPUT0": tensor([[1]], "INT32")}
    assert not is_hit(put(server, "echo", question))
    held, second = hold(server, milliseconds=1700), sent_echo(server, [[-2]])
    assert put(server, "echo", {"INPUT0": tensor([[5]], "INT32")}).status == 503
    reply = asked_until(lambda: put(server, "echo", question), lambda status: status.get("ttl", 1) < 0, "a stale answer")
    same(decode(reply)["OUTPUT0"], question["INPUT0"])
    assert not first_ready([held], 0), "while the model was not to be had"
    assert model_metric(server, "stale", "echo") >= 1
    answers([held, second])
    assert "fwd" in cache_status(put(server, "echo", question))  # it works again, and is run
    rows_counted(server, "echo")


def test_no_stale_answer_in_place_of_the_clients_own_error(serve, repository):
    repository.copy("embedding", cached=True, extra=cache_parameters(ttl=1, stale_if_error=60))
    server = serve(repository)
    for _ in range(2):
        assert put(server, "embedding", {"INDEX": np.array([[1, 99]])}).status in (400, 500)
    assert put(server, "embedding", {"INDEX": tensor([[1]], "FP32")}).status == 400


# --- Renewal ahead of time ---


def test_refresh_ahead(caching, repository):
    """With so large a factor every hit causes a renewal."""
    echo(repository, rows=8, delay_ms=20, cached=True)
    server = caching(repository, "ttl=60", "refresh_ahead=1000000")
    question = {"INPUT0": tensor([[1]], "INT32")}
    put(server, "echo", question)
    wait_stored(server, 1)
    reply = asked_until(lambda: put(server, "echo", question), lambda status: "hit" in status, "a hit")
    assert cache_status(reply)["ttl"] > 0
    eventually(lambda: is_hit(put(server, "echo", question)) and model_metric(server, "refreshes", "echo") > 0, "a renewal")
    eventually(lambda: server.statistics("echo")["execution_count"] >= 2, "its run")
    rows_counted(server, "echo")


@pytest.mark.parametrize("settings, of_model", [(["ttl=60"], {}), (["ttl=60", "refresh_ahead=1000000"], {"refresh_ahead": 0}),
                                                (["ttl=0", "refresh_ahead=1000000"], {})], ids=["default", "model", "no_end"])
def test_no_refresh_ahead(serve, repository, settings, of_model):
    echo(repository, rows=8, delay_ms=20, cached=True, extra=cache_parameters(**of_model))
    server = serve(repository, *(f"--cache-config=local,{setting}" for setting in settings))
    for _ in range(20):
        ask_identity(server, [[1]], "echo", "INT32")
    assert model_metric(server, "refreshes", "echo") == 0
    server.expect("echo", success=20, execution_count=1)


def test_a_model_may_refresh_ahead(serve, repository):
    echo(repository, rows=8, delay_ms=20, cached=True, extra=cache_parameters(refresh_ahead=999999.5))
    server = serve(repository, "--cache-config=local,ttl=60")

    def renewed():
        ask_identity(server, [[1]], "echo", "INT32")
        return model_metric(server, "refreshes", "echo") > 0

    eventually(renewed, "a renewal")


# --- What is stored ---


def test_max_value_size(caching, repository):
    repository.copy("identity", cached=True)
    server = caching(repository, "max_value_size=2000")
    small, large = tensor(range(10)), tensor(range(1000))
    for _ in range(2):
        for array in (large, small):
            same(decode(put(server, "identity", {"INPUT0": array}))["OUTPUT0"], array)
            wait_stored(server, array.size == 10)
    server.expect("identity", execution_count=3, cache_hit=1)
    wait_metric(server, "hippocamp_cache_too_large_total", 2, model="identity", version="1")
    assert "stored" not in cache_status(put(server, "identity", {"INPUT0": large}))


def test_no_bound_of_values(caching, repository):
    repository.copy("identity", cached=True)
    server = caching(repository, "max_value_size=0")
    large = tensor(range(500_000))
    same(decode(put(server, "identity", {"INPUT0": large}, binary_in=True, binary_out=True))["OUTPUT0"], large)
    wait_stored(server, 1)
    assert is_hit(put(server, "identity", {"INPUT0": large}, binary_in=True, binary_out=True))


def test_admission_of_what_is_worth_it(caching, repository):
    echo(repository, rows=8, delay_ms=30, cached=True)
    server = caching(repository, "admission=auto")
    question = {"INPUT0": tensor([[1]], "INT32")}
    asked_until(lambda: put(server, "echo", question), lambda status: "hit" in status, "a hit on what costs a lot")


@pytest.mark.parametrize("settings, of_model", [(["admission=auto"], {}), ([], {"admission": "auto"})], ids=["cache", "model"])
def test_admission_leaves_out_what_is_cheap(serve, repository, redis_server, settings, of_model):
    """A look-up in Redis takes longer than a model that does nothing."""
    repository.copy("identity", cached=True, extra=cache_parameters(**of_model))
    server = serve(repository, *redis_server().cache("lookup_timeout=5000", *settings), "--threads=1")
    number = iter(range(1_000_000))

    def once():
        value = tensor([next(number)])
        reply = put(server, "identity", {"INPUT0": value})
        same(decode(reply)["OUTPUT0"], value)
        return reply

    reply = asked_until(once, lambda status: status.get("fwd") == "bypass", "a request past the cache")
    assert "stored" not in cache_status(reply)
    assert rows_counted(server, "identity")["bypassed"] > 0


def test_admission_always(serve, repository, redis_server):
    repository.copy("identity", cached=True, extra=cache_parameters(admission="always"))
    server = serve(repository, *redis_server().cache("lookup_timeout=5000", "admission=auto"), "--threads=1")
    for value in range(100):
        ask_identity(server, [value])
    assert rows_counted(server, "identity")["bypassed"] == 0


# --- Settings that are wrong ---


@pytest.mark.parametrize("setting", [
    "stale_while_revalidate=-1", "stale_while_revalidate=soon", "stale_if_error=x", "refresh_ahead=-1", "refresh_ahead=nan",
    "refresh_ahead=much", "admission=sometimes", "max_value_size=big"])
@pytest.mark.parametrize("store", ["local", "redis"])
def test_wrong_settings(repository, store, setting):
    settings = [f"--cache-config={store},{text}" for text in ([setting] if store == "local" else ["host=127.0.0.1", setting])]
    done = run_program("serve", f"--model-repository={repository.path}", "--http-port=0", "--metrics-port=0", *settings)
    assert done.returncode != 0
    assert setting.split("=")[0] in done.stderr and "has no option" not in done.stderr


WRONG = {"ttl": "soon", "stale_while_revalidate": "-1", "stale_if_error": "1h?", "refresh_ahead": "-0.5", "admission": "maybe",
         "granularity": "column", "no_such_thing": "1", "TTL": "5", "": "1"}


def test_wrong_parameters_of_models(start, repository):
    server = start(repository, EXPLICIT)
    for name, value in WRONG.items():
        repository.copy("noise", "wrong", cached=True, extra=cache_parameters(**{name: value}))
        reply = server.post("/v2/repository/models/wrong/load")
        assert reply.status in (400, 500), f"{name}={value} was taken"
        assert f"response_cache.{name}" in reply.error or server.lines(f"response_cache.{name}"), reply.error
        (repository.path / "wrong").rename(repository.path.parent / f"wrong_{name}")
    repository.copy("noise", "right", cached=True, extra=cache_parameters(
        ttl=60, stale_while_revalidate=1, stale_if_error=2, refresh_ahead=0.5, admission="always", granularity="row"))
    server.load("right")
    assert server.get("/v2/models/right/config").json["parameters"]["response_cache.ttl"] == {"string_value": "60"}


def test_others_do_not_get_what_one_allows(serve, repository, redis_server):
    """An expired entry kept for errors goes to a client that allows stale answers, not to one that joins its
    look-up."""
    redis = redis_server()
    repository.copy("noise", cached=True)
    server = serve(repository, *redis.cache("lookup_timeout=5000", "ttl=1", "stale_if_error=100"))

    def either(i):
        return ask(server, control="max-stale=90" if i % 2 else None)

    for _ in range(2):
        asked_until(lambda: ask(server, control="max-stale=90"), stale, "a stale answer")
        replies = at_once(8, either)
        assert all(cache_status(reply).get("ttl", 0) >= 0 for reply in replies[::2])


def test_clock_of_another_machine_that_is_ahead(serve, repository, redis_server):
    """The other machine's entries have no known age: they are used only where it does not matter."""
    repository.copy("noise", cached=True)
    repository.copy("noise", "short", cached=True, extra=cache_parameters(ttl=600))
    ports = {"INPUT0": "FP32"}, {"OUTPUT0": "FP32"}
    ensemble(repository, "whole", *ports, [step("noise", {"INPUT0": "INPUT0"}, {"OUTPUT0": "OUTPUT0"})], cached=True)
    cache = *redis_server().cache("lookup_timeout=5000", "ttl=0"), "--threads=1"
    ahead, server = serve(repository, *cache, environment=clock_ahead(3600)), serve(repository, *cache)
    for each in (ahead, server):
        wait_connected(each)

    def stored_ahead(model="noise"):
        reply = ask(ahead, model=model, control="no-cache")
        asked_until(lambda: ask(ahead, model=model), lambda status: "hit" in status, "an entry from ahead")
        return drawn(reply)

    known = stored_ahead()
    reply = ask(server)
    assert is_hit(reply) and drawn(reply) == known and "ttl" not in cache_status(reply)
    server.wait_log("ahead of this machine's clock")
    assert drawn(ask(server, model="whole")) == known
    asked_until(lambda: ask(server, model="whole"), lambda status: "hit" in status, "the ensemble's entry")
    for model in ("whole", "noise"):
        assert not is_hit(ask(server, model=model, control="max-age=100000, no-store")), model
    known = stored_ahead("short")
    reply = ask(server, model="short")
    assert not is_hit(reply) and drawn(reply) != known
    assert server.post("/v2/cache/purge").status == 200
    known = stored_ahead()
    assert drawn(ask(server, control="no-store")) != known
