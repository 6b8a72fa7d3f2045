"""In front of another server: what is answered from the cache, what passes through, and what must never be answered."""

import json
import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from faults import reset
from fronts import EXTENSIONS, answered, chunk, response
from support import (LOCAL, PATIENCE, ask_scale, ask_simple, decode, encode, eventually, free_port, infer_path, request_bytes, same,
                     sums, tensor)
from traffic import EXPLICIT, echo, is_hit, metric, put, wait_connected

ALL = "--cache-models=*"


def ask(server, *values, headers=None, **options):
    return put(server, "m", {"X": tensor(values, "INT32")}, headers, **options)


def passed(reply):
    """Did it come from the server behind as it is?"""
    told = reply.headers.get("cache-status", "hippocamp; fwd=bypass")
    return told.startswith("hippocamp; fwd=bypass") and reply.headers.get("via") == "1.1 hippocamp"


def reason(reply):
    """Why an inference request has passed."""
    assert passed(reply)
    return reply.headers["cache-status"].removeprefix("hippocamp; fwd=bypass; detail=")


def hits(reply):
    return "cache-status" in reply.headers and is_hit(reply)


def check(reply, *values):
    same(decode(reply)["Y"], tensor(values, "INT32"))
    return reply


def wait_known(server, model="m"):
    """Until the front has the model."""
    eventually(lambda: any(one["name"] == model for one in server.get("/v2/cache").json["models"]), f"{model} in front")


# --- Which models, which requests ---


def test_known_questions_do_not_reach_the_server(front, fake):
    server = fake()
    through = front(server)
    assert not is_hit(check(ask(through, 1, 2), 2, 3))
    for binary in (False, True):
        assert is_hit(check(ask(through, 1, 2, binary_in=binary, binary_out=binary), 2, 3))
    assert server.runs == 1
    assert not is_hit(check(ask(through, 2, 1), 3, 2))


def test_only_models_that_say_so(front, fake):
    server = fake()
    del server.config["response_cache"]
    plain, chosen, other = front(server), front(server, "--cache-models=m*"), front(server, "--cache-models=x*")
    everything = front(server, "--cache-all-models")
    for _ in range(2):
        assert passed(check(ask(plain, 1), 2)) and passed(check(ask(other, 1), 2))
    for through in (chosen, everything):
        assert not is_hit(ask(through, 1)) and is_hit(ask(through, 1))


@pytest.mark.parametrize("extra", [{"sequence_batching": {}}, {"model_transaction_policy": {"decoupled": True}}])
def test_never_sequences_and_decoupled_models(front, fake, extra):
    server = fake()
    server.config.update(extra)
    through = front(server, ALL)
    assert passed(ask(through, 1)) and passed(ask(through, 1)) and server.runs == 2


def body_with(**changes):
    document = {"inputs": [{"name": "X", "datatype": "INT32", "shape": [1], "data": [1]}]}
    document.update(changes)
    return json.dumps(document).encode()


@pytest.mark.parametrize("body", [
    body_with(unknown=1),
    body_with(parameters={"sequence_id": 5}),
    body_with(parameters={"hippocamp.field.authorization": "me"}),
    body_with(parameters={"hippocamp.unkeyed.field.authorization": "me"}),
    body_with(inputs=[{"name": "X", "datatype": "INT32", "shape": [1], "data": [1], "parameters": {"content_type": 1}}]),
    body_with(inputs=[{"name": "X", "datatype": "INT32", "shape": [1], "data": [1], "parameters": {"more": "np"}}]),
    body_with(inputs=[{"name": "X", "datatype": "INT32", "shape": [1], "data": [1], "more": 1}]),
    body_with(outputs=[{"name": "Y", "parameters": {"classification": 1}}]),
    body_with(outputs=[{"name": "Y", "parameters": {"shared_memory_region": "r"}}]),
    body_with(outputs=[{"name": "Z"}]),
    body_with(inputs=[{"name": "X", "datatype": "FP32", "shape": [1], "data": [1]}]),
    body_with(inputs=[{"name": "X", "datatype": "INT32", "shape": [2], "data": [1]}]),
    b"no JSON"])
def test_what_is_not_understood_passes_unchanged(front, fake, body):
    server = fake()
    server._infer = lambda fields, got, send: send(response(got, "222 Mine"))
    through = front(server)
    wait_known(through)
    for _ in range(2):
        reply = through.post(infer_path("m"), body, {"Content-Type": "application/json"})
        assert (reply.status, reply.body) == (222, body) and passed(reply)


def test_why_a_request_passes(front, fake):
    """For clients, for the metrics and in the log."""
    server = fake()
    through, other = front(server, "--log-verbose=1"), front(server, "--cache-config=none")
    wait_known(through)
    for _ in range(2):
        assert reason(ask(through, 1, headers={"Cookie": "a"})) == "authorization"
    assert reason(ask(through, 1, headers={"Content-Encoding": "br"})) == "request"
    assert reason(through.post(infer_path("m"), body_with(unknown=1), {"Content-Type": "application/json"})) == "request"
    assert reason(through.post(infer_path("x"), body_with(), {"Content-Type": "application/json"})) == "not-cached"
    assert reason(ask(other, 1)) == "not-cached"
    assert "cache-status" not in through.get("/v2/models/m").headers
    server.answers = lambda fields, document, values, count: answered([1], parameters={"mine": 1})
    assert reason(ask(through, 7)) == "response" and reason(ask(through, 7)) == "suspended"
    with through.connect() as connection:  # another request on the same connection has not passed for that reason
        body, fields = encode({"X": tensor([1], "INT32")})
        assert reason(connection.request("POST", infer_path("m"), body, {**fields, "Cookie": "a"})) == "authorization"
        assert "cache-status" not in connection.request("GET", "/v2/models/m").headers
    counts = {"authorization": 3, "request": 2, "not-cached": 1, "response": 1, "suspended": 1, "version": 0}
    assert {name: metric(through, "hippocamp_passed_total", reason=name) for name in counts} == counts
    line = f"infer target='{infer_path('m')}' status=200 cache='hippocamp; fwd=bypass; detail="
    logged = {**counts, "not-cached": 0}  # of another model
    eventually(lambda: {name: len(through.lines(re.escape(f"{line}{name}'"))) for name in counts} == logged, "the log")


def test_a_request_without_a_version(front, fake):
    server = fake()
    server.versions = ["1", "2"]
    server.answers = lambda fields, document, values, count: answered([5])
    through = front(server)
    wait_known(through)
    assert reason(ask(through, 1)) == "version"


def typed(content_type):
    return body_with(inputs=[{"name": "X", "datatype": "INT32", "shape": [1], "data": [1],
                              "parameters": {"content_type": content_type}}])


def test_content_types_of_tensors(front, fake):
    """MLServer's: they go along, both ways, and questions that differ in them are different."""
    server = fake()
    outputs = {"np": 5, "str": 6}

    def answers(fields, document, values, count):
        stated = document["inputs"][0].get("parameters", {}).get("content_type")
        output = {"name": "Y", "datatype": "INT32", "shape": [1], "data": [outputs.get(stated, 7)]}
        output |= {"parameters": {"content_type": f"of {stated}"}} if stated else {}
        return response(json.dumps({"model_name": "m", "model_version": "1", "outputs": [output]}).encode())

    server.answers = answers
    through = front(server)
    wait_known(through)
    for hit in (False, True):
        for stated, value in outputs.items():
            reply = through.post(infer_path("m"), typed(stated), {"Content-Type": "application/json"})
            (output,) = reply.json["outputs"]
            assert is_hit(reply) == hit and output["data"] == [value]
            assert output["parameters"] == {"content_type": f"of {stated}"}
        assert is_hit(check(ask(through, 1), 7)) == hit
    assert server.runs == 3


@pytest.mark.parametrize("word", ["v1", ""])
def test_a_version_that_is_no_number(front, fake, word):
    """MLServer's: requests that name no version are answered from the cache, as the server answers them."""
    server = fake()
    server.word, server.extensions = word, []
    server.answers = lambda fields, document, values, count: answered([count], model_version=word or None)
    through = front(server, ALL, "--upstream-generation=r1", "--upstream-poll-secs=1")
    wait_known(through)
    for hit in (False, True):
        reply = check(ask(through, 1), 1)
        assert is_hit(reply) == hit and reply.json["model_version"] == (word or None)
    assert server.requests[0][0].split()[1] == "/v2/models/m/infer"
    assert reason(ask(through, 1, version=1)) == "version"
    server.word = "v2"
    server.answers = lambda fields, document, values, count: answered([9], model_version="v2")
    eventually(lambda: (reply := ask(through, 1)).json["model_version"] == "v2" and is_hit(check(reply, 9)), "the other")


def test_a_model_that_does_not_tell_its_tensors(front, fake):
    server = fake()
    server.extensions = []
    server.others = {"/v2/models/m": {"name": "m", "versions": [], "inputs": [], "outputs": []}, "/v2/models/m/config": None}
    through = front(server, ALL, "--upstream-generation=r1")
    through.wait_log("'m' is not cached, its requests pass through: the server does not tell its inputs and outputs")
    assert reason(ask(through, 1)) == "not-cached"


def test_queries_and_raw_requests_pass(front, fake):
    server = fake()
    through = front(server)
    wait_known(through)
    body, fields = encode({"X": tensor([1], "INT32")})
    for _ in range(2):
        assert passed(through.post(infer_path("m") + "?a=b", body, fields))
    assert server.runs == 2


def test_long_requests_that_pass_are_whole(front, fake):
    """JSON that an offload thread reads, and whose memory the reading frees."""
    server = fake()
    got = []
    server._infer = lambda fields, body, send: got.append(body) or send(response(b"{}"))
    through = front(server)
    wait_known(through)
    body = body_with(inputs=[{"name": "X", "datatype": "INT32", "shape": [200_000], "data": list(range(200_000))}],
                     unknown=1)
    assert through.post(infer_path("m"), body, {"Content-Type": "application/json"}).status == 200
    assert got == [body]


def test_a_long_answer_that_cannot_be_cached(front, fake):
    """The request goes again as it came, also when its inputs had been moved out of it."""
    server = fake(lambda fields, document, values, count: answered(values, parameters={"a": 1}))
    through = front(server)
    wait_known(through)
    values = list(range(100_000))
    assert passed(check(ask(through, *values), *values))


def test_long_requests_are_cached(front, fake):
    server = fake()
    through = front(server)
    wait_known(through)
    values = list(range(50_000))
    for binary in (False, True):
        assert not is_hit(check(ask(through, *values, binary_in=binary), *[value + 1 for value in values]))
        assert is_hit(check(ask(through, *values, binary_in=binary), *[value + 1 for value in values]))
        values.append(0)


def test_long_answers_in_json(front, fake):
    """They are read beside the loop, also for clients that leave."""
    server = fake()
    server.extensions = [each for each in EXTENSIONS if "binary" not in each]
    through = front(server, ALL)
    wait_known(through)
    values = range(50_000)
    body, headers = encode({"X": tensor([*values][::-1], "INT32")})
    for _ in range(5):
        with through.connect() as client:
            client.send(request_bytes("POST", infer_path("m"), body, headers))
    for expected in (False, True):
        assert is_hit(check(ask(through, *values), *(each + 1 for each in values))) is expected


def test_numbers_that_do_not_fit_their_datatype(front, fake):
    """Triton takes their low bytes, other servers refuse them."""
    server = fake()
    server._infer = lambda fields, got, send: send(response(b'{"error":"too large"}', "400 Bad Request"))
    through = front(server)
    wait_known(through)
    body = body_with(inputs=[{"name": "X", "datatype": "INT32", "shape": [1], "data": [2**31]}])
    assert passed(through.post(infer_path("m"), body, {"Content-Type": "application/json"}))


def test_parameters_that_are_not_ours(front, fake):
    """Without --allow-cache-control `cache` is the model's."""
    server = fake()
    through = front(server, "--allow-cache-control=false")
    wait_known(through)
    for _ in range(2):
        assert passed(ask(through, 1, parameters={"cache": "bypass"}))
    assert passed(ask(front(server), 1, parameters={"cache": "unknown to us"}))


def test_several_versions(front, fake):
    """Which one answers if a request names none is for the server behind to say."""
    server = fake()
    server.versions = ["1", "2"]
    through = front(server)
    wait_known(through)
    for _ in range(2):
        assert passed(ask(through, 1))
    assert not is_hit(ask(through, 1, version=1)) and is_hit(ask(through, 1, version=1))


def test_only_if_cached(front, fake):
    server = fake()
    through = front(server)
    wait_known(through)
    only = {"Cache-Control": "only-if-cached"}
    assert ask(through, 1, headers=only).status == 504 and server.runs == 0
    ask(through, 1)
    eventually(lambda: ask(through, 1, headers=only).status == 200, "the entry")  # it is stored behind the reply
    assert is_hit(ask(through, 1, headers=only))
    assert not is_hit(ask(through, 1, headers={"Cache-Control": "no-cache"}))


def test_parameters_go_along(front, fake):
    seen = []
    server = fake(lambda fields, document, values, count: seen.append(document) or values)
    through = front(server)
    parameters = {"priority": 2, "timeout": 1000, "mine": "é\"\\", "flag": True, "number": -3}
    reply = ask(through, 1, id="seven", parameters={**parameters, "cache_status": True})
    assert reply.json["id"] == "seven"
    assert {**parameters, "binary_data_output": True} == seen[0]["parameters"]
    assert "id" not in seen[0]  # others may wait for the same answer
    assert not is_hit(ask(through, 1, parameters={"mine": "other"}))
    assert is_hit(ask(through, 1, parameters={**parameters, "priority": 1, "timeout": 5}))


# --- Authorization ---


def whoami(fields, document, values, count):
    return [sum(fields.get("authorization", fields.get("cookie", fields.get("x-user", ""))).encode())]


@pytest.mark.parametrize("field", ["Authorization", "cookie", "X-User"])
def test_authorized_requests_are_neither_answered_nor_stored(front, fake, field):
    server = fake(whoami)
    through = front(server, "--upstream-private-field=x-user")
    wait_known(through)
    for user in ("a", "b", "a"):
        assert passed(check(ask(through, 1, headers={field: user}), ord(user)))
    check(ask(through, 1), 0)
    assert is_hit(check(ask(through, 1), 0))
    assert passed(check(ask(through, 1, headers={field: "b"}), ord("b")))


def test_authorization_as_part_of_the_key(front, fake):
    server = fake(whoami)
    through = front(server, "--upstream-authorization=key", "--upstream-private-field=X-User")
    wait_known(through)
    for user in ("a", "b"):
        for field in ("Authorization", "Cookie", "X-User"):
            assert not is_hit(check(ask(through, 1, headers={field: user}), ord(user)))
            assert is_hit(check(ask(through, 1, headers={field.lower(): user}), ord(user)))
    assert not is_hit(check(ask(through, 1), 0))


def test_shared_authorization(front, fake):
    server = fake(whoami)
    through = front(server, "--upstream-authorization=shared")
    wait_known(through)
    assert not is_hit(check(ask(through, 1, headers={"Authorization": "a"}), ord("a")))
    assert is_hit(check(ask(through, 1, headers={"Authorization": "b"}), ord("a")))


@pytest.mark.parametrize("policy", ["pass", "key", "shared"])
def test_a_miss_belongs_to_its_clients_trace(front, fake, policy):
    """Whose question it is changes no answer."""
    seen = []
    server = fake(lambda fields, document, values, count: seen.append((fields, document)) or values)
    through = front(server, f"--upstream-authorization={policy}")
    wait_known(through)
    trace = {"Traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "a=1,b=2"}
    assert not is_hit(check(ask(through, 1, headers=trace), 1))
    assert is_hit(check(ask(through, 1, headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}), 1))
    assert is_hit(check(ask(through, 1), 1))
    ((fields, document),) = seen
    assert fields["traceparent"] == trace["Traceparent"] and fields["tracestate"] == "a=1,b=2"
    assert not any(name.startswith("hippocamp") for name in document.get("parameters", {}))
    assert not is_hit(check(ask(through, 2), 2)) and "traceparent" not in seen[1][0]


# --- Servers behind that answer oddly ---


BODIES_WITH_DUPLICATES = [
    b'{"inputs":[{"name":"X","datatype":"INT32","shape":[1],"data":[1]}],"inputs":[]}',
    b'{"inputs":[{"name":"X","datatype":"INT32","shape":[1],"data":[1],"data":[2]}]}',
    b'{"inputs":[{"name":"X","datatype":"INT32","shape":[1],"data":[1]}],"parameters":{},"parameters":{"sequence_id":7}}',
    b'{"inputs":[{"name":"X","datatype":"INT32","shape":[1],"data":[1]}],"parameters":{"a":1,"a":2}}',
    b'{"inputs":[{"name":"X","datatype":"INT32","shape":[1],"data":[1]}],"parameters":{"seed":18446744073709551617}}']


@pytest.mark.parametrize("body", BODIES_WITH_DUPLICATES)
def test_what_others_may_read_otherwise_passes(front, fake, body):
    """Of members that come twice, we would take the first; a number may be more than a double holds."""
    server = fake()
    server._infer = lambda fields, got, send: send(response(got))
    through = front(server)
    wait_known(through)
    assert passed(through.post(infer_path("m"), body, {"Content-Type": "application/json"}))


@pytest.mark.parametrize("status, kind, kept", [
    (400, "text/html", True), (503, "application/json", True), (503, "text/html", False)])
def test_refused_loads_change_nothing(front, fake, status, kind, kept):
    """A gateway knows nothing of what the server has done."""
    server = fake()
    server.loads = lambda send: send(response(b'{"error":"no"}', f"{status} No", [f"Content-Type: {kind}"]))
    through = front(server)
    wait_known(through)
    ask(through, 1)
    assert through.post("/v2/repository/models/m/load").status == status
    assert hits(ask(through, 1)) == kept


def test_counts_go_on_in_another_generation(front, fake):
    server = fake()
    through = front(server)
    wait_known(through)
    for _ in range(3):
        ask(through, 1)
    through.post("/v2/repository/models/m/load")
    eventually(lambda: is_hit(ask(through, 1)), "a hit of the new generation")
    assert metric(through, "hippocamp_cache_lookups_total", model="m", version="1") >= 5
    model, = through.get("/v2/cache").json["models"]
    assert model["hits"] >= 3


def test_what_only_looks_like_a_load(front, fake):
    server = fake()
    through = front(server)
    wait_known(through)
    ask(through, 1)
    for path in ("/v2/models/repository_downloader/generate", "/repository/upload"):
        through.post(path)
    assert is_hit(ask(through, 1))


def test_a_load_whose_client_does_not_read(front, fake):
    """The reply is read to its end without it, and the stop does not wait for it."""
    server = fake()
    server.loads = lambda send: send(response(b"x" * (1 << 20)))
    through = front(server)
    wait_known(through)
    with through.connect() as client:
        client.send(b"POST /v2/repository/models/m/load HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
        client.stream.readline()
        reset(client.socket)
    through.wait_log("a request to load or unload one passed through")
    eventually(lambda: not server.loading, "the end of the load")


@pytest.mark.parametrize("reply", ["endless", "silent"])
def test_the_stop_does_not_wait_for_a_load_without_a_client(front, fake, reply):
    """Of two replicas, of which one does not end its reply."""
    go = threading.Event()

    def loads(send):
        send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while reply == "endless" and not go.is_set():
            send(chunk(b"x" * 65536))
        return go.wait(30) and None

    servers = fake(), fake()
    servers[1].loads = loads
    through = front(*servers)
    wait_known(through)
    with through.connect() as client:
        client.send(b"POST /v2/repository/models/m/load HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
        if reply == "endless":
            assert client.reply("POST").status == 502
        else:
            through.wait_log("a request to load or unload one passed through")
    began = time.monotonic()
    through.stop()
    assert time.monotonic() - began < 20  # it would wait for 30 s
    go.set()


def test_a_replica_that_redirects_a_load(front, fake):
    servers = fake(), fake()
    servers[1].loads = lambda send: send(response(b"", "302 Found", ["Location: /elsewhere"]))
    through = front(*servers)
    wait_known(through)
    reply = through.post("/v2/repository/models/m/load")
    assert reply.status == 502 and "HTTP status 302; other replicas have done it" in reply.error


@pytest.mark.parametrize("path", ["/v2/repository/models/m/load#x", "/v2/repository/models/m/load;x=1"])
def test_paths_that_a_server_may_cut(front, fake, path):
    """A load that one takes them for must not be missed."""
    server = fake()
    through = front(server, "--upstream-poll-secs=60")
    wait_known(through)
    ask(through, 1)
    server.others = {path: {}}
    if "#" in path:
        assert through.request("POST", path).status == 400
        assert not [line for line, _, _ in server.requests if "#" in line]
    else:
        assert through.request("POST", path).status == 200
        through.wait_log("a request to load or unload one passed through")


def test_the_answer_behind_a_load_is_new(front, fake):
    """Also when the end of the reply is still to come."""
    go = threading.Event()
    server = fake()

    def loads(send):
        server.answers = lambda fields, document, values, count: [9]
        send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"{}"))
        return send(chunk(b"")) if go.wait(30) else None

    server.loads = loads
    through = front(server)
    check(ask(through, 1), 2)
    with through.connect() as client:
        client.send(b"POST /v2/repository/models/m/load HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
        through.wait_log("a request to load or unload one passed through")
        check(ask(through, 1), 9)
        go.set()
        reply = client.reply("POST")
        assert (reply.status, reply.body) == (200, b"{}")
    check(ask(through, 1), 9)


@pytest.mark.parametrize("action", ["load", "unload"])
def test_a_load_goes_to_all_replicas(front, serve, repository, action):
    """So that they stay equal. The text of a failure says whose it is, and that they differ."""
    repository.scale("scale", {1: 2})
    servers = [serve(repository, EXPLICIT, "--load-model=*", "--cache-config=none") for _ in range(2)]
    through = front(*servers, ALL)
    ask_scale(through, 2)
    repository.scale("scale", {1: 3})
    assert through.post(f"/v2/repository/models/scale/{action}").status == 200
    for server in (through, *servers):
        if action == "load":
            ask_scale(server, 3)
        else:
            assert server.get("/v2/models/scale/ready").status == 400
    servers[1].stop()
    reply = through.post(f"/v2/repository/models/scale/{action}")
    assert reply.status == 503 and f"{LOCAL}:{servers[1].port}" in reply.error
    assert reply.error.endswith("; other replicas have done it: repeat it until all have")
    reply = through.post("/v2/repository/models/none/load")
    assert reply.status >= 400 and "upstream http://" in reply.error and "repeat it" not in reply.error


def test_somebody_elses_refusal(front, fake):
    """Who joins a question gets its answer, but not the 401 of whoever asked first."""
    go = threading.Event()

    def answers(fields, document, values, count):
        if fields.get("authorization") == "good":
            return values
        go.wait(30)
        return response(b'{"error":"who are you"}', "401 Unauthorized", ["WWW-Authenticate: Basic"])

    server = fake(answers)
    through = front(server, "--upstream-authorization=shared")
    wait_known(through)
    with ThreadPoolExecutor(2) as pool:
        bad = pool.submit(lambda: ask(through, 1, headers={"Authorization": "bad"}))
        eventually(lambda: server.runs == 1, "the first question")
        good = pool.submit(lambda: ask(through, 1, headers={"Authorization": "good"}))
        assert through.get("/v2").status == 200
        go.set()
        assert check(good.result(), 1)
        assert bad.result().status == 401 and bad.result().headers["www-authenticate"] == "Basic"


def test_failures_of_cached_models(front, fake):
    server = fake(lambda *_: None)
    through = front(server)
    wait_known(through)
    assert ask(through, 1).status == 502


def test_loads_in_other_spellings(front, fake):
    server = fake()
    through = front(server)
    for path in ("//v2/repository/models/m/load", "/v2/repository/models/m/load/", "/v2/repository/./models/m/lo%61d"):
        eventually(lambda: hits(ask(through, 1)), "a hit")
        server.answers = lambda fields, document, values, count, path=path: [len(path)]
        through.post(path)
        check(ask(through, 1), len(path))


@pytest.mark.parametrize("answer, why", [
    (answered([2], parameters={"a": 1}), "parameters"),
    (response(json.dumps({"model_name": "m", "model_version": "1", "outputs": [
        {"name": "Y", "datatype": "INT32", "shape": [1], "data": [2], "parameters": {"mine": "np"}}]}).encode()),
     "parameters"),
    (response(json.dumps({"outputs": []}).encode()), "other outputs"),
    (response(json.dumps({"outputs": [{"name": "Z", "datatype": "INT32", "shape": [1], "data": [2]}]}).encode()),
     "other outputs")])
def test_answers_that_an_entry_cannot_hold(front, fake, answer, why):
    server = fake(lambda *_: answer)
    through = front(server)
    wait_known(through)
    for _ in range(3):
        reply = ask(through, 1)
        assert passed(reply) and reply.body == answer.split(b"\r\n\r\n", 1)[1]
    through.wait_log(f"is not cached: .*{why}")
    assert server.runs == 4  # once for the cache


@pytest.mark.parametrize("answer", [
    response(b'{"error":"no","code":7}', "429 Too Many Requests", ["Retry-After: 7"]), response(b"oops", "500 Internal Server Error"),
    response(b"", "302 Found", ["Location: /x"]), answered([5], model_version="2")])
def test_odd_statuses_pass_as_they_are(front, fake, answer):
    server = fake(lambda *_: answer)
    through = front(server)
    wait_known(through)
    head, body = answer.split(b"\r\n\r\n", 1)
    reply = ask(through, 1)
    assert passed(reply) and reply.body == body and str(reply.status).encode() in head.split(b"\r\n")[0]
    assert reply.headers.get("retry-after") == ("7" if reply.status == 429 else None)


@pytest.mark.parametrize("status, code", [(400, "Bad Request"), (404, "Not Found"), (429, "x"), (500, "x"), (503, "x")])
def test_errors_are_the_servers_and_not_kept(front, fake, status, code):
    server = fake(lambda *_: response(b'{"error":"mine alone"}', f"{status} {code}"))
    through = front(server)
    wait_known(through)
    for count in (1, 2):
        reply = ask(through, 1)
        assert reply.status == status and reply.json == {"error": "mine alone"}
        assert server.runs == count


def test_a_kept_connection_that_ends_loses_no_request(front, fake):
    """The server resets it after an answer that has to pass, as uvicorn does after an error."""
    outcomes = [response(b"<html>", "520 Odd"), "reset", [7]]
    server = fake(lambda fields, document, values, count: outcomes[count - 1])
    through = front(server)
    wait_known(through)
    assert list(decode(ask(through, 1))["Y"]) == [7] and server.runs == 3


@pytest.mark.parametrize("changes", [{"parameters": {"sequence_id": 5}}, {"unknown": 1}])
def test_what_may_depend_on_earlier_requests_runs_once(front, fake, changes):
    """Though the kept connection ended before an answer: the model may have run."""
    server, bodies = fake(), []

    def infer(fields, body, send):
        bodies.append(body)
        return send(response(b"{}")) if len(bodies) == 1 else "reset"

    server._infer = infer
    through = front(server)
    wait_known(through)
    replies = [through.post(infer_path("m"), body_with(**changes)) for _ in range(2)]
    assert [reply.status for reply in replies] == [200, 502] and len(bodies) == 2


@pytest.mark.parametrize("answer", [
    response(b'{"outputs":[{"name":"Y","datatype":"INT32","shape":[2],"data":[1]}]}'),
    response(b'{"outputs":[{"name":"Y","datatype":"INT32","shape":[1],"parameters":{"binary_data_size":8}}]}12345678',
             fields=["Inference-Header-Content-Length: 82"]),
    response(b'{"outputs":[{"name":"Y","datatype":"FP32","shape":[1],"data":[1]}]}'),
    response(b'{"outputs":[{"name":"Y","datatype":"INT32","shape":[1],"data":[1]}'), response(b"<html>")])
def test_damaged_answers_are_no_answers(front, fake, answer):
    def answers(fields, document, values, count):
        return answer if count == 1 else [7]

    server = fake(answers)
    through = front(server)
    wait_known(through)
    replies = [ask(through, 1) for _ in range(3)]
    for reply in replies:
        assert reply.status >= 500 or list(decode(reply)["Y"]) == [7]
    assert list(decode(replies[-1])["Y"]) == [7]


def test_models_that_are_never_understood(front, fake):
    server = fake(lambda *_: response(b"<html>"))
    through = front(server)
    wait_known(through)
    for _ in range(12):
        assert passed(ask(through, 1))
    through.wait_log("is not cached: its responses are not understood")
    assert server.runs == 12 + 8


def test_servers_without_binary_tensors(front, fake):
    def answers(fields, document, values, count):
        assert "inference-header-content-length" not in fields and "parameters" not in document
        return values

    server = fake(answers)
    server.extensions = [name for name in EXTENSIONS if name != "binary_tensor_data"]
    through = front(server)
    assert not is_hit(check(ask(through, 1, 2, binary_in=True), 1, 2))
    assert is_hit(check(ask(through, 1, 2), 1, 2))


def test_servers_without_configurations(front, fake):
    server = fake()
    server.config = None
    through = front(server, ALL)
    assert not is_hit(check(ask(through, 1, 2), 2, 3)) and is_hit(check(ask(through, 1, 2), 2, 3))


# --- Models that change behind ---


def wait_other(server, question, expected):
    """The answer changes, and is never the old one again."""
    eventually(lambda: list(decode(question())["Y"]) == expected, "the new answer")
    for _ in range(20):
        assert list(decode(question())["Y"]) == expected


@pytest.mark.threads
@pytest.mark.parametrize("sign", ["statistics", "index", "config", "connection"])
def test_signs_of_another_model(front, fake, sign):
    server = fake()
    through = front(server)
    assert not is_hit(check(ask(through, 1), 2))
    assert is_hit(check(ask(through, 1), 2))
    server.answers = lambda fields, document, values, count: [9]
    if sign == "statistics":
        server.count = 3
    elif sign == "config":
        server.config["parameters"] = {"weights": {"string_value": "2"}}
    elif sign == "index":
        server.state = "UNAVAILABLE"
        eventually(lambda: passed(ask(through, 1)), "a request that passes")
        server.state = "READY"
        wait_known(through)
    else:
        server.hang_up()
    wait_other(through, lambda: ask(through, 1), [9])
    eventually(lambda: hits(ask(through, 1)), "a hit again")


def test_a_client_that_leaves_during_a_load(front, fake):
    """The server goes on loading. What it answers afterwards is new, although nothing else shows it."""
    server, go = fake(), threading.Event()
    server.loads = lambda send: send(response()) if go.wait(30) else None
    through = front(server)
    assert not is_hit(check(ask(through, 1), 2))
    with through.connect() as client:
        client.send(b"POST /v2/repository/models/m/load HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
        eventually(lambda: any("/load" in line for line, *_ in server.requests), "the load")
    polls = server.polls
    eventually(lambda: server.polls > polls + 1 and hits(ask(through, 1)), "a hit while it loads")
    server.answers = lambda fields, document, values, count: [9]
    go.set()
    wait_other(through, lambda: ask(through, 1), [9])


def test_servers_without_statistics(front, fake):
    """They do not show that a model was loaded again, so the owner has to."""
    server = fake()
    server.extensions = [name for name in EXTENSIONS if name != "statistics"]
    silent, stated = front(server), front(server, "--upstream-generation=1")
    for _ in range(2):
        assert passed(ask(silent, 1))
    silent.wait_log("nothing is cached: .*--upstream-generation")
    assert not is_hit(ask(stated, 1)) and is_hit(ask(stated, 1))


def test_quiet_servers_keep_their_entries(front, fake):
    """Time alone, and counters that grow, change nothing."""
    server = fake()
    through = front(server)
    ask(through, 1)
    for count in range(3):
        server.count += count
        polls = server.polls
        eventually(lambda: server.polls > polls, "a poll")
    assert is_hit(ask(through, 1)) and server.runs == 1


@pytest.mark.threads
def test_loads_that_pass_through(front, serve, repository):
    """From the request on, no old answer is given; nor is one after it."""
    repository.scale("scale", {1: 2.0}, cached=True)
    server = serve(repository, EXPLICIT, "--load-model=*", "--cache-config=none")
    through = front(server)
    for factor in (2.0, 3.0, 4.0):
        repository.scale("scale", {1: factor}, cached=True)
        through.load("scale")
        for _ in range(5):
            ask_scale(through, factor)
        eventually(lambda: hits(put(through, "scale", {"INPUT0": tensor([[3.0, -3.0]])})), "a hit")
        ask_scale(through, factor)
    through.unload("scale")
    reply = put(through, "scale", {"INPUT0": tensor([[3.0, -3.0]])})
    assert reply.status == 404 and passed(reply)


def test_loads_that_do_not(front, serve, repository):
    repository.scale("scale", {1: 2.0}, cached=True)
    server = serve(repository, EXPLICIT, "--load-model=*", "--cache-config=none")
    through = front(server)
    ask_scale(through, 2.0)
    repository.scale("scale", {1: 3.0}, cached=True)
    server.load("scale")
    eventually(lambda: through.lines("may have changed"), "a new generation")
    eventually(lambda: ask_scale(through, 3.0), "the new answer")
    for _ in range(20):
        ask_scale(through, 3.0)


def test_a_new_version(front, serve, repository):
    repository.scale("scale", {1: 2.0}, cached=True)
    server = serve(repository, EXPLICIT, "--load-model=*", "--cache-config=none")
    through = front(server)
    ask_scale(through, 2.0)
    repository.scale("scale", {1: 2.0, 2: 5.0}, cached=True)
    server.load("scale")
    eventually(lambda: ask_scale(through, 5.0), "version 2")
    for _ in range(5):
        ask_scale(through, 5.0)


def test_a_restart_with_other_models(front, serve, start, repository):
    repository.scale("scale", {1: 2.0}, cached=True)
    port = free_port()
    server = serve(repository, f"--http-port={port}", "--cache-config=none")
    through = front(server)
    ask_scale(through, 2.0)
    server.signal(signal.SIGKILL)
    server.wait()
    through.wait_log("the models of upstream .*refused")
    ask_scale(through, 2.0)  # known questions are answered
    reply = put(through, "scale", {"INPUT0": tensor([[5.0]])})
    assert reply.status == 503 and f"http://{LOCAL}:{port}" in reply.json["error"]
    repository.scale("scale", {1: 3.0}, cached=True)
    serve(repository, f"--http-port={port}", "--cache-config=none")
    through.wait_log("may have changed, as a replica is back")
    eventually(lambda: ask_scale(through, 3.0), "the new answer")
    for _ in range(20):
        ask_scale(through, 3.0)


def test_the_server_behind_comes_later(front, serve, repository):
    port = free_port()
    through = front(f"http://{LOCAL}:{port}")
    assert through.get("/v2/health/ready").status == 503
    serve(repository.copy("simple", cached=True) and repository, f"--http-port={port}", "--cache-config=none")
    eventually(lambda: through.get("/v2/health/ready").status == 200, "readiness")
    ask_simple(through)
    eventually(lambda: hits(put(through, "simple", sums()[0])), "a hit")


@pytest.mark.parametrize("readiness, down, known_down, unready", [
    ("either", 503, 200, 400), ("behind", 503, 503, 400), ("own", 200, 200, 200)])
def test_readiness(front, fake, readiness, down, known_down, unready):
    option = f"--upstream-readiness={readiness}"
    assert front(f"http://{LOCAL}:{free_port()}", option).get("/v2/health/ready").status == down
    server = fake()
    server.ready = "400 Bad Request"
    through = front(server, option)
    wait_known(through)
    assert through.get("/v2/health/ready").status == unready
    server.stop()
    server.hang_up()
    eventually(lambda: through.get("/v2").status == 503, "nobody there")
    assert through.get("/v2/health/ready").status == known_down


# --- Redis ---


def test_servers_that_state_a_generation_share(front, fake, redis_server):
    server, redis = fake(), redis_server()
    stated = [server, *redis.cache("lookup_timeout=5000"), "--upstream-generation=r1"]
    one = front(*stated)
    wait_connected(one)
    assert not is_hit(check(ask(one, 1), 2))
    eventually(lambda: redis.entries("m"), "the entry")
    two = front(*stated)
    eventually(lambda: two.get("/v2/cache").json["models"], "the model")
    wait_connected(two)
    assert is_hit(check(ask(two, 1), 2))
    server.answers = lambda fields, document, values, count: [9]
    server.count = 3  # another model: what is stored goes, also for those who have not noticed
    eventually(lambda: not redis.entries("m"), "an empty store", patience=15)
    for through in (one, two, front(*stated)):
        wait_other(through, lambda through=through: ask(through, 1), [9])
    server.answers = lambda fields, document, values, count: [value + 1 for value in values]
    three = front(*stated[:-1], "--upstream-generation=r2")
    wait_known(three)
    assert not is_hit(check(ask(three, 1), 2))
    four = front(*stated[:-1])
    wait_known(four)
    assert not is_hit(check(ask(four, 1), 2))


def test_models_without_versions(front, fake):
    """As KServe's Python server has them, which has a list of names in place of an index."""
    server = fake(lambda fields, document, values, count: response(json.dumps({
        "model_name": "m", "model_version": None, "id": document.get("id"), "parameters": None,
        "outputs": [{"name": "Y", "shape": [1], "datatype": "INT32", "parameters": None, "data": [values[0] + 1]}]}).encode()))
    server.names = ["m"]
    through = front(server, ALL, "--upstream-generation=1")
    wait_known(through)
    assert not hits(check(ask(through, 1), 2))
    assert hits(check(ask(through, 1), 2)) and ask(through, 1).json["model_version"] is None
    assert server.runs == 1
    assert through.post(infer_path("m", 1), b"{}").status == 501  # there is no version 1


def test_statistics_count_what_the_cache_answered(front, fake):
    """As Triton does of its own cache: perf_analyzer would see no requests else."""
    server = fake()
    through = front(server)
    wait_known(through)
    for _ in range(4):
        ask(through, 1)
    own, = server.documents()["/v2/models/stats"]["model_stats"]
    for path in ("/v2/models/stats", "/v2/models/m/stats", "/v2/models/m/versions/1/stats"):
        server.others = {"/v2/models/m/stats": {"model_stats": [own]}, "/v2/models/m/versions/1/stats": {"model_stats": [own]}}
        model, = through.get(path).json["model_stats"]
        assert model["inference_stats"]["success"]["count"] == own["inference_stats"]["success"]["count"] + 3
        assert model["inference_stats"]["cache_hit"]["count"] == 3 and model["execution_count"] == own["execution_count"]
    server.others = {"/v2/models/m/stats": {"odd": 1}}
    assert through.get("/v2/models/m/stats").json == {"odd": 1}  # what is not understood is the server's own
    assert through.get("/v2/models/nope/stats").status == 404
    assert passed(through.get("/v2/models/m/stats", headers={"Authorization": "a"}))


def test_a_replica_that_is_stopped(front, serve, repository):
    """It is silent, but not gone: its questions are asked of the other one, too."""
    replicas = [serve(repository.add("simple") if i == 0 else repository, "--cache-config=none") for i in range(2)]
    through = front(*replicas, ALL)
    wait_known(through, "simple")
    ask_simple(through, 100)  # how long it takes is known from now on
    replicas[0].process.send_signal(signal.SIGSTOP)
    try:
        for first in range(8):
            ask_simple(through, first)
    finally:
        replicas[0].process.send_signal(signal.SIGCONT)


def test_replies_that_break_off(front, fake):
    """What a model that is cached answers can be asked again, of another replica."""
    broken = fake()
    broken._infer = lambda fields, body, send: send(response(b"x" * 1000)[:-500]) or False
    through = front(broken, fake())
    wait_known(through)
    for i in range(20):
        check(ask(through, i), i + 1)


def two_that_agree(front, shared):
    """Two fronts of a group, once each answers from the cache what the other has stored."""
    both = front(*shared), front(*shared)
    for each in both:
        wait_known(each)
        wait_connected(each)
    eventually(lambda: any(each.lines("the generation is that of another front") for each in both), "one that takes over")
    eventually(lambda: all(is_hit(check(ask(each, 1), 2)) for each in both), "hits of both")
    return both


@pytest.mark.threads
def test_servers_that_share_a_store_agree(front, fake, redis_server):
    """One that starts takes over what those know that run; all leave it together."""
    server, redis = fake(), redis_server()
    shared = [server, *redis.cache("lookup_timeout=5000"), "--upstream-group=g"]
    one, two = two_that_agree(front, shared)
    entries = len(redis.entries("m"))
    assert not is_hit(check(ask(one, 5), 6))
    eventually(lambda: len(redis.entries("m")) > entries, "the entry")
    three = front(*shared)
    three.wait_log("the generation is that of another front")
    eventually(lambda: is_hit(check(ask(three, 1), 2)), "an answer of those before")
    assert all(is_hit(check(ask(each, 5), 6)) for each in (two, three))
    server.answers = lambda fields, document, values, count: [9]
    server.count = 3  # another model
    for each in (one, two, three):
        wait_other(each, lambda each=each: ask(each, 1), [9])
    for _ in range(20):
        for each in (one, two, three):
            check(ask(each, 1), 9)
    eventually(lambda: all(is_hit(check(ask(each, 1), 9)) for each in (one, two, three)), "hits again")


def test_nothing_is_taken_over_from_one_that_has_ended(front, fake, redis_server):
    """Nobody has seen what became of the models since."""
    server, redis = fake(), redis_server()
    shared = [server, *redis.cache("lookup_timeout=5000"), "--upstream-group=g"]
    one = front(*shared)
    wait_known(one)
    wait_connected(one)
    check(ask(one, 1), 2)
    eventually(lambda: redis.entries("m"), "the entry")
    one.stop()
    server.answers = lambda fields, document, values, count: [9]
    two = front(*shared)
    wait_known(two)
    wait_connected(two)
    polls = server.polls
    eventually(lambda: server.polls > polls + 3, "some looks at the record that is left")
    check(ask(two, 1), 9)
    assert not two.lines("the generation is that of another front")


def test_a_load_is_told_at_the_stop(front, fake, redis_server):
    """Statistics do not show it: only the front through which it passed knows."""
    server, redis = fake(), redis_server()
    shared = [server, *redis.cache("lookup_timeout=5000"), "--upstream-group=g"]
    one, two = two_that_agree(front, shared)
    server.answers = lambda fields, document, values, count: [9]
    assert one.post("/v2/repository/models/m/load").status == 200
    one.stop()
    wait_other(two, lambda: ask(two, 1), [9])


def test_a_front_that_has_not_reached_its_server(front, fake, redis_server):
    """It does not take over a generation that it cannot judge."""
    server, down, redis = fake(), fake(), redis_server()
    shared = [*redis.cache("lookup_timeout=5000"), "--upstream-group=g"]
    one = front(server, *shared)
    wait_known(one)
    wait_connected(one)
    down.others, down.extensions = {"/v2": None}, []
    two = front(down, *shared)
    polls = server.polls
    eventually(lambda: server.polls > polls + 4, "some looks")
    assert not two.lines("the generation is that")
    down.others, down.extensions = {}, EXTENSIONS
    two.wait_log("the generation is that")


def test_fronts_that_do_not_belong_together(front, fake, redis_server):
    """Of other servers at addresses that read the same, say; or with another rule for who may see what."""
    server, redis = fake(), redis_server()
    shared = [server, *redis.cache("lookup_timeout=5000")]
    first = front(*shared, "--upstream-group=a", "--upstream-authorization=shared")
    others = [front(*shared), front(*shared, "--upstream-group=b"), front(*shared, "--upstream-group=a")]
    for each in (first, *others):
        wait_known(each)
        wait_connected(each)
    polls = server.polls
    eventually(lambda: server.polls > polls + 16, "time to agree")
    check(ask(first, 1, headers={"Authorization": "Bearer alice"}), 2)
    eventually(lambda: redis.entries("m"), "the entry")
    assert hits(ask(first, 1))
    assert not any(hits(check(ask(each, 1), 2)) for each in others)


def test_a_front_that_stood_still(front, fake):
    """Meanwhile another model may have counted as much as the one before."""
    server = fake()
    through = front(server)
    wait_known(through)
    check(ask(through, 1), 2)
    through.process.send_signal(signal.SIGSTOP)
    threading.Event().wait(7.5)
    server.answers = lambda fields, document, values, count: [9]
    through.process.send_signal(signal.SIGCONT)
    through.wait_log("stood still")
    wait_other(through, lambda: ask(through, 1), [9])


def test_others_have_left_what_a_parted_front_knows(front, fake, redis_server):
    """It cannot ask the server, so that nobody can say which answers are right."""
    parted, with_it, redis = fake(), fake(), redis_server()
    shared = [*redis.cache("lookup_timeout=5000"), "--upstream-group=g"]
    one, two = front(parted, *shared), front(with_it, *shared)
    for each in (one, two):
        wait_known(each)
        wait_connected(each)
    eventually(lambda: any(each.lines("the generation is that") for each in (one, two)), "one that takes over")
    eventually(lambda: all(hits(check(ask(each, 1), 2)) for each in (one, two)), "hits of both")
    parted.stop()
    parted.hang_up()
    assert hits(check(ask(one, 1), 2))
    with_it.count = 3
    eventually(lambda: ask(one, 1).status == 503, "the end of the old answers")


# --- Many at once, and clients that leave ---


@pytest.mark.threads
def test_equal_questions_at_once_run_once(front, fake):
    go = threading.Event()
    server = fake(lambda fields, document, values, count: values if go.wait(30) else None)
    through = front(server)
    wait_known(through)
    with ThreadPoolExecutor(100) as pool:
        asked = [pool.submit(lambda: check(ask(through, 4, 2), 4, 2)) for _ in range(100)]
        eventually(lambda: server.runs == 1, "the run")
        go.set()
        for one in asked:
            one.result()
    assert server.runs == 1


@pytest.mark.threads
def test_a_client_that_leaves_cancels_behind(front, fake):
    ended = threading.Event()

    def waits(*_):
        """For the end of its connection."""
        (connection,) = server.used

        def is_closed():
            try:
                return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
            except BlockingIOError:
                return False

        eventually(is_closed, "the end of the request behind")
        ended.set()

    server = fake(waits)
    through = front(server)
    wait_known(through)
    body, _ = encode({"X": tensor([1], "INT32")})
    clients = [through.connect() for _ in range(2)]
    for client in clients:
        client.send(b"POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    eventually(lambda: server.runs == 1, "the request behind")
    clients[0].__exit__()
    assert through.get("/v2/health/live").status == 200
    assert not ended.wait(0.2)  # the other one still waits
    clients[1].__exit__()
    assert ended.wait(PATIENCE)


# --- Replicas ---


@pytest.mark.threads
def test_replicas_die_under_load(front, serve, repository):
    echo(repository, "echo", cached=True)
    servers = [serve(repository, "--cache-config=none") for _ in range(3)]
    through = front(*servers, "--threads=2")
    wait_known(through, "echo")
    stop, failures = threading.Event(), []

    def work(seed):
        number = seed
        while not stop.is_set():
            number += 7
            reply = put(through, "echo", {"INPUT0": tensor([number % 500, seed], "INT32")})
            if reply.status != 200 or list(decode(reply)["OUTPUT0"]) != [number % 500, seed]:
                failures.append((reply.status, reply.body))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for server in servers[:2]:
        eventually(lambda: server.statistics("echo")["success"] > 50, "traffic")
        server.signal(signal.SIGKILL)
        server.wait()
        eventually(lambda: servers[2].statistics("echo")["success"] > 100, "traffic")
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures[:3]


def test_replicas_that_differ_are_not_cached(front, fake):
    one, two = fake(), fake()
    two.config["parameters"] = {"weights": {"string_value": "2"}}
    through = front(one, two)
    for _ in range(4):
        assert passed(ask(through, 1))
    two.config.pop("parameters")
    eventually(lambda: not passed(ask(through, 1)), "equal replicas")


def test_identity_of_each_datatype(front, serve, repository):
    names = {"BYTES": ["", "a\0b", "é"], "BOOL": [True, False], "FP64": [1e300, -0.0], "INT8": [-128, 127],
             "UINT64": [0, 2**64 - 1], "FP16": [1.5, 2.5]}
    server = serve(repository.add(*(f"identity_{name}" for name in names)), "--cache-config=none")
    through = front(server, ALL)
    for name, values in names.items():
        for hit in (False, True):
            array = tensor(values, name, [1, len(values)])
            reply = put(through, f"identity_{name}", {"INPUT0": array}, binary_in=True, binary_out=True)
            same(decode(reply)["OUTPUT0"], array)
            assert is_hit(reply) == hit, name
