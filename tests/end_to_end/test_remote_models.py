"""Models beside models of our own that run on another server (backend "upstream"), also as steps of ensembles."""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tritonclient import grpc as triton_grpc

from fronts import EXTENSIONS, Behind, Raw, answered, response
from support import CACHE, LOCAL, Repository, at_once, decode, encode, eventually, free_port, infer_path, same, tensor
from traffic import EXPLICIT, echo, ensemble, is_hit, metric, put, step, wait_connected, write_config

PORTS = {"X": "INT32"}, {"Y": "INT32"}
TENSORS = """\
input [ { name: "X", data_type: TYPE_INT32, dims: [ -1 ] } ]
output [ { name: "Y", data_type: TYPE_INT32, dims: [ -1 ] } ]
"""


def address(server):
    return f"http://{LOCAL}:{server if isinstance(server, int) else server.port}"


def parameter(key, value):
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'


def remote(repository, name, *servers, extra="", cached=True, **parameters):
    """A model that runs as model m of these servers."""
    parameters = {"url": ",".join(map(address, servers)), "model": "m", **parameters}
    text = "".join(parameter(key, value) for key, value in parameters.items())
    return write_config(repository, name, 'backend: "upstream"\n' + text + (CACHE if cached else "") + extra)


def chain(repository, *members, cached=True):
    """An ensemble of members after one another."""
    names = ["X", *(f"t{i}" for i in range(len(members) - 1)), "Y"]
    steps = [step(member, {"X": before}, {"Y": after}) for member, before, after in zip(members, names, names[1:])]
    return ensemble(repository, "chain", *PORTS, steps, rows=0, cached=cached)


def ask(server, *values, model="far", headers=None, **options):
    return put(server, model, {"X": tensor(values, "INT32")}, headers, **options)


def check(reply, *values):
    same(decode(reply)["Y"], tensor(values, "INT32"))
    return reply


def hits(reply):
    """Also if the model is not cached."""
    return "cache-status" in reply.headers and is_hit(reply)


def load(server, model):
    return server.post(f"/v2/repository/models/{model}/load")


def lines(server):
    """The paths of the infer requests that have come."""
    return [line.split()[1] for line, _, _ in server.requests]


def output(*values, **changes):
    return {"name": "Y", "datatype": "INT32", "shape": [len(values)], "data": list(values)} | changes


@pytest.fixture
def silent():
    """silent(): the port of a server that accepts connections, and never answers."""
    made = []

    def make():
        made.append(Raw(lambda connection: connection.recv(1 << 20)))
        return made[-1].grpc_port

    yield make
    for one in made:
        one.stop()


def changes(server, answer):
    """The model gives another answer, and the server shows that it was loaded again."""
    server.answers = lambda fields, document, values, count: [answer]
    server.count = server.runs = 0


# --- Running them ---


def test_a_model_of_another_server(serve, repository, fake):
    server = fake()
    remote(repository, "far", server)
    ours = serve(repository, "--threads=1")
    assert not is_hit(check(ask(ours, 1, 2), 2, 3))
    for binary in (False, True):
        assert is_hit(check(ask(ours, 1, 2, binary_in=binary, binary_out=binary), 2, 3))
    assert lines(server) == ["/v2/models/m/infer"]
    metadata = ours.get("/v2/models/far").json
    assert metadata["inputs"] == [{"name": "X", "datatype": "INT32", "shape": [-1]}]
    assert ask(ours, 1, 2).json["model_name"] == "far"
    ours.expect("far", inference_count=1)
    assert metric(ours, "hippocamp_upstream_up", upstream=address(server)) == 1


def test_its_name_and_version_there(serve, repository, fake):
    server = fake()
    server.versions = ["1", "3", "7"]
    server.answers = lambda fields, document, values, count: answered([5]).replace(b'"1"', b'"3"')
    remote(repository, "far", server, version=3)
    ours = serve(repository, "--threads=1")
    check(ask(ours, 1), 5)
    assert is_hit(check(ask(ours, 1), 5))
    assert lines(server) == ["/v2/models/m/versions/3/infer"]


def test_over_grpc(serve, repository, fake):
    remote(repository, "far", fake())
    ours = serve(repository, "--threads=1", "--allow-grpc=true", "--grpc-port=0", f"--grpc-address={LOCAL}")
    given = triton_grpc.InferInput("X", [2], "INT32")
    given.set_data_from_numpy(tensor([1, 2], "INT32"))
    with triton_grpc.InferenceServerClient(f"{LOCAL}:{ours.grpc_port}") as client:
        for _ in range(2):
            same(client.infer("far", [given]).as_numpy("Y"), tensor([2, 3], "INT32"))
    ours.expect("far", inference_count=1)


@pytest.mark.threads
def test_equal_questions_run_once(serve, repository, fake):
    server = fake()
    remote(repository, "far", server)
    ours = serve(repository)
    for reply in at_once(20, lambda i: ask(ours, 9)):
        check(reply, 10)
    assert server.runs == 1


def test_only_unknown_rows_are_sent(serve, repository, fake):
    """The owner states the batch size, so rows are independent of each other."""
    server = fake()
    server.answers = rows_of
    remote(repository, "far", server, extra="max_batch_size: 8\n" + TENSORS.replace("-1", "1"))
    ours = serve(repository, "--threads=1", "--cache-config=local,audit=0")
    put(ours, "far", {"X": tensor([[1], [2]], "INT32")})
    reply = put(ours, "far", {"X": tensor([[2], [3]], "INT32")})
    same(decode(reply)["Y"], tensor([[3], [4]], "INT32"))
    assert server.requests[-1][2].endswith((3).to_bytes(4, "little"))


def rows_of(fields, document, values, count):
    output = {"name": "Y", "datatype": "INT32", "shape": [len(values), 1], "data": [value + 1 for value in values]}
    return response(json.dumps({"model_name": "m", "model_version": "1", "outputs": [output]}).encode())


def test_replicas(serve, repository, fake):
    one, two = fake(), fake()
    remote(repository, "far", one, two)
    ours = serve(repository, "--threads=1")
    check(ask(ours, 1), 2)
    (one if one.runs else two).stop()
    (one if one.runs else two).hang_up()
    check(ask(ours, 2), 3)


def test_a_server_s_error(serve, repository, fake):
    server = fake(lambda fields, document, values, count: response(b'{"error": "no luck"}', "400 Bad Request"))
    remote(repository, "far", server)
    ours = serve(repository)
    for _ in range(2):
        reply = ask(ours, 1)
        assert (reply.status, reply.error) == (400, "no luck")
    server.answers = lambda fields, document, values, count: response(b"<html>", "403 Forbidden")
    reply = ask(ours, 1)
    assert reply.status == 502 and address(server) in reply.error and "403" in reply.error
    for answer in (b"not JSON", *map(lambda outputs: json.dumps({"outputs": outputs}).encode(), [
            [], [output(1 << 40)], [output(1), output(2)], [output(1, shape=[2])], [output(1, datatype="INT33")]])):
        server.answers = lambda fields, document, values, count: response(answer)
        reply = ask(ours, 1)
        assert reply.status == 502 and f"upstream {address(server)}: the response cannot be used" in reply.error
    server.answers = lambda fields, document, values, count: [7]
    check(ask(ours, 1), 7)


# --- Ensembles ---


@pytest.mark.parametrize("cached", [True, False])
def test_steps_of_ensembles(serve, repository, fake, cached):
    server = fake()
    remote(repository, "far", server, cached=cached)
    remote(repository, "farther", server)
    chain(repository, "far", "farther")
    ours = serve(repository, "--threads=1")
    assert not is_hit(check(ask(ours, 1, model="chain"), 3))
    assert is_hit(check(ask(ours, 1, model="chain"), 3))
    assert server.runs == 2


@pytest.mark.threads
def test_the_server_loads_a_model_again(serve, repository, fake):
    """Neither the model nor the ensemble that contains it gives an old answer."""
    server = fake()
    remote(repository, "far", server)
    chain(repository, "far", "far")
    ours = serve(repository, "--threads=1", "--upstream-poll-secs=1")
    for model, known in (("far", 2), ("chain", 3)):
        check(ask(ours, 1, model=model), known)
        assert is_hit(ask(ours, 1, model=model))
    server.answers = lambda fields, document, values, count: [value + 10 for value in values]
    server.count = 0  # as after a load
    server.runs = 0
    eventually(lambda: ours.lines("models behind may have changed"), "the change")
    eventually(lambda: decode(ask(ours, 1, model="chain"))["Y"][0] == 21, "the new answer")
    check(ask(ours, 1), 11)


def test_a_new_version(serve, repository, fake):
    """Its answers are given, but not stored as the old version's."""
    server = fake()
    remote(repository, "far", server)
    ours = serve(repository, "--threads=1", "--upstream-poll-secs=60")
    check(ask(ours, 1), 2)
    server.answers = lambda fields, document, values, count: answered([50 + count]).replace(b'"1"', b'"2"')
    check(ask(ours, 2), 52)
    ours.wait_log("its server has another version now")
    for count in (53, 54):
        check(ask(ours, 1), count)


def test_what_an_entry_cannot_hold(serve, repository, fake):
    """Clients get the tensors, each time from the server."""
    server = fake()
    server.answers = lambda fields, document, values, count: answered([count], parameters={"mine": 1})
    remote(repository, "far", server)
    chain(repository, "far")
    ours = serve(repository, "--threads=1")
    check(ask(ours, 1), 1)
    ours.wait_log("its responses have parameters")
    check(ask(ours, 1), 2)
    check(ask(ours, 1, model="chain"), 3)
    check(ask(ours, 1, model="chain"), 4)


def typed(server, model, content_type):
    document = {"inputs": [{"name": "X", "datatype": "INT32", "shape": [1], "data": [1],
                            "parameters": {"content_type": content_type}}]}
    return server.post(infer_path(model), json.dumps(document).encode(), {"Content-Type": "application/json"})


def test_content_types_in_ensembles(serve, repository, fake):
    """They are part of the question to a model, and none of that to an ensemble: its steps do not get them."""
    server = fake()
    server.answers = lambda fields, document, values, count: [
        {"a": 100, "b": 200}.get(document["inputs"][0].get("parameters", {}).get("content_type"), 7)]
    remote(repository, "far", server)
    chain(repository, "far")
    ours = serve(repository, "--threads=1")
    for content_type, value in (("a", 100), ("b", 200)):
        check(typed(ours, "far", content_type), value)
        check(typed(ours, "chain", content_type), 7)


def test_rows_of_other_content_types_are_not_joined(serve, repository, fake):
    server = fake()
    kinds = {(1,): "a"}

    def answers(fields, document, values, count):
        return response(json.dumps({"model_name": "m", "model_version": "1", "outputs": [
            output(*values, shape=[len(values), 1], parameters={"content_type": kinds.get(tuple(values), "b")})]}).encode())

    server.answers = answers
    remote(repository, "far", server, extra="max_batch_size: 8\n" + TENSORS.replace("-1", "1"))
    ours = serve(repository, "--threads=1")
    for values in ((1,), (2,), (1, 2), (2, 1)):
        reply = put(ours, "far", {"X": tensor([[value] for value in values], "INT32")}, binary_in=False)
        assert reply.json["outputs"][0]["parameters"] == {"content_type": kinds.get(values, "b")}


@pytest.mark.parametrize("change", ["statistics", "sequences"])
def test_an_ensemble_over_a_model_that_is_not_cached(serve, repository, fake, change):
    """What its member answers may change unseen, so nothing of the ensemble is kept."""
    server = fake(lambda fields, document, values, count: [count])
    if change == "statistics":
        server.extensions = [each for each in EXTENSIONS if each != "statistics"]
    else:
        server.config["sequence_batching"] = {}
    remote(repository, "far", server, extra=TENSORS)
    chain(repository, "far")
    ours = serve(repository, "--threads=1")
    for count in range(1, 4):
        check(ask(ours, 1, model="chain"), count)


def test_a_model_of_a_model(serve, front, repository, fake, tmp_path, models):
    """A server's own marks in a model's configuration are not taken for ours."""
    one, two = fake(), fake(lambda fields, document, values, count: [999])
    between = Repository(tmp_path / "between", models)
    remote(between, "mid", one)
    remote(between, "m", two)
    middle = serve(between, "--threads=1")
    remote(repository, "far", middle, model="mid")
    ours, through = serve(repository, "--threads=1"), front(middle, "--cache-models=*")
    for server, model in ((ours, "far"), (through, "mid")):
        eventually(lambda server=server, model=model: hits(check(ask(server, 1, model=model), 2)), "a hit")


def test_a_model_of_a_model_that_may_change_unseen(serve, front, repository, fake, tmp_path, models):
    """What the server between does not keep, those who follow it do not keep, either."""
    server = fake()
    server.extensions = [each for each in EXTENSIONS if each != "statistics"]
    between = Repository(tmp_path / "between", models)
    remote(between, "far", server, extra=TENSORS)
    chain(between, "far")
    middle = serve(between, "--threads=1")
    remote(repository, "mid", middle, model="far", extra=TENSORS)
    remote(repository, "pair", middle, model="chain", extra=TENSORS)
    poll = "--upstream-poll-secs=1"
    ours, through = serve(repository, "--threads=1", poll), front(middle, "--cache-models=*", poll)
    places = [(ours, "mid"), (ours, "pair"), (through, "far"), (through, "chain")]
    for answer in (2, 1002):
        server.answers = lambda fields, document, values, count, answer=answer: [answer]
        for _ in range(3):
            for asked, model in places:
                assert not hits(check(ask(asked, 1, model=model), answer))


def test_a_model_of_a_model_that_cannot_be_loaded_again(serve, front, repository, fake, tmp_path, models):
    """The server between has the new answers only; and those who follow it."""
    server = fake()
    between = Repository(tmp_path / "between", models)
    remote(between, "far", server)
    chain(between, "far")
    poll = "--upstream-poll-secs=1"
    middle = serve(between, "--threads=1", poll)
    remote(repository, "mid", middle, model="far", extra=TENSORS)
    remote(repository, "pair", middle, model="chain", extra=TENSORS)
    ours, through = serve(repository, "--threads=1", poll), front(middle, poll)
    places = [(ours, "mid"), (ours, "pair"), (through, "far"), (through, "chain")]

    def known(answer):
        for asked, model in places:
            eventually(lambda asked=asked, model=model: hits(check(ask(asked, 1, model=model), answer)), "a hit",
                       patience=20)

    known(2)
    config, server.config = server.config, "bad"
    changes(server, 1002)
    middle.wait_log("load failed for model 'far'")
    for asked, model in places:
        eventually(lambda asked=asked, model=model: decode(ask(asked, 1, model=model))["Y"][0] == 1002, "the new answer")
    changes(server, 70)
    for _ in range(3):
        for asked, model in places:
            assert not hits(check(ask(asked, 1, model=model), 70))
    server.config = config
    known(70)


# --- Servers that come and go ---


def test_known_questions_are_answered_while_it_is_down(serve, repository, fake):
    server = fake()
    remote(repository, "far", server)
    ours = serve(repository, "--threads=1")
    check(ask(ours, 1), 2)
    server.stop()
    server.hang_up()
    assert is_hit(check(ask(ours, 1), 2))
    reply = ask(ours, 2)
    assert reply.status in (502, 503) and address(server) in reply.error


def test_a_server_that_starts_later(serve, repository, fake):
    """What is stated is served at once, without the cache; what is not, once the server is there."""
    port = free_port()
    remote(repository, "far", port, extra=TENSORS)
    remote(repository, "empty", port)
    chain(repository, "far")
    ours = serve(repository, "--threads=1", "--exit-on-error=false", "--upstream-poll-secs=1")
    ours.wait_log("'far' is not cached for now: .*" + str(port))
    ours.wait_log("'empty': config.pbtxt states no input or no output.*" + str(port))
    reply = ask(ours, 1)
    assert reply.status == 503 and str(port) in reply.error
    assert ask(ours, 1, model="chain").status == 503
    server = fake(port=port)
    eventually(lambda: hits(ask(ours, 1)) and hits(ask(ours, 1, model="empty")), "the cache", patience=20)
    check(ask(ours, 1), 2)
    check(ask(ours, 1, model="empty"), 2)
    eventually(lambda: hits(ask(ours, 1, model="chain")), "the ensemble's")
    assert server.runs > 0


def test_a_model_that_is_gone_behind(serve, repository, fake):
    server = fake()
    remote(repository, "far", server)
    ours = serve(repository, "--threads=1", "--upstream-poll-secs=1")
    check(ask(ours, 1), 2)
    server.state = "UNAVAILABLE"
    server.answers = lambda fields, document, values, count: response(b'{"error": "gone"}', "404 Not Found")
    eventually(lambda: ask(ours, 1).status == 404, "what the server says")
    server.state = "READY"
    server.answers = lambda fields, document, values, count: [9]
    eventually(lambda: hits(check(ask(ours, 1), 9)), "the model")


def test_a_server_without_statistics(serve, repository, fake):
    server = fake()
    server.extensions = [each for each in EXTENSIONS if each != "statistics"]
    remote(repository, "far", server, extra=TENSORS)
    remote(repository, "stated", server, generation="r1")
    ours = serve(repository, "--threads=1")
    ours.wait_log("state another parameter .generation. whenever the model changes")
    for _ in range(2):
        assert not hits(check(ask(ours, 1), 2))
    check(ask(ours, 1, model="stated"), 2)
    assert is_hit(ask(ours, 1, model="stated"))


@pytest.mark.parametrize("generation", [None, "r1"])
def test_what_servers_share_in_redis(serve, repository, fake, redis_server, generation):
    """They share answers only if the owner states what the model is."""
    server, redis = fake(), redis_server()
    remote(repository, "far", server, **({"generation": generation} if generation else {}))
    cache = redis.cache("lookup_timeout=5000")
    one, two = (serve(repository, *cache, "--threads=1", "--upstream-poll-secs=1") for _ in range(2))
    for each in (one, two):
        wait_connected(each)
    check(ask(one, 1), 2)
    redis.wait_entries(1, "far")
    assert is_hit(check(ask(two, 1), 2)) == bool(generation)
    server.answers = lambda fields, document, values, count: [9]
    server.count = server.runs = 0
    for each in (one, two):
        each.wait_log("models behind may have changed")
    if generation:
        eventually(lambda: not redis.entries("far"), "the purge")
    for each in (one, two):
        eventually(lambda each=each: decode(ask(each, 1))["Y"][0] == 9, "the new answer")
        check(ask(each, 1), 9)


@pytest.mark.threads
def test_silent_servers_hold_up_no_other_one(serve, repository, fake, silent):
    server = fake()
    remote(repository, "far", server)
    for i in range(8):
        remote(repository, f"s{i}", silent(), extra=TENSORS)
    ours = serve(repository, "--threads=1", "--upstream-poll-secs=1")
    check(ask(ours, 1), 2)
    for answer in (70, 71):
        assert is_hit(ask(ours, 1))
        changes(server, answer)
        before = server.polls
        eventually(lambda: server.polls >= before + 3, "three looks")
        eventually(lambda: decode(ask(ours, 1))["Y"][0] == answer, "the new answer", patience=1)
        assert is_hit(ask(ours, 1))
    assert not ours.lines("stood still")


@pytest.mark.parametrize("exits", ["false", "true"])
def test_a_start_that_waits_for_silent_servers_can_be_ended(start, repository, silent, exits):
    """Without waiting for one model after another."""
    port = silent()
    for i in range(20):
        remote(repository, f"far{i}", port)
    ours = start(repository, f"--exit-on-error={exits}")
    ours.wait_log("failed to load 'far" if exits == "false" else "cannot read the models of upstream")
    ours.stop()


def test_a_reply_that_stops_in_the_middle(serve, repository, fake):
    """Others that ask the same are answered, as they would be without the cache."""
    server = fake()
    remote(repository, "far", server)
    ours = serve(repository, "--threads=1")
    check(ask(ours, 1), 2)
    server.answers = lambda fields, document, values, count: answered([9])[:-3] if count == 2 else [9]
    with ThreadPoolExecutor(2) as pool:
        for reply in pool.map(lambda i: ask(ours, 5), range(2)):
            check(reply, 9)
    assert server.runs == 3


def test_a_question_without_an_answer(serve, repository, fake):
    """Who has joined it is answered, as it would be without the cache."""
    server, over = fake(), threading.Event()
    remote(repository, "far", server)
    ours = serve(repository, "--threads=1")
    check(ask(ours, 1), 2)

    def answers(fields, document, values, count):
        if count == 2:
            over.wait(30)
        return [9]

    server.answers = answers
    with ThreadPoolExecutor(2) as pool:
        for reply in pool.map(lambda i: ask(ours, 5), range(2)):
            check(reply, 9)
    over.set()
    assert server.runs == 3


def test_a_version_that_is_asked_for_while_nothing_is_known(serve, repository, fake):
    port = free_port()
    remote(repository, "far", port, extra=TENSORS, version=3)
    ours = serve(repository, "--threads=1", "--upstream-poll-secs=600")
    server = fake(port=port)
    ask(ours, 1)
    assert lines(server) == ["/v2/models/m/versions/3/infer"]


def test_a_version_that_is_no_number(serve, repository, fake):
    """It is not the one that a number asks for."""
    server = fake(lambda fields, document, values, count: answered([7], model_version="v9"))
    server.word, server.extensions = "v9", []
    remote(repository, "far", server, generation="r1", version=1, extra=TENSORS)
    remote(repository, "any", server, generation="r1")
    ours = serve(repository, "--threads=1")
    ours.wait_log("'far' is not cached for now: .* has no version 1 of model 'm' that is ready")
    for hit in (False, True):
        assert is_hit(check(ask(ours, 1, model="any"), 7)) == hit


def test_a_change_while_another_model_is_loaded(serve, repository, fake):
    """It holds at once, although the repository is busy."""
    server = fake()
    remote(repository, "far", server)
    ours = serve(repository, EXPLICIT, "--load-model=far", "--threads=1", "--upstream-poll-secs=1")
    check(ask(ours, 1), 2)
    warmup = "inputs { key: \"INPUT0\" value { data_type: TYPE_INT32 dims: [ 1 ] zero_data: true } }"
    echo(repository, "slow", delay_ms=1000, extra=f'model_warmup {{ name: "w" batch_size: 0 count: 5 {warmup} }}\n')
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load, ours, "slow")
        changes(server, 70)
        before = server.polls
        eventually(lambda: server.polls >= before + 3, "three looks")
        assert not loading.done()
        assert not is_hit(check(ask(ours, 1), 70))
        assert loading.result().status == 200
    eventually(lambda: is_hit(check(ask(ours, 1), 70)), "the model, loaded again")


def test_another_model_of_the_server_changes_nothing(serve, repository, fake):
    server = fake()
    remote(repository, "far", server, generation="r1")
    ours = serve(repository, "--threads=1", "--upstream-poll-secs=1")
    check(ask(ours, 1), 2)
    documents = server.documents

    def with_another():
        found = documents()
        found["/v2/repository/index"].append({"name": "other", "version": "1", "state": "READY"})
        return found

    server.documents = with_another
    before = server.polls
    eventually(lambda: server.polls >= before + 3, "three looks")
    assert is_hit(ask(ours, 1)) and not ours.lines("used up") and not ours.lines("may have changed")


# --- Loading ---


@pytest.mark.parametrize("parameters, message", [
    ("", "needs the address of a server"),
    (parameter("url", "grpc://h"), "the parameter 'url' names 'grpc://h': give http://"),
    (parameter("url", "h"), "the parameter 'url' names 'h'"),
    (parameter("url", "http://h:1,"), "the parameter 'url' names ''"),
    (parameter("url", "http://h:1") + parameter("version", "x"), "the parameter 'version' is 'x'"),
    (parameter("url", "http://h:1") + parameter("version", "0"), "the parameter 'version' is '0'"),
])
def test_parameters_that_cannot_be(serve, repository, parameters, message):
    write_config(repository, "far", 'backend: "upstream"\n' + TENSORS + parameters)
    ours = serve(repository, EXPLICIT)
    reply = load(ours, "far")
    assert reply.status >= 400
    assert "model 'far': " in reply.error and message in reply.error


def test_what_the_log_says_of_a_configuration(serve, repository, fake):
    server = fake()
    remote(repository, "far", server, verison=3, extra=TENSORS.replace("TYPE_INT32", "TYPE_FP32"))
    remote(repository, "wrong", server, model="none", extra=TENSORS)
    remote(repository, "old", server, version=7)
    ours = serve(repository, "--threads=1")
    ours.wait_log(f"'far' runs as 'm' of {address(server)}")
    ours.wait_log("'far': the backend 'upstream' has no parameter 'verison': there are url, model, version and generation")
    ours.wait_log(r"'far': config.pbtxt differs from what its server tells: "
                  r"input 'X' is TYPE_INT32 \[-1\] there, and TYPE_FP32 \[-1\] here; output 'Y'")
    ours.wait_log(r"'wrong' is not cached for now: .* has no model 'none' that is ready \(the parameter 'model'")
    ours.wait_log("'old' is not cached for now: .* has no version 7 of model 'm' that is ready")
    assert not ours.lines("no model takes part in the cache")


def test_a_port_of_another_kind(serve, repository):
    """One that answers 200, but does not speak the protocol."""
    server = Behind(lambda request, send: send(response(b"hello")))
    server.followed = True
    remote(repository, "far", server, extra=TENSORS)
    ours = serve(repository, "--threads=1")
    ours.wait_log(f"'far' is not cached for now: upstream {address(server)}: what it tells of its models is not understood")
    assert metric(ours, "hippocamp_upstream_up", upstream=address(server)) == 0
    server.stop()


def test_a_server_that_starts_at_the_same_time(serve, repository, fake):
    """What has to be taken from it is waited for."""
    port = free_port()
    remote(repository, "far", port)
    late = threading.Timer(1, fake, kwargs={"port": port})
    late.start()
    ours = serve(repository, "--threads=1")
    check(ask(ours, 1), 2)
    late.join()


def test_a_warmup_is_for_models_that_run_here(serve, repository, fake):
    warmup = 'model_warmup { name: "w" batch_size: 0 inputs { key: "X" value { data_type: TYPE_INT32 dims: [ 1 ] zero_data: true } } }\n'
    remote(repository, "far", fake(), extra=warmup)
    ours = serve(repository, EXPLICIT)
    assert "leave it to the server behind" in load(ours, "far").error


@pytest.mark.threads
def test_a_configuration_of_a_load_request(serve, repository, fake):
    """It leads to another server; what the first one has answered is not its answer."""
    one, two = fake(), fake(lambda fields, document, values, count: [70])
    remote(repository, "far", one)
    ours = serve(repository, EXPLICIT, "--threads=1", "--upstream-poll-secs=1")
    ours.load("far")
    check(ask(ours, 1), 2)
    config = {"backend": "upstream", "response_cache": {"enable": True},
              "parameters": {"url": {"string_value": address(two)}, "model": {"string_value": "m"}}}
    ours.load("far", config=json.dumps(config))
    check(ask(ours, 1), 70)
    assert is_hit(ask(ours, 1))
    two.answers = lambda fields, document, values, count: [71]
    two.count = two.runs = 0
    eventually(lambda: decode(ask(ours, 1))["Y"][0] == 71, "its change")
    ours.unload("far")
    ours.load("far")
    check(ask(ours, 1), 2)
    looks_end(two)


def looks_end(server):
    """Nobody looks at it any more."""
    def ended():
        before = server.polls
        time.sleep(1.2)
        return server.polls == before

    eventually(ended, "the end of the looks")


def test_a_load_request_that_fails(serve, repository, fake):
    """The model that serves is looked at as before."""
    one, two = fake(), fake()
    remote(repository, "far", one, generation="r1")
    ours = serve(repository, EXPLICIT, "--threads=1", "--upstream-poll-secs=1")
    ours.load("far")
    check(ask(ours, 1), 2)
    config = {"name": "wrong", "backend": "upstream", "parameters": {
        "url": {"string_value": address(two)}, "model": {"string_value": "m"}, "generation": {"string_value": "r1"}}}
    reply = ours.post("/v2/repository/models/far/load", {"parameters": {"config": json.dumps(config)}})
    assert reply.status >= 400
    looks_end(two)
    changes(one, 70)
    eventually(lambda: decode(ask(ours, 1))["Y"][0] == 70, "the new answer")


@pytest.mark.parametrize("generation", [None, "r1"])
def test_a_load_request_does_not_bring_old_answers_back(serve, repository, fake, generation):
    """One response of another version shows a change, whether a look has seen it or not."""
    server = fake()
    remote(repository, "far", server, **({"generation": generation} if generation else {}))
    ours = serve(repository, EXPLICIT, "--load-model=far", "--threads=1", "--upstream-poll-secs=60")
    check(ask(ours, 1), 2)
    server.versions, server.answers = ["2"], lambda *_: answered([50]).replace(b'"1"', b'"2"')
    check(ask(ours, 2), 50)
    ours.wait_log("its server has another version now")
    for _ in range(2):
        check(ask(ours, 1), 50)
        ours.load("far")
    assert ours.post("/v2/repository/models/far/unload").status == 200
    ours.load("far")
    check(ask(ours, 1), 50)
    if generation is None:
        assert is_hit(check(ask(ours, 1), 50))


def test_statistics_of_a_suspended_model(serve, repository, fake):
    """Over both protocols, with the others'."""
    server = fake()
    server.extensions = [each for each in EXTENSIONS if each != "statistics"]
    remote(repository, "far", server, extra=TENSORS)
    repository.add("identity")
    ours = serve(repository, "--threads=1")
    told = {one["name"]: one.get("unseen_changes") for one in ours.get("/v2/models/stats").json["model_stats"]}
    assert told == {"far": True, "identity": None}
    with triton_grpc.InferenceServerClient(f"{LOCAL}:{ours.grpc_port}") as client:
        for name, found in (("", {"far", "identity"}), ("far", {"far"})):
            assert {one.name for one in client.get_inference_statistics(name).model_stats} == found


def test_a_load_request_does_not_storm_a_server_that_starts(serve, repository, fake):
    """It refuses each look at once, for the seconds in which a load waits for it."""
    asked = []

    class Starting(Behind):
        followed = True

    starting = Starting(lambda request, send: asked.append(request) or send(response(b"{}", "503 Service Unavailable")))
    remote(repository, "far", fake())
    ours = serve(repository, EXPLICIT, "--load-model=far", "--threads=1")
    config = {"backend": "upstream", "parameters": {"url": {"string_value": address(starting)},
                                                    "model": {"string_value": "m"}}}
    assert ours.post("/v2/repository/models/far/load", {"parameters": {"config": json.dumps(config)}}).status >= 400
    assert 1 < len(asked) < 100
    starting.stop()


def test_a_failed_load_is_not_made_later(serve, repository, fake):
    """In mode explicit models are loaded when somebody asks for it."""
    port = free_port()
    remote(repository, "far", port)
    ours = serve(repository, EXPLICIT, "--upstream-poll-secs=1")
    assert load(ours, "far").status >= 400
    server = fake(port=port)
    time.sleep(2.5)
    assert ask(ours, 1).status == 404 and server.polls == 0


def test_a_file_that_was_changed_is_not_loaded_by_a_change_there(serve, repository, fake):
    one, two = fake(), fake(lambda fields, document, values, count: [500])
    remote(repository, "far", one)
    ours = serve(repository, EXPLICIT, "--load-model=far", "--threads=1", "--upstream-poll-secs=1")
    check(ask(ours, 1), 2)
    remote(repository, "far", two)
    changes(one, 70)
    eventually(lambda: is_hit(ask(ours, 1)) and decode(ask(ours, 1))["Y"][0] == 70, "the new answer")
    ours.load("far")
    check(ask(ours, 1), 500)


def test_a_change_while_nobody_looked(serve, repository, fake):
    """A model that is loaded again gives no answer from before."""
    server = fake()
    remote(repository, "far", server)
    ours = serve(repository, EXPLICIT, "--threads=1", "--upstream-poll-secs=60")
    ours.load("far")
    check(ask(ours, 1), 2)
    ours.unload("far")
    changes(server, 70)
    ours.load("far")
    check(ask(ours, 1), 70)


def test_many_generations_take_no_more_files(serve, repository, fake):
    server = fake()
    remote(repository, "far", server, generation="r0")
    ours = serve(repository, EXPLICIT, "--threads=1")
    counts = []
    for i in range(12):
        remote(repository, "far", server, generation=f"r{i}")
        ours.load("far")
        assert not is_hit(check(ask(ours, 1), 2)) and is_hit(ask(ours, 1))
        counts.append(len(os.listdir(f"/proc/{ours.process.pid}/fd")))
    assert max(counts[2:]) <= counts[1] + 4


def test_another_server_in_the_file(serve, repository, fake):
    one, two = fake(), fake(lambda fields, document, values, count: [70])
    remote(repository, "far", one)
    ours = serve(repository, "--model-control-mode=poll", "--repository-poll-secs=1", "--threads=1")
    check(ask(ours, 1), 2)
    remote(repository, "far", two)
    eventually(lambda: decode(ask(ours, 1))["Y"][0] == 70, "the other server")


# --- What must not happen ---


@pytest.mark.parametrize("name", ["hippocamp.field.x", "hippocamp.unkeyed.field.x", "hippocamp.unkeyed.x"])
def test_clients_make_no_header_fields(serve, repository, fake, name):
    server = fake()
    remote(repository, "far", server)
    chain(repository, "far")
    ours = serve(repository)
    for model in ("far", "chain"):
        body, fields = encode({"X": tensor([1], "INT32")}, parameters={name: "1\r\nEvil: 1"})
        reply = ours.post(infer_path(model), body, fields)
        assert reply.status == 400 and name in reply.error
    assert server.runs == 0


@pytest.mark.parametrize("cached", [True, False])
def test_a_circle(serve, repository, cached):
    """A model that leads to itself answers with an error, whether equal requests join or not."""
    port = free_port()
    remote(repository, "far", port, model="far", extra=TENSORS, cached=cached, generation="r1")
    ours = serve(repository, f"--http-port={port}", "--upstream-poll-secs=1")
    for reply in at_once(4, lambda i: ask(ours, 1)):
        assert reply.status in (502, 508) and "circle" in reply.error
    if cached:
        eventually(lambda: ours.get("/v2/models/far/config").json["response_cache"]["enable"], "the look")
    for reply in at_once(4, lambda i: ask(ours, 1)):
        assert reply.status in (502, 508) and "circle" in reply.error


def test_a_circle_of_two(serve, repository, fake, tmp_path, models):
    ports = free_port(), free_port()
    repositories = repository, Repository(tmp_path / "other", models)
    for each, port in zip(repositories, reversed(ports)):
        remote(each, "far", port, model="far", extra=TENSORS, generation="r1")
    servers = [serve(each, f"--http-port={port}", "--upstream-poll-secs=1") for each, port in zip(repositories, ports)]
    for server in servers:
        eventually(lambda server=server: server.get("/v2/models/far/config").json["response_cache"]["enable"], "the look")
    for i in range(3):  # equal ones meet
        for reply in at_once(8, lambda k: ask(servers[k % 2], i)):
            assert reply.status in (502, 508) and "circle" in reply.error


def test_a_server_that_two_models_name(serve, repository, fake):
    """Its metrics are there once."""
    one, two = fake(), fake()
    remote(repository, "far", one)
    remote(repository, "stated", one, generation="r1")
    remote(repository, "both", one, two)
    ours = serve(repository, "--threads=1")
    text = ours.request("GET", "/metrics", port=ours.metrics_port).body.decode()
    up = [line for line in text.splitlines() if line.startswith("hippocamp_upstream_up{")]
    assert len(up) == 2 and all(line.endswith(" 1") for line in up)
    before = metric(ours, "hippocamp_upstream_requests_total", upstream=address(one))
    for model in ("far", "stated"):
        check(ask(ours, 1, model=model), 2)
    assert metric(ours, "hippocamp_upstream_requests_total", upstream=address(one)) >= before + 2
