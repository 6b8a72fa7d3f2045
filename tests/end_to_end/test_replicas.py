"""Look-ups that replicas answer: who is asked, what happens when one is lost, and who is near."""

import re

import pytest

from load import Load, ask, complaints, wait_hits
from support import VALKEY, eventually
from topology import either_program
from traffic import metric

QUESTIONS = range(60)
FEW = len(QUESTIONS) // 6  # a node is asked now and then whether it lives


@pytest.fixture
def simple(serve, repository):
    repository.add("simple")
    return lambda *arguments: serve(repository, *arguments, "--threads=1")


def gets(redis):
    found = re.search(rb"cmdstat_get:calls=(\d+)", redis.command("INFO", "commandstats"))
    return int(found[1]) if found else 0


def hits_by_node(server, nodes):
    """{node: look-ups} of one turn of questions, all of which are answered from the cache."""
    wait_hits(server, QUESTIONS)
    for node in nodes:
        node.command("CONFIG", "RESETSTAT")
    assert all(ask(server, first) for first in QUESTIONS)
    return {node: gets(node) for node in nodes}


def shares(server, primaries, replicas):
    """How many of the questions primaries and replicas answered."""
    asked = hits_by_node(server, [*primaries, *replicas])
    return sum(asked[node] for node in primaries), sum(asked[node] for node in replicas)


def wait_shares(server, primaries, replicas, of_replicas):
    """Waits until all questions go to replicas, or none: connections to replicas come later than others."""
    def so():
        by_primaries, by_replicas = shares(server, primaries, replicas)
        few, many = (by_primaries, by_replicas) if of_replicas else (by_replicas, by_primaries)
        assert few <= FEW and many >= len(QUESTIONS), f"{by_primaries} by primaries, {by_replicas} by replicas"
        return True

    eventually(so, "look-ups where they belong")


def check_writes(server):
    """Asserts that no write went to a replica, which would have refused it."""
    assert metric(server, "hippocamp_cache_inserts_total") >= len(QUESTIONS)
    for reason in ("read_only", "moved"):
        assert metric(server, "hippocamp_cache_refusals_total", reason=reason) == 0


# --- Who is asked ---


@either_program
@pytest.mark.parametrize("read_from", ["primary", "replica", "prefer_replica"])
def test_cluster(simple, cluster, read_from):
    nodes = cluster()
    server = simple(*nodes.cache(read_from=read_from))
    wait_shares(server, nodes.primaries(), nodes.replicas(), read_from != "primary")
    check_writes(server)
    assert not complaints(server)


@pytest.mark.parametrize("read_from", ["primary", "replica", "prefer_replica"])
def test_sentinels(simple, sentinels, read_from):
    group = sentinels()
    server = simple(*group.cache(read_from=read_from))
    wait_shares(server, [group.master()], [group.replica()], read_from != "primary")
    check_writes(server)
    assert not complaints(server)


@pytest.mark.parametrize("slow", ["primaries", "replicas"])
def test_nearest(simple, cluster, proxy, slow):
    """The nodes that answer sooner are asked: the others are behind a slow network."""
    nodes = cluster()
    primaries, replicas = nodes.primaries(), nodes.replicas()
    for node in primaries if slow == "primaries" else replicas:
        gate = proxy(node.port)
        gate.delay(20)
        nodes.announce(node, gate.port)
    near = replicas if slow == "primaries" else primaries
    server = simple(*nodes.cache(read_from="nearest", port=near[0].port))
    wait_shares(server, primaries, replicas, slow == "primaries")
    check_writes(server)


# --- One is lost ---


def test_replicas_of_a_cluster_are_lost(simple, cluster):
    nodes = cluster()
    server = simple(*nodes.cache(read_from="prefer_replica", lookup_timeout=None))
    wait_hits(server, QUESTIONS)
    replicas = nodes.replicas()
    with Load(server, len(QUESTIONS)) as load:
        for replica in replicas:
            replica.stop()
        load.go_on()
        wait_hits(server, QUESTIONS, "hits on the primaries")
        for replica in replicas:
            replica.start()
        eventually(nodes.agreed, "the replicas' links")
        load.go_on()
    wait_shares(server, nodes.primaries(), replicas, True)


def test_replica_behind_sentinels_is_lost(simple, sentinels):
    group = sentinels()
    server = simple(*group.cache(read_from="prefer_replica", lookup_timeout=None))
    wait_hits(server, QUESTIONS)
    replica = group.replica()
    with Load(server, len(QUESTIONS)) as load:
        replica.stop()
        load.go_on()
        wait_hits(server, QUESTIONS, "hits on the master")
        replica.start()
        eventually(group.agreed, "the replica's link")
        load.go_on()
    wait_shares(server, [group.master()], [replica], True)


def test_only_replicas_and_they_are_lost(simple, cluster):
    """There are no hits, but right answers, until they are back."""
    nodes = cluster()
    server = simple(*nodes.cache(read_from="replica", lookup_timeout=None))
    wait_hits(server, QUESTIONS)
    replicas = nodes.replicas()
    with Load(server, len(QUESTIONS)) as load:
        for replica in replicas:
            replica.stop()
        load.go_on()
    assert not any(ask(server, first) for first in QUESTIONS)
    with Load(server, len(QUESTIONS)):
        for replica in replicas:
            replica.start()
        eventually(nodes.agreed, "the replicas' links")
        wait_hits(server, QUESTIONS, "hits on the replicas")


def test_the_replica_becomes_the_master(simple, sentinels):
    """The old master, when it is back, becomes the replica."""
    group = sentinels()
    server = simple(*group.cache(read_from="prefer_replica", lookup_timeout=None))
    wait_hits(server, QUESTIONS)
    with Load(server, len(QUESTIONS)) as load:
        old = group.kill_master()
        load.go_on()
        wait_hits(server, QUESTIONS, "hits on the new master")
        old.start()
        eventually(group.agreed, "the old master as a replica")
    wait_shares(server, [group.master()], [old], True)


def test_primary_and_replica_change_places(simple, cluster):
    nodes = cluster()
    server = simple(*nodes.cache(read_from="replica", lookup_timeout=None))
    wait_hits(server, QUESTIONS)
    with Load(server, len(QUESTIONS)) as load:
        for which in range(3):
            nodes.fail_over(which)
            load.go_on()
    wait_shares(server, nodes.primaries(), nodes.replicas(), True)


# --- Zones ---


@pytest.mark.parametrize("program", [VALKEY])
@pytest.mark.parametrize("zone", ["here", "there"])
def test_nearest_is_in_the_zone(simple, cluster, zone):
    nodes = cluster()
    primaries, replicas = nodes.primaries(), nodes.replicas()
    for node in nodes.nodes:
        node.command("CONFIG", "SET", "availability-zone", "here" if node in replicas else "there")
    server = simple(*nodes.cache(read_from="nearest", availability_zone=zone))
    wait_shares(server, primaries, replicas, zone == "here")
    check_writes(server)


@pytest.mark.parametrize("program", [VALKEY])
def test_the_replica_in_the_zone(simple, cluster):
    """Of two replicas, the one in the zone is asked; when it is lost, the other."""
    nodes = cluster()
    far = nodes.replicas()
    near = [nodes.add_replica(primary) for primary in nodes.primaries()]
    for node in nodes.nodes:
        node.command("CONFIG", "SET", "availability-zone", "here" if node in near else "there")
    server = simple(*nodes.cache(read_from="prefer_replica", availability_zone="here"))
    wait_shares(server, [*nodes.primaries(), *far], near, True)
    for node in near:
        node.stop()
    wait_shares(server, nodes.primaries(), far, True)


@pytest.mark.parametrize("program", [VALKEY])
def test_zone_with_sentinels(simple, sentinels):
    group = sentinels()
    group.master().command("CONFIG", "SET", "availability-zone", "here")
    server = simple(*group.cache(read_from="nearest", availability_zone="here"))
    wait_shares(server, [group.master()], [group.replica()], False)
