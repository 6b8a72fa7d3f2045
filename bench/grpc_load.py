"""gRPC for the benchmarks: messages, and h2load, which sends one again and again."""

import os
import re
import struct
import sys
from pathlib import Path

import processes

METHOD = "/inference.GRPCInferenceService/ModelInfer"


def restart():
    """Restarts the program under the Python that has tritonclient."""
    python = processes.VENV / "bin/python"
    if Path(sys.prefix).resolve() != processes.VENV.resolve():
        if not python.exists():
            sys.exit(f"{Path(sys.argv[0]).name}: no {processes.VENV}: run tools/deps bench first")
        os.execv(python, [python, *sys.argv])


def message(model, inputs):
    """A ModelInferRequest with raw contents, of {name: numpy array}."""
    from tritonclient.grpc import service_pb2

    request = service_pb2.ModelInferRequest(model_name=model)
    for name, array in inputs.items():
        request.inputs.add(name=name, datatype={"int32": "INT32", "float32": "FP32"}[str(array.dtype)], shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    return request


def frame(request):
    content = request.SerializeToString()
    return b"\0" + struct.pack(">I", len(content)) + content


def h2load(server, port, path, connections, streams, requests, body=None):
    """(requests per second, processor microseconds per request)"""
    given = ["-d", body, "-H", "content-type: application/grpc", "-H", "te: trailers"] if body else []
    cpu = server.cpu_seconds()
    out = processes.run(["h2load", "-n", requests, "-c", connections, "-m", streams, *given, f"http://{processes.HOST}:{port}{path}"],
                    120)
    cpu = server.cpu_seconds() - cpu
    done = re.search(r"finished in .*?, ([\d.]+) req/s", out)
    if not done or f"{requests} succeeded, 0 failed" not in out:
        raise processes.Failure(f"{server.name}: h2load: {out[-1000:]}")
    return float(done[1]), cpu / requests * 1e6
