"""Asks one server one question, over gRPC or HTTP, as bytes, and says what came back."""

import http.client
import json
import struct
import time
from dataclasses import dataclass, field

import grpc
import tritonclient.grpc.service_pb2 as pb
from google.protobuf import json_format

from servers import HOST

SERVICE = "/inference.GRPCInferenceService/"
TIME_LIMIT = 20


@dataclass
class Question:
    name: str
    rpc: str = ""                # gRPC: the method, with its service unless it is the inference service
    messages: list = None        # serialised requests
    shape: str = "unary"         # unary; stream: bidirectional; count: as a unary method, with any number of messages
    metadata: tuple = ()
    compression: object = None
    timeout: float = TIME_LIMIT
    path: str = ""               # HTTP
    method: str = "POST"
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    server: str = "main"         # or explicit: whose models are loaded on request
    compared: bool = True        # otherwise only recorded
    whole: bool = False          # only of a whole tritonserver: the ends of 2.73 here have no tracing and shared memory
    settle: bool = False         # repeat until two answers in a row are equal: the server works on, after it answered


@dataclass
class Answer:
    code: str
    text: str = ""
    reply: object = None         # the parsed message, or a list of them, or the JSON document
    metadata: dict = field(default_factory=dict)

    def __str__(self):
        parts = [self.code, repr(self.text) if self.text else ""]
        if self.reply is not None:
            shown = json.dumps(self.reply)
            parts.append(shown if len(shown) < 1500 else shown[:1500] + "…")
        return " ".join(part for part in parts if part)


REPLIES = {name.removesuffix("Response"): getattr(pb, name) for name in dir(pb) if name.endswith("Response")}
REPLIES["ModelStreamInfer"] = pb.ModelStreamInferResponse


class Health:
    """grpc.health.v1.HealthCheckResponse, of which no package here has the stubs: one enum, in field 1."""

    @staticmethod
    def parse(data):
        names = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
        return {"status": names[data[1] if data else 0]}


def parse(rpc, data):
    if rpc.startswith("/grpc.health"):
        return Health.parse(data)
    if rpc not in REPLIES:
        return {"bytes": data.hex()}
    message = REPLIES[rpc].FromString(data)
    document = json_format.MessageToDict(message, preserving_proto_field_name=True)
    if message.ByteSize() != len(data):
        document["(bytes of other fields)"] = len(data) - message.ByteSize()
    return document


def identity(data):
    return data


def ask_grpc(server, question):
    path = question.rpc if question.rpc.startswith("/") else SERVICE + question.rpc
    with grpc.insecure_channel(f"{HOST}:{server.grpc_port}", options=[
            ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]) as channel:
        options = {"metadata": question.metadata or None, "timeout": question.timeout,
                   "compression": question.compression}
        kinds = {"unary": channel.unary_unary, "count": channel.stream_unary, "stream": channel.stream_stream}
        call = kinds[question.shape](path, request_serializer=identity, response_deserializer=identity)
        replies = []
        try:
            if question.shape == "stream":
                handle = call(iter(question.messages), **options)
                for data in handle:
                    replies.append(parse(question.rpc, data))
                return Answer("OK", "", replies, metadata(handle))
            argument = question.messages[0] if question.shape == "unary" else iter(question.messages)
            data, handle = call.with_call(argument, **options)
            return Answer("OK", "", parse(question.rpc, data), metadata(handle))
        except grpc.RpcError as error:
            return Answer(error.code().name, error.details(), replies or None, metadata(error))


def metadata(handle):
    def plain(those):
        return {key: value if isinstance(value, str) else value.hex() for key, value in those or ()}
    return {"initial": plain(handle.initial_metadata()), "trailing": plain(handle.trailing_metadata())}


KEPT_HEADERS = ("content-type", "inference-header-content-length")


def ask_http(server, question):
    connection = http.client.HTTPConnection(HOST, server.port, timeout=TIME_LIMIT)
    try:
        connection.request(question.method, question.path, question.body or None, question.headers)
        reply = connection.getresponse()
        body = reply.read()
    except (http.client.HTTPException, OSError) as failure:
        return Answer("CLOSED", type(failure).__name__)
    finally:
        connection.close()
    kept = {name: value for name, value in ((name, reply.getheader(name)) for name in KEPT_HEADERS) if value}
    length = int(kept.get("inference-header-content-length", len(body)))
    try:
        document = json.loads(body[:length]) if body else None
    except ValueError:
        document = {"bytes": body[:200].decode("latin-1")}
    if length < len(body):
        document["(tail)"] = body[length:].hex()
    if isinstance(document, dict) and list(document) == ["error"]:
        return Answer(str(reply.status), document["error"], None, {"headers": kept, "cache-status": reply.headers.get("Cache-Status", "")})
    return Answer(str(reply.status), "", document, {"headers": kept, "cache-status": reply.headers.get("Cache-Status", "")})


def ask(server, question):
    """The server's answer; CRASH where the server ended instead, twice: it may have died of something earlier."""
    answer = ask_once(server, question)
    return ask_once(server, question) if answer.code == "CRASH" else answer


def ask_once(server, question):
    asking = ask_http if question.path else ask_grpc
    answer = asking(server, question)
    deadline = time.monotonic() + TIME_LIMIT
    while question.settle and time.monotonic() < deadline:
        time.sleep(0.3)
        again = asking(server, question)
        if (again.code, again.text, again.reply) == (answer.code, answer.text, answer.reply) and "UNLOADING" not in str(again):
            break
        answer = again
    if answer.code in ("UNAVAILABLE", "CLOSED", "CANCELLED", "UNKNOWN") and server.died():
        return Answer("CRASH", answer.text if answer.code == "CLOSED" else "")
    return answer


def strings(*values):
    """The wire form of BYTES."""
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def ints(*values):
    return struct.pack(f"<{len(values)}i", *values)


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)
