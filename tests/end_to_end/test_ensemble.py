"""Ensembles: models put together by configuration, cached as a whole and step by step."""

import json
import re
import shutil
import threading

import numpy as np
import pytest

from support import PATIENCE, Repository, at_once, decode, encode, eventually, infer, infer_path, same, sums, tensor
from traffic import (EXPLICIT, HOUR, ONE_INSTANCE, ONE_THREAD, asked_until, batching, cache_parameters, cache_status, echo,
                     ensemble, first_ready, hold, is_hit, metric, put, sent, sent_echo, step, wait_batches, wait_queued,
                     wait_connected, wait_rows, wait_stored, write_config)

pytestmark = pytest.mark.threads

TABLE = np.arange(40, dtype=np.float32).reshape(10, 4)
CHAIN = [step("double", {"INPUT0": "IN"}, {"OUTPUT0": "between"}), step("triple", {"INPUT0": "between"}, {"OUTPUT0": "OUT"})]
DIAMOND = [step("add", {"INPUT0": "left", "INPUT1": "right"}, {"OUTPUT0": "OUT"}),
           step("triple", {"INPUT0": "top"}, {"OUTPUT0": "right"}),
           step("double", {"INPUT0": "top"}, {"OUTPUT0": "left"}),
           step("fivefold", {"INPUT0": "IN"}, {"OUTPUT0": "top"})]
FACTORS = {"double": 2.0, "triple": 3.0, "fivefold": 5.0}


def one(inputs, outputs, version=-1):
    return step("double", inputs, outputs, version)


GOOD = one({"INPUT0": "IN"}, {"OUTPUT0": "OUT"})


def members(repository, *names, cached=False, extra=""):
    for name in names or FACTORS:
        repository.scale(name, {1: FACTORS[name]}, cached=cached, extra=extra)


def chain(repository, cached=False, of_members=False, **options):
    members(repository, "double", "triple", cached=of_members)
    ensemble(repository, "chain", {"IN": "FP32"}, {"OUT": "FP32"}, CHAIN, cached=cached, **options)


def ask(server, *values, model="chain", factor=6.0, **options):
    """Asks rows of one number each, checks the answer, and returns the reply."""
    array = tensor([[value] for value in values])
    reply = put(server, model, {"IN": array}, **options)
    same(decode(reply)["OUT"], array * np.float32(factor))
    return reply


def runs(server, *models):
    return [server.statistics(model)["inference_count"] for model in models]


# --- Steps ---


def test_chain(deploy, repository):
    chain(repository)
    server = deploy(repository)
    for options in ({}, {"binary_in": True, "binary_out": True}, {"id": "q", "outputs": ["OUT"]}):
        answer = decode(ask(server, 1, -2, 3, **options))
        assert answer.document["model_name"] == "chain" and answer.document.get("id") == options.get("id")
    for name in ("double", "triple"):
        server.expect(name, success=3, inference_count=9, execution_count=3)
    server.expect("chain", success=3, fail=0)


def test_metadata(serve, repository):
    chain(repository)
    server = serve(repository)
    assert server.index()[("chain", "1")] == ("READY", "")
    metadata = server.get("/v2/models/chain").json
    assert metadata["platform"] == "ensemble"
    assert metadata["inputs"] == [{"name": "IN", "datatype": "FP32", "shape": [-1, -1]}]
    config = server.get("/v2/models/chain/config").json
    assert [entry["model_name"] for entry in config["ensemble_scheduling"]["step"]] == ["double", "triple"]
    assert config["ensemble_scheduling"]["step"][0]["input_map"] == {"INPUT0": "IN"}
    assert config["ensemble_scheduling"]["step"][0]["output_map"] == {"OUTPUT0": "between"}


def test_steps_in_any_order(deploy, repository):
    """Diamonds: two steps take what one made, and a fourth takes what both made."""
    repository.copy("add")
    members(repository)
    for i in range(4):
        ensemble(repository, f"diamond{i}", {"IN": "FP32"}, {"OUT": "FP32"}, DIAMOND[i:] + DIAMOND[:i])
    server = deploy(repository)
    for i in range(4):
        ask(server, 1, 2, 3, model=f"diamond{i}", factor=25)
        for name in (*FACTORS, "add"):
            server.expect(name, execution_count=i + 1, inference_count=3 * (i + 1))


def test_outputs_on_the_way_and_twice(deploy, repository):
    """What a step passes on may be an output as well; an input may be used by many."""
    repository.copy("add")
    members(repository, "double")
    ensemble(repository, "tree", {"IN": "FP32"}, {"BETWEEN": "FP32", "OUT": "FP32"},
             [step("double", {"INPUT0": "IN"}, {"OUTPUT0": "BETWEEN"}),
              step("add", {"INPUT0": "BETWEEN", "INPUT1": "BETWEEN"}, {"OUTPUT0": "sum"}),
              step("add", {"INPUT0": "sum", "INPUT1": "IN"}, {"OUTPUT0": "OUT"})])
    server = deploy(repository)
    array = tensor([[1, 2], [3, 4]])
    for outputs in (None, ["OUT"], ["BETWEEN"], ["OUT", "BETWEEN"]):
        answer = infer(server, "tree", {"IN": array}, outputs)
        assert sorted(answer.outputs) == sorted(outputs or ["BETWEEN", "OUT"])
        for name, value in answer.outputs.items():
            same(value, array * {"BETWEEN": 2, "OUT": 5}[name])


def test_some_outputs_of_a_step(deploy, repository):
    repository.add("simple")
    row = ("INT32", [16])
    ensemble(repository, "difference", {"A": row, "B": row}, {"D": row},
             [step("simple", {"INPUT0": "A", "INPUT1": "B"}, {"OUTPUT1": "D"})])
    inputs, expected = sums(5, 2, 3)
    answer = infer(deploy(repository), "difference", {"A": inputs["INPUT0"], "B": inputs["INPUT1"]})
    same(answer["D"], expected["OUTPUT1"])


def test_strings_and_classification(deploy, repository):
    repository.add("simple_string")
    row = ("STRING", [16])
    ensemble(repository, "words", {"A": row}, {"S": row},
             [step("simple_string", {"INPUT0": "A", "INPUT1": "A"}, {"OUTPUT0": "two"}),
              step("simple_string", {"INPUT0": "two", "INPUT1": "A"}, {"OUTPUT0": "S"})])
    chain(repository)
    server = deploy(repository)
    words = tensor([str(i) for i in range(32)], "BYTES", (2, 16))
    same(infer(server, "words", {"A": words})["S"], tensor([str(3 * i) for i in range(32)], "BYTES", (2, 16)))
    answer = infer(server, "chain", {"IN": tensor([[1, 3, 2]])}, [("OUT", {"classification": 2})])
    assert list(answer["OUT"][0]) == [b"18.000000:1", b"12.000000:2"]


def test_an_ensemble_of_ensembles(deploy, repository):
    chain(repository)
    ensemble(repository, "outer", {"IN": "FP32"}, {"OUT": "FP32"},
             [step("chain", {"IN": "IN"}, {"OUT": "inner"}), step("double", {"INPUT0": "inner"}, {"OUTPUT0": "OUT"})])
    ask(deploy(repository), 1, 2, model="outer", factor=12)


def test_without_batches(deploy, repository):
    for name in ("one", "two"):
        echo(repository, name, datatype="FP32")
    ensemble(repository, "echoes", {"IN": "FP32"}, {"OUT": "FP32"},
             [step("one", {"INPUT0": "IN"}, {"OUTPUT0": "x"}), step("two", {"INPUT0": "x"}, {"OUTPUT0": "OUT"})], rows=0)
    array = tensor([1, 2, 3])
    same(infer(deploy(repository), "echoes", {"IN": array})["OUT"], array)


def test_versions_of_members(deploy, repository):
    repository.scale("many", {1: 2.0, 2: 7.0}, extra="version_policy: { all { } }\n")
    for name, version in (("newest", -1), ("first", 1), ("second", 2)):
        ensemble(repository, name, {"IN": "FP32"}, {"OUT": "FP32"}, [step("many", {"INPUT0": "IN"}, {"OUTPUT0": "OUT"}, version)])
    server = deploy(repository)
    for name, factor in (("newest", 7), ("first", 2), ("second", 7)):
        ask(server, 1, model=name, factor=factor)


def test_many_at_once(serve, repository):
    repository.copy("add")
    members(repository)
    ensemble(repository, "diamond", {"IN": "FP32"}, {"OUT": "FP32"}, DIAMOND)
    server = serve(repository, "--threads=2")
    at_once(8, lambda i: [ask(server, *range(k, k + 1 + i % 4), model="diamond", factor=25) for k in range(10)])
    server.expect("diamond", success=80, fail=0)


def test_members_batch_what_ensembles_ask(deploy, repository):
    members(repository, "double", "triple", extra=ONE_INSTANCE + batching(preferred=[4], delay_us=HOUR))
    ensemble(repository, "chain", {"IN": "FP32"}, {"OUT": "FP32"}, CHAIN)
    server = deploy(repository)
    at_once(4, lambda i: ask(server, i))
    for name in ("double", "triple"):
        wait_batches(server, name, {4: 1})
    server.expect("chain", success=4)


# --- Caches ---


def test_an_ensembles_own_cache(deploy, repository):
    chain(repository, cached=True)
    server = deploy(repository)
    assert not is_hit(ask(server, 1, 2))
    reply = ask(server, 2, 1)
    assert is_hit(reply) and "age" in reply.headers
    assert runs(server, "double", "triple") == [2, 2]
    assert cache_status(ask(server, 3, 1))["detail"] == "1 of 2 rows"
    eventually(lambda: runs(server, "double", "triple") == [3, 3], "a run of the new row alone")
    wait_rows(server, "chain", lookups=6, hits=3, misses=3)


def test_caches_of_the_steps(deploy, repository):
    chain(repository, of_members=True)
    server = deploy(repository)
    for _ in range(3):
        assert "cache-status" not in ask(server, 1, 2).headers  # the header is the ensemble's, which has no cache
    server.expect("double", success=3, cache_hit=2, inference_count=2)
    server.expect("triple", success=3, cache_hit=2, inference_count=2)
    array = tensor([[1], [9]])
    same(infer(server, "double", {"INPUT0": array})["OUTPUT0"], array * 2)  # shared with those who ask the step itself
    server.expect("double", inference_count=3)


def test_caches_at_both_levels(deploy, repository):
    """What the ensemble does not know, its steps may."""
    chain(repository, cached=True, of_members=True)
    members(repository, "fivefold")
    ensemble(repository, "other", {"IN": "FP32"}, {"OUT": "FP32"},
             [CHAIN[0], step("fivefold", {"INPUT0": "between"}, {"OUTPUT0": "OUT"})], cached=True)
    server = deploy(repository)
    ask(server, 1, 2)
    ask(server, 2, 3, model="other", factor=10)
    server.expect("double", inference_count=3)
    assert is_hit(ask(server, 1)) and is_hit(ask(server, 3, model="other", factor=10))
    assert runs(server, "double", "triple", "fivefold") == [3, 2, 2]


def test_one_step_is_cached(deploy, repository):
    members(repository, "double", cached=True)
    members(repository, "triple")
    ensemble(repository, "chain", {"IN": "FP32"}, {"OUT": "FP32"}, CHAIN)
    server = deploy(repository)
    for _ in range(3):
        ask(server, 4)
    server.expect("double", inference_count=1)
    server.expect("triple", inference_count=3)


def test_cached_by_request(deploy, repository):
    chain(repository, cached=True, extra=cache_parameters(granularity="request"))
    server = deploy(repository)
    for values, hit in (([1, 2], False), ([1], False), ([1, 2], True)):
        assert is_hit(ask(server, *values)) == hit


def test_equal_requests_run_once(serve, repository):
    for name in ("one", "two"):
        echo(repository, name, rows=8, datatype="FP32", delay_ms=100)
    ensemble(repository, "echoes", {"IN": "FP32"}, {"OUT": "FP32"},
             [step("one", {"INPUT0": "IN"}, {"OUTPUT0": "x"}), step("two", {"INPUT0": "x"}, {"OUTPUT0": "OUT"})], cached=True)
    server = serve(repository, "--threads=2")
    at_once(10, lambda i: ask(server, *range(i % 3 + 1), model="echoes", factor=1))
    server.expect("echoes", success=10)
    assert runs(server, "one", "two") == [3, 3]


def test_in_either_store(deploy_on_either, repository):
    chain(repository, cached=True, of_members=True)
    server = deploy_on_either(repository)
    ask(server, 1, 2)
    wait_stored(server, 6)
    reply = ask(server, 2, 1)
    assert is_hit(reply) and cache_status(reply)["detail"] == server.store
    assert runs(server, "double", "triple") == [2, 2]


def test_an_answer_is_as_old_as_its_oldest_part(caching, repository):
    """The ensemble's own answers never expire, but those of its step do."""
    repository.copy("noise", cached=True, extra=cache_parameters(ttl=2))
    ensemble(repository, "noisy", {"IN": "FP32"}, {"OUT": "FP32"}, [step("noise", {"INPUT0": "IN"}, {"OUTPUT0": "OUT"})], cached=True)
    server = caching(repository)
    question = {"IN": tensor([[1]])}
    first = put(server, "noisy", question)
    again = put(server, "noisy", question)
    assert is_hit(again) and 0 <= cache_status(again)["ttl"] <= 2
    same(decode(again)["OUT"], decode(first)["OUT"])
    later = asked_until(lambda: put(server, "noisy", question), lambda status: status.get("fwd") in ("stale", "miss"), "the end")
    assert decode(later)["OUT"] != decode(first)["OUT"]


QUESTION = {"IN": tensor([[1]])}


def test_rows_that_a_step_mixes_by_its_own_word(deploy, repository):
    members(repository, "double", cached=True, extra=cache_parameters(granularity="request"))
    chain(repository, cached=True)
    repository.scale("double", {1: 2.0}, cached=True, extra=cache_parameters(granularity="request"))
    server = deploy(repository)
    for values, hit in (([1, 2], False), ([2, 1], False), ([1, 2], True)):
        assert is_hit(ask(server, *values)) == hit


def test_what_a_request_wants_of_the_caches_goes_for_the_steps(deploy, repository):
    repository.copy("noise", cached=True)
    ensemble(repository, "noisy", {"IN": "FP32"}, {"OUT": "FP32"}, [step("noise", {"INPUT0": "IN"}, {"OUTPUT0": "OUT"})])
    server = deploy(repository)

    def ask_noise(**headers):
        return decode(put(server, "noisy", {"IN": tensor([[1]])}, headers))["OUT"][0, 0]

    first = ask_noise()
    assert ask_noise() == first
    second = ask_noise(**{"cache-control": "no-cache"})
    assert second != first and ask_noise() == second
    assert put(server, "noisy", {"IN": tensor([[1]])}, parameters={"cache": "bypass"}).status == 200
    server.expect("noise", inference_count=3)


def test_rows_that_a_step_may_mix_are_cached_together(deploy, repository):
    """A model without batches gets the whole batch, and may make anything of it."""
    text = ('name: "flat"\nbackend: "echo"\ninput [ { name: "INPUT0", data_type: TYPE_FP32, dims: [ -1, -1 ] } ]\n'
            'output [ { name: "OUTPUT0", data_type: TYPE_FP32, dims: [ -1, -1 ] } ]\n')
    write_config(repository, "flat", text)
    ensemble(repository, "mixed", {"IN": "FP32"}, {"OUT": "FP32"}, [step("flat", {"INPUT0": "IN"}, {"OUTPUT0": "OUT"})], cached=True)
    server = deploy(repository)
    for values, hit in (([1, 2], False), ([1], False), ([1, 2], True), ([2], False)):
        assert is_hit(ask(server, *values, model="mixed", factor=1)) == hit


def test_a_step_without_batches(deploy, repository):
    echo(repository, "single", datatype="FP32")
    ensemble(repository, "rows", {"IN": "FP32"}, {"OUT": "FP32"}, [step("single", {"INPUT0": "IN"}, {"OUTPUT0": "OUT"})], cached=True)
    server = deploy(repository)
    ask(server, 5, model="rows", factor=1)
    reply = put(server, "rows", {"IN": tensor([[1], [2]])})
    assert reply.status == 400 and re.match("in ensemble 'rows', .*unexpected shape for input 'INPUT0' for model 'single'", reply.error)


def test_a_step_with_batches_in_an_ensemble_without(deploy, repository):
    members(repository, "double")
    ensemble(repository, "one", {"IN": "FP32"}, {"OUT": "FP32"}, [one({"INPUT0": "IN"}, {"OUTPUT0": "OUT"})], rows=0)
    ensemble(repository, "batch", {"IN": ("FP32", [-1, -1])}, {"OUT": ("FP32", [-1, -1])},
             [one({"INPUT0": "IN"}, {"OUTPUT0": "OUT"})], rows=0)
    server = deploy(repository)
    same(infer(server, "one", {"IN": tensor([1, 2])})["OUT"], tensor([2, 4]))
    same(infer(server, "batch", {"IN": tensor([[1, 2], [3, 4]])})["OUT"], tensor([[2, 4], [6, 8]]))


def test_other_weights_of_a_step_under_the_same_version(serve, repository, redis_server, tmp_path, models):
    """Servers that share a Redis do not share answers of ensembles whose members differ."""
    redis, other = redis_server(), Repository(tmp_path / "other", models)
    for place, factor in ((repository, 2.0), (other, 5.0)):
        place.scale("double", {1: factor})
        place.scale("triple", {1: 3.0})
        ensemble(place, "chain", {"IN": "FP32"}, {"OUT": "FP32"}, CHAIN, cached=True)
    servers = [serve(place, *redis.cache("lookup_timeout=5000"), "--threads=1")
               for place in (repository, other, repository)]
    for server in servers:
        wait_connected(server)
    ask(servers[0], 1)
    redis.wait_entries(1, "chain")
    ask(servers[1], 1, factor=15)
    redis.wait_entries(2, "chain")
    assert is_hit(ask(servers[2], 1)) and is_hit(ask(servers[1], 1, factor=15))


# --- Errors ---


@pytest.fixture
def table(deploy, repository):
    """A server of an ensemble whose second step fails for an index out of range."""
    def start(cached=False):
        repository.copy("embedding", cached=cached)
        repository.copy("identity_INT64", cached=cached)
        ensemble(repository, "table", {"IN": "INT64"}, {"OUT": ("FP32", [-1, 4])},
                 [step("identity_INT64", {"INPUT0": "IN"}, {"OUTPUT0": "index"}),
                  step("embedding", {"INDEX": "index"}, {"OUTPUT0": "OUT"})], cached=cached)
        return deploy(repository)

    return start


@pytest.mark.parametrize("cached", [False, True])
def test_the_error_of_a_step(table, cached):
    server = table(cached)
    alone = put(server, "embedding", {"INDEX": np.array([[99]])})
    for _ in range(2):
        reply = put(server, "table", {"IN": np.array([[99]])})
        assert (reply.status, reply.error) == (alone.status, f"in ensemble 'table', {alone.error}")
    server.expect("table", success=0, fail=2)
    server.expect("embedding", fail=3)
    for index in ([[3]], [[1], [3]]):
        same(infer(server, "table", {"IN": np.array(index)})["OUT"], TABLE[np.array(index)])
    server.expect("table", success=2, fail=2)


def test_a_bad_row_fails_only_its_request(table):
    server = table(cached=True)

    def work(i):
        index = np.random.default_rng(i).integers(-12, 12, (1 + i % 4, 1))
        good = bool(np.all((index >= -10) & (index < 10)))
        reply = put(server, "table", {"IN": index})
        assert (reply.status == 200) == good, (index, reply.body)
        if good:
            same(decode(reply)["OUT"], TABLE[index])

    at_once(24, work)


def test_a_step_that_takes_other_shapes(deploy, repository):
    repository.add("simple")
    ensemble(repository, "bent", {"A": "INT32"}, {"OUT": "INT32"},
             [step("simple", {"INPUT0": "A", "INPUT1": "A"}, {"OUTPUT0": "OUT"})])
    server = deploy(repository)
    reply = put(server, "bent", {"A": tensor([[1, 2]], "INT32")}, id="q5")
    assert reply.status == 400
    assert re.match(r"in ensemble 'bent', (\[request id: \S+\] )?unexpected shape for input 'INPUT[01]' for model 'simple'",
                    reply.error)
    array = tensor([range(16)], "INT32")
    same(infer(server, "bent", {"A": array})["OUT"], array * 2)


def test_what_the_ensemble_itself_refuses(deploy, repository):
    """Its clients' mistakes are found before any step, and told in its own name."""
    chain(repository)
    server = deploy(repository)
    for inputs, status, word in (({"WRONG": tensor([[1]])}, 400, "'chain'"), ({"IN": tensor([[1]], "INT32")}, 400, "'chain'"),
                                 ({"IN": tensor([[1]] * 9)}, 400, "'chain'")):
        reply = put(server, "chain", inputs)
        assert reply.status == status
        assert word in reply.error and "in ensemble" not in reply.error
    assert runs(server, "double", "triple") == [0, 0]


def test_a_full_queue_of_a_step(deploy, repository):
    echo(repository, rows=8, datatype="FP32", extra=ONE_INSTANCE + batching(policy="max_queue_size: 1"))
    members(repository, "double")
    ensemble(repository, "busy", {"IN": "FP32"}, {"OUT": "FP32"},
             [step("double", {"INPUT0": "IN"}, {"OUTPUT0": "x"}), step("echo", {"INPUT0": "x"}, {"OUTPUT0": "OUT"})])
    server = deploy(repository)
    held = hold(server, datatype="FP32")
    waiting = sent_echo(server, [[1]], datatype="FP32")
    wait_queued(server, "echo", 1)
    reply = put(server, "busy", {"IN": tensor([[1]])}, id="q")
    assert reply.status == 503
    assert re.fullmatch(r"in ensemble 'busy', \[request id: (q|<id_unknown>)\] Exceeds maximum queue size", reply.error)
    assert [connection.reply("POST").status for connection in (held, waiting)] == [200, 200]
    ask(server, 1, model="busy", factor=2)


@pytest.fixture
def busy(deploy, repository):
    """busy(policy): a server whose ensemble doubles, then waits for the only instance of model echo."""
    def start(policy=""):
        echo(repository, rows=8, datatype="FP32", extra=ONE_INSTANCE + batching(policy=policy))
        members(repository, "double")
        ensemble(repository, "busy", {"IN": "FP32"}, {"OUT": "FP32"},
                 [step("double", {"INPUT0": "IN"}, {"OUTPUT0": "x"}), step("echo", {"INPUT0": "x"}, {"OUTPUT0": "OUT"})])
        return deploy(repository)

    return start


def test_a_client_that_is_gone_leaves_the_queue_of_a_step(busy):
    server = busy()
    held = hold(server, milliseconds=700, datatype="FP32")
    with sent(server, "busy", {"IN": tensor([[1]])}):
        wait_queued(server, "echo", 1)
    wait_queued(server, "echo", 0)
    assert not first_ready([held], 0), "before its turn came"
    assert metric(server, "nv_inference_request_failure", model="echo", version="1", reason="CANCELED") == 1
    assert metric(server, "nv_inference_request_failure", model="busy", version="1", reason="CANCELED") == 1
    assert held.reply("POST").status == 200
    ask(server, 2, model="busy", factor=2)


def test_the_timeout_of_a_request_counts_for_its_steps(busy):
    server = busy(f"default_timeout_microseconds: {HOUR} allow_timeout_override: true")
    held = hold(server, milliseconds=700, datatype="FP32")
    reply = put(server, "busy", {"IN": tensor([[1]])}, parameters={"timeout": 50000})
    assert (reply.status, reply.error) == (503, "in ensemble 'busy', Request timeout expired")
    assert not first_ready([held], 0), "while the instance is busy"
    held.reply("POST")


def test_who_may_wait_less_does_not_join(deploy, repository):
    policy = f"default_timeout_microseconds: {HOUR} allow_timeout_override: true"
    echo(repository, rows=8, datatype="FP32", extra=ONE_INSTANCE + batching(policy=policy))
    ensemble(repository, "cached", {"IN": "FP32"}, {"OUT": "FP32"}, [step("echo", {"INPUT0": "IN"}, {"OUTPUT0": "OUT"})], cached=True)
    server = deploy(repository)
    held = hold(server, milliseconds=900, datatype="FP32")
    leader = sent(server, "cached", QUESTION)
    wait_queued(server, "echo", 1)
    assert put(server, "cached", QUESTION, parameters={"timeout": 50000}).status == 503
    assert not first_ready([held, leader], 0), "while the instance is busy"
    assert [connection.reply("POST").status for connection in (held, leader)] == [200, 200]


def test_an_error_does_not_wait_for_the_other_steps(deploy, repository):
    echo(repository, rows=8, datatype="INT64")
    repository.copy("embedding")
    ensemble(repository, "both", {"IN": "INT64"}, {"ROW": ("FP32", [-1, 4]), "SAME": "INT64"},
             [step("echo", {"INPUT0": "IN"}, {"OUTPUT0": "SAME"}), step("embedding", {"INDEX": "IN"}, {"OUTPUT0": "ROW"})])
    server = deploy(repository)
    held = hold(server, milliseconds=700, datatype="INT64")
    assert put(server, "both", {"IN": tensor([[99]], "INT64")}).status >= 400
    assert not first_ready([held], 0), "while the instance is busy"
    wait_queued(server, "echo", 0)
    held.reply("POST")
    server.expect("echo", success=1, fail=1)


# --- Members that change ---


@pytest.mark.parametrize("of_members", [False, True])
def test_reload_of_a_member(serve, repository, of_members):
    """The ensemble uses the new member, and serves no answers of the old one."""
    chain(repository, cached=True, of_members=of_members)
    server = serve(repository, EXPLICIT, "--load-model=*")
    for factor in (2.0, 5.0, 2.0):
        repository.scale("double", {1: factor}, cached=of_members)
        server.load("double")
        for _ in range(2):
            ask(server, 1, 2, factor=3 * factor)
    assert server.ready("chain")


def test_reload_of_a_members_member(serve, repository):
    chain(repository, cached=True)
    steps = [step("chain", {"IN": "IN"}, {"OUT": "inner"}), step("double", {"INPUT0": "inner"}, {"OUTPUT0": "OUT"})]
    ensemble(repository, "outer", {"IN": "FP32"}, {"OUT": "FP32"}, steps, cached=True)
    server = serve(repository, EXPLICIT, "--load-model=*")
    for factor in (3.0, 4.0, 3.0):
        repository.scale("triple", {1: factor})
        server.load("triple")
        for _ in range(2):
            ask(server, 1, model="outer", factor=4 * factor)


def test_a_new_version_of_a_member(serve, repository):
    chain(repository, cached=True)
    server = serve(repository, EXPLICIT, "--load-model=*")
    ask(server, 1)
    repository.scale("triple", {2: 7.0})
    server.load("triple")
    ask(server, 1, factor=14)


def test_a_member_that_changes_its_shape(serve, repository):
    """The ensemble cannot go on with it: it says so, or the load is refused; it never answers wrongly."""
    chain(repository)
    server = serve(repository, EXPLICIT, "--load-model=*")
    shutil.move(repository.path / "double", repository.path.parent / "before")
    repository.copy("identity_INT64", "double")
    status = server.post("/v2/repository/models/double/load").status
    reply = server.post(infer_path("chain"), *encode({"IN": tensor([[1]])}))
    if status == 200:
        assert reply.status >= 400 and reply.error
    else:
        same(decode(reply)["OUT"], tensor([[6]]))
    assert server.get("/v2/health/live").status == 200


def test_reloads_in_poll_mode(serve, repository):
    chain(repository, cached=True)
    server = serve(repository, "--model-control-mode=poll", "--repository-poll-secs=1")
    ask(server, 1)
    repository.scale("double", {1: 5.0})

    def changed():
        answer = infer(server, "chain", {"IN": tensor([[1.0]])})["OUT"][0, 0]
        assert answer in (6.0, 15.0)
        return answer == 15.0

    eventually(changed, "the new member")
    ask(server, 1, factor=15)


def test_reloads_under_load_lose_nothing(serve, repository):
    chain(repository, cached=True, of_members=True)
    server = serve(repository, EXPLICIT, "--load-model=*", "--threads=2")
    over, failed, counts = threading.Event(), [], [0, 0, 0]

    def work(i):
        try:
            while not over.is_set():
                answer = infer(server, "chain", {"IN": tensor([[1.0], [float(i)]])})["OUT"]
                assert set(answer[:, 0]) <= {factor * value for factor in (6.0, 15.0) for value in (1.0, float(i))}, answer
                counts[i] += 1
        except BaseException as failure:
            failed.append(failure)

    threads = [threading.Thread(target=work, args=[i]) for i in range(3)]
    for thread in threads:
        thread.start()
    for factor in (5.0, 2.0) * 3:
        repository.scale("double", {1: factor}, cached=True)
        server.load("double")
        ask(server, 1, factor=3 * factor)
    over.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert not failed, failed[0]
    assert min(counts) > 0


def test_unload_of_a_member(serve, repository):
    chain(repository, cached=True)
    server = serve(repository, EXPLICIT, "--load-model=*")
    ask(server, 1)
    server.unload("triple")
    eventually(lambda: server.index()[("chain", "1")] == ("UNAVAILABLE", "unloaded"), "the ensemble's end")
    assert not server.ready("chain") and server.ready("double")
    reply = server.post(infer_path("chain"), *encode({"IN": tensor([[1]])}))
    assert reply.status == 404 and reply.error  # and no old answer
    server.load("triple")
    server.load("chain")
    ask(server, 1)


def test_an_ensemble_comes_back_with_its_member(serve, repository):
    chain(repository, cached=True)
    ensemble(repository, "outer", {"IN": "FP32"}, {"OUT": "FP32"}, [step("chain", {"IN": "IN"}, {"OUT": "OUT"})])
    server = serve(repository, EXPLICIT, "--load-model=*")
    server.unload("triple")
    assert not server.ready("chain") and not server.ready("outer")
    server.load("triple")
    ask(server, 1)
    ask(server, 1, model="outer")
    server.unload("chain")
    server.unload("triple")
    server.load("triple")
    assert not server.ready("chain")  # it was itself unloaded by request


def test_a_load_of_an_ensemble_takes_changed_members(serve, repository):
    chain(repository, cached=True)
    server = serve(repository, EXPLICIT, "--load-model=*")
    ask(server, 1)
    repository.scale("double", {1: 5.0})
    server.load("chain")
    ask(server, 1, factor=15)


def test_unload_dependents(serve, repository):
    """Members that were loaded for the ensemble alone go with it."""
    chain(repository)
    ensemble(repository, "other", {"IN": "FP32"}, {"OUT": "FP32"}, [GOOD])
    server = serve(repository, EXPLICIT, "--load-model=chain")
    body = json.dumps({"parameters": {"unload_dependents": True}})
    assert server.post("/v2/repository/models/chain/unload", body.encode()).status == 200
    assert not any(server.ready(name) for name in ("chain", "double", "triple"))
    server.load("triple")
    server.load("chain")
    server.load("other")
    assert server.post("/v2/repository/models/chain/unload", body.encode()).status == 200
    assert server.ready("double"), "another ensemble uses it"
    assert server.ready("triple"), "it was asked for"
    ask(server, 1, model="other", factor=2)
    reply = server.post("/v2/repository/models/other/unload", b'{"parameters": {"unload_dependents": 1}}')
    assert reply.status == 500 and reply.error == "attempt to access JSON non-boolean as boolean"


def test_unload_of_an_ensemble_leaves_its_members(serve, repository):
    chain(repository)
    server = serve(repository, EXPLICIT, "--load-model=*")
    server.unload("chain")
    same(infer(server, "double", {"INPUT0": tensor([[1]])})["OUTPUT0"], tensor([[2]]))
    server.load("chain")
    ask(server, 1)


def test_load_of_an_ensemble_whose_members_are_not(serve, repository):
    """The load takes its members along, as Triton does, or names the missing ones."""
    chain(repository)
    server = serve(repository, EXPLICIT)
    reply = server.post("/v2/repository/models/chain/load")
    if reply.status != 200:
        assert "double" in reply.error or "triple" in reply.error
        for name in ("double", "triple", "chain"):
            server.load(name)
    ask(server, 1)


def test_unload_while_a_request_is_between_its_steps(serve, repository):
    for name in ("one", "two"):
        echo(repository, name, rows=8, datatype="FP32", delay_ms=300)
    ensemble(repository, "slow", {"IN": "FP32"}, {"OUT": "FP32"},
             [step("one", {"INPUT0": "IN"}, {"OUTPUT0": "x"}), step("two", {"INPUT0": "x"}, {"OUTPUT0": "OUT"})])
    server = serve(repository, EXPLICIT, "--load-model=*", ONE_THREAD)
    waiting = [sent(server, "slow", {"IN": tensor([[value]])}) for value in (1.0, 2.0)]
    server.unload("slow")
    server.post("/v2/repository/models/two/unload")
    for connection, value in zip(waiting, (1.0, 2.0), strict=True):
        same(decode(connection.reply("POST"))["OUT"], tensor([[value]]))


# --- Configurations ---


FP32 = {"IN": "FP32"}, {"OUT": "FP32"}
BAD = {  # what is wrong: inputs, outputs, steps, options, the reason
    "empty": (*FP32, [], {}, "must specify 'step' for ensemble 'empty'"),
    "unnamed": (*FP32, [step("", {"INPUT0": "IN"}, {"OUTPUT0": "OUT"})], {}, "must specify 'model_name' in step 0 of ensemble 'unnamed'"),
    "unknown_models": (*FP32, [step("nobody", {"INPUT0": "IN"}, {"OUTPUT0": "x"}), step("no_one", {"INPUT0": "x"}, {"OUTPUT0": "OUT"})],
                       {}, "ensemble unknown_models contains models that are not available or ambiguous: no_one, nobody"),
    "far_away": (*FP32, [step("../models/double", {"INPUT0": "IN"}, {"OUTPUT0": "OUT"})], {},
                 "ensemble far_away contains models that are not available or ambiguous: ../models/double"),
    "unknown_version": (*FP32, [one({"INPUT0": "IN"}, {"OUTPUT0": "OUT"}, 9)], {},
                        "ensemble 'unknown_version' depends on 'double' whose required version 9 is not loaded"),
    "no_version": (*FP32, [one({"INPUT0": "IN"}, {"OUTPUT0": "OUT"}, 0)], {},
                   "ensemble 'no_version' depends on 'double' whose required version 0 is not loaded"),
    "snake": (*FP32, [step("snake", {"IN": "IN"}, {"OUT": "OUT"})], {}, "circular dependency between ensembles: snake -> ... -> snake -> snake"),
    "head": (*FP32, [step("tail", {"IN": "IN"}, {"OUT": "OUT"})], {}, "circular dependency between ensembles: head -> ... -> tail -> head"),
    "tail": (*FP32, [step("head", {"IN": "IN"}, {"OUT": "OUT"})], {}, "circular dependency between ensembles: tail -> ... -> head -> tail"),
    "above_bad": (*FP32, [step("never_used", {"IN": "IN", "SPARE": "IN"}, {"OUT": "OUT"})], {},
                  "ensemble 'above_bad' depends on 'never_used' which has no loaded version. Model 'never_used' loading failed with error: ensemble input 'SPARE'"),
    "deaf": (*FP32, [one({}, {"OUTPUT0": "OUT"})], {}, "must specify 'input_map' in step 0 of ensemble 'deaf'"),
    "mute": (*FP32, [GOOD, one({"INPUT0": "IN"}, {})], {}, "must specify 'output_map' in step 1 of ensemble 'mute'"),
    "strange_input": (*FP32, [one({"INPUT0": "IN", "INPUT7": "IN"}, {"OUTPUT0": "OUT"})], {},
                      "in ensemble strange_input, ensemble tensor IN is mapping to non-existing input INPUT7 in model double"),
    "strange_output": (*FP32, [one({"INPUT0": "IN"}, {"OUTPUT7": "OUT"})], {},
                       "in ensemble strange_output, ensemble tensor OUT is mapped from non-existing output OUTPUT7 in model double"),
    "half_fed": (*FP32, [step("add", {"INPUT0": "IN"}, {"OUTPUT0": "OUT"})], {},
                 "in ensemble half_fed, input INPUT1 in model add is not mapped to any ensemble tensors"),
    "unconnected": (*FP32, [step("add", {"INPUT0": "IN", "INPUT1": "phantom"}, {"OUTPUT0": "OUT"})], {},
                    "output 'OUT' for ensemble 'unconnected' is not written: at least one of its depending tensors, 'phantom', is not connected"),
    "never_made": ({"IN": "FP32"}, {"OUT": "FP32", "MORE": "FP32"}, [GOOD], {}, "ensemble output 'MORE' for ensemble 'never_made' is not used"),
    "never_used": ({"IN": "FP32", "SPARE": "FP32"}, {"OUT": "FP32"}, [GOOD], {}, "ensemble input 'SPARE' for ensemble 'never_used' is not used"),
    "made_for_none": (*FP32, [GOOD, one({"INPUT0": "IN"}, {"OUTPUT0": "leftover"})], {}, "ensemble tensor 'leftover' is unused in ensemble 'made_for_none'"),
    "made_twice": (*FP32, [GOOD, GOOD], {}, "ensemble tensor 'OUT' can appear in an output map only once for ensemble 'made_twice' step 1"),
    "circle": (*FP32, [one({"INPUT0": "a"}, {"OUTPUT0": "b"}), one({"INPUT0": "b"}, {"OUTPUT0": "a"}), GOOD], {}, "ensemble tensor 'a' is unused"),
    "type_in": ({"IN": "INT32"}, {"OUT": "FP32"}, [GOOD], {},
                "in ensemble type_in, ensemble tensor IN: inconsistent data type: TYPE_INT32 is inferred from model type_in while "
                "TYPE_FP32 is inferred from model double"),
    "type_out": ({"IN": "FP32"}, {"OUT": "INT32"}, [GOOD], {}, "ensemble tensor OUT: inconsistent data type"),
    "rank": ({"IN": ("FP32", [-1, 4])}, {"OUT": "FP32"}, [GOOD], {},
             r"in ensemble rank, ensemble tensor IN: inconsistent shape: \[-1,-1,4\] is inferred from model rank while \[-1,-1\] is inferred from model double"),
    "too_many_rows": (*FP32, [GOOD], {"rows": 99}, "ensemble too_many_rows allows maximum batch size 99, but it contains model double which only allows maximum batch size to be 8"),
    "two_schedulers": (*FP32, [GOOD], {"extra": "dynamic_batching { }\n"}, "dynamic_batching"),
    "two_of_it": (*FP32, [GOOD], {"extra": ONE_INSTANCE}, "instance group should not be specified for ensemble 'two_of_it'"),
    "optimized": (*FP32, [GOOD], {"extra": "optimization { graph { level: 1 } }\n"}, "optimization should not be specified for ensemble 'optimized'"),
    "warm": (*FP32, [GOOD], {"extra": 'model_warmup [ { name: "w" batch_size: 1 } ]\n'}, "model_warmup can not be specified for ensemble 'warm'"),
    "with_backend": (*FP32, [GOOD], {"extra": 'backend: "onnxruntime"\n'}, "Ensemble model 'with_backend' must have platform type 'ensemble' and empty backend type"),
}


def test_wrong_configs(serve, repository):
    repository.copy("add")
    members(repository, "double")
    for name, (inputs, outputs, steps, options, _) in BAD.items():
        ensemble(repository, name, inputs, outputs, steps, **options)
    server = serve(repository, EXPLICIT, "--load-model=double")
    for name, (*_, reason) in BAD.items():
        reply = server.post(f"/v2/repository/models/{name}/load")
        assert reply.status in (400, 500), f"{name}: {reply.body}"
        if reply.status == 400:
            assert f"load failed for model '{name}'" in reply.error and re.search(reason, reply.error), reply.error
        else:
            server.wait_log(f"'{name}'.*{reason}")
        assert not server.ready(name)
    ensemble(repository, "right", *FP32, [GOOD])
    server.load("right")
    ask(server, 1, model="right", factor=2)


def test_a_broken_ensemble_does_not_take_others_along(start, repository):
    chain(repository)
    inputs, outputs, steps, options, _ = BAD["unknown_models"]
    ensemble(repository, "unknown_models", inputs, outputs, steps, **options)
    server = start(repository, "--exit-on-error=false")
    ask(server, 1)
    assert not server.ready("unknown_models")
