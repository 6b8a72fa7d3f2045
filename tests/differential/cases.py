"""The questions written by hand: each row of the protocol, valid and invalid."""

import base64
import gzip
import json
import zlib
from dataclasses import replace

import grpc
import tritonclient.grpc.service_pb2 as pb

from ask import Question, floats, ints, strings
from valid import (FIELDS, FIRST, SECOND, SIZES, VALUES, changed, document, encode, identity, labels, one, request, simple,
                   simple_string, with_parameters)

BIG = 99999999999999999999


def unary(name, rpc, message, **options):
    data = message if isinstance(message, bytes) else message.SerializeToString()
    return Question(f"grpc/{rpc.rpartition('/')[2]}/{name}", rpc, [data], **options)


def infer(name, message, **options):
    return unary(name, "ModelInfer", message, **options)


def stream(name, *messages, **options):
    data = [message if isinstance(message, bytes) else message.SerializeToString() for message in messages]
    return Question(f"grpc/ModelStreamInfer/{name}", "ModelStreamInfer", data, shape="stream", **options)


def http(name, path, body=None, method=None, headers=None, **options):
    data = b"" if body is None else encode(body)
    return Question(f"http/{name}", path=path, method=method or ("GET" if body is None else "POST"), body=data,
                    headers=headers or {}, **options)


def post(name, body, path="/v2/models/simple/infer", tail=b"", headers=None, **options):
    """An infer request; with a tail, binary."""
    data = encode(body)
    fields = dict(headers or {})
    if tail or options.pop("framed", False):
        fields.setdefault("Inference-Header-Content-Length", str(len(data)))
    return http(f"infer/{name}", path, data + tail, headers=fields, method="POST", **options)


# --- Health, metadata, configuration, statistics ---


def health():
    yield unary("live", "ServerLive", pb.ServerLiveRequest())
    yield unary("ready", "ServerReady", pb.ServerReadyRequest())
    for service, data in (("none", b""), ("inference", b"\x0a\x1einference.GRPCInferenceService"), ("unknown", b"\x0a\x04nope")):
        yield unary(f"check_{service}", "/grpc.health.v1.Health/Check", data)
    yield Question("grpc/Watch", "/grpc.health.v1.Health/Watch", [b""], shape="stream", timeout=2)
    yield unary("unknown_method", "NoSuchMethod", b"")
    yield unary("unknown_service", "/no.Such/Method", b"")
    yield Question("grpc/reflection", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", [b"\x3a\x00"],
                   shape="stream", timeout=2)
    for model, version in (("simple", ""), ("simple", "1"), ("simple", "2"), ("simple", "0"), ("simple", "-1"),
                           ("simple", "abc"), ("simple", "1.0"), ("simple", " 1"), ("simple", "1x"), ("simple", "01"),
                           ("simple", str(BIG)), ("nope", ""), ("", ""), ("versions", ""), ("versions", "1"),
                           ("versions", "3"), ("versions", "2"), ("newest", "1"), ("newest", "3"), ("SIMPLE", ""),
                           ("simple/../simple", ""), ("\u00e9", "")):
        shown = f"{model}:{version}"
        yield unary(f"ready_{shown}", "ModelReady", pb.ModelReadyRequest(name=model, version=version))
        yield unary(f"metadata_{shown}", "ModelMetadata", pb.ModelMetadataRequest(name=model, version=version))
        yield unary(f"config_{shown}", "ModelConfig", pb.ModelConfigRequest(name=model, version=version))
    for model in ("simple_string", "cached", "nobatch", "matrix", "fixed", "labels", "bytes_one", "identity_BF16", "identity_FP16", "gather"):
        yield unary(f"metadata_{model}", "ModelMetadata", pb.ModelMetadataRequest(name=model))
        yield unary(f"config_{model}", "ModelConfig", pb.ModelConfigRequest(name=model))
    yield unary("server", "ServerMetadata", pb.ServerMetadataRequest())
    # Bytes where a message without fields is expected; a field of the future; no message that can be read.
    yield unary("unknown_field", "ServerLive", b"\x7a\x03abc")
    yield unary("garbage", "ServerLive", b"\xff\xff\xff")
    yield unary("garbage", "ModelReady", b"\x0a\xff")
    yield unary("not_utf8", "ModelReady", b"\x0a\x02\xff\xfe")
    yield unary("wrong_wire_type", "ModelReady", b"\x08\x01")
    for rpc in ("ServerLive", "ServerReady", "ServerMetadata"):
        yield Question(f"grpc/{rpc}/no_message", rpc, [], shape="count", timeout=3)
        yield Question(f"grpc/{rpc}/two_messages", rpc, [b"", b""], shape="count", timeout=3)


def statistics():
    def ask(name, model="", version="", **options):
        return unary(name, "ModelStatistics", pb.ModelStatisticsRequest(name=model, version=version), **options)

    for model in ("counted", "counted_cached"):
        yield ask(f"{model}_before", model)
        yield infer(f"{model}_1", simple(model))
        yield infer(f"{model}_2", simple(model))
        yield infer(f"{model}_rows", simple(model, rows=3))
        yield infer(f"{model}_bad_shape", changed(simple(model), lambda message: message.inputs[0].shape.__setitem__(1, 8)))
        yield infer(f"{model}_3", simple(model))
        yield stream(f"{model}_stream", simple(model), simple(model, id="x"))
        yield ask(f"{model}_after", model, settle=True)
        yield http(f"stats/{model}", f"/v2/models/{model}/stats")
    yield ask("fail_before", "gather")
    yield infer("fail", request("gather", [("INPUT0", "FP32", [2], None), ("INDEX", "INT64", [1], None)],
                                raw=[floats(1, 2), (9).to_bytes(8, "little")]))
    yield ask("fail_after", "gather", settle=True)
    for model, version in (("counted", "1"), ("counted", "2"), ("counted", "0"), ("counted", "-1"), ("counted", "abc"),
                           ("counted", str(BIG)), ("nope", ""), ("nope", "1"), ("nope", "abc"), ("versions", ""),
                           ("versions", "3"), ("", "1"), ("", "abc")):
        yield ask(f"of_{model}:{version}", model, version)
    yield ask("garbage", "x\x00y")


def parameters_of_replies():
    """What the reply says besides its tensors."""
    for number in range(2):
        yield infer(f"cached_{number}", simple("cached"))
    yield infer("cached_id", simple("cached", id="again"))
    yield stream("cached_hit", simple("cached", id="a"))
    yield infer("uncached_id", simple(id="an id"))
    yield infer("id_unicode", simple(id="\u00e9\u4e2d"))
    yield infer("id_long", simple(id="x" * 5000))


# --- Inference ---


def shapes_and_types():
    yield infer("raw", simple())
    yield infer("typed", simple(typed=True))
    yield infer("rows", simple(rows=8))
    yield infer("rows_typed", simple(rows=3, typed=True))
    yield infer("strings_raw", simple_string())
    yield infer("strings_typed", simple_string(typed=True))
    for datatype in FIELDS:
        yield infer(f"identity_typed_{datatype}", identity(datatype))
    for datatype, size in SIZES.items():
        yield infer(f"identity_raw_{datatype}", one(f"identity_{datatype}", datatype, [1, 3], bytes(range(1, 3 * size + 1))
                                                    if datatype != "BOOL" else b"\x01\x00\x01"))
        yield infer(f"no_elements_{datatype}", one(f"identity_{datatype}", datatype, [1, 0], b""))
        yield infer(f"one_byte_short_{datatype}", one(f"identity_{datatype}", datatype, [1, 3], bytes(3 * size - 1)))
    yield infer("no_elements_typed", one("identity_FP32", "FP32", [1, 0], contents={"fp32_contents": []}))
    yield infer("no_elements_no_raw", one("identity_FP32", "FP32", [1, 0]))
    yield infer("no_elements_bytes", one("identity_BYTES", "BYTES", [1, 0], b""))
    yield infer("no_elements_bytes_typed", one("identity_BYTES", "BYTES", [1, 0], contents={"bytes_contents": []}))
    yield infer("fp16_typed", one("identity_FP16", "FP16", [1, 2], contents={"fp32_contents": [1, 2]}))
    yield infer("bf16_typed", one("identity_BF16", "BF16", [1, 2], contents={"fp32_contents": [1, 2]}))
    yield infer("fp16_no_data", one("identity_FP16", "FP16", [1, 2]))
    # Values that do not fit the datatype.
    for datatype, values in (("UINT8", [256, 511]), ("UINT16", [65536, 70000]), ("INT8", [128, -129]), ("INT16", [32768, -40000])):
        yield infer(f"too_large_{datatype}", one(f"identity_{datatype}", datatype, [1, 2], contents={FIELDS[datatype]: values}))
    yield infer("nobatch", one("nobatch", "FP32", [3], floats(1, 2, 3)))
    yield infer("nobatch_empty", one("nobatch", "FP32", [0], b""))
    yield infer("matrix", one("matrix", "FP32", [2, 2], floats(1, 2, 3, 4)))
    yield infer("matrix_empty", one("matrix", "FP32", [0, 5], b""))
    yield infer("matrix_rank", one("matrix", "FP32", [4], floats(1, 2, 3, 4)))
    yield infer("fixed", one("fixed", "FP32", [2, 3], floats(*range(6))))
    yield infer("fixed_wrong", one("fixed", "FP32", [3, 2], floats(*range(6))))
    yield infer("fixed_rank", one("fixed", "FP32", [6], floats(*range(6))))
    yield infer("nan", one("nobatch", "FP32", [3], contents={"fp32_contents": [float("nan"), float("inf"), -float("inf")]}))
    yield infer("bytes_one", one("bytes_one", "BYTES", [1], strings(b"one")))
    yield infer("large", one("nobatch", "FP32", [300000], bytes(1200000)))


def decoding():
    """Each way in which a request's tensors can be wrong."""
    def broken(name, change, **options):
        yield infer(name, changed(simple(**options), change))

    def contents(message, field, values, tensor=0):
        getattr(message.inputs[tensor].contents, field).extend(values)

    yield infer("empty_request", b"")
    yield infer("only_name", pb.ModelInferRequest(model_name="simple"))
    for model, version in (("nope", ""), ("", ""), ("nope", "1"), ("nope", "abc"), ("simple", "1"), ("simple", "2"),
                           ("simple", "0"), ("simple", "-1"), ("simple", "abc"), ("simple", "1x"), ("simple", "01"),
                           ("simple", " 1"), ("simple", "+1"), ("simple", "1.5"), ("simple", str(BIG)),
                           ("simple", "9223372036854775807"), ("simple", "9223372036854775808"), ("simple", "\u00b9")):
        yield infer(f"model_{model}:{version}", simple(model, model_version=version))
    for version in ("", "1", "2", "3"):
        for model in ("versions", "newest"):
            yield infer(f"model_{model}:{version}", one(model, "INT32", [1], ints(7), model_version=version))
    yield from broken("one_input", lambda m: (m.inputs.pop(), m.raw_input_contents.pop()))
    yield from broken("no_inputs", lambda m: (m.ClearField("inputs"), m.ClearField("raw_input_contents")))
    yield from broken("no_inputs_but_raw", lambda m: m.ClearField("inputs"))
    yield from broken("one_input_two_raw", lambda m: m.inputs.pop())
    yield from broken("three_inputs", lambda m: (m.inputs.add(name="X", datatype="INT32", shape=[1, 16]), m.raw_input_contents.append(bytes(64))))
    yield from broken("unknown_input", lambda m: setattr(m.inputs[1], "name", "X"))
    yield from broken("duplicate_input", lambda m: setattr(m.inputs[1], "name", "INPUT0"))
    yield from broken("unnamed_input", lambda m: setattr(m.inputs[1], "name", ""))
    yield from broken("swapped_inputs", lambda m: (setattr(m.inputs[0], "name", "INPUT1"), setattr(m.inputs[1], "name", "INPUT0")))
    for datatype in ("FP32", "int32", "INT", "", "STRING", "TYPE_INT32", "BYTES", "INT64", "BF16", "\u00e9"):
        yield from broken(f"datatype_{datatype}", lambda m: setattr(m.inputs[0], "datatype", datatype))
        yield from broken(f"datatype_{datatype}_typed", lambda m: setattr(m.inputs[0], "datatype", datatype), typed=True)
    for shape in ([], [16], [1, 8], [1, 1, 16], [2, 8], [0, 16], [-1, 16], [1, -16], [9, 16], [2, 16], [-1, -16], [1, 17],
                  [2**31, 16], [2**62, 16], [1, 2**60], [2**63 - 1, 2**63 - 1], [-2**63, 16], [2**32, 2**32], [1] * 100):
        shown = "x".join(map(str, shape)) if len(shape) < 9 else "many"
        for typed in (False, True):
            def set_shape(message, both=False):
                for tensor in message.inputs if both else message.inputs[:1]:
                    tensor.ClearField("shape")
                    tensor.shape.extend(shape)
            kind = "_typed" if typed else ""
            yield from broken(f"shape_{shown}{kind}", set_shape, typed=typed)
            yield from broken(f"shapes_{shown}{kind}", lambda m: set_shape(m, True), typed=typed)
    for shape in ([-1], [2**62], [2**63 - 1], [2**61], [-3]):
        yield infer(f"nobatch_shape_{shape[0]}", one("nobatch", "FP32", shape, floats(1, 2, 3)))
        yield infer(f"nobatch_shape_{shape[0]}_typed", one("nobatch", "FP32", shape, contents={"fp32_contents": [1, 2, 3]}))
    for shape in ([2**32, 2**32], [2**63 - 1, 2], [-1, 3], [-2, -2], [2**31, 2**31]):
        lives = shape != [-2, -2]  # Triton's model dies of it, for good
        yield infer(f"matrix_shape_{shape[0]}x{shape[1]}", one("matrix", "FP32", shape, floats(1, 2, 3, 4)), compared=lives)
        yield infer(f"matrix_shape_{shape[0]}x{shape[1]}_typed", one("matrix", "FP32", shape, contents={"fp32_contents": [1, 2, 3, 4]}), compared=lives)
    # Raw.
    yield from broken("raw_too_few", lambda m: m.raw_input_contents.pop())
    yield from broken("raw_none", lambda m: m.ClearField("raw_input_contents"))
    yield from broken("raw_surplus", lambda m: m.raw_input_contents.append(b"more"))
    yield from broken("raw_short", lambda m: m.raw_input_contents.__setitem__(0, bytes(60)))
    yield from broken("raw_long", lambda m: m.raw_input_contents.__setitem__(0, bytes(68)))
    yield from broken("raw_empty", lambda m: m.raw_input_contents.__setitem__(0, b""))
    yield from broken("raw_second_empty", lambda m: m.raw_input_contents.__setitem__(1, b""))
    # Typed.
    yield from broken("typed_and_raw", lambda m: contents(m, "int_contents", FIRST))
    yield from broken("typed_and_raw_second", lambda m: contents(m, "int_contents", SECOND, 1))
    yield from broken("typed_other_field_and_raw", lambda m: contents(m, "fp32_contents", [1.0]))
    yield from broken("typed_first_raw_second", lambda m: (contents(m, "int_contents", FIRST), m.raw_input_contents.pop(0)))
    yield from broken("typed_first_only", lambda m: m.inputs[1].contents.Clear(), typed=True)
    yield from broken("typed_second_only", lambda m: m.inputs[0].contents.Clear(), typed=True)
    yield from broken("typed_short", lambda m: m.inputs[0].contents.int_contents.pop(), typed=True)
    yield from broken("typed_long", lambda m: m.inputs[0].contents.int_contents.append(1), typed=True)
    for field in ("bool_contents", "int_contents", "int64_contents", "uint_contents", "uint64_contents", "fp32_contents", "fp64_contents"):
        yield from broken(f"typed_in_{field}", lambda m: (m.inputs[0].contents.Clear(), contents(m, field, [1] * 16)), typed=True)
        yield from broken(f"typed_also_{field}", lambda m: contents(m, field, [1] * 16), typed=True)
        yield infer(f"strings_in_{field}", changed(simple_string(typed=True),
                                                   lambda m: (m.inputs[0].contents.Clear(), contents(m, field, [1] * 16))))
        yield infer(f"nobatch_in_{field}", one("nobatch", "FP32", [2], contents={field: [1, 1]}))
    yield from broken("typed_in_bytes_contents", lambda m: (m.inputs[0].contents.Clear(), contents(m, "bytes_contents", [b"x"] * 16)), typed=True)
    # Strings.
    def string_raw(name, data):
        yield infer(f"strings_{name}", changed(simple_string(), lambda m: m.raw_input_contents.__setitem__(0, data)))
    good = [str(value).encode() for value in FIRST]
    yield from string_raw("fifteen", strings(*good[:15]))
    yield from string_raw("seventeen", strings(*good, b"9"))
    yield from string_raw("length_cut", strings(*good[:15]) + b"\x01\x00")
    yield from string_raw("element_cut", strings(*good)[:-1])
    yield from string_raw("length_huge", strings(*good[:15]) + b"\xff\xff\xff\xff5")
    yield from string_raw("length_negative", strings(*good[:15]) + b"\x00\x00\x00\x805")
    yield from string_raw("trailing", strings(*good) + b"\x00")
    yield from string_raw("trailing_length", strings(*good) + b"\x05\x00\x00\x00")
    yield from string_raw("empty", b"")
    yield infer("strings_typed_fifteen", changed(simple_string(typed=True), lambda m: m.inputs[0].contents.bytes_contents.pop()))
    yield infer("strings_typed_seventeen", changed(simple_string(typed=True), lambda m: m.inputs[0].contents.bytes_contents.append(b"1")))
    yield infer("strings_nul", one("identity_BYTES", "BYTES", [1, 2], strings(b"a\x00b", b"\x00")))
    yield infer("strings_not_utf8", one("identity_BYTES", "BYTES", [1, 2], strings(b"\xff\xfe", b"\x80")))
    yield infer("strings_nul_typed", one("identity_BYTES", "BYTES", [1, 2], contents={"bytes_contents": [b"a\x00b", b"\xff"]}))
    yield infer("strings_empty_elements", one("identity_BYTES", "BYTES", [1, 3], strings(b"", b"", b"")))
    # Failure in the model.
    yield infer("model_fails", simple_string_failing())
    # Messages that are none.
    valid = simple(id="id").SerializeToString()
    yield infer("bytes_cut", valid[:-3])
    yield infer("bytes_appended", valid + b"\xff")
    yield infer("bytes_group", valid + b"\x7b\x7c")
    yield infer("bytes_unknown_field", valid + b"\x92\x03\x03abc")
    yield infer("bytes_field_zero", valid + b"\x02\x00")
    yield infer("bytes_long_varint", valid + b"\x78" + b"\xff" * 10)
    yield infer("bytes_wrong_type", b"\x08\x01" + valid)
    yield infer("bytes_twice", valid + pb.ModelInferRequest(model_name="simple", id="other").SerializeToString())
    yield infer("name_not_utf8", b"\x0a\x02\xff\xfe")
    yield infer("id_not_utf8", valid + b"\x1a\x02\xff\xfe")
    yield infer("input_name_not_utf8", simple().SerializeToString().replace(b"INPUT1", b"INPUT\xff"))
    yield infer("input_name_nul", simple().SerializeToString().replace(b"INPUT1", b"INPUT\x00"))
    yield infer("packed_shape_unpacked", request_with_unpacked_shape())
    yield Question("grpc/ModelInfer/no_message", "ModelInfer", [], shape="count", timeout=3)
    yield Question("grpc/ModelInfer/two_messages", "ModelInfer", [valid, valid], shape="count", timeout=3)


def simple_string_failing():
    return changed(simple_string(), lambda m: m.raw_input_contents.__setitem__(0, strings(*[b"not a number"] * 16)))


def request_with_unpacked_shape():
    """Proto3 packs repeated numbers; a reader must take them unpacked, too."""
    def tensor(name):
        body = b"\x0a" + bytes([len(name)]) + name + b"\x12\x05INT32" + b"\x18\x01\x18\x10"
        return b"\x2a" + bytes([len(body)]) + body
    return b"\x0a\x06simple" + tensor(b"INPUT0") + tensor(b"INPUT1") + (b"\x3a\x40" + bytes(64)) * 2


def outputs_and_parameters():
    yield infer("outputs_one", simple(outputs=["OUTPUT1"]))
    yield infer("outputs_both", simple(outputs=["OUTPUT0", "OUTPUT1"]))
    yield infer("outputs_reversed", simple(outputs=["OUTPUT1", "OUTPUT0"]))
    yield infer("outputs_unknown", simple(outputs=["NOPE"]))
    yield infer("outputs_known_and_unknown", simple(outputs=["OUTPUT0", "NOPE"]))
    yield infer("outputs_twice", simple(outputs=["OUTPUT0", "OUTPUT0"]))
    yield infer("outputs_unnamed", simple(outputs=[""]))
    yield infer("outputs_of_input", simple(outputs=["INPUT0"]))
    for classes in (1, 2, 3, 4, 5, 0, -1, 1000, 2**31, 2**32 + 2, 2**63 - 1, -2**63):
        yield infer(f"classes_{classes}", labels(classes=classes))
    yield infer("classes_rows", labels(rows=2, classes=2))
    yield infer("classes_ties", changed(labels(classes=4), lambda m: m.raw_input_contents.__setitem__(0, floats(1, 1, 1, 1))), compared=False)
    yield infer("classes_nan", changed(labels(classes=4), lambda m: m.raw_input_contents.__setitem__(0, floats(1, float("nan"), 2, 0))), compared=False)
    for datatype in ("INT32", "UINT8", "INT64", "UINT64", "FP64", "FP16", "BOOL"):
        size = SIZES[datatype]
        data = b"\x00\x01\x00" if datatype == "BOOL" else b"".join(bytes([value] + [0] * (size - 1)) for value in (3, 9, 5))
        message = one(f"identity_{datatype}", datatype, [1, 3], data)
        message.outputs.add(name="OUTPUT0").parameters["classification"].int64_param = 2
        yield infer(f"classes_{datatype}", message)
    message = one("identity_BYTES", "BYTES", [1, 2], strings(b"a", b"b"))
    message.outputs.add(name="OUTPUT0").parameters["classification"].int64_param = 1
    yield infer("classes_BYTES", message)
    for kind, value in (("string_param", "2"), ("bool_param", True), ("double_param", 2.0), ("uint64_param", 2)):
        message = labels()
        setattr(message.outputs.add(name="OUTPUT0").parameters["classification"], kind, value)
        yield infer(f"classes_as_{kind}", message)
    message = labels()
    message.outputs.add(name="OUTPUT0").parameters["classification"].Clear()
    yield infer("classes_unset", message)
    for key in ("binary_data", "unknown", "triton_x"):
        for kind, value in (("string_param", "x"), ("bool_param", True), ("int64_param", 1), ("double_param", 1.5), ("uint64_param", 1)):
            message = simple()
            setattr(message.outputs.add(name="OUTPUT0").parameters[key], kind, value)
            yield infer(f"output_parameter_{key}_{kind}", message)
            message = simple()
            setattr(message.inputs[0].parameters[key], kind, value)
            yield infer(f"input_parameter_{key}_{kind}", message)
    kinds = {"bool_param": True, "int64_param": 1, "string_param": "one", "double_param": 1.5, "uint64_param": 1}
    for key in ("custom", "sequence_id", "sequence_start", "sequence_end", "priority", "timeout", "triton_x",
                "triton_enable_empty_final_response", "binary_data_output", "headers", "", "max_tokens"):
        for kind, value in kinds.items():
            yield infer(f"parameter_{key}_{kind}", with_parameters(simple(), **{key: (kind, value)}))
        message = simple()
        message.parameters[key].Clear()
        yield infer(f"parameter_{key}_unset", message)
    for key, value in (("sequence_id", 0), ("sequence_id", -1), ("priority", 0), ("priority", -1), ("priority", 2**62),
                       ("timeout", 0), ("timeout", -1), ("timeout", 2**62)):
        yield infer(f"parameter_{key}_{value}", with_parameters(simple(), **{key: ("int64_param", value)}))
    yield infer("parameter_priority_large_uint", with_parameters(simple(), priority=("uint64_param", 2**64 - 1)))
    yield infer("parameter_sequence_id_empty", with_parameters(simple(), sequence_id=("string_param", "")))
    yield infer("parameter_sequence_id_long", with_parameters(simple(), sequence_id=("string_param", "x" * 200)))
    yield infer("parameter_double_special", with_parameters(simple(), custom=("double_param", float("nan"))))
    yield infer("parameter_many", with_parameters(simple(), **{f"p{number}": ("int64_param", number) for number in range(200)}))
    yield infer("parameter_key_twice", simple().SerializeToString() + b"\x22\x05\x0a\x01a\x12\x00\x22\x07\x0a\x01a\x12\x02\x08\x01")


def shared_memory():
    """Regions: Hippocamp has none; Triton 2.73 has them disabled by default."""
    yield unary("all", "SystemSharedMemoryStatus", pb.SystemSharedMemoryStatusRequest())
    yield unary("unknown", "SystemSharedMemoryStatus", pb.SystemSharedMemoryStatusRequest(name="nope"))
    yield unary("all", "SystemSharedMemoryUnregister", pb.SystemSharedMemoryUnregisterRequest())
    yield unary("unknown", "SystemSharedMemoryUnregister", pb.SystemSharedMemoryUnregisterRequest(name="nope"))
    for name, fields in (("absent", dict(name="r", key="/hippocamp_absent", byte_size=64)), ("empty", {}),
                         ("no_key", dict(name="r", byte_size=64)), ("no_name", dict(key="/hippocamp_absent", byte_size=64)),
                         ("slash", dict(name="r", key="/", byte_size=64)), ("no_size", dict(name="r", key="/hippocamp_absent"))):
        yield unary(name, "SystemSharedMemoryRegister", pb.SystemSharedMemoryRegisterRequest(**fields))
    yield unary("all", "CudaSharedMemoryStatus", pb.CudaSharedMemoryStatusRequest())
    yield unary("unknown", "CudaSharedMemoryStatus", pb.CudaSharedMemoryStatusRequest(name="nope"))
    yield unary("all", "CudaSharedMemoryUnregister", pb.CudaSharedMemoryUnregisterRequest())
    yield unary("unknown", "CudaSharedMemoryUnregister", pb.CudaSharedMemoryUnregisterRequest(name="nope"))
    yield unary("some", "CudaSharedMemoryRegister", pb.CudaSharedMemoryRegisterRequest(name="r", raw_handle=b"x" * 64, byte_size=64))
    yield unary("empty", "CudaSharedMemoryRegister", pb.CudaSharedMemoryRegisterRequest())
    for where in ("inputs", "outputs"):
        for name, values in (("region", dict(shared_memory_region=("string_param", "r"))),
                             ("region_and_size", dict(shared_memory_region=("string_param", "r"), shared_memory_byte_size=("int64_param", 64))),
                             ("size_only", dict(shared_memory_byte_size=("int64_param", 64))),
                             ("offset_only", dict(shared_memory_offset=("int64_param", 64))),
                             ("region_number", dict(shared_memory_region=("int64_param", 1))),
                             ("size_string", dict(shared_memory_region=("string_param", "r"), shared_memory_byte_size=("string_param", "64"))),
                             ("region_and_classes", dict(shared_memory_region=("string_param", "r"), shared_memory_byte_size=("int64_param", 64),
                                                         classification=("int64_param", 1)))):
            message = simple(outputs=["OUTPUT0", "OUTPUT1"])
            with_parameters(getattr(message, where)[0], **values)
            yield infer(f"shm_{where}_{name}", message)
            if where == "inputs":
                message.raw_input_contents.pop(0)
                yield infer(f"shm_{where}_{name}_without_data", message)
                message.ClearField("raw_input_contents")
                message.inputs[1].contents.int_contents.extend(SECOND)
                yield infer(f"shm_{where}_{name}_typed_rest", message)


def streams():
    good = lambda id="": simple(id=id)
    yield stream("none")
    yield stream("one", good("a"))
    yield stream("two", good("a"), simple(id="b", rows=2))
    yield stream("no_id", good())
    yield stream("typed", simple(typed=True, id="t"))
    yield stream("unknown_model", simple("nope", id="a"))
    yield stream("unknown_model_no_id", simple("nope"))
    yield stream("unknown_version", simple(id="a", model_version="9"))
    yield stream("bad_version", simple(id="a", model_version="abc"))
    yield stream("error_between", good("a"), simple("nope", id="b"), good("c"))
    yield stream("empty_request", b"", good("after"))
    yield stream("bad_shape", changed(good("a"), lambda m: m.inputs[0].shape.__setitem__(1, 8)), good("after"))
    yield stream("bad_datatype", changed(good("a"), lambda m: setattr(m.inputs[0], "datatype", "FP32")), good("after"))
    yield stream("raw_too_few", changed(good("a"), lambda m: m.raw_input_contents.pop()), good("after"))
    yield stream("typed_and_raw", changed(good("a"), lambda m: m.inputs[0].contents.int_contents.extend(FIRST)), good("after"))
    yield stream("unknown_output", simple(id="a", outputs=["NOPE"]), good("after"))
    yield stream("outputs_twice", simple(id="a", outputs=["OUTPUT0", "OUTPUT0"]), good("after"))
    yield stream("missing_input", changed(good("a"), lambda m: (m.inputs.pop(), m.raw_input_contents.pop())), good("after"))
    yield stream("duplicate_input", changed(good("a"), lambda m: setattr(m.inputs[1], "name", "INPUT0")), good("after"))
    yield stream("reserved_parameter", with_parameters(good("a"), triton_x=("int64_param", 1)), good("after"))
    yield stream("parameter_unset", changed(good("a"), lambda m: m.parameters["x"].Clear()), good("after"))
    yield stream("model_fails", changed(simple_string_failing(), lambda m: setattr(m, "id", "a")), good("after"))
    yield stream("classes", labels(classes=2, id="a"))
    yield stream("empty_final_asked", with_parameters(good("a"), triton_enable_empty_final_response=("bool_param", True)))
    yield stream("empty_final_refused", with_parameters(good("a"), triton_enable_empty_final_response=("bool_param", False)))
    yield stream("empty_final_int", with_parameters(good("a"), triton_enable_empty_final_response=("int64_param", 1)), good("after"))
    yield stream("garbage", b"\xff\xff\xff", good("after"))
    yield stream("garbage_later", good("before"), b"\xff\xff\xff")
    yield stream("parameter_custom", with_parameters(good("a"), custom=("int64_param", 1), sequence_id=("int64_param", 5)))
    yield stream("grpc_error", simple("nope", id="a"), good("b"), metadata=(("triton_grpc_error", "true"),))
    yield stream("grpc_error_later", good("a"), simple("nope", id="b"), metadata=(("triton_grpc_error", "true"),))
    yield stream("grpc_error_bad_shape", changed(good("a"), lambda m: m.inputs[0].shape.__setitem__(1, 8)), metadata=(("triton_grpc_error", "true"),))
    yield stream("grpc_error_false", simple("nope", id="a"), metadata=(("triton_grpc_error", "false"),))
    yield stream("grpc_error_good", good("a"), good("b"), metadata=(("triton_grpc_error", "true"),))
    yield stream("grpc_error_model_fails", changed(simple_string_failing(), lambda m: setattr(m, "id", "a")), good("after"), metadata=(("triton_grpc_error", "true"),))
    yield stream("gzip", good("a"), compression=grpc.Compression.Gzip)


def decoupled():
    """For the record: Hippocamp refuses decoupled models."""
    ask = lambda *values, **options: one("decoupled", "INT32", [len(values)], ints(*values), **options)
    yield infer("decoupled", ask(1), compared=False)
    yield stream("decoupled_three", ask(1, 2, 3, id="a"), compared=False)
    yield stream("decoupled_three_final", with_parameters(ask(1, 2, 3, id="a"), triton_enable_empty_final_response=("bool_param", True)), compared=False)
    yield stream("decoupled_none", ask(id="a"), compared=False)
    yield stream("decoupled_none_final", with_parameters(ask(id="a"), triton_enable_empty_final_response=("bool_param", True)), compared=False)
    yield stream("decoupled_fails", ask(1, -1, id="a"), compared=False)


def transport():
    for level in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        yield infer(f"compressed_{level.name}", simple(), compression=level)
        yield infer(f"compressed_{level.name}_error", simple("nope"), compression=level)
        yield infer(f"compressed_{level.name}_large", one("nobatch", "FP32", [300000], bytes(1200000)), compression=level)
    yield infer("metadata_unknown", simple(), metadata=(("x-custom", "1"), ("x-bin", b"\xff\x00")))
    yield infer("deadline_long", simple(), timeout=60)
    yield infer("deadline_passed", simple(), timeout=0.000001, compared=False)  # a race


# --- Repository, logging, tracing ---


def repository():
    index = lambda name, **fields: unary(name, "RepositoryIndex", pb.RepositoryIndexRequest(**fields))
    yield index("all")
    yield index("ready", ready=True)
    yield index("named", repository_name="x")
    yield index("named_ready", repository_name="x", ready=True)
    yield unary("mode_none", "RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="simple"))
    yield unary("mode_none_unknown", "RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="nope"))
    yield unary("mode_none_named", "RepositoryModelLoad", pb.RepositoryModelLoadRequest(repository_name="x", model_name="simple"))
    yield unary("mode_none", "RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="simple"))
    yield unary("mode_none_unknown", "RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="nope"))

    def load(name, model="second", repository="", **values):
        return unary(name, "RepositoryModelLoad", with_parameters(pb.RepositoryModelLoadRequest(
            repository_name=repository, model_name=model), **values), server="explicit")

    def unload(name, model="second", repository="", **values):
        return unary(name, "RepositoryModelUnload", with_parameters(pb.RepositoryModelUnloadRequest(
            repository_name=repository, model_name=model), **values), server="explicit")

    def explicit(question):
        question.server = "explicit"
        return question

    yield explicit(index("before"))
    yield explicit(infer("not_loaded", one("second", "INT32", [1], ints(1))))
    yield explicit(infer("never_loaded_metadata", one("bad_dims", "FP32", [1], floats(1))))
    yield explicit(unary("not_loaded", "ModelMetadata", pb.ModelMetadataRequest(name="second")))
    yield explicit(unary("not_loaded", "ModelReady", pb.ModelReadyRequest(name="second")))
    yield explicit(unary("not_loaded", "ModelStatistics", pb.ModelStatisticsRequest(name="second")))
    yield load("second")
    yield explicit(index("loaded"))
    yield explicit(index("loaded_ready", ready=True))
    yield explicit(infer("loaded", one("second", "INT32", [1], ints(1))))
    yield load("again")
    yield unload("second")
    yield replace(explicit(index("unloaded")), settle=True)
    yield explicit(infer("unloaded", one("second", "INT32", [1], ints(1))))
    yield explicit(unary("unloaded", "ModelReady", pb.ModelReadyRequest(name="second")))
    yield explicit(unary("unloaded", "ModelConfig", pb.ModelConfigRequest(name="second")))
    yield unload("again")
    yield unload("unknown", "nope")
    yield unload("empty", "")
    yield load("unknown", "nope")
    yield load("empty", "")
    yield load("traversal", "../simple")
    yield load("slash", "simple/1")
    yield load("named", repository="x")
    yield unload("named", repository="x")
    for model in ("no_version", "bad_dims", "bad_text", "bad_name"):
        yield load(model, model)
    yield explicit(index("after_failures"))
    yield explicit(unary("after_failures", "ServerReady", pb.ServerReadyRequest()))
    yield load("parameter_unknown", foo=("string_param", "x"))
    yield load("parameter_unknown_bool", foo=("bool_param", True))
    for kind, value in (("bool_param", True), ("int64_param", 1), ("bytes_param", b"{}")):
        yield load(f"config_{kind}", config=(kind, value))
        yield load(f"file_{kind}", **{"file:1/model.onnx": ("string_param", "x") if kind == "bytes_param" else (kind, value)})
        yield unload(f"dependents_{kind}", unload_dependents=(kind, value))
    yield unload("dependents_string", unload_dependents=("string_param", "true"))
    yield unload("parameter_unknown", foo=("bool_param", True))
    yield load("config_bad_text", config=("string_param", "no JSON"))
    yield load("config_empty", config=("string_param", ""))
    yield load("config_unknown_field", config=("string_param", '{"nonsense": 1}'))
    yield load("config_not_object", config=("string_param", "[]"))
    yield load("file_without_config", **{"file:1/model.onnx": ("bytes_param", b"x")})
    message = pb.RepositoryModelLoadRequest(model_name="second")
    message.parameters["config"].Clear()
    yield unary("config_unset", "RepositoryModelLoad", message, server="explicit")
    yield unary("garbage", "RepositoryModelLoad", b"\xff", server="explicit")
    yield explicit(index("after_all"))


def settings():
    """Changes nothing that outlasts it, on a server of its own."""
    def log(name, **values):
        message = pb.LogSettingsRequest()
        for key, (kind, value) in values.items():
            setattr(message.settings[key], kind, value)
        return unary(name, "LogSettings", message, server="explicit")

    yield log("get")
    yield log("set", log_verbose_level=("uint32_param", 1), log_info=("bool_param", False))
    yield log("get_changed")
    yield log("set_back", log_verbose_level=("uint32_param", 0), log_info=("bool_param", True))
    yield log("file", log_file=("string_param", "/tmp/x"))
    yield log("file_empty", log_file=("string_param", ""))
    yield log("format_iso", log_format=("string_param", "ISO8601"))
    yield log("format_default", log_format=("string_param", "default"))
    yield log("format_bad", log_format=("string_param", "nope"))
    yield log("unknown", nonsense=("bool_param", True))
    yield log("unknown_and_known", nonsense=("bool_param", True), log_info=("bool_param", True))
    for key in ("log_info", "log_warning", "log_error", "log_verbose_level", "log_format", "log_file"):
        for kind, value in (("bool_param", True), ("uint32_param", 0), ("string_param", "true" if key != "log_format" else "default")):
            if key == "log_file" and kind == "string_param":
                continue
            yield log(f"{key}_{kind}", **{key: (kind, value)})
        message = pb.LogSettingsRequest()
        message.settings[key].Clear()
        yield unary(f"{key}_unset", "LogSettings", message, server="explicit")
    yield log("verbose_large", log_verbose_level=("uint32_param", 2**32 - 1))
    yield log("restore", log_verbose_level=("uint32_param", 0))
    yield log("get_after")

    def trace(name, model="", **values):
        message = pb.TraceSettingRequest(model_name=model)
        for key, those in values.items():
            message.settings[key].value.extend(those if isinstance(those, list) else [those])
        return unary(name, "TraceSetting", message, server="explicit")

    yield trace("get")
    yield trace("get_model", "simple")
    yield trace("get_unknown_model", "nope")
    yield trace("get_unloaded_model", "second")
    yield trace("rate", trace_rate="5")
    yield trace("rate_model", "simple", trace_rate="7")
    yield trace("get_changed")
    yield trace("get_model_changed", "simple")
    yield trace("rate_reset_model", "simple", trace_rate=[])
    yield trace("rate_reset", trace_rate=[])
    for key in ("trace_rate", "trace_count", "log_frequency"):
        for shown, value in (("word", "x"), ("empty", ""), ("negative", "-1"), ("zero", "0"), ("two", ["1", "2"]), ("fraction", "1.5"),
                             ("suffix", "5x"), ("large", str(BIG)), ("none", [])):
            yield trace(f"{key}_{shown}", **{key: value})
    for shown, value in (("off", "OFF"), ("timestamps", "TIMESTAMPS"), ("tensors", "TENSORS"), ("both", ["TIMESTAMPS", "TENSORS"]),
                         ("off_and", ["OFF", "TIMESTAMPS"]), ("lower", "off"), ("unknown", "NOPE"), ("empty", ""), ("none", []),
                         ("min", "MIN"), ("max", "MAX")):
        yield trace(f"level_{shown}", trace_level=value)
    yield trace("file", trace_file="/tmp/hippocamp_trace")
    yield trace("mode", trace_mode="opentelemetry")
    yield trace("mode_triton", trace_mode="triton")
    yield trace("unknown_key", nonsense="1")
    yield trace("unknown_model_set", "nope", trace_rate="5")
    yield trace("restore", trace_level="OFF", trace_rate=[], trace_count=[], log_frequency=[])
    yield trace("get_after")


# --- HTTP ---


def http_requests():
    infer_path = "/v2/models/simple/infer"
    yield post("json", document())
    yield post("id", document(id="an id"))
    yield post("id_number", document(id=5))
    for name, body in (("not_json", b"nonsense"), ("empty_object", b"{}"), ("list", b"[]"), ("trailing", encode(document()) + b"x"),
                       ("inputs_object", b'{"inputs":{}}'), ("inputs_string", b'{"inputs":"x"}'), ("inputs_empty", b'{"inputs":[]}'),
                       ("empty_body", b"")):
        yield post(name, body)
    two = document()["inputs"]
    for key in ("name", "datatype", "shape", "data"):
        yield post(f"without_{key}", document([{k: v for k, v in two[0].items() if k != key}, two[1]]))

    def first(what, **members):
        yield post(what, document([{**two[0], **members}, two[1]]))

    yield from first("dim_negative", shape=[-1, 16])
    yield from first("dim_string", shape=["1", 16])
    yield from first("dim_fraction", shape=[1.0, 16])
    yield from first("shape_wrong", shape=[1, 8], data=FIRST[:8])
    yield from first("shape_flat", shape=[16])
    yield from first("shape_number", shape=16)
    yield from first("rows_differ", shape=[2, 16], data=FIRST * 2)
    yield from first("datatype_other", datatype="FP32")
    yield from first("datatype_unknown", datatype="INT")
    yield from first("datatype_number", datatype=5)
    yield from first("datatype_string", datatype="STRING")
    yield from first("data_short", data=FIRST[:15])
    yield from first("data_long", data=FIRST + [1])
    yield from first("data_scalar", data=5)
    yield from first("data_strings", data=["1"] * 16)
    yield from first("data_fraction", data=[1.5] * 16)
    yield from first("data_bool", data=[True] * 16)
    yield from first("data_null", data=[None] * 16)
    yield from first("data_large", data=[2**40] * 16)
    yield from first("data_nested", data=[[1], [2, 3], [[4, 5], 6]] + list(range(10)))
    yield from first("data_and_binary", parameters={"binary_data_size": 64})
    yield from first("name_other", name="X")
    yield from first("name_twice", name="INPUT1")
    yield post("one_input", document(two[:1]))
    yield post("three_inputs", document([*two, {**two[0], "name": "X"}]))
    yield post("nine_rows", document([{**each, "shape": [9, 16], "data": each["data"] * 9} for each in two]))
    yield post("huge_shape", document([{**each, "shape": [2**62, 16]} for each in two]))
    yield post("unknown_members", document([{**two[0], "more": 1}, two[1]], more={"a": [1]}))
    yield post("unknown_output", document(outputs=[{"name": "NOPE"}]))
    yield post("outputs_twice", document(outputs=[{"name": "OUTPUT0"}, {"name": "OUTPUT0"}]))
    yield post("outputs_reversed", document(outputs=[{"name": "OUTPUT1"}, {"name": "OUTPUT0"}]))
    yield post("outputs_empty", document(outputs=[]))
    yield post("output_binary", document(outputs=[{"name": "OUTPUT0", "parameters": {"binary_data": True}}, {"name": "OUTPUT1"}]))
    yield post("outputs_binary", document(parameters={"binary_data_output": True}))
    for key, value in (("custom", 1), ("custom", "x"), ("custom", True), ("custom", 1.5), ("custom", [1]), ("custom", {}), ("custom", None),
                       ("triton_x", 1), ("triton_enable_empty_final_response", True), ("sequence_id", 5), ("sequence_id", "x"),
                       ("sequence_id", -1), ("sequence_id", 1.5), ("sequence_start", 1), ("priority", 1), ("priority", -1), ("priority", "x"),
                       ("timeout", 0), ("timeout", "x"), ("timeout", -5)):
        yield post(f"parameter_{key}_{value}", document(parameters={key: value}))
    binary = [{k: v for k, v in each.items() if k != "data"} | {"parameters": {"binary_data_size": 64}} for each in two]
    data = ints(*FIRST) + ints(*SECOND)
    yield post("binary", document(binary), tail=data)
    yield post("binary_short", document(binary), tail=data[:-20])
    yield post("binary_long", document(binary), tail=data + b"more")
    yield post("binary_wrong_size", document([{**binary[0], "parameters": {"binary_data_size": 60}}, binary[1]]), tail=data[:-4])
    for length in ("abc", "-1", "999999", "", "1.5"):
        yield post(f"header_length_{length}", document(), headers={"Inference-Header-Content-Length": length})
    yield post("raw", floats(1, 2, 3), "/v2/models/nobatch/infer", headers={"Inference-Header-Content-Length": "0"})
    yield post("raw_bytes", b"text", "/v2/models/bytes_one/infer", headers={"Inference-Header-Content-Length": "0"})
    yield post("raw_bytes_variable", b"text", "/v2/models/identity_BYTES/infer", headers={"Inference-Header-Content-Length": "0"})
    yield post("raw_matrix", floats(1, 2, 3), "/v2/models/matrix/infer", headers={"Inference-Header-Content-Length": "0"})
    yield post("raw_two_inputs", bytes(128), headers={"Inference-Header-Content-Length": "0"})
    yield post("raw_odd_size", b"12345", "/v2/models/nobatch/infer", headers={"Inference-Header-Content-Length": "0"})
    body = encode(document())
    yield post("gzip", gzip.compress(body), headers={"Content-Encoding": "gzip"})
    yield post("deflate", zlib.compress(body), headers={"Content-Encoding": "deflate"})
    yield post("brotli", body, headers={"Content-Encoding": "br"})
    yield post("gzip_corrupt", b"\x1f\x8bnonsense", headers={"Content-Encoding": "gzip"})
    for datatype in ("FP16", "BF16"):
        yield post(f"json_{datatype}", document([{"name": "INPUT0", "datatype": datatype, "shape": [1, 1], "data": [1]}]), f"/v2/models/identity_{datatype}/infer")
        size = {"binary_data_size": 2}
        yield post(f"json_out_{datatype}", document([{"name": "INPUT0", "datatype": datatype, "shape": [1, 1], "parameters": size}]),
                   f"/v2/models/identity_{datatype}/infer", tail=b"\x00\x3c")
        yield post(f"binary_{datatype}", document([{"name": "INPUT0", "datatype": datatype, "shape": [1, 1], "parameters": size}],
                                                  parameters={"binary_data_output": True}), f"/v2/models/identity_{datatype}/infer", tail=b"\x00\x3c")
    for datatype in ("UINT8", "INT8", "UINT64", "INT64", "FP32", "FP64", "BOOL"):
        yield post(f"json_{datatype}", document([{"name": "INPUT0", "datatype": datatype, "shape": [1, 3], "data": VALUES[datatype]}]), f"/v2/models/identity_{datatype}/infer")
        for name, value in (("negative", -1), ("fraction", 1.5), ("string", "1"), ("bool", True), ("null", None), ("large", 300), ("number", 1)):
            yield post(f"json_{datatype}_{name}", document([{"name": "INPUT0", "datatype": datatype, "shape": [1, 1], "data": [value]}]), f"/v2/models/identity_{datatype}/infer")
    yield post("json_special", b'{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[3],"data":[NaN,Infinity,-Infinity]}]}', "/v2/models/nobatch/infer")
    text = {"name": "INPUT0", "datatype": "BYTES", "shape": [1, 2]}
    yield post("json_BYTES", document([{**text, "data": ["a", "\u00e9\n"]}]), "/v2/models/identity_BYTES/infer")
    yield post("json_BYTES_number", document([{**text, "data": [1, 2]}]), "/v2/models/identity_BYTES/infer")
    yield post("json_BYTES_short", document([{**text, "data": ["a"]}]), "/v2/models/identity_BYTES/infer")
    yield post("json_BYTES_long", document([{**text, "data": ["a", "b", "c"]}]), "/v2/models/identity_BYTES/infer")
    for name, tail in (("good", strings(b"a", b"bc")), ("one", strings(b"a")), ("three", strings(b"a", b"b", b"c")), ("cut", strings(b"a", b"bcd")[:-1]),
                       ("length_cut", strings(b"a") + b"\x01\x00")):
        yield post(f"binary_BYTES_{name}", document([{**text, "parameters": {"binary_data_size": len(tail)}}], parameters={"binary_data_output": True}),
                   "/v2/models/identity_BYTES/infer", tail=tail)
    numbers = {"name": "INPUT0", "datatype": "FP32", "shape": [1, 4], "data": [0.25, 4.5, -1, 2]}
    for classes in (1, 3, 4, 9, 0, -1, "1", 1.5, True, 2**40):
        yield post(f"classes_{classes!r}", document([numbers], outputs=[{"name": "OUTPUT0", "parameters": {"classification": classes}}]), "/v2/models/labels/infer")
    for path in ("/v2/models/nope/infer", "/v2/models/simple/versions/9/infer", "/v2/models/simple/versions/0/infer",
                 "/v2/models/simple/versions/1/infer", "/v2/models/simple/versions/abc/infer", f"/v2/models/simple/versions/{BIG}/infer",
                 "/v2/models/decoupled/infer"):
        if "decoupled" not in path:
            yield post(f"path {path}", document(), path)
    for path in ("/v2", "/v2/", "/v2/health/live", "/v2/health/ready", "/v2/models", "/v2/models/", "/v2/models/simple", "/v2/models/simple/",
                 "/v2/models/simple/versions/1", "/v2/models/simple/versions/9", "/v2/models/nope", "/v2/models/simple/ready", "/v2/models/nope/ready",
                 "/v2/models/simple/versions/9/ready", "/v2/models/simple/config", "/v2/models/nope/config", "/v2/models/simple/versions/9/config",
                 "/v2/models/nope/stats", "/v2/models/simple/versions/9/stats", f"/v2/models/simple/versions/{BIG}", "/v2/models/versions",
                 "/v2/models/versions/versions/1", "/v2/nope", "/", "/v2/models/labels", "/v2/models/labels/config", "/v2/models/simple?x=1"):
        yield http(f"get {path}", path)
    for path, body in (("/v2/repository/index", b""), ("/v2/repository/index", b'{"ready":true}'), ("/v2/repository/index", b'{"ready":"x"}'),
                       ("/v2/repository/index", b"nonsense"), ("/v2/repository/x/index", b""),
                       ("/v2/repository/models/simple/load", b""), ("/v2/repository/models/simple/unload", b""),
                       ("/v2/repository/x/models/simple/load", b""), ("/v2/health/live", b""), ("/v2/models/simple", b"{}"), ("/v2", b"")):
        yield http(f"post {path} {body.decode()}", path, body, "POST")
    for method in ("DELETE", "PUT", "HEAD", "OPTIONS"):
        yield http(f"{method} infer", infer_path, None, method)
    for path in ("/v2/systemsharedmemory/status", "/v2/systemsharedmemory/region/r/status", "/v2/cudasharedmemory/status", "/v2/cudasharedmemory/region/r/status"):
        yield http(f"get {path}", path)
    for path in ("/v2/systemsharedmemory/unregister", "/v2/systemsharedmemory/region/r/unregister", "/v2/cudasharedmemory/unregister", "/v2/cudasharedmemory/region/r/unregister"):
        yield http(f"post {path}", path, b"", "POST")
    yield http("cuda register", "/v2/cudasharedmemory/region/r/register",
               {"raw_handle": {"b64": base64.b64encode(b"x" * 64).decode()}, "device_id": 0, "byte_size": 64})
    yield http("system register", "/v2/systemsharedmemory/region/r/register", {"key": "/hippocamp_absent", "offset": 0, "byte_size": 64})
    yield http("system register no key", "/v2/systemsharedmemory/region/r/register", {"offset": 0, "byte_size": 64})
    yield http("log get", "/v2/logging", server="explicit")
    for body in ({}, {"log_verbose_level": 0}, {"log_file": "/tmp/x"}, {"log_format": "x"}, {"log_info": "x"}, {"nope": 1}, {"log_verbose_level": -1}):
        yield http(f"log post {json.dumps(body)}", "/v2/logging", body, server="explicit")
    yield http("trace get", "/v2/trace/setting", server="explicit")
    yield http("trace get model", "/v2/models/simple/trace/setting", server="explicit")
    yield http("trace get unknown model", "/v2/models/nope/trace/setting", server="explicit")
    for body in ({}, {"trace_rate": "5"}, {"trace_rate": None}, {"trace_rate": 5}, {"trace_rate": "x"}, {"trace_level": ["OFF"]},
                 {"trace_level": ["TIMESTAMPS"]}, {"trace_file": "x"}, {"nope": "1"}):
        yield http(f"trace post {json.dumps(body)}", "/v2/trace/setting", body, server="explicit")
    yield http("trace post nothing", "/v2/trace/setting", b"", "POST", server="explicit")
    load = "/v2/repository/models/second/load"
    yield http("load", load, b"", "POST", server="explicit")
    yield http("load again", load, b"{}", "POST", server="explicit")
    yield http("unload", "/v2/repository/models/second/unload", b"", "POST", server="explicit")
    yield http("index after unload", "/v2/repository/index", b"", "POST", server="explicit", settle=True)
    for body in ({"parameters": {"foo": 1}}, {"parameters": {"config": 1}}, {"parameters": {"config": "x"}}, {"parameters": []}):
        yield http(f"load {json.dumps(body)}", load, body, server="explicit")
    for model in ("nope", "bad_dims", "bad_text", "bad_name", "no_version"):
        yield http(f"load {model}", f"/v2/repository/models/{model}/load", b"", "POST", server="explicit")
    yield http("load named", "/v2/repository/x/models/second/load", b"", "POST", server="explicit")
    yield http("ready after failures", "/v2/health/ready", server="explicit")


def written():
    for question in all_written():
        question.whole = question.whole or any(word in question.name for word in WHOLE)
        yield question


# Without its trace manager, the front end of 2.73 dies of the first; its core is too old for decoupled models.
WHOLE = ("TraceSetting", "trace", "SharedMemory", "sharedmemory", "/shm_", "decoupled", "system register", "cuda register")


def all_written():
    for part in (health, statistics, parameters_of_replies, shapes_and_types, decoding, outputs_and_parameters, shared_memory, streams,
                 decoupled, transport, repository, settings, http_requests):
        yield from part()
