"""model_warmup: runs before a model is ready, which are counted, and whose failure fails the load."""

import re
import struct

import numpy as np
import pytest

from support import ask_identity, ask_scale, eventually, infer, same
from traffic import EXPLICIT, ONE_INSTANCE, batches, echo, wait_batches

LOAD = "/v2/repository/models/{}/load"


def sample(fields, name="INPUT0", datatype="FP32", dims=(4,), size=1, count=0):
    """One entry of model_warmup."""
    counted = f"count: {count} " if count else ""
    value = f"data_type: TYPE_{datatype} dims: {list(dims)} {fields}"
    return (f'model_warmup [ {{ name: "sample" batch_size: {size} {counted}'
            f'inputs {{ key: "{name}" value {{ {value} }} }} }} ]\n')


def load_fails(server, model, *patterns):
    reply = server.post(LOAD.format(model))
    assert reply.status in (400, 500), reply.body
    for pattern in patterns:
        assert re.search(pattern, reply.error), reply.error


@pytest.mark.parametrize("fields", ["zero_data: true", "random_data: true", 'input_data_file: "four"'])
def test_runs_before_the_model_is_ready(deploy, repository, fields):
    place = repository.scale("scale", {1: 2.0}, extra=ONE_INSTANCE + sample(fields, size=3, count=2))
    (place / "warmup").mkdir()
    (place / "warmup" / "four").write_bytes(struct.pack("<12f", *range(12)))
    server = deploy(repository)
    counts = server.statistics("scale")
    assert (counts["execution_count"], counts["inference_count"]) == (2, 6)
    assert batches(server, "scale") == {3: 2}
    ask_scale(server, 2)
    server.expect("scale", execution_count=3, inference_count=7, fail=0)


def test_several_samples(deploy, repository):
    samples = [sample("zero_data: true", dims=(width,), size=size) for width, size in ((1, 1), (5, 8), (2, 8))]
    repository.scale("scale", {1: 2.0}, extra=ONE_INSTANCE + "".join(samples))
    server = deploy(repository)
    assert batches(server, "scale") == {1: 1, 8: 2}


def test_several_inputs_and_strings(deploy, repository):
    repository.copy("simple_string", extra=ONE_INSTANCE + """\
model_warmup [ {
  name: "digits"
  batch_size: 1
  inputs { key: "INPUT0" value { data_type: TYPE_STRING dims: [ 16 ] input_data_file: "digits" } }
  inputs { key: "INPUT1" value { data_type: TYPE_STRING dims: [ 16 ] input_data_file: "digits" } }
} ]
""")
    (repository.path / "simple_string" / "warmup").mkdir()
    digits = b"".join(struct.pack("<I", 1) + b"7" for _ in range(16))
    (repository.path / "simple_string" / "warmup" / "digits").write_bytes(digits)
    server = deploy(repository)
    assert batches(server, "simple_string") == {1: 1}


def test_models_without_batches(deploy, repository):
    echo(repository, extra=ONE_INSTANCE + sample("random_data: true", datatype="INT32", dims=(3,), count=2))
    server = deploy(repository)
    assert server.statistics("echo")["execution_count"] == 2
    ask_identity(server, [1], "echo", "INT32")


def test_every_datatype(deploy, repository):
    names = ["BOOL", "UINT8", "INT64", "FP16", "FP64", "BYTES"]
    for datatype in names:
        for kind in ("zero_data", "random_data"):
            config = sample(f"{kind}: true", datatype=datatype.replace("BYTES", "STRING"), size=2)
            repository.copy(f"identity_{datatype}", f"{datatype}_{kind}", extra=ONE_INSTANCE + config)
    server = deploy(repository)
    for datatype in names:
        for kind in ("zero_data", "random_data"):
            assert batches(server, f"{datatype}_{kind}") == {2: 1}


def test_every_version_is_warmed_up(deploy, repository):
    repository.scale("scale", {1: 2.0, 2: 3.0}, extra=ONE_INSTANCE + "version_policy: { all { } }\n" + sample("zero_data: true"))
    server = deploy(repository)
    assert batches(server, "scale", 1) == batches(server, "scale", 2) == {1: 1}


def test_answers_of_a_warm_up_are_not_clients_answers(deploy, repository):
    """The warm-up asks with zeros; a client that does so later gets the right answer."""
    repository.scale("scale", {1: 2.0}, cached=True, extra=ONE_INSTANCE + sample("zero_data: true", size=2))
    server = deploy(repository)
    assert batches(server, "scale") == {2: 1}
    array = np.zeros((2, 4), dtype=np.float32)
    for _ in range(2):
        same(infer(server, "scale", {"INPUT0": array})["OUTPUT0"], array)


def test_a_failing_warm_up_fails_the_load(serve, repository):
    config = sample('input_data_file: "index"', "INDEX", "INT64", (1,), size=2)
    repository.copy("embedding", extra=ONE_INSTANCE + config)
    file = repository.path / "embedding" / "warmup" / "index"
    file.parent.mkdir()
    file.write_bytes(struct.pack("<2q", 99, 99))
    server = serve(repository, EXPLICIT)
    load_fails(server, "embedding", "out of data bounds", "sample")
    assert not server.ready("embedding")
    state, reason = server.index()[("embedding", "1")]
    assert state == "UNAVAILABLE" and "out of data bounds" in reason
    file.write_bytes(struct.pack("<2q", 9, 9))
    server.load("embedding")
    wait_batches(server, "embedding", {2: 1})


def test_a_failing_warm_up_keeps_the_old_model(serve, repository):
    repository.scale("scale", {1: 2.0})
    server = serve(repository, EXPLICIT, "--load-model=scale")
    repository.scale("scale", {1: 3.0}, extra=sample("zero_data: true", name="NO_SUCH_INPUT"))
    load_fails(server, "scale", "INPUT")
    ask_scale(server, 2)
    repository.scale("scale", {1: 3.0}, extra=sample("zero_data: true"))
    server.load("scale")
    ask_scale(server, 3)


def test_one_that_cannot_be_warmed_up_ends_the_start(start, repository):
    repository.scale("scale", {1: 2.0}, extra=sample('input_data_file: "missing"'))
    server = start(repository, "--exit-on-error=false")
    assert not server.ready("scale")
    eventually(lambda: server.lines("missing"), "a word of it in the log")


WRONG = {
    "no_file": (sample('input_data_file: "missing"'), "missing"),
    "outside": (sample('input_data_file: "../config.pbtxt"'), "config.pbtxt"),
    "absolute": (sample('input_data_file: "/etc/passwd"'), "passwd"),
    "no_input": (sample("zero_data: true", name="OTHER"), "OTHER|INPUT0"),
    "datatype": (sample("zero_data: true", datatype="INT32"), "INPUT0"),
    "dims": (sample("zero_data: true", dims=(2, 2)), "INPUT0"),
    "variable": (sample("zero_data: true", dims=(-1,)), "INPUT0"),
    "batch": (sample("zero_data: true", size=9), "batch"),
    "short_file": (sample('input_data_file: "short"'), "short"),
    "no_data": (sample(""), "INPUT0"),
}


def test_wrong_samples(serve, repository):
    for name, (config, _) in WRONG.items():
        place = repository.scale(name, {1: 2.0}, extra=config)
        (place / "warmup").mkdir()
        (place / "warmup" / "short").write_bytes(bytes(7))
    server = serve(repository, EXPLICIT)
    for name, (_, word) in WRONG.items():
        load_fails(server, name, word)
        assert not server.ready(name)


def test_nothing_is_answered_before(serve, repository):
    """The load ends when the warm-up does; until then the model is not ready."""
    echo(repository, delay_ms=300, extra=ONE_INSTANCE + sample("zero_data: true", datatype="INT32", count=2))
    server = serve(repository, EXPLICIT)
    with server.connect() as connection:
        body = b"POST " + LOAD.format("echo").encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        connection.send(body)
        state = server.ready("echo")
        assert connection.reply("POST").status == 200
        assert state is False
    assert server.statistics("echo")["execution_count"] == 2
