"""Fixtures: the example models, repositories, servers and Redis instances, all owned by one test or one session."""

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from certificates import Authority
from fronts import FakeTriton, Front
from faults import Proxy
from peers import Peer
from support import DATATYPES, REDIS, ROOT, Redis, Repository, Server, free_port
from topology import Cluster, ClusterTls, RedisSocket, RedisTls, Sentinels
from traffic import wait_connected
from trouble import PLACES, NotHere

EXAMPLES = ["simple", "simple_string", "identity", "delay", "densenet_onnx"]
TEST_MODELS = [*(f"identity_{datatype}" for datatype in DATATYPES), "nonzero", "scalar", "gather"]
DEPLOYMENTS = itertools.count(1)


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


def started(servers, repository, arguments, **options):
    """Starts a server; reading its port waits until it listens."""
    path = getattr(repository, "path", repository)
    server = Server(f"--model-repository={path}", "--http-address=127.0.0.1", "--http-port=0", "--metrics-port=0",
                    *arguments, **options)
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
    """start(repository, *arguments): a server that may fail to come up. Those still running are stopped after the test,
    and must exit with 0."""
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


@pytest.fixture
def fake():
    """fake(answers): a FakeTriton, which stops after the test."""
    made = []

    def make(answers=None, **options):
        made.append(FakeTriton(answers, **options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def start_front():
    """start_front(*servers, *options): a server in front of others that may fail to come up."""
    fronts = []

    def make(*arguments, **options):
        fronts.append(Front(*arguments, **options))
        return fronts[-1]

    yield make
    stop_all(fronts)


@pytest.fixture
def front(start_front):
    """front(*servers, *options): a server in front of others that listens."""
    def listening(*arguments, **options):
        made = start_front(*arguments, **options)
        assert made.port and made.metrics_port
        return made

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


def owner(tmp_path, name, kind):
    """make(...): makes instances of `kind`, each in a folder of its own; they stop in the reverse order."""
    made = []

    def make(*arguments, **options):
        folder = tmp_path / f"{name}{len(made)}"
        folder.mkdir()
        made.append(kind(folder, *arguments, **options))
        return made[-1]

    yield make
    for thing in reversed(made):
        thing.stop()


@pytest.fixture
def program():
    """The program of a test's Redis; tests marked with either_program run with Redis and with Valkey."""
    return REDIS


@pytest.fixture
def redis_server(tmp_path, program):
    """redis_server(*options, port=None): an empty Redis on a port of its own."""
    yield from owner(tmp_path, "redis", lambda folder, *options, port=None: Redis(
        folder, port or free_port(), options, program))


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """The CA that tests trust; its certificates are made once."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory):
    """A CA that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture
def peer():
    """peer(says=None): a Peer."""
    made = []

    def make(*arguments):
        made.append(Peer(*arguments))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def redis_tls(tmp_path, authority, program):
    """redis_tls(identity=None, clients=False, options=()): a Redis with a TLS port; see RedisTls."""
    yield from owner(tmp_path, "tls", lambda folder, identity=None, **options: RedisTls(
        folder, authority, identity or authority.server(), program=program, **options))


@pytest.fixture
def redis_socket(tmp_path, program):
    """redis_socket(*options): a Redis on a Unix socket."""
    yield from owner(tmp_path, "socket", lambda folder, *options: RedisSocket(folder, *options, program=program))


@pytest.fixture
def sentinels(tmp_path, program):
    """sentinels(**options): a master, a replica and three sentinels."""
    yield from owner(tmp_path, "sentinels", lambda folder, **options: Sentinels(folder, program=program, **options))


@pytest.fixture
def cluster(tmp_path, program):
    """cluster(): three primaries, each with a replica."""
    yield from owner(tmp_path, "cluster", lambda folder: Cluster(folder, program=program))


@pytest.fixture
def cluster_tls(tmp_path, authority, program):
    """cluster_tls(*names): a cluster whose nodes are reached over TLS; names: the names in their certificate."""
    yield from owner(tmp_path, "cluster", lambda folder, *names: ClusterTls(folder, authority, names, program))


@pytest.fixture
def place(tmp_path, authority, where):
    """The place (see trouble.PLACES) that the test's parameter `where` names: one Redis or several."""
    folder = tmp_path / "place"
    folder.mkdir()
    try:
        made = PLACES[where](folder, authority)
    except NotHere as reason:
        pytest.skip(str(reason))
    yield made
    made.stop()


@pytest.fixture
def proxy():
    """proxy(port): a Proxy in front of that port."""
    made = []

    def make(port):
        made.append(Proxy(port))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def shared_server(servers, folder, models, arguments):
    """A server that many tests use one after another, each with models of its own."""
    repository = Repository(folder, models)
    server = started(servers, repository, ["--model-control-mode=explicit", "--threads=1", *arguments])
    server.repository = repository
    return server


def deployment(server, repository):
    """deploy(repository): the shared server, with the test's models loaded until the test ends. Each deployment differs
    in one parameter from all others, so that it shares no cache entry with them."""
    names = []

    def deploy(own):
        number = next(DEPLOYMENTS)
        places = sorted(own.path.iterdir(), key=lambda place: ('"ensemble"' in (place / "config.pbtxt").read_text(),
                                                               place.stat().st_ctime_ns))
        server.inserts_before = server.metrics()[("hippocamp_cache_inserts_total", frozenset())]
        for place in places:
            copy = shutil.copytree(place, server.repository.path / place.name)
            with open(copy / "config.pbtxt", "a") as config:
                config.write(f'parameters {{ key: "deployment" value {{ string_value: "{number}" }} }}\n')
            names.append(place.name)
            server.load(place.name)
        return server

    yield deploy
    for name in reversed(names):
        if server.ready(name):
            server.unload(name)
        shutil.rmtree(server.repository.path / name)


@pytest.fixture(scope="session")
def local_server(tmp_path_factory, models):
    servers = []
    yield shared_server(servers, tmp_path_factory.mktemp("local"), models, ["--cache-config=local,size=64MB"])
    stop_all(servers)


@pytest.fixture(scope="session", params=["local", "redis", "tiered"])
def either_server(request, tmp_path_factory, models):
    folder, servers = tmp_path_factory.mktemp("either"), []
    if request.param == "local":
        server = request.getfixturevalue("local_server")
    else:
        (folder / "redis").mkdir()
        redis = Redis(folder / "redis", free_port(), [])
        server = shared_server(servers, folder / "models", models, [
            *redis.cache("lookup_timeout=5000"), *(["--cache-config=local,size=16MB"] if request.param == "tiered" else [])])
        wait_connected(server)
    server.store = request.param
    yield server
    stop_all(servers)
    if servers:
        redis.stop()


@pytest.fixture
def deploy(local_server, repository):
    yield from deployment(local_server, repository)


@pytest.fixture
def deploy_on_either(either_server, repository):
    """As deploy, once with each store: local, Redis, and both. The server's attribute `store` names it."""
    yield from deployment(either_server, repository)


@pytest.fixture(params=["local", "redis", "tiered"])
def caching(request, serve):
    """caching(repository, *settings, options=()): a server of the test's own, with one thread, whose store, local, Redis
    or both, is ready; its attribute `store` says which, and `redis` is the Redis."""
    redis = request.getfixturevalue("redis_server")() if request.param != "local" else None

    def start(repository, *settings, options=()):
        if redis:
            arguments = redis.cache("lookup_timeout=5000", *settings)
        else:
            arguments = [f"--cache-config=local,{setting}" for setting in settings]
        if request.param != "redis":
            arguments.append("--cache-config=local,size=16MB")
        server = serve(repository, *arguments, "--threads=1", *options)
        if redis:
            wait_connected(server)
        server.store, server.redis = request.param, redis
        return server

    return start
