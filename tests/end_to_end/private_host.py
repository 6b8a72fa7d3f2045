"""private_host.py LIBTRITONSERVER CACHES NAME CONFIG: opens Triton's library privately (RTLD_LOCAL), as Python's and
Java's in-process APIs do, and makes a server with a cache. CONFIG and the output, the server's metric families, are
JSON."""

import ctypes
import json
import os
import sys
import tempfile

EXPLICIT, PROMETHEUS = 2, 0  # TRITONSERVER_MODEL_CONTROL_EXPLICIT, TRITONSERVER_METRIC_PROMETHEUS


class Library:
    def __init__(self, path):
        self.functions = ctypes.CDLL(path, mode=os.RTLD_NOW | os.RTLD_LOCAL)
        self.functions.TRITONSERVER_ErrorMessage.restype = ctypes.c_char_p
        assert not hasattr(ctypes.CDLL(None), "TRITONSERVER_ErrorNew"), "the library is not private"

    def call(self, name, *arguments):
        function = getattr(self.functions, f"TRITONSERVER_{name}")
        function.restype = ctypes.c_void_p
        error = function(*arguments)
        if error is not None:
            sys.exit(f"{name}: {self.functions.TRITONSERVER_ErrorMessage(ctypes.c_void_p(error)).decode()}")


def main(path, caches, cache, config, folder):
    library = Library(path)
    options, server, metrics = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    library.call("ServerOptionsNew", ctypes.byref(options))
    for name, *values in (
            ("ModelRepositoryPath", folder.encode()),
            ("ModelControlMode", ctypes.c_int(EXPLICIT)),
            ("BackendDirectory", folder.encode()),
            ("RepoAgentDirectory", folder.encode()),
            ("CacheDirectory", caches.encode()),
            ("CacheConfig", cache.encode(), config.encode()),
            ("ExitTimeout", ctypes.c_uint(5)),
            ("GpuMetrics", ctypes.c_bool(False)),
            ("CpuMetrics", ctypes.c_bool(False)),
            ("PinnedMemoryPoolByteSize", ctypes.c_uint64(0))):
        library.call(f"ServerOptionsSet{name}", options, *values)
    library.call("ServerNew", ctypes.byref(server), options)
    library.call("ServerOptionsDelete", options)
    library.call("ServerMetrics", server, ctypes.byref(metrics))
    base, size = ctypes.c_void_p(), ctypes.c_size_t()
    library.call("MetricsFormatted", metrics, ctypes.c_int(PROMETHEUS), ctypes.byref(base), ctypes.byref(size))
    page = ctypes.string_at(base.value, size.value).decode()
    library.call("MetricsDelete", metrics)
    library.call("ServerDelete", server)
    json.dump([line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")], sys.stdout)


with tempfile.TemporaryDirectory() as temporary:
    main(*sys.argv[1:], temporary)
