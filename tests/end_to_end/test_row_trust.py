"""Rows are told apart only where a config promises it, and the promise is audited. The expected answer is numpy's for
the whole request."""

import os
import shutil

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from support import CACHE, decode, eventually
from traffic import ONE_INSTANCE, batching, cache_parameters, cache_status, ensemble, is_hit, many, metric, put, sent, step, wait_queued

pytestmark = pytest.mark.threads

RANDOM = np.random.default_rng(11)
WEIGHTS = RANDOM.integers(-128, 127, (4, 4)).astype(np.int8)
SCALES = [1, 50, 3, 0.1, 7]
POOL = [(RANDOM.standard_normal((1, 4)) * scale).astype(np.float32) for scale in SCALES]
STORES = ["local", "redis", "tiered"]


# --- Models that break the promise, and one that keeps it ---


def constant(name, *values):
    return numpy_helper.from_array(np.array(values, np.int64), name)


def scalar(name, value):
    return numpy_helper.from_array(np.array(value, np.int64), name)


NODES = {
    "keeps": ([("Relu", "x", "y", {})], []),
    "transposes": ([("Transpose", "x", "y", {"perm": [1, 0]})], []),
    "reduces": ([("ReduceMean", "x", "mean", {"axes": [0], "keepdims": 1}), ("Sub", "x mean", "y", {})], []),
    "normalizes": ([("Softmax", "x", "y", {"axis": 0})], []),
    "counts": ([("Shape", "x", "shape", {}), ("Cast", "shape", "counts", {"to": TensorProto.FLOAT}), ("Gather", "counts zero", "rows", {"axis": 0}),
                ("Add", "x rows", "y", {})], [constant("zero", 0)]),
    "permutes": ([("Slice", "x from to axis by", "y", {})], [constant("from", -1), constant("to", -100), constant("axis", 0), constant("by", -1)]),
    "quantizes": ([("DynamicQuantizeLinear", "x", "q scale zero", {}), ("MatMulInteger", "q w zero", "i", {}),
                   ("Cast", "i", "f", {"to": TensorProto.FLOAT}), ("Mul", "f scale", "y", {})], [numpy_helper.from_array(WEIGHTS, "w")]),
    "selects": ([("ReduceMax", "x", "most", {"axes": [1], "keepdims": 0}), ("Greater", "most zero", "mask", {}),
                 ("Compress", "x mask", "y", {"axis": 0})], [numpy_helper.from_array(np.float32(1), "zero")]),
    "numbers": ([("Shape", "x", "shape", {}), ("Gather", "shape zero", "rows", {"axis": 0}), ("Range", "zero rows one", "i", {}),
                 ("Div", "i seven", "which", {}), ("Cast", "which", "f", {"to": TensorProto.FLOAT}), ("Unsqueeze", "f last", "column", {}),
                 ("Add", "x column", "y", {})], [scalar("zero", 0), scalar("one", 1), scalar("seven", 7), constant("last", 1)]),
    "refuses": ([("Gather", "x second", "row", {"axis": 0}), ("Mul", "row nothing", "zeros", {}), ("Add", "x zeros", "y", {})],
                [constant("second", 1), numpy_helper.from_array(np.zeros((1, 1), np.float32), "nothing")]),
}


def softmax(x):
    raised = np.exp(x - x.max(0))
    return raised / raised.sum(0)


def quantized(x):
    low, high = min(0, x.min()), max(0, x.max())
    scale = np.float32((high - low) / 255)
    zero = np.clip(np.rint(-low / scale), 0, 255)
    q = np.clip(np.rint(x / scale) + zero, 0, 255)
    return ((q - zero) @ WEIGHTS.astype(np.float64) * scale).astype(np.float32)


TRUTH = {"keeps": lambda x: np.maximum(x, 0), "transposes": lambda x: x.T, "reduces": lambda x: x - x.mean(0, keepdims=True),
         "normalizes": softmax, "counts": lambda x: x + np.float32(len(x)), "permutes": lambda x: x[::-1], "quantizes": quantized,
         "selects": lambda x: x[x.max(1) > 1], "numbers": lambda x: x + (np.arange(len(x)) // 7)[:, None], "refuses": lambda x: x}
ALWAYS = sorted(set(NODES) - {"refuses"})  # with any number of rows
BREAKS = sorted(set(ALWAYS) - {"keeps", "numbers"})


def write(repository, kind, name=None, config=""):
    nodes, constants = NODES[kind]
    shape = ["rows", "width"]
    graph = helper.make_graph([helper.make_node(operator, ins.split(), outs.split(), **more) for operator, ins, outs, more in nodes], "g",
                              [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "m"])], constants)
    place = repository.path / (name or kind)
    (place / "1").mkdir(parents=True)
    (place / "1" / "model.onnx").write_bytes(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)]).SerializeToString())
    (place / "config.pbtxt").write_text(config)


def batch(*numbers):
    return np.concatenate([POOL[number] for number in numbers])


def ask(server, model, x, kind=None, **options):
    """Asks, checks that the answer is the model's for this very request, and returns the reply."""
    reply = put(server, model, {"x": x}, **options)
    expected = TRUTH[kind or model](x)
    answer = decode(reply)["y"]
    assert answer.shape == expected.shape, (model, x, answer, reply.headers.get("cache-status"))
    np.testing.assert_allclose(answer, expected, rtol=1e-3, atol=1e-4 * max(1, np.abs(expected).max(initial=0)), err_msg=str(reply.headers.get("cache-status")))
    return reply


def mixed(server, models, clients=4, questions=24):
    """Clients ask all models, at the same time, questions that have rows in common."""
    def client(number):
        random = np.random.default_rng(number)
        for _ in range(questions):
            for model, kind in models:
                ask(server, model, batch(*random.integers(0, len(POOL), random.integers(1, 5))), kind)

    many(clients, client, clients)


@pytest.fixture(params=STORES)
def store(request, redis_server):
    """Options of a server for each store."""
    if request.param == "local":
        return ["--cache-config=local,size=64MB"]
    redis = redis_server()
    redis_options = redis.cache("lookup_timeout=5000")
    return redis_options if request.param == "redis" else ["--cache-config=local,size=64MB", *redis_options]


def standing(server, model):
    """The model's granularity in /v2/cache, and the reason for it."""
    models = server.get("/v2/cache", port=server.metrics_port).json["models"]
    (found,) = [entry for entry in models if entry["name"] == model]
    return found["granularity"], found["rows"]


# --- A guess is no promise ---


def test_guessed_rows_are_not_told_apart(serve, repository, store):
    for kind in ALWAYS:
        write(repository, kind, config=CACHE)
    server = serve(repository, *store)
    mixed(server, [(kind, kind) for kind in ALWAYS])
    for kind in ALWAYS:
        assert standing(server, kind) == ("request", "guessed")
        assert metric(server, "hippocamp_audits_total", model=kind, version="1") == 0


def test_guessed_requests_do_not_run_together(serve, repository):
    """Without any cache, with requests that wait for an instance."""
    for kind in ALWAYS:
        write(repository, kind)
    server = serve(repository, "--cache-config=none")
    config = server.get("/v2/models/reduces/config").json
    assert config["max_batch_size"] == 4 and "dynamic_batching" in config, "clients are told what Triton tells them"
    mixed(server, [(kind, kind) for kind in ALWAYS], clients=8, questions=12)
    for kind in ALWAYS:
        (entry,) = server.get(f"/v2/models/{kind}/stats").json["model_stats"]
        assert entry["execution_count"] == entry["inference_stats"]["success"]["count"] == 8 * 12


def test_zero_that_is_stated_stops_the_guess(serve, repository):
    write(repository, "keeps", config="max_batch_size: 0\n" + CACHE)
    server = serve(repository, "--cache-config=local,size=64MB")
    assert server.get("/v2/models/keeps/config").json["max_batch_size"] == 0
    assert server.get("/v2/models/keeps").json["inputs"][0]["shape"] == [-1, -1]
    ask(server, "keeps", batch(*[0] * 9))  # more than a guess would allow
    assert standing(server, "keeps") == ("request", "none")


@pytest.mark.parametrize("config", ["max_batch_size: 8\n", "dynamic_batching { }\n", cache_parameters(granularity="row")], ids=["size", "batching", "granularity"])
def test_what_is_stated_is_a_promise(serve, repository, config):
    write(repository, "keeps", config=config + CACHE)
    server = serve(repository, "--cache-config=local,size=64MB")
    ask(server, "keeps", batch(0, 1, 2))
    assert cache_status(ask(server, "keeps", batch(3, 1, 0)))["detail"] == "2 of 3 rows"
    assert standing(server, "keeps") == ("row", "stated")


# --- A promise is audited ---


def test_broken_promises_are_found(serve, repository, store):
    for kind in BREAKS:
        write(repository, kind, config="max_batch_size: 8\n" + CACHE)
    server = serve(repository, *store)
    mixed(server, [(kind, kind) for kind in BREAKS])
    for kind in BREAKS:
        granularity, rows = standing(server, kind)
        assert granularity == "request" and rows in ("misshapen", "dependent"), kind
        assert len(server.lines(rf"^W.*'{kind}' version 1 does not keep the rows of a batch apart")) == 1
    assert metric(server, "hippocamp_audit_mismatches_total", model="quantizes", version="1") >= 1


@pytest.mark.parametrize("cached", [False, True], ids=["uncached", "cached"])
def test_broken_promises_of_dynamic_batching(serve, repository, cached):
    """Requests of several clients run together, with or without a cache of whole requests."""
    config = "max_batch_size: 8\n" + batching(delay_us=3000) + (CACHE + cache_parameters(granularity="request") if cached else "")
    for kind in BREAKS:
        write(repository, kind, config=config)
    server = serve(repository, "--cache-config=local,size=64MB")
    mixed(server, [(kind, kind) for kind in BREAKS], clients=8, questions=12)
    for kind in ("reduces", "normalizes", "counts", "quantizes"):
        assert metric(server, "hippocamp_audit_mismatches_total", model=kind, version="1") >= 1, kind


def test_kept_promises_are_trusted(serve, repository, store):
    write(repository, "keeps", config="max_batch_size: 8\n" + CACHE)
    server = serve(repository, *store)
    mixed(server, [("keeps", "keeps")])
    assert standing(server, "keeps") == ("row", "stated")
    assert metric(server, "hippocamp_audits_total", model="keeps", version="1") == 8
    assert metric(server, "hippocamp_audit_mismatches_total", model="keeps", version="1") == 0
    assert not server.lines("does not keep the rows")


def test_every_row_of_the_first_answers_is_audited(serve, repository):
    """Only the eighth row of a batch depends on where it is."""
    write(repository, "numbers", config="max_batch_size: 8\n" + CACHE)
    server = serve(repository, "--cache-config=local,size=64MB")
    ask(server, "numbers", RANDOM.standard_normal((7, 4)).astype(np.float32)[:4])
    x = RANDOM.standard_normal((8, 4)).astype(np.float32)
    for rows in (x, x[7:], x[::-1].copy()):
        ask(server, "numbers", rows)
    assert standing(server, "numbers") == ("request", "dependent")


def test_a_row_that_does_not_run_alone(serve, repository):
    """Without an audit's verdict, rows are not put together."""
    write(repository, "refuses", config="max_batch_size: 8\n" + CACHE)
    server = serve(repository, "--cache-config=local,size=64MB")
    for numbers in ((0, 1, 2), (2, 1), (0, 2), (3, 0)):
        ask(server, "refuses", batch(*numbers))
    assert put(server, "refuses", {"x": batch(0)}).status == 500, "as without a cache"
    assert standing(server, "refuses") == ("request", "dependent")


def test_only_if_cached_is_audited(serve, repository):
    """Rows that ran alone are no answer to the request that asks for them together."""
    write(repository, "reduces", config="max_batch_size: 8\n" + CACHE)
    server = serve(repository, "--cache-config=local,size=64MB")
    for number in range(4):
        ask(server, "reduces", batch(number))
    for numbers in ((0, 1), (2, 3), (3, 1, 0)):
        reply = put(server, "reduces", {"x": batch(*numbers)}, headers={"Cache-Control": "only-if-cached"})
        assert reply.status == 504


@pytest.mark.parametrize("first, second", [((0, 1), (1,)), ((0, 0, 1), (0, 1)), ((0,), (1, 0)), ((0, 1), (1, 0))])
def test_the_second_question_already(serve, repository, first, second):
    """Rows that ran in a batch are asked for alone, and rows that ran alone are asked for together."""
    write(repository, "reduces", config="max_batch_size: 8\n" + CACHE)
    server = serve(repository, "--cache-config=local,size=64MB")
    for numbers in (first, (1,), second, first):
        ask(server, "reduces", batch(*numbers))


def test_row_entries_of_a_broken_promise_go(serve, repository, redis_server):
    """No server finds them, even one that has not yet found the promise broken."""
    write(repository, "reduces", config="max_batch_size: 8\n" + CACHE)
    redis = redis_server()
    server = serve(repository, *redis.cache())
    eventually(lambda: is_hit(ask(server, "reduces", batch(0))), "a connection to Redis")
    for number in range(3):
        ask(server, "reduces", batch(number))
    redis.wait_entries(3, "reduces")
    ask(server, "reduces", batch(0, 1))
    eventually(lambda: not redis.entries("reduces"), "the purge of what was kept by row")
    eventually(lambda: is_hit(ask(server, "reduces", batch(0, 1))), "a hit of the whole")


def test_a_purge_that_fails_is_made_later(serve, repository, redis_server):
    write(repository, "reduces", config="max_batch_size: 8\n" + CACHE)
    redis = redis_server()
    server = serve(repository, *redis.cache("lookup_timeout=200"))
    eventually(lambda: is_hit(ask(server, "reduces", batch(0))), "a connection to Redis")
    old = redis.wait_entries(1, "reduces")
    redis.pause()
    try:
        ask(server, "reduces", batch(0, 1))
        assert standing(server, "reduces") == ("request", "dependent")
    finally:
        redis.resume()

    def gone():
        ask(server, "reduces", batch(0, 1))
        return not set(old) & set(redis.entries("reduces"))

    eventually(gone, "the purge")
    eventually(lambda: is_hit(ask(server, "reduces", batch(0, 1))), "a hit of the whole")


def test_audits_do_not_change_what_is_reported(serve, repository):
    """Cache-Status, statistics and runs are those of the answer."""
    write(repository, "keeps", config="max_batch_size: 8\n" + CACHE)
    server = serve(repository, "--cache-config=local,size=64MB")
    ask(server, "keeps", batch(0, 1))
    assert cache_status(ask(server, "keeps", batch(1, 2)))["detail"] == "1 of 2 rows"
    assert is_hit(ask(server, "keeps", batch(2, 1, 0)))
    server.expect("keeps", success=3, inference_count=3, execution_count=2, cache_hit=1, cache_miss=2)
    assert metric(server, "hippocamp_audits_total", model="keeps", version="1") == 4  # two rows, and two answers


def test_audits_can_be_turned_off(serve, repository):
    write(repository, "keeps", config="max_batch_size: 8\n" + CACHE + cache_parameters(audit=0))
    write(repository, "keeps", "others", config="max_batch_size: 8\n" + CACHE)
    server = serve(repository, "--cache-config=local,size=64MB", "--cache-config=local,audit=2")
    for model in ("keeps", "others"):
        for numbers in ((0, 1), (1, 2), (2, 0), (3, 4, 1)):
            ask(server, model, batch(*numbers), "keeps")
    assert metric(server, "hippocamp_audits_total", model="keeps", version="1") == 0
    assert metric(server, "hippocamp_audits_total", model="others", version="1") == 2


def test_tolerance(serve, repository):
    """A quantized model is some percent off, which its owner may allow."""
    write(repository, "quantizes", config="max_batch_size: 8\n" + CACHE + cache_parameters(audit_tolerance=0.5, audit=100))
    server = serve(repository, "--cache-config=local,size=64MB")
    for numbers in ((0, 1), (1, 2), (3, 4)):
        assert put(server, "quantizes", {"x": batch(*numbers)}).status == 200
    assert standing(server, "quantizes") == ("row", "stated")
    assert metric(server, "hippocamp_audit_differences_total", model="quantizes", version="1") > 0
    assert metric(server, "hippocamp_audit_mismatches_total", model="quantizes", version="1") == 0


# --- Ensembles ---


def test_an_ensemble_is_as_good_as_its_models(serve, repository):
    for kind in ("keeps", "reduces"):
        write(repository, kind, config="max_batch_size: 8\n")
        write(repository, kind, "guessed_" + kind)
        for name in (kind, "guessed_" + kind):
            ensemble(repository, "of_" + name, {"x": ("FP32", [4])}, {"y": ("FP32", [4])}, [step(name, {"x": "x"}, {"y": "y"})],
                     rows=8 if name == kind else 4, cached=True)
    server = serve(repository, "--cache-config=local,size=64MB")
    mixed(server, [("of_" + name, kind) for kind in ("keeps", "reduces") for name in (kind, "guessed_" + kind)])
    assert standing(server, "of_keeps") == ("row", "stated")
    assert standing(server, "of_reduces") == ("request", "member")
    assert standing(server, "of_guessed_keeps") == ("request", "member")


def write_quiet(repository, name):
    """Rows depend on each other only where numbers are large; of very large ones `z` has fewer columns."""
    nodes = [("Abs", "x", "size", {}), ("ReduceMax", "size", "most", {"keepdims": 0}), ("Max", "most hundred", "by", {}),
             ("Div", "x by", "y", {}), ("Less", "most huge", "less", {}), ("Cast", "less", "one_or_none", {"to": TensorProto.INT64}),
             ("Add", "one_or_none ones", "to", {}), ("Slice", "x from to axis", "z", {})]
    constants = [constant("ones", 1), constant("from", 0), constant("axis", 1),
                 *(numpy_helper.from_array(np.float32(value), name) for name, value in (("hundred", 100), ("huge", 5000)))]
    rows = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 2])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width]) for name, width in (("y", 2), ("z", "w"))]
    graph = helper.make_graph([helper.make_node(operator, ins.split(), outs.split(), **more) for operator, ins, outs, more in nodes], "g",
                              [rows], outputs, constants)
    (repository.path / name / "1").mkdir(parents=True)
    (repository.path / name / "1" / "model.onnx").write_bytes(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)]).SerializeToString())
    (repository.path / name / "config.pbtxt").write_text("max_batch_size: 8\n" + CACHE + cache_parameters(audit=1))


QUIET, SMALL, LOUD, HUGE = (np.array([values], np.float32) for values in ((1, 2), (3, 4), (1000, 5), (9000, 6)))


def touch(repository, name):
    os.utime(repository.path / name / "1" / "model.onnx")


@pytest.mark.parametrize("reload", ["", "member", "both", "version"])
def test_whole_answers_of_an_ensemble_go_with_its_members_trust(serve, repository, reload):
    """A member that breaks its promise only after its one audit has spoilt the ensemble's cached answers."""
    write_quiet(repository, "member")
    ensemble(repository, "whole", {"x": ("FP32", [2])}, {"y": ("FP32", [2])}, [step("member", {"x": "x"}, {"y": "y"})],
             cached=True, extra=cache_parameters(granularity="request"))
    server = serve(repository, "--cache-config=local,size=64MB", "--model-control-mode=explicit", "--load-model=*")
    quiet, small, loud, huge = QUIET, SMALL, LOUD, HUGE

    def answer(model, x):
        return decode(put(server, model, {"x": x}))["y"]

    answer("member", np.concatenate([quiet, 2 * quiet]))  # the one audit
    answer("member", np.concatenate([small, loud]))
    spoilt = answer("whole", small)
    assert not np.allclose(spoilt, small / 100), "or this tests nothing"
    answer("member", huge)
    answer("member", quiet)
    answer("member", np.concatenate([quiet, huge]))
    assert standing(server, "member") == ("request", "misshapen")
    if reload == "version":
        shutil.copytree(repository.path / "member" / "1", repository.path / "member" / "2")
    elif reload:
        touch(repository, "member")
    if reload:
        server.load("member")
    if reload == "both":
        server.load("whole")
    if reload != "version":
        assert standing(server, "member") == ("request", "misshapen"), "the same files are the same model"
    for _ in range(2):
        for model in ("whole", "member"):
            np.testing.assert_allclose(answer(model, small), small / 100, rtol=1e-5)
        eventually(lambda: is_hit(put(server, "whole", {"x": small})), "a hit of the whole")


def test_an_ensemble_of_an_ensemble_that_lost_its_trust(serve, repository):
    """The inner ensemble is found to break its promise; the model in it has not been."""
    write_quiet(repository, "leaf")
    config = repository.path / "leaf" / "config.pbtxt"
    config.write_text(config.read_text().replace(CACHE, ""))
    both = {"y": ("FP32", [2]), "z": ("FP32", [-1])}
    ensemble(repository, "inner", {"x": ("FP32", [2])}, both, [step("leaf", {"x": "x"}, {"y": "y", "z": "z"})],
             cached=True, extra=cache_parameters(audit=1))
    ensemble(repository, "outer", {"x": ("FP32", [2])}, {"y": ("FP32", [2])}, [step("inner", {"x": "x"}, {"y": "y"})],
             cached=True, extra=cache_parameters(granularity="request"))
    server = serve(repository, "--cache-config=local,size=64MB")

    def answer(model, x):
        return decode(put(server, model, {"x": x}))["y"]

    other = 7 * QUIET
    for model in ("inner", "leaf"):
        answer(model, np.concatenate([QUIET, 2 * QUIET]))
        answer(model, np.concatenate([QUIET, 4 * QUIET]))
    answer("inner", np.concatenate([SMALL, LOUD]))
    assert not np.allclose(answer("outer", SMALL), SMALL / 100), "or this tests nothing"
    answer("inner", HUGE)
    answer("inner", other)
    answer("inner", np.concatenate([other, HUGE]))
    assert standing(server, "inner") == ("request", "misshapen")
    server.wait_log("'leaf' version 1 does not keep .* an ensemble that it is a part of does not")
    for _ in range(2):
        np.testing.assert_allclose(answer("outer", SMALL), SMALL / 100, rtol=1e-5)


def test_an_ensemble_that_is_found_out_takes_the_trust_from_its_models(serve, repository):
    """The member has used up its audits before its rows depend on each other; its cached rows are wrong, too."""
    write_quiet(repository, "member")
    ensemble(repository, "ens", {"x": ("FP32", [2])}, {"y": ("FP32", [2])}, [step("member", {"x": "x"}, {"y": "y"})], cached=True)
    server = serve(repository, "--cache-config=local,size=64MB")

    def answer(model, x):
        return decode(put(server, model, {"x": x}))["y"]

    answer("member", np.concatenate([QUIET, 2 * QUIET]))
    assert not np.allclose(answer("ens", np.concatenate([SMALL, LOUD]))[0], SMALL / 100), "or this tests nothing"
    mixed = np.concatenate([SMALL, 5 * QUIET])
    for _ in range(3):
        np.testing.assert_allclose(answer("ens", mixed), mixed / 100, rtol=1e-5)
        for model in ("ens", "member"):
            np.testing.assert_allclose(answer(model, SMALL), SMALL / 100, rtol=1e-5)
    assert standing(server, "ens") == standing(server, "member") == ("request", "dependent")


# --- Rows that are run again, or not any more ---


def write_slow(repository, name, config):
    """A model that answers as `reduces`, after some hundred milliseconds."""
    def value(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    square = [384, 384]
    body = helper.make_graph([helper.make_node("Identity", ["on"], ["go"]), helper.make_node("MatMul", ["v", "eye"], ["w"])], "body",
                             [value("i", TensorProto.INT64, []), value("on", TensorProto.BOOL, []), value("v", TensorProto.FLOAT, square)],
                             [value("go", TensorProto.BOOL, []), value("w", TensorProto.FLOAT, square)])
    nodes = [helper.make_node("Loop", ["times", "true", "eye"], ["burnt"], body=body), helper.make_node("ReduceMax", ["burnt"], ["one"], keepdims=0),
             helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1), helper.make_node("Sub", ["x", "mean"], ["difference"]),
             helper.make_node("Mul", ["difference", "one"], ["y"])]
    constants = [numpy_helper.from_array(np.eye(384, dtype=np.float32), "eye"), scalar("times", 150),
                 numpy_helper.from_array(np.array(True), "true")]
    graph = helper.make_graph(nodes, "g", [value("x", TensorProto.FLOAT, ["rows", 4])], [value("y", TensorProto.FLOAT, ["rows", 4])], constants)
    (repository.path / name / "1").mkdir(parents=True)
    (repository.path / name / "1" / "model.onnx").write_bytes(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)]).SerializeToString())
    (repository.path / name / "config.pbtxt").write_text("max_batch_size: 8\n" + ONE_INSTANCE + CACHE + config)


def test_joined_rows_that_run_again_are_audited(serve, repository):
    """Both rows are running for others, but are too old for the request that joins (max-age=0), so each runs again."""
    write_slow(repository, "slow", "")
    server = serve(repository, "--cache-config=local,size=64MB", "--threads=1")
    first, second = (sent(server, "slow", {"x": batch(number)}) for number in (0, 1))
    both = sent(server, "slow", {"x": batch(0, 1)}, headers={"Cache-Control": "max-age=0"})
    for connection, numbers in ((first, (0,)), (second, (1,)), (both, (0, 1))):
        np.testing.assert_allclose(decode(connection.reply())["y"], TRUTH["reduces"](batch(*numbers)), rtol=1e-3, atol=1e-3)


def test_stale_rows_without_time_for_an_audit_are_no_answer(serve, repository):
    write_slow(repository, "slow", batching(policy="timeout_action: REJECT default_timeout_microseconds: 50000") +
               cache_parameters(ttl=1, stale_if_error=600))
    server = serve(repository, "--cache-config=local,size=64MB", "--threads=1")
    for number in (0, 1):
        assert put(server, "slow", {"x": batch(number)}).status == 200
    for number in (0, 1):
        eventually(lambda: put(server, "slow", {"x": batch(number)}, headers={"Cache-Control": "only-if-cached"}).status == 504, "the end of its TTL")
    busy = sent(server, "slow", {"x": batch(2)})
    reply = put(server, "slow", {"x": batch(0, 1)})
    assert reply.status == 503 or np.allclose(decode(reply)["y"], TRUTH["reduces"](batch(0, 1)), atol=1e-3)
    assert busy.reply().status == 200


def test_the_time_to_wait_is_over_when_a_request_has_run(serve, repository):
    """A second run does not fail by the queue's time-out."""
    write_slow(repository, "slow", batching(policy="timeout_action: REJECT default_timeout_microseconds: 20000"))
    server = serve(repository, "--cache-config=local,size=64MB")
    np.testing.assert_allclose(decode(put(server, "slow", {"x": batch(0, 1)}))["y"], TRUTH["reduces"](batch(0, 1)), atol=1e-3)
    assert standing(server, "slow") == ("request", "dependent")


def test_a_second_run_is_let_into_a_full_queue(serve, repository):
    """The run belongs to a request that was let in."""
    write_slow(repository, "slow", batching(policy="max_queue_size: 1"))
    server = serve(repository, "--cache-config=local,size=64MB", "--threads=1")
    for number in (0, 1):
        assert put(server, "slow", {"x": batch(number)}).status == 200
    running = sent(server, "slow", {"x": batch(2)})
    wait_queued(server, "slow", 0)
    waiting = sent(server, "slow", {"x": batch(3)})
    wait_queued(server, "slow", 1)
    np.testing.assert_allclose(decode(put(server, "slow", {"x": batch(0, 1)}))["y"], TRUTH["reduces"](batch(0, 1)), atol=1e-3)
    for connection in (running, waiting):
        assert connection.reply().status == 200
