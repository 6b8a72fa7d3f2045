"""Servers of models in Python, and Triton with the same models in its python backend: what bench/peers compares.

All run the models of MODELS in the same ONNX Runtime, with the servers' own defaults. Their programs are in peer_apps/.
"""

import json
import os
import shutil
from pathlib import Path

import processes
from processes import HOST, ROOT, Server

APPS = Path(__file__).resolve().with_name("peer_apps")
READY = "/v2/health/ready"


def part(name, program):
    path = ROOT / ".deps" / name / program
    if not path.exists():
        raise processes.Failure(f"no {path}: run tools/deps peers first")
    return path


def environment(models=processes.MODELS):
    (packages,) = processes.VENV.glob("lib/python3*/site-packages")
    return {"ONNXRUNTIME_PACKAGES": str(packages), "MODELS": str(models), "PEER_APPS": str(APPS),
            "PYTHONPATH": str(APPS), "PYTHONDONTWRITEBYTECODE": "1"}


def fastapi(name, folder):
    (port,) = processes.free_ports(1)
    return Server(name, [part("peers", "bin/uvicorn"), "fastapi_app:app", "--host", HOST, "--port", port,
                         "--no-access-log", "--log-level", "warning"], port, folder, READY, environment())


def litserve(name, folder):
    (port,) = processes.free_ports(1)
    return Server(name, [part("peers", "bin/python"), APPS / "litserve_app.py", port], port, folder, "/health", environment())


def bentoml(name, folder):
    (port,) = processes.free_ports(1)
    home = Path(folder, "bentoml")
    home.mkdir(exist_ok=True)
    return Server(name, [part("peers", "bin/bentoml"), "serve", "bentoml_app:Models", "--host", HOST, "--port", port,
                         "--working-dir", APPS], port, folder, "/readyz",
                  {**environment(), "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True",
                   "PATH": f"{part('peers', 'bin')}:{os.environ['PATH']}"})


def mlserver(name, folder):
    port, grpc_port, metrics_port = processes.free_ports(3)
    home = Path(folder, "mlserver")
    for model in ("simple", "densenet_onnx"):
        Path(home, model).mkdir(parents=True)
        Path(home, model, "model-settings.json").write_text(json.dumps(
            {"name": model, "implementation": "mlserver_model.Onnx"}))
    Path(home, "settings.json").write_text(json.dumps(
        {"host": HOST, "http_port": port, "grpc_port": grpc_port, "metrics_port": metrics_port, "metrics_dir": str(home),
         "debug": False,
         "parallel_workers": 0}))  # its worker processes end at once beside the uvloop of today
    return Server(name, [part("mlserver", "bin/mlserver"), "start", home], port, folder, READY, environment(), grpc_port)


def kserve(name, folder):
    port, grpc_port = processes.free_ports(2)
    return Server(name, [part("kserve", "bin/python"), APPS / "kserve_server.py", port, grpc_port], port, folder, READY,
                  environment(), grpc_port)


def repository(folder):
    """Triton's repository of the two models."""
    for model in ("simple", "densenet_onnx"):
        config = processes.TRITON_MODELS[model][0]
        version = Path(folder, model, "1")
        version.mkdir(parents=True)
        shutil.copy(APPS / "triton_model.py", version / "model.py")
        version.with_name("config.pbtxt").write_text(
            f'name: "{model}"\nbackend: "python"\n{config}response_cache {{ enable: true }}\n')
    return folder


def triton(name, models, folder, cache, *options, onnx=processes.MODELS):
    """`onnx` is the folder of the files that the python backend's models load."""
    return processes.triton(name, models, folder, cache, options=options, environment=environment(onnx))


def newest_front_end(name, models, folder):
    """The HTTP and gRPC ends of Triton 2.73 on the core of 2.51, with its local cache; see tests/differential/host.py."""
    port, grpc_port = processes.free_ports(2)
    front_end = part("front_end", "python").parent
    libraries = processes.PYTRITON / "nvidia_pytriton.libs"
    return Server(name, [front_end / "python", ROOT / "tests/differential/host.py", front_end, libraries, models,
                         processes.triton_backends(Path(folder, "backends")),
                         processes.PYTRITON / "pytriton/tritonserver/caches", port, grpc_port, "none", f"bench{port}"],
                  port, folder, READY,
                  {**environment(), "LD_LIBRARY_PATH": str(libraries),
                   "FRONT_END_LIBRARIES": f"{front_end / 'libs'}:{libraries}",
                   "PATH": f"{processes.VENV / 'bin'}:{os.environ['PATH']}"}, grpc_port)
