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

    def covers(self, server, question, aspect, theirs, ours):
        return (fnmatchcase(server, self.beside) and fnmatchcase(question, self.question) and fnmatchcase(aspect, self.aspect)
                and re.search(self.theirs, theirs) is not None and re.search(self.ours, ours) is not None)


BACKEND = "the model runs in another backend: Triton here has the python backend only"
TRACE = "Hippocamp has no tracing; protocol.md asks that GET and POST do not fail: to be removed when they do not"
SHM = "Hippocamp has no shared memory"
OLD_CORE = "the core here is of 2.51; 2.73 refuses it, as protocol.md says"

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
    Difference(OLD_CORE, "http/infer/outputs_twice", "code", "^200", "^400 output 'OUTPUT0' already exists"),
    Difference(TRACE, "http/trace *", "code", ours="501 tracing is not supported"),
    Difference(TRACE, "http/trace post*trace_file*", "text", ours="tracing is not supported"),
    Difference(SHM, "http/system register*", "code", ours="501"),
    Difference("a text that tells more", "http/infer/gzip_corrupt", "text", "Raw request", "failed to decompress"),
    Difference("a name that the client knows instead of Triton's own 'raw_input'", "http/infer/raw_odd_size", "text", "'raw_input'", "'INPUT0'"),
    Difference("Triton names the inputs in the order of a hash table, and misprints an empty list", "*three_inputs*", "text", "missing required input", "missing required input"),
]
