"""The model repository: what is loaded, when, and what clients see while it changes."""

import base64
import json
import os
import re
import shutil
import subprocess
import threading

import numpy as np
import pytest
from onnx import TensorProto, helper

from support import (CACHE, PATIENCE, Repository, ask_identity, ask_scale, ask_simple, decode, encode, eventually, infer,
                     infer_path, same, scale_model, tensor)
from traffic import EXPLICIT, ONE_THREAD, sent

pytestmark = pytest.mark.threads

POLL = ["--model-control-mode=poll", "--repository-poll-secs=1"]


def scales_by(server, factor, model="scale", version=None):
    """For eventually(): whether the model now multiplies by this."""
    body, headers = encode({"INPUT0": tensor([[1.0]])})
    reply = server.post(infer_path(model, version), body, headers)
    return reply.status == 200 and reply.json["outputs"][0]["data"] == [factor]


# --- Index, load, unload ---


def test_index(serve, repository):
    server = serve(repository.add("simple", "identity"))
    assert server.index() == {("simple", "1"): ("READY", ""), ("identity", "1"): ("READY", "")}
    assert server.index(ready=True) == server.index()
    assert server.post("/v2/repository/anything/index").json == server.post("/v2/repository/index").json


def test_explicit_mode_loads_nothing_by_itself(serve, repository):
    server = serve(repository.add("simple", "identity"), EXPLICIT)
    assert server.ready()
    assert server.index() == {("simple", ""): ("", ""), ("identity", ""): ("", "")}
    assert server.index(ready=True) == {}
    assert not server.ready("simple")
    for path in ("/v2/models/simple", "/v2/models/simple/config"):
        reply = server.get(path)
        assert reply.status == 404
        assert reply.error == "Request for unknown model: 'simple' is not found"


def test_load_and_unload(serve, repository):
    server = serve(repository.add("simple", "identity"), EXPLICIT)
    reply = server.load("simple")
    assert reply.body == b""
    ask_simple(server)
    assert server.index() == {("simple", "1"): ("READY", ""), ("identity", ""): ("", "")}
    server.unload("simple")
    eventually(lambda: server.index()[("simple", "1")] == ("UNAVAILABLE", "unloaded"), "unloaded in the index")
    assert server.ready()
    reply = server.post(infer_path("simple"), *encode({"INPUT0": tensor([1])}))
    assert reply.status == 404
    assert reply.error == "Request for unknown model: 'simple' has no available versions"
    server.load("simple")
    ask_simple(server)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"parameters":{}}'])
def test_load_takes_an_empty_body(serve, repository, body):
    server = serve(repository.add("identity"), EXPLICIT)
    assert server.post("/v2/repository/models/identity/load", body).status == 200
    assert server.post("/v2/repository/models/identity/load", body).status == 200  # a second load does nothing
    assert server.post("/v2/repository/models/identity/unload", b'{"parameters":{"unload_dependents":true}}').status == 200
    assert server.post("/v2/repository/models/nope/unload", body).status == 200


@pytest.mark.parametrize("names, loaded", [(["simple"], {"simple"}), (["simple", "identity"], {"simple", "identity"}),
                                           (["*"], {"simple", "identity", "delay"})])
def test_load_model_option(serve, repository, names, loaded):
    server = serve(repository.add("simple", "identity", "delay"), EXPLICIT, *(f"--load-model={name}" for name in names))
    assert {name for name, _ in server.index(ready=True)} == loaded


def test_load_of_what_is_not_there(serve, repository):
    server = serve(repository, EXPLICIT)
    reply = server.post("/v2/repository/models/nope/load")
    assert reply.status == 500
    assert reply.error == "failed to load 'nope', failed to poll from model repository"
    assert server.ready()


@pytest.mark.parametrize("config, why", [
    ('name: "scale"\n  max_batchsize: 1', 'config.pbtxt:2:3: message type "inference.ModelConfig" has no field named "max_batchsize", did you mean "max_batch_size"?'),
    ('name: "scale" platform: "onnxruntime_onnx" max_batch_size: x', "config.pbtxt:1:60: field 'max_batch_size' expects an integer, got 'x'"),
    ('name: "other"', "unexpected directory name 'scale' for model 'other'"),
    ("{", "config.pbtxt:1:1: expected a field name"),
    ('name: "scale" input [ { data_type: TYPE_FP322 } ]', 'unknown enumeration value of "TYPE_FP322" for field "data_type", did you mean "TYPE_FP32"?'),
    ('name: "sc\\u00"', "invalid escape")])
def test_load_of_a_broken_config(serve, repository, config, why):
    """The answer says where and why, once; so does the log."""
    (repository.scale("scale", {1: 2.0}) / "config.pbtxt").write_text(config)
    server = serve(repository, EXPLICIT)
    reply = server.post("/v2/repository/models/scale/load")
    assert reply.status == 500
    assert reply.error.startswith("failed to load 'scale', failed to poll from model repository: ")
    assert reply.error.count(why) == 1 and "\n" not in reply.error
    line = re.escape(why).replace('"', r'\\?"')
    server.wait_log(line)
    assert len(server.lines(line)) == 1
    repository.scale("scale", {1: 2.0})
    server.load("scale")
    ask_scale(server, 2)


@pytest.mark.parametrize("change, text", [
    (lambda s: s.replace('"INPUT0", ', '"INPUT0", reshape: { shape: [ 1, 2, 3 ] }, '), "INPUT0"),
    (lambda s: s.replace('name: "INPUT0"', 'name: "OTHER"'), "OTHER"),
    (lambda s: s.replace("TYPE_FP32", "TYPE_INT32"), "TYPE_INT32|INT32"),
    (lambda s: s.replace("dims: [ -1 ]", "dims: [ 0 ]", 1), "dimension must be integer >= 1, or -1 to indicate a variable-size dimension"),
    (lambda s: s.replace("dims: [ -1 ]", "", 1), "must specify 'dims'")],
    ids=["reshape", "name", "datatype", "zero_dim", "no_dims"])
def test_load_of_a_config_that_does_not_fit(serve, repository, change, text):
    place = repository.scale("scale", {1: 2.0})
    config = (place / "config.pbtxt").read_text()
    assert change(config) != config
    (place / "config.pbtxt").write_text(change(config))
    server = serve(repository, EXPLICIT)
    reply = server.post("/v2/repository/models/scale/load")
    assert reply.status == 400
    assert re.match(r"load failed for model 'scale': version 1 is at UNAVAILABLE state: \w+( \w+)*: ", reply.error)
    assert re.search(text, reply.error)
    state, reason = server.index()[("scale", "1")]
    assert state == "UNAVAILABLE"
    assert re.search(text, reason)
    assert not server.ready("scale")


def test_load_of_a_broken_model(serve, repository):
    place = repository.scale("scale", {1: 2.0})
    (place / "1" / "model.onnx").write_bytes(b"this is no model")
    server = serve(repository, EXPLICIT)
    reply = server.post("/v2/repository/models/scale/load")
    assert reply.status == 400
    assert reply.error.startswith("load failed for model 'scale': version 1 is at UNAVAILABLE state: ")


def test_load_without_a_version_folder(serve, repository):
    shutil.rmtree(repository.scale("scale", {1: 2.0}) / "1")
    server = serve(repository, EXPLICIT)
    reply = server.post("/v2/repository/models/scale/load")
    assert reply.status == 400
    assert "at least one version must be available under the version policy of model 'scale'" in reply.error


def test_readiness_follows_a_failed_model(start, repository):
    place = repository.add("identity").scale("scale", {1: 2.0})
    (place / "1" / "model.onnx").write_bytes(b"")
    server = start(repository, EXPLICIT, "--load-model=identity")
    assert server.ready()
    assert server.post("/v2/repository/models/scale/load").status == 400
    assert server.get("/v2/health/ready").status == 400
    assert server.get("/v2/health/live").status == 200
    ask_identity(server, [1])
    lenient = start(repository, "--exit-on-error=false", "--strict-readiness=false")
    assert lenient.ready()
    ask_identity(lenient, [1])


# --- Versions ---


@pytest.mark.parametrize("policy, versions, newest", [
    ("", ["3"], 5.0),
    ("version_policy: { latest { num_versions: 2 } }\n", ["2", "3"], 5.0),
    ("version_policy: { all { } }\n", ["1", "2", "3"], 5.0),
    ("version_policy: { specific { versions: [ 1, 2 ] } }\n", ["1", "2"], 3.0)], ids=["default", "latest", "all", "specific"])
def test_version_policy(serve, repository, policy, versions, newest):
    place = repository.scale("scale", {1: 2.0, 2: 3.0, 3: 5.0}, extra=policy)
    (place / "notes").mkdir()
    (place / "07").mkdir()
    server = serve(repository)
    assert sorted(server.get("/v2/models/scale").json["versions"]) == versions
    assert {version for _, version in server.index(ready=True)} == set(versions)
    for version, factor in (("1", 2.0), ("2", 3.0), ("3", 5.0)):
        if version in versions:
            ask_scale(server, factor, version=version)
        else:
            body, headers = encode({"INPUT0": tensor([[1.0]])})
            reply = server.post(infer_path("scale", version), body, headers)
            assert reply.status in (400, 404)
            assert "scale" in reply.error
    assert ask_scale(server, newest).document["model_version"] == versions[-1]


# --- Configs that are left out, or given by the client ---


def test_model_without_config(serve, repository):
    (repository.scale("scale", {1: 2.0}) / "config.pbtxt").unlink()
    server = serve(repository)
    config = server.get("/v2/models/scale/config").json
    assert (config["name"], config["backend"], config["platform"]) == ("scale", "onnxruntime", "onnxruntime_onnx")
    assert config["max_batch_size"] == 4
    assert "dynamic_batching" in config
    (entry,) = config["input"]
    assert (entry["name"], entry["data_type"], entry["dims"]) == ("INPUT0", "TYPE_FP32", [-1])
    assert server.get("/v2/models/scale").json["outputs"] == [{"name": "OUTPUT0", "datatype": "FP32", "shape": [-1, -1]}]
    ask_scale(server, 2)


def test_model_without_config_and_without_batches(serve, repository):
    (repository.copy("nonzero") / "config.pbtxt").unlink()
    server = serve(repository)
    config = server.get("/v2/models/nonzero/config").json
    assert config["max_batch_size"] == 0  # the output's first dimension is fixed
    assert "dynamic_batching" not in config
    assert [entry["dims"] for entry in config["input"] + config["output"]] == [[-1], [1, -1]]
    same(infer(server, "nonzero", {"INPUT0": tensor([0, 4])})["OUTPUT0"], tensor([[1]], "INT64"))


def test_model_without_config_in_explicit_mode(serve, repository):
    (repository.scale("scale", {1: 2.0}) / "config.pbtxt").unlink()
    server = serve(repository, EXPLICIT)
    server.load("scale")
    ask_scale(server, 2)


def test_config_given_by_the_client(serve, repository):
    server = serve(repository.add("simple"), EXPLICIT, "--load-model=simple")
    server.load("simple", config=json.dumps({"backend": "onnxruntime", "maxBatchSize": "16"}))
    config = server.get("/v2/models/simple/config").json
    assert config["max_batch_size"] == 16
    assert not config.get("response_cache", {}).get("enable")  # the whole config is replaced, not merged
    assert [entry["name"] for entry in config["input"]] == ["INPUT0", "INPUT1"]
    ask_simple(server)
    server.load("simple")
    assert server.get("/v2/models/simple/config").json["max_batch_size"] == 16  # the given config stays in force
    server.unload("simple")
    server.load("simple")
    assert server.get("/v2/models/simple/config").json["max_batch_size"] == 8


@pytest.mark.parametrize("config", ["{", '{"max_batch_size":"many"}', '{"no_such_field":1}', "[]"])
def test_bad_config_given_by_the_client(serve, repository, config):
    server = serve(repository.add("simple"), EXPLICIT, "--load-model=simple")
    reply = server.post("/v2/repository/models/simple/load", {"parameters": {"config": config}})
    assert reply.status in (400, 500)
    assert reply.error
    assert server.get("/v2/models/simple/config").json["max_batch_size"] == 8
    ask_simple(server)


@pytest.mark.parametrize("parameters, text", [
    ({"config": 5}, "attempt to access JSON non-string as string"),
    ({"surprise": 1}, "attempt to access JSON non-string as string"),
    ({"surprise": "x"}, "unexpected error on creating Triton parameter"),
    ({"file:1/model.onnx": 1}, "attempt to access JSON non-string as string"),
    ([], "attempt to get members for non-object")])
def test_bad_load_parameters(serve, repository, parameters, text):
    server = serve(repository.add("simple"), EXPLICIT, "--load-model=simple")
    reply = server.post("/v2/repository/models/simple/load", {"parameters": parameters})
    assert (reply.status, reply.error) == (500, text)
    ask_simple(server)


def scale_config(name):
    return json.dumps({
        "name": name, "backend": "onnxruntime", "max_batch_size": 8,
        "input": [{"name": "INPUT0", "data_type": "TYPE_FP32", "dims": [-1]}],
        "output": [{"name": "OUTPUT0", "data_type": "TYPE_FP32", "dims": ["-1"]}]})


def test_files_given_by_the_client(serve, repository):
    server = serve(repository, EXPLICIT)
    files = {"file:1/model.onnx": base64.b64encode(scale_model(7.0)).decode()}
    reply = server.post("/v2/repository/models/fresh/load", {"parameters": files})
    assert reply.status in (400, 500)  # a config must come with the files
    server.load("fresh", config=scale_config("fresh"), **files)
    ask_scale(server, 7, "fresh")
    server.unload("fresh")
    assert server.post("/v2/repository/models/fresh/load").status >= 400
    assert list(repository.path.iterdir()) == []


def test_files_in_place_of_those_on_disk(serve, repository):
    repository.scale("scale", {1: 2.0})
    server = serve(repository, EXPLICIT, "--load-model=scale")
    ask_scale(server, 2)
    server.load("scale", config=scale_config("scale"), **{"file:1/model.onnx": base64.b64encode(scale_model(3.0)).decode()})
    ask_scale(server, 3)
    server.unload("scale")
    server.load("scale")
    ask_scale(server, 2)


@pytest.mark.parametrize("path", ["../../escaped", "/tmp/escaped", "1/../../../escaped", "x" * 300, "", "1/model.onnx/x/../../.."])
def test_files_stay_in_their_folder(serve, repository, path):
    server = serve(repository, EXPLICIT)
    before = sorted(repository.path.parent.rglob("*"))
    reply = server.post("/v2/repository/models/fresh/load", {"parameters": {
        "config": scale_config("fresh"), f"file:{path}": base64.b64encode(b"x").decode()}})
    assert reply.status in (400, 500), reply.body
    assert server.get("/v2/health/live").status == 200
    assert sorted(repository.path.parent.rglob("*")) == before


@pytest.mark.parametrize("name", ["..", "%2e%2e", "..%2f..%2fetc", "%2ftmp", "x" * 300, "%00"])
def test_model_names_stay_in_the_repository(serve, repository, name):
    repository.add("identity")
    server = serve(repository, EXPLICIT)
    reply = server.post(f"/v2/repository/models/{name}/load")
    assert reply.status >= 400
    assert server.get("/v2/health/live").status == 200
    assert server.index() == {("identity", ""): ("", "")}


# --- Change ---


def test_reload_takes_new_files(serve, repository):
    repository.scale("scale", {1: 2.0})
    server = serve(repository, EXPLICIT, "--load-model=scale")
    ask_scale(server, 2)
    repository.scale("scale", {1: 4.0})
    ask_scale(server, 2)
    server.load("scale")
    ask_scale(server, 4)
    repository.scale("scale", {2: 6.0})
    server.load("scale")
    assert ask_scale(server, 6).document["model_version"] == "2"


def test_failed_reload_keeps_the_old_model(serve, repository):
    place = repository.scale("scale", {1: 2.0})
    server = serve(repository, EXPLICIT, "--load-model=scale")
    for name, data in (("1/model.onnx", b"broken"), ("config.pbtxt", b"broken")):
        Repository.replace(place / name, data)
        assert server.post("/v2/repository/models/scale/load").status in (400, 500)
        assert server.ready("scale")
        assert server.index()[("scale", "1")][0] == "READY"
        ask_scale(server, 2)
    repository.scale("scale", {1: 3.0})
    server.load("scale")
    ask_scale(server, 3)


def test_poll_mode(serve, repository):
    repository.scale("scale", {1: 2.0}, cached=True)
    server = serve(repository, *POLL)
    ask_scale(server, 2)
    repository.scale("scale", {1: 3.0}, cached=True)
    eventually(lambda: scales_by(server, 3.0), "new weights")
    repository.scale("scale", {2: 5.0}, cached=True)
    eventually(lambda: scales_by(server, 5.0), "a new version")
    repository.scale("other", {1: 7.0})
    eventually(lambda: scales_by(server, 7.0, "other"), "a new model")
    shutil.move(repository.path / "other", repository.path.parent / "away")
    eventually(lambda: not server.ready("other"), "the removed model's end")
    assert server.ready("scale")
    assert server.post("/v2/repository/models/scale/load").status == 503
    assert server.index()[("scale", "2")][0] == "READY"


def test_poll_mode_with_a_broken_change(serve, repository):
    repository.scale("scale", {1: 2.0})
    server = serve(repository, *POLL)
    Repository.replace(repository.path / "scale" / "config.pbtxt", b"broken")
    server.wait_log(r"^E.*scale")
    ask_scale(server, 2)
    repository.scale("scale", {1: 3.0})
    eventually(lambda: scales_by(server, 3.0), "the mended model")


def test_unload_during_a_run(serve, repository):
    server = serve(repository.add("delay"), EXPLICIT, "--load-model=delay", ONE_THREAD)
    values = tensor([1], "INT32")
    waiting = sent(server, "delay", {"INPUT0": values}, parameters={"delay_ms": 700})
    server.unload("delay")
    same(decode(waiting.reply("POST"))["OUTPUT0"], values)
    eventually(lambda: server.index()[("delay", "1")][0] == "UNAVAILABLE", "the end of the model")
    assert server.ready()


def test_reload_under_load_loses_nothing(serve, repository):
    repository.scale("scale", {1: 2.0}, cached=True)
    server = serve(repository, EXPLICIT, "--load-model=scale")
    failures, counts, over = [], [0, 0, 0], threading.Event()

    def ask(i):
        array = tensor([[float(i)]])
        try:
            while not over.is_set():
                answer = infer(server, "scale", {"INPUT0": array})["OUTPUT0"]
                assert answer[0, 0] in (2.0 * i, 3.0 * i), f"{answer} for {i}"
                counts[i - 1] += 1
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=ask, args=[i]) for i in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for factor in (3.0, 2.0) * 4:
        repository.scale("scale", {1: factor}, cached=True)
        server.load("scale")
        ask_scale(server, factor)
    over.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert not failures, failures[0]
    assert min(counts) > 0


def test_two_repositories(serve, repository, models, tmp_path):
    other = Repository(tmp_path / "other", models).add("identity")
    server = serve(repository.add("simple"), f"--model-repository={other.path}")
    ask_simple(server)
    ask_identity(server, [1])


def test_names_with_odd_characters(serve, repository):
    repository.copy("identity", "an odd name.v-1", cached=True)
    server = serve(repository)
    ask_identity(server, [1], "an%20odd%20name.v-1")
    assert server.get("/v2/models/an%20odd%20name.v-1").json["name"] == "an odd name.v-1"


def test_config_syntax(serve, repository):
    """Text protobuf as people write it."""
    place = repository.scale("scale", {1: 2.0})
    (place / "config.pbtxt").write_text("""\
# a comment
name : 'sc' "ale";  platform: "onnxruntime\\x5fonnx"
max_batch_size: 8,
input { name: "INPUT0" data_type: TYPE_FP32 dims: -1 } # one message
output: [ { name: "OUTPUT0", data_type: TYPE_FP32, dims: [ -1, ] } ]
response_cache: { enable: True }
parameters { key: "a" value: { string_value: "b\\"\\n" } }
parameters: { key: "c", value { string_value: "d" } }
instance_group [ { kind: KIND_CPU count: 1 } ]
version_policy { latest { num_versions: 1 } }
""".replace("[ -1, ]", "[ -1 ]"))
    server = serve(repository)
    config = server.get("/v2/models/scale/config").json
    assert config["parameters"] == {"a": {"string_value": 'b"\n'}, "c": {"string_value": "d"}}
    assert config["response_cache"] == {"enable": True}
    assert config["instance_group"][0]["name"] == "scale_0"
    ask_scale(server, 2)


def test_gpu_is_refused(serve, repository):
    repository.scale("scale", {1: 2.0}, extra="instance_group [ { kind: KIND_GPU } ]\n")
    server = serve(repository, EXPLICIT)
    reply = server.post("/v2/repository/models/scale/load")
    assert reply.status >= 400
    assert "GPU" in reply.error or server.lines("GPU")


# --- What a new user's repository looks like ---


def test_a_config_given_in_a_request_says_what_was_meant(serve, repository):
    repository.scale("scale", {1: 2.0})
    server = serve(repository, EXPLICIT, "--load-model=scale")
    reply = server.post("/v2/repository/models/scale/load", {"parameters": {"config": '{"name": "scale", "max_batchsize": 1}'}})
    assert reply.status == 500 and 'did you mean "max_batch_size"?' in reply.error
    ask_scale(server, 2)


def test_no_newline_at_the_end_of_an_error(serve, repository):
    (repository.scale("scale", {1: 2.0}) / "1" / "model.onnx").write_bytes(b"no model")
    (repository.path / "versionless").mkdir()
    server = serve(repository, EXPLICIT)
    for name in ("scale", "versionless"):
        reply = server.post(f"/v2/repository/models/{name}/load")
        assert reply.status == 400 and "\n" not in reply.error


def test_preferred_size_and_completed_maximum(serve, repository, models):
    for name, size in (("fits", 2), ("large", 256)):
        place = repository.path / name
        (place / "1").mkdir(parents=True)
        (place / "1" / "model.onnx").write_bytes(scale_model(2))
        (place / "config.pbtxt").write_text(f"dynamic_batching {{ preferred_batch_size: [ {size} ] }}")
    server = serve(repository, EXPLICIT, "--backend-config=onnxruntime,default-max-batch-size=128")
    server.load("fits")
    reply = server.post("/v2/repository/models/large/load")
    assert reply.status == 400 and "preferred size must be <= max batch size for large: 256 is more than 128" in reply.error


def test_repository_agents_are_refused(serve, repository):
    repository.scale("scale", {1: 2.0}, extra='model_repository_agents { agents [ { name: "checksum" parameters { key: "MD5:1/model.onnx" value: "0" } } ] }')
    server = serve(repository, EXPLICIT)
    reply = server.post("/v2/repository/models/scale/load")
    assert reply.status == 400 and "repository agent 'checksum'" in reply.error
    assert not server.ready("scale")


def zip_map(place, config=None):
    """Writes what scikit-learn's converters make of a classifier: labels, and probabilities as a sequence of maps."""
    classifier = helper.make_node("LinearClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml", classlabels_ints=[0, 1],
                                  coefficients=[1.0, 0.0, 0.0, 1.0], intercepts=[0.0, 0.0], multi_class=0, post_transform="NONE")
    zipped = helper.make_node("ZipMap", ["scores"], ["probabilities"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    maps = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, [])))
    graph = helper.make_graph([classifier, zipped], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
                              [helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]), helper.make_value_info("probabilities", maps)])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid("ai.onnx.ml", 2)])
    (place / "1").mkdir(parents=True)
    (place / "1" / "model.onnx").write_bytes(model.SerializeToString())
    if config is not None:
        (place / "config.pbtxt").write_text(config)


X = 'input [ { name: "x" data_type: TYPE_FP32 dims: [ -1, 2 ] } ]\n'
LABEL = 'output [ { name: "label" data_type: TYPE_INT64 dims: [ -1 ] }'


@pytest.mark.parametrize("config", [None, CACHE, X + LABEL + " ]\n" + CACHE], ids=["no_config", "guessed", "tensors_alone"])
def test_outputs_that_are_no_tensors_are_left_out(serve, repository, config):
    zip_map(repository.path / "zipped", config)
    server = serve(repository, EXPLICIT, "--load-model=zipped")
    assert [output["name"] for output in server.get("/v2/models/zipped").json["outputs"]] == ["label"]
    for values, labels in (([[2, 1]], [0]), ([[2, 1], [1, 2]], [0, 1]), ([[1, 2]], [1])):
        same(infer(server, "zipped", {"x": np.float32(values)})["label"].ravel(), np.int64(labels))
    assert len(server.lines("'probabilities' is left out")) == (0 if config and "label" in config else 1)


def test_an_output_that_is_no_tensor_is_refused_by_name(serve, repository):
    zip_map(repository.path / "zipped", X + LABEL + ', { name: "probabilities" data_type: TYPE_FP32 dims: [ -1, 2 ] } ]\n')
    server = serve(repository, EXPLICIT)
    reply = server.post("/v2/repository/models/zipped/load")
    assert reply.status == 400 and "output 'probabilities' of model 'zipped' is not a tensor" in reply.error


def test_an_empty_repository_says_how_it_is_laid_out(serve, tmp_path):
    (tmp_path / "empty").mkdir()
    server = serve(tmp_path / "empty")
    (line,) = server.lines(r"^W.*is empty")
    assert "NAME/1/model.onnx" in line


def test_a_model_file_in_the_place_of_a_folder(serve, repository):
    (repository.path / "resnet.onnx").write_bytes(scale_model(2))
    (repository.path / "lost+found").mkdir()
    (repository.path / ".git").mkdir()
    server = serve(repository)
    assert server.ready()
    assert server.index() == {}
    (line,) = server.lines(r"^W.*is not served")
    command = re.search(r"mkdir -p .*model\.onnx'", line)[0]
    subprocess.run(["bash", "-c", command], check=True, timeout=10)
    again = serve(repository)
    same(infer(again, "resnet", {"INPUT0": np.float32([[3]])})["OUTPUT0"], np.float32([[6]]))


@pytest.mark.parametrize("file", ["config.pbtxt", "labels.txt"])
def test_a_fifo_in_the_place_of_a_file_holds_nobody_up(serve, repository, file):
    folder = repository.scale("scale", {1: 2.0})
    if file != "config.pbtxt":
        config = folder / "config.pbtxt"
        config.write_text('output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] label_filename: "labels.txt" } ]')
    else:
        (folder / file).unlink(missing_ok=True)
    os.mkfifo(folder / file)
    server = serve(repository.add("simple"), EXPLICIT)
    reply = server.post("/v2/repository/models/scale/load")
    assert reply.status in (400, 500) and file in reply.error and "no regular file" in reply.error
    server.load("simple")
    ask_simple(server)
