"""Dynamic batching: what is put together, in which order it runs, what is turned away, and that nothing gets lost."""

import threading

import numpy as np
import pytest

from support import (PATIENCE, ask_identity, ask_scale, at_once, decode, encode, eventually, infer, infer_path, same,
                     tensor)
from traffic import (EXPLICIT, HOUR, ONE_INSTANCE, ONE_THREAD, answers, batches, batching, echo, first_ready, hold, metric,
                     order_of, put, queued, sent, sent_echo, wait_batches, wait_queued, write_config)

pytestmark = pytest.mark.threads

FULL_QUEUE = "[request id: {}] Exceeds maximum queue size"
TOO_LATE = "Request timeout expired"


def failures(server, reason, model="echo"):
    return metric(server, "nv_inference_request_failure", model=model, version="1", reason=reason)


def ask_echo(server, values, model="echo", **options):
    return ask_identity(server, values, model, "INT32", **options)


def check_echo(connections, values):
    """Every request has its own answer."""
    for answer, value in zip(answers(connections), values, strict=True):
        same(answer["OUTPUT0"], tensor(value, "INT32"))


@pytest.fixture
def echoing(deploy, repository):
    """echoing(batching of the config, rows=8): a server of the model echo with one instance."""
    def start(config, rows=8, extra=ONE_INSTANCE):
        echo(repository, rows=rows, extra=extra + config)
        return deploy(repository)

    return start


# --- What is put together ---


def test_a_full_batch_runs_at_once(echoing):
    server = echoing(batching(delay_us=HOUR), rows=4)
    at_once(4, lambda i: ask_echo(server, [[i, 2 * i]], id=f"id{i}", binary_out=i % 2 == 0))
    server.expect("echo", success=4, inference_count=4, execution_count=1, queue=4, fail=0)
    wait_batches(server, "echo", {4: 1})


def test_requests_wait_for_a_preferred_size(echoing):
    server = echoing(batching(preferred=[3], delay_us=HOUR))
    values = [[[i]] for i in range(3)]
    waiting = [sent_echo(server, value) for value in values[:2]]
    wait_queued(server, "echo", 2)
    assert batches(server, "echo") == {}
    check_echo([*waiting, sent_echo(server, values[2])], values)
    wait_batches(server, "echo", {3: 1})
    wait_queued(server, "echo", 0)


def test_the_delay_ends_the_wait(echoing):
    server = echoing(batching(preferred=[4], delay_us=300_000))
    values = [[[7]], [[8]]]
    check_echo([sent_echo(server, value) for value in values], values)
    wait_batches(server, "echo", {2: 1})


def test_what_waited_for_the_instance_runs_together(echoing):
    server = echoing(batching())
    held = hold(server)
    values = [[[i]] for i in range(5)]
    waiting = [sent_echo(server, value) for value in values]
    wait_queued(server, "echo", 5)
    check_echo([held, *waiting], [[[-1]], *values])
    wait_batches(server, "echo", {1: 1, 5: 1})
    server.expect("echo", success=6, inference_count=6, execution_count=2)


def test_without_dynamic_batching_nothing_is_put_together(echoing):
    server = echoing("")
    held = hold(server)
    values = [[[i]] for i in range(3)]
    check_echo([held, *(sent_echo(server, value) for value in values)], [[[-1]], *values])
    wait_batches(server, "echo", {1: 4})


@pytest.mark.parametrize("preferred, sizes, expected", [
    ([], [1, 2, 3], {1: 1, 6: 1}), ([], [3, 3, 3], {1: 1, 3: 1, 6: 1}), ([], [7, 1, 1], {1: 2, 8: 1}),
    ([4], [1] * 6, {1: 1, 2: 1, 4: 1}), ([2, 4], [1] * 4, {1: 1, 4: 1})],
    ids=["rows_add_up", "no_request_is_split", "one_is_full", "preferred_first", "largest_preferred"])
def test_sizes(echoing, preferred, sizes, expected):
    server = echoing(batching(preferred))
    held = hold(server)
    values = [[[100 * i + k] for k in range(size)] for i, size in enumerate(sizes)]
    waiting = [sent_echo(server, value) for value in values]
    wait_queued(server, "echo", len(sizes))
    check_echo([held, *waiting], [[[-1]], *values])
    wait_batches(server, "echo", expected)


@pytest.mark.parametrize("first, second, together", [
    ({"values": [[1]]}, {"values": [[1, 2]]}, False),
    ({"values": [[1, 2], [3, 4]]}, {"values": [[1, 2, 3, 4]]}, False),
    ({"parameters": {"a": 1}}, {"parameters": {"a": 2}}, False),
    ({"parameters": {"a": 1}}, {}, False),
    ({"parameters": {"a": 1, "b": "x"}}, {"parameters": {"b": "x", "a": 1}}, True),
    ({"parameters": {"priority": 1}}, {"parameters": {"timeout": 9_000_000}}, True),
    ({"id": "one", "binary_in": True}, {"id": "two", "binary_out": True}, True)],
    ids=["width", "same_size", "value", "one_more", "order", "scheduling", "id"])
def test_who_may_share_a_run(echoing, first, second, together):
    server = echoing(batching())
    held = hold(server)
    requests = [{"values": [[5]], **options} for options in (first, first, second, second)]
    waiting = [sent_echo(server, **options) for options in requests]
    wait_queued(server, "echo", 4)
    check_echo([held, *waiting], [[[-1]], *(options["values"] for options in requests)])
    rows = [sum(len(options["values"]) for options in half) for half in (requests[:2], requests[2:])]
    expected = {1: 1}
    for size in [sum(rows)] if together else rows:
        expected[size] = expected.get(size, 0) + 1
    wait_batches(server, "echo", expected)


def test_all_inputs_and_outputs_are_cut_rightly(deploy, repository):
    repository.copy("simple", extra=ONE_INSTANCE + batching(preferred=[8], delay_us=HOUR))
    server = deploy(repository)
    random = np.random.default_rng(3)
    parts = [{name: random.integers(-1000, 1000, (rows, 16), dtype=np.int32) for name in ("INPUT0", "INPUT1")}
             for rows in (1, 3, 2, 2)]
    for answer, part in zip(answers([sent(server, "simple", part) for part in parts]), parts, strict=True):
        same(answer["OUTPUT0"], part["INPUT0"] + part["INPUT1"])
        same(answer["OUTPUT1"], part["INPUT0"] - part["INPUT1"])
    wait_batches(server, "simple", {8: 1})


def test_strings_are_cut_rightly(deploy, repository):
    repository.copy("identity_BYTES", extra=ONE_INSTANCE + batching(preferred=[6], delay_us=HOUR))
    server = deploy(repository)
    parts = [tensor([b"", b"x" * 300], "BYTES", (1, 2)), tensor([b"a", b"\xff\0", b"b" * 70000, b""], "BYTES", (2, 2)),
             tensor([b"%d" % i for i in range(6)], "BYTES", (3, 2))]
    waiting = [sent(server, "identity_BYTES", {"INPUT0": part}, binary_in=True, binary_out=True) for part in parts]
    for answer, part in zip(answers(waiting), parts, strict=True):
        same(answer["OUTPUT0"], part)
    wait_batches(server, "identity_BYTES", {6: 1})


def test_random_requests_under_load(deploy, repository):
    """However requests are batched, each gets its own answer."""
    repository.scale("scale", {1: 3.0}, extra=ONE_INSTANCE + batching(delay_us=10_000))
    server = deploy(repository)

    def work(i):
        random = np.random.default_rng(i)
        for _ in range(25):
            array = random.integers(-1000, 1000, (random.integers(1, 5), random.integers(1, 3))).astype(np.float32)
            answer = infer(server, "scale", {"INPUT0": array}, binary_in=bool(random.integers(2)))
            same(answer["OUTPUT0"], array * np.float32(3))
        return True

    assert all(at_once(8, work))
    server.expect("scale", success=200, fail=0)
    assert max(batches(server, "scale")) > 4, "nothing was put together"


# --- Order ---


def test_preserve_ordering(deploy, repository):
    """With two instances, a reply that is ready first waits for the other, except in the model `free`."""
    two = "instance_group [ { kind: KIND_CPU count: 2 } ]\n"
    echo(repository, rows=8, extra=two + batching(extra="preserve_ordering: true"))
    echo(repository, "free", rows=8, extra=two + batching())
    server = deploy(repository)
    slow = sent_echo(server, [[1]], "free", parameters={"delay_ms": 300})
    assert order_of([slow, sent_echo(server, [[2]], "free")]) == [1, 0]
    for parameters, status in (({}, 200), ({"fail": "no luck"}, 500)):
        slow = sent_echo(server, [[1]], parameters={"delay_ms": 300, **parameters})
        fast = sent_echo(server, [[2]], parameters={"delay_ms": 0})
        assert 0 in first_ready([slow, fast]), "errors keep the order as well"
        assert [connection.reply("POST").status for connection in (slow, fast)] == [status, 200]
    server.expect("echo", success=3, fail=1)


def test_order_is_kept_when_batches_fail(deploy, repository):
    """Requests come on all loops; a failed run also answers requests that wait for their turn on other loops."""
    two = "instance_group [ { kind: KIND_CPU count: 2 } ]\n"
    echo(repository, rows=8, extra=two + batching(delay_us=200, extra="preserve_ordering: true"))
    server = deploy(repository)

    def work(i):
        with server.connect() as connection:
            for k in range(40):
                value = [[1000 * i + k]] * (1 + k % 3)
                fields = {"parameters": {"fail": "no luck"}} if (i + k) % 4 == 0 else {}
                body, headers = encode({"INPUT0": tensor(value, "INT32")}, **fields)
                reply = connection.request("POST", infer_path("echo"), body, headers)
                assert reply.status == (500 if fields else 200), reply.body
                if not fields:
                    same(decode(reply)["OUTPUT0"], tensor(value, "INT32"))
        return True

    assert all(at_once(8, work))


def test_priorities(echoing):
    """Priority 1 goes first; 0, too large a number, and no priority mean the default."""
    server = echoing(batching(extra="priority_levels: 3 default_priority_level: 2"))
    held = hold(server)
    levels = [3, 99, 2, 0, None, 1]
    waiting = [sent_echo(server, [[i]], parameters={"delay_ms": 60 + i, **({} if level is None else {"priority": level})})
               for i, level in enumerate(levels)]
    wait_queued(server, "echo", 6)
    assert order_of([*waiting, held]) == [6, 5, 1, 2, 3, 4, 0]


# --- Bounds and time-outs ---


def test_full_queue(echoing):
    server = echoing(batching(policy="max_queue_size: 2"))
    held = hold(server)
    waiting = [sent_echo(server, [[i]]) for i in range(2)]
    wait_queued(server, "echo", 2)
    reply = put(server, "echo", {"INPUT0": tensor([[9]], "INT32")}, id="q9")
    assert (reply.status, reply.error) == (503, FULL_QUEUE.format("q9"))
    reply = put(server, "echo", {"INPUT0": tensor([[9]], "INT32")})
    assert (reply.status, reply.error) == (503, FULL_QUEUE.format("<id_unknown>"))
    check_echo([held, *waiting], [[[-1]], [[0]], [[1]]])
    ask_echo(server, [[9]])  # there is room again
    server.expect("echo", success=4, fail=2)
    assert failures(server, "REJECTED") == 2


def test_bounds_of_each_level(echoing):
    server = echoing(batching(policy="max_queue_size: 5", extra="priority_levels: 2 default_priority_level: 2 "
                              "priority_queue_policy { key: 1 value { max_queue_size: 1 } }"))
    held = hold(server)
    first = sent_echo(server, [[1]], parameters={"priority": 1})
    wait_queued(server, "echo", 1)
    reply = put(server, "echo", {"INPUT0": tensor([[9]], "INT32")}, parameters={"priority": 1}, id="x")
    assert (reply.status, reply.error) == (503, FULL_QUEUE.format("x"))
    others = [sent_echo(server, [[i]], parameters={"priority": 2}) for i in range(5)]
    wait_queued(server, "echo", 6)
    reply = put(server, "echo", {"INPUT0": tensor([[9]], "INT32")}, id="y")
    assert (reply.status, reply.error) == (503, FULL_QUEUE.format("y"))
    check_echo([held, first, *others], [[[-1]], [[1]], *([[i]] for i in range(5))])


@pytest.mark.parametrize("policy, timeout, late", [
    ("default_timeout_microseconds: 150000", None, True),
    ("default_timeout_microseconds: 150000 timeout_action: REJECT", 9_000_000, True),
    ("default_timeout_microseconds: 150000 allow_timeout_override: true", 9_000_000, True),
    ("default_timeout_microseconds: 9000000 allow_timeout_override: true", 150_000, True),
    ("allow_timeout_override: true", 150_000, True),
    ("default_timeout_microseconds: 9000000", 150_000, False),
    ("", 150_000, False),
    ("allow_timeout_override: true", 0, False)],
    ids=["default", "no_override", "override_is_larger", "override_is_smaller", "override_of_no_limit",
         "override_is_not_allowed", "no_policy", "override_is_zero"])
def test_time_out(echoing, policy, timeout, late):
    server = echoing(batching(policy=policy or "max_queue_size: 0"))
    held = hold(server, milliseconds=500)
    parameters = {} if timeout is None else {"timeout": timeout}
    waiting = sent_echo(server, [[1]], parameters=parameters, id="q1")
    other = None if late else sent_echo(server, [[2]])
    check_echo([held], [[[-1]]])
    reply = waiting.reply("POST")
    if late:
        assert (reply.status, reply.error) == (503, TOO_LATE)
        server.expect("echo", success=1, fail=1, execution_count=1)
        assert failures(server, "REJECTED") == 1
    else:
        same(decode(reply)["OUTPUT0"], tensor([[1]], "INT32"))
        check_echo([other], [[[2]]])
        wait_batches(server, "echo", {1: 1, 2: 1})


def test_time_out_of_each_level(echoing):
    server = echoing(batching(policy="default_timeout_microseconds: 9000000",
                              extra="priority_levels: 2 default_priority_level: 2 priority_queue_policy { key: 1 "
                                    "value { default_timeout_microseconds: 150000 } }"))
    held = hold(server, milliseconds=500)
    late = sent_echo(server, [[1]], parameters={"priority": 1}, id="high")
    patient = sent_echo(server, [[2]])
    check_echo([held, patient], [[[-1]], [[2]]])
    reply = late.reply("POST")
    assert (reply.status, reply.error) == (503, TOO_LATE)


def test_a_late_request_is_put_behind_the_others(echoing):
    """timeout_action DELAY: it is answered, but those in time go first."""
    server = echoing(batching(policy="timeout_action: DELAY default_timeout_microseconds: 9000000 "
                                     "allow_timeout_override: true"))
    held = hold(server, milliseconds=250)
    late = sent_echo(server, [[1]], parameters={"delay_ms": 61, "timeout": 40_000})
    others = [sent_echo(server, [[i]], parameters={"delay_ms": 70 + i}) for i in (2, 3)]
    assert order_of([late, *others, held]) == [3, 1, 2, 0]
    server.expect("echo", success=4, fail=0)


# --- Failures ---


def digits(*words):
    return {name: tensor([str(word) for word in words for _ in range(16)], "BYTES", (len(words), 16))
            for name in ("INPUT0", "INPUT1")}


@pytest.mark.parametrize("position", range(3))
def test_a_bad_request_fails_alone(deploy, repository, position):
    repository.copy("simple_string", extra=ONE_INSTANCE + batching(preferred=[4], delay_us=HOUR))
    server = deploy(repository)
    requests = [digits(5), digits(6, 7)]
    requests.insert(position, digits("x"))
    waiting = [sent(server, "simple_string", request) for request in requests[:2]]
    wait_queued(server, "simple_string", 2)
    assert not first_ready(waiting, 0.05), "they wait for the third"
    waiting.append(sent(server, "simple_string", requests[2]))
    for i, (connection, request) in enumerate(zip(waiting, requests, strict=True)):
        reply = connection.reply("POST")
        if i == position:
            assert reply.status in (400, 500)
            assert "stoll" in reply.error
        else:
            same(decode(reply)["OUTPUT0"], tensor([str(2 * int(word)) for word in request["INPUT0"].ravel()], "BYTES",
                                                  request["INPUT0"].shape))
    server.expect("simple_string", success=2, fail=1)
    assert failures(server, "BACKEND", "simple_string") == 1


def test_when_all_fail_each_has_its_error(echoing):
    server = echoing(batching(preferred=[3], delay_us=HOUR))
    waiting = [sent_echo(server, [[i]], parameters={"fail": "no luck"}) for i in range(2)]
    wait_queued(server, "echo", 2)
    waiting.append(sent_echo(server, [[2]], parameters={"fail": "no luck"}))
    replies = [connection.reply("POST") for connection in waiting]
    assert [reply.status for reply in replies] == [500] * 3
    assert all("no luck" in reply.error for reply in replies)
    server.expect("echo", success=0, fail=3)


# --- Clients that go away ---


def test_a_client_that_is_gone_leaves_the_queue(echoing):
    server = echoing(batching())
    held = hold(server, milliseconds=700)
    with sent_echo(server, [[1]]):
        stays = sent_echo(server, [[2]])
        wait_queued(server, "echo", 2)
    wait_queued(server, "echo", 1)
    assert not first_ready([held], 0), "before its turn came"
    assert failures(server, "CANCELED") == 1
    check_echo([held, stays], [[[-1]], [[2]]])
    server.expect("echo", success=2, inference_count=2)
    wait_batches(server, "echo", {1: 2})


def test_a_gone_client_makes_room(echoing):
    server = echoing(batching(policy="max_queue_size: 1"))
    held = hold(server, milliseconds=700)
    with sent_echo(server, [[1]]):
        wait_queued(server, "echo", 1)
    wait_queued(server, "echo", 0)
    assert not first_ready([held], 0)
    check_echo([sent_echo(server, [[2]]), held], [[[2]], [[-1]]])


def test_a_gone_client_does_not_take_its_equals_along(deploy, repository):
    """Equal requests share one place in the queue; it is given up only when the last one goes."""
    echo(repository, rows=8, cached=True, extra=ONE_INSTANCE + batching())
    server = deploy(repository)
    held = hold(server, milliseconds=700)
    first, second, third = (sent_echo(server, [[1]]) for _ in range(3))
    other = sent_echo(server, [[2]])
    wait_queued(server, "echo", 2)
    first.__exit__()
    third.__exit__()
    check_echo([held, second, other], [[[-1]], [[1]], [[2]]])
    ask_echo(server, [[1], [2]])
    wait_batches(server, "echo", {1: 1, 2: 1})


def test_what_runs_already_is_finished_and_stored(deploy, repository):
    echo(repository, rows=8, cached=True, extra=ONE_INSTANCE + batching())
    server = deploy(repository)
    options = {"parameters": {"delay_ms": 300}}
    with sent_echo(server, [[1]], **options):
        wait_queued(server, "echo", 0)
    server.expect("echo", execution_count=1)
    ask_echo(server, [[1]], **options)
    server.expect("echo", execution_count=1)


# --- Models that come and go ---


def test_reload_with_requests_in_the_queue(serve, repository):
    """Requests that wait for a full batch run at the reload, since no more will join them."""
    echo(repository, rows=8, extra=batching(preferred=[8], delay_us=HOUR))
    server = serve(repository, ONE_THREAD, EXPLICIT, "--load-model=echo")
    values = [[[i]] for i in range(6)]
    waiting = [sent_echo(server, value) for value in values]
    wait_queued(server, "echo", 6)
    echo(repository, rows=4, extra=ONE_INSTANCE + batching())
    server.load("echo")
    assert server.get("/v2/models/echo/config").json["max_batch_size"] == 4
    ask_echo(server, [[8]])
    check_echo(waiting, values)


def test_unload_with_requests_in_the_queue(serve, repository):
    echo(repository, rows=8, extra=batching(preferred=[8], delay_us=HOUR))
    server = serve(repository, ONE_THREAD, EXPLICIT, "--load-model=echo")
    values = [[[i]] for i in range(6)]
    waiting = [sent_echo(server, value) for value in values]
    wait_queued(server, "echo", 6)
    server.unload("echo")
    check_echo(waiting, values)
    eventually(lambda: server.index()[("echo", "1")] == ("UNAVAILABLE", "unloaded"), "the model's end")


def test_requests_that_wait_for_company_when_the_server_ends(serve, repository):
    echo(repository, rows=8, extra=batching(preferred=[8], delay_us=HOUR))
    server = serve(repository, ONE_THREAD)
    values = [[[i]] for i in range(3)]
    waiting = [sent_echo(server, value) for value in values]
    wait_queued(server, "echo", 3)
    server.signal(15)
    check_echo(waiting, values)
    assert server.wait() == 0


def test_reloads_under_load_lose_nothing(serve, repository):
    config = ONE_INSTANCE + batching(preferred=[4], delay_us=20_000)
    repository.scale("scale", {1: 2.0}, extra=config)
    server = serve(repository, EXPLICIT, "--load-model=scale")
    failed, counts, over = [], [0] * 4, threading.Event()

    def ask(i):
        array = tensor([[float(i + 1)]])
        try:
            while not over.is_set():
                answer = infer(server, "scale", {"INPUT0": array})["OUTPUT0"]
                assert answer[0, 0] in (2.0 * (i + 1), 3.0 * (i + 1)), f"{answer} for {array}"
                counts[i] += 1
        except BaseException as failure:
            failed.append(failure)

    threads = [threading.Thread(target=ask, args=[i]) for i in range(4)]
    for thread in threads:
        thread.start()
    for factor in (3.0, 2.0) * 3:
        repository.scale("scale", {1: factor}, extra=config)
        server.load("scale")
        ask_scale(server, factor)
    over.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert not failed, failed[0]
    assert min(counts) > 0
    at_once(4, lambda i: ask_scale(server, 2.0, value=float(i)))
    assert max(batches(server, "scale")) > 1


# --- Configurations ---


REFUSED = {
    "preferred_is_too_large": (batching([9]), "preferred"),
    "preferred_is_zero": (batching([0]), "preferred"),
    "no_default_level": (batching(extra="priority_levels: 2"), "priority"),
    "default_level_is_too_high": (batching(extra="priority_levels: 2 default_priority_level: 3"), "priority"),
    "policy_of_no_level": (batching(extra="priority_levels: 2 default_priority_level: 1 "
                                          "priority_queue_policy { key: 3 value { max_queue_size: 1 } }"), "priority"),
    "order_and_levels": (batching(extra="preserve_ordering: true priority_levels: 2 default_priority_level: 1"),
                         "preserve_ordering|priority"),
    "order_and_delay": (batching(policy="timeout_action: DELAY default_timeout_microseconds: 5",
                                 extra="preserve_ordering: true"), "preserve_ordering|DELAY"),
    "sequences": ("sequence_batching { max_sequence_idle_microseconds: 5 }\n", "sequence_batching"),
    "decoupled": ("model_transaction_policy { decoupled: true }\n", "decoupled"),
}


def test_refused_configs(start, repository):
    for name, (config, _) in REFUSED.items():
        echo(repository, name, rows=8, extra=config)
    place = echo(repository, "ragged", rows=8)
    text = (place / "config.pbtxt").read_text()
    write_config(repository, "ragged", text.replace("dims: [ -1 ]", "dims: [ -1 ] allow_ragged_batch: true", 1))
    server = start(repository, "--exit-on-error=false")
    index = server.index()
    words = {name: word for name, (_, word) in REFUSED.items()} | {"ragged": "ragged"}
    for name, word in words.items():
        state, reason = index[(name, "1")] if (name, "1") in index else index[(name, "")]
        assert state != "READY", name
        assert server.lines(f"(?i)^[EW].*{name}.*({word})"), f"{name}: {reason}"


def test_batching_without_batches_is_refused_or_does_nothing(start, repository):
    """max_batch_size 0 has no batch dimension to put rows into."""
    echo(repository, rows=0, extra=ONE_INSTANCE + batching())
    server = start(repository, "--exit-on-error=false", ONE_THREAD)
    if server.ready("echo"):
        held = hold(server, values=(-1,))
        check_echo([held, *(sent_echo(server, [i]) for i in range(3))], [[-1], [0], [1], [2]])
        server.expect("echo", execution_count=4)


def test_a_waiting_request_does_not_hold_up_other_models(deploy, repository):
    echo(repository, rows=8, extra=batching(preferred=[8], delay_us=HOUR))
    echo(repository, "other", rows=8, extra=batching())
    server = deploy(repository)
    waiting = sent_echo(server, [[0]])
    wait_queued(server, "echo", 1)
    at_once(4, lambda i: ask_echo(server, [[i]], "other"))
    assert queued(server, "echo") == 1
    check_echo([waiting, sent_echo(server, [[i] for i in range(1, 8)])], [[[0]], [[i] for i in range(1, 8)]])
