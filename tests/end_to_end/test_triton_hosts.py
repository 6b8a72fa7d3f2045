"""Our plug-ins in other hosts than tritonserver: PyTriton, and a program that opens Triton's library for itself."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from support import LOCAL, ROOT
from triton import WHEEL, cache_folder, plugin

HERE = Path(__file__).parent
NAMES = ["local", "redis", "tiered"]
LIBRARIES = WHEEL / "nvidia_pytriton.libs"


@pytest.fixture
def caches(tmp_path):
    return cache_folder(tmp_path / "caches", **{name: plugin(name) for name in NAMES})


def options_of(name, redis_server):
    if name == "local":
        return {"size": "1MB"}
    prefix = "redis." if name == "tiered" else ""
    return {f"{prefix}host": LOCAL, f"{prefix}port": str(redis_server().port)}


def run(script, *arguments):
    """Runs a host; returns the JSON in its last line, and its log."""
    done = subprocess.run(
        [ROOT / ".deps" / "venv" / "bin" / "python", HERE / script, *map(str, arguments)], capture_output=True, text=True,
        timeout=55, env={**os.environ, "PYTHONPATH": str(WHEEL), "LD_LIBRARY_PATH": str(LIBRARIES),
                         "PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.parametrize("name", ["redis", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("local", "tiered"))])
def test_pytriton(caches, redis_server, name):
    settings = [f"{name},{key}={value}" for key, value in options_of(name, redis_server).items()]
    said, _ = run("pytriton_host.py", caches, *settings)
    assert said["hits"] == 1
    assert said["calls"] == said["executions"] > 0
    assert {"hippocamp_cache_inserts_total", "nv_cache_num_hits"} <= set(said["families"])


@pytest.mark.parametrize("name", NAMES)
def test_a_private_library(caches, redis_server, name):
    (library,) = LIBRARIES.glob("libtritonserver-*.so")
    options = options_of(name, redis_server)
    families, log = run("private_host.py", library, caches, name, json.dumps(options))
    assert "hippocamp_cache_inserts_total" in families
    assert f"cache: {name}" in log


def test_a_number_in_the_configuration(caches):
    """Triton passes a number for --response-cache-byte-size."""
    (library,) = LIBRARIES.glob("libtritonserver-*.so")
    _, log = run("private_host.py", library, caches, "local", '{"size": 1048576}')
    assert "local, 1048576 bytes" in log
