"""hippocamp measure: load on a real server, over both protocols, and what it tells."""

import csv
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from xml.etree import ElementTree

import numpy
import pytest

from fronts import Behind, response
from support import LOCAL, PROGRAM, eventually, free_port, run_program
from triton import program_with_onnx

QUICK = ["-p", "50", "-r", "3"]


def measure(server, *arguments, protocol="http", patience=60):
    url = f"{LOCAL}:{server.port}" if protocol == "http" else f"grpc://{LOCAL}:{server.grpc_port}"
    return run_program("measure", "-u", url, *QUICK, *arguments, patience=patience)


def figure(done, name):
    """The first number behind `name` in the summary."""
    assert (done.returncode, done.stderr) == (0, ""), done
    found = re.search(rf"{name}:? (\d+(?:\.\d+)?)", done.stdout)
    assert found, done.stdout
    return float(found[1])


@pytest.fixture
def small(serve, repository):
    return serve(repository.add("simple", "identity_BYTES", "identity"), "--cache-config=local,size=16MB")


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_one_question_is_a_hit_and_new_ones_are_misses(small, protocol):
    done = measure(small, "-m", "simple", protocol=protocol)
    requests = figure(done, "Request count")
    assert requests > 0 and figure(done, "Throughput") > 0
    assert figure(done, "Cache hit count") >= requests - 1 and figure(done, "Cache hits") >= requests - 1
    done = measure(small, "-m", "simple", "--distinct", "0", protocol=protocol)
    assert figure(done, "Cache hit count") == 0 and figure(done, "Cache misses") == figure(done, "Request count")
    assert figure(done, "Inference count") >= figure(done, "Request count")


def test_what_the_client_counts_the_server_counts(small):
    """Windows and statistics are taken one after the other: a few requests lie between."""
    done = measure(small, "-m", "simple", "--distinct", "50", "--zipf", "1", "--concurrency-range", "4")
    requests = figure(done, "Request count")
    assert abs(requests - figure(done, "Successful request count")) <= max(40, requests / 10)
    told = figure(done, "Cache hits") / figure(done, "Request count")
    assert told > 0.5
    percentiles = [figure(done, f"p{percent} latency") for percent in (50, 90, 95, 99)]
    assert percentiles == sorted(percentiles)


def test_batches_strings_and_json(small):
    done = measure(small, "-m", "simple", "-b", "4", "--distinct", "0")
    assert figure(done, "Inference count") >= 4 * figure(done, "Request count")
    assert "Batch size: 4" in done.stdout
    done = measure(small, "-m", "identity_BYTES", "--shape", "INPUT0:3", "--string-length", "9", "--distinct", "0")
    assert figure(done, "Request count") > 0 and "Failed" not in done.stdout
    done = measure(small, "-m", "simple", "--input-tensor-format", "json", "--distinct", "7")
    assert figure(done, "Request count") > 0 and "Failed" not in done.stdout


def test_a_rate(small):
    """Sent when due: not more than that, however fast the server is."""
    done = measure(small, "-m", "simple", "--request-rate-range", "200:400:200", "-p", "250")
    lines = re.findall(r"Request Rate: (\d+), throughput: ([\d.]+)", done.stdout)
    assert [int(rate) for rate, _ in lines] == [200, 400]
    for rate, throughput in lines:
        assert 0 < float(throughput) < 1.3 * float(rate)


def test_files(small, tmp_path):
    """What the files say is asked, and nothing else: as many misses as there are entries."""
    ones, twos = numpy.ones((3, 16), "int32"), numpy.full((3, 16), 2, "int32")
    twos[:, 0] = [7, 8, 9]
    for saving in (numpy.savez, numpy.savez_compressed):
        path = tmp_path / f"{saving.__name__}.npz"
        saving(path, INPUT0=ones, INPUT1=twos, labels=numpy.zeros(3))
        twos[:, 1] += 1  # the next file has others
        done = measure(small, "-m", "simple", "--input-data", path)
        assert "Inputs: 3 at one time" in done.stdout
        assert figure(done, "Inference count") in (0, 3)  # of the last three windows
    entries = [{"INPUT0": [k] * 16, "INPUT1": {"content": [k] * 16, "shape": [16]}} for k in range(40, 45)]
    (tmp_path / "data.json").write_text(json.dumps({"data": entries}))
    assert "Inputs: 5 at one time" in measure(small, "-m", "simple", "--input-data", tmp_path / "data.json").stdout
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "INPUT0").write_bytes(ones[0].tobytes())
    numpy.save(folder / "INPUT1.npy", twos[0])
    assert "Inputs: the same one in all requests" in measure(small, "-m", "simple", "--input-data", folder).stdout
    (folder / "INPUT0").write_bytes(b"short")
    done = measure(small, "-m", "simple", "--input-data", folder)
    assert done.returncode == 1 and "'INPUT0' in it does not have the bytes of its shape" in done.stderr


def test_the_csv_is_perf_analyzers(small, tmp_path):
    path = tmp_path / "report.csv"
    measure(small, "-m", "simple", "--concurrency-range", "1:2", "-f", path)
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert list(rows[0]) == [
        "Concurrency", "Inferences/Second", "Client Send", "Network+Server Send/Recv", "Server Queue",
        "Server Compute Input", "Server Compute Infer", "Server Compute Output", "Server Cache Hit", "Server Cache Miss",
        "Client Recv", "p50 latency", "p90 latency", "p95 latency", "p99 latency"]
    assert sorted(row["Concurrency"] for row in rows) == ["1", "2"]
    rates = [float(row["Inferences/Second"]) for row in rows]
    assert rates == sorted(rates) and rates[0] > 0
    done = measure(small, "-m", "simple", "-f", tmp_path / "nowhere" / "report.csv")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "No such file" in done.stderr


@pytest.mark.parametrize("arguments, text", [
    (["-m", "nothing"], "Request for unknown model: 'nothing' is not found"),
    (["-m", "simple", "-x", "7"], "7"),
    (["-m", "simple", "-b", "1000"], "-b 1000: model 'simple' has a max_batch_size of 8"),
    (["-m", "identity", "--shape", "INPUT0:x"], "--shape INPUT0:x: give NAME:DIM,DIM"),
    (["-m", "simple", "--input-data", "/nowhere"], "--input-data /nowhere: it cannot be read: No such file"),
    (["-m", "simple", "--tls-cacert", "x", "-u", "https://localhost:1"], "--tls-cacert"),
])
def test_what_is_wrong_is_one_line(small, arguments, text):
    done = measure(small, *arguments)
    assert done.returncode == 1 and text in done.stderr and done.stderr.count("\n") == 1
    assert done.stderr.startswith("hippocamp measure: ")


class Failing(Behind):
    """Has a model `m`, and fails each request to it but every `good`-th."""

    followed = True

    def __init__(self, good):
        self.count, self.good = 0, good
        super().__init__(self.answer)

    def answer(self, request, send):
        method, target, _ = request[0].split(" ")
        if method == "GET":
            tensors = [{"name": "T", "datatype": "INT8", "shape": [1]}]
            body = {"name": "m", "platform": "p", "versions": ["1"], "inputs": tensors, "outputs": tensors}
            send(response(json.dumps(body).encode()) if target == "/v2/models/m" else response(b"{}", "404 Not Found"))
            return
        self.count += 1
        good = self.good and self.count % self.good == 0
        send(response(b"{}") if good else response(b'{"error": "out of order"}', "500 Internal Server Error"))


def test_failures_are_told():
    """A server that is gone, one that always fails, and one that fails sometimes and has no statistics."""
    done = run_program("measure", "-m", "simple", "-u", f"{LOCAL}:1", *QUICK)
    assert done.returncode == 1 and "Connection refused" in done.stderr
    for good in (0, 2):
        server = Failing(good)
        done = run_program("measure", "-m", "m", "-u", f"{LOCAL}:{server.port}", "-p", "100", "-r", "3")
        if good == 0:
            assert done.returncode == 1 and done.stderr.endswith(f":{server.port}: out of order\n")
        else:
            assert done.returncode == 1 and "the first: out of order" in done.stdout and "Server:" not in done.stdout
            assert re.search(r"Request count: [1-9]", done.stdout)
        server.stop()
        server.hang_up()


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_an_interruption_tells_what_there_is(small, protocol):
    url = f"{LOCAL}:{small.port}" if protocol == "http" else f"grpc://{LOCAL}:{small.grpc_port}"
    process = subprocess.Popen([PROGRAM, "measure", "-m", "simple", "-u", url, "-p", "60000"], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    assert process.stdout.readline() == "*** Measurement Settings ***\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")
    assert re.search(r"Request count: [1-9]", out) and "Concurrency: 1, throughput: " in out and "WARNING" not in out


def test_help():
    done = run_program("measure", "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: hippocamp measure -m NAME")
    for option in ("--concurrency-range", "--zipf", "--input-data", "-f, "):
        assert option in done.stdout


def test_so_many_requests_and_no_more(small):
    for rate in ([], ["--request-rate-range", "300"]):
        before = asked_of(small)
        done = measure(small, "-m", "simple", "--distinct", "0", "--request-count", "37", *rate)
        assert figure(done, "Request count") == 37 and asked_of(small) - before == 37 and "stable" not in done.stdout.partition("Request count")[2]


def asked_of(server):
    return server.get("/v2/models/simple/stats").json["model_stats"][0]["inference_stats"]["success"]["count"]


# --- Warming ---

def warm(server, *arguments):
    return run_program("cache", "warm", "-m", "simple", "-u", f"{LOCAL}:{server.port}", *arguments)


def test_warming(small, tmp_path):
    """Each inference once; what is known is not asked of the model again."""
    path = tmp_path / "inputs.npz"
    numbers = numpy.arange(50 * 16, dtype="int32").reshape(50, 16)
    numpy.savez(path, INPUT0=numbers, INPUT1=numbers)
    done = warm(small, "--input-data", path, "--concurrency-range", "4")
    assert (done.returncode, done.stdout) == (0, "50 answers: 50 new in the cache, 0 known before\n")
    assert done.stderr.endswith("[50/50]\n") and asked_of(small) == 50
    done = warm(small, "--input-data", path, "--request-rate-range", "200")
    assert (done.returncode, done.stdout) == (0, "50 answers: 0 new in the cache, 50 known before\n")
    stats = small.get("/v2/models/simple/stats").json["model_stats"][0]
    assert stats["inference_count"] == 50


def test_what_cannot_be_warmed(small, tmp_path):
    assert warm(small).stderr == "hippocamp cache warm: give --input-data FILE: what is to be asked\n"
    assert warm(small, "--input-data", "random").returncode == 1
    assert "--compare" in warm(small, "--input-data", "x.npz", "-b", "2").stderr
    assert warm(small, "--help").stdout.startswith("usage: hippocamp cache warm -m MODEL")
    path = tmp_path / "inputs.npz"
    numpy.savez(path, T=numpy.zeros((5, 1), "int8"))
    server = Failing(2)
    done = run_program("cache", "warm", "-m", "m", "-u", f"{LOCAL}:{server.port}", "--input-data", path)
    assert done.returncode == 1 and "; 3 failed, the first: out of order\n" in done.stdout
    server.stop()
    server.hang_up()


# --- Comparing ---

COMPARE = ["measure", "--compare", "-m", "simple", "-p", "30", "--rounds", "3", "--concurrency-range", "1:4"]


def children(process):
    """The processes that it has started and that still run."""
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False).stdout.split()
    return [int(pid) for pid in found]


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def place(tmp_path, repository):
    """A repository, and a folder for temporary files that must be empty afterwards."""
    repository.add("simple", "identity")
    config = repository.path / "simple" / "config.pbtxt"
    config.write_text(config.read_text().replace("response_cache { enable: true }\n", ""))  # the comparison adds it
    (tmp_path / "temporary").mkdir()
    return tmp_path


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_comparison(place, repository, protocol):
    """Also with the real Triton."""
    before = {path: path.read_bytes() for path in repository.path.rglob("*") if path.is_file()}
    done = run_program(*COMPARE, f"--model-repository={repository.path}", "-i", protocol, "--output", place / "report",
                       "--tritonserver", program_with_onnx(place), "--cache-config=local,ttl=1h",
                       env={**os.environ, "TMPDIR": str(place / "temporary")}, patience=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(("Use the local cache. A hit takes ", "The local cache does not pay for this model. A hit "))
    assert sorted(path.name for path in (place / "report").iterdir()) == [
        "simple.html", "simple.md", "simple_break_even.svg", "simple_latency.svg", "simple_throughput.svg"]
    text = (place / "report" / "simple.md").read_text()
    assert "all answers had the same bytes" in text and "Not measured" not in text
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    figures = {(row[0], row[1]): row for row in table if len(row) == 8}
    names = ["no cache", "local", "Redis", "Triton, no cache", "Triton, local"]
    for name in names:
        for level in ("1", "4"):
            for workload in ("the same request", "popular requests", "new requests"):
                row = figures[f"{workload}: {name}", level]
                assert float(row[2].split()[0]) > 0 and row[7] == "0"
    assert float(figures["the same request: Redis", "4"][6].split()[0]) > 80  # a late look-up is a miss
    assert figures["new requests: local", "4"][6] == "0.0 %"
    page = (place / "report" / "simple.html").read_text()
    assert page.count("<svg ") == 3 and "//" not in page.replace("http://www.w3.org/2000/svg", "")
    for path in (place / "report").glob("*.svg"):
        ElementTree.fromstring(path.read_text())
    assert {path: path.read_bytes() for path in repository.path.rglob("*") if path.is_file()} == before
    assert not list((place / "temporary").iterdir())


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_ended_comparison_leaves_no_server(place, repository, ending):
    process = subprocess.Popen([PROGRAM, *COMPARE[:-1], "1:4", "-p", "200", "--rounds", "50", "--output", place,
                                f"--model-repository={repository.path}"], text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, start_new_session=True,
                               env={**os.environ, "TMPDIR": str(place / "temporary")})
    while not (line := process.stderr.readline()).startswith("comparing"):
        assert line, process.wait()
    servers = children(process)
    assert len(servers) == 4  # three, and Redis
    process.send_signal(ending)
    _, err = process.communicate(timeout=60)
    if ending == signal.SIGKILL:
        eventually(lambda: not any(map(is_running, servers)), "the servers end")
        return
    assert process.returncode == 130, err
    assert not any(map(is_running, servers)) and not list((place / "temporary").iterdir())


@pytest.mark.parametrize("arguments, text", [
    (["-m", "nothing"], "has no model 'nothing'"),
    (["-m", "../simple"], "'../simple' is no name of a model"),
    (["--redis-server", "/nowhere", "-m", "refuses"], "refuses/config.pbtxt says response_cache { enable: false }"),
    (["-m", "broken"], "the server has ended"),
    (["-b", "100"], "max_batch_size of 8"),
    (["--output", "/proc/1/x"], "--output /proc/1/x: "),
    (["--cache-config=tiered,size=1"], "--cache-config tiered,size=1: give local,KEY=VALUE or redis,KEY=VALUE"),
    (["-u", "localhost:8000"], "--compare starts its own servers"),
    (["-H", "Authorization:secret"], "it takes no -u, -H, -f"),
    (["--cache-config=local,siz=1"], "has no option 'siz'"),
    (["--rounds", "2"], "--rounds 2: give a number from 3 to 100"),
])
def test_what_keeps_a_comparison_from_running(place, repository, arguments, text):
    for name in ("refuses", "broken"):
        shutil.copytree(repository.path / "simple", repository.path / name)
    config = repository.path / "refuses" / "config.pbtxt"
    config.write_text(config.read_text().replace('"simple"', '"refuses"') + "response_cache { enable: false }\n")
    config = repository.path / "broken" / "config.pbtxt"
    config.write_text(config.read_text().replace('"simple"', '"broken"'))
    (repository.path / "broken" / "1" / "model.onnx").write_bytes(b"no model")
    done = run_program(*COMPARE, f"--model-repository={repository.path}", "--output", place, *arguments,
                       env={**os.environ, "TMPDIR": str(place / "temporary")})
    assert done.returncode == 1 and text in done.stderr and "Sanitizer" not in done.stderr
    assert not list((place / "temporary").iterdir())


def test_a_comparison_without_redis(place, repository):
    done = run_program(*COMPARE, f"--model-repository={repository.path}", "--output", place, "--redis-server", "/nowhere",
                       patience=60)
    assert done.returncode == 0
    assert "Not measured: Redis: there is no program '/nowhere'" in (place / "simple.md").read_text()


def test_few_inputs_cannot_be_new(place, repository):
    rows = [{"INPUT0": [seed] * 16, "INPUT1": [1] * 16} for seed in range(20)]
    (place / "inputs.json").write_text(json.dumps({"data": rows}))
    done = run_program(*COMPARE, f"--model-repository={repository.path}", "--output", place, "--redis-server", "/nowhere",
                       "--input-data", place / "inputs.json", patience=60)
    assert done.returncode == 0 and "at any hit ratio" not in done.stdout
    text = (place / "simple.md").read_text()
    assert "new requests" not in text and "pays from" not in text and "all inputs in turn: local" in text
    assert "Popular requests are of 20 inputs" in text


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_an_interruption_ends_the_wait_for_a_silent_server(scheme):
    with socket.create_server((LOCAL, 0)) as listener:
        url = f"{scheme}://{LOCAL}:{listener.getsockname()[1]}"
        process = subprocess.Popen([PROGRAM, "measure", "-m", "simple", "-u", url], stderr=subprocess.PIPE, text=True)
        with listener.accept()[0] as connection:
            assert connection.recv(1)  # it has asked
            process.terminate()
            _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err


def test_what_a_server_says_does_not_steer_the_terminal():
    server = Behind(lambda request, send: send(response(b'{"error":"a\\u001b[2J\\nb"}', "400 Bad Request")))
    server.followed = True
    done = run_program("measure", "-m", "simple", "-u", f"http://{LOCAL}:{server.port}")
    server.stop()
    assert done.returncode == 1 and "a?[2J?b" in done.stderr and "\x1b" not in done.stderr


def test_a_redis_that_does_not_answer_is_not_measured(place, repository):
    """Nor is its password shown."""
    done = run_program(*COMPARE, f"--model-repository={repository.path}", "--output", place, "--concurrency-range", "2",
                       "--cache-config=redis,host=127.0.0.1", f"--cache-config=redis,port={free_port()}",
                       "--cache-config=redis,password=sesame", patience=60)
    assert done.returncode == 0 and done.stdout.endswith("simple_break_even.svg\n")
    assert "Redis was not measured." in done.stdout
    text = (place / "simple.md").read_text()
    assert "Not measured: Redis: it answered none of 16 questions" in text and "Connection refused" in text
    assert "sesame" not in text and "redis,password=..." in text
    assert text.count("the same request: local") == 1  # one level, one row


def test_nothing_stays_for_long_in_the_users_redis(place, repository, redis_server):
    redis = redis_server()
    done = run_program(*COMPARE, f"--model-repository={repository.path}", "--output", place,
                       "--cache-config=redis,host=127.0.0.1", f"--cache-config=redis,port={redis.port}", patience=60)
    assert done.returncode == 0 and "Not measured: Redis" not in (place / "simple.md").read_text()
    left = redis.command("KEYS", "*")
    assert left and all(0 < redis.command("TTL", key) <= 1000 for key in left), left
