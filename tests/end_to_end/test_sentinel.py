"""Redis behind sentinels: the master is found, and found again, while requests go on."""

import pytest

from load import Load, ask, complaints, wait_complaint, wait_hits
from support import LOCAL, eventually, free_port
from topology import cache_options, drop_clients, either_program

PASSWORD = "hush-the-eye"


@pytest.fixture
def simple(serve, repository):
    repository.add("simple")
    return lambda *arguments: serve(repository, *arguments, "--threads=1", "--log-verbose=1")


def wait_stored_on(redis, count=1):
    eventually(lambda: len(redis.entries()) >= count, "entries on the master")


@either_program
def test_hits(simple, sentinels):
    group = sentinels()
    server = simple(*group.cache())
    wait_hits(server, range(20))
    assert len(group.master().entries()) == 20
    assert not complaints(server)


def test_first_sentinels_are_dead(simple, sentinels):
    group = sentinels()
    for sentinel in group.sentinels[:2]:
        sentinel.stop()
    server = simple(*group.cache())
    wait_hits(server, range(5))


def test_first_sentinel_hangs(simple, sentinels):
    group = sentinels()
    group.sentinels[0].pause()
    try:
        server = simple(*group.cache(connect_timeout=300))
        wait_hits(server, range(5))
    finally:
        group.sentinels[0].resume()


def test_first_sentinel_knows_no_such_master(simple, sentinels):
    """This sentinel was set up anew, and is told later what to watch."""
    group = sentinels()
    group.sentinels[0].command("SENTINEL", "REMOVE", group.name)
    wait_hits(simple(*group.cache()), range(5))


@either_program
def test_master_is_killed(simple, sentinels):
    group = sentinels()
    server = simple(*group.cache(lookup_timeout=None))
    wait_hits(server, range(40))
    with Load(server) as load:
        old = group.kill_master()
        load.go_on()
        wait_hits(server, range(10), "hits on the new master")
        old.start()
        eventually(group.agreed, "the old master as a replica")
        load.go_on()
    wait_hits(server, range(40))
    wait_stored_on(group.master(), 40)


def test_master_hangs(simple, sentinels):
    """The old master wakes up as a master, and is then demoted."""
    group = sentinels()
    server = simple(*group.cache(lookup_timeout=None))
    wait_hits(server)
    with Load(server) as load:
        old, new = group.master(), group.replica()
        old.pause()
        try:
            group.wait_master(new)
            load.go_on()
        finally:
            old.resume()
        wait_hits(server, range(100, 110), "hits on the new master")
    eventually(group.agreed, "the old master as a replica")
    wait_stored_on(new, 10)


def test_master_and_replica_change_places(simple, sentinels):
    """The old master lives on, takes connections, and refuses writes."""
    group = sentinels()
    server = simple(*group.cache(lookup_timeout=None))
    wait_hits(server)
    with Load(server) as load:
        for turn in range(2):
            group.hand_over()
            eventually(group.agreed, "the replica's link")
            load.go_on()
            wait_hits(server, range(200 + 10 * turn, 210 + 10 * turn), "hits on the new master")
    wait_hits(server, range(40))


def test_replica_made_by_hand(simple, sentinels):
    """The connection stays open while its Redis becomes a replica: only READONLY tells."""
    group = sentinels()
    server = simple(*group.cache())
    wait_hits(server)
    master, replica = group.master(), group.replica()
    replica.command("REPLICAOF", "NO", "ONE")
    master.command("REPLICAOF", LOCAL, replica.port)
    with Load(server):
        eventually(group.agreed, "an order that the sentinels have made")
        wait_hits(server, range(300, 310), "hits on whichever is the master")


def test_all_sentinels_end(simple, sentinels):
    """The open connection to the master needs no sentinel; a new one does."""
    group = sentinels()
    server = simple(*group.cache())
    wait_hits(server)
    for sentinel in group.sentinels:
        sentinel.stop()
    wait_hits(server, range(5))
    with Load(server) as load:
        drop_clients(group.redis[0])
        load.go_on()
        for sentinel in group.sentinels:
            sentinel.start()
        wait_hits(server, range(5), "hits by new sentinels")


def test_sentinels_come_later(simple, sentinels):
    group = sentinels()
    for sentinel in group.sentinels:
        sentinel.stop()
    server = simple(*group.cache())
    wait_complaint(server, r"(?i:sentinel)")
    assert not ask(server)
    for sentinel in group.sentinels:
        sentinel.start()
    wait_hits(server)
    assert len(complaints(server, "(?i:sentinel)")) == 1


def test_unknown_master(simple, sentinels):
    group = sentinels()
    server = simple(*group.cache(sentinel_master="nobody"))
    assert "nobody" in wait_complaint(server, r"\bsentinel_master\b")
    assert not ask(server)
    group.sentinels[0].command("SENTINEL", "MONITOR", "nobody", LOCAL, group.master().port, 2)
    wait_hits(server)


# --- Passwords of the sentinels, which are not those of Redis ---


@pytest.mark.parametrize("lines, options", [
    (f"requirepass {PASSWORD}\n", {"sentinel_password": PASSWORD}),
    (f"user watch on >{PASSWORD} &* +@all\n", {"sentinel_user": "watch", "sentinel_password": PASSWORD})],
    ids=["password", "user"])
def test_password_of_sentinels(simple, sentinels, lines, options):
    group = sentinels(sentinel_lines=lines, password=PASSWORD if "requirepass" in lines else None)
    server = simple(*group.cache(**options))
    wait_hits(server, range(5))
    assert not server.lines("hush")


@pytest.mark.parametrize("options", [
    {}, {"sentinel_password": "hush-wrong"}, {"sentinel_user": "nobody", "sentinel_password": PASSWORD}],
    ids=["none", "wrong", "wrong_user"])
def test_wrong_password_of_sentinels(simple, sentinels, options):
    group = sentinels(sentinel_lines=f"requirepass {PASSWORD}\n", password=PASSWORD)
    server = simple(*group.cache(**options))
    wait_complaint(server, r"\bsentinel_password\b")
    assert not ask(server)
    assert not server.lines("hush")


def test_sentinel_asked_for_redis(simple, sentinels):
    """A sentinel's port is given as Redis's."""
    group = sentinels()
    server = simple(*cache_options(host=LOCAL, port=group.sentinels[0].port))
    wait_complaint(server, r"\bsentinels\b")
    assert not ask(server)


def test_redis_asked_for_a_sentinel(simple, sentinels):
    group = sentinels()
    server = simple(*group.cache(sentinels=f"{LOCAL}:{group.redis[0].port}"))
    wait_complaint(server, r"\bsentinels\b")
    assert not ask(server)


def test_some_sentinels_never_were(simple, sentinels):
    group = sentinels()
    places = [f"{LOCAL}:{free_port()}", "no-such-host.invalid:26379", f"{LOCAL}:{group.sentinels[2].port}"]
    wait_hits(simple(*group.cache(sentinels=";".join(places))), range(5))
