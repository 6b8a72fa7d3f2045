"""The differences that are meant to stay: what Hippocamp answers otherwise than Triton, on purpose.

A difference that is not here fails the test. So does an entry here that no question shows any more.
"""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(eq=False)
class Difference:
    reason: str
    question: str = "*"       # fnmatch of the question's name
    aspect: str = "*"         # fnmatch of what differs: code, text, a path in the reply, or a header
    theirs: str = ""          # regular expressions, found in the values
    ours: str = ""
    beside: str = "*"         # which of the real servers: triton (2.51), front_end (2.73)
    without: str = ""         # regular expression: without what it matches, the values are equal

    def covers(self, server, question, aspect, theirs, ours):
        return (fnmatchcase(server, self.beside) and fnmatchcase(question, self.question) and fnmatchcase(aspect, self.aspect)
                and re.search(self.theirs, theirs) is not None and re.search(self.ours, ours) is not None
                and (not self.without or re.sub(self.without, "", theirs) == re.sub(self.without, "", ours)))


BACKEND = "the model runs in another backend: Triton here has the python backend only"
TRACE = "Hippocamp has no tracing: what asks for it is refused, and what asks for the settings gets Triton's defaults"
SHM = "Hippocamp has no shared memory"
OLD_CORE = "the core here is of 2.51; 2.73 refuses it, as protocol.md says"
OLD_END = "Hippocamp answers as 2.73 does"
EXTRA = "Hippocamp has the method, Triton does not"
VERSION = "a version is a number, and nothing stands before or after it; Triton reads it with std::stol"
BATCH = "Triton's count of a batch of 0, below 0 or of 2^31 and more is wrong, and what it says of it by accident; it is refused"
OVERFLOW = "Triton reckons with numbers that have overflowed, or are below 0; the texts say what is wrong, 2.73's where it has one"
UNORDERED = "Triton goes through inputs, outputs and parameters in the order of a hash table, Hippocamp in the model's or the message's"
HASHED = (r"data-type is|unexpected shape|input byte size mismatch|string elements|unexpected inference output"
          r"|parameter keys starting with|for '\w+' parameter, expected")
FAULTS = "there are several faults, and each server tells the first it finds"
GARBAGE = "protobuf's C++ parser drops fields of known numbers with wrong types, and groups; no client sends any"
STREAM_GARBAGE = "what is no message is answered with an error, as others are; Triton ends the stream as if the client had"
COUNT = "one message, neither none nor two: gRPC's specification asks for UNIMPLEMENTED"
UINT64 = "uint64_param is a number like others; Triton takes it for priority only"
ROWS = "rows are cached one by one: a request of rows that are all known is a hit"
FAILURE = "the text of the model's own failure, which comes from what runs it"
PYTHON_FAILURE = "Triton's python backend counts a run that raised an exception as a success"
LOAD = "a text that tells more: Triton says the rest in its log only"
INDEX = "what cannot be loaded stays in the index, with its version and the reason"
CLASSES = "a number of classes beyond 2^32 means all; Triton cuts off the upper bits"
COUNTED = "what the cache has answered is not counted behind it"
JSON_PLACE = "another JSON parser counts the place of the fault otherwise"

MEANT = [
    Difference(BACKEND, "grpc/ModelConfig/*", ".config.backend"),
    Difference(BACKEND, "grpc/ModelConfig/*", ".config.platform"),
    Difference(BACKEND, "grpc/ModelConfig/*", ".config.default_model_filename"),
    Difference(BACKEND, "grpc/ModelMetadata/*", ".platform"),
    Difference(BACKEND, "http/get */config", ".backend"),
    Difference(BACKEND, "http/get */config", ".platform"),
    Difference(BACKEND, "http/get */config", ".default_model_filename"),
    Difference(BACKEND, "http/get /v2/models/*", ".platform"),
    Difference("the versions of two programs", "http/get /v2", ".version"),
    Difference("the versions of two programs", "grpc/ServerMetadata/*", ".version"),
    Difference("only what there is is listed", "http/get /v2", ".extensions[[]*", "True", "absent"),
    Difference("only what there is is listed", "grpc/ServerMetadata/*", ".extensions[[]*", "True", "absent"),
    Difference("max_batch_size 0 is written, not left out: the same to every reader", "grpc/ModelConfig/*", ".(bytes of other fields)", "absent", "^2$"),

    # Methods, and messages that are none
    Difference(EXTRA, "grpc/Watch", "code", "UNIMPLEMENTED", "DEADLINE_EXCEEDED"),
    Difference(EXTRA, "grpc/reflection", "code", "UNIMPLEMENTED", "OK"),
    Difference("HTTP has OPTIONS; clients in browsers ask", "http/OPTIONS infer", "code", "^405", "^200"),
    Difference("a text that tells more", "grpc/*/unknown_*", "text", "^$", "no such method"),
    Difference(COUNT, "grpc/*/no_message", "code", "^INTERNAL", "^UNIMPLEMENTED the call has no request message"),
    Difference(COUNT, "grpc/*/two_messages", "code", "^OK", "^UNIMPLEMENTED the call has more than one request message"),
    Difference(GARBAGE, "grpc/*/*wrong_*type", "code", "^OK", "^INTERNAL Unable to parse request"),
    Difference(GARBAGE, "grpc/*bytes_*", "code", "^(OK|NOT_FOUND|INVALID_ARGUMENT)", "^INTERNAL Unable to parse request"),
    Difference(FAULTS, "grpc/mutation/*_bytes_*", "code", "^INTERNAL Unable to parse request", "^(NOT_FOUND|INVALID_ARGUMENT)"),
    Difference(STREAM_GARBAGE, "grpc/ModelStreamInfer/garbage*", "*", r"absent|^\[\]$"),
    Difference(STREAM_GARBAGE, "grpc/mutation/*_bytes_*", "", r"^\[\]$", "absent"),
    Difference(STREAM_GARBAGE, "grpc/mutation/*_bytes_*", "[[]0].error_message", "absent"),
    Difference(STREAM_GARBAGE, "grpc/mutation/*_bytes_*", "[[]0].infer_response*", "absent"),

    # Versions and shapes
    Difference(VERSION, "grpc/Model*", "code", "^OK", r"^INVALID_ARGUMENT failed to get model version from specified version string '[ +]?1"),
    Difference(VERSION, "grpc/mutation/*", "*", "", r"failed to get model version from specified version string '1 '"),
    Difference(BATCH, "grpc/ModelInfer/shapes_*", "code", "^INTERNAL batch size 16 for", "inference request batch-size must be <= 8"),
    Difference(BATCH, "grpc/ModelInfer/shapes_*", "text", "byte size mismatch|unexpected shape|batch size does not match", "inference request batch-size must be <= 8"),
    Difference(BATCH, "grpc/mutation/*_fields_*", "*", "byte size mismatch|unexpected shape|batch size|string elements|^OK", "batch-size must be <= 8|batch size does not match"),
    Difference(OVERFLOW, "grpc/*", "*", "byte size mismatch|string elements|^OK",
               r"causes total element count to exceed|byte size overflow|All input dimensions should be specified|Expected \d{19}"),
    Difference("2.51 has no check of it", "http/infer/huge_shape", "text", "byte size mismatch", "causes total element count to exceed", "triton"),
    Difference("shapes of more than 32 dimensions are refused sooner", "grpc/ModelInfer/shape*_many*", "text", "unexpected shape", "more than 32 dimensions"),
    Difference("a space at the end of a text, where a note follows with other models", "*", "*", r"Expected \[[-\d,]*\], got \[[-\d,]*\]\. $", without=" $"),
    Difference(UNORDERED, "grpc/ModelInfer/shapes_*", "text", "INPUT1", "INPUT0", without=r"INPUT\d"),
    Difference(UNORDERED, "grpc/mutation/*_fields_*", "*", HASHED, HASHED),
    Difference(UNORDERED + "; and it misprints an empty list", "*three_inputs*", "text", "missing required input", "missing required input"),
    Difference(UNORDERED + "; and it misprints an empty list", "grpc/mutation/*", "*", "missing required input", "missing required input"),

    # Parameters and outputs
    Difference(UINT64, "grpc/ModelInfer/parameter_*_uint64_param", "code", r"expected int64_param, bool_param, or string_param\.$", "^OK"),
    Difference(UINT64, "grpc/mutation/*_fields_*", "*", r"expected int64_param, bool_param, or string_param\.$"),
    Difference("each value of a map's key is checked, if a message has it twice; no client sends that", "grpc/ModelInfer/parameter_key_twice", "code", "^OK", "invalid value type for 'a'"),
    Difference(CLASSES, "grpc/ModelInfer/classes_4294967298", ".outputs[[]0].shape[[]1]", "2", "4"),
    Difference(CLASSES, "grpc/ModelInfer/classes_4294967298", ".raw_output_contents[[]0]"),
    Difference(CLASSES, "http/infer/classes_1099511627776", ".outputs[[]0].data*"),
    Difference("2.51 dies of it", "grpc/*", "code", "^CRASH", "class result not available for output due to unsupported type 'BYTES'", "triton"),
    Difference(OLD_CORE, "http/infer/outputs_twice", "code", "^200", "^400 output 'OUTPUT0' already exists"),
    Difference(OLD_CORE, "grpc/*", "code", "^OK", r"^INVALID_ARGUMENT output '\w+' already exists"),
    Difference(OLD_CORE, "grpc/ModelStreamInfer/outputs_twice", "[[]0].*", ours="absent|output 'OUTPUT0' already exists"),

    # HTTP
    Difference(JSON_PLACE, "http/*", "text", r"Invalid value\. at \d+$", r"Invalid value\. at \d+$", without=r"\d+$"),
    Difference("a length is a number, with nothing behind it", "http/infer/header_length_1.5", "code", "^500 failed to parse", "^400 Unable to parse Inference-Header-Content-Length, got: 1.5"),
    Difference("white space around a value is no part of it", "http/infer/header_length_", "text", "^Unable to parse", "^Unable to parse", without=" +$", beside="front_end"),
    Difference(OLD_END, "http/infer/header_length_*", "text", "Raw request must only have 1 input", "^Unable to parse Inference-Header-Content-Length", "triton"),
    Difference(OLD_END, "http/infer/data_short", "text", "^Unable to parse 'data'", "^Failed to parse 'data' field", "triton"),
    Difference(OLD_END, 'http/post /v2/repository/index {"ready":"x"}', "code", "^500", "^400 Invalid value for 'ready'", "triton"),
    Difference("a text that tells more", "http/infer/gzip_corrupt", "text", "Raw request", "failed to decompress"),
    Difference("a name that the client knows instead of Triton's own 'raw_input'", "http/infer/raw_odd_size", "text", "'raw_input'", "'INPUT0'"),

    # Failing models, statistics
    Difference(FAILURE, "grpc/ModelInfer/*fail*", "text", ours="^onnx runtime error"),
    Difference(FAILURE, "grpc/ModelStreamInfer/model_fails", "[[]0].error_message", ours="^onnx runtime error"),
    Difference(FAILURE, "grpc/ModelStreamInfer/grpc_error_model_fails", "text", ours="^onnx runtime error"),
    Difference(PYTHON_FAILURE, "grpc/ModelStatistics/*", ".model_stats[[]gather:1].*"),
    *(Difference(ROWS, question, f"*[[]counted_cached:1].{aspect}")
      for question in ("grpc/ModelStatistics/*", "http/stats/*")
      for aspect in ("batch_stats[[]1].*", "execution_count", "inference_count", "inference_stats.cache_*.count", "inference_stats.compute_*.count")),

    # The repository
    Difference(LOAD, "grpc/RepositoryModelLoad/*", "text", "failed to poll from model repository$", "failed to poll from model repository: "),
    Difference(LOAD, "http/load *", "text", "failed to poll from model repository$", "failed to poll from model repository: "),
    Difference(LOAD, "*no_version", "text", r"version policy of model 'no_version'\n$", "version policy of model 'no_version': 'FOLDER' has no folder"),
    Difference(LOAD, "*bad_dims", "code", "failed to poll from model repository$", "dimension must be integer >= 1"),
    Difference(LOAD, "*file_without_config", "code", "failed to poll from model repository$", "override model directory requires 'config' parameter"),
    Difference(INDEX, "grpc/RepositoryIndex/after_*", "*[[]bad_dims:*"),
    Difference(INDEX, "grpc/RepositoryIndex/after_*", "*[[]no_version:*", "absent"),
    Difference(INDEX, "http/index after unload", "*[[]bad_dims:*"),
    Difference(INDEX, "http/index after unload", "*[[]no_version:*", "absent"),

    # Settings, shared memory
    Difference("100 is the highest level; Triton's number overflows", "grpc/LogSettings/verbose_large", "*.uint32_param", ours="100"),
    Difference(TRACE, "grpc/TraceSetting/*", "code", ours="^UNIMPLEMENTED tracing is not supported"),
    Difference(TRACE, "grpc/TraceSetting/file", "text", ours="^tracing is not supported"),
    Difference(TRACE, "grpc/TraceSetting/get_*changed", ".settings.trace_rate.*", ours="1000"),
    Difference("a model of the repository has trace settings, loaded or not", "grpc/TraceSetting/get_unloaded_model", "code", "unknown model", "^OK"),
    Difference(TRACE, "http/trace *", "code", ours="501 tracing is not supported"),
    Difference(TRACE, "http/trace post*trace_file*", "text", ours="tracing is not supported"),
    Difference(SHM, "grpc/SystemSharedMemoryRegister/*", "code", ours="^UNIMPLEMENTED shared memory is not supported"),
    Difference(SHM, "grpc/ModelInfer/shm_*", "*", "shared memory|shared_memory", "^UNIMPLEMENTED shared memory is not supported"),
    Difference(SHM + ": its other parameters are ignored", "grpc/ModelInfer/shm_*_only*", "*", "can not be specified without 'shared_memory_region'", "^OK|unable to find data"),
    Difference(SHM, "http/system register*", "code", ours="501"),
    Difference("Triton's text without GPUs, as protocol.md has it; the one here is built for them", "*/CudaSharedMemoryRegister/*", "text", "invalid args", "GPUs not supported"),
    Difference("Triton's text without GPUs, as protocol.md has it; the one here is built for them", "http/cuda register", "text", "invalid args", "GPUs not supported"),
]

# What Hippocamp in front of a Triton answers otherwise than that Triton.
THROUGH = [
    Difference(COUNT, "grpc/*/no_message", "code", "INTERNAL Unable to parse|CANCELLED", "UNIMPLEMENTED the call has no request"),
    Difference(COUNT, "grpc/*/two_messages", "code", "^OK|CANCELLED", "UNIMPLEMENTED the call has more than one"),
    Difference(COUNTED, "grpc/ModelStatistics/*", ".model_stats*"),
    Difference(COUNTED, "http/stats/counted*", "*model_stats*"),
]
