"""Ensembles while their members come, go, change and fail."""

import base64
import json
import threading

import pytest

from support import decode, eventually, infer, same, tensor
from test_ensemble import GOOD, ask, chain, members, one
from traffic import EXPLICIT, cache_parameters, ensemble, put, step, write_config

pytestmark = pytest.mark.threads

FP32 = {"IN": "FP32"}, {"OUT": "FP32"}
TWICE = [("double", {"INPUT0": "IN"}, {"OUTPUT0": "x"}), ("double", {"INPUT0": "x"}, {"OUTPUT0": "OUT"})]


def around(inner):
    return step(inner, {"IN": "IN"}, {"OUT": "OUT"})


def config(name, steps):
    """A config as a load request gives it."""
    return json.dumps({
        "name": name, "platform": "ensemble", "max_batch_size": 8,
        "input": [{"name": "IN", "data_type": "TYPE_FP32", "dims": [-1]}],
        "output": [{"name": "OUT", "data_type": "TYPE_FP32", "dims": [-1]}],
        "ensemble_scheduling": {"step": [{"model_name": model, "model_version": -1, "input_map": inputs, "output_map": outputs}
                                         for model, inputs, outputs in steps]}})


def load(server, name, **parameters):
    return server.post(f"/v2/repository/models/{name}/load", json.dumps({"parameters": parameters}).encode())


FILES = {"file:1/note": base64.b64encode(b"anything").decode()}


# --- Circles ---


def rings(repository):
    members(repository, "double")
    ensemble(repository, "a", *FP32, [GOOD])
    ensemble(repository, "b", *FP32, [around("a")])


def test_a_circle_by_a_load_request(serve, repository):
    rings(repository)
    server = serve(repository, EXPLICIT, "--load-model=*")
    reply = load(server, "a", config=config("a", [("b", {"IN": "IN"}, {"OUT": "OUT"})]))
    assert reply.status == 400 and "circular dependency between ensembles: a -> ... -> b -> a" in reply.error
    for model in ("a", "b"):
        ask(server, 1, model=model, factor=2)
    assert server.ready()


def test_a_circle_on_disk(serve, repository):
    rings(repository)
    server = serve(repository, "--model-control-mode=poll", "--repository-poll-secs=1")
    ensemble(repository, "a", *FP32, [around("b")])
    server.wait_log("circular dependency between ensembles: a -> ... -> b -> a")
    ask(server, 1, model="b", factor=2)
    ensemble(repository, "a", *FP32, [GOOD, one({"INPUT0": "IN"}, {})])
    server.wait_log("must specify 'output_map'")
    ask(server, 1, model="b", factor=2)


def test_no_circle_where_two_ways_lead_to_a_member(serve, repository):
    """The member is loaded for e, and only then f, which uses both."""
    members(repository, "double")
    ensemble(repository, "e", *FP32, [GOOD])
    ensemble(repository, "f", *FP32, [step("e", {"IN": "IN"}, {"OUT": "x"}), one({"INPUT0": "x"}, {"OUTPUT0": "OUT"})])
    server = serve(repository, EXPLICIT, "--load-model=*")
    ask(server, 1, model="f", factor=4)
    repository.scale("double", {1: 5.0})
    ensemble(repository, "e", *FP32, [GOOD], extra=cache_parameters(ttl=60))
    server.load("e")
    ask(server, 1, model="f", factor=25)
    assert not server.lines("circular") and not server.lines("unloaded 'f'.*unloaded 'f'")


# --- One state at a time ---


def test_never_two_states_of_a_member(serve, repository):
    """f = double, then z, which is double: all of it is replaced at once."""
    members(repository, "double")
    ensemble(repository, "z", *FP32, [GOOD])
    (repository.path / "z" / "1" / "slow_to_read").write_bytes(b"x" * (64 << 20))
    ensemble(repository, "f", *FP32, [step("z", {"IN": "IN"}, {"OUT": "x"}), one({"INPUT0": "x"}, {"OUTPUT0": "OUT"})])
    server = serve(repository, EXPLICIT, "--load-model=*")
    seen, over = set(), threading.Event()

    def watch():
        while not over.is_set():
            reply = put(server, "f", {"IN": tensor([[1]])})
            seen.add(float(decode(reply)["OUT"][0, 0]) if reply.status == 200 else reply.status)

    thread = threading.Thread(target=watch)
    thread.start()
    for factor in (5.0, 2.0, 5.0):
        repository.scale("double", {1: factor})
        server.load("double")
    over.set()
    thread.join()
    assert seen <= {4.0, 25.0}, seen


def test_many_ways_to_one_member(serve, repository):
    """Each model is loaded once, though two to the 30 ways lead to it."""
    members(repository, "double")
    inner = ("double", "INPUT0", "OUTPUT0")
    for depth in range(30):
        model, takes, gives = inner
        ensemble(repository, f"e{depth:02}", *FP32, [step(model, {takes: "IN"}, {gives: "x"}), step(model, {takes: "x"}, {gives: "OUT"})])
        inner = (f"e{depth:02}", "IN", "OUT")
    server = serve(repository, EXPLICIT, "--load-model=e29")
    ask(server, 1, model="e02", factor=256)
    repository.scale("double", {1: 1.0})
    server.load("double")
    ask(server, 1, model="e05", factor=1)
    eventually(lambda: len(server.lines("successfully loaded 'e29'")) == 2, "the second load's line")


def test_a_load_that_fails_changes_nothing(serve, repository):
    """Nor does it replace the members that it needed."""
    members(repository, "double")
    ensemble(repository, "t", *FP32, [GOOD])
    ensemble(repository, "above", *FP32, [around("t")])
    server = serve(repository, EXPLICIT, "--load-model=*")
    repository.scale("double", {1: 5.0})
    ensemble(repository, "t", {"IN": ("FP32", [-1, 4])}, {"OUT": "FP32"}, [GOOD])  # fails when it is opened
    assert load(server, "t").status == 400
    assert load(server, "t", config=config("t", [("double", {"INPUT7": "IN"}, {"OUTPUT0": "OUT"})])).status == 400
    same(infer(server, "double", {"INPUT0": tensor([[1]])})["OUTPUT0"], tensor([[2]]))
    for model in ("t", "above"):
        ask(server, 1, model=model, factor=2)


def test_an_ensemble_that_does_not_fit_its_new_member_goes(serve, repository):
    members(repository, "double")
    ensemble(repository, "t", *FP32, [GOOD])
    ensemble(repository, "above", *FP32, [around("t")])
    server = serve(repository, EXPLICIT, "--load-model=*")
    repository.scale("double", {1: 5.0})
    ensemble(repository, "t", {"IN": ("FP32", [-1, 4])}, {"OUT": "FP32"}, [GOOD])
    server.load("double")
    same(infer(server, "double", {"INPUT0": tensor([[1]])})["OUTPUT0"], tensor([[5]]))
    for model in ("t", "above"):
        assert put(server, model, {"IN": tensor([[1]])}).status == 404
        server.wait_log(f"'{model}' is unloaded")
    ensemble(repository, "t", *FP32, [GOOD])
    server.load("t")
    ask(server, 1, model="above", factor=5)


def test_no_ensemble_around_what_was_never_in_service(serve, repository):
    """The new m uses l, which cannot be loaded with the new double; x uses m."""
    members(repository, "double", "triple")
    ensemble(repository, "l", *FP32, [GOOD])
    ensemble(repository, "m", *FP32, [step("triple", {"INPUT0": "IN"}, {"OUTPUT0": "OUT"})])
    ensemble(repository, "x", *FP32, [around("m")])
    server = serve(repository, EXPLICIT, "--load-model=*")
    repository.scale("double", {1: 5.0})
    ensemble(repository, "l", {"IN": ("FP32", [-1, 4])}, {"OUT": "FP32"}, [GOOD])
    ensemble(repository, "m", *FP32, [around("l")])
    assert load(server, "m").status == 400
    for model, factor in (("l", 2), ("m", 3), ("x", 3)):
        ask(server, 1, model=model, factor=factor)


def test_a_refused_circle_takes_nobody_along(serve, repository):
    members(repository, "double")
    ensemble(repository, "0a", *FP32, [GOOD])
    ensemble(repository, "a", *FP32, [GOOD])
    ensemble(repository, "b", *FP32, [step("0a", {"IN": "IN"}, {"OUT": "x"}), step("a", {"IN": "x"}, {"OUT": "OUT"})])
    server = serve(repository, EXPLICIT, "--load-model=*")
    ensemble(repository, "0a", *FP32, [GOOD], extra=cache_parameters(ttl=60))
    assert load(server, "a", config=config("a", [("b", {"IN": "IN"}, {"OUT": "OUT"})])).status == 400
    for model, factor in (("0a", 2), ("a", 2), ("b", 4)):
        ask(server, 1, model=model, factor=factor)


def test_an_ensemble_gets_a_new_member_while_an_old_one_changes(serve, repository):
    """In poll mode, where the changed member's turn comes first."""
    members(repository, "double")
    ensemble(repository, "e", *FP32, [GOOD])
    server = serve(repository, "--model-control-mode=poll", "--repository-poll-secs=1")
    ask(server, 1, model="e", factor=2)
    repository.scale("newone", {1: 3.0})
    ensemble(repository, "e", *FP32, [one({"INPUT0": "IN"}, {"OUTPUT0": "x"}), step("newone", {"INPUT0": "x"}, {"OUTPUT0": "OUT"})])
    repository.scale("double", {1: 5.0})
    eventually(lambda: decode(put(server, "e", {"IN": tensor([[1]])}))["OUT"][0, 0] == 15, "all that is new")
    assert not server.lines("is unloaded")


def test_all_versions_of_a_member_or_none(serve, repository):
    repository.scale("many", {1: 2.0, 2: 3.0}, extra="version_policy { all { } }\n")
    repository.replace(repository.path / "many" / "2" / "model.onnx", b"no model")
    for name in ("before", "zz"):
        ensemble(repository, name, *FP32, [step("many", {"INPUT0": "IN"}, {"OUTPUT0": "OUT"})])
    server = serve(repository, EXPLICIT)
    for name in ("before", "zz"):
        reply = load(server, name)
        assert reply.status == 400 and "Model 'many' loading failed with error: version 2" in reply.error
    assert load(server, "many").status == 400
    assert server.index()[("many", "1")] == ("UNAVAILABLE", "unloaded")
    server.unload("many")
    assert server.ready("many") is False and load(server, "zz").status == 400


def test_a_reload_that_fails_by_itself_changes_nothing(serve, repository):
    members(repository, "double")
    ensemble(repository, "t", *FP32, [GOOD])
    server = serve(repository, EXPLICIT, "--load-model=*")
    ensemble(repository, "t", *FP32, [GOOD, GOOD])
    assert load(server, "t").status == 400
    ask(server, 1, model="t", factor=2)


# --- What load requests gave ---


def test_what_a_load_request_gave_comes_back_with_a_member(serve, repository):
    members(repository, "double")
    ensemble(repository, "e", *FP32, [GOOD])
    server = serve(repository, EXPLICIT, "--load-model=*")
    assert load(server, "e", config=config("e", TWICE)).status == 200
    assert load(server, "nowhere", config=config("nowhere", TWICE), **FILES).status == 200
    for factor in (2.0, 5.0):
        repository.scale("double", {1: factor})
        server.unload("double")
        eventually(lambda: server.index()[("e", "1")] == ("UNAVAILABLE", "unloaded"), "the end of e")
        server.load("double")
        for model in ("e", "nowhere"):
            ask(server, 1, model=model, factor=factor * factor)
    repository.scale("double", {1: 3.0})
    server.load("double")
    for model in ("e", "nowhere"):
        ask(server, 1, model=model, factor=9)
    server.unload("e")
    server.load("e")
    ask(server, 1, model="e", factor=3)


@pytest.mark.parametrize("files", [{}, FILES], ids=["config", "files"])
def test_what_a_load_request_tried_in_vain_was_never_there(serve, repository, files):
    members(repository, "double")
    ensemble(repository, "e", *FP32, [GOOD])
    server = serve(repository, EXPLICIT)
    assert load(server, "e", config=config("e", [("double", {"INPUT7": "IN"}, {"OUTPUT0": "OUT"})]), **files).status == 400
    repository.scale("double", {1: 5.0})
    server.load("double")
    assert not server.ready("e") and server.ready()


# --- What the index and readiness tell ---


def test_an_ensemble_without_its_members(serve, repository):
    ensemble(repository, "e", *FP32, [step("late", {"INPUT0": "IN"}, {"OUTPUT0": "OUT"})])
    members(repository, "double")
    server = serve(repository, EXPLICIT, "--load-model=double")
    assert load(server, "e").status == 400
    assert not server.ready()
    assert {"name": "e"} in server.post("/v2/repository/index").json
    repository.scale("late", {1: 4.0})
    server.load("late")  # e was asked for, and can be loaded now
    ask(server, 1, model="e", factor=4)
    assert server.ready()
    server.unload("e")
    eventually(server.ready, "the end of e")


def test_a_failed_ensemble_is_given_up(serve, repository):
    ensemble(repository, "e", *FP32, [step("late", {"INPUT0": "IN"}, {"OUTPUT0": "OUT"})])
    members(repository, "double")
    server = serve(repository, EXPLICIT, "--load-model=double")
    assert load(server, "e").status == 400
    assert server.post("/v2/repository/models/e/unload").status == 200
    assert server.ready()
    repository.scale("late", {1: 4.0})
    server.load("late")
    assert not server.ready("e")


def test_what_was_asked_for_stays_asked_for(serve, repository):
    chain(repository)
    ensemble(repository, "outer", *FP32, [around("chain")])
    server = serve(repository, EXPLICIT, "--load-model=chain", "--load-model=outer")
    server.unload("double")
    server.load("double")
    assert server.ready("outer")
    body = json.dumps({"parameters": {"unload_dependents": True}}).encode()
    assert server.post("/v2/repository/models/outer/unload", body).status == 200
    ask(server, 1)


def test_too_many_steps(serve, repository):
    members(repository, "double")
    server = serve(repository, EXPLICIT)
    steps = [("double", {"INPUT0": f"t{i}" if i else "IN"}, {"OUTPUT0": f"t{i + 1}" if i < 999 else "OUT"}) for i in range(1000)]
    write_config(repository, "long", "")
    for given, status in ((steps[:499] + [("double", {"INPUT0": "t499"}, {"OUTPUT0": "OUT"})], 200),
                          (steps + [("double", {"INPUT0": "IN"}, {"OUTPUT0": "x"})], 400)):
        reply = load(server, "long", config=config("long", given))
        assert reply.status == status, reply.body
    assert "at most 1000 steps are supported for ensemble 'long'" in reply.error
