"""The command line, the log, start and end."""

import json
import os
import re
import signal
import socket
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from fronts import Behind
from support import (LOCAL, PATIENCE, Server, ask_delay, ask_identity, ask_scale, ask_simple, encode, eventually,
                     infer_path, request_bytes, run_program, tensor)
from traffic import EXPLICIT, cache_status, ensemble, put, step, wait_queued


def refuses(repository, *arguments):
    """The error text of a start, which must fail at once."""
    done = run_program("serve", f"--model-repository={repository.path}", "--http-address=127.0.0.1", "--http-port=0",
                       "--metrics-port=0", *arguments)
    assert done.returncode == 1, done.stderr
    return done.stderr


# --- Options ---


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"]])
def test_help(arguments):
    done = run_program(*arguments)
    assert done.returncode == 0
    assert done.stderr == ""
    for option in ("--model-repository", "--model-control-mode", "--http-port", "--metrics-port", "--cache-config",
                   "--log-verbose", "--exit-timeout-secs"):
        assert option in done.stdout


def test_version():
    done = run_program("--version")
    assert done.returncode == 0
    assert re.fullmatch(r"hippocamp \d+\.\d+\S*\n", done.stdout)


@pytest.mark.parametrize("arguments", [[], ["serv"], ["serve", "surplus"]])
def test_no_command(arguments):
    done = run_program(*arguments)
    assert done.returncode != 0
    assert "hippocamp" in done.stderr


def test_unknown_option_names_the_nearest(repository):
    """app/command_line_test.c has the table of what is refused, as app/cache_config_test.c has that of caches."""
    text = refuses(repository, "--http-prt=1")
    assert "unrecognized option '--http-prt'" in text and "'--http-port'" in text


def test_value_apart_from_the_option(start, repository):
    server = start(repository.add("identity"), "--log-verbose", "1", "--exit-on-error", "false", "--cache-config", "local,size=1MB")
    ask_identity(server, [1])


def test_repository_that_is_not_there(repository):
    missing = repository.path / "missing"
    done = run_program("serve", f"--model-repository={missing}", "--http-port=0", "--metrics-port=0")
    assert done.returncode == 1
    assert str(missing) in done.stderr


def test_empty_repository(serve, repository):
    server = serve(repository)
    assert server.ready()
    assert server.index() == {}


# --- Ports ---


@pytest.mark.parametrize("kind, name", [("http", "HTTP"), ("metrics", "Metrics")])
def test_port_in_use(repository, kind, name):
    with socket.create_server((LOCAL, 0)) as taken:
        port = taken.getsockname()[1]
        text = refuses(repository, f"--{kind}-port={port}")
    assert re.search(rf"failed to start {name} service: Unavailable - Socket '127\.0\.0\.1:{port}' already in use", text), text


def test_address_that_is_not_ours(repository):
    assert "192.0.2.1" in refuses(repository, "--http-address=192.0.2.1")


def test_without_metrics(start, repository):
    server = start(repository.add("identity"), "--allow-metrics=false")
    ask_identity(server, [1])
    server.stop()
    assert not server.lines("Started Metrics Service")


def test_listens_on_the_given_address_only(serve, repository):
    server = serve(repository)
    server.wait_log(r"Started HTTPService at 127\.0\.0\.1:\d+")
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.2", server.port), timeout=5).close()


# --- The cache ---


def test_bad_cache_option(repository):
    assert "did you mean 'local.size'" in refuses(repository, "--cache-config=local,sise=1MB", "--cache-config=redis,host=x")


def test_password_is_not_in_messages(repository):
    text = refuses(repository, "--cache-config=redis,host=x", "--cache-config=redis,password=hush", "--cache-config=redis,nope=1")
    assert "hush" not in text


def test_older_cache_option(serve, repository):
    server = serve(repository.add("simple"), "--response-cache-byte-size=1000000")
    ask_simple(server)
    server.expect("simple", cache_miss=1)
    ask_simple(server)
    server.expect("simple", cache_hit=1)


# --- The log ---


def test_default_log_form(serve, repository):
    server = serve(repository.add("identity"))
    for line in server.log[:]:
        assert re.match(r'^[IWE]\d{4} \d\d:\d\d:\d\d\.\d{6} \d+ \S+:\d+\] "', line), line
    assert f" {server.process.pid} " in server.log[0]


def test_json_log(serve, repository):
    server = serve(repository.add("identity"), "--log-format=json", "--log-verbose=1")
    ask_identity(server, [1])
    server.stop()
    for line in server.log:
        entry = json.loads(line)
        assert {"time", "level", "message"} <= set(entry)
    assert any("Started HTTPService" in json.loads(line)["message"] for line in server.log)


def test_iso_log(serve, repository):
    server = serve(repository.add("identity"), "--log-format=ISO8601")
    assert re.match(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", server.log[0])


def test_log_file(start, repository, tmp_path):
    path = tmp_path / "server.log"
    path.write_text("before\n")
    server = start(repository.add("identity"), f"--log-file={path}")
    found = eventually(lambda: re.search(r"Started HTTPService at \S+:(\d+)", path.read_text()), "the log file's line")
    server.__dict__["port"] = int(found[1])
    ask_identity(server, [1])
    server.stop()
    assert server.log == []
    assert path.read_text().startswith("before\n")


def test_log_file_that_cannot_be_written(repository):
    assert "/nowhere/x.log" in refuses(repository, "--log-file=/nowhere/x.log")


def test_requests_are_not_logged(serve, repository):
    repository.add("simple")
    lengths = set()
    for count in (0, 20):
        server = serve(repository)
        for first in range(count):
            ask_simple(server, first)
        server.stop()
        lengths.add(len(server.log))
    assert len(lengths) == 1


def test_what_clients_send_cannot_forge_log_lines(serve, repository):
    server = serve(repository.add("identity"), "--model-control-mode=explicit", "--log-verbose=1")
    server.post("/v2/repository/models/x%0aI0101%20forged/load")
    server.get("/v2/models/x%0aforged", headers={"X": "forged"})
    server.stop()
    assert not server.lines("^(I0101 )?forged|^I0101")


# --- Models that fail ---


def test_failing_model_ends_the_start(repository):
    place = repository.add("identity").scale("scale", {1: 2.0})
    (place / "1" / "model.onnx").write_bytes(b"broken")
    text = refuses(repository)
    assert text.count("not an ONNX model") == 1 and "load failed for model 'scale'" in text


def test_a_model_instead_of_its_repository(repository):
    place = repository.scale("scale", {1: 2.0})
    assert "give the folder that it is in" in refuses(SimpleNamespace(path=place))


def test_each_failing_model_is_told_once(start, repository):
    for name in ("one", "two", "three"):
        (repository.scale(name, {1: 2.0}) / "config.pbtxt").write_text(f"broken_{name}")
    (repository.scale("four", {1: 2.0}) / "1" / "model.onnx").write_bytes(b"broken")
    text = refuses(repository)
    for reason in ("broken_one", "broken_two", "broken_three", "not an ONNX model"):
        assert text.count(reason) == 1, reason
    server = start(repository, EXPLICIT)
    for name, reason in (("one", "broken_one"), ("four", "not an ONNX model")):
        assert reason in server.post(f"/v2/repository/models/{name}/load").error
        server.wait_log(reason)
    server.stop()
    for reason in ("broken_one", "not an ONNX model"):
        assert len(server.lines(reason)) == 1


def test_each_failing_part_of_a_model_is_told(start, repository):
    """All members of an ensemble, and all versions, each with its reason."""
    ports = {"INPUT0": "FP32"}, {"OUTPUT0": "FP32"}
    for name in ("one", "two"):
        (repository.scale(name, {1: 2.0}) / "config.pbtxt").write_text(f"broken_{name}")
    ensemble(repository, "whole", *ports, [step("one", {"INPUT0": "INPUT0"}, {"OUTPUT0": "between"}),
                                           step("two", {"INPUT0": "between"}, {"OUTPUT0": "OUTPUT0"})])
    place = repository.scale("versions", {1: 2.0, 2: 3.0}, extra="version_policy: { all {} }\n")
    for version in ("1", "2"):
        (place / version / "model.onnx").write_bytes(b"broken")
    server = start(repository, EXPLICIT)
    assert server.post("/v2/repository/models/whole/load").status == 400
    assert server.post("/v2/repository/models/versions/load").status == 400
    server.stop()
    for reason in ("broken_one", "broken_two"):
        assert len(server.lines(f"^E.*{reason}")) == 1
    assert len(server.lines("^E.*version 1 is at UNAVAILABLE.*version 2 is at UNAVAILABLE")) == 1
    assert len(server.lines("^E.*'versions'")) == 1


def test_failing_model_with_exit_on_error_false(serve, repository):
    place = repository.add("identity").scale("scale", {1: 2.0})
    (place / "config.pbtxt").write_text("broken")
    server = serve(repository, "--exit-on-error=false")
    ask_identity(server, [1])
    assert not server.ready("scale")
    assert server.get("/v2/health/ready").status == 400
    assert server.lines("scale")


def test_load_model_that_is_not_there(repository):
    assert "nope" in refuses(repository, "--model-control-mode=explicit", "--load-model=nope")


# --- The end ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_in_flight_are_finished(serve, repository, number):
    server = serve(repository.add("delay"))
    answers = []
    threads = [threading.Thread(target=lambda i=i: answers.append(ask_delay(server, 1000, [i]))) for i in range(2)]
    for thread in threads:
        thread.start()
    wait_queued(server, "delay", 1)  # and the other one runs
    server.signal(number)
    for thread in threads:
        thread.join(PATIENCE)
    assert len(answers) == 2
    assert server.wait() == 0


def test_idle_connections_do_not_delay_the_end(serve, repository):
    server = serve(repository.add("identity"))
    with server.connect() as idle, server.connect() as half:
        assert idle.request("GET", "/v2/health/live").status == 200
        half.send(b"GET /v2 HTTP/1.1\r\n")
        server.stop()
        assert idle.closed()


def test_a_run_longer_than_the_exit_timeout(start, repository):
    server = start(repository.add("delay"), "--exit-timeout-secs=1")
    with server.connect() as connection:
        body, headers = encode({"INPUT0": tensor([1], "INT32")}, parameters={"delay_ms": 20_000})
        connection.send(request_bytes("POST", infer_path("delay"), body, headers))
        with server.connect() as other:
            other.send(request_bytes("POST", infer_path("delay"), *encode({"INPUT0": tensor([2], "INT32")})))
            wait_queued(server, "delay", 1)  # behind the running one
            server.signal(signal.SIGTERM)
            server.wait(15)  # not the run's 20 seconds
    assert server.lines("Exit timeout expired")


def test_two_servers_side_by_side(serve, repository):
    one, two = (serve(repository.path if i else repository.add("simple")) for i in range(2))
    ask_simple(one)
    ask_simple(two)
    two.expect("simple", cache_hit=0)  # each has a local cache of its own


def test_threads_are_as_many_as_the_processors_that_may_be_used(serve, repository):
    """Nor does ONNX Runtime try to bind its threads to other processors."""
    processor = min(os.sched_getaffinity(0))
    server = serve(repository.add("simple"), wrapper=["taskset", "--cpu-list", str(processor)])
    server.wait_log(r"is ready .* 1 thread")
    ask_simple(server)
    assert not server.lines("affinity")


# --- What a new user meets ---


def test_no_model_takes_part(serve, repository):
    repository.scale("plain", {1: 2.0})
    server = serve(repository)
    told = server.wait_log(r"^W.*no model takes part.*")[0]
    assert "response_cache { enable: true }" in told and "--cache-all-models" in told
    assert server.wait_log(r"is ready .*; cached: 0 of 1 model")


def test_some_models_take_part(serve, repository):
    repository.scale("plain", {1: 2.0})
    server = serve(repository.add("simple"))
    assert server.wait_log(r"is ready .*; cached: 1 of 2 models")
    assert not server.lines("no model takes part")
    silent = serve(repository, "--cache-config=none")
    silent.wait_log("is ready")
    assert not silent.lines("cached: ")


def test_all_models_take_part(serve, repository):
    repository.scale("plain", {1: 2.0})
    repository.scale("never", {1: 2.0}, extra="response_cache { enable: false }\n")
    server = serve(repository, "--cache-all-models")
    assert server.wait_log(r"is ready .*; cached: 1 of 2 models")
    for _ in range(2):
        ask_scale(server, 2.0, "plain")
        ask_scale(server, 2.0, "never")
    server.expect("plain", cache_hit=1, execution_count=1)
    server.expect("never", cache_hit=0, execution_count=2)
    assert [model["name"] for model in server.get("/v2/cache").json["models"]] == ["plain"]


def test_durations_have_units(serve, repository):
    server = serve(repository.add("simple"), "--cache-config=local,ttl=1h", "--exit-timeout-secs=1m")
    inputs = {name: tensor([[1] * 16], "INT32") for name in ("INPUT0", "INPUT1")}
    eventually(lambda: 3000 < cache_status(put(server, "simple", inputs)).get("ttl", 0) < 4000, "a hit with its TTL")
    assert "a duration such as" in refuses(repository, "--cache-config=local,ttl=1 fortnight")


def test_a_cache_larger_than_the_memory(serve, repository):
    server = serve(repository.add("simple"), "--cache-config=local,size=900TB")
    assert server.wait_log(r"^W.*900000000000000 bytes.*smaller size")


def test_brackets_of_addresses(serve, repository):
    server = serve(repository.add("simple"), "--metrics-address=[::1]")
    port = server.wait_log(r"Started Metrics Service at \[::1\]:(\d+)")[1]
    with socket.create_connection(("::1", int(port))) as connection:
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_a_line_for_each_request(serve, repository):
    server = serve(repository.add("simple"), "--log-verbose=1")
    ask_simple(server, id="first")
    ask_simple(server, id="second")
    server.post("/v2/models/simple/infer", {"id": "third", "inputs": []})
    for name, status, cache in (("first", 200, "fwd=miss; stored"), ("second", 200, "hit; detail="), ("third", 400, "")):
        line = server.wait_log(f"infer id='{name}' .*")[0]
        assert f"model='simple' version=1 status={status} " in line and cache in line and "total_us=" in line
    quiet = serve(repository)
    ask_simple(quiet)
    assert not quiet.lines("infer id=")


@pytest.mark.parametrize("option, reason", [
    ("--model-repository=/nowhere", "No such file or directory"), ("--cache-config=nope", "libtritoncache_nope.so")])
def test_a_bad_start_ends_in_one_line(repository, option, reason):
    text = refuses(repository.add("simple"), option)
    assert reason in text and len(text.strip().splitlines()) == 1


def test_a_bad_model_ends_the_start_in_one_line(repository):
    folder = repository.scale("bad", {1: 2.0})
    (folder / "config.pbtxt").write_text('name: "bad"\nplatfrm: "onnxruntime_onnx"\n')
    (text,) = [line for line in refuses(repository).splitlines() if line.startswith("E")]
    assert "config.pbtxt:2:" in text and 'did you mean \\"platform\\"?' in text and "--exit-on-error=false" in text


def over_unix(path, request=b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(path))
        connection.sendall(request)
        return connection.recv(1000)


@pytest.fixture
def short(tmp_path):
    """A path short enough for a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="hc") as folder:
        yield Path(folder, "http.sock")


def unix_server(repository, path, *arguments):
    return Server(f"--model-repository={repository.path}", f"--http-address=unix:{path}", "--metrics-port=0", "--threads=3",
                  *arguments)


def test_a_unix_socket(repository, short):
    repository.add("simple")
    for _ in range(2):  # the second server finds the socket that the first, which is killed, left
        server = unix_server(repository, short)
        assert server.wait_log(r"Started HTTPService at unix:\S+http.sock") and server.wait_log(r"Metrics Service at 127.0.0.1:")
        for _ in range(20):
            assert over_unix(short).startswith(b"HTTP/1.1 200")
        purge = b"POST /v2/cache/purge HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
        assert over_unix(short, purge).startswith(b"HTTP/1.1 200")
        if not server.lines("already"):
            again = unix_server(repository, short)
            assert again.wait() == 1 and again.lines("already in use")
        server.process.kill()
        server.wait()
        assert short.exists()
    server = unix_server(repository, short)
    server.wait_log("is ready")
    server.stop()
    assert not short.exists()


def test_a_file_is_no_unix_socket(repository, short):
    short.write_text("precious")
    server = unix_server(repository.add("simple"), short)
    assert server.wait() == 1 and server.lines("there is a file of that name")
    assert short.read_text() == "precious"


# --- health ---


def health(*arguments):
    return run_program("health", *arguments)


def test_health(serve, repository, tmp_path):
    repository.add("identity")
    server = serve(repository, EXPLICIT, "--load-model=identity")
    good = health(f"http://{LOCAL}:{server.port}")
    assert (good.returncode, good.stdout, good.stderr) == (0, "", "")


def test_health_of_a_server_that_is_not_ready():
    """It says what is wrong."""
    server = Behind(None)  # answers 404
    reply = health(f"http://{LOCAL}:{server.port}")
    assert reply.returncode == 1 and reply.stderr == "hippocamp health: the server is not ready (HTTP status 404)\n"
    server.stop()
    server.hang_up()
    reply = health(f"http://{LOCAL}:{server.port}")
    assert reply.returncode == 1 and "Connection refused" in reply.stderr


@pytest.mark.parametrize("arguments, message", [
    (["ftp://h"], "'ftp://h' is no address: give HOST:PORT, http://"), (["grpc://h:1"], "'grpc://h:1' is no address"),
    (["-x"], "usage: hippocamp health [URL]"), (["http://h", "http://h"], "usage: hippocamp health [URL]")])
def test_health_of_no_server(arguments, message):
    reply = health(*arguments)
    assert reply.returncode == 1 and message in reply.stderr and reply.stderr.count("\n") == 1
