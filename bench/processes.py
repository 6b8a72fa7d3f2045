"""The servers that the benchmarks compare: finds, starts, measures and stops them."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def place(variable, default):
    return Path(os.environ.get(variable, ROOT / default)).absolute()


# Everything used from outside bench/; environment variables can replace each path.
HIPPOCAMP = shlex.split(os.environ.get("HIPPOCAMP", str(ROOT / "build/release/hippocamp")))
MODELS = place("MODELS", "build/models")
PREFIX = place("PREFIX", ".deps/prefix")
PYTRITON = place("PYTRITON", ".deps/pytriton")
PERF_ANALYZER = place("PERF_ANALYZER", ".deps/perf_analyzer")
VENV = place("VENV", ".deps/venv")
REDIS_LOOKUPS = place("REDIS_LOOKUPS", "build/release/bench/redis_lookups")
PLUGIN_LOOKUPS = place("PLUGIN_LOOKUPS", "build/release/bench/plugin_lookups")
PLUGINS = place("PLUGINS", "build/caches")

HOST = "127.0.0.1"
CACHE_BYTES = 64 << 20
READY_LIMIT = 120  # seconds
STOP_LIMIT = 10
TICKS = os.sysconf("SC_CLK_TCK")


class Failure(Exception):
    """The benchmark cannot go on, and all its measurements are void."""


def free_ports(count):
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]


def get(port, path):
    """(status, body) of one GET, on a connection of its own."""
    with socket.create_connection((HOST, port), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
                           .encode())
        reply = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = reply.partition(b"\r\n\r\n")
    return int(head.split(None, 2)[1]) if head else 0, body


def run(command, limit, environment=None):
    """The standard output of a command that must succeed within `limit` seconds."""
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                              timeout=limit, env={**os.environ, **(environment or {})})
    except subprocess.TimeoutExpired:
        raise Failure(f"{command[0]} took more than {limit:.0f} s") from None
    except OSError as error:
        raise Failure(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        raise Failure(f"{command[0]} failed: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


def process_tree(root):
    """{pid: clock ticks of processor time} of a process and its descendants."""
    parents, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # the process has just ended
        pid = int(path.parent.name)
        parents[pid] = int(fields[1])
        ticks[pid] = int(fields[11]) + int(fields[12])
    tree, found = {}, [root]
    while found:
        pid = found.pop()
        if pid in ticks:
            tree[pid] = ticks[pid]
        found += [child for child, parent in parents.items() if parent == pid]
    return tree


class Server:
    """A running server. Leaving its context stops the server and all its processes."""

    def __init__(self, name, command, port, folder, ready_path=None, environment=None, grpc_port=None):
        self.name, self.port, self.grpc_port = name, port, grpc_port
        self.command = [str(part) for part in command]
        self.log = Path(folder, re.sub(r"\W+", "_", name) + ".log")
        start = time.perf_counter()
        with self.log.open("w") as log:
            try:
                self.process = subprocess.Popen(
                    self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    env={**os.environ, **(environment or {})}, start_new_session=True)
            except OSError as error:
                raise Failure(f"{self.command[0]}: {error.strerror}") from None
        try:
            while not self.answers(ready_path):
                if self.process.poll() is not None or time.perf_counter() > start + READY_LIMIT:
                    raise Failure(f"{name} does not get ready:\n{self.log.read_text()[-2000:]}")
                time.sleep(0.001)
        except BaseException:
            self.stop()
            raise
        self.ready_seconds = time.perf_counter() - start

    def answers(self, path):
        try:
            if path:
                return get(self.port, path)[0] == 200
            socket.create_connection((HOST, self.port), timeout=1).close()
            return True
        except OSError:
            return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        tree = process_tree(self.process.pid)
        self.process.terminate()
        try:
            self.process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid in tree:
            # Kill a worker that outlived its parent, but only if the pid is still in the server's session.
            with contextlib.suppress(ProcessLookupError):
                if pid != self.process.pid and os.getsid(pid) == self.process.pid:
                    os.kill(pid, signal.SIGKILL)

    def cpu_seconds(self):
        return sum(process_tree(self.process.pid).values()) / TICKS

    def resident_bytes(self):
        kib = 0
        for pid in process_tree(self.process.pid):
            status = Path(f"/proc/{pid}/status").read_text()
            kib += int(re.search(r"VmRSS:\s*(\d+)", status)[1])
        return kib << 10


def repository(folder, models, config=""):
    """Makes a repository with copies of these models; appends `config` to each config.pbtxt."""
    for model in models:
        try:
            shutil.copytree(MODELS / model, Path(folder, model))
        except OSError as error:
            raise Failure(f"no model {model} in {MODELS}: {error}") from None
        with Path(folder, model, "config.pbtxt").open("a") as file:
            file.write(config)
    Path(folder).mkdir(exist_ok=True)
    return folder


def hippocamp(name, models, folder, cache, *options, prefix=()):
    """Starts hippocamp. `cache` is "none", "local" or the port of a Redis server."""
    port, grpc_port, metrics_port = free_ports(3)
    if cache == "none":
        caches = ["--cache-config=none"]
    elif cache == "local":
        caches = [f"--cache-config=local,size={CACHE_BYTES >> 20}MB"]
    else:
        caches = [f"--cache-config=redis,host={HOST}", f"--cache-config=redis,port={cache}"]
    return Server(name, [*prefix, *HIPPOCAMP, "serve", f"--model-repository={models}",
                         f"--http-address={HOST}", f"--http-port={port}",
                         f"--grpc-address={HOST}", f"--grpc-port={grpc_port}",
                         f"--metrics-port={metrics_port}", *caches, *options],
                  port, folder, "/v2/health/ready", grpc_port=grpc_port)


# DLPack instead of as_numpy(): this python backend was built for numpy 1, whose arrays numpy 2 misreads.
TRITON_MODEL = """\
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            def tensor(name):
                return np.from_dlpack(pb_utils.get_input_tensor_by_name(request, name))
            outputs = [pb_utils.Tensor.from_dlpack(*output) for output in self.run(tensor)]
            responses.append(pb_utils.InferenceResponse(outputs))
        return responses

"""

# Counterparts of our ONNX models for Triton's python backend. Only hits of densenet_onnx are
# compared, so it returns a constant.
TRITON_MODELS = {
    "simple": ("""\
max_batch_size: 8
input [ { name: "INPUT0", data_type: TYPE_INT32, dims: [ 16 ] },
        { name: "INPUT1", data_type: TYPE_INT32, dims: [ 16 ] } ]
output [ { name: "OUTPUT0", data_type: TYPE_INT32, dims: [ 16 ] },
         { name: "OUTPUT1", data_type: TYPE_INT32, dims: [ 16 ] } ]
""", """\
    def run(self, tensor):
        a, b = tensor("INPUT0"), tensor("INPUT1")
        return ("OUTPUT0", a + b), ("OUTPUT1", a - b)
"""),
    "densenet_onnx": ("""\
max_batch_size: 0
input [ { name: "data_0", data_type: TYPE_FP32, dims: [ 3, 224, 224 ] } ]
output [ { name: "fc6_1", data_type: TYPE_FP32, dims: [ 1000 ] } ]
""", """\
    def run(self, tensor):
        return ("fc6_1", np.arange(1000, dtype=np.float32)),
"""),
    "large": ("""\
max_batch_size: 0
input [ { name: "X", data_type: TYPE_INT32, dims: [ 1 ] } ]
output [ { name: "Y", data_type: TYPE_UINT8, dims: [ 65536 ] } ]
""", """\
    def run(self, tensor):
        return ("Y", (np.arange(65536) % 251).astype(np.uint8)),
"""),
}


def triton_repository(folder, models):
    for model in models:
        config, code = TRITON_MODELS[model]
        version = Path(folder, model, "1")
        version.mkdir(parents=True)
        version.joinpath("model.py").write_text(TRITON_MODEL + code)
        version.with_name("config.pbtxt").write_text(
            f'name: "{model}"\nbackend: "python"\n{config}response_cache {{ enable: true }}\n')
    Path(folder).mkdir(exist_ok=True)
    return folder


def triton_backends(folder):
    """A folder with the python backend and the stub for the virtual environment's Python."""
    python = Path(folder, "python")
    if not python.exists():
        version = run([VENV / "bin/python3", "-c",
                       "import sys; print('%d.%d' % sys.version_info[:2])"], 30).strip()
        source = PYTRITON / "pytriton/tritonserver"
        stub = "triton_python_backend_stub"
        shutil.copytree(source / "backends/python", python)
        shutil.copy(source / "python_backend_stubs" / version / stub, python)
        python.joinpath(stub).chmod(0o755)
    return folder


def triton(name, models, folder, cache, caches_folder=None, options=(), environment=None):
    """Starts Triton. `cache` is "none", "local" for NVIDIA's cache, or a list of --cache-config values
    for a plug-in in `caches_folder`."""
    port, grpc_port, metrics_port = free_ports(3)
    home = PYTRITON / "pytriton/tritonserver"
    if isinstance(cache, list):
        caches = [f"--cache-config={option}" for option in cache]
    else:
        caches = [] if cache == "none" else [f"--cache-config=local,size={CACHE_BYTES}"]
    return Server(name, [home / "bin/tritonserver", f"--model-repository={models}",
                         f"--backend-directory={triton_backends(Path(folder, 'backends'))}",
                         f"--cache-directory={caches_folder or home / 'caches'}", *caches,
                         f"--http-address={HOST}", f"--http-port={port}",
                         f"--grpc-address={HOST}", f"--grpc-port={grpc_port}",
                         f"--metrics-port={metrics_port}", "--allow-gpu-metrics=false",
                         f"--backend-config=python,shm-region-prefix-name=bench{port}",
                         "--exit-timeout-secs=5", *options],
                  port, folder, "/v2/health/ready",
                  {"LD_LIBRARY_PATH": str(PYTRITON / "nvidia_pytriton.libs"),
                   "PATH": f"{VENV / 'bin'}:{os.environ['PATH']}", **(environment or {})}, grpc_port)


NGINX = """\
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 512; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_max_body_size 0;
    client_body_buffer_size 1m;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {host}:{port};
        set $part {part};
        location / {{ return 200 "{reply}"; }}
    }}
}}
"""
NGINX_PART = 2000  # a word in nginx's configuration has at most 4,095 bytes


def nginx(name, folder, size):
    """Starts nginx with one worker that answers every request with `size` bytes."""
    (port,) = free_ports(1)
    home = Path(folder, "nginx")
    home.mkdir(exist_ok=True)
    parts, rest = divmod(size, NGINX_PART)
    config = home / "nginx.conf"
    config.write_text(NGINX.format(folder=home, host=HOST, port=port, part="x" * NGINX_PART,
                                   reply="${part}" * parts + "x" * rest))
    return Server(name, ["nginx", "-p", home, "-e", "stderr", "-c", config], port, folder, "/")


def redis(folder, name="redis", *options):
    (port,) = free_ports(1)
    return Server(name, ["redis-server", "--bind", HOST, "--port", port, "--dir", folder,
                         "--save", "", "--appendonly", "no", *options], port, folder)


def redis_cli(server, *words):
    return run(["redis-cli", "-h", HOST, "-p", server.port, *words], 60)


def redis_cluster(stack, folder, primaries):
    """Starts a cluster of `primaries` servers without replicas; the stack stops them."""
    nodes = []
    for number in range(1, primaries + 1):
        home = Path(folder, f"node{number}")
        home.mkdir()
        (bus,) = free_ports(1)
        nodes.append(stack.enter_context(redis(home, f"cluster node {number}", "--cluster-enabled",
                                               "yes", "--cluster-port", bus)))
    redis_cli(nodes[0], "--cluster", "create", *(f"{HOST}:{node.port}" for node in nodes),
              "--cluster-yes")
    deadline = time.perf_counter() + READY_LIMIT
    while not all("cluster_state:ok" in redis_cli(node, "cluster", "info") for node in nodes):
        if time.perf_counter() > deadline:
            raise Failure("the cluster does not get ready")
        time.sleep(0.05)
    return nodes


def leave_on_sigterm():
    """Makes SIGTERM leave every context, and so stop every server, as SIGINT does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
