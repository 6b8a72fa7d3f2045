"""The helpers of these tests, against Redis alone: that each does what its name says."""

import socket
import ssl
import time

import numpy as np
import pytest

from load import Load, wait_hits
from support import LOCAL, REDIS, VALKEY, RedisError, encode, eventually, infer_path, request_bytes
from topology import add_user, drop_clients, either_program
from traffic import echo
from trouble import PASSWORD, PLACES, USER, NotHere, troubles_of

pytestmark = pytest.mark.thorough
UNKNOWN = "self-signed certificate in certificate chain|local issuer"  # Redis sends the CA, too, if it knows it


def shake_hands(port, authority, name=LOCAL, client=None):
    """What PING answers over TLS."""
    context = ssl.create_default_context(cafile=authority.cert)
    if client:
        context.load_cert_chain(client.cert, client.key)
    with socket.create_connection((LOCAL, port), timeout=5) as plain, \
            context.wrap_socket(plain, server_hostname=name) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(100)


@either_program
def test_tls(redis_tls, authority, stranger):
    redis = redis_tls()
    assert shake_hands(redis.tls_port, authority) == b"+PONG\r\n"
    assert shake_hands(redis.tls_port, authority, "localhost") == b"+PONG\r\n"
    for identity, trusted, why in [(authority.server(), stranger, UNKNOWN),
                                   (stranger.server(), authority, UNKNOWN),
                                   (authority.server(expired=True), authority, "expired"),
                                   (authority.server("redis.example"), authority, "IP address mismatch")]:
        redis.present(identity)
        with pytest.raises(ssl.SSLCertVerificationError, match=why):
            shake_hands(redis.tls_port, trusted)
    assert shake_hands(redis.tls_port, authority, "redis.example") == b"+PONG\r\n"
    assert "tls_enabled=true" in " ".join(redis.cache()) and "cacert" not in " ".join(redis.cache(cacert=None))


@either_program
def test_tls_with_clients(redis_tls, authority, stranger):
    redis = redis_tls(clients=True)
    assert shake_hands(redis.tls_port, authority, client=authority.client()) == b"+PONG\r\n"
    for client in (None, stranger.client(), authority.client(expired=True)):
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            assert shake_hands(redis.tls_port, authority, client=client) != b""
            raise ConnectionResetError
    redis.want_certificates(False)
    assert shake_hands(redis.tls_port, authority) == b"+PONG\r\n"


def test_hashed_folder(authority):
    context = ssl.create_default_context(capath=authority.hashed())
    assert any(".0" in place.name for place in authority.hashed().iterdir())
    assert context.verify_mode == ssl.CERT_REQUIRED


@either_program
def test_unix_socket(redis_socket):
    redis = redis_socket()
    for _ in range(2):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(redis.path))
            connection.sendall(b"PING\r\n")
            assert connection.recv(100) == b"+PONG\r\n"
        redis.stop()
        redis.start()


@either_program
def test_users(redis_server):
    redis = redis_server()
    add_user(redis, "hippo", "pass")
    redis.command("CONFIG", "SET", "requirepass", "other")
    with pytest.raises(RedisError, match="NOAUTH"):
        redis.command("GET", "x")
    redis.password = "other"
    assert redis.command("SET", "x", "1") == b"OK"
    drop_clients(redis)


def test_old_redis(redis_server):
    with pytest.raises(RedisError, match="unknown command"):
        redis_server("--rename-command", "HELLO", "").command("HELLO", "3")


def test_proxy(redis_server, proxy):
    redis = redis_server()
    way = proxy(redis.port)
    redis.command("SET", "large", b"x" * 100_000)
    with socket.create_connection((LOCAL, way.port), timeout=5) as connection:
        stream = connection.makefile("rb")

        def ping():
            connection.sendall(b"PING\r\n")
            return stream.readline()

        assert ping() == b"+PONG\r\n"
        way.delay(200)
        begun = time.monotonic()
        assert ping() == b"+PONG\r\n"
        assert 0.4 <= time.monotonic() - begun < 2
        way.swallow()
        connection.sendall(b"PING\r\n")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        with socket.create_connection((LOCAL, way.port), timeout=0.3) as other, pytest.raises(TimeoutError):
            other.sendall(b"PING\r\n")
            other.recv(1)
        way.flow()
        connection.settimeout(5)
        assert connection.recv(7) == b"+PONG\r\n"
        way.cut(1000)
        connection.sendall(b"GET large\r\n")
        received = 0
        with pytest.raises(ConnectionResetError):
            while data := connection.recv(4096):
                received += len(data)
        assert received <= 1000
        assert b"PING" in way.sent
    way.flow()
    with socket.create_connection((LOCAL, way.port), timeout=5) as connection:
        connection.sendall(b"PING\r\n")
        assert connection.recv(7) == b"+PONG\r\n"
        way.refuse()
        with pytest.raises(ConnectionResetError):
            assert connection.recv(7)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((LOCAL, way.port), timeout=5)
    way.flow()
    way.target = 1  # nobody
    with pytest.raises(ConnectionResetError), socket.create_connection((LOCAL, way.port), timeout=5) as connection:
        connection.recv(1)
    assert way.accepted == 4


@either_program
def test_sentinels(sentinels):
    group = sentinels()
    master = group.master()
    assert master is group.redis[0]
    group.hand_over()
    assert group.master() is group.redis[1]
    eventually(group.agreed)
    with pytest.raises(RedisError, match="READONLY"):
        master.command("SET", "a", "1")
    old = group.kill_master()
    assert group.master() is master
    assert master.command("SET", "a", "1") == b"OK"
    old.start()
    eventually(group.agreed)
    eventually(lambda: old.command("GET", "a") == b"1")


@either_program
def test_sentinels_with_a_password(sentinels):
    group = sentinels(sentinel_lines="requirepass eye\n", password="eye")
    with pytest.raises(RedisError, match="WRONGPASS"):
        group.sentinels[0].command("AUTH", "wrong")
    assert group.kill_master() is group.redis[0]


@either_program
def test_master_that_hangs(sentinels):
    group = sentinels(sentinel_lines="user watch on >eye &* +@all\n")
    assert group.sentinels[0].command("AUTH", "watch", "eye") == b"OK"
    old, new = group.master(), group.replica()
    old.pause()
    group.wait_master(new)
    old.resume()
    eventually(group.agreed)


@either_program
def test_replica_made_by_hand(sentinels):
    group = sentinels()
    master, replica = group.master(), group.replica()
    replica.command("REPLICAOF", "NO", "ONE")
    master.command("REPLICAOF", LOCAL, replica.port)
    eventually(group.agreed)
    for sentinel in group.sentinels:
        sentinel.stop()
        sentinel.start()
    eventually(group.agreed)
    group.sentinels[0].command("SENTINEL", "REMOVE", group.name)
    group.sentinels[1].command("SENTINEL", "MONITOR", "nobody", LOCAL, replica.port, 2)


@either_program
def test_cluster(cluster):
    nodes = cluster()
    first, second, third = nodes.primaries()
    for i in range(50):
        key = f"hippocamp:{i}"
        nodes.owners()[nodes.slot(key)].command("SET", key, i)
    slot = nodes.slot("hippocamp:7")
    owner = nodes.owners()[slot]
    target = first if owner is not first else second
    nodes.begin_move(slot, target)
    with pytest.raises(RedisError, match="ASK"):
        owner.command("GET", "other:{hippocamp:7}")
    nodes.finish_move(slot, owner, target)
    eventually(nodes.agreed)
    with pytest.raises(RedisError, match="MOVED"):
        owner.command("GET", "hippocamp:7")
    assert target.command("GET", "hippocamp:7") == b"7"
    begun = time.monotonic()
    nodes.move(range(100), third)
    print("100 slots", time.monotonic() - begun)
    nodes.fail_over(1)
    lost = nodes.kill_primary(0)
    assert lost not in nodes.primaries() and len(nodes.primaries()) == 3
    fresh = nodes.add_node()
    nodes.move(range(50, 60), fresh)
    assert fresh in nodes.primaries()
    lost.start()
    eventually(nodes.agreed)


@either_program
def test_cluster_in_trouble(cluster):
    nodes = cluster()
    node = nodes.primaries()[1]
    node.pause()
    eventually(lambda: node not in nodes.primaries())
    node.resume()
    eventually(nodes.agreed)
    fresh = nodes.add_node()
    nodes.move(range(10), fresh)
    nodes.move(range(10), nodes.primaries()[0])
    nodes.nodes.remove(fresh)
    for node in nodes.nodes:
        node.command("CLUSTER", "FORGET", fresh.id)
    fresh.stop()
    eventually(nodes.agreed)
    for node in nodes.nodes:
        node.stop()
    for node in nodes.nodes:
        node.start()
    eventually(nodes.agreed)


@pytest.mark.parametrize("name, program", [(name, program) for name in PLACES for program in (REDIS, VALKEY)
                                           if name != "cluster9" or program == REDIS])
def test_troubles(tmp_path, authority, name, program, repository):
    """Each begins and ends, and then all is as before."""
    echo(repository, "known", cached=True)
    try:
        place = PLACES[name](tmp_path, authority, program)
    except NotHere as reason:
        pytest.skip(str(reason))
    try:
        place.repository = repository.path
        body, headers = encode({"INPUT0": np.int32([1, 2])})
        place.renewing = [request_bytes("POST", infer_path("known"), body, {**headers, "Cache-Control": "no-cache"})]
        place.whole()
        for trouble in troubles_of(name):
            with trouble.befall(place):
                pass
            place.whole()
            for redis in place.masters():
                login, role = redis.commands([("AUTH", USER, PASSWORD), ("ROLE",)])
                assert (login, role[0]) == (b"OK", b"master"), trouble.name
    finally:
        place.stop()


def test_load(redis_server, proxy, serve, repository):
    """With a real Hippocamp, over plain TCP."""
    redis = redis_server()
    way = proxy(redis.port)
    server = serve(repository.add("simple"), "--cache-config=redis,host=127.0.0.1",
                   f"--cache-config=redis,port={way.port}", "--cache-config=redis,socket_timeout=300")
    wait_hits(server, range(20))
    with Load(server) as load:
        for trouble in (lambda: way.cut(1000), way.swallow, way.refuse, way.disconnect, lambda: way.delay(50)):
            trouble()
            load.go_on(300)
            way.flow()
            wait_hits(server, range(10))
    wait_hits(server, range(40))
    with pytest.raises((AssertionError, OSError)), Load(server):
        server.stop()
