"""What tests of queues, rows, caches and ensembles share: models made on the spot, requests that wait, and counts."""

import re
import selectors
from concurrent.futures import ThreadPoolExecutor

from support import CACHE, PATIENCE, decode, encode, eventually, infer_path, request_bytes, tensor

EXPLICIT = "--model-control-mode=explicit"
ONE_THREAD = "--threads=1"  # requests then reach the queue in the order in which they were sent
ONE_INSTANCE = "instance_group [ { kind: KIND_CPU count: 1 } ]\n"
HOUR = 3_600_000_000  # in microseconds: only a full batch ends such a wait


# --- Models made on the spot ---

ECHO = """\
name: "{name}"
backend: "echo"
max_batch_size: {rows}
input [ {{ name: "INPUT0", data_type: TYPE_{datatype}, dims: [ -1 ] }} ]
output [ {{ name: "OUTPUT0", data_type: TYPE_{datatype}, dims: [ -1 ] }} ]
parameters {{ key: "mode" value {{ string_value: "delay" }} }}
parameters {{ key: "delay_ms" value {{ string_value: "{delay_ms}" }} }}
"""


def cache_parameters(**values):
    """A config's response_cache.* parameters."""
    return "".join(f'parameters {{ key: "response_cache.{name}" value {{ string_value: "{value}" }} }}\n'
                   for name, value in values.items())


def batching(preferred=(), delay_us=0, policy="", extra=""):
    """dynamic_batching of a config; policy is the default queue's."""
    text = f"preferred_batch_size: [ {', '.join(map(str, preferred))} ] " if preferred else ""
    text += f"max_queue_delay_microseconds: {delay_us} " if delay_us else ""
    text += f"default_queue_policy {{ {policy} }} " if policy else ""
    return f"dynamic_batching {{ {text}{extra} }}\n"


def write_config(repository, name, text):
    """A model that consists of a config alone."""
    place = repository.path / name
    (place / "1").mkdir(parents=True, exist_ok=True)
    repository.replace(place / "config.pbtxt", text.encode())
    return place


def echo(repository, name="echo", rows=0, datatype="INT32", delay_ms=0, cached=False, extra=ONE_INSTANCE):
    """A model that answers its input, after the delay of its config or of the request's parameter delay_ms."""
    text = ECHO.format(name=name, rows=rows, datatype=datatype, delay_ms=delay_ms)
    return write_config(repository, name, text + (CACHE if cached else "") + extra)


def entries(kind, tensors):
    """input or output of a config, of {name: datatype} or {name: (datatype, dims)}."""
    each = [(name, *(what if isinstance(what, tuple) else (what, [-1]))) for name, what in tensors.items()]
    return kind + " [ " + ", ".join(f'{{ name: "{name}", data_type: TYPE_{datatype}, dims: {list(dims)} }}'
                                    for name, datatype, dims in each) + " ]\n"


def step(model, inputs, outputs, version=-1):
    """A step of an ensemble: {name in the model: name in the ensemble}."""
    maps = [f'{kind}_map {{ key: "{key}" value: "{value}" }}'
            for kind, names in (("input", inputs), ("output", outputs)) for key, value in names.items()]
    return f'step {{ model_name: "{model}" model_version: {version} {" ".join(maps)} }}\n'


def ensemble(repository, name, inputs, outputs, steps, rows=8, cached=False, extra=""):
    text = f'name: "{name}"\nplatform: "ensemble"\nmax_batch_size: {rows}\n'
    text += entries("input", inputs) + entries("output", outputs)
    text += "ensemble_scheduling {\n" + "".join(steps) + "}\n" + (CACHE if cached else "") + extra
    return write_config(repository, name, text)


# --- Requests that wait ---


def put(server, model, inputs, headers=None, version=None, **options):
    """The raw reply to an infer request."""
    body, fields = encode(inputs, **options)
    return server.post(infer_path(model, version), body, {**fields, **(headers or {})})


def sent(server, model, inputs, headers=None, **options):
    """Sends a request, and returns its connection without waiting for the reply. A server with one loop thread has read
    the request by then."""
    body, fields = encode(inputs, **options)
    connection = server.connect()
    connection.request("GET", "/v2/health/live")  # it is accepted now
    connection.send(request_bytes("POST", infer_path(model), body, {**fields, **(headers or {})}))
    server.get("/v2/health/live")
    return connection


def sent_echo(server, values, model="echo", datatype="INT32", **options):
    return sent(server, model, {"INPUT0": tensor(values, datatype)}, **options)


def hold(server, model="echo", milliseconds=400, values=((-1,),), datatype="INT32"):
    """Sends a request that occupies the model's only instance; no other is batched with it."""
    held = sent_echo(server, values, model, datatype, parameters={"delay_ms": milliseconds, "hold": True})
    wait_queued(server, model, 0)
    return held


def queued(server, model, version=1):
    return metric(server, "nv_inference_pending_request_count", model=model, version=str(version))


def wait_queued(server, model, count):
    """Several times in succession: the one that is to run may still be on its way from the queue."""
    eventually(lambda: all(queued(server, model) == count for _ in range(5)), f"{count} waiting requests", patience=15)


def in_order(connections):
    """(position, reply), as the replies come."""
    with selectors.DefaultSelector() as selector:
        for position, connection in enumerate(connections):
            selector.register(connection.socket, selectors.EVENT_READ, position)
        while selector.get_map():
            ready = selector.select(PATIENCE)
            assert ready, "no reply came"
            for key, _ in ready:
                selector.unregister(key.fileobj)
                yield key.data, connections[key.data].reply("POST")


def order_of(connections):
    """The positions in the order of the replies, all of which must be good."""
    order = []
    for position, reply in in_order(connections):
        assert reply.status == 200, reply.body
        order.append(position)
    return order


def first_ready(connections, patience=PATIENCE):
    """Waits for a reply; returns the positions of all connections that have one by then."""
    with selectors.DefaultSelector() as selector:
        for position, connection in enumerate(connections):
            selector.register(connection.socket, selectors.EVENT_READ, position)
        return {key.data for key, _ in selector.select(patience)}


def answers(connections):
    return [decode(connection.reply("POST")) for connection in connections]


def many(count, work, threads=8):
    """Results of work(0) ... work(count - 1), run `threads` at a time; a failure is raised."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, range(count)))


# --- Counts ---


def label(model, version="1", **more):
    return frozenset({"model": model, "version": str(version), **more}.items())


def metric(server, name, **labels):
    return server.metrics()[(name, frozenset(labels.items()))]


def wait_connected(server):
    """Waits until as many connections to Redis make keys as there are threads: one may have two, so a test whose
    requests must be hits at once gives its servers one thread."""
    eventually(lambda: metric(server, "hippocamp_cache_connections") >= server.threads, "Redis's connections")


def wait_metric(server, name, value, **labels):
    """Waits until a metric has a value, or one for which a function is true."""
    wanted = value if callable(value) else lambda now: now == value

    def as_expected():
        now = metric(server, name, **labels)
        assert wanted(now), f"{name} is {now}"
        return True

    eventually(as_expected, name, patience=10)


def batches(server, model, version=1):
    """{size: count} of the batches that ran."""
    (entry,) = server.get(f"/v2/models/{model}/versions/{version}/stats").json["model_stats"]
    return {batch["batch_size"]: batch["compute_infer"]["count"] for batch in entry["batch_stats"]}


def wait_batches(server, model, expected):
    def as_expected():
        now = batches(server, model)
        assert now == expected, f"{now}, expected {expected}"
        return True

    eventually(as_expected, f"batches of {model}", patience=10)


ROW_COUNTS = ["lookups", "hits", "misses", "joined", "bypassed", "errors"]


def rows_counted(server, model, version=1, metrics=None):
    """hippocamp_cache_*_total of a model; asserts that they add up, as they must at any time."""
    metrics = metrics or server.metrics()
    counts = {name: metrics[(f"hippocamp_cache_{name}_total", label(model, version))] for name in ROW_COUNTS}
    assert counts["lookups"] == sum(counts[name] for name in ROW_COUNTS[1:]), counts
    return counts


def wait_rows(server, model, version=1, **expected):
    """Waits until the rows have these counts: they may lag behind the reply."""
    def as_expected():
        now = rows_counted(server, model, version)
        assert all(now[name] == count for name, count in expected.items()), f"{now}, expected {expected}"
        return True

    eventually(as_expected, f"rows of {model}", patience=10)


def wait_stored(server, count):
    """Waits for `count` inserts: entries are stored after the reply."""
    before = getattr(server, "inserts_before", 0)  # of a server that is shared
    wait_metric(server, "hippocamp_cache_inserts_total", lambda now: now - before >= count)


# --- Cache-Status ---

PIECE = re.compile(r'; (?:(hit|stored)|(fwd|ttl|detail)=("[^"]*"|[^;" ]+))')


def cache_status(reply):
    """A reply's Cache-Status, parsed: `hippocamp; hit; ttl=59` is {"hit": True, "ttl": 59}."""
    text = reply if isinstance(reply, str) else reply.headers["cache-status"]
    assert text.startswith("hippocamp; ") and PIECE.sub("", text) == "hippocamp", text
    found = {flag or name: True if flag else value.strip('"') for flag, name, value in PIECE.findall(text)}
    assert ("hit" in found) != ("fwd" in found), text
    if "ttl" in found:
        found["ttl"] = int(found["ttl"])
    return found


def is_hit(reply):
    assert reply.status == 200, reply.body
    return "hit" in cache_status(reply)


def asked_until(ask, wanted, what, patience=PATIENCE):
    """Repeats ask(); returns the first reply whose Cache-Status is as wanted."""
    def once():
        reply = ask()
        assert reply.status == 200, f"{reply.status}: {reply.body[:300]!r}"
        status = cache_status(reply)
        assert wanted(status), status
        return reply

    return eventually(once, what, patience)
