"""Users and passwords: where they come from, that they may change, and that no log shows them."""

import os
import re
from pathlib import Path

import pytest

from load import Load, ask, complaints, wait_complaint, wait_hits
from support import eventually
from topology import add_user, cache_options, drop_clients, either_program

FIRST, SECOND = "hush-the-first", "hush-the-second"


@pytest.fixture
def simple(serve, repository):
    """simple(*arguments): a server of `simple` with one thread and a verbose log. No password may be in its log or in
    /v2/cache."""
    servers = []
    repository.add("simple")

    def start(*arguments, **options):
        servers.append(serve(repository, *arguments, "--threads=1", "--log-verbose=1", **options))
        return servers[-1]

    yield start
    for server in servers:
        shown = server.get("/v2/cache", port=server.metrics_port).body.decode()
        assert not server.lines("hush") and "hush" not in shown


@pytest.fixture
def locked(redis_server):
    """A Redis that requires the first password."""
    redis = redis_server("--requirepass", FIRST)
    redis.password = FIRST
    return redis


def options_of(redis, **options):
    return redis.cache(*(f"{name}={value}" for name, value in options.items()), "lookup_timeout=5000")


def rotate(redis, password=SECOND):
    """Changes the password, and ends the connections that used the old one."""
    redis.command("CONFIG", "SET", "requirepass", password)
    redis.password = password
    drop_clients(redis)


def program(path, text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def children(server):
    """The server's child processes, which run commands; zombies are included."""
    tasks = Path(f"/proc/{server.process.pid}/task").iterdir()
    return [child for task in tasks for child in (task / "children").read_text().split()]


def descriptors(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


# --- Users ---


@pytest.mark.parametrize("way", ["options", "environment", "mixed"])
def test_user(simple, redis_server, way):
    redis = redis_server()
    add_user(redis, "hippo", FIRST)
    redis.command("CONFIG", "SET", "requirepass", SECOND)
    redis.password = SECOND
    options, environment = {}, {}
    if way == "environment":
        environment["TRITONCACHE_REDIS_USERNAME"] = "hippo"
    else:
        options["user"] = "hippo"
    if way == "options":
        options["password"] = FIRST
    else:
        environment["TRITONCACHE_REDIS_PASSWORD"] = FIRST
    server = simple(*options_of(redis, **options), environment=environment)
    wait_hits(server, range(5))
    assert b"user=hippo" in redis.command("CLIENT", "LIST")


def test_user_who_may_not_do_all(simple, redis_server):
    """The cache works as soon as the user has all rights."""
    redis = redis_server()
    add_user(redis, "hippo", FIRST, "-set")
    server = simple(*options_of(redis, user="hippo", password=FIRST))
    server.wait_log(r"^[EW].*cache 'redis'.*(NOPERM|permission)")
    assert not ask(server)
    redis.command("ACL", "SETUSER", "hippo", "+set")
    wait_hits(server)


def test_unknown_user(simple, redis_server):
    redis = redis_server()
    server = simple(*options_of(redis, user="nobody", password=FIRST))
    wait_complaint(server, r"\buser\b")
    add_user(redis, "nobody", FIRST)
    wait_hits(server)
    assert len(complaints(server, r"\buser\b")) == 1


# --- The protocol ---


@either_program
def test_how_it_introduces_itself(simple, redis_server, proxy):
    redis = redis_server()
    way = proxy(redis.port)
    wait_hits(simple(*cache_options(host="127.0.0.1", port=way.port)))
    clients = redis.command("CLIENT", "LIST").decode()
    assert "name=hippocamp" in clients and "resp=3" in clients
    for word in (b"HELLO", b"SETINFO", b"LIB-NAME", b"LIB-VER"):
        assert word in way.sent.upper()
    assert re.search(rb"(?i)LIB-NAME\r\n\$9\r\nhippocamp\r\n", way.sent)


@pytest.mark.parametrize("password", [None, FIRST])
def test_redis_without_hello(simple, redis_server, password):
    """Redis before version 6 has no HELLO."""
    redis = redis_server("--rename-command", "HELLO", "", *(["--requirepass", password] if password else []))
    redis.password = password
    server = simple(*options_of(redis, **({"password": password} if password else {})))
    wait_hits(server, range(5))
    assert not complaints(server)


@pytest.mark.parametrize("forbidden", ["hello", "client", "client|setname"])
def test_user_who_may_not_introduce_itself(simple, redis_server, forbidden):
    redis = redis_server()
    add_user(redis, "hippo", FIRST, f"-{forbidden}")
    wait_hits(simple(*options_of(redis, user="hippo", password=FIRST)), range(5))


# --- From a file ---


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\nanother line\n"], ids=["none", "lf", "crlf", "more"])
def test_password_file(simple, locked, tmp_path, ending):
    file = tmp_path / "password"
    file.write_bytes((FIRST + ending).encode())
    wait_hits(simple(*options_of(locked, password_file=file)))


def test_rotated_password_in_a_file(simple, locked, tmp_path):
    file = tmp_path / "password"
    file.write_text(FIRST)
    server = simple(*options_of(locked, password_file=file))
    wait_hits(server)
    with Load(server) as load:
        rotate(locked)
        wait_complaint(server, r"\bpassword_file\b")
        load.go_on()
        fresh = tmp_path / "fresh"
        fresh.write_text(SECOND)
        fresh.rename(file)
        wait_hits(server, range(5), "hits with the new password")
    assert len(complaints(server, "password_file")) == 1


@pytest.mark.parametrize("trouble", ["missing", "empty", "folder", "wrong"])
def test_password_file_in_trouble(simple, locked, tmp_path, trouble):
    file = tmp_path / "password"
    if trouble == "folder":
        file.mkdir()
    elif trouble != "missing":
        file.write_text("" if trouble == "empty" else "hush-wrong")
    server = simple(*options_of(locked, password_file=file))
    wait_complaint(server, r"\bpassword_file\b")
    assert not ask(server)
    if trouble == "folder":
        file.rmdir()
    file.write_text(FIRST)
    wait_hits(server)
    assert len(complaints(server, "password_file")) == 1


# --- From a command ---


def test_password_command(simple, locked, tmp_path):
    command = program(tmp_path / "command", f"echo {FIRST}\necho another line\n")
    server = simple(*options_of(locked, password_command=command))
    wait_hits(server, range(5))
    assert not children(server)


def test_rotated_password_of_a_command(simple, locked, tmp_path):
    file = tmp_path / "password"
    file.write_text(FIRST)
    command = program(tmp_path / "command", f"echo run >>{tmp_path}/runs\ncat {file}\n")
    server = simple(*options_of(locked, password_command=command))
    wait_hits(server)
    runs = (tmp_path / "runs").read_text().count("run")
    wait_hits(server, range(10))
    assert (tmp_path / "runs").read_text().count("run") == runs, "it runs for a connection, not for a request"
    with Load(server) as load:
        file.write_text(SECOND)
        rotate(locked)
        wait_hits(server, range(5), "hits with the new password")
        load.go_on()


def test_command_that_hangs(simple, locked, tmp_path):
    """Requests do not wait for it."""
    begun, go = tmp_path / "begun", tmp_path / "go"
    command = program(tmp_path / "command", f"touch {begun}\nwhile [ ! -e {go} ]; do sleep 0.05; done\necho {FIRST}\n")
    server = simple(*options_of(locked, password_command=command))
    eventually(begun.exists, "the command's start")
    for first in range(20):
        assert not ask(server, first)
    wait_complaint(server, r"\bpassword_command\b")
    go.touch()
    wait_hits(server)
    eventually(lambda: not children(server), "the end of the commands")


def test_the_server_ends_though_the_command_hangs(simple, serve, repository, locked, tmp_path):
    begun = tmp_path / "begun"
    command = program(tmp_path / "command", f"touch {begun}\nexec sleep 50\n")
    server = serve(repository, *options_of(locked, password_command=command), "--exit-timeout-secs=5")
    eventually(begun.exists, "the command's start")
    assert not ask(server)
    server.stop()


TROUBLES = {
    "fails": "echo hush-words >&2; exit 3",
    "prints_and_fails": f"echo {FIRST}; exit 3",
    "says_nothing": "exit 0",
    "empty_line": "echo; echo hush",
    "never_stops": "yes hush | tr -d '\\n'",
    "wrong": "echo hush-wrong",
    "killed": "kill -9 $$",
}


@pytest.mark.parametrize("text", TROUBLES.values(), ids=TROUBLES)
def test_command_in_trouble(simple, locked, tmp_path, text):
    command = program(tmp_path / "command", text + "\n")
    server = simple(*options_of(locked, password_command=command))
    wait_complaint(server, r"\bpassword_command\b")
    for first in range(5):
        assert not ask(server, first)
    fresh = program(tmp_path / "fresh", f"echo {FIRST}\n")
    fresh.rename(command)
    wait_hits(server, what="hits with a command that works")
    assert len(complaints(server, "password_command")) == 1
    eventually(lambda: not children(server), "the end of the commands")


def test_no_such_command(simple, locked, tmp_path):
    server = simple(*options_of(locked, password_command=tmp_path / "nothing"))
    assert str(tmp_path / "nothing") in wait_complaint(server, r"\bpassword_command\b")
    assert not ask(server)


def test_nothing_is_left_of_many_commands(simple, locked, tmp_path):
    command = program(tmp_path / "command", f"echo {FIRST}\n")
    server = simple(*options_of(locked, password_command=command))
    wait_hits(server)
    before = descriptors(server)
    for _ in range(20):
        drop_clients(locked)
        wait_hits(server)
    eventually(lambda: not children(server) and descriptors(server) <= before + 1, "no more descriptors than before")
