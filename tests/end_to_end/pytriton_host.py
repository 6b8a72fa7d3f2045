"""pytriton_host.py CACHES [NAME,KEY=VALUE]...: runs PyTriton with a cache and one model, and repeats a question until
the answer comes from the cache. The last line printed has the model's statistics and the metric families, as JSON.

Triton's Python stub was built for NumPy 1 and misreads arrays of NumPy 2, so tensors go to and from it by DLPack."""

import contextlib
import json
import os
import socket
import sys
import tempfile
import time
import urllib.request

import numpy as np
from pytriton.model_config import ModelConfig, Tensor
from pytriton.models.model import Model
from pytriton.triton import Triton, TritonConfig, TritonSecurityConfig

HOST = "127.0.0.1"
LIMIT = 30  # seconds
BY_DLPACK = b'''

class _Capsule:
    def __init__(self, tensor):
        self.tensor = tensor

    def __dlpack__(self, **_):
        return self.tensor.to_dlpack()

    def __dlpack_device__(self):
        return (1, 0)


def _array(tensor):
    import numpy
    return numpy.from_dlpack(_Capsule(tensor)).copy()


def _tensor(name, array):
    import numpy
    return pb_utils.Tensor.from_dlpack(name, numpy.ascontiguousarray(array).__dlpack__())
'''
calls = 0


def by_dlpack(plain):
    def files(self):
        made = plain(self)
        (path,) = (name for name in made if name.endswith("/model.py"))
        for old, new in ((b"input_tensor.as_numpy()", b"_array(input_tensor)"),
                         (b"pb_utils.Tensor(name, value)", b"_tensor(name, value)")):
            assert made[path].count(old) == 1, f"PyTriton's model.py is another than this was written for: {old}"
            made[path] = made[path].replace(old, new)
        made[path] += BY_DLPACK
        return made

    return files


def free_ports(count):
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]


def add_sub(requests):
    global calls
    calls += 1
    return [{"SUM": request.data["A"] + request.data["B"], "DIFFERENCE": request.data["A"] - request.data["B"]}
            for request in requests]


def get(url, body=None):
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=LIMIT) as answer:
        return answer.read().decode()


def ask(url):
    question = {"inputs": [{"name": name, "datatype": "FP32", "shape": [1, 2], "data": data}
                           for name, data in (("A", [1, 2]), ("B", [10, 20.5]))]}
    answer = json.loads(get(f"{url}/infer", json.dumps(question).encode()))
    got = {output["name"]: output["data"] for output in answer["outputs"]}
    assert got == {"SUM": [11, 22.5], "DIFFERENCE": [-9, -18.5]}, got


def until_hit(url):
    end = time.monotonic() + LIMIT
    while True:
        ask(url)
        (statistics,) = json.loads(get(f"{url}/stats"))["model_stats"]
        if statistics["inference_stats"]["cache_hit"]["count"] or time.monotonic() > end:
            return statistics


def main(caches, settings, folder):
    http, grpc, metrics = free_ports(3)
    url = f"http://{HOST}:{http}/v2/models/add_sub"
    tensors = {"inputs": [Tensor(name=name, dtype=np.float32, shape=(-1,)) for name in ("A", "B")],
               "outputs": [Tensor(name=name, dtype=np.float32, shape=(-1,)) for name in ("SUM", "DIFFERENCE")]}
    config = TritonConfig(http_address=HOST, http_port=http, grpc_address=HOST, grpc_port=grpc, metrics_address=HOST,
                          metrics_port=metrics, allow_gpu_metrics=False, exit_timeout_secs=5, cache_directory=caches,
                          cache_config=settings)
    with Triton(config=config, security_config=TritonSecurityConfig(restricted_endpoints=[]),
                workspace=os.path.join(folder, "workspace")) as triton:
        triton.bind("add_sub", add_sub, **tensors, config=ModelConfig(response_cache=True, max_batch_size=4))
        statistics = until_hit(url)
        page = get(f"http://{HOST}:{metrics}/metrics")
    families = sorted({line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")})
    print("\n" + json.dumps({"calls": calls, "executions": statistics["execution_count"], "families": families,
                             "hits": statistics["inference_stats"]["cache_hit"]["count"]}))


Model.get_proxy_model_files = by_dlpack(Model.get_proxy_model_files)
with tempfile.TemporaryDirectory() as temporary:
    main(sys.argv[1], sys.argv[2:], temporary)
