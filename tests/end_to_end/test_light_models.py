"""Real networks: the onnx wheel's light models, and squeezenet with weights, whose answers depend on the input."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnx.backend.test.loader import DATA_DIR
from pathlib import Path

from support import infer, infer_binary

LIGHT = Path(DATA_DIR, "light")
NAMES = ["bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet", "squeezenet", "vgg19",
         "zfnet512"]


def ramp(*shape):
    """The input that the outputs were recorded with."""
    return (np.arange(np.prod(shape)) / np.prod(shape)).astype(np.float32).reshape(shape)


def test_no_light_model_is_left_out():
    assert sorted(path.stem.removeprefix("light_") for path in LIGHT.glob("light_*.onnx")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_recorded_output(serve, repository, name):
    server = serve(repository.add(f"light_{name}"))
    metadata = server.get(f"/v2/models/light_{name}").json
    (entry,), (output,) = metadata["inputs"], metadata["outputs"]
    assert entry["shape"] == [1, 3, 224, 224]
    expected = numpy_helper.to_array(onnx.load_tensor(LIGHT / f"light_{name}_output_0.pb"))
    actual = infer_binary(server, f"light_{name}", {entry["name"]: ramp(1, 3, 224, 224)})[output["name"]]
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=2e-3, atol=1e-7)


@pytest.mark.parametrize("model, name, shape, out", [
    ("squeezenet", "data_0", (1, 3, 224, 224), "softmaxout_1"), ("densenet_onnx", "data_0", (3, 224, 224), "fc6_1")])
def test_against_onnxruntime(serve, repository, models, model, name, shape, out):
    session = onnxruntime.InferenceSession(models(model) / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    server = serve(repository.add(model))
    random = np.random.default_rng(4)
    images = [random.random(shape, dtype=np.float32), np.zeros(shape, np.float32), ramp(*shape), ramp(*shape)[..., ::-1].copy()]
    answers = []
    for image in images:
        (expected,) = session.run([out], {name: image.reshape(1, 3, 224, 224)})
        actual = infer_binary(server, model, {name: image})[out]
        np.testing.assert_allclose(actual.ravel(), expected.ravel(), rtol=1e-3, atol=1e-3 if model == "densenet_onnx" else 1e-6)
        answers.append(actual)
    for i in range(len(answers)):
        for k in range(i):
            assert not np.allclose(answers[i], answers[k], rtol=1e-3), "the input must matter"
    image = infer(server, model, {name: images[0]})[out]  # and as JSON
    np.testing.assert_allclose(image, answers[0], rtol=1e-3, atol=1e-3)
