"""A Redis on a Unix socket, and all that a URL may say."""

from urllib.parse import quote

import pytest

from load import Load, ask, complaints, wait_complaint, wait_hits
from support import LOCAL, run_program
from topology import add_user, cache_options, drop_clients, either_program

SECRET = "hush:not@for/logs?%20"


@pytest.fixture
def simple(serve, repository):
    """simple(**options): a server of `simple` with one thread, and with these options of its cache."""
    repository.add("simple")
    return lambda *arguments, **options: serve(repository, *arguments, *cache_options(lookup_timeout=5000, **options),
                                               "--threads=1", "--log-verbose=1")


def entries_in(redis, db):
    return f"db{db}:" in redis.command("INFO", "keyspace").decode()


# --- Unix sockets ---


@either_program
@pytest.mark.parametrize("form", ["host", "url"])
def test_socket(simple, redis_socket, form):
    redis = redis_socket()
    server = simple(**{form: f"unix:{redis.path}" if form == "host" else f"unix://{redis.path}"})
    wait_hits(server, range(10))
    assert f"addr={redis.path}" in redis.command("CLIENT", "LIST").decode()
    assert not complaints(server)


def test_socket_with_a_user_and_a_database(simple, redis_socket):
    redis = redis_socket()
    add_user(redis, "hippo", SECRET)
    redis.command("CONFIG", "SET", "requirepass", SECRET)
    redis.password = SECRET
    server = simple(url=f"unix://hippo:{quote(SECRET, safe='')}@{redis.path}?db=3")
    wait_hits(server)
    assert entries_in(redis, 3)
    assert not server.lines("hush")


def test_socket_that_comes_and_goes(simple, redis_socket):
    redis = redis_socket()
    redis.stop()
    server = simple(host=f"unix:{redis.path}")
    assert str(redis.path) in wait_complaint(server, "cannot use")
    assert not ask(server)
    redis.start()
    wait_hits(server, what="hits after Redis came up")
    with Load(server) as load:
        redis.stop()
        load.go_on()
        redis.start()
        drop_clients(redis)
        load.go_on()
    wait_hits(server, range(10), "hits after Redis was restarted")


def test_socket_that_hangs(simple, redis_socket):
    redis = redis_socket()
    server = simple(host=f"unix:{redis.path}")
    wait_hits(server)
    redis.pause()
    try:
        for first in range(100, 105):
            assert not ask(server, first)
    finally:
        redis.resume()
    wait_hits(server, range(100, 105))


def test_socket_that_is_a_file(simple, redis_socket):
    redis = redis_socket()
    redis.stop()
    redis.path.write_text("no socket")
    server = simple(host=f"unix:{redis.path}")
    wait_complaint(server, "cannot use")
    assert not ask(server)
    redis.path.unlink()
    redis.start()
    wait_hits(server)


# --- URLs ---


@pytest.mark.parametrize("form, db", [
    ("redis://{host}:{port}", 0), ("redis://{host}:{port}/", 0), ("redis://{host}:{port}/7", 7),
    ("redis://:{password}@{host}:{port}/1", 1), ("redis://hippo:{password}@{host}:{port}", 0),
    ("REDIS://localhost:{port}", 0)])
def test_url(simple, redis_server, form, db):
    redis = redis_server()
    add_user(redis, "hippo", SECRET)
    if "password" in form:
        redis.command("CONFIG", "SET", "requirepass", SECRET)
        redis.password = SECRET
    server = simple(url=form.format(host=LOCAL, port=redis.port, password=quote(SECRET, safe="")))
    wait_hits(server, range(5))
    assert entries_in(redis, db)
    shown = server.get("/v2/cache", port=server.metrics_port).body.decode()
    assert not server.lines("hush") and "hush" not in shown


def test_url_and_other_options(simple, redis_server, tmp_path):
    """Options that the URL does not set may be given beside it."""
    redis = redis_server("--requirepass", SECRET)
    redis.password = SECRET
    file = tmp_path / "password"
    file.write_text(SECRET)
    server = simple(url=f"redis://{LOCAL}:{redis.port}", db=4, password_file=file, key_prefix="moon")
    wait_hits(server)
    assert entries_in(redis, 4)


@pytest.mark.parametrize("options, named", [
    ({"url": "http://127.0.0.1:1"}, ["url", "http"]), ({"url": "redis://"}, ["url"]),
    ({"url": "redis://:hush@127.0.0.1:none"}, ["url"]), ({"url": "redis://:hush@127.0.0.1:70000"}, ["url"]),
    ({"url": "redis://127.0.0.1:1/x"}, ["url"]), ({"url": "redis://:hush%2@127.0.0.1:1"}, ["url"]),
    ({"url": "redis://127.0.0.1:1?ttl=5"}, ["url", "ttl"]), ({"url": "unix://"}, ["url"]),
    ({"url": "127.0.0.1"}, ["url"]),
    ({"url": "redis://127.0.0.1:1", "host": "x"}, ["url", "host"]),
    ({"url": "redis://127.0.0.1:1", "port": "1"}, ["url", "port"]),
    ({"url": "redis://127.0.0.1:1/1", "db": "2"}, ["url", "db"]),
    ({"url": "redis://:hush@127.0.0.1:1", "password": "hush2"}, ["url", "password"]),
    ({"url": "redis://127.0.0.1:1", "tls_enabled": "true"}, ["url", "tls_enabled"]),
    ({"url": "rediss://127.0.0.1:1", "tls_enabled": "false"}, ["url", "tls_enabled"]),
    ({"host": "x", "password": "hush", "password_file": "/f"}, ["password", "password_file"]),
    ({"host": "x", "password_command": "/c", "password_file": "/f"}, ["password_command", "password_file"]),
    ({"host": "unix:"}, ["host"]), ({"host": "unix:/" + "x" * 200}, ["host"]),
    ({"host": "unix:/x", "tls_enabled": "true"}, ["host", "tls_enabled"]),
    ({"host": "unix:/x", "port": "1"}, ["host", "port"])], ids=lambda value: "-".join(value))
def test_contradictions(repository, options, named):
    done = run_program("serve", f"--model-repository={repository.path}", "--http-address=127.0.0.1", "--http-port=0",
                       "--metrics-port=0", *cache_options(**options))
    assert done.returncode == 1
    assert "has no option" not in done.stderr
    for text in named:
        assert text in done.stderr
    assert "hush" not in done.stderr
