"""Writes the repositories of models for examples and tests."""

import json

import image_classifier
import model_builder

DENSENET = """\
name: "densenet_onnx"
platform: "onnxruntime_onnx"
max_batch_size: 0
input [
  {
    name: "data_0"
    data_type: TYPE_FP32
    format: FORMAT_NCHW
    dims: [ 3, 224, 224 ]
    reshape { shape: [ 1, 3, 224, 224 ] }
  }
]
output [
  {
    name: "fc6_1"
    data_type: TYPE_FP32
    dims: [ 1000 ]
    reshape { shape: [ 1, 1000, 1, 1 ] }
    label_filename: "densenet_labels.txt"
  }
]
response_cache { enable: true }
"""

IDENTITY = """\
name: "identity"
backend: "echo"
max_batch_size: 0
input [
  {
    name: "INPUT0"
    data_type: TYPE_FP32
    dims: [ -1 ]
  }
]
output [
  {
    name: "OUTPUT0"
    data_type: TYPE_FP32
    dims: [ -1 ]
  }
]
parameters {
  key: "mode"
  value: { string_value: "identity" }
}
"""

CLASSIFIER = """\
name: "efficientnet_lite0"
platform: "onnxruntime_onnx"
max_batch_size: 8
input [
  {
    name: "image"
    data_type: TYPE_FP32
    format: FORMAT_NCHW
    dims: [ 3, 224, 224 ]
  }
]
output [
  {
    name: "probabilities"
    data_type: TYPE_FP32
    dims: [ 1000 ]
    label_filename: "labels.txt"
  }
]
response_cache { enable: true }
"""

# The parameter delay_ms of a request overrides the one here.
DELAY = """\
name: "delay"
backend: "echo"
max_batch_size: 0
input [
  {
    name: "INPUT0"
    data_type: TYPE_INT32
    dims: [ -1 ]
  }
]
output [
  {
    name: "OUTPUT0"
    data_type: TYPE_INT32
    dims: [ -1 ]
  }
]
parameters {
  key: "mode"
  value: { string_value: "delay" }
}
parameters {
  key: "delay_ms"
  value: { string_value: "100" }
}
response_cache { enable: true }
"""


# For models whose answers differ from run to run: an audit could not compare them.
NO_AUDIT = """\
parameters {
  key: "response_cache.audit"
  value: { string_value: "0" }
}
"""


def config(name, model, max_batch_size=0, response_cache=False):
    """A config.pbtxt with the inputs and outputs of the model."""
    text = f'name: "{name}"\nplatform: "onnxruntime_onnx"\nmax_batch_size: {max_batch_size}\n'
    text += tensors("input", model_builder.network_inputs(model.graph), max_batch_size)
    text += tensors("output", model.graph.output, max_batch_size)
    if response_cache:
        text += "response_cache { enable: true }\n"
    return text


def tensors(field, infos, max_batch_size):
    return f"{field} [\n" + ",\n".join(tensor(info, max_batch_size) for info in infos) + "\n]\n"


def tensor(info, max_batch_size):
    number = info.type.tensor_type.elem_type
    datatype = next(name for name, its in model_builder.DATATYPES.items() if its == number)
    dims = [dim.dim_value if dim.HasField("dim_value") else -1
            for dim in info.type.tensor_type.shape.dim]
    if max_batch_size:
        del dims[0]
    lines = ["  {",
             f'    name: "{info.name}"',
             f"    data_type: TYPE_{datatype.replace('BYTES', 'STRING')}",
             f"    dims: [ {', '.join(map(str, dims or [1]))} ]"]
    if not dims:
        lines.append("    reshape { shape: [ ] }")
    return "\n".join([*lines, "  }"])


def write_model(folder, name, text, model=None):
    version = folder / name / "1"
    version.mkdir(parents=True)
    version.with_name("config.pbtxt").write_text(text)
    if model:
        (version / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))


def write_example_models(folder):
    for model in (model_builder.simple(), model_builder.simple_string()):
        name = model.graph.name
        text = config(name, model, max_batch_size=8, response_cache=True)
        write_model(folder, name, text, model)
    write_model(folder, "identity", IDENTITY)
    write_model(folder, "delay", DELAY)
    densenet = model_builder.with_weights("densenet121", seed=1)
    write_model(folder, "densenet_onnx", DENSENET, densenet)
    labels = "".join(f"label{number}\n" for number in range(1000))
    (folder / "densenet_onnx" / "densenet_labels.txt").write_text(labels)
    write_classifier(folder)


def write_classifier(folder):
    """With a request beside it, which asks what a picture shows."""
    model = image_classifier.model()
    name = model.graph.name
    write_model(folder, name, CLASSIFIER, model)
    (folder / name / "labels.txt").write_text("".join(f"{label}\n" for label in image_classifier.labels()))
    image = image_classifier.picture()
    request = {"inputs": [{"name": "image", "shape": [1, *image.shape], "datatype": "FP32", "data": image.ravel().tolist()}],
               "outputs": [{"name": "probabilities", "parameters": {"classification": 3}}]}
    (folder / name / "grace_hopper.json").write_text(json.dumps(request))


def write_test_models(folder):
    for datatype in model_builder.DATATYPES:
        model = model_builder.identity(datatype)
        name = model.graph.name
        write_model(folder, name, config(name, model, max_batch_size=8), model)
    model = model_builder.pass_through()
    write_model(folder, "pass_through", config("pass_through", model, max_batch_size=8, response_cache=True), model)
    for model in (model_builder.scalar(), model_builder.positive(), model_builder.nonzero(),
                  model_builder.rows_of_three(), model_builder.gather(),
                  model_builder.with_weights("squeezenet", seed=1)):
        write_model(folder, model.graph.name, config(model.graph.name, model), model)
    for model in (model_builder.add(), model_builder.embedding(), model_builder.row_sum()):
        write_model(folder, model.graph.name, config(model.graph.name, model, max_batch_size=8), model)
    noise = model_builder.noise()
    write_model(folder, "noise", config("noise", noise, max_batch_size=8) + NO_AUDIT, noise)
    for light in model_builder.light_model_names():
        model = model_builder.light_model(light)
        write_model(folder, f"light_{light}", config(f"light_{light}", model), model)
