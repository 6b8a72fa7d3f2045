"""Plug-ins for Triton's cache interface in our server: NVIDIA's local cache, ours, and one that misbehaves on
demand."""

import signal
import subprocess

import numpy as np
import pytest

from support import BUILD, CORES, LOCAL, ROOT, ask_identity, ask_simple, at_once, eventually
from traffic import cache_status, is_hit, put
from triton import NVIDIA_LOCAL, RELEASE, cache_folder, plugin

pytestmark = pytest.mark.threads

CONFORMANCE = "tools/conformance/cache_conformance"


@pytest.fixture
def odd(tmp_path):
    """odd(mode, *options): arguments for a server with the misbehaving plug-in."""
    path = ROOT / BUILD / "tests" / "libtritoncache_odd.so"
    folder = cache_folder(tmp_path / "caches", odd=path)
    return lambda mode, *options: [f"--cache-dir={folder}", f"--cache-config=odd,mode={mode}",
                                   *(f"--cache-config=odd,{option}" for option in options)]


def asks_until_hit(server, first=1, **options):
    inputs = {"INPUT0": np.arange(first, first + 16, dtype=np.int32).reshape(1, 16),
              "INPUT1": np.ones((1, 16), dtype=np.int32)}
    eventually(lambda: is_hit(put(server, "simple", inputs, **options)), "a hit")


def test_nvidias_local_cache(serve, repository):
    """In the release build, since Triton's library, which it loads, upsets the sanitizers."""
    server = serve(repository.add("simple", "identity"), f"--cache-dir={NVIDIA_LOCAL.parent.parent}",
                   "--cache-config=local,size=1048576", program=RELEASE / "hippocamp")
    for first in range(50):
        ask_simple(server, first)
    asks_until_hit(server)
    for first in range(50):
        ask_simple(server, first)  # right, whether hits or not
    ask_identity(server, range(100_000))
    eventually(lambda: server.metrics()[("nv_cache_num_hits", frozenset())] > 0, "figures of the plug-in's own")
    assert server.lines(f"cache: local, plug-in {NVIDIA_LOCAL}")


@pytest.mark.parametrize("name", ["local", "redis", "tiered"])
def test_our_own(serve, repository, tmp_path, redis_server, name):
    """Our plug-ins work in our server like any other, though the built-in caches do more."""
    folder = cache_folder(tmp_path / "caches", **{name: plugin(name, ROOT / BUILD)})
    prefix = "redis." if name == "tiered" else ""
    options = ["size=1MB"] if name == "local" else [f"{prefix}host={LOCAL}", f"{prefix}port={redis_server().port}"]
    server = serve(repository.add("simple"), f"--cache-dir={folder}",
                   *(f"--cache-config={name},{option}" for option in options))
    asks_until_hit(server)
    ask_simple(server)
    eventually(lambda: server.metrics()[("plugin_hippocamp_cache_inserts_total", frozenset())] == 1, "its own figures")


@pytest.mark.parametrize("settings, words", [
    (["--cache-config=local,size=1MB"], "the built-in one is used"),
    (["--cache-config=local,size=1MB", f"--cache-config=redis,host={LOCAL}"], "the built-in one is used"),
    ([], "there is none")])
def test_a_folder_from_which_nothing_is_taken(serve, repository, settings, words):
    server = serve(repository.add("simple"), "--cache-dir=/nowhere/caches", *settings)
    (line,) = server.lines("^W.*--cache-directory=/nowhere/caches")
    assert words in line


def test_good(serve, repository, odd):
    """Rows, our options beside the plug-in's own, and its finalization."""
    server = serve(repository.add("simple"), *odd("good", "ttl=100", "foo=bar", "plugin.ttl=7", "foo=baz"), "--threads=1")
    assert server.lines(r"mode\W+good\W+foo\W+baz\W+ttl\W+7\W+$")
    asks_until_hit(server)
    inputs = {"INPUT0": np.arange(1, 33, dtype=np.int32).reshape(2, 16), "INPUT1": np.ones((2, 16), dtype=np.int32)}
    status = cache_status(put(server, "simple", inputs))
    assert status, status
    eventually(lambda: is_hit(put(server, "simple", inputs)), "a hit of both rows")
    server.stop()
    assert server.lines("odd is finalized")


def test_it_cannot_be_purged(serve, repository, odd):
    server = serve(repository.add("simple"), *odd("good"), "--allow-cache-admin=true")
    reply = server.post("/v2/cache/purge")
    assert reply.status == 501 and "no way to remove" in reply.error


@pytest.mark.parametrize("mode, words", [("refuse", "it is odd"), ("nothing", "Failed to initialize cache implementation")])
def test_it_does_not_start(start, repository, odd, mode, words):
    server = start(repository.add("simple"), *odd(mode))
    assert server.wait() == 1
    assert server.lines(words)


def test_it_cannot_be_loaded(start, repository, tmp_path):
    broken = tmp_path / "caches" / "broken" / "libtritoncache_broken.so"
    broken.parent.mkdir(parents=True)
    broken.write_text("no library")
    server = start(repository.add("simple"), f"--cache-dir={tmp_path / 'caches'}", "--cache-config=broken,a=b")
    assert server.wait() == 1
    assert server.lines(rf"unable to load shared library: .*{broken}")
    libc = tmp_path / "caches" / "other" / "libtritoncache_other.so"
    libc.parent.mkdir()
    libc.symlink_to(ROOT / BUILD / "caches" / "triton" / "libtritonserver.so")
    server = start(repository, f"--cache-dir={tmp_path / 'caches'}", "--cache-config=other,a=b")
    assert server.wait() == 1
    assert server.lines("TRITONCACHE_CacheInitialize")


@pytest.mark.parametrize("mode", ["lie", "torn", "mixed", "full"])
def test_it_gives_wrong_things(serve, repository, odd, mode):
    """Every answer is right; a bad entry is a miss."""
    server = serve(repository.add("simple", "identity"), *odd(mode))
    for _ in range(3):
        for first in range(20):
            ask_simple(server, first)
            ask_identity(server, [first, 2.5])
    assert server.statistics("simple")["fail"] == 0
    if mode != "mixed":
        assert server.statistics("simple")["cache_hit"] == 0


def test_entries_that_it_does_not_replace(serve, repository, odd):
    """A newer entry takes the place of an expired one, although the plug-in replaces none."""
    server = serve(repository.add("simple"), *odd("stubborn", "ttl=1"))
    asks_until_hit(server)
    inputs = {"INPUT0": np.arange(1, 17, dtype=np.int32).reshape(1, 16), "INPUT1": np.ones((1, 16), dtype=np.int32)}
    eventually(lambda: not is_hit(put(server, "simple", inputs)), "the end of its life")
    asks_until_hit(server)


@pytest.mark.parametrize("mode", ["slow", "hang"])
def test_it_holds_up_nobody(serve, repository, odd, mode):
    """Other requests of the same loop go on while the plug-in's calls take their time; requests that wait for a call
    run the model."""
    server = serve(repository.add("simple").add("identity"), *odd(mode), "--threads=1", "--exit-timeout-secs=3")
    at_once(40, lambda i: ask_simple(server, 1000 + i))
    for _ in range(20):
        assert server.ready()
    assert server.statistics("simple")["fail"] == 0
    assert server.statistics("simple")["success"] == 40
    server.signal(signal.SIGTERM)
    assert server.wait() == (1 if mode == "hang" else 0)  # what hangs is given up when --exit-timeout-secs is over


# --- Conformance ---


def conformance(library, *options, build=RELEASE):
    program = build / CONFORMANCE
    if not program.exists():
        pytest.fail(f"{program} is missing: run `make build`")
    done = subprocess.run([program, library, *options], capture_output=True, text=True, timeout=170, cwd=CORES)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", ["local", "redis", "tiered"])
@pytest.mark.parametrize("build", [ROOT / BUILD, pytest.param(RELEASE, marks=pytest.mark.thorough)], ids=["sanitized", "release"])
def test_ours_conform(redis_server, name, build):
    """In every respect, also under the sanitizers."""
    prefix = "redis." if name == "tiered" else ""
    options = ["size=16MiB"] if name == "local" else [f"{prefix}host={LOCAL}", f"{prefix}port={redis_server().port}",
                                                     "lookup_timeout=1000"]
    code, said = conformance(plugin(name, build), *options, build=build)
    assert code == 0 and "20 passed and 0 failed; 0 gave advice" in said, said


def test_nvidias_local_conforms(tmp_path):
    """It meets the interface's requirements, but not all that Triton's core makes advisable."""
    code, said = conformance(NVIDIA_LOCAL, "size=16777216")
    assert code == 0 and "17 passed and 0 failed; 3 gave advice" in said, said


@pytest.mark.parametrize("mode, words", [
    ("lie", "FAILED  no buffer"), ("torn", "something else found"), ("mixed", "something else found"),
    ("good", "advice  an empty key")])
def test_one_that_does_not(mode, words):
    code, said = conformance(RELEASE / "tests" / "libtritoncache_odd.so", f"mode={mode}")
    assert words in said, said
    assert code == (0 if mode == "good" else 1), said


def test_one_that_cannot_be_tried(tmp_path):
    code, said = conformance("/nowhere/libtritoncache_x.so")
    assert code == 2 and "/nowhere/libtritoncache_x.so" in said
    code, said = conformance(plugin("local"), "size=much")
    assert code == 2 and "much" in said
    code, said = conformance(plugin("local"), "size")
    assert code == 2 and "usage" in said
