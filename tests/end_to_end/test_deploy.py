"""What is in deploy/: the compose files, Prometheus's rules, Grafana's dashboard."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from fronts import FakeTriton
from support import LOCAL, decode, eventually, tensor
from traffic import echo, is_hit, put

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = ["compose.yaml", "compose.triton.yaml"]
METRIC = re.compile(r"\b(?:hippocamp|nv)_[a-z0-9_]+")


def promtool(*arguments):
    program = DEPLOY.parent / ".deps/promtool/promtool"
    if not program.exists():
        pytest.fail(f"{program} is missing: run tools/deps check")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules():
    folder = DEPLOY / "prometheus"
    promtool("check", "config", folder / "prometheus.yml")
    promtool("test", "rules", folder / "rules_test.yml")


def exposed(server):
    return {re.sub("_(bucket|sum|count)$", "", name) for name, _ in server.metrics()} | {name for name, _ in server.metrics()}


@pytest.fixture
def metrics(serve, front, repository, redis_server):
    """The names of all metrics, of a server with both stores and of one in front of another."""
    echo(repository, "echo", cached=True)
    behind = FakeTriton()
    servers = [serve(repository, *redis_server().cache(), "--cache-config=local,size=16MB"), front(behind)]
    yield set().union(*map(exposed, servers))
    behind.stop()


def expressions(panel):
    return [target["expr"] for target in panel.get("targets", [])]


def test_the_dashboard_and_the_rules_use_metrics_that_exist(metrics):
    dashboard = json.loads((DEPLOY / "grafana/dashboards/hippocamp.json").read_text())
    rules = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())["groups"][0]["rules"]
    texts = [text for panel in dashboard["panels"] for text in expressions(panel)] + [rule["expr"] for rule in rules]
    texts += [each["query"]["query"] for each in dashboard["templating"]["list"] if each["type"] == "query"]
    used = {name for text in texts for name in METRIC.findall(text)}
    assert len(used) > 25 and not used - metrics


def test_the_dashboard_s_panels():
    dashboard = json.loads((DEPLOY / "grafana/dashboards/hippocamp.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or all(panel["targets"]), panel["title"]


def differences(ours, theirs, path=""):
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [each for key in ours for each in differences(ours[key], theirs.get(key), f"{path}/{key}")]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [each for i, (a, b) in enumerate(zip(ours, theirs)) for each in differences(a, b, f"{path}/{i}")]
    return [] if ours == theirs else [path]


def test_grafana_knows_every_field_of_the_dashboard():
    """Grafana's SDK, which is made from Grafana's schema, drops what is not in it."""
    plugins.register_default_plugins()
    ours = json.loads((DEPLOY / "grafana/dashboards/hippocamp.json").read_text())
    theirs = json.loads(JSONEncoder().encode(Dashboard.from_json(ours)))
    assert differences(ours, theirs) == []
    ours["panels"][1]["tittle"] = ours["panels"][1]["options"]["colour"] = "x"
    theirs = json.loads(JSONEncoder().encode(Dashboard.from_json(ours)))
    assert differences(ours, theirs) == ["/panels/1/options/colour", "/panels/1/tittle"]


@pytest.mark.parametrize("name", COMPOSE)
def test_what_compose_files_name_is_there(name):
    services = yaml.safe_load((DEPLOY / name).read_text())["services"]
    for service in services.values():
        if "build" in service:
            context = DEPLOY / service["build"]["context"]
            assert (context / service["build"]["dockerfile"]).is_file()
        for volume in service.get("volumes", []):
            assert volume.startswith("${MODELS") or (DEPLOY / volume.split(":")[0]).exists(), volume
        assert re.search(r":[^:]*\d|^hippocamp$|^\$\{", service["image"]), "an image without a version"
        assert set(service.get("depends_on", [])) <= set(services)


def commands(name):
    """{service: arguments} of the services that run hippocamp."""
    services = yaml.safe_load((DEPLOY / name).read_text())["services"]
    return {key: service["command"] for key, service in services.items() if service["image"] == "hippocamp"}


def replaced(arguments, **others):
    """With other values of these options, or of these keys of --cache-config."""
    texts = [text for text in arguments if not text.startswith("--model-repository")]
    for key, value in others.items():
        texts = [re.sub(rf"(\b{key}=).*", rf"\g<1>{value}", text) for text in texts]
    return texts


def test_the_servers_of_the_compose_file(serve, repository, redis_server):
    """Their command lines, here, with a Redis of ours: the second answers from what the first has stored."""
    redis = redis_server()
    echo(repository, "echo", cached=True)
    servers = [serve(repository, *replaced(arguments[1:], host=LOCAL, port=redis.port))
               for arguments in commands("compose.yaml").values()]
    assert len(servers) == 2
    question = {"INPUT0": tensor([1], "INT32")}
    eventually(lambda: is_hit(put(servers[0], "echo", question)), "a hit")
    redis.wait_entries(1, "echo")
    before = servers[1].statistics("echo")["execution_count"]
    eventually(lambda: put(servers[1], "echo", question, {"Cache-Control": "only-if-cached"}).status == 200, "the entry")
    assert servers[1].statistics("echo")["execution_count"] == before


def test_the_front_of_the_compose_file(front, redis_server):
    (arguments,) = commands("compose.triton.yaml").values()
    behind, redis = FakeTriton(), redis_server()
    texts = [text for text in replaced(arguments[1:], host=LOCAL, port=redis.port) if "--upstream=" not in text]
    through = front(behind, *texts)
    question = {"X": tensor([1], "INT32")}
    eventually(lambda: "hit" in put(through, "m", question).headers["cache-status"], "a hit")
    assert decode(put(through, "m", question))["Y"][0] == 2
    behind.stop()
