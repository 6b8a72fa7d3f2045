"""Redis in operation: names that move, passwords and certificates that rotate, writes held back, dumps restored."""

import shutil
import signal
import time

import pytest

from load import Load, ask, complaints, wait_hits
from peers import array, bulk, error
from support import LOCAL, ask_identity, eventually, tensor
from topology import cache_options
from traffic import asked_until, cache_parameters, cache_status, is_hit, metric, put, wait_connected
from triton import RELEASE

pytestmark = pytest.mark.threads

PURGE = "/v2/cache/purge"


@pytest.fixture
def simple(serve, repository):
    repository.add("simple")
    return lambda *arguments, threads=1, **options: serve(repository, *arguments, f"--threads={threads}", **options)


def question(server, seed=1, model="simple", **options):
    array = tensor([[seed] * 16], "INT32")
    return put(server, model, {"INPUT0": array, "INPUT1": array}, **options)


# --- A name that leads elsewhere ---


def test_the_primary_behind_an_address_is_demoted(simple, redis_server, proxy):
    """The connection to the old one does not break: READONLY is the only sign."""
    old, new = redis_server(), redis_server()
    new.command("REPLICAOF", LOCAL, old.port)
    door = proxy(old.port)
    server = simple(*cache_options(host=LOCAL, port=door.port, lookup_timeout=300))
    wait_hits(server)
    eventually(lambda: new.entries(), "the replica's copy")
    new.command("REPLICAOF", "NO", "ONE")
    old.command("REPLICAOF", LOCAL, new.port)
    door.target = new.port
    before = len(new.entries())
    seeds = iter(range(100, 1000))
    eventually(lambda: question(server, next(seeds)).status == 200 and len(new.entries()) > before,
               "an entry in the new primary")
    wait_hits(server)


# --- Writes held back ---


def test_look_ups_go_on_while_writes_are_held_back(simple, redis_server, repository):
    redis = redis_server()
    repository.copy("identity", "large", cached=True)
    server = simple(*redis.cache("lookup_timeout=1000"))
    wait_hits(server, range(5))
    redis.command("CLIENT", "PAUSE", 4000, "WRITE")
    for seed in range(200, 210):
        assert question(server, seed).status == 200  # its entry waits
        ask_identity(server, [seed] * 50_000, "large")  # the first of its size: there is no connection for it yet
        for known in range(5):
            assert ask(server, known)
    seeds = iter(range(300, 10_000))
    eventually(lambda: question(server, next(seeds)).status == 200 and len(redis.entries()) > 15, "stored again")


# --- Purges ---


def test_a_purge_is_of_its_own_prefix(simple, redis_server):
    """Nested prefixes, and other programs that use the same Redis, are left alone."""
    redis = redis_server()
    short = simple(*redis.cache("key_prefix=app", "lookup_timeout=1000"))
    long = simple(*redis.cache("key_prefix=app:staging", "lookup_timeout=1000"))
    for server in (short, long):
        wait_hits(server)
    strangers = ["app:a:1:b:c", "app:user:7:cart:0123456789abcdef", "app:key", "apple:simple:1:ab:" + "0" * 32]
    for key in strangers:
        redis.command("SET", key, "x")
    assert short.request("POST", PURGE, b"{}", port=short.metrics_port).json["purged"] == 1
    assert ask(long)
    assert redis.command("EXISTS", *strangers) == len(strangers)


@pytest.mark.parametrize("kind", ["redis", "tiered"])
def test_what_was_purged_does_not_come_back(simple, redis_server, tmp_path, kind):
    """Redis starts again from a dump that is older than the purge."""
    redis = redis_server()
    prefix = "redis." if kind == "tiered" else ""
    server = simple(*(f"--cache-config={kind},{option}" for option in (
        f"{prefix}host={LOCAL}", f"{prefix}port={redis.port}", "lookup_timeout=1000")))
    wait_hits(server)
    redis.command("SAVE")
    time.sleep(0.01)  # dates are in ms
    assert server.request("POST", PURGE, b'{"model":"simple"}', port=server.metrics_port).status == 200
    redis.stop()
    shutil.copy(redis.folder / "dump.rdb", tmp_path / "kept.rdb")
    redis.start()
    assert redis.entries(), "the dump brought them back"
    wait_connected(server)
    assert not ask(server)
    wait_hits(server)  # what is stored now is good


# --- Connections ---


def test_idle_connections_that_are_closed(simple, redis_server):
    redis = redis_server("--timeout", "1")
    server = simple(*redis.cache("pool_size=3", "lookup_timeout=1000"))
    wait_hits(server)
    before = len(complaints(server))
    hits = 0
    for _ in range(4):
        time.sleep(1.5)  # longer than Redis's timeout
        hits += ask(server)
    assert hits >= 3  # a question that meets the end of its connection is a miss
    assert len(complaints(server)) == before


@pytest.mark.parametrize("hated", [(b"HELLO",), (b"HELLO", b"CLIENT", b"INFO")], ids=["hello", "all"])
def test_peers_that_hang_up(simple, peer, hated):
    """Some proxies end a connection at a command that they do not know."""
    def says(peer, words, send):
        if words[0].upper() in hated:
            raise OSError("hang up")

    server = simple(*peer(says).cache())
    wait_hits(server)
    assert ask(server)


def test_an_error_in_the_place_of_a_key(serve, repository, peer):
    """Only that row of a batch is a miss, and the connection stays open."""
    repository.scale("scale", {1: 2.0}, cached=True)
    broken = set()

    def says(peer, words, send):
        if words[0].upper() == b"MGET":
            keys = words[1:]
            send(array(*(error("ERR upstream failure") if number in broken or key not in peer.kept
                         else bulk(peer.kept[key]) for number, key in enumerate(keys))))
            return True

    one = peer(says)
    server = serve(repository, *one.cache(), "--threads=1")
    rows = tensor([[1, 2], [3, 4], [5, 6]])
    eventually(lambda: is_hit(put(server, "scale", {"INPUT0": rows})), "all rows known")
    accepted = one.accepted
    broken.add(1)
    for _ in range(10):  # what is being stored just then is known to the next
        asked_until(lambda: put(server, "scale", {"INPUT0": rows}), lambda status: status.get("fwd") == "partial",
                    "two of three rows")
    assert one.accepted == accepted


def test_strings_of_the_other_kind(simple, peer):
    def says(peer, words, send):
        kept = peer.kept.get(words[1]) if words[0].upper() == b"GET" else None
        if kept is not None and kept.isalnum():
            send(b"+" + kept + b"\r\n")
            return True

    wait_hits(simple(*peer(says).cache()))


def test_unknown_errors_open_the_breaker(simple, peer):
    """A proxy whose servers are away answers every command with an error."""
    one = peer()
    server = simple(*one.cache())
    wait_hits(server)
    one.says = lambda peer, words, send: send(error("ERR no server is there")) or True
    eventually(lambda: not ask(server) and metric(server, "hippocamp_cache_breaker_openings_total") > 0, "an open breaker")
    one.says = None
    wait_hits(server)


# --- Passwords and certificates ---


def token_program(path, runs, text="echo hush"):
    path.write_text(f"#!/bin/sh\necho run >>{runs}\nsleep 0.1\n{text}\n")
    path.chmod(0o755)
    return path


def test_one_run_for_all_threads_and_none_for_nobody(simple, redis_server, tmp_path):
    redis = redis_server("--requirepass", "hush")
    redis.password = "hush"
    runs = tmp_path / "runs"
    command = token_program(tmp_path / "token", runs)
    server = simple(*redis.cache(f"password_command={command}", "lookup_timeout=1000"), threads=8)
    wait_hits(server)
    count = lambda: runs.read_text().count("run")
    assert count() <= 3
    redis.stop()
    eventually(lambda: complaints(server), "it is missed")
    before = count()
    for _ in range(20):
        assert question(server).status == 200
        time.sleep(0.1)  # many attempts to connect
    assert count() - before <= 1, "a password for nobody"


def test_live_connections_log_in_again(simple, redis_server, tmp_path):
    redis = redis_server("--requirepass", "hush")
    redis.password = "hush"
    runs = tmp_path / "runs"
    command = token_program(tmp_path / "token", runs)
    server = simple(*redis.cache(f"password_command={command}", "password_refresh=1", "lookup_timeout=1000"))
    wait_hits(server)
    own = {line.split()[0] for line in redis.command("CLIENT", "LIST").splitlines() if b"name=hippocamp" in line}
    redis.command("ACL", "SETUSER", "default", "on", ">second", "<hush")
    redis.password = "second"
    token_program(tmp_path / "token", runs, "echo second")
    wanted = runs.read_text().count("run") + 2
    eventually(lambda: runs.read_text().count("run") >= wanted, "further runs")
    assert ask(server)
    now = {line.split()[0] for line in redis.command("CLIENT", "LIST").splitlines() if b"name=hippocamp" in line}
    assert own <= now, "the connections are the same"


def test_certificates_that_are_renewed(simple, redis_tls, authority, stranger, tmp_path):
    mine = tmp_path / "ca.pem"
    shutil.copy(authority.cert, mine)
    redis = redis_tls()
    server = simple(*redis.cache(cacert=mine))
    wait_hits(server)
    mine.write_text("half of a file")
    redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    wait_hits(server)  # with what the file held before
    assert server.wait_log("stays in use")
    other = stranger.server()
    redis.command("CONFIG", "SET", "tls-ca-cert-file", str(stranger.cert), "tls-cert-file", str(other.cert), "tls-key-file",
                  str(other.key))
    redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    (tmp_path / "fresh").write_bytes(stranger.cert.read_bytes())
    (tmp_path / "fresh").rename(mine)
    wait_hits(server)
    assert server.wait_log("were read again")


# --- What people are told ---


def test_eviction_of_what_does_not_expire(simple, redis_server):
    redis = redis_server("--maxmemory-policy", "volatile-lru")
    server = simple(*redis.cache("ttl=0"))
    assert server.wait_log("volatile|evicts only what expires")
    other = simple(*redis.cache("ttl=1h"))
    wait_hits(other)
    assert not other.lines("evicts only what expires")


def test_renewals_are_spaced_where_nothing_is_stored(serve, repository, redis_server):
    redis = redis_server()
    repository.scale("scale", {1: 2.0}, cached=True,
                     extra=cache_parameters(ttl=1, stale_while_revalidate=600))
    server = serve(repository, *redis.cache("lookup_timeout=1000"), "--threads=1")
    rows = {"INPUT0": tensor([[1, 2]])}
    eventually(lambda: is_hit(put(server, "scale", rows)), "a hit")
    redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1")  # it takes no writes any more
    time.sleep(1.3)  # until it is stale
    before = server.statistics("scale")["execution_count"]
    for _ in range(40):
        assert is_hit(put(server, "scale", rows))
        time.sleep(0.02)
    assert server.statistics("scale")["execution_count"] - before <= 3


def test_cache_status_tells_of_trouble(simple, redis_server):
    redis = redis_server()
    server = simple(*redis.cache("lookup_timeout=1000"))
    wait_hits(server)
    assert cache_status(question(server, 50))["stored"]
    redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1")
    seeds = iter(range(1000, 9000))

    def detail(word):
        status = cache_status(question(server, next(seeds)))
        return status.get("detail") == word and "stored" not in status

    eventually(lambda: detail("dropped"), "that entries are dropped")
    redis.stop()
    eventually(lambda: detail("redis-unavailable"), "that Redis is not there")
    redis.start()
    wait_hits(server)
    eventually(lambda: "stored" in cache_status(question(server, next(seeds))), "that entries are stored again")


def test_cache_status_where_redis_was_never_there(simple, redis_server):
    redis = redis_server()
    redis.stop()
    server = simple(*redis.cache())
    assert cache_status(question(server)) == {"fwd": "miss", "detail": "redis-unavailable"}


def test_a_stop_while_a_token_program_runs(simple, redis_server, tmp_path):
    redis = redis_server("--requirepass", "hush")
    redis.password = "hush"
    command = token_program(tmp_path / "token", tmp_path / "runs", "sleep 5; echo hush")
    server = simple(*redis.cache(f"password_command={command}", "connect_timeout=20000"), threads=4)
    eventually(lambda: (tmp_path / "runs").exists(), "its start")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


# --- Many servers, and clusters that change ---


def test_a_storm_of_reconnections(serve, repository, redis_server):
    """Redis dies under sixteen servers and comes back: they do not all reconnect again and again."""
    redis = redis_server()
    repository.add("simple")
    servers = [serve(repository, *redis.cache("lookup_timeout=1000"), "--threads=1", program=RELEASE / "hippocamp")
               for _ in range(16)]
    for server in servers:
        wait_hits(server)
    redis.stop()
    for server in servers:
        eventually(lambda: complaints(server), "it is missed")
        assert not ask(server)
    redis.start()
    for server in servers:
        wait_hits(server)
    made = int(redis.command("INFO", "stats").split(b"total_connections_received:")[1].split()[0])
    assert made < 16 * 6, f"{made} connections"


@pytest.mark.parametrize("program", ["valkey-server-9"])
def test_slots_that_move_atomically(simple, cluster, program):
    """Valkey 9 moves slots in one step, without ASK (CLUSTER MIGRATESLOTS)."""
    nodes = cluster()
    server = simple(*nodes.cache())
    wait_hits(server, range(20))
    source, target, *_ = nodes.primaries()
    slots = sorted(slot for slot, owner in nodes.owners().items() if owner is source)
    with Load(server, 20, 2) as load:
        source.command("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slots[0], slots[len(slots) // 2], "NODE", target.id)
        eventually(lambda: nodes.owners(target)[slots[0]] is target, "the slots at their new place")
        load.go_on(100)
    wait_hits(server, range(20))
