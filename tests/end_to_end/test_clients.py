"""Common clients: NVIDIA's Python clients and perf_analyzer."""

import asyncio
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from support import ROOT, classes, same, sums, tensor

PERF_ANALYZER = Path(os.environ.get("HIPPOCAMP_PERF_ANALYZER", ROOT / ".deps" / "perf_analyzer"))
IMAGE = np.random.default_rng(9).random((3, 224, 224), dtype=np.float32)
FIELDS = {
    "simple": sums(3, 4, 2),
    "simple_string": ({name: tensor([str(i + k) for i in range(16)], "BYTES", (1, 16)) for k, name in enumerate(("INPUT0", "INPUT1"))},
                      {"OUTPUT0": tensor([str(2 * i + 1) for i in range(16)], "BYTES", (1, 16)),
                       "OUTPUT1": tensor(["-1"] * 16, "BYTES", (1, 16))}),
    "identity": ({"INPUT0": tensor([1.5, np.inf, -0.0])}, {"OUTPUT0": tensor([1.5, np.inf, -0.0])}),
    "delay": ({"INPUT0": tensor([1, -2], "INT32")}, {"OUTPUT0": tensor([1, -2], "INT32")}),
}
DATATYPES = {"simple": "INT32", "simple_string": "BYTES", "identity": "FP32", "delay": "INT32"}


@pytest.fixture
def client(server):
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}", concurrency=4)
    yield client
    client.close()


def inputs_of(arrays, datatype, binary, kind=triton):
    inputs = []
    for name, array in arrays.items():
        inputs.append(kind.InferInput(name, array.shape, datatype))
        inputs[-1].set_data_from_numpy(array, binary_data=binary)
    return inputs


def matches(result, expected):
    for name, array in expected.items():
        actual = result.as_numpy(name)
        if array.dtype == object:
            actual = tensor([x.encode() if isinstance(x, str) else x for x in actual.ravel()], "BYTES", actual.shape)
        same(np.asarray(actual), array)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("model", FIELDS)
def test_infer(client, model, binary):
    arrays, expected = FIELDS[model]
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in expected]
    result = client.infer(model, inputs_of(arrays, DATATYPES[model], binary), outputs=outputs, request_id="77")
    matches(result, expected)
    assert result.get_response()["id"] == "77"
    matches(client.infer(model, inputs_of(arrays, DATATYPES[model], binary)), expected)  # outputs not listed: binary


@pytest.mark.parametrize("request_coding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("reply_coding", [None, "gzip", "deflate"])
def test_compression(client, request_coding, reply_coding):
    arrays, expected = FIELDS["simple"]
    for binary in (False, True):
        matches(client.infer("simple", inputs_of(arrays, "INT32", binary), request_compression_algorithm=request_coding,
                             response_compression_algorithm=reply_coding), expected)


def test_classification(client):
    inputs = inputs_of({"data_0": IMAGE}, "FP32", True)
    scores = client.infer("densenet_onnx", inputs).as_numpy("fc6_1")
    for binary in (False, True):
        output = triton.InferRequestedOutput("fc6_1", binary_data=binary, class_count=5)
        answer = client.infer("densenet_onnx", inputs, outputs=[output]).as_numpy("fc6_1")
        assert [x if isinstance(x, bytes) else x.encode() for x in answer] == classes(scores, 5, [f"label{i}" for i in range(1000)])


def test_asynchronous(client):
    pending = [client.async_infer("delay", inputs_of({"INPUT0": tensor([i], "INT32")}, "INT32", True), parameters={"delay_ms": 50})
               for i in range(4)]
    for i, request in enumerate(pending):
        matches(request.get_result(timeout=30), {"OUTPUT0": tensor([i], "INT32")})


def test_metadata(client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("simple") and client.is_model_ready("simple", "1")
    assert not client.is_model_ready("nope")
    assert client.get_server_metadata()["name"] == "triton"
    assert client.get_model_metadata("simple")["inputs"][0]["datatype"] == "INT32"
    assert client.get_model_config("simple")["max_batch_size"] == 8
    assert client.get_inference_statistics("simple")["model_stats"][0]["name"] == "simple"
    assert len(client.get_inference_statistics()["model_stats"]) > 1
    assert any(entry["name"] == "simple" for entry in client.get_model_repository_index())
    assert client.get_log_settings()["log_info"] is True


def test_errors(client):
    with pytest.raises(InferenceServerException, match="Request for unknown model: 'nope' is not found"):
        client.get_model_metadata("nope")
    with pytest.raises(InferenceServerException, match="expected 2 inputs but got 1 inputs for model 'simple'"):
        client.infer("simple", inputs_of({"INPUT0": FIELDS["simple"][0]["INPUT0"]}, "INT32", True))
    with pytest.raises(InferenceServerException, match="explicit model load / unload is not allowed"):
        client.load_model("simple")


def test_shared_memory_stubs(client):
    assert client.get_cuda_shared_memory_status() == []
    client.unregister_system_shared_memory()
    client.unregister_cuda_shared_memory()
    with pytest.raises(InferenceServerException, match="(?i)shared memory"):
        client.register_system_shared_memory("region", "/region", 64)


def test_model_control(serve, repository):
    server = serve(repository.add("simple"), "--model-control-mode=explicit")
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        assert not client.is_model_ready("simple")
        client.load_model("simple")
        assert client.is_model_ready("simple")
        arrays, expected = FIELDS["simple"]
        matches(client.infer("simple", inputs_of(arrays, "INT32", True)), expected)
        client.load_model("simple", config='{"backend": "onnxruntime", "max_batch_size": "16"}')
        assert client.get_model_config("simple")["max_batch_size"] == 16
        client.unload_model("simple")
        with pytest.raises(InferenceServerException, match="failed to load 'nope'"):
            client.load_model("nope")


def test_asyncio(server):
    async def ask():
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            assert await client.is_server_ready()
            assert (await client.get_model_metadata("simple"))["name"] == "simple"
            assert await client.get_system_shared_memory_status() == []
            for model, (arrays, expected) in FIELDS.items():
                for binary in (False, True):
                    inputs = inputs_of(arrays, DATATYPES[model], binary, triton_aio)
                    results = await asyncio.gather(*(client.infer(model, inputs) for _ in range(4)))
                    for result in results:
                        matches(result, expected)
            result = await client.infer("densenet_onnx", inputs_of({"data_0": IMAGE}, "FP32", True, triton_aio))
            assert result.as_numpy("fc6_1").shape == (1000,)
            with pytest.raises(InferenceServerException, match="is not found"):
                await client.get_model_config("nope")

    asyncio.run(ask())


@pytest.mark.parametrize("protocol", [["http"], ["grpc"], ["grpc", "--streaming", "-a"]])
def test_perf_analyzer(serve, repository, protocol):
    program = PERF_ANALYZER / "bin" / "perf_analyzer"
    if not program.exists():
        pytest.fail(f"{program} is missing: run tools/deps check, or name its folder in HIPPOCAMP_PERF_ANALYZER")
    server = serve(repository.add("simple"))
    port = server.port if protocol == ["http"] else server.grpc_port
    done = subprocess.run(
        [program, "-m", "simple", "-u", f"127.0.0.1:{port}", "-i", *protocol, "-p", "1000", "-s", "999", "-r", "3",
         "--concurrency-range", "2"],
        env={**os.environ, "LD_LIBRARY_PATH": str(PERF_ANALYZER / "lib")}, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr
    throughput = re.search(r"Throughput: ([\d.]+) infer/sec", done.stdout)
    assert throughput and float(throughput[1]) > 0, done.stdout
    counts = server.statistics("simple")
    assert counts["cache_hit"] > 0
    assert counts["execution_count"] < counts["success"]
    assert counts["fail"] == 0
