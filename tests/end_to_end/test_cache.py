"""The response cache, by what its users can see: answers, and statistics."""

import gzip
import re

import numpy as np
import pytest

from support import (CACHE, ask_delay, ask_identity, ask_scale, ask_simple, at_once, classes, decode, encode, eventually,
                     infer, infer_binary, infer_path, request_bytes, same, sums, tensor)
from traffic import cache_status, put, wait_metric

pytestmark = pytest.mark.threads


@pytest.fixture
def simple(serve, repository):
    """A server without any cache option, and so with the local cache."""
    return serve(repository.add("simple"))


def hits_after(server, model, first, second, version=1):
    """Calls first() and second(), which ask and check their answers; returns whether the second was a hit."""
    before = server.statistics(model, version)
    first()
    server.expect(model, version, cache_miss=before["cache_miss"] + 1)
    second()

    def counted():
        after = server.statistics(model, version)
        hits, misses, runs = (after[name] - before[name] for name in ("cache_hit", "cache_miss", "execution_count"))
        assert hits + misses == 2 and runs == misses, f"{hits} hits, {misses} misses, {runs} runs"
        return {"hits": hits}

    return eventually(counted, "one hit or miss for each question", patience=10)["hits"] == 1


# --- Hits ---


def test_miss_then_hits(simple):
    ask_simple(simple)
    simple.expect("simple", success=1, cache_miss=1, cache_hit=0, execution_count=1)
    for _ in range(3):
        ask_simple(simple)
    simple.expect("simple", success=4, queue=4, cache_miss=1, cache_hit=3, inference_count=1, execution_count=1,
                  compute_input=1, compute_infer=1, compute_output=1, fail=0)


@pytest.mark.parametrize("first, second", [
    ({}, {}), ({}, {"binary_in": True}), ({"binary_in": True}, {}), ({}, {"binary_out": True}),
    ({"binary_in": True, "binary_out": True}, {}), ({"binary_in": ["INPUT0"]}, {"binary_in": ["INPUT1"], "binary_out": True}),
    ({"id": "a"}, {"id": "b"}), ({"outputs": ["OUTPUT0", "OUTPUT1"]}, {"outputs": ["OUTPUT1", "OUTPUT0"]}),
    ({}, {"headers": {"Accept-Encoding": "identity"}}), ({"parameters": {"binary_data_output": False}}, {})])
def test_one_question_in_other_words(simple, first, second):
    assert hits_after(simple, "simple", lambda: ask_simple(simple, **first), lambda: ask_simple(simple, **second))


def test_order_of_inputs_does_not_matter(simple):
    inputs, expected = sums()
    turned = dict(reversed(inputs.items()))
    assert hits_after(simple, "simple", lambda: ask_simple(simple),
                      lambda: same(infer_binary(simple, "simple", turned)["OUTPUT1"], expected["OUTPUT1"]))


def test_a_compressed_question_is_the_same(simple):
    inputs, expected = sums()

    def compressed():
        body, headers = encode(inputs)
        reply = simple.post(infer_path("simple"), gzip.compress(body), {**headers, "Content-Encoding": "gzip",
                                                                       "Accept-Encoding": "gzip"})
        reply.body = gzip.decompress(reply.body)
        same(decode(reply)["OUTPUT0"], expected["OUTPUT0"])

    assert hits_after(simple, "simple", lambda: ask_simple(simple), compressed)


@pytest.mark.parametrize("first", [None, ["OUTPUT0"], ["OUTPUT1"]])
@pytest.mark.parametrize("second", [None, ["OUTPUT0"], ["OUTPUT1"]])
def test_any_subset_of_outputs_is_a_hit(simple, first, second):
    inputs, expected = sums(5, 3)

    def ask(outputs, binary):
        answer = infer(simple, "simple", inputs, outputs, binary_out=binary)
        assert list(answer.outputs) == (outputs or ["OUTPUT0", "OUTPUT1"])
        for name, array in answer.outputs.items():
            same(array, expected[name])

    assert hits_after(simple, "simple", lambda: ask(first, False), lambda: ask(second, True))


def test_ids_are_those_of_the_request(simple):
    for name in ("first", "second", None, "third"):
        options = {"id": name} if name else {}
        assert ask_simple(simple, **options).document.get("id") == name
    simple.expect("simple", cache_hit=3, execution_count=1)


def test_hits_are_byte_equal(serve, repository):
    repository.copy("densenet_onnx")
    server = serve(repository)
    image = {"data_0": np.random.default_rng(5).random((3, 224, 224), dtype=np.float32)}
    body, headers = encode(image, binary_in=True, binary_out=True)
    replies = [server.post(infer_path("densenet_onnx"), body, headers) for _ in range(3)]
    assert replies[0].body == replies[1].body == replies[2].body
    scores = decode(replies[0])["fc6_1"]
    for count in (1, 5):
        answer = infer(server, "densenet_onnx", image, [("fc6_1", {"classification": count})], binary_in=True)
        assert list(answer["fc6_1"]) == classes(scores, count, [f"label{i}" for i in range(1000)])
    server.expect("densenet_onnx", execution_count=1, cache_miss=1, cache_hit=4)


def test_what_a_picture_shows(serve, repository):
    """Real weights, a real picture, and the names of its classes."""
    place = repository.copy("efficientnet_lite0")
    server = serve(repository)
    for _ in range(2):
        reply = server.post(infer_path("efficientnet_lite0"), (place / "grace_hopper.json").read_bytes())
        score, _, name = reply.json["outputs"][0]["data"][0].split(":")
        assert name == "military uniform" and abs(float(score) - 0.46) < 0.05
    server.expect("efficientnet_lite0", execution_count=1, cache_hit=1)


def test_classification_first_then_the_tensor(simple):
    inputs, expected = sums()

    def classified():
        answer = infer(simple, "simple", inputs, [("OUTPUT0", {"classification": 2})])
        assert list(answer["OUTPUT0"][0]) == classes(expected["OUTPUT0"][0], 2)

    assert hits_after(simple, "simple", classified, lambda: ask_simple(simple, binary_out=True))


@pytest.mark.parametrize("model, array", [
    ("identity_BYTES", tensor([b"\xff\x00", b"", b"x" * 1000], "BYTES", (1, 3))),
    ("identity_FP16", tensor([[1, 2]], "FP16")), ("identity_BF16", tensor([[1, 2]], "BF16")),
    ("identity_BOOL", tensor([[True, False]], "BOOL")), ("identity_FP32", tensor([], "FP32", (1, 0)))],
    ids=lambda value: value if isinstance(value, str) else "")
def test_every_kind_of_answer_is_kept(serve, repository, model, array):
    repository.copy(model, cached=True)
    server = serve(repository)

    def ask():
        same(infer_binary(server, model, {"INPUT0": array})["OUTPUT0"], array)

    assert hits_after(server, model, ask, ask)


def test_batches(simple):
    """However rows are cached, batches are answered correctly, and an equal batch runs nothing."""
    for rows, first in ((4, 0), (4, 0), (8, 0), (2, 16), (8, 100)):
        inputs, expected = sums(first, 3, rows)
        answer = infer_binary(simple, "simple", inputs)
        same(answer["OUTPUT0"], expected["OUTPUT0"])
    simple.expect("simple", success=5)
    executed = simple.statistics("simple")["execution_count"]
    inputs, expected = sums(100, 3, 8)
    same(infer(simple, "simple", inputs)["OUTPUT1"], expected["OUTPUT1"])
    simple.expect("simple", success=6, execution_count=executed)


# --- Questions that must not share an answer ---


def fp32(*shape):
    return np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize("model, first, second", [
    ("identity_FP32", fp32(1, 4), fp32(2, 2)),
    ("identity_FP32", fp32(1, 4), fp32(4, 1)),
    ("identity_FP32", tensor([], "FP32", (1, 0)), tensor([[0.0]])),
    ("identity_FP32", tensor([[0.0]]), tensor([[-0.0]])),
    ("identity_FP32", tensor([[1, 2]]), tensor([[2, 1]])),
    ("identity_FP32", tensor([[1]]), tensor([[1, 0]])),
    ("identity_INT64", tensor([[1]], "INT64"), tensor([[1 + 2**56]], "INT64")),
    ("identity_BYTES", tensor(["ab", "c"], "BYTES", (1, 2)), tensor(["a", "bc"], "BYTES", (1, 2))),
    ("identity_BYTES", tensor(["ab"], "BYTES", (1, 1)), tensor(["ab", ""], "BYTES", (1, 2))),
    ("identity_BYTES", tensor([b"a\0"], "BYTES", (1, 1)), tensor([b"a"], "BYTES", (1, 1)))],
    ids=["rows", "column", "empty", "zeros", "order", "length", "high_byte", "element_boundary", "empty_element", "nul"])
def test_inputs_that_differ(serve, repository, model, first, second):
    repository.copy(model, cached=True)
    server = serve(repository)

    def ask(array):
        same(infer_binary(server, model, {"INPUT0": array})["OUTPUT0"], array)

    assert not hits_after(server, model, lambda: ask(first), lambda: ask(second))


def test_one_different_byte_anywhere(serve, repository):
    repository.copy("identity", cached=True)
    server = serve(repository)
    array = np.arange(64, dtype=np.float32)
    for i in range(0, 64 * 4, 7):
        data = bytearray(array.tobytes())
        data[i] ^= 1
        changed = np.frombuffer(bytes(data), dtype=np.float32)
        same(infer_binary(server, "identity", {"INPUT0": changed})["OUTPUT0"], changed)
    server.expect("identity", cache_hit=0, execution_count=len(range(0, 64 * 4, 7)))


def test_boundary_between_inputs(serve, repository):
    server = serve(repository.add("simple_string"))

    def ask(a, b):
        inputs = {"INPUT0": tensor([str(a)] * 16, "BYTES", (1, 16)), "INPUT1": tensor([str(b)] * 16, "BYTES", (1, 16))}
        same(infer(server, "simple_string", inputs)["OUTPUT0"], tensor([str(a + b)] * 16, "BYTES", (1, 16)))

    assert not hits_after(server, "simple_string", lambda: ask(12, 3), lambda: ask(1, 23))
    assert not hits_after(server, "simple_string", lambda: ask(7, 5), lambda: ask(5, 7))


def test_inputs_exchanged(simple):
    assert not hits_after(simple, "simple", lambda: ask_simple(simple, 1, 1), lambda: ask_simple(simple, 1, 2))
    inputs, _ = sums(3, 40)
    ask_simple(simple, 3, 40)
    turned = {"INPUT0": inputs["INPUT1"], "INPUT1": inputs["INPUT0"]}
    same(infer(simple, "simple", turned)["OUTPUT1"], inputs["INPUT1"] - inputs["INPUT0"])


@pytest.mark.parametrize("first, second", [
    ({"temperature": 1}, {"temperature": 2}), ({"temperature": 1}, {}), ({"a": "1"}, {"a": 1}), ({"a": True}, {"a": 1}),
    ({"a": "bc"}, {"ab": "c"}), ({"a": 1.5}, {"a": 1})])
def test_parameters_that_differ(serve, repository, first, second):
    repository.copy("identity", cached=True)
    server = serve(repository)

    def ask(parameters):
        ask_identity(server, [1, 2], parameters=parameters)

    assert not hits_after(server, "identity", lambda: ask(first), lambda: ask(second))
    assert hits_after(server, "identity", lambda: ask({**first, "z": 0}), lambda: ask({"z": 0, **first}))


def test_models_do_not_share(serve, repository):
    repository.scale("double", {1: 2.0}, cached=True)
    repository.scale("triple", {1: 3.0}, cached=True)
    repository.scale("ouble", {1: 4.0}, cached=True)
    server = serve(repository)
    for model, factor in (("double", 2), ("triple", 3), ("ouble", 4)):
        ask_scale(server, factor, model)
        server.expect(model, execution_count=1, cache_hit=0)


def test_versions_do_not_share(serve, repository):
    repository.scale("scale", {1: 2.0, 2: 3.0, 12: 5.0}, cached=True, extra="version_policy: { all { } }\n")
    server = serve(repository)
    for version, factor in ((1, 2), (2, 3), (12, 5)):
        for _ in range(2):
            assert ask_scale(server, factor, version=version).document["model_version"] == str(version)
            server.expect("scale", version, execution_count=1)
    ask_scale(server, 5)  # without a version the newest answers, which knows this question
    server.expect("scale", 12, execution_count=1, cache_hit=2)


def test_new_weights_give_new_answers(serve, repository):
    repository.scale("scale", {1: 2.0}, cached=True)
    server = serve(repository, "--model-control-mode=explicit", "--load-model=scale")
    for factor in (2.0, 3.0, 2.0):
        repository.scale("scale", {1: factor}, cached=True)
        server.load("scale")
        for _ in range(2):
            ask_scale(server, factor)


def test_new_datatype_of_a_reloaded_model(serve, repository):
    """Equal name, version, shape and bytes; only the datatype is another one."""
    server = serve(repository, "--model-control-mode=explicit")
    for datatype in ("INT32", "FP32", "UINT32"):
        place = repository.path / "typed"
        if place.exists():
            server.unload("typed")
            place.rename(repository.path.parent / f"before_{datatype}")
        repository.copy(f"identity_{datatype}", "typed", cached=True)
        server.load("typed")
        array = np.frombuffer(b"\1\2\3\4", dtype=tensor([0], datatype).dtype).reshape(1, 1)
        for _ in range(2):
            same(infer_binary(server, "typed", {"INPUT0": array})["OUTPUT0"], array)


# --- What is not kept ---


def test_errors_are_not_kept(serve, repository):
    repository.copy("identity", cached=True)
    server = serve(repository)
    body, headers = encode({"INPUT0": tensor([1, 2])}, parameters={"fail": "no luck"})
    for _ in range(3):
        reply = server.post(infer_path("identity"), body, headers)
        assert reply.status == 500
        assert "no luck" in reply.error
    server.expect("identity", fail=3, cache_hit=0)
    for _ in range(2):
        ask_identity(server, [1, 2])
    server.expect("identity", success=2, cache_hit=1)


def test_errors_of_a_model_are_not_kept(serve, repository):
    server = serve(repository.add("simple_string"))
    body, headers = encode({name: tensor(["x"] * 16, "BYTES", (1, 16)) for name in ("INPUT0", "INPUT1")})
    replies = [server.post(infer_path("simple_string"), body, headers) for _ in range(2)]
    assert [reply.status >= 400 for reply in replies] == [True, True]
    server.expect("simple_string", fail=2, cache_hit=0)


def test_cache_none(serve, repository):
    server = serve(repository.add("simple"), "--cache-config=none")
    for _ in range(3):
        ask_simple(server)
    server.expect("simple", execution_count=3, cache_hit=0, cache_miss=0)


def test_models_without_response_cache(serve, repository):
    server = serve(repository.add("identity"), "--cache-config=local,size=1MB")
    for _ in range(3):
        ask_identity(server, [1])
    server.expect("identity", execution_count=3, cache_hit=0, cache_miss=0)


# --- Bounds ---


def test_eviction(serve, repository):
    repository.copy("identity", cached=True)
    server = serve(repository, "--cache-config=local,size=1MB")
    questions = [np.full(2000, i, dtype=np.float32) for i in range(400)]  # 3.2 MB of answers
    for array in questions:
        same(infer_binary(server, "identity", {"INPUT0": array})["OUTPUT0"], array)
    server.expect("identity", success=400, cache_hit=0)
    for array in questions:
        same(infer_binary(server, "identity", {"INPUT0": array})["OUTPUT0"], array)
    assert server.statistics("identity")["cache_hit"] < 400 / 2
    eventually(lambda: server.metrics()[("nv_cache_num_evictions", frozenset())] > 0, "evictions in the metrics")
    metrics = server.metrics()
    assert 0 < metrics[("nv_cache_num_entries", frozenset())] < 200
    assert 0 <= metrics[("nv_cache_util", frozenset())] <= 1
    last = questions[-1]
    same(infer_binary(server, "identity", {"INPUT0": last})["OUTPUT0"], last)


def test_answer_larger_than_the_cache(serve, repository):
    repository.copy("identity", cached=True)
    server = serve(repository, "--cache-config=local,size=1MB", "--threads=1")
    large = np.arange(500_000, dtype=np.float32)
    for _ in range(2):
        same(infer_binary(server, "identity", {"INPUT0": large})["OUTPUT0"], large)
    server.expect("identity", execution_count=2, cache_hit=0, cache_miss=2)
    assert hits_after(server, "identity", lambda: ask_identity(server, [1]), lambda: ask_identity(server, [1]))


def test_time_to_live(serve, repository):
    repository.copy("identity", cached=True)
    server = serve(repository, "--cache-config=local,size=1MB", "--cache-config=local,ttl=1")

    def expired():
        ask_identity(server, [1])
        return server.statistics("identity")["execution_count"] >= 2

    eventually(expired, "the end of an entry's life")


# --- Equal questions at once ---


def test_equal_requests_run_once(serve, repository):
    server = serve(repository.add("delay"))
    answers = at_once(20, lambda i: ask_delay(server, 500, [1, 2], id=f"id{i}", binary_out=i % 2 == 0))
    assert [answer.document["id"] for answer in answers] == [f"id{i}" for i in range(20)]
    server.expect("delay", success=20, execution_count=1, inference_count=1)


def test_different_requests_are_not_joined(serve, repository):
    server = serve(repository.add("delay"))
    at_once(12, lambda i: ask_delay(server, 100, [i % 4]))
    server.expect("delay", success=12, execution_count=4)


def test_joined_requests_ask_for_other_outputs(serve, repository):
    config = repository.copy("delay") / "config.pbtxt"
    text = config.read_text()
    for kind in ("INPUT", "OUTPUT"):
        one = re.search(r"%s \[.*?\n\]\n" % kind.lower(), text, re.S)[0]
        text = text.replace(one, one + one.replace(f"{kind}0", f"{kind}1"))
    config.write_text(text)
    server = serve(repository)
    inputs = {f"INPUT{i}": tensor([i, 7], "INT32") for i in range(2)}

    def ask(i):
        outputs = [["OUTPUT0"], ["OUTPUT1"], None][i % 3]
        answer = infer(server, "delay", inputs, outputs, parameters={"delay_ms": 500})
        assert list(answer.outputs) == (outputs or ["OUTPUT0", "OUTPUT1"])
        for name, array in answer.outputs.items():
            same(array, inputs[name.replace("OUT", "IN")])

    at_once(12, ask)
    server.expect("delay", success=12, execution_count=1)


def test_when_the_one_that_runs_fails(serve, repository):
    server = serve(repository.add("delay"))
    body, headers = encode({"INPUT0": tensor([1], "INT32")}, parameters={"delay_ms": 300, "fail": "no luck"})
    for reply in at_once(10, lambda i: server.post(infer_path("delay"), body, headers)):
        assert reply.status == 500
        assert "no luck" in reply.error
    ask_delay(server, 300)
    assert server.statistics("delay")["cache_hit"] == 0


def test_when_the_client_of_the_one_that_runs_vanishes(serve, repository):
    """Whether it vanishes before the run or during it, each question runs once."""
    server = serve(repository.add("delay"))
    for value in range(25):
        body, headers = encode({"INPUT0": tensor([value], "INT32")}, parameters={"delay_ms": 20})
        with server.connect() as connection:
            connection.send(request_bytes("POST", "/v2/models/delay/infer", body, headers))
        at_once(5, lambda i, value=value: ask_delay(server, 20, (value,)))
    server.expect("delay", execution_count=25)


def test_without_the_cache_equal_requests_all_run(serve, repository):
    place = repository.copy("delay")
    config = place / "config.pbtxt"
    config.write_text(config.read_text().replace(CACHE, ""))
    server = serve(repository)
    at_once(4, lambda i: ask_delay(server, 20))
    server.expect("delay", success=4, execution_count=4)


# --- Namespaces ---


@pytest.mark.parametrize("names, shared", [(("a", "a"), True), (("a", "b"), False)])
def test_namespaces_on_one_redis(serve, repository, redis_server, names, shared):
    redis = redis_server()
    repository.add("simple")
    one, two = (serve(repository, *redis.cache(f"namespace={name}", "lookup_timeout=5000")) for name in names)

    def hits(server, first):
        ask_simple(server, first)
        return server.statistics("simple")["cache_hit"]

    eventually(lambda: hits(one, 1), "a hit")
    eventually(lambda: hits(two, 100), "a hit")
    if shared:
        eventually(lambda: hits(one, 100) >= 2 and hits(two, 1) >= 2, "hits on each other's entries")
    assert len(redis.entries()) == 2
    ask_simple(two, 1)
    eventually(lambda: len(redis.entries()) == (2 if shared else 3), "the entries")


def test_an_answer_that_the_local_store_cannot_hold(serve, repository):
    """The reply does not claim that it was stored."""
    repository.copy("identity", cached=True)
    server = serve(repository, "--cache-config=local,size=4MB")
    array = np.zeros(2_000_000, dtype=np.float32)
    for _ in range(2):
        reply = put(server, "identity", {"INPUT0": array}, binary_in=True, binary_out=True)
        assert cache_status(reply) == {"fwd": "miss"}
    wait_metric(server, "hippocamp_cache_too_large_total", 2, model="identity", version="1")
