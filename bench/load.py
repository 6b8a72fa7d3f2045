"""Load generators for the servers of processes.py. All run on this machine, each for a bounded time."""

import array
import json
import random
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import processes
from processes import HOST, Failure

DATATYPES = {"i": "INT32", "f": "FP32"}  # array's type codes


def short(values):
    """As lists of numbers with the digits that tell all float32 apart."""
    return [float(f"{value:.9g}") for value in values] if values.typecode == "f" else values.tolist()


@dataclass
class Request:
    """An inference request with tensors in binary form or in JSON. `expected` is {output: values} to check
    the reply against; empty: the values are not known. In JSON the first number is another one."""
    model: str
    inputs: dict  # {name: (shape, array)}
    expected: dict = field(default_factory=dict)
    in_json: bool = False

    def __post_init__(self):
        self.path = f"/v2/models/{self.model}/infer"
        if self.in_json:
            self.write_json()
        else:
            self.write_binary()
        form = ("Content-Type: application/json\r\n" if self.in_json else
                "Content-Type: application/octet-stream\r\n"
                f"Inference-Header-Content-Length: {self.header_length}\r\n")
        self.message = (f"POST {self.path} HTTP/1.1\r\nHost: {HOST}\r\n{form}"
                        f"Content-Length: {len(self.body)}\r\n\r\n").encode() + self.body

    def write_json(self):
        """The first number has digits that front.lua replaces: those of a fraction, or all of a whole number but the first."""
        first = next(iter(self.inputs.values()))[1]
        leading, digits = ("1", f"{first[0]:09}") if first.typecode == "i" else ("0.", f"{first[0]:.7f}"[2:])
        self.expected = {}
        tensors = [{"name": name, "shape": shape, "datatype": DATATYPES[values.typecode], "data": short(values)}
                   for name, (shape, values) in self.inputs.items()]
        tensors[0]["data"][0] = "FIRST"
        before, after = json.dumps({"inputs": tensors}, separators=(",", ":")).split('"FIRST"')
        self.header_length = 0
        self.number = len(before + leading), len(digits)
        self.body = f"{before}{leading}{digits}{after}".encode()

    def write_binary(self):
        """front.lua replaces the first number."""
        tensors = [{"name": name, "shape": shape, "datatype": DATATYPES[values.typecode],
                    "parameters": {"binary_data_size": len(values) * values.itemsize}}
                   for name, (shape, values) in self.inputs.items()]
        header = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}},
                            separators=(",", ":")).encode()
        self.header_length = len(header)
        self.number = len(header), 4
        self.body = header + b"".join(values.tobytes() for _, values in self.inputs.values())


def simple():
    a, b = array.array("i", range(16)), array.array("i", [1] * 16)
    return Request("simple", {"INPUT0": ([1, 16], a), "INPUT1": ([1, 16], b)},
                   {"OUTPUT0": array.array("i", (x + y for x, y in zip(a, b))),
                    "OUTPUT1": array.array("i", (x - y for x, y in zip(a, b)))})


def densenet():
    draw = random.Random(1)
    values = array.array("f", (draw.random() for _ in range(3 * 224 * 224)))
    return Request("densenet_onnx", {"data_0": ([3, 224, 224], values)})


class Connection:
    """A keep-alive connection that sends each request in one piece."""

    def __init__(self, port):
        self.socket = socket.create_connection((HOST, port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def exchange(self, message):
        """({header in lower case: value}, body) of the reply, whose status must be 200."""
        self.socket.sendall(message)
        status = self.file.readline()
        headers = {}
        while line := self.file.readline().strip():
            name, _, value = line.partition(b":")
            headers[name.strip().lower().decode()] = value.strip().decode()
        body = self.file.read(int(headers.get("content-length", 0)))
        if status.split()[1:2] != [b"200"]:
            raise Failure(f"answer {status} {body[:300]}")
        return headers, body


def check_reply(request, headers, body, expected):
    """Fails unless the reply holds the values `expected`, floats within a tolerance of 1e-4."""
    length = int(headers.get("inference-header-content-length", len(body)))
    reply, binary = json.loads(body[:length]), body[length:]
    found = {}
    for output in reply["outputs"]:
        size = output["parameters"]["binary_data_size"]
        found[output["name"]], binary = binary[:size], binary[size:]
    for name, values in expected.items():
        tensor = array.array(values.typecode, found.get(name, b""))
        close = 1e-4 * max(map(abs, values), default=0) if values.typecode == "f" else 0
        if len(tensor) != len(values) or any(abs(x - y) > close
                                             for x, y in zip(tensor, values)):
            raise Failure(f"{request.model}: wrong values in {name}")


def counts(server, model):
    """(cache hits, cache misses) so far."""
    status, body = processes.get(server.port, f"/v2/models/{model}/stats")
    if status != 200:
        raise Failure(f"{server.name}: no statistics of {model}")
    statistics = json.loads(body)["model_stats"][0]["inference_stats"]
    return statistics["cache_hit"]["count"], statistics["cache_miss"]["count"]


def check(server, request, expected, cached):
    """Sends the request twice. Fails unless both replies are right and the second is a hit if
    `cached`, else none. Returns the size of the reply's body."""
    before = counts(server, request.model)[0]
    with Connection(server.port) as connection:
        check_reply(request, *connection.exchange(request.message), expected)
        time.sleep(0.2)  # the cache may be written after the reply
        misses = counts(server, request.model)[1]
        headers, body = connection.exchange(request.message)
        check_reply(request, headers, body, expected)
    hits, after = counts(server, request.model)
    if (hits > before, after > misses) != (cached, False):
        raise Failure(f"{server.name}: the second request is {'no' if cached else 'a'} hit")
    return len(body)


@dataclass
class Sample:
    rate: float             # requests per second
    p50: float              # microseconds
    p99: float
    cpu: float = None       # the server's microseconds per request
    resident: int = None    # bytes


def wrk(server, request, connections, seconds, folder):
    """A Sample of one request again and again."""
    return by_wrk(server, request, connections, seconds, folder, "wrk.lua")


def differing(server, request, count, connections, seconds, folder):
    """A Sample of questions that differ: `count` of them by Zipf's law; 0: none comes twice."""
    return by_wrk(server, request, connections, seconds, folder, "front.lua", count, *request.number)


def by_wrk(server, request, connections, seconds, folder, script, *arguments):
    body = Path(folder, f"{request.model}.{'json' if request.in_json else 'binary'}")
    body.write_bytes(request.body)
    cpu = server.cpu_seconds()
    out = processes.run(["wrk", "--latency", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s",
                     "-s", Path(__file__).with_name(script),
                     f"http://{HOST}:{server.port}{request.path}", "--", body,
                     request.header_length, *arguments], seconds + 30)
    cpu = server.cpu_seconds() - cpu
    result = json.loads(out.splitlines()[-1])
    if result["errors"] or not result["requests"]:
        raise Failure(f"{server.name}, {connections} connections: {result['errors']} errors, "
                      f"{result['requests']} requests")
    return Sample(result["requests"] / result["seconds"], result["p50"], result["p99"],
                  cpu / result["requests"] * 1e6, server.resident_bytes())


def perf_analyzer(server, model, concurrency, window, protocol="http", streams=False):
    """Runs perf_analyzer for three windows of `window` milliseconds; with fewer it prints no figures.

    By default it has one thread for each request in flight. On two cores 32 of these starve for
    minutes the thread that ends the windows; with several asynchronous threads it may crash.
    """
    mode = ["-a", "--max-threads", 1] if concurrency > 1 or streams else []
    mode += ["-i", protocol] + (["--streaming"] if streams else [])
    port = server.port if protocol == "http" else server.grpc_port
    out = processes.run([processes.PERF_ANALYZER / "bin/perf_analyzer", "-m", model,
                     "-u", f"{HOST}:{port}", "--concurrency-range", concurrency,
                     "-p", window, "-s", 999, "-r", 3, *mode],
                    60, {"LD_LIBRARY_PATH": str(processes.PERF_ANALYZER / "lib")})
    figures = [re.search(pattern, out) for pattern in
               (r"Throughput: ([\d.]+)", r"p50 latency: (\d+)", r"p99 latency: (\d+)")]
    if not all(figures):
        raise Failure(f"perf_analyzer printed no figures for {server.name}:\n{out[-2000:]}")
    return Sample(*(float(figure[1]) for figure in figures))


def raw_get(redis, size, seconds):
    """A Sample of plain GETs of `size` bytes over one connection."""
    command = ["redis-benchmark", "-h", HOST, "-p", redis.port, "-c", 1, "-d", size, "--csv"]
    processes.run([*command, "-n", 1, "-t", "set"], 30)
    out = processes.run([*command, "-n", 10000 * seconds, "-t", "get"], 30 + 10 * seconds)
    columns, values = (re.findall(r'"([^"]*)"', line) for line in out.splitlines()[:2])
    row = dict(zip(columns, values))
    return Sample(float(row["rps"]), float(row["p50_latency_ms"]) * 1e3,
                  float(row["p99_latency_ms"]) * 1e3)


def requests_each(server, request, connections, count):
    """Requests per second, when the connections send `count` requests together."""
    left, lock, failures = count, threading.Lock(), []
    ready = threading.Barrier(connections + 1)

    def client():
        nonlocal left
        try:
            with Connection(server.port) as connection:
                connection.exchange(request.message)  # warms an instance
                ready.wait(120)
                while True:
                    with lock:
                        left -= 1
                        if left < 0:
                            return
                    connection.exchange(request.message)
        except Exception as error:
            failures.append(error)
            ready.abort()

    threads = [threading.Thread(target=client) for _ in range(connections)]
    for thread in threads:
        thread.start()
    try:
        ready.wait(120)
    except threading.BrokenBarrierError:
        pass  # the failure is reported below
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    if failures:
        raise Failure(f"{server.name}: {failures[0]}")
    return count / (time.perf_counter() - start)


@dataclass
class Bare:
    """ONNX Runtime alone: bench/ort_loop.c."""
    version: str
    rate: float
    resident: int


def build_ort_loop(folder):
    program = Path(folder, "ort_loop")
    processes.run(["cc", "-std=c17", "-O2", "-Wall", "-Wextra", "-pthread",
               "-o", program, Path(__file__).with_name("ort_loop.c"),
               f"-I{processes.PREFIX / 'include'}", f"-L{processes.PREFIX / 'lib'}", "-lonnxruntime",
               f"-Wl,-rpath,{processes.PREFIX / 'lib'}"], 60)
    return program


def ort_loop(program, request, intra_op_threads, instances, runs):
    """(Bare, what it computed)."""
    tensor, result = program.with_name("tensor"), program.with_name("result")
    if not tensor.exists():
        tensor.write_bytes(request.inputs["data_0"][1].tobytes())
    out = json.loads(processes.run(
        [program, processes.MODELS / "densenet_onnx/1/model.onnx", intra_op_threads, instances,
         runs, tensor, result], 60 + 5 * runs))
    return (Bare(out["version"], out["rate"], out["resident"] << 10),
            array.array("f", result.read_bytes()))
