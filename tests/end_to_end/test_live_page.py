"""The live page: GET / on the metrics port, and the numbers that it shows, in a real browser."""

import re
import shutil
import subprocess
import time
from urllib.parse import quote

import pytest

from support import LOCAL, eventually, tensor
from traffic import put

FIELDS = ["time_ms", "requests", "failures", "hits", "joined", "misses", "bypassed", "errors", "saved_us", "hit_p50_us",
          "hit_p99_us", "model_p50_us", "model_p99_us", "entries", "used_bytes", "evictions"]


@pytest.fixture
def asked(serve, repository):
    """A server that has answered 10 requests: 3 by its model, 7 from the cache."""
    server = serve(repository.add("simple"), "--cache-config=local,size=1MB", "--cost-per-hour=2.5")
    eventually(lambda: len(samples(server)) >= 1, "a first sample")
    for seed in (1, 2, 3, 1, 2, 3, 1, 1, 1, 1):
        array = tensor([[seed] * 16], "INT32")
        assert put(server, "simple", {"INPUT0": array, "INPUT1": array}).status == 200
    return server


def history(server, query=""):
    reply = server.get(f"/history{query}", port=server.metrics_port)
    assert reply.status == 200 and reply.headers["content-type"] == "application/json"
    return reply.json


def samples(server, query=""):
    told = history(server, query)
    assert told["fields"] == FIELDS
    return [dict(zip(FIELDS, values, strict=True)) for values in told["samples"]]


def total(server, name):
    return sum(sample[name] for sample in samples(server))


def test_the_history_is_what_the_metrics_count(asked):
    eventually(lambda: total(asked, "requests") == 10, "all are in a sample")
    assert (total(asked, "hits"), total(asked, "misses"), total(asked, "failures")) == (7, 3, 0)
    last = samples(asked)[-1]
    assert last["entries"] == 3 and last["used_bytes"] > 0
    metrics = asked.get("/metrics", port=asked.metrics_port).body.decode()
    assert re.search(r'hippocamp_request_duration_seconds_count{model="simple",version="1",outcome="hit"} 7\n', metrics)
    assert re.search(r'hippocamp_request_duration_seconds_bucket{.*outcome="model",le="\+Inf"} 3\n', metrics)
    assert history(asked)["cost_per_hour"] == 2.5


def test_only_what_is_new(asked):
    eventually(lambda: len(samples(asked)) >= 3, "three samples")
    times = [sample["time_ms"] for sample in samples(asked)]
    assert times == sorted(set(times))
    assert [sample["time_ms"] for sample in samples(asked, f"?since={times[1]}")][0] == times[2]
    assert samples(asked, f"?since={2 ** 60 // 10}") == []
    assert len(samples(asked, "?since=x")) >= len(times)


def test_the_page_may_be_seen_by_whom_the_cache_may(serve, repository):
    server = serve(repository.add("simple"), "--allow-cache-admin=false")
    assert server.get("/history", port=server.metrics_port).status == 403
    server = serve(repository, "--cache-config=none")
    assert server.get("/history", port=server.metrics_port).status == 200  # there is none to see
    foreign = server.get("/history", port=server.metrics_port, headers={"Origin": "http://evil.example"})
    assert foreign.status == 403
    assert server.get("/", port=server.port).status == 404  # the port of inference has no page
    server = serve(repository, "--cache-config=local,size=1MB", "--allow-cache-admin")
    page = server.get("/", port=server.port)
    assert page.status == 200 and page.headers["content-type"].startswith("text/html")
    history = server.get("/history", port=server.port).json
    assert history["may_purge"] and not history["has_metrics"]
    assert server.get("/metrics", port=server.port).status == 404


def test_its_files(asked):
    for path, kind in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")):
        reply = asked.get(path, port=asked.metrics_port)
        assert reply.status == 200 and reply.headers["content-type"] == f"{kind}; charset=utf-8"
        policy = reply.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'") and "unsafe" not in policy
        assert b"//" not in reply.body.replace(b"http://www.w3.org/2000/svg", b"")  # nothing from elsewhere


def browse(server, seconds=4):
    """(the page as the browser has it after some seconds, what its console says)."""
    assert shutil.which("chromium"), "chromium is missing: run tools/deps check"
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom",
         f"--virtual-time-budget={seconds * 1000}", f"http://{LOCAL}:{server.metrics_port}/"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_a_browser_shows_what_the_metrics_say(asked):
    eventually(lambda: total(asked, "requests") == 10, "all are in a sample")
    page, console = browse(asked)
    assert console == []
    text = re.sub(r"<[^>]*>", " ", page.replace("&nbsp;", " "))
    row = re.search(r"<td>simple</td>.*?</tr>", page)[0]
    cells = re.findall(r"<td>(.*?)</td>", row)
    assert cells[:10] == ["simple", "1", "row", "10", "7", "0", "70.0 %", "0", cells[8], "0"]
    assert re.search(r"70\.0 %\s+hit ratio, last minute", text)
    assert re.search(r"3\s+entries in local", text) and "money saved" in text and "no answer" not in text
    assert page.count("<svg ") == 4 and page.count('class="line ') == 9
    assert re.search(r'aria-label="hit ratio: ', page)


def nodes(server):
    return server.get("/v2/cache", port=server.metrics_port).json["nodes"]


def test_the_servers_of_the_cache(serve, repository, redis_server):
    redis = redis_server()
    server = serve(repository.add("simple"), *redis.cache())
    array = tensor([[1] * 16], "INT32")
    eventually(lambda: put(server, "simple", {"INPUT0": array, "INPUT1": array}).status == 200 and
               nodes(server)[0]["round_trip_us"] > 0, "Redis was asked")
    (node,) = nodes(server)
    assert node["address"] == f"{LOCAL}:{redis.port}" and node["lookup_connections"] > 0 == node["open_breakers"]
    page, console = browse(server)
    assert console == [] and re.search(rf"<td>{LOCAL}:{redis.port}</td><td>serves</td><td>{node['lookup_connections']}</td>", page)
    metrics = server.get("/metrics", port=server.metrics_port).body.decode()
    assert f'hippocamp_cache_node_connections{{node="{node["address"]}"}} {node["lookup_connections"]}\n' in metrics
    redis.stop()
    eventually(lambda: nodes(server)[0]["connected_threads"] == 0, "its end is seen")
    assert "<td>not connected</td>" in browse(server)[0]


def test_keys(serve, repository):
    """Which answers the cache gave most, and which the model computed again, as the cache is too small for all."""
    repository.copy("identity_FP32", cached=True)
    server = serve(repository, "--cache-config=local,size=64KB")
    seeds = [1] * 30 + [2] * 10 + [3]

    def ask(seed, elements=4):
        assert put(server, "identity_FP32", {"INPUT0": tensor([[float(seed)] * elements], "FP32")}).status == 200

    for seed in seeds:
        ask(seed)
    (model,) = server.get("/v2/cache", port=server.metrics_port).json["models"]
    assert sorted((key["count"] for key in model["valuable_keys"]), reverse=True) == [29, 9]
    assert model["wasteful_keys"] == [] and all(len(key["key"]) == 16 and key["bytes"] > 16 for key in model["valuable_keys"])
    for _ in range(3):
        for seed in range(100, 110):
            ask(seed, 4096)  # of 16 KB each
    (model,) = server.get("/v2/cache", port=server.metrics_port).json["models"]
    assert len(model["wasteful_keys"]) > 2 and {key["count"] for key in model["wasteful_keys"]} <= {2, 3}
    page, console = browse(server)
    assert console == [] and model["valuable_keys"][0]["key"] in page and model["wasteful_keys"][0]["key"] in page


def test_a_browser_and_a_server_without_a_cache(serve, repository):
    server = serve(repository.add("simple"), "--cache-config=none")
    page, console = browse(server)
    assert "no answer" not in page and re.search(r"<b>none</b><span>cache</span>", page)
    assert [line for line in console if "404" not in line] == []


def test_a_model_with_a_hostile_name(serve, repository):
    """Names are shown as text."""
    server = serve(repository.add("simple"), "--cache-config=local,size=1MB", "--model-control-mode=explicit")
    name = '<img src=x onerror=alert(1)>"\''
    repository.copy("simple", "other")
    shutil.move(repository.path / "other", repository.path / name)
    config = repository.path / name / "config.pbtxt"
    config.write_text(re.sub(r'(?m)^name: ".*"\n', "", config.read_text()))
    assert server.load(quote(name, safe="")).status == 200
    time.sleep(1.1)
    page, console = browse(server)
    assert console == [] and "<img" not in page and "&lt;img src=x onerror" in page
