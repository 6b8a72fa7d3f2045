"""Redis over TLS: who is trusted, and what is said when someone is not."""

import pytest

from load import Load, ask, complaints, wait_complaint, wait_hits
from support import LOCAL, ask_identity, eventually, run_program
from topology import cache_options, drop_clients, either_program

# For each fault, what the log must name.
UNTRUSTED = r"\bcacert\b"
WRONG_NAME = r"\bsni\b"
EXPIRED = r"(?i:expired)"
NO_CLIENT = r"\bcert\b"


@pytest.fixture
def simple(serve, repository):
    """simple(*arguments): a server of `simple` with one thread."""
    repository.add("simple")
    return lambda *arguments, **options: serve(repository, *arguments, "--threads=1", **options)


@either_program
def test_hits(redis_tls, simple):
    redis = redis_tls()
    server = simple(*redis.cache())
    wait_hits(server, range(20))
    assert len(redis.entries()) == 20
    assert not complaints(server)


def test_url(redis_tls, simple):
    redis = redis_tls()
    wait_hits(simple(*cache_options(url=f"rediss://{LOCAL}:{redis.tls_port}/2", cacert=redis.authority.cert)))
    assert b"db2" in redis.command("INFO", "keyspace")


def test_folder_of_authorities(redis_tls, simple):
    redis = redis_tls()
    wait_hits(simple(*redis.cache(cacert=None, cacert_dir=redis.authority.hashed())))


@either_program
def test_client_certificate(redis_tls, simple, authority):
    redis = redis_tls(clients=True)
    client = authority.client()
    wait_hits(simple(*redis.cache(cert=client.cert, key=client.key)))


@pytest.mark.parametrize("options", [
    {"host": "localhost"}, {"sni": "redis.example"}, {"host": "localhost", "sni": LOCAL}],
    ids=["host", "sni", "address"])
def test_names(redis_tls, simple, authority, options):
    name = options.get("sni", options.get("host"))
    wait_hits(simple(*redis_tls(authority.server(name)).cache(**options)))


def test_name_with_a_star(redis_tls, simple, authority):
    wait_hits(simple(*redis_tls(authority.server("*.redis.example")).cache(sni="one.redis.example")))


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_versions(redis_tls, simple, version):
    wait_hits(simple(*redis_tls(options=["--tls-protocols", version]).cache()))


def test_answers_of_any_size(redis_tls, serve, repository):
    redis = redis_tls()
    repository.copy("identity", cached=True)
    server = serve(repository, *redis.cache(), "--threads=1")
    large = {"binary_in": True, "binary_out": True}
    for turn in range(2):
        for count in (0, 1, 16_000, 300_000):
            def hit():
                before = server.statistics("identity")["cache_hit"]
                ask_identity(server, [float(i % 1000) for i in range(count)], **large)
                return server.statistics("identity")["cache_hit"] > before

            eventually(hit, f"a hit of {count} values")


# --- Peers that are not trusted ---


PRESENTED = {
    "other_authority": (lambda ours, theirs: theirs.server(), UNTRUSTED),
    "expired": (lambda ours, theirs: ours.server(expired=True), EXPIRED),
    "other_name": (lambda ours, theirs: ours.server("other.example"), WRONG_NAME),
    "no_name": (lambda ours, theirs: ours.sign("127.0.0.1"), WRONG_NAME),
    "a_client's": (lambda ours, theirs: ours.client(), r"(?i:purpose)"),
}


@pytest.mark.parametrize("presented, reason", PRESENTED.values(), ids=PRESENTED)
def test_refused_until_it_is_mended(redis_tls, simple, proxy, authority, stranger, presented, reason):
    redis = redis_tls(presented(authority, stranger))
    way = proxy(redis.tls_port)
    server = simple(*redis.cache(way.port))
    wait_complaint(server, reason)
    tries = way.accepted
    eventually(lambda: not ask(server) and way.accepted >= tries + 3, "more attempts")
    line = wait_complaint(server, reason)
    assert str(way.port) in line
    assert redis.command("DBSIZE") == 0
    redis.present(authority.server())
    wait_hits(server, what="hits with a good certificate")
    assert len(complaints(server, reason)) == 1


@pytest.mark.parametrize("client", [None, "stranger", "expired"])
def test_client_certificate_refused(redis_tls, simple, proxy, authority, stranger, client):
    redis = redis_tls(clients=True)
    way = proxy(redis.tls_port)
    identity = {"stranger": stranger.client(), "expired": authority.client(expired=True)}.get(client)
    more = {"cert": identity.cert, "key": identity.key} if identity else {}
    server = simple(*redis.cache(way.port, **more))
    wait_complaint(server, NO_CLIENT)
    tries = way.accepted
    eventually(lambda: not ask(server) and way.accepted >= tries + 3, "more attempts")
    wait_complaint(server, NO_CLIENT)  # still one
    redis.want_certificates(False)
    wait_hits(server)


def test_no_authority_given(redis_tls, simple):
    """The machine's own authorities are used, and ours is not among them."""
    server = simple(*redis_tls().cache(cacert=None))
    wait_complaint(server, UNTRUSTED)
    assert not ask(server)


def test_trusted_at_first_and_not_later(redis_tls, simple, authority, stranger):
    redis = redis_tls()
    server = simple(*redis.cache())
    wait_hits(server)
    redis.present(stranger.server())
    drop_clients(redis)
    wait_complaint(server, UNTRUSTED)
    assert not ask(server)
    redis.present(authority.server())
    wait_hits(server)


def test_tls_to_a_plain_port(redis_tls, simple):
    redis = redis_tls()
    server = simple(*redis.cache(redis.port))
    wait_complaint(server, r"\btls_enabled\b")
    assert not ask(server)


def test_plain_to_a_tls_port(redis_tls, simple):
    redis = redis_tls()
    server = simple(*redis.cache(tls_enabled=None, cacert=None))
    wait_complaint(server, r"\btls_enabled\b")
    assert not ask(server)


# --- Invalid options ---


@pytest.mark.parametrize("options, named", [
    ({"cert": "CERT"}, ["key"]), ({"key": "KEY"}, ["cert"]), ({"cert": "CERT", "key": "CA"}, ["key"]),
    ({"cert": "CERT", "key": "OTHER"}, ["key", "cert"]), ({"cacert": "KEY"}, ["cacert"]),
    ({"cacert": "/nowhere/ca.pem"}, ["cacert", "/nowhere/ca.pem"]),
    ({"tls_enabled": "maybe"}, ["tls_enabled", "maybe"])],
    ids=["no_key", "no_cert", "no_key_in_it", "another's_key", "no_certificate_in_it", "missing", "no_boolean"])
def test_bad_options(repository, authority, stranger, options, named):
    files = {"CERT": authority.client().cert, "KEY": authority.client().key, "CA": authority.cert,
             "OTHER": stranger.client().key}
    options = {"host": LOCAL, "tls_enabled": "true", "cacert": authority.cert, **options}
    done = run_program("serve", f"--model-repository={repository.add('simple').path}", "--http-port=0",
                       "--metrics-port=0", *cache_options(**{name: files.get(value, value)
                                                             for name, value in options.items()}))
    assert done.returncode == 1
    assert "has no option" not in done.stderr
    for text in named:
        assert text in done.stderr


# --- A network in trouble ---


def test_under_load(redis_tls, simple, proxy):
    redis = redis_tls()
    way = proxy(redis.tls_port)
    server = simple(*redis.cache(way.port, lookup_timeout=None, socket_timeout=300))
    wait_hits(server)
    with Load(server) as load:
        for trouble in (lambda: way.cut(1000), way.swallow, way.refuse, way.disconnect, lambda: way.delay(50)):
            trouble()
            load.go_on(300)
            way.flow()
            wait_hits(server, range(10), "hits when it is over")
        redis.stop()
        load.go_on()
        redis.start()
    wait_hits(server, range(10), "hits after all that")


@pytest.mark.parametrize("count", [0, 1, 5, 100, 1000, 2000])
def test_cut_within_the_handshake(redis_tls, simple, proxy, count):
    redis = redis_tls()
    way = proxy(redis.tls_port)
    way.cut(count)
    server = simple(*redis.cache(way.port))
    eventually(lambda: not ask(server) and way.accepted >= 2, "another attempt")
    way.flow()
    wait_hits(server)


def test_handshake_without_an_answer(redis_tls, simple, proxy):
    redis = redis_tls()
    way = proxy(redis.tls_port)
    way.swallow()
    server = simple(*redis.cache(way.port, connect_timeout=300))
    wait_complaint(server, r"\bconnect_timeout\b")
    assert not ask(server)
    way.flow()
    wait_hits(server)
