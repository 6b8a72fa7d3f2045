"""What a client may ask of the cache, and what it is told: Cache-Control, the parameters, Cache-Status, Age."""

import re

import numpy as np
import pytest
import tritonclient.http as triton

from support import decode, eventually, same, tensor
from traffic import ONE_THREAD, asked_until, cache_status, echo, hold, is_hit, put, sent_echo, wait_rows, wait_stored


def ask(server, values=((1.0,),), control=None, model="noise", **options):
    """Asks `noise`, which answers other numbers on every run, so that an answer tells its run."""
    headers = {} if control is None else {"Cache-Control": control}
    return put(server, model, {"INPUT0": tensor(values)}, headers, **options)


def drawn(reply):
    return decode(reply)["OUTPUT0"].tolist()


@pytest.fixture
def noisy(deploy_on_either, repository):
    """A server of `noise`, with each store."""
    repository.copy("noise", cached=True)
    return deploy_on_either(repository)


@pytest.fixture
def known(noisy):
    """A server, and its cached answer to the default question."""
    server = noisy
    first = ask(server)
    assert cache_status(first) == {"fwd": "miss", "stored": True}
    wait_stored(server, 1)
    return server, drawn(first)


# --- Cache-Status and Age ---


def test_miss_and_hit(noisy):
    server = noisy
    first = ask(server)
    assert first.headers["cache-status"] == "hippocamp; fwd=miss; stored"
    assert "age" not in first.headers
    wait_stored(server, 1)
    for _ in range(2):
        reply = ask(server, id="x", binary_out=True)
        status = cache_status(reply)
        assert status.pop("ttl", 1) > 0
        assert status == {"hit": True, "detail": server.store}
        assert re.fullmatch(r"\d+", reply.headers["age"]) and int(reply.headers["age"]) < 30
        assert drawn(reply) == drawn(first)


def test_ttl_is_told_where_entries_expire(caching, repository):
    repository.copy("noise", cached=True)
    server = caching(repository, "ttl=1000")
    ask(server)
    wait_stored(server, 1)
    assert 850 < cache_status(ask(server))["ttl"] <= 1100


def test_no_ttl_without_end_of_life(caching, repository):
    repository.copy("noise", cached=True)
    server = caching(repository, "ttl=0")
    ask(server)
    wait_stored(server, 1)
    assert cache_status(ask(server)) == {"hit": True, "detail": server.store}


def test_age_grows(noisy):
    server = noisy
    ask(server)
    wait_stored(server, 1)
    eventually(lambda: int(ask(server).headers["age"]) >= 1, "an age of a second")


def test_partial(noisy):
    server = noisy
    ask(server, [[1.0], [2.0]])
    wait_stored(server, 2)
    reply = ask(server, [[1.0], [3.0], [2.0]])
    assert reply.headers["cache-status"] == 'hippocamp; fwd=partial; stored; detail="2 of 3 rows"'
    assert "age" not in reply.headers


def test_joined(deploy, repository):
    echo(repository, rows=8, cached=True)
    server = deploy(repository)
    held = hold(server)
    waiting = [sent_echo(server, [[1]], id=name) for name in "ab"]
    statuses = [cache_status(connection.reply("POST")) for connection in waiting]
    held.reply("POST")
    assert statuses[0]["fwd"] == "miss"
    assert "hit" in statuses[1] and statuses[1]["detail"] == "joined"


def test_silent_for_models_without_a_cache(deploy, repository):
    server = deploy(repository.add("identity"))
    for headers in ({}, {"Cache-Control": "no-cache"}):
        reply = put(server, "identity", {"INPUT0": tensor([1])}, headers, parameters={"cache": "bypass", "cache_status": True})
        same(decode(reply)["OUTPUT0"], tensor([1]))
        assert not {"cache-status", "age"} & set(reply.headers)


def test_silent_without_a_store(serve, repository):
    repository.copy("noise", cached=True)
    reply = ask(serve(repository, "--cache-config=none"), control="no-cache")
    assert reply.status == 200
    assert not {"cache-status", "age"} & set(reply.headers)


def test_a_store_that_keeps_nothing(serve, repository):
    repository.copy("noise", cached=True)
    server = serve(repository, "--cache-config=null,ttl=60", ONE_THREAD)
    for _ in range(2):
        assert cache_status(ask(server))["fwd"] == "miss"


def test_errors_have_no_cache_status_of_a_hit(deploy, repository):
    repository.copy("embedding", cached=True)
    server = deploy(repository)
    reply = put(server, "embedding", {"INDEX": np.array([[99]])})
    assert reply.status in (400, 500)
    assert "hit" not in reply.headers.get("cache-status", "") and "stored" not in reply.headers.get("cache-status", "")


@pytest.mark.parametrize("binary", [False, True])
def test_cache_status_in_the_reply(known, binary):
    server, first = known
    for wanted in (True, False):
        reply = ask(server, parameters={"cache_status": wanted}, binary_out=binary)
        assert drawn(reply) == first
        told = decode(reply).document.get("parameters", {})
        assert told == ({"cache_status": reply.headers["cache-status"]} if wanted else {})
    reply = ask(server, [[7.0]], parameters={"cache_status": True, "cache": "bypass"}, binary_out=binary)
    assert decode(reply).document["parameters"] == {"cache_status": reply.headers["cache-status"]}
    assert "bypass" in reply.headers["cache-status"]


# --- Parameter cache ---


def test_default(known):
    server, first = known
    reply = ask(server, parameters={"cache": "default"})
    assert is_hit(reply) and drawn(reply) == first


def test_bypass(known):
    """Neither looked up nor stored."""
    server, first = known
    for values in ([[1.0]], [[2.0]]):
        reply = ask(server, values, parameters={"cache": "bypass"})
        assert cache_status(reply)["fwd"] == "bypass" and "stored" not in cache_status(reply)
        assert drawn(reply) != first
    assert drawn(ask(server)) == first
    assert not is_hit(ask(server, [[2.0]]))
    wait_rows(server, "noise", lookups=5, hits=1, misses=2, bypassed=2)


def refreshes(server, first, **options):
    reply = ask(server, **options)
    assert cache_status(reply) == {"fwd": "request", "stored": True}
    second = drawn(reply)
    assert second != first
    eventually(lambda: drawn(ask(server)) == second, "the new answer in the place of the old one", patience=5)
    return second


def test_refresh(known):
    server, first = known
    refreshes(server, refreshes(server, first, parameters={"cache": "refresh"}), parameters={"cache": "refresh"})


def test_refresh_of_what_is_not_known(noisy):
    server = noisy
    reply = ask(server, parameters={"cache": "refresh"})
    wait_stored(server, 1)
    assert drawn(ask(server)) == drawn(reply)


def test_only(known):
    server, first = known
    assert drawn(ask(server, parameters={"cache": "only"})) == first
    reply = ask(server, [[2.0]], parameters={"cache": "only"})
    assert reply.status == 504 and reply.error
    server.expect("noise", execution_count=1)
    assert not is_hit(ask(server, [[2.0]]))


@pytest.mark.parametrize("values, runs", [([[1.0], [2.0]], 1), ([[2.0], [3.0], [4.0]], 3)])
def test_rows_are_steered_together(known, values, runs):
    server, first = known
    assert ask(server, values, parameters={"cache": "only"}).status == 504
    server.expect("noise", inference_count=1)
    assert ask(server, values, parameters={"cache": "bypass"}).status == 200
    server.expect("noise", inference_count=1 + len(values))
    assert ask(server, values, control="no-store").status == 200
    server.expect("noise", inference_count=1 + len(values) + runs)
    assert ask(server, values).status == 200
    server.expect("noise", inference_count=1 + len(values) + 2 * runs)
    assert drawn(ask(server)) == first


def test_anything_else_is_refused(known):
    server, first = known
    for value in ("nonsense", "", "Bypass", "only-if-cached", 5, True, 1.5):
        reply = ask(server, parameters={"cache": value})
        assert reply.status == 400, value
        assert "cache" in reply.error
        assert drawn(ask(server)) == first


def test_directives_are_no_part_of_the_key(known):
    server, first = known
    for parameters in ({"cache": "default"}, {"cache_status": True}, {"cache": "only", "cache_status": False}):
        assert drawn(ask(server, parameters=parameters)) == first
    wait_stored(server, 1)
    server.expect("noise", execution_count=1)


# --- Cache-Control ---


def test_no_cache(known):
    server, first = known
    for control in ("no-cache", "No-Cache", "max-age=600, no-cache", 'private="x, y" ,no-cache'):
        first = refreshes(server, first, control=control)


def test_no_store(known):
    """Looked up, but not stored."""
    server, first = known
    reply = ask(server, control="no-store")
    assert is_hit(reply) and drawn(reply) == first
    for _ in range(2):
        assert cache_status(ask(server, [[2.0]], control="no-store")) == {"fwd": "miss"}
    server.expect("noise", execution_count=3)


def test_no_store_is_not_joined(deploy, repository):
    echo(repository, rows=8, cached=True)
    server = deploy(repository)
    held = hold(server)
    no_store = {"Cache-Control": "no-store"}
    waiting = [sent_echo(server, [[1]], headers=headers) for headers in ({}, no_store, {}, no_store)]
    for connection in waiting:
        same(decode(connection.reply("POST"))["OUTPUT0"], tensor([[1]], "INT32"))
    held.reply("POST")
    server.expect("echo", success=5, inference_count=4)


def test_no_cache_and_no_store(known):
    server, first = known
    reply = ask(server, control="no-cache, no-store")
    assert drawn(reply) != first and "stored" not in cache_status(reply)
    assert drawn(ask(server)) == first


def test_max_age(known):
    """An entry that is older is run again."""
    server, first = known
    reply = ask(server, control="max-age=600")
    assert is_hit(reply) and drawn(reply) == first
    reply = asked_until(lambda: ask(server, control="max-age=0"), lambda status: status.get("fwd") == "request", "a run")
    assert "stored" in cache_status(reply) and drawn(reply) != first


def test_only_if_cached(known):
    server, first = known
    assert drawn(ask(server, control="only-if-cached")) == first
    for control in ("only-if-cached", "only-if-cached, max-stale=5", "max-age=600, Only-If-Cached"):
        reply = ask(server, [[2.0]], control=control)
        assert reply.status == 504 and reply.error
    server.expect("noise", execution_count=1)


ODD = ["", ",", "public", "no-transform, min-fresh=x", 'quoted="no-cache"', "no-caches", "xno-store", "=", "max-stale",
       "max-stale=abc", 'a="', "x" * 5000]


def test_what_is_not_known_is_ignored(known):
    server, first = known
    for control in ODD:
        assert drawn(ask(server, control=control)) == first, control


def test_max_age_without_a_number(known):
    """Nothing that a client writes there may break a request."""
    server, _ = known
    for control in ("max-age", "max-age=", "max-age=x", 'max-age="1', "max-age=1=2"):
        assert ask(server, control=control).status == 200


def test_max_age_of_any_size(known):
    server, first = known
    for age in ("9" * 40, "600.5", "-1", "+5"):
        assert ask(server, control=f"max-age={age}").status == 200
    assert is_hit(ask(server, control="max-age=99999999999999999999"))


# --- --allow-cache-control ---


def test_clients_that_may_not_steer(caching, repository):
    repository.copy("noise", cached=True)
    server = caching(repository, options=["--allow-cache-control=false"])
    first = drawn(ask(server, parameters={"cache": "bypass"}))
    wait_stored(server, 1)
    for options in ({"control": "no-cache"}, {"control": "max-age=0"}, {"parameters": {"cache": "refresh"}},
                    {"parameters": {"cache": "bypass"}}, {"control": "no-store"}):
        reply = ask(server, **options)
        assert is_hit(reply) and drawn(reply) == first
    assert ask(server, [[2.0]], control="only-if-cached").status == 200
    assert ask(server, [[3.0]], parameters={"cache": "only"}).status == 200
    reply = ask(server, parameters={"cache_status": True})
    assert reply.json["parameters"]["cache_status"] == reply.headers["cache-status"]
    server.expect("noise", execution_count=3)


def test_clients_may_steer_by_default(serve, repository):
    repository.copy("noise", cached=True)
    server = serve(repository, "--allow-cache-control=true")
    reply = ask(server, control="only-if-cached")
    assert (reply.status, reply.headers["cache-status"]) == (504, "hippocamp; detail=only-if-cached")


# --- NVIDIA's client ---


def test_tritonclient(known):
    server, first = known
    question = triton.InferInput("INPUT0", [1, 1], "FP32")
    question.set_data_from_numpy(tensor([[1.0]]))
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        result = client.infer("noise", [question], parameters={"cache_status": True})
        assert result.as_numpy("OUTPUT0").tolist() == first
        assert "hit" in cache_status(result.get_response()["parameters"]["cache_status"])
        result = client.infer("noise", [question], parameters={"cache": "refresh"})
        assert result.as_numpy("OUTPUT0").tolist() != first
        result = client.infer("noise", [question], headers={"Cache-Control": "no-cache"}, parameters={"cache_status": True})
        assert cache_status(result.get_response()["parameters"]["cache_status"])["fwd"] == "request"
        with pytest.raises(triton.InferenceServerException):
            client.infer("noise", [question], parameters={"cache": "nonsense"})
