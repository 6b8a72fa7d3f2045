"""Fixtures: the example models, repositories, servers and Redis instances, all owned by one test or one session."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import DATATYPES, ROOT, Redis, Repository, Server, free_port

EXAMPLES = ["simple", "simple_string", "identity", "delay", "densenet_onnx"]
TEST_MODELS = [*(f"identity_{datatype}" for datatype in DATATYPES), "nonzero", "scalar", "gather"]


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """The folder of each example and test model, by name."""
    folder = os.environ.get("HIPPOCAMP_MODELS")
    if folder is None:
        base = tmp_path_factory.getbasetemp()
        folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "models"  # shared by the workers
        done = subprocess.run([sys.executable, ROOT / "tools" / "models", "--test", folder], capture_output=True,
                              text=True, timeout=50)
        if done.returncode != 0:
            pytest.fail(f"tools/models failed (has tools/deps been run?):\n{done.stdout}{done.stderr}")

    def find(name):
        place = Path(folder, name)
        if not (place / "config.pbtxt").exists():
            pytest.fail(f"there is no model {place}: run `tools/models --test {folder}`, or unset HIPPOCAMP_MODELS")
        return place

    return find


@pytest.fixture
def repository(tmp_path, models):
    return Repository(tmp_path / "repository", models)


def started(servers, repository, arguments, environment=None):
    """A server that is on its way; reading its port waits until it listens."""
    path = getattr(repository, "path", repository)
    server = Server(f"--model-repository={path}", "--http-address=127.0.0.1", "--http-port=0", "--metrics-port=0",
                    *arguments, environment=environment)
    servers.append(server)
    return server


def stop_all(servers):
    failures = []
    for server in servers:
        try:
            server.stop()
        except BaseException as failure:  # the others must end too
            failures.append(failure)
            server.process.kill()
            server.process.wait()
    if failures:
        raise failures[0]


@pytest.fixture
def start():
    """start(repository, *arguments): a server that need not come up. All end with the test, with exit code 0."""
    servers = []
    yield lambda repository, *arguments, **options: started(servers, repository, arguments, **options)
    stop_all(servers)


@pytest.fixture
def serve(start):
    """serve(repository, *arguments): a server that listens."""
    def listening(repository, *arguments, **options):
        server = start(repository, *arguments, **options)
        assert server.port and server.metrics_port
        return server

    return listening


@pytest.fixture(scope="session")
def server(tmp_path_factory, models):
    """One server with all example and test models, for tests that change nothing in it."""
    servers = []
    repository = Repository(tmp_path_factory.mktemp("all"), models).add(*EXAMPLES, *TEST_MODELS)
    listening = started(servers, repository, ["--cache-config=local,size=64MB"])
    assert listening.port and listening.metrics_port
    yield listening
    stop_all(servers)


@pytest.fixture
def redis_server(tmp_path):
    """redis_server(*options, port=None): an empty Redis on a port of its own."""
    instances = []

    def start(*options, port=None):
        folder = tmp_path / f"redis{len(instances)}"
        folder.mkdir()
        instances.append(Redis(folder, port or free_port(), options))
        return instances[-1]

    yield start
    for instance in instances:
        instance.stop()
