"""tools/contain: no process is left of a command, however it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT, eventually

CONTAIN = ROOT / "tools/contain"
DETACHED = "setsid sleep 1000 & echo $!; "  # an orphan in a session of its own when the shell has ended


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture
def contained():
    """contained(script): the process of the tool, and the detached one's number. Those left are killed after the test."""
    started = []

    def start(script, wrap=()):
        # A shell that runs the tests in the background lets them ignore SIGINT.
        tool = subprocess.Popen([*wrap, "env", "--default-signal=INT,HUP", sys.executable, CONTAIN, "sh", "-c",
                                 DETACHED + script], stdout=subprocess.PIPE, text=True)
        detached = int(tool.stdout.readline())
        started.append((tool, detached))
        return tool, detached

    yield start
    for tool, detached in started:
        for pid in (tool.pid, detached):
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)
        tool.wait()
        tool.stdout.close()


@pytest.mark.parametrize("script, code", [("exit 0", 0), ("exit 7", 7), ("kill -SEGV $$", 139)])
def test_the_command_ends(contained, script, code):
    tool, detached = contained(script)
    assert tool.wait(timeout=30) == code
    assert not is_running(detached)


@pytest.mark.parametrize("script", ["sleep 1000", "trap '' TERM; sleep 1000"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_it_is_told_to_end(contained, script, number):
    tool, detached = contained(script)
    tool.send_signal(number)
    assert tool.wait(timeout=60) == 128 + number
    assert not is_running(detached)


def test_two_interrupts_end_it(contained):
    """One is the command's own affair."""
    tool, detached = contained("trap 'echo interrupted' INT; echo ready; while :; do sleep 0.1; done")
    assert tool.stdout.readline() == "ready\n"
    tool.send_signal(signal.SIGINT)
    children = Path(f"/proc/{tool.pid}/task/{tool.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGINT)
    assert tool.stdout.readline() == "interrupted\n"
    assert is_running(detached)
    tool.send_signal(signal.SIGINT)
    assert tool.wait(timeout=60) == 128 + signal.SIGINT
    assert not is_running(detached)


def test_who_has_started_it_dies(contained):
    shell, detached = contained("sleep 1000", wrap=["sh", "-c", '"$@"; :', "sh"])
    shell.kill()
    eventually(lambda: not is_running(detached), "the end of the detached process")


def test_the_command_has_the_usual_signals(contained):
    tool, _ = contained("grep -E 'Sig(Blk|Ign)' /proc/self/status")
    blocked, ignored = (int(tool.stdout.readline().split()[1], 16) for _ in range(2))
    of_python = 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1
    assert blocked == 0 and ignored & of_python == 0


def test_misuse():
    done = subprocess.run([sys.executable, CONTAIN, "/no/such/command"], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (1, "tools/contain: /no/such/command: No such file or directory\n")
