"""hippocamp top: servers in a terminal, or one table where there is none."""

import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest

from support import LOCAL, PROGRAM, eventually, free_port, run_program, tensor
from traffic import put

MODEL = re.compile(r"(?m)^simple +(\S+) +(\S+) +(\S+) +(\S+)")


@pytest.fixture
def asked(serve, repository):
    server = serve(repository.add("simple"), "--cache-config=local,size=1MB")
    for seed in (1, 2, 1, 1):
        array = tensor([[seed] * 16], "INT32")
        assert put(server, "simple", {"INPUT0": array, "INPUT1": array}).status == 200
    eventually(lambda: b"2.00" in server.get("/history", port=server.metrics_port).body or len(server.get(
        "/history", port=server.metrics_port).json["samples"]) >= 2, "samples")
    return server


def url(server):
    return f"http://{LOCAL}:{server.metrics_port}"


def test_one_table(asked, serve, repository):
    """Of several servers: one that is fine, one without a cache, one that is gone."""
    plain = serve(repository, "--cache-config=none")
    gone = f"http://{LOCAL}:{free_port()}"
    done = run_program("top", url(asked), url(plain))
    assert (done.returncode, done.stderr) == (0, "")
    lookups, hits, joined, ratio = MODEL.search(done.stdout).groups()
    assert (lookups, int(hits) + int(joined), ratio) == ("4", 2, "50.0%")
    assert re.search(rf"(?m)^{url(asked)} .* 50\.0% ", done.stdout) and url(plain) in done.stdout
    done = run_program("top", url(asked), gone)
    assert done.returncode == 1 and re.search(rf"(?m)^{gone} +Connection refused$", done.stdout)
    assert MODEL.search(done.stdout)


def test_what_is_no_metrics_port(asked):
    done = run_program("top", f"http://{LOCAL}:{asked.port}")
    assert done.returncode == 1 and "is it the port of metrics?" in done.stdout
    assert run_program("top", "grpc://h:1").stderr.endswith("give the address of the metrics port, HOST:8002\n")
    assert run_program("top", "--every=1").stderr.startswith("usage: hippocamp top")
    assert run_program("top", "--help").stdout.startswith("usage: hippocamp top")


class Terminal:
    """A program on a terminal of its own; `seen` is all that it has written there."""

    def __init__(self, *arguments):
        self.seen = b""
        pid, self.fd = pty.fork()
        if pid == 0:
            os.environ.update(TERM="xterm", LINES="40", COLUMNS="140")
            os.execv(PROGRAM, [str(PROGRAM), *arguments])
        self.pid = pid

    def wait(self, text):
        end = time.monotonic() + 30
        while text not in self.seen:
            assert time.monotonic() < end, self.seen
            if select.select([self.fd], [], [], 0.2)[0]:
                self.seen += os.read(self.fd, 65536)

    def end(self):
        """Its exit status. What it still writes is read: else it might wait for that."""
        try:
            while data := os.read(self.fd, 65536):
                self.seen += data
        except OSError:
            pass  # it has ended
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.mark.parametrize("ending", ["q", "ctrl-c", "terminated"])
def test_a_terminal(asked, ending):
    terminal = Terminal("top", url(asked))
    terminal.wait(b"50.0%")
    assert b"SERVER" in terminal.seen and b"MODEL" in terminal.seen
    if ending == "terminated":
        os.kill(terminal.pid, signal.SIGTERM)
    else:
        os.write(terminal.fd, b"q" if ending == "q" else b"\x03")
    assert terminal.end() == 0
    assert terminal.seen.endswith((b"\x1b[?1049l\r\x1b[?1l\x1b>", b"\x1b>")), terminal.seen[-60:]  # as it was


def test_a_server_that_falls_silent_is_said_to(asked):
    terminal = Terminal("top", url(asked))
    terminal.wait(b"50.0%")
    os.kill(asked.process.pid, signal.SIGSTOP)
    try:
        terminal.wait(b"it does not answer")
    finally:
        os.kill(asked.process.pid, signal.SIGCONT)
    os.write(terminal.fd, b"q")
    assert terminal.end() == 0


def test_a_terminal_that_is_none(asked):
    done = subprocess.run([PROGRAM, "top", url(asked)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60, check=False, env={**os.environ, "TERM": "nonsense"})
    assert done.returncode == 0 and MODEL.search(done.stdout)
