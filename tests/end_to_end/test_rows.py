"""Rows are cached one by one: what runs, what is counted, and that every answer is what numpy computes."""

import shutil

import numpy as np
import pytest

from support import ask_identity, at_once, classes, decode, infer, infer_binary, same, tensor
from traffic import (EXPLICIT, HOUR, ONE_INSTANCE, asked_until, batching, cache_parameters, cache_status, echo, hold, is_hit,
                     many, put, rows_counted, sent, sent_echo, wait_batches, wait_queued, wait_rows, wait_stored,
                     write_config)

pytestmark = pytest.mark.threads

TABLE = np.arange(40, dtype=np.float32).reshape(10, 4)
BY_REQUEST = cache_parameters(granularity="request")


def pairs(*numbers):
    """Rows of `simple`, each made from a number, and their answers."""
    a = np.array([np.arange(16) + number for number in numbers], dtype=np.int32)
    b = np.array([[number] * 16 for number in numbers], dtype=np.int32)
    return {"INPUT0": a, "INPUT1": b}, {"OUTPUT0": a + b, "OUTPUT1": a - b}


def ask_pairs(server, *numbers, **options):
    inputs, expected = pairs(*numbers)
    reply = put(server, "simple", inputs, **options)
    answer = decode(reply)
    for name, array in answer.outputs.items():
        same(array, expected[name])
    return reply


@pytest.fixture
def simple(deploy, repository):
    return deploy(repository.add("simple"))


# --- What runs ---


def test_only_unknown_rows_run(simple):
    reply = ask_pairs(simple, 1, 2, 3, 4)
    assert "stored" in cache_status(reply) and cache_status(reply)["fwd"] == "miss"
    reply = ask_pairs(simple, 5, 2, 6, 4, 7, 1)
    assert cache_status(reply) == {"fwd": "partial", "stored": True, "detail": "3 of 6 rows"}
    simple.expect("simple", success=2, inference_count=7, execution_count=2, cache_hit=0, cache_miss=2)
    assert is_hit(ask_pairs(simple, 7, 6, 5, 4, 3, 2, 1))
    simple.expect("simple", success=3, inference_count=7, execution_count=2, cache_hit=1, cache_miss=2)
    wait_batches(simple, "simple", {3: 1, 4: 1})
    wait_rows(simple, "simple", lookups=17, hits=10, misses=7, joined=0, bypassed=0, errors=0)


def test_equal_rows_of_a_batch_run_once(simple):
    ask_pairs(simple, 1, 2, 1, 1, 2, 3)
    simple.expect("simple", inference_count=3, execution_count=1)
    wait_batches(simple, "simple", {3: 1})
    ask_pairs(simple, *[9] * 8)
    simple.expect("simple", inference_count=4, execution_count=2)
    assert is_hit(ask_pairs(simple, *[9, 1] * 4))
    assert rows_counted(simple, "simple")["lookups"] == 22


@pytest.mark.parametrize("first, second", [((1,), (1, 1, 1)), ((1, 2, 3), (2,)), ((1, 2, 3), (3, 1, 2)), ((1, 2), (2, 2, 1, 1))])
def test_wholly_known_batches_are_hits(simple, first, second):
    ask_pairs(simple, *first)
    assert is_hit(ask_pairs(simple, *second, binary_in=True, binary_out=True))
    simple.expect("simple", success=2, execution_count=1, cache_hit=1)


def test_outputs_asked_for_row_by_row(simple):
    """Each row is kept with all outputs, whichever were asked for."""
    ask_pairs(simple, 1, 2, outputs=["OUTPUT1"])
    ask_pairs(simple, 2, 3, outputs=["OUTPUT0"])
    assert is_hit(ask_pairs(simple, 3, 2, 1, outputs=["OUTPUT1", "OUTPUT0"], binary_out=["OUTPUT0"]))
    simple.expect("simple", inference_count=3)


def test_classification_of_rows(simple):
    ask_pairs(simple, 2)
    inputs, expected = pairs(1, 2, 3)
    answer = infer(simple, "simple", inputs, [("OUTPUT0", {"classification": 2})])
    assert [list(row) for row in answer["OUTPUT0"]] == [classes(row, 2) for row in expected["OUTPUT0"]]
    simple.expect("simple", inference_count=3)


def test_width_is_part_of_a_row(deploy, repository):
    """[[1, 2], [3, 4]] and [[1, 2, 3, 4]] have equal bytes and no row in common."""
    repository.scale("scale", {1: 2.0}, cached=True)
    server = deploy(repository)
    for array in (tensor([[1, 2], [3, 4]]), tensor([[1, 2, 3, 4]]), tensor([[1], [2], [3], [4]]), tensor([[1, 2, 3, 4]] * 2)):
        same(infer(server, "scale", {"INPUT0": array})["OUTPUT0"], array * 2)
    server.expect("scale", inference_count=2 + 1 + 4)


def test_rows_without_elements(deploy, repository):
    repository.scale("scale", {1: 2.0}, cached=True)
    server = deploy(repository)
    for rows in (3, 1, 3):
        array = tensor([], "FP32", (rows, 0))
        same(infer_binary(server, "scale", {"INPUT0": array})["OUTPUT0"], array)
    server.expect("scale", success=3, inference_count=1)


def test_versions_have_their_own_rows(deploy, repository):
    repository.scale("scale", {1: 2.0, 2: 3.0}, cached=True, extra="version_policy: { all { } }\n")
    server = deploy(repository)
    for version, factor in ((1, 2), (2, 3)):
        for values in ([1, 2, 3], [3, 4]):
            array = tensor([[value] for value in values])
            same(infer(server, "scale", {"INPUT0": array}, version=version)["OUTPUT0"], array * np.float32(factor))
        server.expect("scale", version, inference_count=4)


def test_parameters_are_part_of_a_row(deploy, repository):
    echo(repository, rows=8, cached=True)
    server = deploy(repository)
    for parameters in ({}, {"a": 1}, {"a": "1"}):
        ask_identity(server, [[1], [2], [1]], "echo", "INT32", parameters=parameters)
    server.expect("echo", inference_count=6, execution_count=3)


def test_new_weights_make_new_rows(serve, repository):
    repository.scale("scale", {1: 2.0}, cached=True)
    server = serve(repository, EXPLICIT, "--load-model=scale")
    for factor in (2.0, 3.0, 4.0):
        repository.scale("scale", {1: factor}, cached=True)
        server.load("scale")
        for values, status in (([1, 2, 3], {}), ([2, 3, 4, 5], {"detail": "2 of 4 rows"})):
            array = tensor([[value] for value in values])
            reply = put(server, "scale", {"INPUT0": array})
            same(decode(reply)["OUTPUT0"], array * np.float32(factor))
            assert status.items() <= cache_status(reply).items()


def test_a_result_of_one_number_a_row(deploy, repository):
    repository.copy("row_sum", cached=True)
    server = deploy(repository)
    for values in ([[1, 2], [3, 4]], [[3, 4], [5, 6], [1, 2]], [[5, 6]]):
        array = tensor(values)
        same(infer(server, "row_sum", {"INPUT0": array})["OUTPUT0"], array.sum(axis=1, keepdims=True))
    server.expect("row_sum", inference_count=3, cache_hit=1)


# --- granularity ---


def test_granularity_request(deploy, repository):
    repository.copy("simple", extra=BY_REQUEST)
    server = deploy(repository)
    for numbers, hit in (((1, 2, 3, 4), False), ((1, 2), False), ((1, 2, 3, 4), True), ((4, 3, 2, 1), False), ((2, 1), False)):
        assert is_hit(ask_pairs(server, *numbers)) == hit
    server.expect("simple", inference_count=12, execution_count=4, cache_hit=1, cache_miss=4)
    wait_rows(server, "simple", lookups=5, hits=1, misses=4)
    wait_batches(server, "simple", {2: 2, 4: 2})


def test_models_without_batches_are_cached_by_request(deploy, repository):
    repository.copy("identity", cached=True)
    server = deploy(repository)
    for values, hit in (([1, 2], False), ([1], False), ([1, 2], True)):
        reply = put(server, "identity", {"INPUT0": tensor(values)})
        same(decode(reply)["OUTPUT0"], tensor(values))
        assert is_hit(reply) == hit
    wait_rows(server, "identity", lookups=3, hits=1, misses=2)


def test_granularities_share_nothing(serve, repository):
    """A row and a request of one row have different entries, since a request's answer may be of any shape."""
    server = serve(repository, EXPLICIT)
    for extra, hits in (("", [False, False, True, True]), (BY_REQUEST, [False, False, False, True]), ("", [True] * 4)):
        repository.scale("scale", {1: 2.0}, cached=True, extra=extra)
        server.load("scale")
        for values, hit in zip(([1], [1, 2], [2], [1, 2]), hits, strict=True):
            array = tensor([[value] for value in values])
            reply = put(server, "scale", {"INPUT0": array})
            same(decode(reply)["OUTPUT0"], array * 2)
            assert is_hit(reply) == hit


def test_rows_of_a_model_with_another_number_of_rows(start, repository):
    """An output that is no batch cannot be cut into rows: the reply is an error or the model's whole answer."""
    write_config(repository, "positive", """\
name: "positive"
platform: "onnxruntime_onnx"
max_batch_size: 8
input [ { name: "INPUT0", data_type: TYPE_FP32, dims: [ 1 ], reshape { shape: [ ] } } ]
output [ { name: "OUTPUT0", data_type: TYPE_FP32, dims: [ 1 ], reshape { shape: [ ] } } ]
response_cache { enable: true }
""")
    shutil.copy(repository.models("positive") / "1" / "model.onnx", repository.path / "positive" / "1")
    server = start(repository, "--exit-on-error=false")
    assert server.ready("positive")
    for values in ([1, -2, 3], [1, 3], [1, -2, 3], [-2, 3]):
        reply = put(server, "positive", {"INPUT0": tensor([[value] for value in values])})
        if reply.status == 200:
            assert reply.json["outputs"][0]["data"] == [value for value in values if value > 0]
        else:
            assert reply.status in (400, 500) and reply.error
    same(infer(server, "positive", {"INPUT0": tensor([[1], [3]])})["OUTPUT0"].ravel(), tensor([1, 3]))


# --- Random batches ---


def random_numbers(random, rows):
    array = random.integers(0, 12, (rows, 1)) + np.zeros((1, 16), dtype=np.int64)
    return {"INPUT0": array.astype(np.int32), "INPUT1": (array * 3).astype(np.int32)}


def random_words(random, rows):
    array = random_numbers(random, rows)
    return {name: tensor([str(value) for value in array[name].ravel()], "BYTES", (rows, 16)) for name in array}


def random_texts(random, rows):
    words = [b"", b"a", b"ab", b"b", b"\0", "é".encode(), b"x" * 1000]
    shape = (rows, random.integers(0, 3))
    return {"INPUT0": tensor([words[i] for i in random.integers(0, len(words), np.prod(shape))], "BYTES", shape)}


def random_floats(random, rows):
    return {"INPUT0": random.choice(tensor([0.0, -0.0, 1.5]), (rows, random.integers(0, 4)))}


def random_indices(random, rows):
    return {"INDEX": random.integers(-10, 10, (rows, random.integers(1, 3)))}


def calculate(sign):
    def truth(inputs):
        a, b = (np.array([int(element) for element in inputs[name].ravel()]) for name in ("INPUT0", "INPUT1"))
        shape = inputs["INPUT0"].shape
        if inputs["INPUT0"].dtype == object:
            return tensor([str(value) for value in a + sign * b], "BYTES", shape)
        return (a + sign * b).astype(np.int32).reshape(shape)

    return truth


CALCULATED = {"OUTPUT0": calculate(1), "OUTPUT1": calculate(-1)}
KINDS = {  # model: its inputs, its outputs by numpy
    "simple": (random_numbers, CALCULATED),
    "simple_string": (random_words, CALCULATED),
    "identity_BYTES": (random_texts, {"OUTPUT0": lambda inputs: inputs["INPUT0"]}),
    "scale": (random_floats, {"OUTPUT0": lambda inputs: inputs["INPUT0"] * np.float32(-2)}),
    "embedding": (random_indices, {"OUTPUT0": lambda inputs: TABLE[inputs["INDEX"]]}),
    "row_sum": (random_floats, {"OUTPUT0": lambda inputs: inputs["INPUT0"].sum(axis=1, keepdims=True, dtype=np.float32) + 0}),
}


def row_keys(inputs):
    """A key for each row of a request: its inputs' names, shapes and values."""
    rows = len(next(iter(inputs.values())))
    return [tuple((name, array.shape[1:], repr(array[i].tolist())) for name, array in sorted(inputs.items()))
            for i in range(rows)]


def ask_random(server, model, random, most=8):
    """Asks one random batch, compares the answer with numpy's, and returns the keys of its rows."""
    question, truths = KINDS[model]
    inputs = question(random, int(random.integers(1, most + 1)))
    outputs = list(truths) if random.random() < 0.7 else [str(random.choice(list(truths)))]
    binary = bool(random.integers(2))
    answer = infer(server, model, inputs, outputs, binary_in=bool(random.integers(2)), binary_out=binary)
    assert list(answer.outputs) == outputs
    for name in outputs:
        actual = answer[name] + 0 if model == "row_sum" else answer[name]  # a sum may be 0 or -0
        same(actual, truths[name](inputs))
    return row_keys(inputs)


def add_kind(repository, model, extra=""):
    if model == "scale":
        repository.scale("scale", {1: -2.0}, cached=True, extra=extra)
    else:
        repository.copy(model, cached=True, extra=extra)


@pytest.mark.parametrize("model", KINDS)
def test_random_batches(deploy, repository, model):
    add_kind(repository, model)
    server = deploy(repository)
    random = np.random.default_rng(len(model))
    seen, rows = set(), 0
    for _ in range(60):
        keys = ask_random(server, model, random)
        seen.update(keys)
        rows += len(keys)
    server.expect(model, success=60, inference_count=len(seen))
    wait_rows(server, model, lookups=rows)
    counts = rows_counted(server, model)
    assert counts["misses"] == len(seen) < rows and counts["bypassed"] == counts["errors"] == 0


@pytest.mark.parametrize("model", ["simple", "identity_BYTES", "embedding"])
def test_random_batches_at_once(serve, repository, model):
    """However requests overlap, answers are right, and a row that is cached or running is not run again."""
    add_kind(repository, model, batching(delay_us=1000))
    server = serve(repository, "--threads=2")
    seen = at_once(6, lambda i: [ask_random(server, model, np.random.default_rng(i)) for _ in range(20)])
    keys = {key for asked in seen for batch in asked for key in batch}
    server.expect(model, success=120, fail=0, inference_count=len(keys))
    wait_rows(server, model, lookups=sum(len(batch) for asked in seen for batch in asked), misses=len(keys))


def test_random_batches_in_redis(serve, repository, redis_server):
    redis = redis_server()
    for model in ("simple", "identity_BYTES"):
        add_kind(repository, model)
    servers = [serve(repository, *redis.cache("lookup_timeout=5000"), "--threads=1") for _ in range(2)]
    for model in ("simple", "identity_BYTES"):
        many(40, lambda i: ask_random(servers[i % 2], model, np.random.default_rng(i)), threads=4)
        rows = sum(rows_counted(server, model)["hits"] for server in servers)
        assert rows > 0, "no row came out of Redis"


def test_random_batches_while_entries_are_evicted(serve, repository):
    """A store that is much too small for what is asked, so that some rows of a batch are always gone."""
    repository.copy("identity_FP32", cached=True)
    server = serve(repository, "--cache-config=local,size=1MB")
    random = np.random.default_rng(1)
    rows = np.arange(200, dtype=np.float32)[:, None] + np.zeros((1, 4000), dtype=np.float32)
    for _ in range(60):
        array = rows[random.integers(0, 200, 8)]
        same(infer_binary(server, "identity_FP32", {"INPUT0": array})["OUTPUT0"], array)
    counts = rows_counted(server, "identity_FP32")
    assert counts["lookups"] == 480 and counts["hits"] > 0
    server.expect("identity_FP32", inference_count=counts["misses"])


def test_random_batches_as_they_are(deploy, repository):
    add_kind(repository, "simple", BY_REQUEST)
    server = deploy(repository)
    random = np.random.default_rng(4)
    asked = [tuple(ask_random(server, "simple", random, most=2)) for _ in range(40)]
    server.expect("simple", success=40, inference_count=sum(map(len, set(asked))))
    wait_rows(server, "simple", lookups=40, misses=len(set(asked)))
    assert len(set(asked)) < 40


# --- Rows under way ---


def test_overlapping_batches_run_each_row_once(serve, repository):
    echo(repository, rows=8, delay_ms=100, cached=True, extra="instance_group [ { kind: KIND_CPU count: 4 } ]\n")
    server = serve(repository, "--threads=2")

    def ask(i):
        values = [[(i + k) % 10] for k in range(1 + i % 5)]
        ask_identity(server, values, "echo", "INT32", binary_in=i % 2 == 0)
        return len(values)

    rows = sum(at_once(20, ask))
    server.expect("echo", success=20, inference_count=10)
    wait_rows(server, "echo", lookups=rows, misses=10)


def test_rows_that_are_under_way_are_joined(deploy, repository):
    echo(repository, rows=8, cached=True, extra=ONE_INSTANCE + batching())
    server = deploy(repository)
    held = hold(server)
    first = sent_echo(server, [[1], [2]])
    second = sent_echo(server, [[2], [3], [2]])
    third = sent_echo(server, [[3], [1]])
    replies = [connection.reply("POST") for connection in (first, second, third)]
    for reply, values in zip(replies, ([[1], [2]], [[2], [3], [2]], [[3], [1]]), strict=True):
        same(decode(reply)["OUTPUT0"], tensor(values, "INT32"))
    held.reply("POST")
    assert cache_status(replies[2]).get("detail") == "joined" and is_hit(replies[2])
    server.expect("echo", success=4, inference_count=4)
    wait_batches(server, "echo", {1: 1, 3: 1})
    wait_rows(server, "echo", lookups=8, hits=0, misses=4, joined=4)


def test_a_client_that_leaves_does_not_take_others_rows_along(deploy, repository):
    echo(repository, rows=8, cached=True, extra=ONE_INSTANCE + batching())
    server = deploy(repository)
    held = hold(server)
    with sent_echo(server, [[1], [2]]):
        second = sent_echo(server, [[2], [3]])
    same(decode(second.reply("POST"))["OUTPUT0"], tensor([[2], [3]], "INT32"))
    held.reply("POST")
    ask_identity(server, [[1], [2], [3], [4]], "echo", "INT32")
    server.expect("echo", inference_count=5)


def test_rows_of_several_requests_make_one_batch(deploy, repository):
    """Known rows do not go into the batch; unknown ones of several requests do, each once."""
    repository.copy("simple", extra=ONE_INSTANCE + batching(preferred=[5], delay_us=HOUR))
    server = deploy(repository)
    ask_pairs(server, 1, 2, 3, 4, 5)
    waiting = [sent(server, "simple", pairs(*numbers)[0]) for numbers in ((1, 11, 12), (12, 13, 2))]
    wait_queued(server, "simple", 2)
    waiting.append(sent(server, "simple", pairs(14, 15)[0]))
    for connection, numbers in zip(waiting, ((1, 11, 12), (12, 13, 2), (14, 15)), strict=True):
        same(decode(connection.reply("POST"))["OUTPUT0"], pairs(*numbers)[1]["OUTPUT0"])
    wait_batches(server, "simple", {5: 2})


# --- Rows that fail ---


def ask_table(server, *indices):
    array = np.array([[index] for index in indices])
    reply = put(server, "embedding", {"INDEX": array})
    if reply.status == 200:
        same(decode(reply)["OUTPUT0"], TABLE[array])
    else:
        assert "out of data bounds" in reply.error
    return reply.status


@pytest.fixture
def embedding(deploy, repository):
    def start(extra=""):
        repository.copy("embedding", cached=True, extra=extra)
        return deploy(repository)

    return start


def test_failing_rows_are_not_kept(embedding):
    server = embedding()
    assert ask_table(server, 1, 99, 2) in (400, 500)
    assert ask_table(server, 99) in (400, 500)
    assert ask_table(server, 1, 2) == 200
    assert ask_table(server, 3, 99, 1) in (400, 500)
    assert ask_table(server, 1, 2, 3) == 200
    server.expect("embedding", success=2, fail=3)
    rows_counted(server, "embedding")


def test_random_batches_with_failing_rows(embedding):
    server = embedding(batching(delay_us=1000))

    def ask(i):
        indices = np.random.default_rng(i).integers(-12, 12, 1 + i % 4)
        good = bool(np.all((indices >= -10) & (indices < 10)))
        status = ask_table(server, *(int(index) for index in indices))
        assert (status == 200) == good, f"{indices}: {status}"
        return good

    good = many(120, ask)
    server.expect("embedding", success=sum(good), fail=120 - sum(good))
    assert 0 < sum(good) < 120
    rows_counted(server, "embedding")


def test_a_failing_row_fails_only_those_who_ask_for_it(embedding):
    """The second request joins a good row of the first, which fails for its other row."""
    server = embedding(ONE_INSTANCE + batching(preferred=[4], delay_us=HOUR))
    waiting = [sent(server, "embedding", {"INDEX": np.array(index)}) for index in ([[99], [1]], [[1], [2]])]
    wait_queued(server, "embedding", 2)
    waiting.append(sent(server, "embedding", {"INDEX": np.array([[3]])}))
    replies = [connection.reply("POST") for connection in waiting]
    assert [reply.status == 200 for reply in replies] == [False, True, True], [reply.body for reply in replies]
    same(decode(replies[1])["OUTPUT0"], TABLE[[[1], [2]]])
    same(decode(replies[2])["OUTPUT0"], TABLE[[[3]]])


# --- Rows in Redis ---


def test_damaged_rows_are_run_again(serve, repository, redis_server):
    redis = redis_server()
    server = serve(repository.add("simple"), *redis.cache("lookup_timeout=5000"), "--threads=1")
    wait_known(server, 4)
    keys = redis.wait_entries(4)
    redis.command("SET", keys[0], b"nonsense")
    redis.command("SET", keys[1], redis.command("GET", keys[2]))
    before = server.statistics("simple")["inference_count"]
    ask_pairs(server, 1, 2, 3, 4)
    server.expect("simple", inference_count=before + 2)


def wait_known(server, count):
    """Asks for rows until all come from Redis; the first requests may come before the connection does."""
    asked_until(lambda: ask_pairs(server, *range(1, count + 1)), lambda status: status.get("detail") == "redis", "the rows")


def test_servers_share_rows(serve, repository, redis_server):
    redis = redis_server()
    repository.add("simple")
    one, two = (serve(repository, *redis.cache("lookup_timeout=5000"), "--threads=1") for _ in range(2))
    wait_known(one, 3)
    wait_known(two, 3)
    before = two.statistics("simple")["inference_count"]
    assert cache_status(ask_pairs(two, 3, 4, 1))["detail"] == "2 of 3 rows"
    two.expect("simple", inference_count=before + 1)
    redis.wait_entries(4)
    assert is_hit(ask_pairs(one, 4, 3, 2, 1))


@pytest.mark.parametrize("key_hash", ["ghash", "sha256"])
def test_keys_that_workers_make(caching, repository, key_hash):
    """Keys of inputs too long for a loop equal those that a loop makes."""
    echo(repository, rows=8, cached=True)
    server = caching(repository, f"key_hash={key_hash}")
    rows = np.arange(3 * 700_000, dtype=np.int32).reshape(3, -1)  # 2.8 MB each: long for a loop with one hash only

    def ask(*which):
        reply = put(server, "echo", {"INPUT0": rows[list(which)]}, binary_in=True, binary_out=True)
        same(decode(reply)["OUTPUT0"], rows[list(which)])
        return cache_status(reply)

    assert ask(0, 1)["fwd"] == "miss"
    wait_stored(server, 2)
    assert "hit" in ask(1) and "hit" in ask(0) and "hit" in ask(1, 0)
    assert ask(2)["fwd"] == "miss"
    wait_stored(server, 3)
    assert "hit" in ask(0, 1, 2)
    rows[1][-1] += 1
    assert ask(0, 1)["fwd"] == "partial"
