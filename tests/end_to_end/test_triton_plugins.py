"""Our plug-ins in the real tritonserver."""

import platform
import re
import subprocess

import pytest
import tritonclient.grpc as grpc_client

from load import Load
from support import LOCAL, ask_simple, at_once, decode, eventually, free_port, same, sums, tensor, tool
from topology import cache_options
from triton import (RELEASE, Triton, ask_blow, ask_picky, cache_folder, plugin, wait_all_hit, write_model,
                    write_models)
from trouble import TROUBLES

NAMES = ["local", "redis", "tiered"]
QUESTIONS = range(40)
LINES = 20  # of the log, for a trouble's beginning and end


@pytest.fixture
def caches(tmp_path):
    return cache_folder(tmp_path / "caches", **{name: plugin(name) for name in NAMES})


@pytest.fixture
def triton(tmp_path, caches):
    """triton(*arguments, models=("simple",)): a tritonserver with our plug-ins, on the same models each time."""
    servers = []

    def start(*arguments, models=("simple",), ready=True, **options):
        repository = tmp_path / "models"
        if not repository.exists():
            write_models(repository, *models)
        servers.append(Triton(tmp_path, repository, f"--cache-dir={caches}", *arguments, **options))
        return servers[-1].wait_ready() if ready else servers[-1]

    yield start
    failures = []
    for server in servers:
        try:
            server.stop()
        except BaseException as failure:
            failures.append(failure)
    if failures:
        raise failures[0]


def arguments_of(name, redis, **options):
    """--cache-config of one of our plug-ins."""
    prefix = "redis." if name == "tiered" else ""
    where = {} if name == "local" else {f"{prefix}host": LOCAL, f"{prefix}port": redis.port, "lookup_timeout": 5000}
    return [f"--cache-config={name},{key}={value}" for key, value in {**where, **options}.items()] or [
        "--cache-config=local,size=64MB"]


SIZES = (1, 1000, 65536, 3_000_000)


def blow_hits(server):
    before = server.statistics("blow")["cache_hit"]
    for size in SIZES:
        ask_blow(server, size, 7)
    return server.statistics("blow")["cache_hit"] == before + len(SIZES)


@pytest.mark.parametrize("name", NAMES)
def test_miss_and_hit(triton, redis_server, name):
    redis = redis_server() if name != "local" else None
    server = triton(*arguments_of(name, redis), models=("simple", "blow"))
    ask_simple(server)
    server.expect("simple", cache_miss=1, cache_hit=0, execution_count=1)
    wait_all_hit(server, [1], "a hit")
    runs = server.statistics("simple")["execution_count"]
    ask_simple(server)
    server.expect("simple", execution_count=runs)
    for size in SIZES:
        ask_blow(server, size, 7)
    eventually(lambda: blow_hits(server), "hits of all sizes")
    hits = server.statistics("simple")["cache_hit"] + server.statistics("blow")["cache_hit"]
    server.wait_figure("nv_cache_num_hits", hits)
    assert server.figure("hippocamp_cache_inserts_total") >= 5
    assert server.figure("hippocamp_cache_not_stored_total", reason="malformed") == 0
    if name != "redis":
        eventually(lambda: blow_hits(server) and server.figure("nv_cache_num_entries") > 0, "entries in this process")
        assert server.figure("nv_cache_util") > 0
    if name != "local":
        assert server.figure("hippocamp_cache_connections") >= 2
    assert not server.errors(), server.errors()


def test_the_commands_of_nvidias_redis_cache(triton, redis_server):
    """The commands of its README, with user and password in the environment."""
    redis = redis_server("--requirepass", "hush")
    redis.password = "hush"
    server = triton(f"--cache-config=redis,host={LOCAL}", f"--cache-config=redis,port={redis.port}",
                    "--cache-config=redis,socket_timeout=1000", "--cache-config=redis,pool_size=4",
                    "--cache-config=redis,connect_timeout=1000", "--cache-config=redis,wait_timeout=500",
                    "--cache-config=redis,db=2", "--cache-config=redis,lookup_timeout=5000",
                    environment={"TRITONCACHE_REDIS_USERNAME": "default", "TRITONCACHE_REDIS_PASSWORD": "hush"})
    ask_simple(server)
    wait_all_hit(server, [1])
    # The client that stores has one, and another for its writes once there are any.
    eventually(lambda: server.figure("hippocamp_cache_connections") in (5, 6), "the pool's connections")
    assert b"db2:keys=1" in redis.command("INFO", "keyspace")
    assert not server.lines("hush")


def test_tls(triton, redis_tls, authority):
    redis = redis_tls()
    server = triton(*redis.cache())
    ask_simple(server)
    wait_all_hit(server, [1])
    assert not server.errors()


@pytest.mark.parametrize("where", ["file", "environment"])
def test_with_a_secret_nobody_else_makes_an_entry(triton, redis_server, tmp_path, where):
    redis = redis_server()
    stranger = triton(*arguments_of("redis", redis))
    ask_simple(stranger)
    wait_all_hit(stranger, [1])
    (foreign,) = redis.entries("triton")
    secret = tmp_path / "secret"
    secret.write_text("hush\n")
    server = triton(*arguments_of("redis", redis, **({"key_secret_file": secret} if where == "file" else {})),
                    environment={"HIPPOCAMP_KEY_SECRET": "hush"} if where == "environment" else {})
    ask_simple(server)
    wait_all_hit(server, [1])
    (own,) = set(redis.entries("triton")) - {foreign}
    hits = server.statistics("simple")["cache_hit"]
    for value in (redis.command("GET", foreign), redis.command("GET", own)[:-1] + b"x"):
        redis.command("SET", own, value)
        ask_simple(server)
        assert server.statistics("simple")["cache_hit"] == hits, "what is not its own is a miss"
        wait_all_hit(server, [1])
        hits = server.statistics("simple")["cache_hit"]
    server.wait_figure("hippocamp_cache_wrong_mac_total", 2)
    assert not server.lines("hush")


@pytest.mark.parametrize("options, words", [
    (["local,key_secret_file=/nowhere/at/all"], "/nowhere/at/all"),
    (["redis,port=6379"], "needs a host"),
    (["redis,host=a", "redis,port=nonsense"], "nonsense"),
    (["redis,host=a", "redis,hots=b"], "did you mean 'host'"),
    (["local,size=much"], "much"),
    (["local,generation_file=/nowhere/at/all"], "/nowhere/at/all"),
    (["local,generation=a", "local,generation_file=b"], "contradict"),
    (["tiered,redis.host=a", "tiered,local.size=x"], "x"),
])
def test_wrong_options(triton, options, words):
    server = triton(*(f"--cache-config={option}" for option in options), ready=False)
    assert server.wait() == 1
    (line,) = server.lines("creating server: ")
    assert "Invalid argument" in line and words in line


@pytest.mark.parametrize("name", NAMES)
def test_errors_are_not_cached(triton, redis_server, name):
    """Triton stores errors, as responses without outputs, and would answer 200 from such an entry."""
    redis = redis_server() if name != "local" else None
    server = triton(*arguments_of(name, redis), models=("picky",))
    for _ in range(4):
        reply = ask_picky(server, 666)
        assert reply.status == 500 and "it is 666" in reply.error
    server.wait_figure("hippocamp_cache_not_stored_total", 4, reason="no_outputs")
    same(decode(ask_picky(server, 1))["Y"], tensor([2], "INT32"))
    server.expect("picky", cache_hit=0, fail=4, success=1)
    assert not server.lines("into response cache")


def test_grpc(triton, redis_server):
    """Triton's gRPC front end has an allocator of its own."""
    redis = redis_server()
    server = triton(*arguments_of("redis", redis), models=("simple", "blow"))

    def ask(model, inputs):
        tensors = []
        for name, array in inputs.items():
            tensors.append(grpc_client.InferInput(name, array.shape, "INT32"))
            tensors[-1].set_data_from_numpy(array)
        with grpc_client.InferenceServerClient(f"{LOCAL}:{server.grpc_port}") as connection:
            return connection.infer(model, tensors)

    inputs, expected = sums(1)
    for turn in range(5):
        answer = ask("simple", inputs)
        for name, array in expected.items():
            same(answer.as_numpy(name), array)
        big = ask("blow", {"X": tensor([200_000, 1], "INT32")}).as_numpy("Y")
        assert big[:3].tolist() == [1, 32, 63] and len(big) == 200_000
        redis.wait_entries(2, "triton")
    server.expect("simple", execution_count=1, cache_hit=4)
    server.expect("blow", execution_count=1, cache_hit=4)


def test_an_ensemble_and_its_models(triton):
    server = triton("--cache-config=local,size=1MB", models=("picky", "twice"))
    for _ in range(3):
        same(decode(ask_picky(server, 5, "twice", "IN"))["OUT"], tensor([7], "INT32"))
    server.expect("picky", execution_count=2)
    server.expect("twice", cache_hit=2)
    assert not server.errors(), server.errors()


def test_two_servers_share(triton, redis_server):
    redis = redis_server()
    one, other = triton(*arguments_of("redis", redis)), triton(*arguments_of("tiered", redis))
    for first in QUESTIONS:
        ask_simple(one, first)
    redis.wait_entries(len(QUESTIONS), "triton")
    wait_all_hit(other, QUESTIONS)
    other.expect("simple", execution_count=0)
    ask_simple(other, 1000)
    redis.wait_entries(len(QUESTIONS) + 1, "triton")
    wait_all_hit(one, [1000])
    one.expect("simple", execution_count=len(QUESTIONS))


def test_entries_survive_a_restart(triton, redis_server):
    redis = redis_server()
    server = triton(*arguments_of("redis", redis))
    for first in QUESTIONS:
        ask_simple(server, first)
    server.stop()  # which stores what is pending
    redis.wait_entries(len(QUESTIONS), "triton")
    server = triton(*arguments_of("redis", redis))
    wait_all_hit(server, QUESTIONS)
    assert server.executions() == 0


def test_namespaces_share_nothing(triton, redis_server):
    redis = redis_server()
    one = triton(*arguments_of("redis", redis, namespace="a"))
    other = triton(*arguments_of("redis", redis, namespace="b"))
    ask_simple(one)
    redis.wait_entries(1, "triton.a")
    ask_simple(other)
    other.expect("simple", execution_count=1, cache_hit=0)
    redis.wait_entries(1, "triton.b")
    assert redis.entries("triton") == []


def test_ttl(triton, redis_server):
    redis = redis_server()
    server = triton(*arguments_of("redis", redis, ttl=1000))
    ask_simple(server)
    (key,) = redis.wait_entries(1, "triton")
    assert 890_000 < redis.command("PTTL", key) <= 1_000_000


def test_entries_are_not_replaced(triton, redis_server):
    """Triton runs all equal requests that come at once, and stores every answer; the first one stays."""
    redis = redis_server()
    server = triton(*arguments_of("redis", redis))
    ask_simple(server)
    (key,) = redis.wait_entries(1, "triton")
    value = redis.command("GET", key)
    redis.command("SET", key, value[:-1] + bytes([value[-1] ^ 1]))
    ask_simple(server)
    server.expect("simple", execution_count=2)  # damaged: removed, and stored again
    wait_all_hit(server, [1])
    server.wait_figure("hippocamp_cache_corrupt_total", 1)
    assert redis.command("GET", key)[64:] == value[64:]
    at_once(8, lambda i: ask_simple(server, 7000))
    redis.wait_entries(2, "triton")
    other = next(one for one in redis.entries("triton") if one != key)
    stored = redis.command("GET", other)
    wait_all_hit(server, [7000])
    assert redis.command("GET", other) == stored


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compression(triton, redis_server, codec):
    """LZ4 and zstd may be the host's, of any version; an entry that cannot be unpacked is removed and stored again."""
    redis = redis_server()
    server = triton(*arguments_of("redis", redis, compression=codec, compression_min_size=64), models=("blow",))
    ask_blow(server, 100_000, 3)
    (key,) = redis.wait_entries(1, "triton")
    value = redis.command("GET", key)
    assert len(value) < 50_000
    ask_blow(server, 100_000, 3)
    server.expect("blow", execution_count=1, cache_hit=1)
    runs = 1
    for damage in (lambda: redis.command("SET", key, value[:1000] + b"damaged" + value[1007:]),
                   lambda: redis.commands([("DEL", key), ("LPUSH", key, "a list")])):
        damage()
        ask_blow(server, 100_000, 3)
        runs += 1
        server.expect("blow", execution_count=runs)
        eventually(lambda: redis.command("TYPE", key) == b"string", "another entry in its place")
        ask_blow(server, 100_000, 3)
        server.expect("blow", execution_count=runs, cache_hit=runs)
    server.wait_figure("hippocamp_cache_corrupt_total", 2)


def test_a_redis_that_is_always_late(triton, redis_server, proxy):
    """Look-ups are soon skipped, one log line says so, and they resume by themselves."""
    redis = redis_server()
    way = proxy(redis.port)
    server = triton(f"--cache-config=redis,host={LOCAL}", f"--cache-config=redis,port={way.port}")
    wait_all_hit(server, QUESTIONS)
    way.delay(20)
    for first in range(1000, 1100):
        ask_simple(server, first)
    eventually(lambda: server.figure("hippocamp_cache_lookups_skipped_total") > 50, "look-ups that are skipped")
    assert server.figure("hippocamp_cache_lookup_timeouts_total") < 45
    assert len(server.lines("look-ups take longer than lookup_timeout")) == 1
    way.flow()
    wait_all_hit(server, QUESTIONS)
    server.wait_log("look-ups are in time again")


def test_a_large_value_among_small_ones(triton, redis_server):
    """A value that takes longer than lookup_timeout is asked for once, not again by each request."""
    redis = redis_server("--maxmemory", "0")
    server = triton(f"--cache-config=redis,host={LOCAL}", f"--cache-config=redis,port={redis.port}",
                    "--cache-config=redis,lookup_timeout=1", models=("simple", "blow"))
    ask_blow(server, 20_000_000, 1)
    redis.wait_entries(1, "triton")
    redis.command("CONFIG", "RESETSTAT")
    at_once(4, lambda i: [(ask_simple(server, 10 * i + k), ask_blow(server, 20_000_000, 1)) for k in range(4)])
    peak = int(re.search(rb"used_memory_peak:(\d+)", redis.command("INFO", "memory"))[1])
    assert peak < 400_000_000, peak
    assert server.statistics("blow")["fail"] == 0


def test_changed_models(triton, redis_server, tmp_path):
    """A reload changes neither Triton's key nor ours; a new generation changes ours."""
    file = tmp_path / "generation"
    file.write_text("1")
    server = triton("--model-control-mode=explicit", "--load-model=picky",
                    *arguments_of("local", None, size="1MB", generation_file=file), models=("picky",))

    def answer():
        return decode(ask_picky(server, 1))["Y"][0]

    assert answer() == 2 and answer() == 2
    write_model(tmp_path / "models", "picky", '''\
    def run(self, tensor):
        return ("Y", tensor("X") + 100),
''')
    server.unload("picky")
    server.load("picky")
    assert answer() == 2  # a wrong answer, as with any cache of Triton's
    file.write_text("2")
    server.wait_log(r"the generation is now '2'")
    assert answer() == 101
    server.expect("picky", execution_count=1)
    assert answer() == 101


def test_redis_is_down_at_the_start(triton, redis_server):
    port = free_port()
    server = triton(*cache_options(host=LOCAL, port=port, lookup_timeout=5000))
    ask_simple(server)
    ask_simple(server)
    redis_server(port=port)
    wait_all_hit(server, QUESTIONS)
    assert not server.errors()


TROUBLE = [("single", name) for name in ("killed", "swallowed", "full", "corrupt")]
MORE = [("single", name) for name in ("stopped", "slow_50", "torn", "halved", "cut", "refused", "read_only", "loading",
                                      "busy", "rotated")]
MORE += [("tls", "killed"), ("cluster", "one_killed"), ("sentinel", "handed_over")]


@pytest.mark.parametrize("where, name", [*TROUBLE, *(pytest.param(*one, marks=pytest.mark.thorough) for one in MORE)])
def test_trouble(triton, place, where, name):
    """Requests go on: none fails, none is answered wrongly, hits come back, and the log stays short."""
    server = triton(*place.cache())
    wait_all_hit(server, QUESTIONS)
    lines = len(server.log)
    with Load(server, len(QUESTIONS), check=ask_simple) as load:
        with TROUBLES[name].befall(place):
            load.go_on(200)
            for first in range(1000, 1020):
                ask_simple(server, first)
        wait_all_hit(server, QUESTIONS, "hits of what was known")
        wait_all_hit(server, range(2000, 2010), "hits of what is new")
    said = [line for line in server.log[lines:] if "hippocamp" in line]
    assert len(said) <= LINES, "\n".join(said)
    assert server.statistics("simple")["fail"] == 0


@pytest.mark.parametrize("where, name", [("single", name) for name in ("killed", "swallowed", "corrupt")])
def test_trouble_behind_a_local_tier(triton, place, where, name):
    server = triton(*(option.replace("redis,", "tiered,redis.") for option in place.cache()))
    wait_all_hit(server, QUESTIONS)
    with Load(server, len(QUESTIONS), check=ask_simple) as load:
        with TROUBLES[name].befall(place):
            load.go_on(200)
            ask_simple(server, 1000)
        wait_all_hit(server, range(2000, 2010), "hits of what is new")
    assert server.statistics("simple")["fail"] == 0


def test_a_redis_that_hangs_holds_nobody(triton, redis_server):
    """Look-ups end at their time-out, and a stop does not wait for Redis."""
    redis = redis_server()
    server = triton(f"--cache-config=redis,host={LOCAL}", f"--cache-config=redis,port={redis.port}")
    ask_simple(server)
    wait_all_hit(server, [1])
    redis.pause()
    try:
        at_once(8, lambda i: [ask_simple(server, 5000 + 10 * i + k) for k in range(5)])
        server.stop()
    finally:
        redis.resume()


# --- The files themselves ---


@pytest.mark.parametrize("name", NAMES)
def test_what_a_plugin_needs_and_shows(name):
    """A plug-in needs only what Ubuntu 22.04 and 24.04, the bases of Triton's containers, have, in versions that both
    have, if it was built as docs/triton.md says: a glibc newer than Debian 12's makes files that need it."""
    path = plugin(name)

    def shows(name, *options):
        program = tool(name, "install Debian's package binutils")
        return subprocess.run([program, *options, path], capture_output=True, text=True, check=True).stdout

    headers = shows("readelf", "-d", "-W")
    needed = set(re.findall(r"\(NEEDED\).*\[(\S+)\]", headers))
    assert needed <= {"libc.so.6", "libcrypto.so.3", "libssl.so.3", "liblz4.so.1", "libzstd.so.1"}, needed
    assert "NODELETE" in headers
    symbols = shows("objdump", "-T")
    versions = {tuple(map(int, version.split("."))) for version in re.findall(r"GLIBC_([0-9.]+)", symbols)}
    here = tuple(map(int, platform.libc_ver()[1].split(".")))
    assert max(versions) <= ((2, 35) if here <= (2, 36) else here), f"needs glibc {max(versions)}; Ubuntu 22.04 has 2.35"
    assert set(re.findall(r"OPENSSL_([0-9.]+)", symbols)) <= {"3.0.0"}
    shown = {line.split()[-1] for line in symbols.splitlines() if re.search(r" g +DF? +\.text", line)}
    assert shown == {f"TRITONCACHE_Cache{verb}" for verb in ("Initialize", "Finalize", "Lookup", "Insert")}
    wanted = {line.split()[-1] for line in symbols.splitlines() if "*UND*" in line}
    assert not {symbol for symbol in wanted if "TRITON" in symbol}


def test_where_they_are_installed(tmp_path):
    """In the folders that --cache-dir is to name, beside the library that other people's plug-ins ask for."""
    done = subprocess.run([tool("meson", "run tools/deps build"), "install", "-C", RELEASE, "--no-rebuild", "--destdir", tmp_path],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (home,) = tmp_path.rglob("lib/hippocamp")
    for name in NAMES:
        assert (home / "caches" / name / f"libtritoncache_{name}.so").is_file()
    assert (home / "libtritonserver.so").is_file() and (home / "cache_conformance").is_file()
    assert len(list((home / "caches").rglob("*"))) == 6
