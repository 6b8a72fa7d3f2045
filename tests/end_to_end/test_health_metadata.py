"""Health, metadata, configuration and statistics over HTTP."""

import time

import pytest

from support import Connection, ask_simple, infer_path, sums, encode


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/v2/models/simple/ready",
                                  "/v2/models/simple/versions/1/ready"])
def test_ready(server, path):
    reply = server.get(path)
    assert (reply.status, reply.body) == (200, b"")


@pytest.mark.parametrize("path", ["/v2/models/nope/ready", "/v2/models/simple/versions/9/ready"])
def test_model_not_ready(server, path):
    reply = server.get(path)
    assert reply.status == 400
    assert reply.error == "Model version not ready"


def test_server_metadata(server):
    reply = server.get("/v2")
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.json["name"] == "triton"
    assert reply.json["version"]
    assert {"classification", "model_repository", "model_repository(unload_dependents)", "model_configuration",
            "binary_tensor_data", "parameters", "statistics"} <= set(reply.json["extensions"])


SIMPLE = {
    "name": "simple", "versions": ["1"], "platform": "onnxruntime_onnx",
    "inputs": [{"name": name, "datatype": "INT32", "shape": [-1, 16]} for name in ("INPUT0", "INPUT1")],
    "outputs": [{"name": name, "datatype": "INT32", "shape": [-1, 16]} for name in ("OUTPUT0", "OUTPUT1")],
}


@pytest.mark.parametrize("path", ["/v2/models/simple", "/v2/models/simple/versions/1", "/v2/models/simple?x=1",
                                  "/v2/models/simpl%65"])
def test_model_metadata(server, path):
    reply = server.get(path)
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.json == SIMPLE


def test_metadata_says_dims_not_reshape(server):
    document = server.get("/v2/models/densenet_onnx").json
    assert document["inputs"] == [{"name": "data_0", "datatype": "FP32", "shape": [3, 224, 224]}]
    assert document["outputs"] == [{"name": "fc6_1", "datatype": "FP32", "shape": [1000]}]


@pytest.mark.parametrize("model, inputs, outputs", [
    ("identity", [-1], [-1]), ("identity_BYTES", [-1, -1], [-1, -1]), ("nonzero", [-1], [1, -1])])
def test_metadata_of_variable_dims(server, model, inputs, outputs):
    document = server.get(f"/v2/models/{model}").json
    assert [entry["shape"] for entry in document["inputs"]] == [inputs]
    assert [entry["shape"] for entry in document["outputs"]] == [outputs]


def input_config(name):
    return {"name": name, "data_type": "TYPE_INT32", "format": "FORMAT_NONE", "dims": [16], "is_shape_tensor": False,
            "allow_ragged_batch": False, "optional": False, "is_non_linear_format_io": False}


def output_config(name):
    return {"name": name, "data_type": "TYPE_INT32", "dims": [16], "label_filename": "", "is_shape_tensor": False,
            "is_non_linear_format_io": False}


CONFIG = {
    "name": "simple", "platform": "onnxruntime_onnx", "backend": "onnxruntime",
    "version_policy": {"latest": {"num_versions": 1}}, "max_batch_size": 8,
    "input": [input_config("INPUT0"), input_config("INPUT1")],
    "output": [output_config("OUTPUT0"), output_config("OUTPUT1")],
    "batch_input": [], "batch_output": [],
    "optimization": {"priority": "PRIORITY_DEFAULT", "input_pinned_memory": {"enable": True},
                     "output_pinned_memory": {"enable": True}, "gather_kernel_buffer_threshold": 0,
                     "eager_batching": False},
    "default_model_filename": "model.onnx", "cc_model_filenames": {}, "metric_tags": {}, "parameters": {},
    "model_warmup": [], "response_cache": {"enable": True},
}


@pytest.mark.parametrize("path", ["/v2/models/simple/config", "/v2/models/simple/versions/1/config"])
def test_model_config(server, path):
    reply = server.get(path)
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    config = reply.json
    (group,) = config.pop("instance_group")
    assert group["name"] == "simple"
    assert group["kind"] == "KIND_CPU"
    assert group["count"] >= 1
    assert {"gpus", "secondary_devices", "profile", "passive", "host_policy"} <= set(group)
    config.pop("runtime")
    assert {name: config.get(name) for name in CONFIG} == CONFIG
    for absent in ("dynamic_batching", "sequence_batching", "ensemble_scheduling", "model_transaction_policy"):
        assert absent not in config


def test_model_config_of_reshape_and_labels(server):
    config = server.get("/v2/models/densenet_onnx/config").json
    assert config["max_batch_size"] == 0
    (entry,) = config["input"]
    assert (entry["format"], entry["dims"]) == ("FORMAT_NCHW", [3, 224, 224])
    assert entry["reshape"] == {"shape": [1, 3, 224, 224]}
    assert config["output"][0]["label_filename"] == "densenet_labels.txt"
    assert server.get("/v2/models/delay/config").json["parameters"]["mode"] == {"string_value": "delay"}


@pytest.mark.parametrize("method, path", [
    ("GET", "/"), ("GET", "/v1"), ("GET", "/v2/"), ("GET", "/v2/models"), ("GET", "/v2/models/"),
    ("GET", "/v2/models/simple/"), ("GET", "/v2/models/simple/versions/one"), ("GET", "/v2/models/simple/nothing"),
    ("GET", "/v2/health"), ("GET", "/v2/health/live/"), ("POST", "/v2/models/simple/infer/"), ("GET", "/metrics")])
def test_unknown_path(server, method, path):
    reply = server.request(method, path)
    assert reply.status == 404
    assert reply.error == "Not Found"


@pytest.mark.parametrize("method, path", [
    ("POST", "/v2"), ("POST", "/v2/health/live"), ("POST", "/v2/health/ready"), ("POST", "/v2/models/simple"),
    ("POST", "/v2/models/simple/config"), ("POST", "/v2/models/simple/stats"), ("GET", "/v2/models/simple/infer"),
    ("GET", "/v2/repository/index"), ("GET", "/v2/repository/models/simple/load"), ("PUT", "/v2/models/simple"),
    ("DELETE", "/v2/models/simple"), ("HEAD", "/v2/models/simple/infer")])
def test_wrong_method(server, method, path):
    assert server.request(method, path).status == 405


@pytest.mark.parametrize("path", ["/v2?", "/v2?x=1", "/v2/health/live?verbose", "/v2/models/simple/ready?a=b&c=d"])
def test_query_string_is_ignored(server, path):
    assert server.get(path).status == 200


def test_infer_path_takes_version_and_query(server):
    body, headers = encode(sums()[0])
    for path in (infer_path("simple", 1), infer_path("simple") + "?tag=x"):
        assert server.post(path, body, headers).json["model_version"] == "1"


DURATIONS = ["success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss"]


@pytest.mark.parametrize("path", ["/v2/models/simple_string/stats", "/v2/models/simple_string/versions/1/stats"])
def test_statistics_shape(server, path):
    (entry,) = server.get(path).json["model_stats"]
    assert (entry["name"], entry["version"]) == ("simple_string", "1")
    for name in ("last_inference", "inference_count", "execution_count"):
        assert isinstance(entry[name], int)
    assert set(DURATIONS) <= set(entry["inference_stats"])
    for name in DURATIONS:
        assert set(entry["inference_stats"][name]) == {"count", "ns"}
    assert entry["response_stats"] == {}
    assert isinstance(entry["batch_stats"], list)
    assert entry["memory_usage"] == []


def test_statistics_of_all_models(server):
    names = [entry["name"] for entry in server.get("/v2/models/stats").json["model_stats"]]
    assert len(names) == len(set(names))
    assert {"simple", "identity", "identity_FP32", "nonzero"} <= set(names)


def test_statistics_move(serve, repository):
    server = serve(repository.add("simple"), "--cache-config=none")
    before = time.time() * 1000 - 1
    inputs, _ = sums(rows=3)
    for _ in range(2):
        body, headers = encode(inputs)
        assert server.post(infer_path("simple"), body, headers).status == 200
    ask_simple(server)
    server.expect("simple", success=3, fail=0, queue=3, compute_input=3, compute_infer=3, compute_output=3,
                  cache_hit=0, cache_miss=0, inference_count=7, execution_count=3)
    (entry,) = server.get("/v2/models/simple/stats").json["model_stats"]
    assert before <= entry["last_inference"] <= time.time() * 1000 + 1
    sizes = {batch["batch_size"]: batch["compute_infer"]["count"] for batch in entry["batch_stats"]}
    assert sizes == {1: 1, 3: 2}
    assert all({"compute_input", "compute_output"} <= set(batch) for batch in entry["batch_stats"])
    for name in ("success", "compute_infer"):
        assert entry["inference_stats"][name]["ns"] > 0


def test_metrics_port_is_another_one(server):
    assert server.metrics_port != server.port
    with Connection(server.metrics_port) as connection:
        assert connection.request("GET", "/metrics?x=1").status == 200
        assert connection.request("POST", "/metrics").status == 405
