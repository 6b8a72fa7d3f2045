"""hippocamp cache: what a running server's cache holds, and purges."""

import json
import subprocess

import pytest

from fronts import Behind
from support import LOCAL, PROGRAM, eventually, run_program, tensor
from traffic import put

CACHE = ["--cache-config=local,size=1MB", "--cache-config=local,ttl=100"]


@pytest.fixture
def server(serve, repository):
    repository.add("simple", "simple_string")
    server = serve(repository, *CACHE)
    for seed in (1, 2, 1):
        array = tensor([[seed] * 16], "INT32")
        assert put(server, "simple", {"INPUT0": array, "INPUT1": array}).status == 200
    # A reply goes out before its answer is stored.
    eventually(lambda: server.get("/v2/cache", port=server.metrics_port).json["entries"] == 2, "both are stored")
    return server


def cache(server, *arguments):
    return run_program("cache", *arguments, f"http://{LOCAL}:{server.metrics_port}")


def rows(done):
    """The lines of a table, as {column: text} by model."""
    assert (done.returncode, done.stderr) == (0, "")
    names, *lines = (line.replace(" %", "%").split() for line in done.stdout.splitlines())
    return {line[0]: dict(zip(names, line, strict=True)) for line in lines}


def test_models(server):
    table = rows(cache(server, "ls"))
    assert set(table) == {"simple", "simple_string"}
    assert table["simple"] == {"MODEL": "simple", "VERSION": "1", "BY": "row", "LOOKUPS": "3", "HITS": "1",
                               "RATIO": "33.3%", "MISSES": "2", "JOINED": "0", "BYPASSED": "0", "ERRORS": "0"}
    assert table["simple_string"]["RATIO"] == "-"


def test_a_full_disk(server):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([PROGRAM, "cache", "ls", f"http://{LOCAL}:{server.metrics_port}"], stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "hippocamp cache: the output cannot be written\n")


def test_store(server):
    done = cache(server, "show")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert lines[0][1].startswith("local, 1000000 bytes")
    assert ["entries", "2"] in lines and ["inserts", "2"] in lines
    assert any(line[0] == "ttl=100" for line in lines)


@pytest.mark.parametrize("arguments, removed, left", [
    (["--all"], 2, 0), (["--model=simple"], 2, 0), (["--model=simple", "--model-version=1"], 2, 0),
    (["--model=simple", "--model-version=2"], 0, 2), (["--model=simple_string"], 0, 2)])
def test_purge(server, arguments, removed, left):
    done = cache(server, "purge", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{removed} entries removed\n", "")
    assert f"entries          {left}\n" in cache(server, "show").stdout


def test_a_purge_needs_to_know_of_what(server):
    for arguments in ([], ["--model="], ["--model-version=1"], ["--all", "--model=simple"], ["--al"],
                      ["--model=simple", "--model=simple"]):
        done = cache(server, "purge", *arguments)
        assert done.returncode == 1 and done.stderr.startswith("usage: hippocamp cache ls"), arguments
    assert "entries          2\n" in cache(server, "show").stdout


@pytest.mark.parametrize("arguments", [[], ["list"], ["ls", "--all"], ["show", "http://a", "http://b"]])
def test_misuse(arguments):
    done = run_program("cache", *arguments)
    assert (done.returncode, done.stdout) == (1, "") and done.stderr.startswith("usage: hippocamp cache ls")


def test_the_servers_reason_is_shown(serve, repository):
    """An unknown model; no cache; a port that others reach; another server; none."""
    plain = serve(repository.add("identity"), "--cache-config=none")
    done = cache(plain, "ls")
    assert (done.returncode, done.stderr) == (1, "hippocamp cache: this server has no response cache\n")
    cached = serve(repository, *CACHE, "--allow-cache-admin=false")
    assert "unknown model" not in cache(cached, "purge", "--model=nothing").stderr
    done = cache(cached, "purge", "--all")
    assert done.returncode == 1 and "--allow-cache-admin" in done.stderr and done.stderr.count("\n") == 1
    done = cache(serve(repository, *CACHE), "purge", "--model=nothing")
    assert done.stderr == "hippocamp cache: Request for unknown model: 'nothing' is not found\n"
    done = run_program("cache", "ls", "grpc://h:1")
    assert done.stderr.startswith("hippocamp cache: 'grpc://h:1' is no address")
    other = Behind(None)
    done = run_program("cache", "ls", f"http://{LOCAL}:{other.port}")
    assert done.returncode == 1 and "with HTTP status 404: is it the port of metrics?" in done.stderr
    other.stop()
    other.hang_up()
    done = run_program("cache", "show", f"http://{LOCAL}:{other.port}")
    assert done.returncode == 1 and "Connection refused" in done.stderr


@pytest.mark.parametrize("body", [b"{}", b"", b"[", json.dumps({"models": 7}).encode()])
def test_a_strange_server(body):
    def says(_request, send):
        send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    server = Behind(says)
    server.followed = True
    for arguments in (["ls"], ["show"], ["purge", "--all"]):
        done = run_program("cache", *arguments, f"http://{LOCAL}:{server.port}")
        assert (done.returncode, done.stdout) == (1, "") and done.stderr.startswith("hippocamp cache: ")
    server.stop()
    server.hang_up()
