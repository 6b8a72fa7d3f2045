"""What the end-to-end tests share: processes, HTTP over plain sockets, tensors, and waiting for conditions."""

import itertools
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("HIPPOCAMP_BUILD", "build"))
PROGRAM = ROOT / BUILD / "hippocamp"
CORES = ROOT / "build" / "cores"  # servers run there, so that their core files are kept
PATIENCE = 30  # seconds that anything may take before a test calls it hung; sanitizer builds are slow
LOCAL = "127.0.0.1"

DATATYPES = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}
NAMES = {np.dtype(kind): name for name, kind in DATATYPES.items()}


CORES.mkdir(parents=True, exist_ok=True)
resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)


# --- Waiting, tools ---


def eventually(check, what="the condition", patience=PATIENCE):
    """Repeats check() until its value is true, and returns that. AssertionError and OSError count as false."""
    deadline = time.monotonic() + patience
    while True:
        try:
            last = check()
            if last:
                return last
        except (AssertionError, OSError) as failure:
            last = failure
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come true within {patience} s: {last!r}")
        time.sleep(0.01)


def at_once(count, work):
    """Results of work(0) ... work(count - 1), all begun together on threads of their own."""
    results = [None] * count
    gate = threading.Barrier(count)

    def run(i):
        gate.wait()
        try:
            results[i] = work(i)
        except BaseException as failure:  # handed to the caller below
            results[i] = failure

    threads = [threading.Thread(target=run, args=[i], daemon=True) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    assert not any(thread.is_alive() for thread in threads), "requests are still unanswered"
    return results


def tool(name, remedy):
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"{name} is missing: {remedy}")
    return path


def clock_ahead(seconds):
    """The environment for a program whose clock is to be `seconds` ahead."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        pytest.fail("libfaketimeMT.so.1 is missing: run tools/deps check")
    return {"LD_PRELOAD": library, "FAKETIME": f"+{seconds}", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}


WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
PORTS_EACH = 500  # of a worker, so that no other takes a port between this one's look and its use
PORTS = itertools.count(random.randrange(PORTS_EACH))


def free_port():
    """A free port outside the range from which the kernel chooses ports; not given again for long."""
    while True:
        port = 20000 + WORKER % 20 * PORTS_EACH + next(PORTS) % PORTS_EACH
        with socket.socket() as probe:
            try:
                probe.bind((LOCAL, port))
            except OSError:
                continue
            return port


# --- HTTP ---


@dataclass
class Reply:
    status: int
    headers: dict
    body: bytes
    version: str = "HTTP/1.1"

    @cached_property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        assert list(self.json) == ["error"], self.body
        return self.json["error"]


def request_bytes(method, path, body=b"", headers=None, version="HTTP/1.1"):
    fields = {"Host": LOCAL, **(headers or {})}
    names = {name.lower() for name in fields}
    if (body or method == "POST") and not names & {"content-length", "transfer-encoding"}:
        fields["Content-Length"] = len(body)
    lines = [f"{method} {path} {version}", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class Connection:
    """One HTTP connection on which the test controls every byte."""

    def __init__(self, port):
        self.socket = socket.create_connection((LOCAL, port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def request(self, *arguments, **options):
        self.send(request_bytes(*arguments, **options))
        return self.reply(arguments[0])

    def reply(self, method="GET"):
        line = self.stream.readline()
        if not line:
            raise ConnectionResetError("closed without an answer")
        version, status, *_ = line.decode("latin-1").split(None, 2)
        headers = {}
        while (line := self.stream.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        return Reply(int(status), headers, self._body(method, int(status), headers), version)

    def _body(self, method, status, headers):
        if status < 200 or status == 204 or method == "HEAD":
            return b""
        if "chunked" in headers.get("transfer-encoding", "").lower():
            body = b""
            while size := int(self.stream.readline().split(b";")[0], 16):
                body += self.stream.read(size)
                self.stream.readline()
            self.stream.readline()
            return body
        if "content-length" in headers:
            length = int(headers["content-length"])
            body = self.stream.read(length)
            assert len(body) == length, f"{len(body)} of {length} bytes came"
            return body
        return self.stream.read()

    def closed(self):
        """Waits until the server closes its side or sends bytes; returns whether it closed."""
        try:
            return self.stream.read(1) == b""
        except ConnectionResetError:
            return True


# --- Tensors and the infer request ---


def tensor(values, datatype="FP32", shape=None):
    """An array of the numpy type that stands for a Triton datatype; text becomes bytes."""
    if datatype == "BYTES":
        flat = np.empty(len(values), dtype=object)
        flat[:] = [value.encode() if isinstance(value, str) else value for value in values]
        array = flat
    else:
        array = np.asarray(values, dtype=DATATYPES[datatype])
    return array if shape is None else array.reshape(shape)


def to_wire(array):
    if array.dtype == object:
        return b"".join(struct.pack("<I", len(element)) + element for element in array.ravel())
    return np.ascontiguousarray(array).tobytes()


def from_wire(data, datatype, shape):
    if datatype != "BYTES":
        return np.frombuffer(data, dtype=DATATYPES[datatype]).reshape(shape)
    elements = []
    while data:
        (length,) = struct.unpack_from("<I", data)
        assert len(data) >= 4 + length, "a string ends early"
        elements.append(data[4 : 4 + length])
        data = data[4 + length :]
    return tensor(elements, "BYTES", shape)


def to_json(array):
    if array.dtype == object:
        return [element.decode() for element in array.ravel()]
    return array.ravel().tolist()


def same(actual, expected):
    """Asserts the same datatype, shape and bits."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    assert to_wire(actual) == to_wire(expected), f"{actual!r} is not {expected!r}"


def encode(inputs, outputs=None, binary_in=False, binary_out=False, **members):
    """Body and headers of an infer request.

    inputs: {name: array}; outputs: names or (name, parameters); binary_in and binary_out: True for all, or names.
    """
    document, tail = dict(members), b""
    document["inputs"] = []
    for name, array in inputs.items():
        entry = {"name": name, "datatype": NAMES[array.dtype], "shape": list(array.shape)}
        if binary_in is True or (binary_in and name in binary_in):
            data = to_wire(array)
            entry["parameters"] = {"binary_data_size": len(data)}
            tail += data
        else:
            entry["data"] = to_json(array)
        document["inputs"].append(entry)
    if outputs is None and binary_out is True:
        document["parameters"] = {**document.get("parameters", {}), "binary_data_output": True}
    elif outputs is not None:
        document["outputs"] = []
        for output in outputs:
            name, parameters = (output, {}) if isinstance(output, str) else output
            binary = binary_out is True or bool(binary_out and name in binary_out)
            document["outputs"].append({"name": name, "parameters": {"binary_data": binary, **parameters}})
    header = json.dumps(document).encode()
    headers = {"Content-Type": "application/json"}
    if binary_in:
        headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": len(header)}
    return header + tail, headers


@dataclass
class Answer:
    """A decoded infer reply."""

    document: dict
    outputs: dict = field(default_factory=dict)
    binary: set = field(default_factory=set)

    def __getitem__(self, name):
        return self.outputs[name]


def decode(reply):
    assert reply.status == 200, f"{reply.status}: {reply.body[:500]!r}"
    length = int(reply.headers.get("inference-header-content-length", len(reply.body)))
    document, tail = json.loads(reply.body[:length]), reply.body[length:]
    answer = Answer(document)
    for output in document["outputs"]:
        name, datatype, shape = output["name"], output["datatype"], output["shape"]
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            values = tensor(output["data"], datatype)
        else:
            assert "data" not in output
            assert len(tail) >= size, f"{name}: {len(tail)} of {size} bytes"
            values, tail = from_wire(tail[:size], datatype, -1), tail[size:]
            answer.binary.add(name)
        answer.outputs[name] = values.reshape(shape)
    assert tail == b"", "bytes behind the last output"
    return answer


def infer_path(model, version=None):
    return f"/v2/models/{model}" + (f"/versions/{version}" if version else "") + "/infer"


def infer(server, model, inputs, outputs=None, version=None, headers=None, **options):
    body, fields = encode(inputs, outputs, **options)
    return decode(server.post(infer_path(model, version), body, {**fields, **(headers or {})}))


infer_json = infer
infer_binary = partial(infer, binary_in=True, binary_out=True)


def sums(first=1, second=1, rows=1):
    """Inputs and expected outputs of `simple`."""
    a = np.arange(first, first + 16 * rows, dtype=np.int32).reshape(rows, 16)
    b = np.full((rows, 16), second, dtype=np.int32)
    return {"INPUT0": a, "INPUT1": b}, {"OUTPUT0": a + b, "OUTPUT1": a - b}


def ask_simple(server, first=1, second=1, model="simple", **options):
    inputs, expected = sums(first, second)
    answer = infer(server, model, inputs, **options)
    for name, array in expected.items():
        same(answer[name], array)
    return answer


def ask_identity(server, values, model="identity", datatype="FP32", **options):
    array = tensor(values, datatype)
    answer = infer(server, model, {"INPUT0": array}, **options)
    same(answer["OUTPUT0"], array)
    return answer


def ask_delay(server, milliseconds, values=(1,), model="delay", parameters=None, **options):
    parameters = {"delay_ms": milliseconds, **(parameters or {})}
    return ask_identity(server, values, model, "INT32", parameters=parameters, **options)


def classes(row, count, labels=None):
    """The expected classification of one row; of equal values, the lower index is first."""
    order = np.argsort(-row.astype(np.float64), kind="stable")[:count]
    number = "%d" if np.issubdtype(row.dtype, np.integer) else "%f"
    return [((number % row[i]) + f":{i}" + (f":{labels[i]}" if labels else "")).encode() for i in order]


# --- The server ---


def serve_arguments(arguments):
    """The arguments, with a port of its own for gRPC unless they say one."""
    texts = [str(argument) for argument in arguments]
    if not any("grpc-port" in text or "grpc-address=unix" in text or text.startswith("--allow-grpc") for text in texts):
        texts.append("--grpc-port=0")
    return texts


class Server:
    """A running `hippocamp serve`; its stderr is read by a thread from start to end."""

    def __init__(self, *arguments, environment=None, wrapper=(), program=PROGRAM, cwd=None):
        if not program.exists():
            pytest.fail(f"{program} is missing: run `make build`, or name the build directory in HIPPOCAMP_BUILD")
        self.log = []
        self.ended = False
        self.changed = threading.Condition()
        self.process = subprocess.Popen(
            [*wrapper, program, "serve", *serve_arguments(arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, env={**os.environ, **(environment or {})}, start_new_session=True, cwd=cwd or CORES)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            with self.changed:
                self.log.append(line.decode(errors="replace").rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def lines(self, pattern):
        with self.changed:
            return [line for line in self.log if re.search(pattern, line)]

    def wait_log(self, pattern, patience=PATIENCE):
        """Waits for a line that matches the pattern; returns the first match."""
        deadline = time.monotonic() + patience
        seen = 0
        with self.changed:
            while True:
                for line in self.log[seen:]:
                    if found := re.search(pattern, line):
                        return found
                seen = len(self.log)
                left = deadline - time.monotonic()
                if self.ended or left <= 0:
                    pytest.fail(f"no log line matches {pattern!r}:\n" + "\n".join(self.log[-60:]))
                self.changed.wait(left)

    @cached_property
    def port(self):
        return int(self.wait_log(r"Started HTTPService at \S+?:(\d+)")[1])

    @cached_property
    def threads(self):
        return int(self.wait_log(r"is ready after .*; (\d+) threads?\b")[1])

    @cached_property
    def grpc_port(self):
        return int(self.wait_log(r"Started GRPCInferenceService at \S+?:(\d+)")[1])

    @cached_property
    def metrics_port(self):
        return int(self.wait_log(r"Started Metrics Service at \S+?:(\d+)")[1])

    def connect(self, port=None):
        try:
            return Connection(port or self.port)
        except OSError:
            self.check_alive()
            raise

    def check_alive(self):
        if self.process.poll() is not None:
            self.reader.join(PATIENCE)
            pytest.fail(f"the server ended with exit code {self.process.returncode}:\n" + "\n".join(self.log[-60:]))

    def request(self, method, path, body=b"", headers=None, port=None):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        with self.connect(port) as connection:
            try:
                return connection.request(method, path, body, headers)
            except OSError:
                self.check_alive()
                raise

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, body=b"", headers=None):
        return self.request("POST", path, body, headers)

    def ready(self, model=None):
        return self.get(f"/v2/models/{model}/ready" if model else "/v2/health/ready").status == 200

    def load(self, model, **parameters):
        reply = self.post(f"/v2/repository/models/{model}/load", {"parameters": parameters} if parameters else b"")
        assert reply.status == 200, reply.body
        return reply

    def unload(self, model):
        reply = self.post(f"/v2/repository/models/{model}/unload")
        assert reply.status == 200, reply.body
        eventually(lambda: not self.ready(model), f"{model} unloaded")

    def index(self, **body):
        """{(name, version): (state, reason)}; version "" for a model of which nothing was ever loaded."""
        reply = self.post("/v2/repository/index", body or b"")
        assert reply.status == 200, reply.body
        return {(entry["name"], entry.get("version", "")): (entry.get("state", ""), entry.get("reason", ""))
                for entry in reply.json}

    def statistics(self, model, version=1):
        """The counts of one version, flat: success, fail, cache_hit, ..., inference_count, execution_count."""
        (entry,) = self.get(f"/v2/models/{model}/versions/{version}/stats").json["model_stats"]
        counts = {name: value["count"] for name, value in entry["inference_stats"].items()}
        return {**counts, "inference_count": entry["inference_count"], "execution_count": entry["execution_count"]}

    def expect(self, model, version=1, **counts):
        """Waits until the statistics have these counts: they may lag behind the reply."""
        def as_expected():
            now = self.statistics(model, version)
            if any(now[name] != count for name, count in counts.items()):
                raise AssertionError(f"{now}, expected {counts}")
            return True

        eventually(as_expected, f"statistics of {model}", patience=10)

    def metrics(self):
        """{(name, frozenset of labels): value} of the metrics port."""
        reply = self.get("/metrics", port=self.metrics_port)
        assert reply.status == 200
        return parse_metrics(reply.body.decode())

    def signal(self, number):
        os.kill(self.process.pid, number)

    def wait(self, patience=PATIENCE):
        try:
            code = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail("the server did not end:\n" + "\n".join(self.log[-60:]))
        self.reader.join(PATIENCE)
        return code

    def core(self):
        """Says where a crashed server's core file is."""
        if self.process.returncode >= 0:
            return ""
        pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
        return f", a core by the pattern {pattern!r} in {CORES}"

    def stop(self):
        """Ends the server by SIGTERM, and checks its exit code and log."""
        if self.process.returncode is None:
            if self.process.poll() is None:
                self.signal(signal.SIGTERM)
            code = self.wait(PATIENCE + 10)  # longer than the server's own limit
            assert code == 0, f"exit code {code}{self.core()}:\n" + "\n".join(self.log[-60:])
        self.check_log()

    def check_log(self):
        bad = self.lines(r"Sanitizer|runtime error:")
        assert not bad, "\n".join(self.log[self.log.index(bad[0]) :][:80])


SAMPLE = re.compile(r'^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"(?:,|$)')


def parse_metrics(text):
    """Prometheus's text format, strictly; every sample must have been announced by HELP and TYPE."""
    samples, helped, typed = {}, set(), {}
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            helped.add(line.split(" ", 3)[2])
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert kind in ("counter", "gauge", "histogram", "summary"), line
            assert name not in typed, f"{name} is announced twice"
            typed[name] = kind
        elif line:
            found = SAMPLE.match(line)
            assert found, f"no sample: {line!r}"
            name, labels, value = found[1], found[2] or "", found[3]
            assert LABEL.sub("", labels) == "", f"labels of {line!r}"
            family = name if name in typed else re.sub(r"_(bucket|sum|count)$", "", name)
            assert family in typed and family in helped, f"{name} without HELP and TYPE"
            key = (name, frozenset(LABEL.findall(labels)))
            assert key not in samples, f"{line!r} comes twice"
            samples[key] = float(value)
    return samples


def run_program(*arguments, patience=PATIENCE, **options):
    """Runs the program until it ends by itself."""
    if not PROGRAM.exists():
        pytest.fail(f"{PROGRAM} is missing: run `make build`, or name the build directory in HIPPOCAMP_BUILD")
    if len(arguments) > 1 and arguments[0] == "serve":
        arguments = ["serve", *serve_arguments(arguments[1:])]
    done = subprocess.run([PROGRAM, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=patience, **options)
    assert not re.search(r"Sanitizer|runtime error:", done.stderr), done.stderr
    return done


# --- Model repositories ---

CACHE = "response_cache { enable: true }\n"

SCALE = """\
name: "{name}"
platform: "onnxruntime_onnx"
max_batch_size: 8
input [ {{ name: "INPUT0", data_type: TYPE_FP32, dims: [ -1 ] }} ]
output [ {{ name: "OUTPUT0", data_type: TYPE_FP32, dims: [ -1 ] }} ]
"""


def scale_model(factor):
    """OUTPUT0 = INPUT0 * factor, rows of FP32."""
    from onnx import TensorProto, helper, numpy_helper

    def info(name):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "n"])

    graph = helper.make_graph([helper.make_node("Mul", ["INPUT0", "factor"], ["OUTPUT0"])], "scale", [info("INPUT0")],
                              [info("OUTPUT0")], [numpy_helper.from_array(np.float32(factor), "factor")])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])
    return model.SerializeToString(deterministic=True)


class Repository:
    """A model repository that one test owns."""

    def __init__(self, path, models):
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self.models = models

    def add(self, *names):
        for name in names:
            self.copy(name)
        return self

    def copy(self, model, name=None, cached=False, extra=""):
        """A copy of an example model, under another name if one is given, with the cache if asked for."""
        place = self.path / (name or model)
        shutil.copytree(self.models(model), place)
        config = place / "config.pbtxt"
        text = re.sub(r'(?m)^name: ".*"$', f'name: "{place.name}"', config.read_text())
        if cached and "response_cache {" not in text:
            text += CACHE
        config.write_text(text + extra)
        return place

    def scale(self, name, factors, cached=False, extra=""):
        """Writes a model of ours: {version: factor}. A polling server never sees a file half written."""
        place = self.path / name
        place.mkdir(exist_ok=True)
        for version, factor in factors.items():
            (place / str(version)).mkdir(exist_ok=True)
            self.replace(place / str(version) / "model.onnx", scale_model(factor))
        text = SCALE.format(name=name) + (CACHE if cached else "") + extra
        self.replace(place / "config.pbtxt", text.encode())
        return place

    @staticmethod
    def replace(path, data):
        fresh = path.with_name("." + path.name)
        fresh.write_bytes(data)
        fresh.rename(path)


def ask_scale(server, factor, model="scale", value=3.0, **options):
    array = tensor([[value, -value]])
    answer = infer(server, model, {"INPUT0": array}, **options)
    same(answer["OUTPUT0"], array * np.float32(factor))
    return answer


# --- Redis ---

REDIS, VALKEY = "redis-server", "valkey-server"
NEWER = ["redis-server-8", "valkey-server-9"]


def redis_program(name):
    """Where redis-server, redis-cli, valkey-server or valkey-cli lies."""
    if name in NEWER:
        return tool(ROOT / ".deps" / "servers" / name, "run tools/deps check")
    if name.startswith("valkey"):
        return tool(ROOT / ".deps" / "valkey" / name, "run tools/deps check")
    return tool(name, "install Debian's packages redis-server and redis-tools")


class RedisError(Exception):
    pass


class Redis:
    """A redis-server or valkey-server of the test's own, and a client that takes any bytes."""

    def __init__(self, folder, port, options, program=REDIS):
        self.program = redis_program(program)
        self.folder, self.port, self.options = folder, port, options
        self.password = None
        self.start()

    def start(self):
        self.log = open(self.folder / "redis.log", "ab")
        self.process = subprocess.Popen(
            [self.program, "--port", str(self.port), "--bind", LOCAL, "--dir", self.folder, "--save", "",
             "--appendonly", "no", "--daemonize", "no", "--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru",
             *self.options],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True)
        eventually(self.answers, f"{self.program}'s start")

    def answers(self):
        if self.process.poll() is not None:
            pytest.fail(f"{self.program} ended: " + (self.folder / "redis.log").read_text()[-2000:])
        try:
            return self.command("PING") == b"PONG"
        except RedisError:
            return True  # it wants a password

    def stop(self):
        """Kills the server, as if its machine were lost."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        self.log.close()

    def pause(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self.process.pid, signal.SIGCONT)

    def command(self, *words):
        return self.commands([words])[0]

    def commands(self, several):
        """The replies to several commands that are sent in one go."""
        with socket.create_connection((LOCAL, self.port), timeout=PATIENCE) as connection:
            stream = connection.makefile("rb")
            for batch in ([[("AUTH", self.password)]] if self.password else []) + [several]:
                connection.sendall(b"".join(map(self._bytes, batch)))
                replies = [self._reply(stream) for _ in batch]
        return replies

    @staticmethod
    def _bytes(words):
        pieces = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        return b"*%d\r\n" % len(pieces) + b"".join(b"$%d\r\n%s\r\n" % (len(piece), piece) for piece in pieces)

    def _reply(self, stream):
        line = stream.readline()
        if not line:
            raise ConnectionError("Redis closed the connection")
        kind, rest = line[:1], line[1:].rstrip()
        if kind == b"-":
            raise RedisError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else stream.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self._reply(stream) for _ in range(int(rest))]
        return rest

    def entries(self, model="simple"):
        """Keys of cached responses, by their form: <prefix>:<model>:<version>:<fingerprint8>:<digest>."""
        return sorted(key for key in self.command("KEYS", f"*:{model}:*")
                      if re.search(rb":\d+:[0-9a-f]{8}:[0-9a-f]+$", key))

    def wait_entries(self, count, model="simple"):
        """Waits for `count` entries: they are stored after the reply."""
        def stored():
            keys = self.entries(model)
            assert len(keys) == count, keys
            return keys or True

        return eventually(stored, f"{count} entries in Redis")

    def cache(self, *options):
        """Command-line arguments for a server that caches here."""
        return [f"--cache-config=redis,host={LOCAL}", f"--cache-config=redis,port={self.port}",
                *(f"--cache-config=redis,{option}" for option in options)]
