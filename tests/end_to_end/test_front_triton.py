"""In front of the real tritonserver, with models of its python backend."""

import json

import numpy as np
import pytest
import tritonclient.http as client

from support import LOCAL, ask_simple, eventually, infer_path, sums, tensor
from traffic import is_hit, put
from triton import MODELS, Triton, write_model

STREAM = """\
max_batch_size: 0
model_transaction_policy { decoupled: true }
input [ { name: "X", data_type: TYPE_INT32, dims: [ 1 ] } ]
output [ { name: "Y", data_type: TYPE_INT32, dims: [ 1 ] } ]
"""
STREAM_CODE = """\
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            count = int(np.from_dlpack(pb_utils.get_input_tensor_by_name(request, "X"))[0])
            for i in range(count):
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("Y", np.array([i], np.int32))]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""


@pytest.fixture
def triton(tmp_path):
    """triton(): a tritonserver with models loaded on request: simple, picky, stream."""
    repository = tmp_path / "models"
    for name in ("simple", "picky"):
        write_model(repository, name)
    version = repository / "stream" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(STREAM_CODE)
    (version.parent / "config.pbtxt").write_text('name: "stream"\nbackend: "python"\n' + STREAM)
    server = Triton(tmp_path, repository, "--model-control-mode=explicit", "--load-model=*")
    server.models = repository
    yield server.wait_ready()
    server.kill()


def ask(server, value):
    return put(server, "picky", {"X": tensor([value], "INT32")})


def answer(reply):
    return reply.json["outputs"][0]["data"]


def test_models_of_tritonserver(triton, front):
    through = front(triton)
    ask_simple(through)
    assert is_hit(put(through, "simple", sums()[0]))
    for count in (1, 2):  # errors are Triton's own, and not kept
        reply = ask(through, 666)
        assert reply.status == 500 and reply.body == ask(triton, 666).body
    assert through.get("/v2/models/picky/config").json == triton.get("/v2/models/picky/config").json


@pytest.mark.parametrize("alone", [False, True], ids=["http", "grpc_alone"])
def test_clients_of_tritonserver(triton, front, alone):
    """What passes, and what is answered here, as NVIDIA's client sees it."""
    through = front(f"grpc://{LOCAL}:{triton.grpc_port}" if alone else triton, "--cache-models=*")
    with client.InferenceServerClient(f"127.0.0.1:{through.port}") as http:
        assert http.is_server_ready() and http.is_model_ready("simple")
        assert http.get_server_metadata()["name"] == "triton"
        assert {each["name"] for each in http.get_model_repository_index()} == {"picky", "simple", "stream"}
        inputs, expected = sums()
        given = []
        for name, array in inputs.items():
            given.append(client.InferInput(name, array.shape, "INT32"))
            given[-1].set_data_from_numpy(array)
        for _ in range(3):
            result = http.infer("simple", given, outputs=[client.InferRequestedOutput("OUTPUT1")], request_id="7")
            assert np.array_equal(result.as_numpy("OUTPUT1"), expected["OUTPUT1"])
            assert result.get_response()["id"] == "7" and result.as_numpy("OUTPUT0") is None
    eventually(lambda: triton.executions() == 1, "one run")  # Triton counts behind its reply
    assert through.statistics("simple")["execution_count"] == 1


def test_streams_of_events(triton, front):
    through = front(triton, "--cache-models=*")
    with through.connect() as connection:
        reply = connection.request("POST", "/v2/models/stream/generate_stream", json.dumps({"X": 2000}).encode())
    assert reply.status == 200 and reply.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:])["Y"] for line in reply.body.decode().splitlines() if line.startswith("data: ")]
    assert events == list(range(2000))


@pytest.mark.parametrize("through_us", [True, False])
def test_models_that_are_loaded_again(triton, front, through_us):
    through = front(triton)
    assert answer(ask(through, 1)) == [2] and is_hit(ask(through, 1))
    write_model(triton.models, "picky", MODELS["picky"][1].replace("x + 1", "x + 5"))
    (through if through_us else triton).load("picky")
    if not through_us:
        through.wait_log("may have changed")
    eventually(lambda: answer(ask(through, 1)) == [6], "the new answer")
    for _ in range(20):
        assert answer(ask(through, 1)) == [6]


def test_a_killed_tritonserver(triton, front):
    through = front(triton)
    assert answer(ask(through, 1)) == [2]
    triton.kill()  # and its models' processes
    for _ in range(5):
        assert answer(ask(through, 1)) == [2]
    reply = ask(through, 2)
    assert reply.status == 503 and "refused" in reply.json["error"]
    assert through.get(infer_path("picky")).status == 503
