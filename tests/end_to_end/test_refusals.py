"""A Redis that refuses: no request fails, each refusal is counted by its reason, and the log stays short."""

import socket
import threading

import pytest

from load import Load, ask, complaints, wait_hits
from support import LOCAL, PATIENCE, eventually
from topology import add_user, either_program
from traffic import metric

FEW = 4  # lines of the log
QUESTIONS = range(20)
PASSWORD = "hush-the-first"


@pytest.fixture
def simple(serve, repository):
    repository.add("simple")
    return lambda *arguments, **options: serve(repository, *arguments, "--threads=1", **options)


def refusals(server, reason):
    return metric(server, "hippocamp_cache_refusals_total", reason=reason)


def check_log(server, few=FEW):
    assert len(complaints(server)) <= few, complaints(server)


def wait_refused(server, reason, load, first=1000):
    """Asks new questions, whose answers are to be stored, until Redis refuses."""
    new = iter(range(first, first + 100_000))

    def refused():
        ask(server, next(new))
        return refusals(server, reason) > 0

    eventually(refused, f"refusals: {reason}")
    load.go_on()


# --- Some commands are refused ---


@either_program
def test_full(simple, redis_server):
    """Entries that are there are still found."""
    redis = redis_server("--maxmemory-policy", "noeviction")
    server = simple(*redis.cache("lookup_timeout=5000"))
    wait_hits(server, QUESTIONS)
    redis.command("CONFIG", "SET", "maxmemory", "1000")
    with Load(server, len(QUESTIONS)) as load:
        wait_refused(server, "oom", load)
        assert all(ask(server, first) for first in QUESTIONS)
        redis.command("CONFIG", "SET", "maxmemory", "1gb")
        wait_hits(server, range(2000, 2010), "hits on what is stored again")
    check_log(server)
    assert complaints(server, "maxmemory")


def test_full_from_the_start(simple, redis_server):
    """There is no room for the secret that keys are made with."""
    redis = redis_server("--maxmemory", "1000", "--maxmemory-policy", "noeviction")
    server = simple(*redis.cache("lookup_timeout=5000"))
    with Load(server, len(QUESTIONS)) as load:
        wait_refused(server, "oom", load)
        redis.command("CONFIG", "SET", "maxmemory", "1gb")
        wait_hits(server, QUESTIONS)
    check_log(server)


def test_read_only(simple, redis_server):
    """The Redis has become a replica of another."""
    redis, other = redis_server(), redis_server()
    server = simple(*redis.cache("lookup_timeout=5000"))
    wait_hits(server, QUESTIONS)
    redis.command("CONFIG", "SET", "replica-serve-stale-data", "yes")
    redis.command("REPLICAOF", LOCAL, other.port)
    with Load(server, len(QUESTIONS)) as load:
        wait_refused(server, "read_only", load)
        redis.command("REPLICAOF", "NO", "ONE")
        wait_hits(server, QUESTIONS)
    check_log(server)
    assert complaints(server, "READONLY.*primary")


def test_replica_without_its_master(simple, redis_server):
    redis, other = redis_server(), redis_server()
    server = simple(*redis.cache("lookup_timeout=5000"))
    wait_hits(server, QUESTIONS)
    other.stop()
    redis.command("CONFIG", "SET", "replica-serve-stale-data", "no")
    redis.command("REPLICAOF", LOCAL, other.port)
    with Load(server, len(QUESTIONS)) as load:
        wait_refused(server, "master_down", load)
        redis.command("REPLICAOF", "NO", "ONE")
        wait_hits(server, QUESTIONS)
    check_log(server)


def test_too_few_replicas(simple, redis_server):
    redis = redis_server()
    server = simple(*redis.cache("lookup_timeout=5000"))
    wait_hits(server, QUESTIONS)
    redis.command("CONFIG", "SET", "min-replicas-to-write", "1")
    with Load(server, len(QUESTIONS)) as load:
        wait_refused(server, "no_replicas", load)
        assert all(ask(server, first) for first in QUESTIONS)
        redis.command("CONFIG", "SET", "min-replicas-to-write", "0")
        wait_hits(server, range(2000, 2010))
    check_log(server)


def test_cannot_save(simple, redis_server):
    """The Redis's folder is gone, so that it takes no writes."""
    redis = redis_server("--save", "3600 1000000", "--stop-writes-on-bgsave-error", "yes",
                         "--enable-protected-configs", "yes")
    server = simple(*redis.cache("lookup_timeout=5000"))
    wait_hits(server, QUESTIONS)
    gone = redis.folder / "gone"
    gone.mkdir()
    redis.command("CONFIG", "SET", "dir", gone)
    gone.rmdir()
    redis.command("BGSAVE")
    eventually(lambda: b"rdb_last_bgsave_status:err" in redis.command("INFO", "persistence"), "a failed save")
    with Load(server, len(QUESTIONS)) as load:
        wait_refused(server, "misconf", load)
        assert all(ask(server, first) for first in QUESTIONS)
        redis.command("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
        wait_hits(server, range(2000, 2010))
    check_log(server)


# --- All commands are refused ---


def test_busy(simple, redis_server):
    """A script that does not end."""
    redis = redis_server("--busy-reply-threshold", "50")
    server = simple(*redis.cache("lookup_timeout=5000"))
    wait_hits(server, QUESTIONS)
    with Load(server, len(QUESTIONS)) as load, socket.create_connection((LOCAL, redis.port)) as other:
        other.sendall(b"EVAL 'while true do end' 0\r\n")
        wait_refused(server, "busy", load)
        redis.command("SCRIPT", "KILL")
        wait_hits(server, QUESTIONS)
    check_log(server)


def test_loading(simple, redis_server):
    """The Redis was restarted, and slowly loads its saved data."""
    redis = redis_server("--save", "3600 1000000", "--loading-process-events-interval-bytes", "1024",
                         "--rdbcompression", "no")
    server = simple(*redis.cache("lookup_timeout=5000"))
    wait_hits(server, QUESTIONS)
    for i in range(30):
        redis.command("SET", f"other:{i}", "x" * 20_000)
    redis.command("SAVE")
    with Load(server, len(QUESTIONS)) as load:
        redis.stop()
        redis.options = [*redis.options, "--key-load-delay", "100000"]
        starting = threading.Thread(target=redis.start)
        starting.start()
        wait_refused(server, "loading", load)
        redis.command("CONFIG", "SET", "key-load-delay", "0")
        starting.join(PATIENCE)
        wait_hits(server, QUESTIONS)
    check_log(server)


def test_cluster_down(simple, cluster):
    nodes = cluster()
    server = simple(*nodes.cache())
    wait_hits(server, QUESTIONS)
    slot = next(nodes.slot(key) for key in nodes.entries())
    for node in nodes.nodes:
        node.command("CONFIG", "SET", "cluster-require-full-coverage", "yes")
    for node in nodes.primaries():
        node.command("CLUSTER", "DELSLOTS", slot)
    with Load(server, len(QUESTIONS)) as load:
        wait_refused(server, "cluster_down", load)
        nodes.primaries()[0].command("CLUSTER", "ADDSLOTS", slot)
        eventually(nodes.agreed, "a cluster that is whole")
        wait_hits(server, QUESTIONS)
    check_log(server, 2 * len(nodes.nodes))  # each may say two things: the slot is not served, and the cluster is down


# --- Log-in ---


@either_program
def test_too_many_clients(simple, redis_server):
    redis = redis_server()
    server = simple(*redis.cache("lookup_timeout=5000"))
    wait_hits(server, QUESTIONS)
    with Load(server, len(QUESTIONS)) as load, socket.create_connection((LOCAL, redis.port)) as other:
        stream = other.makefile("rb")

        def say(*words):
            other.sendall(" ".join(words).encode() + b"\r\n")
            return stream.readline()

        assert say("CONFIG", "SET", "maxclients", "1") == b"+OK\r\n"
        say("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        eventually(lambda: complaints(server, "max number of clients"), "words about it")
        load.go_on()
        eventually(lambda: refusals(server, "max_clients") > 0, "refusals of clients")
        assert say("CONFIG", "SET", "maxclients", "100") == b"+OK\r\n"
        wait_hits(server, QUESTIONS)
    check_log(server)


def test_password_is_changed(simple, redis_server):
    """The password is changed back later, as the server's is fixed."""
    redis = redis_server("--requirepass", PASSWORD)
    redis.password = PASSWORD
    server = simple(*redis.cache("lookup_timeout=5000", f"password={PASSWORD}"))
    wait_hits(server, QUESTIONS)
    with Load(server, len(QUESTIONS)) as load:
        redis.command("CONFIG", "SET", "requirepass", "hush-the-second")
        redis.password = "hush-the-second"
        redis.command("CLIENT", "KILL", "TYPE", "normal")
        eventually(lambda: refusals(server, "wrong_pass") > 0, "refused log-ins")
        load.go_on()
        redis.command("CONFIG", "SET", "requirepass", PASSWORD)
        redis.password = PASSWORD
        wait_hits(server, QUESTIONS)
    check_log(server)
    assert not server.lines("hush")


def test_keys_are_forbidden(simple, redis_server):
    redis = redis_server()
    add_user(redis, "cat", PASSWORD)
    server = simple(*redis.cache("lookup_timeout=5000", "user=cat", f"password={PASSWORD}"))
    wait_hits(server, QUESTIONS)
    with Load(server, len(QUESTIONS)) as load:
        redis.command("ACL", "SETUSER", "cat", "-set")
        wait_refused(server, "no_perm", load)
        assert all(ask(server, first) for first in QUESTIONS)
        redis.command("ACL", "SETUSER", "cat", "+set")
        wait_hits(server, range(2000, 2010))
    check_log(server)


# --- What is said at the start ---


@either_program
@pytest.mark.parametrize("options, said", [
    (["--maxmemory", "0"], "maxmemory is 0"),
    (["--maxmemory-policy", "noeviction"], "maxmemory-policy is noeviction"),
    ([], None)], ids=["unbounded", "noeviction", "well"])
def test_how_it_is_set_up(simple, redis_server, options, said):
    redis = redis_server(*options)
    server = simple(*redis.cache("lookup_timeout=5000"))
    if said:
        server.wait_log(said)
    wait_hits(server, QUESTIONS)
    assert len(complaints(server)) == (said is not None)


def test_how_it_is_set_up_is_not_told(simple, redis_server):
    redis = redis_server("--maxmemory", "0")
    add_user(redis, "cat", PASSWORD, "-info")
    server = simple(*redis.cache("lookup_timeout=5000", "user=cat", f"password={PASSWORD}"))
    wait_hits(server, QUESTIONS)
    assert not complaints(server)
    assert refusals(server, "no_perm") == 1  # counted, and not told
