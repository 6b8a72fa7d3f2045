"""Everything at once: batches, failures, clients that go away, time-outs, reloads, purges and a Redis that comes and goes.

HIPPOCAMP_STRESS_SECONDS is how long the load lasts (default 8). HIPPOCAMP_STRESS_SEED repeats a run's choices, though not how
its threads meet.
"""

import contextlib
import os
import random
import re
import socket
import struct
import threading
import time
import traceback
from collections import Counter

import numpy as np
import pytest

from support import (CACHE, RedisError, ask_delay, ask_identity, decode, encode, eventually, infer_path,
                     request_bytes, same, tensor)
from traffic import ensemble, step

SLOW = ["slow", "slow_twice"]
SECONDS = float(os.environ.get("HIPPOCAMP_STRESS_SECONDS", 8))
SEED = int(os.environ.get("HIPPOCAMP_STRESS_SEED", random.randrange(1 << 30)))
pytestmark = [pytest.mark.timeout(SECONDS + 120), pytest.mark.threads]

# Short lives, so that stale answers, background runs and expiry all happen.
LIFE = ["ttl=1", "stale_while_revalidate=1", "stale_if_error=1", "refresh_ahead=1"]
BATCHES = "dynamic_batching { max_queue_delay_microseconds: 500 }\n"
REJECTS = """\
dynamic_batching {
  max_queue_delay_microseconds: 1000
  priority_levels: 3
  default_priority_level: 2
  default_queue_policy {
    timeout_action: REJECT
    default_timeout_microseconds: 200000
    allow_timeout_override: true
    max_queue_size: 6
  }
}
"""
BY_REQUEST = 'parameters { key: "response_cache.granularity" value { string_value: "request" } }\n'
REJECTIONS = r"Request timeout expired|Exceeds maximum queue size"
STATUS = re.compile(r'hippocamp; (hit(; ttl=-?\d+)?; detail="?[\w ]+"?'
                    r'|fwd=(miss|partial|bypass|stale|request)(; stored)?(; detail=("[^"]*"|redis-unavailable|dropped))?)$')
CONTROLS = ["no-cache", "no-store", "max-age=0", "max-age=1", "max-stale", "max-stale=1", "only-if-cached",
            "no-cache, no-store", "MAX-AGE=1 , no-store", "max-age=x", "private, s-maxage=3, unknown=\"a, b\""]
COUNTED = ["hits", "misses", "joined", "bypassed", "errors"]


class Stress:
    """The threads, what they counted, and what went wrong in them."""

    def __init__(self, server):
        self.server = server
        self.ended = threading.Event()
        self.lock = threading.Lock()
        self.failures = []
        self.counts = Counter()  # {(model, what): requests, or rows}
        self.threads = []

    def count(self, model, what, number=1):
        with self.lock:
            self.counts[model, what] += number

    def __getitem__(self, key):
        with self.lock:
            return self.counts[key]

    def add(self, work, *arguments, threads=1, pause=0.0):
        """Repeats work(client, random, *arguments) until the end."""
        for _ in range(threads):
            number = len(self.threads)
            choice = random.Random(f"{SEED} {number}")

            def run():
                try:
                    with Client(self.server) as client:
                        while not self.ended.is_set():
                            work(client, choice, *arguments)
                            if pause:
                                self.ended.wait(choice.random() * 2 * pause)
                except BaseException:  # told at the end
                    with self.lock:
                        self.failures.append(f"{work.__name__}: {traceback.format_exc()}")
                    self.ended.set()

            self.threads.append(threading.Thread(target=run, name=work.__name__, daemon=True))

    def run(self, seconds):
        for thread in self.threads:
            thread.start()
        self.ended.wait(seconds)
        self.ended.set()
        deadline = time.monotonic() + 60
        for thread in self.threads:
            thread.join(max(0, deadline - time.monotonic()))
        stuck = [thread.name for thread in self.threads if thread.is_alive()]
        assert not self.failures, f"seed {SEED}\n" + "\n".join(self.failures)
        assert not stuck, f"seed {SEED}: still waiting for an answer: {stuck}"


class Client:
    """A client that keeps its connection while it can."""

    def __init__(self, server):
        self.server, self.connection = server, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.connection:
            self.connection.__exit__()
            self.connection = None

    def post(self, path, body=b"", headers=None):
        self.connection = self.connection or self.server.connect()
        try:
            reply = self.connection.request("POST", path, body, headers)
        except OSError:
            self.server.check_alive()
            raise
        if reply.headers.get("connection", "").lower() == "close":
            self.close()
        return reply


# --- What requests may say of the cache ---


def steer(choice):
    """(headers, parameters, kind): kind is "only" if 504 is right, too, "bad" if 400 is right, else ""."""
    headers, parameters, kind = {}, {}, ""
    if choice.random() < 0.3:
        headers["Cache-Control"] = choice.choice(CONTROLS)
        kind = "only" if "only-if-cached" in headers["Cache-Control"] else ""
    elif choice.random() < 0.2:
        parameters["cache"] = choice.choice(["default", "bypass", "refresh", "only", "nonsense"])
        kind = {"only": "only", "nonsense": "bad"}.get(parameters["cache"], "")
    if choice.random() < 0.2:
        parameters["cache_status"] = choice.random() < 0.8
    return headers, parameters, kind


def ask_steered(stress, client, choice, model, inputs, rows=1, fails=False):
    """Asks with random steering, checks the reply, counts its outcome; returns the answer, or None if none was due."""
    headers, parameters, kind = steer(choice)
    members = {"parameters": parameters} if parameters else {}
    body, fields = encode(inputs, binary_in=choice.random() < 0.5, binary_out=choice.random() < 0.5, **members)
    reply = client.post(infer_path(model), body, {**fields, **headers})
    said = f"{reply.status} {reply.headers} {reply.body[:300]!r} for {headers} {parameters}"
    if kind == "bad":
        assert reply.status == 400 and "cache" in reply.error, said
        return None
    stress.count(model, "rows", rows)
    if reply.status == 504:
        assert kind == "only" and reply.error, said
        stress.count(model, "only")
        return None
    if fails:
        assert reply.status in (400, 500) and reply.error, said
        stress.count(model, "failed")
        return None
    assert reply.status == 200, said
    stress.count(model, "answered")
    status = reply.headers.get("cache-status", "")
    assert STATUS.match(status), said
    hit = status.startswith("hippocamp; hit")
    assert hit if "age" in reply.headers else (not hit or "joined" in status), said
    assert not (kind == "only" and not hit), said
    answer = decode(reply)
    shown = answer.document.get("parameters", {}).get("cache_status")
    assert shown == (status if parameters.get("cache_status") else None), said
    return answer


# --- Loads: each is called again and again by threads of its own ---


def strings(stress):
    """Batches of rows of strings, many of them equal; the model cannot read some, and then fails."""
    def ask(client, choice):
        rows = [choice.randrange(60) for _ in range(choice.randint(1, 8))]
        a = [[str(row * 100 + i) for i in range(16)] for row in rows]
        b = [[str(row % 7)] * 16 for row in rows]
        bad = choice.random() < 0.05
        if bad:
            a[choice.randrange(len(rows))][choice.randrange(16)] = f"none{choice.randrange(3)}"
        shape = (len(rows), 16)
        inputs = {name: tensor([text for row in values for text in row], "BYTES", shape)
                  for name, values in (("INPUT0", a), ("INPUT1", b))}
        answer = ask_steered(stress, client, choice, "strings", inputs, len(rows), fails=bad)
        if answer:
            for name, sign in (("OUTPUT0", 1), ("OUTPUT1", -1)):
                same(answer[name], tensor([str(int(x) + sign * int(y)) for i in range(len(rows)) for x, y in zip(a[i], b[i])],
                                          "BYTES", shape))

    return ask


def singles(stress):
    """Single requests for a model whose answers are stored as a whole (response_cache.granularity: request)."""
    def ask(client, choice):
        rows, first = choice.randint(1, 2), choice.randrange(40)
        a = np.arange(first, first + 16 * rows, dtype=np.int32).reshape(rows, 16)
        b = np.full((rows, 16), first % 5, dtype=np.int32)
        answer = ask_steered(stress, client, choice, "whole", {"INPUT0": a, "INPUT1": b})
        if answer:
            same(answer["OUTPUT0"], a + b)
            same(answer["OUTPUT1"], a - b)

    return ask


class Weights:
    """A model whose factor grows with each reload: which factors are right for a request is known by when it was sent."""

    def __init__(self, stress, repository):
        self.stress, self.repository = stress, repository
        self.loaded = self.written = 1

    def write(self, factor):
        self.written = factor
        self.repository.scale("scale", {1: float(factor)}, cached=True, extra=BATCHES)

    def reload(self, client, choice):
        self.write(self.written + 1)
        reply = client.post("/v2/repository/models/scale/load")
        assert reply.status == 200, reply.body
        self.loaded = self.written

    def ask(self, client, choice):
        width = choice.randint(2, 4)  # requests of other widths cannot run together
        rows = np.array([[choice.randint(1, 12)] * width for _ in range(choice.randint(1, 8))], np.float32)
        oldest = self.loaded
        answer = ask_steered(self.stress, client, choice, "scale", {"INPUT0": rows}, len(rows))
        newest = self.written
        if answer:
            factors = set((answer["OUTPUT0"] / rows).ravel().tolist())
            assert len(factors) == 1, f"one answer by several weights: {factors}"
            assert all(oldest <= factor <= newest for factor in factors), f"weights {factors}, not {oldest} to {newest}"


    def ask_square(self, client, choice):
        """Both steps of the ensemble are the model; one request never sees two of its weights."""
        rows = np.array([[choice.randint(1, 12)] * 2 for _ in range(choice.randint(1, 8))], np.float32)
        oldest = self.loaded
        answer = ask_steered(self.stress, client, choice, "square", {"INPUT0": rows}, len(rows))
        newest = self.written
        if answer:
            factors = set((answer["OUTPUT0"] / rows).ravel().tolist())
            assert len(factors) == 1, f"one answer by several weights: {factors}"
            factor = factors.pop() ** 0.5
            assert factor == int(factor) and oldest <= factor <= newest, f"weights {factor}, not {oldest} to {newest}"


def flips(stress):
    """A model that is loaded and unloaded by others."""
    def ask(client, choice):
        values = tensor([choice.randrange(9), 1.5])
        reply = client.post(infer_path("flip"), *encode({"INPUT0": values}))
        if reply.status == 200:
            same(decode(reply)["OUTPUT0"], values)
            stress.count("flip", "answered")
        else:
            assert reply.status in (400, 404, 503) and "flip" in reply.error, f"{reply.status} {reply.body}"

    return ask


def flip(client, choice):
    for verb in ("unload", "load"):
        reply = client.post(f"/v2/repository/models/flip/{verb}")
        assert reply.status == 200, reply.body
        time.sleep(choice.random() * 0.05)


def bursts(stress):
    """Several requests at once for a small queue that rejects; some clients go away before the answer."""
    def ask(client, choice):
        model = choice.choice(["queue", "queue_cached"])
        with contextlib.ExitStack() as stack:
            asked = []
            for _ in range(choice.randint(1, 16)):
                rows = tensor([[choice.randrange(30)] for _ in range(choice.randint(1, 3))], "INT32")
                parameters = {"delay_ms": choice.choice([0, 2, 5])}
                if choice.random() < 0.5:
                    parameters["timeout"] = choice.choice([0, 1, 100, 1000, 20000, 10**9])
                if choice.random() < 0.5:
                    parameters["priority"] = choice.randint(0, 4)
                fails = choice.random() < 0.1
                if fails:
                    parameters["fail"] = "as it was asked to"
                connection = stack.enter_context(stress.server.connect())
                connection.send(request_bytes("POST", infer_path(model), *encode({"INPUT0": rows}, parameters=parameters)))
                asked.append((connection, rows, fails))
            for connection, rows, fails in asked:
                if choice.random() < 0.1:
                    stress.count(model, "gone")
                    connection.__exit__()
                    continue
                reply = connection.reply()
                if reply.status == 503:
                    assert re.search(REJECTIONS, reply.error), reply.error
                    stress.count(model, "failed")
                elif fails:
                    assert reply.status == 500 and "as it was asked to" in reply.error, f"{reply.status} {reply.body}"
                    stress.count(model, "failed")
                else:
                    same(decode(reply)["OUTPUT0"], rows)
                    stress.count(model, "answered")

    return ask


def leaves(stress):
    """Goes away during its request or before the answer, by an orderly close or a reset."""
    def ask(client, choice):
        model = choice.choice(SLOW)
        with stress.server.connect() as connection:
            data = request_bytes("POST", infer_path(model), *encode({"INPUT0": tensor([choice.randrange(10)], "INT32")}))
            connection.send(data[: choice.choice([0, 10, len(data) // 2, len(data) - 1, len(data), len(data), len(data)])])
            if choice.random() < 0.5:
                time.sleep(choice.random() * 0.02)
            if choice.random() < 0.5:  # a reset instead of an end
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stress.count(model, "gone")

    return ask


def stays(stress):
    """Asks the same as leaves() and must be answered, whoever of them came first."""
    def ask(client, choice):
        model, value = choice.choice(SLOW), choice.randrange(10)
        if choice.random() < 0.1:
            reply = client.post(infer_path(model), *encode({"INPUT0": tensor([value], "INT32")}, parameters={"fail": "now"}))
            assert reply.status == 500 and "now" in reply.error, f"{reply.status} {reply.body}"
            stress.count(model, "failed")
            return
        values = tensor([value], "INT32")
        reply = client.post(infer_path(model), *encode({"INPUT0": values}))
        same(decode(reply)["OUTPUT0"], values)
        stress.count(model, "answered")

    return ask


def operates(stress):
    """Purges and looks at everything."""
    def look(client, choice):
        server = stress.server
        what = choice.randrange(5)
        if what == 0:
            body = choice.choice([b"", {}, {"model": "strings"}, {"model": "scale", "version": "1"}])
            reply = server.request("POST", "/v2/cache/purge", body, port=server.metrics_port)
            assert reply.status == 503 or reply.json["purged"] >= 0, f"{reply.status} {reply.body}"  # Redis may be away
        elif what == 1:
            reply = server.get("/v2/cache", port=server.metrics_port)
            assert reply.status == 200, reply.body
            for entry in reply.json["models"]:
                assert entry["lookups"] == sum(entry[name] for name in COUNTED), entry
        elif what == 2:
            stats = server.get("/v2/models/stats").json["model_stats"]
            assert {"strings", "scale", "slow"} <= {entry["name"] for entry in stats}
        elif what == 3:
            check_lookups(server.metrics())
        else:
            assert server.get("/v2/health/live").status == 200
            server.index()

    return look


def troubles(redis):
    """A Redis that stops answering for a while, or is lost with all it had."""
    def trouble(client, choice):
        time.sleep(choice.random())
        if choice.random() < 0.6:
            redis.pause()
            try:
                time.sleep(choice.random() * 0.8)
            finally:
                redis.resume()
        else:
            redis.stop()
            time.sleep(choice.random() * 0.3)
            redis.start()
            with contextlib.suppress(RedisError, OSError):
                redis.command("DBSIZE")

    return trouble


# --- The end ---


def check_lookups(metrics):
    """However a row was answered, it was looked up once, and all are counted."""
    looked_up = {labels: value for (name, labels), value in metrics.items() if name == "hippocamp_cache_lookups_total"}
    assert looked_up
    for labels, value in looked_up.items():
        parts = {name: metrics[f"hippocamp_cache_{name}_total", labels] for name in COUNTED}
        assert value == sum(parts.values()), f"{dict(labels)}: {value} look-ups, but {parts}"


def check_counts(stress, model, rows):
    """Waits until the server's counts agree with the clients'; one that went away may be counted as either."""
    answered, failed, only, gone = (stress[model, what] for what in ("answered", "failed", "only", "gone"))
    label = frozenset({"model": model, "version": "1"}.items())

    def agree():
        now, metrics = stress.server.statistics(model), stress.server.metrics()
        text = f"{model}: {now}; the clients saw {answered} answers, {failed} failures, {only} times 504, and left {gone} times"
        assert answered <= now["success"] <= answered + gone, text
        assert failed <= now["fail"] <= failed + only + gone, text
        assert answered + failed <= now["success"] + now["fail"] <= answered + failed + only + gone, text
        reasons = {dict(labels)["reason"]: value for (name, labels), value in metrics.items()
                   if name == "nv_inference_request_failure" and label <= labels}
        assert sum(reasons.values()) == now["fail"], f"{text}; {reasons}"
        assert reasons["CANCELED"] <= gone, f"{text}; {reasons}"
        assert metrics["nv_inference_request_success", label] == now["success"], text
        if rows:
            assert metrics["hippocamp_cache_lookups_total", label] == stress[model, "rows"], text
        return True

    eventually(agree, f"the counts of {model}", patience=10)


def pending(server):
    return {labels: value for (name, labels), value in server.metrics().items()
            if name == "nv_inference_pending_request_count" and value}


def echo(repository, model, config):
    """The model `delay` with rows, and a queue of its own."""
    place = repository.copy("delay", model, extra=config)
    text = (place / "config.pbtxt").read_text().replace("max_batch_size: 0", "max_batch_size: 4").replace('"100"', '"2"')
    (place / "config.pbtxt").write_text(text)
    return place


@pytest.mark.parametrize("store", [pytest.param("local", marks=pytest.mark.thorough), "redis"])
def test_everything_at_once(serve, repository, redis_server, store):
    repository.copy("simple_string", "strings", extra=BATCHES)
    repository.copy("simple", "whole", extra=BY_REQUEST)
    repository.copy("identity", "flip", cached=True)
    for name in ("slow", "slow_step"):
        slow = repository.copy("delay", name) / "config.pbtxt"
        slow.write_text(slow.read_text().replace('"100"', '"10"'))
    echo(repository, "queue_cached", REJECTS)
    queue = echo(repository, "queue", REJECTS) / "config.pbtxt"
    queue.write_text(queue.read_text().replace(CACHE, ""))
    repository.scale("scale", {1: 1.0}, cached=True, extra=BATCHES)
    for name, member, datatype, rows in (("square", "scale", "FP32", 8), ("slow_twice", "slow_step", "INT32", 0)):
        ensemble(repository, name, {"INPUT0": datatype}, {"OUTPUT0": datatype},
                 [step(member, {"INPUT0": "INPUT0"}, {"OUTPUT0": "between"}), step(member, {"INPUT0": "between"}, {"OUTPUT0": "OUTPUT0"})],
                 rows=rows, cached=True)

    if store == "redis":
        redis = redis_server()
        options = redis.cache("wait_timeout=100", "socket_timeout=300", *LIFE)
    else:  # too small for everything
        options = [f"--cache-config=local,{option}" for option in ("size=1MiB", *LIFE)]
    server = serve(repository, *options, "--model-control-mode=explicit", "--load-model=*")

    stress = Stress(server)
    weights = Weights(stress, repository)
    stress.add(strings(stress), threads=2)
    stress.add(singles(stress))
    stress.add(weights.ask, threads=2)
    stress.add(flips(stress), pause=0.005)
    stress.add(bursts(stress), threads=2, pause=0.01)
    stress.add(leaves(stress), threads=2, pause=0.002)
    stress.add(stays(stress), threads=2)
    stress.add(weights.ask_square)
    stress.add(weights.reload, pause=0.2)
    stress.add(flip, pause=0.05)
    stress.add(operates(stress), pause=0.05)
    if store == "redis":
        stress.add(troubles(redis))
    stress.run(SECONDS)

    eventually(lambda: not pending(server), "an empty queue")
    for model, rows in (("strings", True), ("whole", True), ("slow", False), ("slow_twice", False), ("queue", False), ("queue_cached", False)):
        check_counts(stress, model, rows)
    check_lookups(server.metrics())
    for model in ("strings", "whole", "scale", "square", "flip", *SLOW, "queue", "queue_cached"):
        assert stress[model, "answered"], f"nobody asked {model}"
    assert weights.loaded > 2, "no reloads"

    # The server still works.
    weights.ask(client := Client(server), random.Random(SEED))
    client.close()
    server.load("flip")
    ask_identity(server, [4.5], "flip")
    for model in SLOW:
        ask_delay(server, 1, model=model)
    server.stop()
