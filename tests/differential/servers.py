"""Starts the servers that are compared: the real tritonserver 2.51, the front end of 2.73, and Hippocamp."""

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
DEPS = ROOT / ".deps"
WHEEL = DEPS / "pytriton"
HOME = WHEEL / "pytriton" / "tritonserver"
FRONT_END = DEPS / "front_end"
NUMPY1 = DEPS / "numpy1"  # the python backend cannot read numpy 2's arrays of strings
HOST = "127.0.0.1"
READY_LIMIT = 120


class NoGrpc(Exception):
    """Hippocamp was built without gRPC."""


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


class Server:
    """A server process, in a session of its own; restarted when it dies."""

    name, grpc = "", True
    starts = 1  # attempts

    def __init__(self, folder, models, mode):
        self.folder, self.models, self.mode = Path(folder), models, mode
        self.port, self.grpc_port, self.metrics_port = free_port(), free_port(), free_port()
        self.log = self.folder / f"{self.name}_{mode}.log"
        self.deaths = 0
        self.process = None

    def start(self):
        with self.log.open("a") as log:
            self.process = subprocess.Popen([str(word) for word in self.command()], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True, env={**os.environ, **self.environment()})
        return self

    def environment(self):
        return {}

    def wait_ready(self):
        deadline = time.monotonic() + READY_LIMIT
        starts = 1
        while True:
            if self.process.poll() is not None and starts < self.starts:
                starts += 1
                self.kill_rest()
                self.start()
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}")
            try:
                if urllib.request.urlopen(f"http://{HOST}:{self.port}/v2/health/ready", timeout=5).status == 200:
                    if self.grpc:
                        socket.create_connection((HOST, self.grpc_port), 5).close()
                    return self
            except (OSError, urllib.error.HTTPError):
                pass
            if time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{self.name} does not get ready:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.05)

    def died(self):
        """Whether the process has ended; then it is started again."""
        for _ in range(20):
            if self.process.poll() is not None:
                self.deaths += 1
                self.kill_rest()
                self.start().wait_ready()
                return True
            time.sleep(0.005)
        return False

    def kill_rest(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # its session: a model's processes may outlive it
        except ProcessLookupError:
            pass

    def stop(self):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                pass
        self.kill_rest()
        self.process.wait()


class Triton(Server):
    """tritonserver 2.51, as PyPI's nvidia-pytriton carries it."""

    name = "triton"
    starts = 5  # on a busy machine it often dies of a boost::interprocess::lock_exception while its models load

    def kill_rest(self):
        super().kill_rest()
        for region in Path("/dev/shm").glob(self.region() + "*"):  # those of a killed model stay
            region.unlink(missing_ok=True)

    def region(self):
        return f"diff{self.port}_"

    def backends(self):
        python = self.folder / "backends" / "python"
        if not python.exists():
            import sys
            stub = "triton_python_backend_stub"
            shutil.copytree(HOME / "backends" / "python", python)
            shutil.copy(HOME / "python_backend_stubs" / f"{sys.version_info[0]}.{sys.version_info[1]}" / stub, python)
            (python / stub).chmod(0o755)
        return python.parent

    def environment(self):
        return {"LD_LIBRARY_PATH": str(WHEEL / "nvidia_pytriton.libs"),
                "PATH": f"{NUMPY1 / 'bin'}:{os.environ['PATH']}"}

    def command(self):
        return [HOME / "bin" / "tritonserver", f"--model-repository={self.models}",
                f"--backend-directory={self.backends()}", f"--cache-directory={HOME / 'caches'}",
                f"--cache-config=local,size={64 << 20}", f"--http-address={HOST}", f"--http-port={self.port}",
                f"--grpc-address={HOST}", f"--grpc-port={self.grpc_port}", f"--metrics-port={self.metrics_port}",
                "--allow-gpu-metrics=false", "--model-load-thread-count=2", "--disable-auto-complete-config", f"--model-control-mode={self.mode}",
                *(["--load-model=simple"] if self.mode == "explicit" else []),
                f"--backend-config=python,shm-region-prefix-name={self.region()}", "--exit-timeout-secs=5"]


class FrontEnd(Triton):
    """The HTTP and gRPC ends of 2.73, from PyPI's tritonfrontend, on the core of 2.51 (host.py)."""

    name = "front_end"

    @staticmethod
    def there():
        return (FRONT_END / "python").exists()

    def environment(self):
        return {**super().environment(), "FRONT_END_LIBRARIES": f"{FRONT_END / 'libs'}:{WHEEL / 'nvidia_pytriton.libs'}"}

    def command(self):
        return [FRONT_END / "python", HERE / "host.py", FRONT_END, WHEEL / "nvidia_pytriton.libs", self.models,
                self.backends(), HOME / "caches", self.port, self.grpc_port, self.mode, self.region(),
                *(["simple"] if self.mode == "explicit" else [])]


class Hippocamp(Server):
    name = "hippocamp"
    program = ROOT / os.environ.get("HIPPOCAMP", "build/hippocamp")

    def command(self):
        ends = [f"--allow-grpc=true", f"--grpc-address={HOST}", f"--grpc-port={self.grpc_port}"] if self.grpc else []
        return [self.program, "serve", f"--model-repository={self.models}", f"--http-address={HOST}",
                f"--http-port={self.port}", f"--metrics-port={self.metrics_port}", *ends,
                f"--model-control-mode={self.mode}", "--cache-config=local,size=64MiB", "--disable-auto-complete-config",
                *(["--load-model=simple"] if self.mode == "explicit" else [])]

    def environment(self):
        return {"LD_LIBRARY_PATH": f"{DEPS / 'prefix' / 'lib'}"}

    def start(self):
        super().start()
        if self.grpc:
            time.sleep(0.3)
            if self.process.poll() is not None and "grpc" in self.log.read_text().lower():
                raise NoGrpc(self.log.read_text()[-500:])
        return self


class Through(Hippocamp):
    """Hippocamp in front of a tritonserver of its own, which it caches all that it can of."""

    name = "through"

    def __init__(self, folder, models, mode):
        super().__init__(folder, models, mode)
        (self.folder / "behind").mkdir(parents=True, exist_ok=True)
        self.behind = Triton(self.folder / "behind", models, mode)

    def command(self):
        return [self.program, "serve", *self.upstreams(), "--cache-models=*",
                f"--http-address={HOST}", f"--http-port={self.port}", f"--metrics-port={self.metrics_port}",
                f"--grpc-address={HOST}", f"--grpc-port={self.grpc_port}", "--cache-config=local,size=64MiB"]

    def upstreams(self):
        return [f"--upstream=http://{HOST}:{self.behind.port}", f"--upstream=grpc://{HOST}:{self.behind.grpc_port}"]

    def start(self):
        if self.behind.process is None:
            self.behind.start().wait_ready()
        return super().start()

    def died(self):
        return self.behind.died() or super().died()

    def stop(self):
        super().stop()
        self.behind.stop()


class ThroughGrpc(Through):
    """The same, which knows the tritonserver by its gRPC alone."""

    name = "through_grpc"

    def upstreams(self):
        return [f"--upstream=grpc://{HOST}:{self.behind.grpc_port}"]
