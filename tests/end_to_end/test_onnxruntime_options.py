"""What config.pbtxt can tell ONNX Runtime."""

import pytest

from support import ask_scale
from traffic import EXPLICIT

LOAD = "/v2/repository/models/{}/load"


def parameter(key, value):
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'


GOOD = [
    parameter("memory.enable_memory_arena_shrinkage", "cpu:0"), parameter("session.use_device_allocator_for_initializers", "1"),
    parameter("execution_mode", "1") + parameter("inter_op_thread_count", "2"), parameter("intra_op_thread_count", "1"),
    parameter("enable_mem_arena", "off"), parameter("enable_mem_pattern", "False"), "optimization { graph { level: -1 } }\n"]
WRONG = [
    (parameter("execution_mode", "2"), "execution_mode"), (parameter("intra_op_thread_count", "many"), "intra_op_thread_count"),
    (parameter("enable_mem_arena", "maybe"), "enable_mem_arena"),
    ('optimization { execution_accelerators { cpu_execution_accelerator: [ { name: "openvino" } ] } }\n', "openvino")]


@pytest.mark.parametrize("extra", GOOD)
def test_options(serve, repository, extra):
    repository.scale("scale", {1: 3.0}, extra=extra)
    ask_scale(serve(repository), 3)


def test_the_shrinkage_reaches_the_run(serve, repository):
    """ONNX Runtime refuses a device that it does not have, but not before it runs."""
    repository.scale("scale", {1: 3.0}, extra=parameter("memory.enable_memory_arena_shrinkage", "moon:0"))
    reply = serve(repository).post("/v2/models/scale/infer", {
        "inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1, 1], "data": [1]}]})
    assert reply.status == 500 and "moon" in reply.error


def test_wrong_options(serve, repository):
    server = serve(repository, EXPLICIT)
    for extra, word in WRONG:
        repository.scale("scale", {1: 3.0}, extra=extra)
        reply = server.post(LOAD.format("scale"))
        assert reply.status == 400 and word in reply.error
