"""Redis as a cluster: keys are stored on the right nodes, and found again when slots move."""

import pytest

from load import Load, ask, complaints, wait_complaint, wait_hits
from support import LOCAL, at_once, eventually
from topology import cache_options, drop_clients, either_program

QUESTIONS = range(60)


@pytest.fixture
def simple(serve, repository):
    repository.add("simple")
    return lambda *arguments: serve(repository, *arguments, "--threads=1")


@either_program
def test_entries_lie_on_all_primaries(simple, cluster):
    nodes = cluster()
    server = simple(*nodes.cache())
    wait_hits(server, QUESTIONS)
    held = [len(node.entries()) for node in nodes.primaries()]
    assert sum(held) == len(QUESTIONS) and min(held) > 5, held
    assert not complaints(server)


def test_servers_share(simple, cluster):
    """Servers share entries, whichever node each is told of."""
    nodes = cluster()
    servers = [simple(*nodes.cache(port=node.port)) for node in (nodes.nodes[0], nodes.nodes[4])]
    wait_hits(servers[0], QUESTIONS)
    wait_hits(servers[1], [1000])  # it is connected
    wait_hits(servers[1], QUESTIONS)
    assert servers[1].statistics("simple")["execution_count"] < len(QUESTIONS)
    assert len(nodes.entries()) == len(QUESTIONS) + 1


@either_program
def test_primary_is_killed(simple, cluster):
    nodes = cluster()
    server = simple(*nodes.cache(lookup_timeout=None))
    wait_hits(server, QUESTIONS)
    with Load(server, len(QUESTIONS)) as load:
        lost = nodes.kill_primary(0)  # the one that the server was told of
        load.go_on()
        wait_hits(server, QUESTIONS, "hits on the replica that took over")
        lost.start()
        eventually(nodes.agreed, "the lost one as a replica")
        load.go_on()
    wait_hits(server, QUESTIONS)


def test_primary_hangs(simple, cluster):
    """Requests go on, and hits come back once a replica has taken over."""
    nodes = cluster()
    server = simple(*nodes.cache(lookup_timeout=None))
    wait_hits(server, QUESTIONS)
    node = nodes.primaries()[1]
    with Load(server, len(QUESTIONS)) as load:
        node.pause()
        try:
            load.go_on()
            eventually(lambda: node not in nodes.primaries(), "a replica in the place of the one that hangs")
            wait_hits(server, QUESTIONS, "hits on the replica that took over")
        finally:
            node.resume()
        eventually(nodes.agreed, "the woken one as a replica")
        load.go_on()
    wait_hits(server, QUESTIONS)


def test_primary_and_replica_change_places(simple, cluster):
    """The old primary lives on, and answers MOVED."""
    nodes = cluster()
    server = simple(*nodes.cache(lookup_timeout=None))
    wait_hits(server, QUESTIONS)
    with Load(server, len(QUESTIONS)) as load:
        for which in range(2):
            nodes.fail_over(which)
            load.go_on()
    wait_hits(server, QUESTIONS)


@either_program
def test_slots_move(simple, cluster):
    """Slots move, with the keys of the questions, to a node that joined after the server's start."""
    nodes = cluster()
    server = simple(*nodes.cache(lookup_timeout=None))
    wait_hits(server, QUESTIONS)
    with Load(server, len(QUESTIONS)) as load:
        fresh = nodes.add_node()
        slots = sorted({nodes.slot(key) for key in nodes.entries()})[::2]
        nodes.move(slots, fresh)
        load.go_on()
    wait_hits(server, QUESTIONS, "hits where the slots are now")
    assert len(fresh.entries()) >= len(slots) * 0.9
    assert b"name=hippocamp" in fresh.command("CLIENT", "LIST")


def test_slot_on_its_way(simple, cluster):
    """While a slot moves, its keys are on both nodes, and the old one answers ASK."""
    nodes = cluster()
    server = simple(*nodes.cache())
    wait_hits(server, [1])
    (key,) = nodes.entries()
    slot = nodes.slot(key)
    source = nodes.owners()[slot]
    target = next(node for node in nodes.primaries() if node is not source)
    nodes.begin_move(slot, target)
    wait_hits(server, [1], "a hit where the key still is")
    source.command("MIGRATE", LOCAL, target.port, key, 0, 5000)
    wait_hits(server, [1], "a hit where the key went")
    with Load(server, 10):
        wait_hits(server, range(10))
    nodes.finish_move(slot, source, target)
    wait_hits(server, [1], "a hit when all have come")


def test_node_leaves(simple, cluster):
    nodes = cluster()
    fresh = nodes.add_node()
    nodes.move(range(100), fresh)
    server = simple(*nodes.cache(lookup_timeout=None))
    wait_hits(server, QUESTIONS)
    with Load(server, len(QUESTIONS)) as load:
        nodes.move(range(100), nodes.nodes[0])
        load.go_on()
        nodes.nodes.remove(fresh)
        for node in nodes.nodes:
            node.command("CLUSTER", "FORGET", fresh.id)
        fresh.stop()
        load.go_on()
    wait_hits(server, QUESTIONS)


def test_all_is_lost_and_comes_back(simple, cluster):
    nodes = cluster()
    server = simple(*nodes.cache(lookup_timeout=None))
    wait_hits(server, QUESTIONS)
    with Load(server) as load:
        for node in nodes.nodes:
            node.stop()
        load.go_on()
        for node in nodes.nodes:
            node.start()
        eventually(nodes.agreed, "the cluster")
        load.go_on()
    wait_hits(server, QUESTIONS, "hits of the cluster that came back")


def test_cluster_comes_later(simple, cluster):
    nodes = cluster()
    for node in nodes.nodes:
        node.stop()
    server = simple(*nodes.cache())
    wait_complaint(server, "cannot use")
    assert not ask(server)
    for node in nodes.nodes:
        node.start()
    eventually(nodes.agreed, "the cluster")
    wait_hits(server, range(10))


def test_one_node_without_replica_is_lost(simple, cluster):
    """A third of the keys is lost with the node; the others are found."""
    nodes = cluster()
    server = simple(*nodes.cache())
    wait_hits(server, QUESTIONS)
    lost = nodes.primaries()[2]
    for node, (_, of, _) in nodes.view().items():
        if of == lost.id:
            node.stop()
    lost.stop()
    eventually(lambda: sum(ask(server, first) for first in QUESTIONS) >= len(QUESTIONS) / 3, "hits on the others")


def test_connections_are_dropped(simple, cluster):
    nodes = cluster()
    server = simple(*nodes.cache())
    wait_hits(server, QUESTIONS)
    with Load(server) as load:
        for node in nodes.primaries():
            drop_clients(node)
            load.go_on()
    wait_hits(server, QUESTIONS)


def test_flushed(simple, cluster):
    """The deployment's secret is lost, too, from the one node that has it."""
    nodes = cluster()
    servers = [simple(*nodes.cache()) for _ in range(2)]
    for server in servers:
        wait_hits(server, QUESTIONS)
    for node in nodes.primaries():
        node.command("FLUSHALL")
    at_once(2, lambda i: wait_hits(servers[i], QUESTIONS))


def test_purge(simple, cluster):
    """A purge covers all nodes, and leaves other programs' keys alone."""
    nodes = cluster()
    server = simple(*nodes.cache())
    wait_hits(server, QUESTIONS)
    other = nodes.owners()[nodes.slot("other")]
    other.command("SET", "other", "kept")
    reply = server.request("POST", "/v2/cache/purge", b"", port=server.metrics_port)
    assert reply.status == 200, reply.body
    eventually(lambda: not nodes.entries(), "no entries on any node")
    assert other.command("GET", "other") == b"kept"
    wait_hits(server, QUESTIONS)


# --- TLS ---


@either_program
def test_tls(simple, cluster_tls):
    """The nodes announce their TLS ports themselves, at first and after a failover."""
    nodes = cluster_tls()
    server = simple(*nodes.cache(lookup_timeout=None))
    wait_hits(server, QUESTIONS)
    assert min(len(node.entries()) for node in nodes.primaries()) > 5
    assert not complaints(server)
    with Load(server, len(QUESTIONS)) as load:
        nodes.kill_primary(0)
        load.go_on()
    wait_hits(server, QUESTIONS, "hits on the replica that took over")


def test_tls_with_other_names(simple, cluster_tls):
    """Such certificates are refused, unless tls_verify=ca ignores names."""
    nodes = cluster_tls("other.example")
    server = simple(*nodes.cache())
    wait_complaint(server, r"\bsni\b")
    assert not ask(server)
    assert not nodes.entries()
    server = simple(*nodes.cache(tls_verify="ca"))
    wait_hits(server, QUESTIONS)
    assert not complaints(server)


# --- The option `cluster` ---


def test_cluster_that_is_none(simple, redis_server):
    redis = redis_server()
    server = simple(*cache_options(host=LOCAL, port=redis.port, cluster="true"))
    wait_complaint(server, r"\bcluster\b")
    assert not ask(server)


def test_cluster_without_the_option(simple, cluster):
    """The server detects the cluster."""
    group = cluster()
    server = simple(*group.cache(cluster=None))
    wait_hits(server, range(20))
    assert len(group.entries()) == 20
    assert not complaints(server)
