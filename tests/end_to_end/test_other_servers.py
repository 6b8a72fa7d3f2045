"""In front of other servers of the KServe v2 protocol than Triton: MLServer, and KServe's Python server.

They need `tools/deps others`; `make others-check` runs them. The model of both answers with its input times the number in
a file, which it reads when it is loaded, and counts its runs in another file.
"""

import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from support import LOCAL, ROOT, Connection, eventually, free_port

pytestmark = pytest.mark.others
GENERATION = "--upstream-generation=1"
JSON = {"Content-Type": "application/json"}

MLSERVER_MODEL = """\
from pathlib import Path

from mlserver import MLModel
from mlserver.types import InferenceResponse, ResponseOutput

HERE = Path(__file__).parent


class Times(MLModel):
    async def load(self):
        self.factor = int((HERE / "factor").read_text())
        return True

    async def predict(self, payload):
        with (HERE / "runs").open("a") as file:
            file.write(".")
        data = [int(value) * self.factor for value in payload.inputs[0].data]
        if min(data) < 0:
            raise ValueError("a negative number")
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=[
            ResponseOutput(name="Y", shape=payload.inputs[0].shape, datatype="INT32", data=data)])
"""

KSERVE_SERVER = """\
import sys
from pathlib import Path

from kserve import InferOutput, InferResponse, Model, ModelServer

HERE = Path(__file__).parent


class Times(Model):
    def load(self):
        self.factor = int((HERE / "factor").read_text())
        self.ready = True

    async def get_input_types(self):
        return [{"name": "X", "datatype": "INT32", "shape": [-1]}]

    async def get_output_types(self):
        return [{"name": "Y", "datatype": "INT32", "shape": [-1]}]

    def predict(self, payload, headers=None, response_headers=None):
        with (HERE / "runs").open("a") as file:
            file.write(".")
        numbers = payload.inputs[0].as_numpy() * self.factor
        if numbers.min() < 0:
            raise ValueError("a negative number")
        output = InferOutput(name="Y", shape=list(numbers.shape), datatype="INT32")
        output.set_data_from_numpy(numbers.astype("int32"), binary_data=False)
        return InferResponse(response_id=payload.id or "", model_name=self.name, infer_outputs=[output])


model = Times("times")
model.load()
ModelServer(http_port=int(sys.argv[1]), grpc_port=int(sys.argv[2]), workers=1).start([model])
"""


class Other:
    """A server with the model `times`, in a folder of its own."""

    def __init__(self, folder, kind):
        self.folder, self.kind, self.process = folder, kind, None
        self.port, self.grpc_port = free_port(), free_port()
        (folder / "factor").write_text("3")
        (folder / "runs").write_text("")
        getattr(self, f"write_{kind}")()
        self.start()

    def write_mlserver(self):
        (self.folder / "model.py").write_text(MLSERVER_MODEL)
        tensor = {"datatype": "INT32", "shape": [-1]}
        (self.folder / "model-settings.json").write_text(json.dumps({
            "name": "times", "implementation": "model.Times", "inputs": [{"name": "X", **tensor}],
            "outputs": [{"name": "Y", **tensor}]}))
        (self.folder / "settings.json").write_text(json.dumps({
            "host": LOCAL, "http_port": self.port, "grpc_port": self.grpc_port, "metrics_port": free_port(),
            "parallel_workers": 0}))
        self.command = [program("mlserver", "bin/mlserver"), "start", "."]

    def write_kserve(self):
        (self.folder / "server.py").write_text(KSERVE_SERVER)
        self.command = [program("kserve", "bin/python"), "server.py", str(self.port), str(self.grpc_port)]

    def start(self):
        with open(self.folder / "log", "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(self.command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True)
        eventually(self.is_ready, f"{self.kind} is ready: {self.folder}/log", patience=90)

    def is_ready(self):
        try:
            return self.ask("GET", "/v2/models/times/ready").status == 200
        except OSError:
            return False

    def ask(self, method, path, body=b""):
        with Connection(self.port) as connection:
            return connection.request(method, path, body, JSON)

    @property
    def runs(self):
        return len((self.folder / "runs").read_text())

    def stop(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def program(part, path):
    found = Path(os.environ.get("HIPPOCAMP_DEPS", ROOT / ".deps")) / part / path
    assert found.exists(), f"{found} is missing: run tools/deps others"
    return str(found)


@pytest.fixture(params=["mlserver", "kserve"])
def other(request, tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    server = Other(folder, request.param)
    yield server
    server.stop()


@pytest.fixture
def before(other, front):
    """A front that caches all of the server's models."""
    made = front(other, f"grpc://{LOCAL}:{other.grpc_port}", "--cache-all-models", GENERATION)
    made.other = other
    eventually(lambda: "hit" in infer(made, [99]).headers.get("cache-status", ""), "the model is known")
    return made


def question(values):
    return json.dumps({"inputs": [{"name": "X", "datatype": "INT32", "shape": [len(values)], "data": values}]}).encode()


def infer(server, values):
    return server.post("/v2/models/times/infer", question(values), JSON)


def data(reply):
    assert reply.status == 200, reply.body
    return reply.json["outputs"][0]["data"]


def test_what_it_tells_is_what_the_server_tells(before):
    for path in ("/v2", "/v2/models/times", "/v2/models/times/ready", "/v2/health/ready", "/v2/models/none", "/nothing"):
        direct, through = before.other.ask("GET", path), before.get(path)
        assert (through.status, through.body) == (direct.status, direct.body), path


def test_known_questions_are_answered_without_it(before):
    runs = before.other.runs
    first, second = infer(before, [1, 2]), infer(before, [1, 2])
    assert data(first) == data(second) == [3, 6] and before.other.runs == runs + 1
    assert "fwd=miss" in first.headers["cache-status"] and "; hit" in second.headers["cache-status"]
    assert data(infer(before, [2, 1])) == [6, 3]
    direct = json.loads(before.other.ask("POST", "/v2/models/times/infer", question([1, 2])).body)
    assert direct["outputs"][0]["data"] == [3, 6]
    assert {key for key in first.json if first.json[key] is not None} <= set(direct)


def test_failures_are_its_own(before):
    for body in (question([-1]), b"{", b"{}", question([1]).replace(b"INT32", b"NONE")):
        direct = before.other.ask("POST", "/v2/models/times/infer", body)
        through = before.post("/v2/models/times/infer", body, JSON)
        assert through.status == direct.status >= 400, (body, direct.body, through.body)
    runs = before.other.runs
    for times in (1, 2):  # failures are not kept; the failure of a miss is asked for again, to pass as it is
        assert infer(before, [-1]).status >= 400
        assert runs + times <= before.other.runs <= runs + 2 * times


def test_tritons_clients(before):
    """Over HTTP with JSON, as these servers have it; over gRPC, which passes or is answered from the same cache."""
    numbers = np.array([4, 5], np.int32)
    tensor = tritonclient.http.InferInput("X", [2], "INT32")
    tensor.set_data_from_numpy(numbers, binary_data=False)
    output = tritonclient.http.InferRequestedOutput("Y", binary_data=False)
    with tritonclient.http.InferenceServerClient(f"{LOCAL}:{before.port}") as client:
        for _ in range(2):
            assert client.infer("times", [tensor], outputs=[output]).as_numpy("Y").tolist() == [12, 15]
    tensor = tritonclient.grpc.InferInput("X", [2], "INT32")
    tensor.set_data_from_numpy(numbers)
    with tritonclient.grpc.InferenceServerClient(f"{LOCAL}:{before.grpc_port}") as client:
        assert client.is_server_ready() and client.is_model_ready("times")
        runs = before.other.runs
        for _ in range(3):
            assert client.infer("times", [tensor]).as_numpy("Y").tolist() == [12, 15]
        assert before.other.runs <= runs + 3


def test_while_it_is_down(before):
    assert data(infer(before, [7])) == [21]
    before.other.stop()
    assert data(infer(before, [7])) == [21]
    assert infer(before, [8]).status in (502, 503)
    before.other.start()
    eventually(lambda: infer(before, [8]).status == 200, "it answers again", patience=30)
    assert data(infer(before, [8])) == [24]


def test_a_new_model_needs_a_new_generation(before, front):
    """A server without statistics shows no loads: nothing is cached without the owner's word for what the model is."""
    assert data(infer(before, [7])) == [21]
    before.other.stop()
    (before.other.folder / "factor").write_text("5")
    before.other.start()
    eventually(lambda: data(infer(before, [7])) == [35], "the front has noticed the restart", patience=30)
    plain = front(before.other, "--cache-all-models")
    runs = before.other.runs
    for _ in range(3):
        reply = infer(plain, [7])
        assert data(reply) == [35] and "hit" not in reply.headers.get("cache-status", "")
    assert before.other.runs == runs + 3
