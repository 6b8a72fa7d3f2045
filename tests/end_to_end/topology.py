"""Deployments of Redis: with TLS, on a Unix socket, with users, behind sentinels, as a cluster.

Each keeps a plain port for the tests' own commands; cache() gives the options by which a server connects to it."""

import itertools
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import LOCAL, NEWER, PATIENCE, REDIS, VALKEY, Redis, RedisError, eventually, free_port, redis_program

# For tests that run with both programs; the others run with Redis.
either_program = pytest.mark.parametrize("program", [REDIS, pytest.param(VALKEY, marks=pytest.mark.thorough)])


def cache_options(**options):
    """Command-line arguments: cache_options(host="a") is --cache-config=redis,host=a. None leaves an option out."""
    return [f"--cache-config=redis,{name}={value}" for name, value in options.items() if value is not None]


def add_user(redis, name, password, *rules):
    """An ACL user who may do what a cache does with keys of its prefix."""
    redis.command("ACL", "SETUSER", name, "on", f">{password}", "~hippocamp:*", "&*", "+@all", "-@dangerous", *rules)


def drop_clients(redis):
    """Makes Redis end every connection but the test's."""
    redis.command("CLIENT", "KILL", "TYPE", "normal")


class RedisTls(Redis):
    """A Redis with a TLS port. clients: whether it requires client certificates."""

    def __init__(self, folder, authority, identity, clients=False, options=(), program=REDIS):
        self.authority, self.tls_port = authority, free_port()
        super().__init__(folder, free_port(), [
            "--tls-port", str(self.tls_port), "--tls-ca-cert-file", authority.cert, "--tls-cert-file", identity.cert,
            "--tls-key-file", identity.key, "--tls-auth-clients", "yes" if clients else "no", *options], program)

    def present(self, identity):
        """Presents another certificate from now on."""
        self.command("CONFIG", "SET", "tls-cert-file", identity.cert, "tls-key-file", identity.key)

    def want_certificates(self, wanted):
        self.command("CONFIG", "SET", "tls-auth-clients", "yes" if wanted else "no")

    def cache(self, port=None, **options):
        """As Redis.cache(), trusting the authority; options override the defaults, and None removes one."""
        return cache_options(**{"host": LOCAL, "port": port or self.tls_port, "tls_enabled": "true",
                                "cacert": self.authority.cert, "lookup_timeout": 5000, **options})


class RedisSocket(Redis):
    """A Redis on a Unix socket, in a folder with a short name: a socket's path is at most 107 bytes."""

    def __init__(self, folder, *options, program=REDIS):
        self.place = tempfile.TemporaryDirectory(prefix="hc")
        self.path = Path(self.place.name, "redis.sock")
        super().__init__(folder, free_port(), ["--unixsocket", self.path, *options], program)

    def stop(self):
        super().stop()
        self.path.unlink(missing_ok=True)

    def cache(self, **options):
        return cache_options(**{"host": f"unix:{self.path}", "lookup_timeout": 5000, **options})


SENTINEL = """\
port {port}
bind {address}
dir {folder}
sentinel monitor {name} {address} {master} 2
sentinel down-after-milliseconds {name} 500
sentinel failover-timeout {name} 1500
"""


def when_loaded(check):
    """Returns check(), or False while a restarted Redis still loads its data."""
    try:
        return check()
    except RedisError as refusal:
        assert str(refusal).startswith("LOADING"), refusal
        return False


# Milliseconds. A sentinel that was not scheduled in time enters TILT mode and does nothing, by default for 30 s.
HASTE = ["info-period", 200, "ping-period", 100, "publish-period", 200, "tilt-period", 500]


class Sentinel(Redis):
    """One sentinel. It writes what it learns into its configuration file."""

    def __init__(self, folder, name, master, extra, password, program):
        folder.mkdir()
        self.wanted = password
        port = free_port()
        self.file = folder / "sentinel.conf"
        self.file.write_text(SENTINEL.format(port=port, address=LOCAL, folder=folder, name=name, master=master) + extra)
        super().__init__(folder, port, [], program)

    def start(self):
        self.log = open(self.folder / "redis.log", "ab")
        self.process = subprocess.Popen([self.program, self.file, "--sentinel"], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log, start_new_session=True)
        eventually(self.answers, "a sentinel's start")
        self.password = self.wanted
        self.command("SENTINEL", "DEBUG", *HASTE)


@contextmanager
def stopped_if_it_fails(deployment):
    """Around the start of a deployment: what had started is stopped if the rest cannot."""
    try:
        yield
    except BaseException:
        deployment.stop()
        raise


class Sentinels:
    """A master, a replica, and three sentinels that watch them. name: the master's name; sentinel_lines: further lines
    of the sentinels' configuration; password: the sentinels' password; options: arguments of master and replica."""

    def __init__(self, folder, name="prime", sentinel_lines="", password=None, options=(), program=REDIS):
        self.name, self.sentinels, self.redis = name, [], []
        with stopped_if_it_fails(self):
            for _ in range(2):
                place = folder / f"redis{len(self.redis)}"
                place.mkdir()
                of = ["--replicaof", LOCAL, str(self.redis[0].port)] if self.redis else []
                self.redis.append(Redis(place, free_port(), [*of, "--repl-diskless-sync-delay", "0",
                                                             "--repl-ping-replica-period", "1", *options], program))
            for i in range(3):
                self.sentinels.append(Sentinel(folder / f"sentinel{i}", name, self.redis[0].port, sentinel_lines,
                                               password, program))
            eventually(self.agreed, "sentinels that know each other and the replica")

    def agreed(self):
        return when_loaded(self._all_agree)

    def _all_agree(self):
        for sentinel in self.sentinels:
            words = self.about_master(sentinel)
            assert (words[b"num-slaves"], words[b"num-other-sentinels"]) == (b"1", b"2"), words
        return b"master_link_status:up" in self.replica().command("INFO", "replication")

    def about_master(self, sentinel):
        words = sentinel.command("SENTINEL", "MASTER", self.name)
        return dict(zip(words[::2], words[1::2]))

    def master(self):
        """The Redis that the first sentinel names as the master."""
        _, port = self.sentinels[0].command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)
        return next(redis for redis in self.redis if redis.port == int(port))

    def replica(self):
        master = self.master()  # ask once: the next answer may differ
        return next(redis for redis in self.redis if redis is not master)

    def kill_master(self):
        """Kills the master, waits until the replica has taken over, and returns the old master."""
        old = self.master()
        old.stop()
        self.wait_master(self.redis[1 - self.redis.index(old)])
        return old

    def hand_over(self):
        """Makes master and replica change places; both stay alive. On a machine so loaded that the sentinels miss the new
        master's replies, they may have changed back by the time this returns."""
        new = self.replica()
        eventually(lambda: self._hands_over(new), "another master by the sentinels' word")
        eventually(self.agreed, "a master and its replica")

    def _hands_over(self, new):
        """Asks for a failover, and returns whether it succeeded. The next one is asked for only after that, or it would
        go back."""
        if self.master() is new:
            return True
        try:
            self.sentinels[0].command("SENTINEL", "FAILOVER", self.name)
        except RedisError as refusal:
            assert "NOGOODSLAVE" in str(refusal) or "INPROG" in str(refusal), refusal
            if "NOGOODSLAVE" in str(refusal):
                return False
        try:
            return eventually(lambda: self.master() is new, "the end of a failover", 8)
        except pytest.fail.Exception:
            return False

    def wait_master(self, redis):
        eventually(lambda: self.master() is redis, "another master by the sentinels' word")
        eventually(lambda: redis.command("ROLE")[0] == b"master", "another master")

    def cache(self, **options):
        addresses = ";".join(f"{LOCAL}:{sentinel.port}" for sentinel in self.sentinels)
        return cache_options(**{"sentinels": addresses, "sentinel_master": self.name, "lookup_timeout": 5000,
                                **options})

    def stop(self):
        for redis in self.sentinels + self.redis:
            redis.stop()


def client_of(program, *arguments):
    """Runs redis-cli or valkey-cli."""
    client = redis_program("redis-cli" if program in NEWER else program.replace("-server", "-cli"))
    done = subprocess.run([client, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=PATIENCE)
    if done.returncode != 0:
        pytest.fail(f"{client} {arguments}:\n{done.stdout[-2000:]}{done.stderr}")


class Node(Redis):
    """One member of a cluster."""

    def __init__(self, folder, options, program):
        folder.mkdir()
        self.bus = free_port()
        super().__init__(folder, free_port(), [
            "--cluster-enabled", "yes", "--cluster-port", str(self.bus), "--cluster-node-timeout", "1000",
            "--cluster-replica-validity-factor", "0", "--cluster-require-full-coverage", "no",
            "--cluster-allow-replica-migration", "no",  # a primary without slots stays a primary
            "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", *options], program)

    def answers(self):
        if not super().answers():
            return False
        self.id = when_loaded(lambda: self.command("CLUSTER", "MYID"))
        return self.id

    def client_port(self):
        """The port to which servers connect."""
        return self.port


class NodeTls(Node):
    """A node that servers and other nodes reach over TLS only. The plain port is for the tests' commands."""

    def __init__(self, folder, authority, identity, options, program):
        self.tls_port = free_port()
        super().__init__(folder, [
            "--tls-port", str(self.tls_port), "--tls-ca-cert-file", authority.cert, "--tls-cert-file", identity.cert,
            "--tls-key-file", identity.key, "--tls-auth-clients", "no", "--tls-cluster", "yes", "--tls-replication",
            "yes", *options], program)

    def client_port(self):
        return self.tls_port


class Cluster:
    """Redis as a cluster: three primaries that share the slots, each with a replica."""

    def __init__(self, folder, options=(), program=REDIS):
        self.folder, self.names, self.options, self.program = folder, itertools.count(), options, program
        self.nodes = []
        with stopped_if_it_fails(self):
            for _ in range(6):
                self.nodes.append(self._new_node())
            client_of(program, "--cluster", "create", *(f"{LOCAL}:{node.port}@{node.bus}" for node in self.nodes),
                      "--cluster-replicas", "1", "--cluster-yes")
            eventually(self.agreed, "a cluster whose nodes agree")

    def _new_node(self):
        return Node(self._new_folder(), self.options, self.program)

    def _new_folder(self):
        return self.folder / f"node{next(self.names)}"

    def alive(self):
        return [node for node in self.nodes if node.process.poll() is None]

    def view(self, node=None):
        """The cluster as a node, by default the first alive, sees it: {node: (flags, id of its primary, slots)}."""
        by_id = {each.id: each for each in self.nodes}
        found = {}
        for line in (node or self.alive()[0]).command("CLUSTER", "NODES").splitlines():
            name, _, flags, primary, *rest = line.split()
            if name in by_id:
                slots = set()
                for part in rest[4:]:
                    if not part.startswith(b"["):  # a slot that moves
                        first, _, last = part.partition(b"-")
                        slots |= set(range(int(first), int(last or first) + 1))
                found[by_id[name]] = set(flags.split(b",")) - {b"myself"}, primary, slots
        return found

    def owners(self, node=None):
        """{slot: node}"""
        return {slot: each for each, (_, _, slots) in self.view(node).items() for slot in slots}

    def agreed(self):
        """Whether all slots have a live owner, and all live nodes agree."""
        return when_loaded(self._all_agree)

    def _all_agree(self):
        alive = self.alive()
        first = self.owners(alive[0])
        assert len(first) == 16384 and set(first.values()) <= set(alive), f"{len(first)} slots"
        for node in alive:
            assert self.owners(node) == first
            assert set(self.view(node)) >= set(alive)
            assert self.told(node) >= {each for each in alive if self.serves(each, node)}
            assert b"cluster_state:ok" in node.command("CLUSTER", "INFO")
            role = node.command("ROLE")
            assert role[0] == b"master" or role[3] == b"connected", role
        return True

    def serves(self, node, view_of=None):
        """Whether the node owns slots, or is a replica."""
        _, primary, slots = self.view(view_of)[node]
        return bool(slots) or primary != b"-"

    def told(self, node):
        """The nodes in its CLUSTER SLOTS: a replica is there only once it has data."""
        by_id = {each.id: each for each in self.nodes}
        return {by_id[member[2]] for part in node.command("CLUSTER", "SLOTS") for member in part[2:]
                if member[2] in by_id}

    def primaries(self):
        return sorted(set(self.owners().values()), key=self.nodes.index)

    def replicas(self):
        primaries = self.primaries()
        return [node for node in self.alive() if node not in primaries]

    def slot(self, key):
        return self.alive()[0].command("CLUSTER", "KEYSLOT", key)

    def entries(self, model="simple"):
        return sorted(key for node in self.primaries() for key in node.entries(model))

    def kill_primary(self, which=0):
        """Kills a primary, waits until its replica has taken over, and returns the old primary."""
        lost = self.primaries()[which]
        lost.stop()
        eventually(self.agreed, "a replica in the place of the primary")
        return lost

    def fail_over(self, which=0):
        """Makes a primary and its replica change places; both stay alive."""
        primary = self.primaries()[which]
        replica = eventually(lambda: next((node for node, (_, of, _) in self.view().items() if of == primary.id), None),
                             "the primary's replica")
        again = 0

        def taken():
            nonlocal again
            if time.monotonic() > again and replica.command("ROLE")[0] == b"slave":
                replica.command("CLUSTER", "FAILOVER")  # which gives up after 5 seconds
                again = time.monotonic() + 6
            return self.agreed() and replica in self.primaries()

        eventually(taken, "the replica in the primary's place")
        return primary

    def add_node(self):
        """Adds a primary without slots."""
        known, node = self.alive()[0], self._new_node()
        self.nodes.append(node)
        node.command("CLUSTER", "MEET", LOCAL, known.port, known.bus)
        eventually(self.agreed, "a node that all know")
        return node

    def add_replica(self, primary):
        """Adds a replica, and waits until it follows the primary."""
        known, node = self.alive()[0], self._new_node()
        self.nodes.append(node)
        node.command("CLUSTER", "MEET", LOCAL, known.port, known.bus)
        eventually(self.agreed, "a node that all know")
        node.command("CLUSTER", "REPLICATE", primary.id)
        eventually(lambda: self.agreed() and node.command("ROLE")[0] == b"slave", "one more replica")
        return node

    def announce(self, node, port):
        """Makes the node announce this port to the cluster."""
        node.command("CONFIG", "SET", "cluster-announce-port", port)
        said = f":{port}@".encode()
        eventually(lambda: all(said in each.command("CLUSTER", "NODES") for each in self.alive()), "another port")
        eventually(self.agreed, "links by way of the other port")

    def begin_move(self, slot, target):
        """Begins a move: the slot's owner, which is returned, then answers ASK for keys that it does not have."""
        source = self.owners()[slot]
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        return source

    def finish_move(self, slot, source, target):
        """Moves the slot's keys and ends the move: the old owner then answers MOVED."""
        while keys := source.command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.command("MIGRATE", LOCAL, target.port, "", 0, 5000, "REPLACE", "KEYS", *keys)
        target.command("CLUSTER", "SETSLOT", slot, "NODE", target.id)
        try:
            source.command("CLUSTER", "SETSLOT", slot, "NODE", target.id)
        except RedisError as refusal:  # without slots, it may have become a replica already
            assert "only with masters" in str(refusal), refusal

    def move(self, slots, target):
        """Moves slots and their keys to another primary."""
        for slot in slots:
            self.finish_move(slot, self.begin_move(slot, target), target)
        eventually(self.agreed, "nodes that know of the move")

    def cache(self, **options):
        return cache_options(**{"host": LOCAL, "port": self.nodes[0].client_port(), "cluster": "true",
                                "lookup_timeout": 5000, **options})

    def stop(self):
        for node in self.nodes:
            node.stop()


class ClusterTls(Cluster):
    """A Cluster that servers reach over TLS only. names: those in the certificate, by default the right ones."""

    def __init__(self, folder, authority, names=(), program=REDIS):
        self.authority = authority
        self.identity = authority.sign("node", names or (LOCAL, "::1", "localhost"), usage="serverAuth,clientAuth")
        super().__init__(folder, program=program)

    def _new_node(self):
        return NodeTls(self._new_folder(), self.authority, self.identity, self.options, self.program)

    def cache(self, **options):
        return super().cache(**{"tls_enabled": "true", "cacert": self.authority.cert, **options})
