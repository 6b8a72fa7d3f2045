"""The real tritonserver, from PyPI's nvidia-pytriton, hosting our plug-ins. Its models run in its python backend."""

import importlib.util
import os
import re
import signal
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from support import LOCAL, PATIENCE, ROOT, Server, ask_simple, eventually, free_port, infer, same
from traffic import put

WHEEL = ROOT / ".deps" / "pytriton"
HOME = WHEEL / "pytriton" / "tritonserver"
NVIDIA_LOCAL = HOME / "caches" / "local" / "libtritoncache_local.so"
RELEASE = ROOT / "build" / "release"  # a sanitizer's library cannot be opened by a program without it


def bench_processes():
    """bench/processes.py, which knows how the models of its benchmarks are written for a real Triton."""
    spec = importlib.util.spec_from_file_location("bench_processes", ROOT / "bench" / "processes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BENCH = bench_processes()


def plugin(name, build=RELEASE):
    path = build / "plugins" / f"libtritoncache_{name}.so"
    if not path.exists():
        pytest.fail(f"{path} is missing: run `make build`")
    return path


def cache_folder(folder, **plugins):
    """A --cache-dir of these plug-ins: {name: file}."""
    for name, path in plugins.items():
        place = Path(folder, name)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"libtritoncache_{name}.so").symlink_to(path)
    return folder


# {name: (config, body of a class)}; DLPack as in the benchmarks. `picky` fails where its input is 666, and counts its
# runs in its answer; `blow` answers as many bytes as it is asked for.
MODELS = {
    "simple": BENCH.TRITON_MODELS["simple"],
    "picky": ("""\
max_batch_size: 0
input [ { name: "X", data_type: TYPE_INT32, dims: [ -1 ] } ]
output [ { name: "Y", data_type: TYPE_INT32, dims: [ -1 ] } ]
""", """\
    def run(self, tensor):
        x = tensor("X")
        if x[0] == 666:
            raise pb_utils.TritonModelException("it is 666")
        return ("Y", x + 1),
"""),
    "blow": ("""\
max_batch_size: 0
input [ { name: "X", data_type: TYPE_INT32, dims: [ 2 ] } ]
output [ { name: "Y", data_type: TYPE_UINT8, dims: [ -1 ] } ]
""", """\
    def run(self, tensor):
        size, seed = tensor("X")
        return ("Y", ((np.arange(size) * 31 + seed) % 251).astype(np.uint8)),
"""),
}

ENSEMBLE = """\
name: "twice"
platform: "ensemble"
max_batch_size: 0
input [ { name: "IN", data_type: TYPE_INT32, dims: [ -1 ] } ]
output [ { name: "OUT", data_type: TYPE_INT32, dims: [ -1 ] } ]
ensemble_scheduling { step [
  { model_name: "picky" model_version: -1 input_map { key: "X" value: "IN" } output_map { key: "Y" value: "between" } },
  { model_name: "picky" model_version: -1 input_map { key: "X" value: "between" } output_map { key: "Y" value: "OUT" } }
] }
response_cache { enable: true }
"""


def write_model(folder, name, code=None, extra=""):
    """A model of MODELS, cached; `code` instead of its own."""
    config, own = MODELS[name]
    version = Path(folder, name, "1")
    version.mkdir(parents=True, exist_ok=True)
    (version / "model.py").write_text(BENCH.TRITON_MODEL + (code or own))
    (version.parent / "config.pbtxt").write_text(
        f'name: "{name}"\nbackend: "python"\n{config}response_cache {{ enable: true }}\n{extra}')


def write_models(folder, *names):
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        if name == "twice":
            place = Path(folder, name)
            (place / "1").mkdir(parents=True)
            (place / "config.pbtxt").write_text(ENSEMBLE)
        else:
            write_model(folder, name)
    return folder


def backends(folder):
    """The python backend, with the stub for the Python of the tests."""
    if not (HOME / "bin" / "tritonserver").exists():
        pytest.fail(f"there is no tritonserver in {HOME}: run tools/deps check")
    return BENCH.triton_backends(folder)


# The onnxruntime backend is in no package. This one, a Python-based backend as Triton calls it, runs the same models.
ONNXRUNTIME = """\
import os
import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        return config

    def initialize(self, args):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.path.join(args["model_repository"], args["model_version"], "model.onnx"), options)

    def execute(self, requests):
        names = [output.name for output in self.session.get_outputs()]
        responses = []
        for request in requests:
            values = self.session.run(names, {each.name(): np.from_dlpack(each) for each in request.inputs()})
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack(*each) for each in zip(names, values)]))
        return responses
"""


def program_with_onnx(folder):
    """A program that is called as tritonserver is, and serves ONNX models."""
    place = Path(folder, "backends")
    place.mkdir()
    backends(place)
    (place / "onnxruntime").mkdir()
    (place / "onnxruntime" / "model.py").write_text(ONNXRUNTIME)
    program = Path(folder, "tritonserver")
    program.write_text(f"""\
#!/bin/sh
export LD_LIBRARY_PATH={WHEEL / 'nvidia_pytriton.libs'} PATH={ROOT / '.deps' / 'venv' / 'bin'}:$PATH
exec {HOME / 'bin' / 'tritonserver'} --backend-directory={place} --cache-directory={HOME / 'caches'} \
    --allow-gpu-metrics=false --backend-config=python,shm-region-prefix-name=test$$ "$@"
""")
    program.chmod(0o755)
    return program


class Triton(Server):
    """A running tritonserver, with the methods of support.Server."""

    def __init__(self, folder, models, *arguments, environment=None):
        self.log, self.ended, self.changed = [], False, threading.Condition()
        self.port, self.metrics_port, self.grpc_port = free_port(), free_port(), free_port()
        self.process = subprocess.Popen(
            [HOME / "bin" / "tritonserver", f"--model-repository={models}",
             f"--backend-directory={backends(folder / 'backends')}",
             f"--http-address={LOCAL}", f"--http-port={self.port}", f"--grpc-address={LOCAL}",
             f"--grpc-port={self.grpc_port}", f"--metrics-port={self.metrics_port}", "--allow-gpu-metrics=false",
             "--metrics-interval-ms=100", f"--backend-config=python,shm-region-prefix-name=test{self.port}",
             f"--exit-timeout-secs={PATIENCE}", *map(str, arguments)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
            env={**os.environ, "LD_LIBRARY_PATH": str(WHEEL / "nvidia_pytriton.libs"),
                 "PATH": f"{ROOT / '.deps' / 'venv' / 'bin'}:{os.environ['PATH']}", **(environment or {})})
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def wait_ready(self):
        def ready():
            self.check_alive()
            return Server.ready(self)

        eventually(ready, "a tritonserver that is ready", patience=60)
        return self

    def metrics(self):
        """{(name, frozenset of labels): value}. Not parsed as strictly as our own: Triton writes the page."""
        text = self.get("/metrics", port=self.metrics_port).body.decode()
        samples = {}
        for line in text.splitlines():
            found = re.match(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$", line)
            if found:
                labels = frozenset(re.findall(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"', found[2] or ""))
                samples[found[1], labels] = float(found[3])
        return samples

    def figure(self, name, **labels):
        return self.metrics().get((name, frozenset(labels.items())))

    def wait_figure(self, name, value, **labels):
        """Waits for a figure, which Triton updates once a second."""
        def told():
            now = self.figure(name, **labels)
            assert now == value, f"{name} is {now}, expected {value}"
            return True

        eventually(told, f"{name} {value}", patience=10)

    def executions(self, model="simple"):
        return self.statistics(model)["execution_count"]

    def stop(self):
        """Ends it by SIGTERM, and kills what is left of it."""
        try:
            if self.process.poll() is None:
                self.signal(signal.SIGTERM)
                code = self.wait(PATIENCE + 10)
                assert code == 0, f"exit code {code}:\n" + "\n".join(self.log[-60:])
        finally:
            self.kill()

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)  # a session of its own, with its models' processes
            self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)

    def errors(self):
        """The log's errors, except those of every tritonserver without a GPU."""
        return [line for line in self.lines(r"^E") if not re.search(r"CUDA|CudaDriverHelper", line)]


def all_hit(server, firsts):
    """Asks `simple` and checks each answer; returns whether all were hits and none ran the model."""
    before = server.statistics("simple")
    for first in firsts:
        ask_simple(server, first)
    now = server.statistics("simple")  # which may lag behind the answers
    return (now["execution_count"] == before["execution_count"]
            and now["cache_hit"] >= before["cache_hit"] + len(firsts))


def wait_all_hit(server, firsts, what="hits"):
    eventually(lambda: all_hit(server, firsts), what)


def ask_picky(server, value, model="picky", name="X"):
    """The raw reply."""
    return put(server, model, {name: np.array([value], dtype=np.int32)})


def ask_blow(server, size, seed):
    answer = infer(server, "blow", {"X": np.array([size, seed], dtype=np.int32)}, binary_out=True)
    same(answer["Y"], ((np.arange(size) * 31 + seed) % 251).astype(np.uint8))
