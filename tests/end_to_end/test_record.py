"""serve --record and hippocamp simulate: a record of the look-ups, and what other caches would have made of them."""

import csv
import re
import time
from xml.etree import ElementTree

import pytest

from support import LOCAL, eventually, run_program, tensor
from traffic import put

CACHE = "--cache-config=local,size=1MB"
FIELDS = ["time_ms", "model", "version", "key", "bytes", "cost_us", "outcome", "share"]


def ask(server, *seeds, model="simple"):
    for seed in seeds:
        array = tensor([[seed] * 16], "INT32")
        assert put(server, model, {"INPUT0": array, "INPUT1": array}).status == 200


def lines(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_lookup_has_a_line(serve, repository, tmp_path):
    place = repository.copy("simple", "odd")
    place.rename(place.parent / 'a "b", c')
    config = place.parent / 'a "b", c' / "config.pbtxt"
    config.write_text(config.read_text().replace('name: "odd"', "", 1))
    path = tmp_path / "lookups.csv"
    server = serve(repository.add("simple"), CACHE, f"--record={path}")
    assert path.read_text() == ",".join(FIELDS) + "\n" and path.stat().st_mode & 0o077 == 0
    ask(server, 1, 2)
    eventually(lambda: len(lines(path)) == 2, "the lines, within a second")
    ask(server, 1)  # by then it is stored
    eventually(lambda: len(lines(path)) == 3, "the third line")
    ask(server, 1, model='a%20%22b%22%2C%20c')
    server.stop()
    found = lines(path)  # each loop writes its own by itself
    assert sorted((line["model"], line["outcome"]) for line in found) == [
        ('a "b", c', "miss"), ("simple", "hit"), ("simple", "miss"), ("simple", "miss")]
    assert list(found[0]) == FIELDS and all(int(line["bytes"]) > 128 and line["version"] == "1" for line in found)
    misses = {line["key"]: line for line in found if line["outcome"] == "miss"}
    (hit,) = (line for line in found if line["outcome"] == "hit")
    assert len(misses) == 3 and misses[hit["key"]]["model"] == "simple"
    assert misses[hit["key"]]["cost_us"] == hit["cost_us"] and int(hit["time_ms"]) > 1e12


def test_it_is_appended_to_and_a_share_is_recorded(serve, repository, tmp_path):
    path = tmp_path / "lookups.csv"
    for share, low, high in (("1", 60, 60), ("0.5", 12, 48)):
        before = len(lines(path)) if path.exists() else 0
        server = serve(repository.add("simple") if share == "1" else repository, CACHE, f"--record={path}",
                       f"--record-share={share}")
        ask(server, *range(60))
        server.stop()
        assert low <= len(lines(path)) - before <= high
    assert path.read_text().count("time_ms") == 1
    assert {line["share"] for line in lines(path)} == {"1", "0.5"}


def test_a_broken_line_is_not_gone_on_with(serve, repository, tmp_path):
    path = tmp_path / "lookups.csv"
    path.write_text(",".join(FIELDS) + '\n17,"simple",1,00')
    server = serve(repository.add("simple"), CACHE, f"--record={path}")
    ask(server, 1)
    server.stop()
    assert len(lines(path)) == 2 and path.read_text().split("\n")[1] == '17,"simple",1,00?'
    assert "1 lines could not be read" in run_program("simulate", path).stdout


def test_other_files_are_left_alone(repository, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("mine\n")
    done = run_program("serve", f"--model-repository={repository.add('simple').path}", "--http-port=0", "--metrics-port=0",
                       CACHE, f"--record={notes}")
    assert done.returncode == 1 and "no record of a server" in done.stderr and notes.read_text() == "mine\n"


@pytest.mark.parametrize("arguments, text", [
    ([CACHE, "--record=/nowhere/x"], "--record=/nowhere/x: No such file or directory"),
    ([CACHE, "--record=/dev/full"], "--record=/dev/full: it is no regular file"),
    ([CACHE, "--record=x", "--record-share=0"], "--record-share: give a share above 0"),
    (["--record=x", "--cache-config=none"], "--record needs a cache"),
])
def test_what_cannot_be_recorded(repository, tmp_path, arguments, text):
    done = run_program("serve", f"--model-repository={repository.add('simple').path}", "--http-port=0", "--metrics-port=0",
                       *arguments, cwd=tmp_path)
    assert done.returncode == 1 and text in done.stderr


def write_trace(path, count, keys, cost=1000, share=1):
    text = "".join(f'{1000 + i},"m",1,{i % keys:016x},1000,{cost},miss,{share}\n' for i in range(count))
    path.write_text(",".join(FIELDS) + "\n" + text)
    return path


def percentages(done, size):
    assert (done.returncode, done.stderr) == (0, "")
    return [float(number) for number in re.findall(r"([\d.]+) %", re.search(rf"(?m)^{size} .*$", done.stdout)[0])]


def test_a_simulation(tmp_path):
    one, two = write_trace(tmp_path / "1.csv", 2000, 1000), write_trace(tmp_path / "2.csv", 2000, 1000)
    done = run_program("simulate", one, two, "--chart", tmp_path / "chart.svg")
    assert "2 servers, 2 s: 4000 look-ups of 1000 questions" in done.stdout
    local, _, redis, _ = percentages(done, "2 MiB")
    assert local == 50 and redis == 75  # of each server alone, every other one; of both, three of four
    assert percentages(done, "16 KiB")[0] < 10
    assert "A local cache of 2 MiB would have saved 50.0 %" in done.stdout
    ElementTree.fromstring((tmp_path / "chart.svg").read_text())
    done = run_program("simulate", one, "--sample", "0.5")
    assert abs(percentages(done, "2 MiB")[0] - 50) < 6 and "simulated with 50 %" in done.stdout
    done = run_program("simulate", write_trace(tmp_path / "share.csv", 2000, 1000, share=0.25))
    assert "8000 look-ups of 4000 questions" in done.stdout and "A local cache of 8 MiB would" in done.stdout
    other = tmp_path / "3.csv"
    other.write_text(one.read_text().replace('"m"', '"n"'))
    assert "no question came to two servers" in run_program("simulate", one, other).stdout


def test_a_servers_own_record(serve, repository, tmp_path):
    server = serve(repository.add("simple"), CACHE, f"--record={tmp_path}/1.csv")
    ask(server, *range(10), *range(10))
    server.stop()
    with (tmp_path / "1.csv").open("a") as file:
        file.write('17,"sim')  # a server that was killed
    done = run_program("simulate", tmp_path / "1.csv")
    assert percentages(done, "64 KiB")[0] == 50 and "1 lines could not be read" in done.stdout


def replay(server, path, *arguments, model="simple"):
    done = run_program("measure", "-m", model, "-u", f"{LOCAL}:{server.port}", "--replay", path, *arguments, patience=60)
    return done, {name: int(count) for name, count in re.findall(r"(Cache hits|Cache misses|Request count): (\d+)", done.stdout)}


def test_a_record_is_replayed(serve, repository, tmp_path):
    """What another model was asked is not; what was one question there is one question here."""
    path = tmp_path / "lookups.csv"
    server = serve(repository.add("simple"), CACHE, f"--record={path}")
    asked = [1, 2, 1, 1, 3, 2, 4, 1, 1, 1]
    ask(server, *asked)
    server.stop()
    with path.open("a") as file:
        file.write(f'{int(time.time() * 1000)},"pass_through",1,{7:016x},1000,1,miss,1\n')
    for arguments in ([], ["--concurrency-range", "1", "--seed", "2"], ["--request-rate-range", "100", "--seed", "3"]):
        server = serve(repository, CACHE)
        done, counts = replay(server, path, *arguments)
        assert (done.returncode, done.stderr) == (0, ""), done
        assert counts["Request count"] == counts["Cache hits"] + counts["Cache misses"] == len(asked)  # who joins has missed
        server.expect("simple", inference_count=4)
        assert "of 10 recorded look-ups, 4 different ones" in done.stdout
        assert ("at their times" in done.stdout) == (arguments == [])
    done, counts = replay(server, path, "-b", "3", "--seed", "4")
    assert done.returncode == 0 and counts["Request count"] == 3


def test_its_times_are_kept(serve, repository, tmp_path):
    path = tmp_path / "lookups.csv"
    path.write_text(",".join(FIELDS) + "\n" + "".join(
        f'{5000 + ms},"simple",1,{ms:016x},1000,1,miss,1\n' for ms in (0, 5, 300, 600)))
    began = time.monotonic()
    done, counts = replay(serve(repository.add("simple"), CACHE), path)
    assert done.returncode == 0 and counts["Request count"] == 4 and time.monotonic() - began >= 0.6


@pytest.mark.parametrize("arguments, text", [
    (["--distinct", "3"], "--replay says which inputs are popular"),
    (["--request-count", "9"], "--replay: the record has 2 look-ups of model 'simple', too few for 9 requests of 1"),
    (["--concurrency-range", "1:4"], "--replay fills the cache"),
    (["-x", "2"], "version"),
    (["--replay", "/nowhere"], "--replay /nowhere: it cannot be read"),
    (["-m", "m"], "model 'm'"),
])
def test_what_cannot_be_replayed(serve, repository, tmp_path, arguments, text):
    path = tmp_path / "lookups.csv"
    path.write_text(",".join(FIELDS) + "\n" + f'5,"simple",1,{1:016x},9,1,miss,1\n' * 2)
    done, _ = replay(serve(repository.add("simple"), CACHE), path, *arguments)
    assert done.returncode == 1 and text in done.stderr.splitlines()[0]


def test_a_record_without_the_model(serve, repository, tmp_path):
    done, _ = replay(serve(repository.add("simple"), CACHE), write_trace(tmp_path / "m.csv", 9, 3))
    assert done.returncode == 1 and "m.csv: no look-up of model 'simple' is in it" in done.stderr


@pytest.mark.parametrize("arguments, text", [
    ([], "no file is given"),
    (["/nowhere"], "/nowhere: it cannot be read: No such file"),
    (["/dev/null"], "/dev/null: it cannot be read"),
    ([__file__], "it is no record of a server"),
    (["--sample", "2", "x"], "--sample 2: give a share above 0"),
    (["--sampel", "1"], "unknown argument '--sampel'"),
])
def test_what_cannot_be_simulated(arguments, text):
    done = run_program("simulate", *arguments)
    assert done.returncode == 1 and text in done.stderr and done.stderr.count("\n") == 1 and done.stdout == ""
