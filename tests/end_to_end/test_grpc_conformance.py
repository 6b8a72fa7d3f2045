"""Conformance tests of others for HTTP/2 and gRPC, and clients that others wrote.

Those marked `conformance` need the tools of `tools/deps conformance`; `make conformance` runs them.
"""

import json
import re
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from support import BUILD, LOCAL, PATIENCE, ROOT

TOOLS = ROOT / ".deps" / "gotools" / "bin"
PROGRAMS = ROOT / BUILD / "tests"
SERVICE = "inference.GRPCInferenceService"
# libnghttp2 takes a HEADERS frame whose stream is older than the newest for one of a closed stream, and ignores it.
NGHTTP2_FAILS = {("http2/5.1.1", "Sends stream identifier that is numerically smaller than previous")}
H2SPEC_CASES = 145
INTEROP_CASES = [
    "empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream",
    "timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response", "status_code_and_message",
    "special_status_message", "custom_metadata", "unimplemented_method", "unimplemented_service", "rpc_soak",
    "channel_soak"]
conformance = pytest.mark.conformance


def run(path, *arguments, remedy, patience=PATIENCE, check=True):
    """Runs a program until it ends; returns its output of both kinds."""
    if not path.exists():
        pytest.fail(f"{path} is missing: {remedy}")
    done = subprocess.run([path, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", timeout=patience, cwd=ROOT)
    assert not re.search(r"Sanitizer|runtime error:", done.stdout), done.stdout[-10000:]
    if check:
        assert done.returncode == 0, f"{path.name} exited with {done.returncode}:\n{done.stdout[-10000:]}"
    return done.stdout


def tool(name, *arguments, part="check", **options):
    return run(TOOLS / name, *arguments, remedy=f"run tools/deps {part}", **options)


def address(server):
    return f"{LOCAL}:{server.grpc_port}"


# --- HTTP/2 ---


@pytest.fixture
def secure_server(serve, repository, authority):
    identity = authority.server()
    return serve(repository.add("simple"), "--grpc-use-ssl", f"--grpc-server-cert={identity.cert}",
                 f"--grpc-server-key={identity.key}")


def check_http2(server, tmp_path, *options):
    report = tmp_path / "h2spec.xml"
    output = tool("h2spec", "-h", LOCAL, "-p", server.grpc_port, "-o", 5, "-j", report, *options, check=False, patience=55)
    assert report.exists(), output
    cases = list(ElementTree.parse(report).iter("testcase"))
    failed = {(case.get("package"), case.get("classname")) for case in cases
              if any(case.find(kind) is not None for kind in ("failure", "error", "skipped"))}
    assert len(cases) == H2SPEC_CASES, output
    assert failed <= NGHTTP2_FAILS, output
    assert server.ready()


def test_h2spec(server, tmp_path):
    check_http2(server, tmp_path)


@conformance
def test_h2spec_over_tls(secure_server, tmp_path):
    check_http2(secure_server, tmp_path, "-t", "-k")


# --- gRPC clients ---


def test_health_probe(server):
    assert "SERVING" in tool("grpc-health-probe", "-addr", address(server))
    assert "SERVING" in tool("grpc-health-probe", "-addr", address(server), "-service", SERVICE)


def test_health_probe_over_tls(secure_server, authority):
    assert "SERVING" in tool("grpc-health-probe", "-addr", address(secure_server), "-tls", "-tls-ca-cert", authority.cert)


@conformance
def test_grpcurl(server):
    """It learns the service by reflection."""
    def ask(*arguments):
        return tool("grpcurl", "-plaintext", *arguments, part="conformance")

    assert {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"} <= set(ask(address(server), "list").split())
    methods = ask(address(server), "list", SERVICE).split()
    assert f"{SERVICE}.ModelInfer" in methods and f"{SERVICE}.ModelStreamInfer" in methods
    assert "rpc ModelInfer" in ask(address(server), "describe", SERVICE)
    assert "raw_input_contents" in ask(address(server), "describe", "inference.ModelInferRequest")
    inputs = [{"name": name, "datatype": "INT32", "shape": [1, 16], "contents": {"int_contents": values}}
              for name, values in (("INPUT0", list(range(16))), ("INPUT1", [1] * 16))]
    request = json.dumps({"model_name": "simple", "id": "7", "inputs": inputs})
    answer = json.loads(ask("-d", request, address(server), f"{SERVICE}/ModelInfer"))
    assert answer["id"] == "7" and [output["name"] for output in answer["outputs"]] == ["OUTPUT0", "OUTPUT1"]
    stream = ask("-d", request * 3, address(server), f"{SERVICE}/ModelStreamInfer")
    assert stream.count('"inferResponse"') == 3


@conformance
def test_ghz(server):
    report = json.loads(tool(
        "ghz", "--insecure", "--call", f"{SERVICE}/ModelMetadata", "--data", '{"name": "simple"}', "-n", 2000, "-c", 20,
        "--connections", 4, "--format", "json", address(server), part="conformance"))
    assert report["statusCodeDistribution"] == {"OK": 2000}


# --- Services of others, defined by programs of our own ---


@conformance
@pytest.mark.timeout(300)
def test_connectconformance():
    output = tool("connectconformance", "--mode", "server", "--conf", "tests/grpc/conformance.yaml", "--trace", "-v",
                  PROGRAMS / "conformance_server", part="conformance", patience=280)
    passed, failed = map(int, re.search(r"(\d+) passed, (\d+) failed", output).groups())
    assert passed >= 700 and failed == 0, output[-10000:]


@pytest.fixture(scope="module", params=["plain", "tls"])
def interop(request, authority):
    """The client's arguments for a server of gRPC's interoperability tests."""
    program = PROGRAMS / "interop_server"
    if not program.exists():
        pytest.fail(f"{program} is missing: run `make sanitize`")
    identity = authority.server()
    secure = request.param == "tls"
    with subprocess.Popen([program, *([identity.cert, identity.key] if secure else [])], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        port = process.stdout.readline()
        yield ["--server_host", LOCAL, "--server_port", int(port), f"--use_tls={secure}", "--use_test_ca",
               "--ca_file", authority.cert]
        process.terminate()
        _, log = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0 and log == "", log


@conformance
@pytest.mark.parametrize("case", INTEROP_CASES)
def test_interop(interop, case):
    tool("grpc-interop-client", *interop, "--test_case", case, "--soak_iterations", 50,
         "--soak_min_time_ms_between_rpcs", 0, part="conformance")
