"""A served model stays what was loaded, whatever becomes of its files; and other files beside them do no harm."""

import base64
import json
import os
import socket

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from support import CACHE, decode, infer, same
from traffic import EXPLICIT, is_hit, put

pytestmark = pytest.mark.threads

ROWS = 4096
CONFIG = """\
input [ { name: "i", data_type: TYPE_INT64, dims: [ -1 ] } ]
output [ { name: "y", data_type: TYPE_FP32, dims: [ -1 ] } ]
""" + CACHE


def outside(tensor, location, offset=0, length=None):
    """The tensor, with its data in an external file."""
    length = len(tensor.raw_data) if length is None else length
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def save(place, nodes, constants, name="model.onnx", inputs=(("i", TensorProto.INT64, ["n"]),), outputs=(("y", TensorProto.FLOAT, ["n"]),)):
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(*each) for each in inputs],
                              [helper.make_tensor_value_info(*each) for each in outputs], constants)
    place.mkdir(parents=True, exist_ok=True)
    data = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    (place / name).write_bytes(data)
    return data


def weights(value):
    return np.full(ROWS, value, np.float32)


def gather(repository, name="m", value=1, location="w.bin"):
    """y = w[i], w in a file of its own."""
    place = repository.path / name
    save(place / "1", [helper.make_node("Gather", ["w", "i"], ["y"])], [outside(numpy_helper.from_array(weights(value), "w"), location)])
    file = place / "1" / location
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(weights(value).tobytes())
    (place / "config.pbtxt").write_text(CONFIG)
    return file


def ask(server, value, index=7, model="m"):
    reply = put(server, model, {"i": np.int64([index])})
    assert reply.status == 200, reply.body
    same(decode(reply)["y"], np.float32([value]))
    return reply


# --- What becomes of the files ---


def overwrite(file):
    file.write_bytes(weights(2).tobytes())


CHANGES = {"truncated": lambda file: os.truncate(file, 0), "overwritten": overwrite, "removed": lambda file: file.unlink(),
           "half": lambda file: os.truncate(file, 100), "replaced": lambda file: (file.unlink(), overwrite(file))}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_served_model_stays_what_it_was(serve, repository, change):
    file = gather(repository)
    server = serve(repository, EXPLICIT, "--load-model=m", "--cache-config=local,size=64MB")
    change(file)
    for index in range(0, ROWS, 512):  # on each page, none of which was read before
        ask(server, 1, index)
    reply = server.post("/v2/repository/models/m/load")
    if file.exists() and file.stat().st_size == 4 * ROWS:
        assert reply.status == 200
        ask(server, 2)
    else:
        assert reply.status == 400 and "w.bin" in reply.error, reply.body
        ask(server, 1)


def test_the_model_file_itself(serve, repository):
    repository.scale("scale", {1: 2.0}, cached=True)
    server = serve(repository, EXPLICIT, "--load-model=scale", "--cache-config=local,size=64MB")
    file = repository.path / "scale" / "1" / "model.onnx"
    os.truncate(file, 0)
    for value in range(5):
        same(infer(server, "scale", {"INPUT0": np.float32([[value]])})["OUTPUT0"], np.float32([[2 * value]]))


def test_weights_are_in_the_fingerprint(serve, repository):
    """External weights are in it, too, also if the version stays the same."""
    file = gather(repository)
    server = serve(repository, EXPLICIT, "--load-model=m", "--cache-config=local,size=64MB")
    ask(server, 1)
    assert is_hit(ask(server, 1))
    overwrite(file)
    server.load("m")
    ask(server, 2)
    file.write_bytes(weights(1).tobytes())
    server.load("m")
    assert is_hit(ask(server, 1)), "the same bytes are the same model"


def test_what_the_model_does_not_use_is_not_in_the_fingerprint(serve, repository):
    gather(repository)
    server = serve(repository, EXPLICIT, "--load-model=m", "--cache-config=local,size=64MB")
    ask(server, 1)
    (repository.path / "m" / "1" / "README").write_text("hello")
    server.load("m")
    assert is_hit(ask(server, 1))


# --- Where data may be ---


def test_in_a_folder_and_at_an_offset(serve, repository):
    place = repository.path / "m"
    save(place / "1", [helper.make_node("Add", ["a", "b"], ["w"]), helper.make_node("Gather", ["w", "i"], ["y"])],
         [outside(numpy_helper.from_array(weights(1), "a"), "data/./w.bin", 12), outside(numpy_helper.from_array(weights(1), "b"), "./data//w.bin", 12 + 4 * ROWS)])
    (place / "1" / "data").mkdir()
    (place / "1" / "data" / "w.bin").write_bytes(b"x" * 12 + weights(3).tobytes() + weights(4).tobytes())
    (place / "config.pbtxt").write_text(CONFIG)
    server = serve(repository, "--cache-config=none")
    ask(server, 7)


def test_in_bodies_and_attributes(serve, repository, tmp_path):
    """ONNX Runtime would read these files from the process's working directory, whoever put them there."""
    def body(name, location):
        constant = outside(numpy_helper.from_array(weights(0), "c_" + name), location)
        return helper.make_graph([helper.make_node("Identity", ["c_" + name], ["o_" + name])], name, [],
                                 [helper.make_tensor_value_info("o_" + name, TensorProto.FLOAT, [ROWS])], [constant])

    place = repository.path / "m"
    nodes = [helper.make_node("Constant", [], ["k"], value=outside(numpy_helper.from_array(weights(0), "k"), "k.bin")),
             helper.make_node("If", ["flag"], ["w"], then_branch=body("then", "then.bin"), else_branch=body("else", "else.bin")),
             helper.make_node("Add", ["w", "k"], ["sum"]), helper.make_node("Gather", ["sum", "i"], ["y"])]
    save(place / "1", nodes, [], inputs=[("i", TensorProto.INT64, ["n"]), ("flag", TensorProto.BOOL, [1])])
    (place / "config.pbtxt").write_text(CONFIG.replace("input [", 'input [ { name: "flag", data_type: TYPE_BOOL, dims: [ 1 ] },', 1))
    decoys = tmp_path / "decoys"
    decoys.mkdir()
    for name, value in (("k", 100), ("then", 1), ("else", 2)):
        (place / "1" / f"{name}.bin").write_bytes(weights(value).tobytes())
        (decoys / f"{name}.bin").write_bytes(weights(-1).tobytes())
    server = serve(repository, EXPLICIT, "--load-model=m", "--cache-config=none", cwd=decoys)
    for flag, value in ((True, 101), (False, 102)):
        same(infer(server, "m", {"i": np.int64([5]), "flag": np.array([flag])})["y"], np.float32([value]))
    (place / "1" / "else.bin").unlink()
    reply = server.post("/v2/repository/models/m/load")
    assert reply.status == 400 and "else.bin" in reply.error and "c_else" in reply.error


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "data/../../secret.bin", "..", "w.bin/", ""])
def test_data_stay_in_the_version_folder(serve, repository, location):
    file = gather(repository)
    server = serve(repository, EXPLICIT, "--load-model=m", "--cache-config=none")
    (repository.path / "m" / "secret.bin").write_bytes(weights(9).tobytes())
    save(file.parent, [helper.make_node("Gather", ["w", "i"], ["y"])], [outside(numpy_helper.from_array(weights(0), "w"), location)])
    reply = server.post("/v2/repository/models/m/load")
    assert reply.status == 400 and "'w'" in reply.error, reply.body
    ask(server, 1)


@pytest.mark.parametrize("offset, length", [(4, None), (4 * ROWS, None), (2**63, None), (0, 4 * ROWS - 1), (0, 4)])
def test_data_that_are_not_there(serve, repository, offset, length):
    file = gather(repository)
    save(file.parent, [helper.make_node("Gather", ["w", "i"], ["y"])], [outside(numpy_helper.from_array(weights(0), "w"), "w.bin", offset, length)])
    server = serve(repository, EXPLICIT, "--cache-config=none")
    reply = server.post("/v2/repository/models/m/load")
    assert reply.status == 400 and "'w'" in reply.error and "w.bin" in reply.error, reply.body


def test_files_of_a_load_request(serve, repository):
    gather(repository)
    model = (repository.path / "m" / "1" / "model.onnx").read_bytes()
    server = serve(repository, EXPLICIT, "--cache-config=local,size=64MB")
    for value in (5, 6):
        files = {name: base64.b64encode(content).decode()
                 for name, content in (("file:1/model.onnx", model), ("file:1/w.bin", weights(value).tobytes()))}
        config = {"name": "n", "backend": "onnxruntime", "input": [{"name": "i", "data_type": "TYPE_INT64", "dims": [-1]}],
                  "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [-1]}], "response_cache": {"enable": True}}
        server.load("n", config=json.dumps(config), **files)
        ask(server, value, model="n")


# --- Other files beside the model ---


def strangers(place):
    os.symlink("somebody@host.1234:5678", place / ".#model.onnx")
    os.mkfifo(place / "notify")
    os.symlink("again", place / "again")
    (place / ".ipynb_checkpoints").mkdir()
    (place / "notes").write_text("")
    here = os.getcwd()
    os.chdir(place)  # a socket's path is short
    try:
        socket.socket(socket.AF_UNIX).bind("agent.sock")
    finally:
        os.chdir(here)


def test_strangers_are_named_once(serve, repository):
    file = gather(repository)
    strangers(file.parent)
    server = serve(repository, EXPLICIT, "--load-model=m", "--cache-config=none")
    ask(server, 1)
    (line,) = server.lines(r"^W.*left alone")
    for name, what in ((".#model.onnx", "a dangling link"), ("notify", "a FIFO"), ("agent.sock", "a socket"), ("again", "a link to itself")):
        assert f"'{name}' ({what})" in line


def test_a_stranger_in_the_place_of_the_model(serve, repository):
    file = gather(repository)
    model = file.with_name("model.onnx")
    model.unlink()
    os.mkfifo(model)
    server = serve(repository, EXPLICIT, "--cache-config=none")
    reply = server.post("/v2/repository/models/m/load")
    assert reply.status == 400 and "is not a regular file" in reply.error
    model.unlink()
    reply = server.post("/v2/repository/models/m/load")
    assert reply.status == 400 and "unable to find" in reply.error
    model.with_name("modle.onnx").write_text("")
    reply = server.post("/v2/repository/models/m/load")
    assert "did you mean 'modle.onnx'?" in reply.error
