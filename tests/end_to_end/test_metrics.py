"""The metrics port: Prometheus's format, Triton's names and meanings."""

import pytest

from support import ask_identity, ask_simple, encode, eventually, infer, infer_path, sums, tensor

MODEL = ["nv_inference_request_success", "nv_inference_count", "nv_inference_exec_count", "nv_inference_request_duration_us",
         "nv_inference_queue_duration_us", "nv_inference_compute_input_duration_us",
         "nv_inference_compute_infer_duration_us", "nv_inference_compute_output_duration_us"]
CACHED = ["nv_cache_num_hits_per_model", "nv_cache_num_misses_per_model", "nv_cache_hit_duration_per_model",
          "nv_cache_miss_duration_per_model"]
LOCAL_CACHE = ["nv_cache_util", "nv_cache_num_entries", "nv_cache_num_hits", "nv_cache_num_misses", "nv_cache_num_lookups",
               "nv_cache_num_evictions"]


def label(model, version="1", **more):
    return frozenset({"model": model, "version": version, **more}.items())


def values(server, model):
    return {name: value for (name, labels), value in server.metrics().items() if labels == label(model)}


def moved_to(server, model, **expected):
    def as_expected():
        now = values(server, model)
        if any(now[name] != value for name, value in expected.items()):
            raise AssertionError(f"{now}, expected {expected}")
        return now

    return eventually(as_expected, "the metrics", patience=10)


def test_reply(server):
    reply = server.get("/metrics", port=server.metrics_port)
    assert reply.status == 200
    assert reply.headers["content-type"].replace(" ", "").lower().startswith("text/plain")
    assert server.metrics()
    assert server.get("/other", port=server.metrics_port).body == b""


def test_series_exist_from_the_load_on(serve, repository):
    server = serve(repository.add("simple", "identity"))
    metrics = server.metrics()
    for model in ("simple", "identity"):
        for name in [*MODEL, "nv_inference_pending_request_count"]:
            assert metrics[(name, label(model))] == 0
        for reason in ("REJECTED", "CANCELED", "BACKEND", "OTHER"):
            assert metrics[("nv_inference_request_failure", label(model, reason=reason))] == 0
    for name in CACHED:
        assert metrics[(name, label("simple"))] == 0
        assert (name, label("identity")) not in metrics
    for name in LOCAL_CACHE:
        assert (name, frozenset()) in metrics


def test_labels_are_in_alphabetical_order(server):
    text = server.get("/metrics", port=server.metrics_port).body.decode()
    assert 'nv_inference_request_failure{model="simple",reason="BACKEND",version="1"}' in text


def test_requests_are_counted(serve, repository):
    server = serve(repository.add("simple"), "--cache-config=none")
    inputs, _ = sums(rows=3)
    for _ in range(2):
        infer(server, "simple", inputs)
    ask_simple(server)
    now = moved_to(server, "simple", nv_inference_request_success=3, nv_inference_count=7, nv_inference_exec_count=3)
    assert now["nv_inference_request_duration_us"] > 0
    assert now["nv_inference_compute_infer_duration_us"] > 0
    assert all(value == 0 for (name, _), value in server.metrics().items() if name.startswith("nv_cache"))


def test_hits_and_misses(serve, repository):
    server = serve(repository.add("simple"))
    ask_simple(server)
    before = moved_to(server, "simple", nv_inference_request_success=1, nv_inference_exec_count=1,
                      nv_cache_num_misses_per_model=1, nv_cache_num_hits_per_model=0)
    eventually(lambda: server.metrics()[("nv_cache_num_entries", frozenset())] == 1, "the number of entries")
    for _ in range(4):
        ask_simple(server)
    now = moved_to(server, "simple", nv_inference_request_success=5, nv_inference_count=1, nv_inference_exec_count=1,
                   nv_cache_num_misses_per_model=1, nv_cache_num_hits_per_model=4)
    for name in MODEL[5:]:
        assert now[name] == before[name]
    metrics = server.metrics()
    assert metrics[("nv_cache_num_hits", frozenset())] == 4
    assert metrics[("nv_cache_num_misses", frozenset())] == 1
    assert metrics[("nv_cache_num_lookups", frozenset())] == 5
    assert 0 < metrics[("nv_cache_util", frozenset())] < 0.01


def test_failures(serve, repository):
    server = serve(repository.add("identity"))
    body, headers = encode({"INPUT0": tensor([1])}, parameters={"fail": "no luck"})
    for _ in range(2):
        assert server.post(infer_path("identity"), body, headers).status == 500
    assert server.post(infer_path("identity"), {"inputs": []}).status == 400  # counted nowhere
    failed = ("nv_inference_request_failure", label("identity", reason="BACKEND"))
    eventually(lambda: server.metrics()[failed] == 2, "failures")
    ask_identity(server, [1])
    moved_to(server, "identity", nv_inference_request_success=1)


def test_unloaded_models_are_gone(serve, repository):
    server = serve(repository.add("simple", "identity"), "--model-control-mode=explicit", "--load-model=*")
    assert values(server, "identity")
    server.unload("identity")
    eventually(lambda: not values(server, "identity"), "the end of the series")
    assert values(server, "simple")


def test_versions_are_apart(serve, repository):
    repository.scale("scale", {1: 2.0, 2: 3.0}, extra="version_policy: { all { } }\n")
    server = serve(repository)
    for version, count in (("1", 1), ("2", 3)):
        for _ in range(count):
            infer(server, "scale", {"INPUT0": tensor([[1.0]])}, version=version)
    for version, count in (("1", 1), ("2", 3)):
        eventually(lambda: server.metrics()[("nv_inference_request_success", label("scale", version))] == count)


def test_cache_in_redis(serve, repository, redis_server):
    server = serve(repository.add("simple"), *redis_server().cache())
    eventually(lambda: ask_simple(server) and values(server, "simple")["nv_cache_num_hits_per_model"] > 0, "a hit")
    assert server.metrics()


@pytest.mark.parametrize("name", ['quote"d', "back\\slash"])
def test_labels_are_escaped(serve, repository, name):
    place = repository.copy("identity", "plain")
    config = place / "config.pbtxt"
    config.write_text(config.read_text().replace('name: "plain"\n', ""))
    place.rename(repository.path / name)
    server = serve(repository)
    names = {dict(labels).get("model") for _, labels in server.metrics()}
    assert name.replace("\\", "\\\\").replace('"', '\\"') in names
