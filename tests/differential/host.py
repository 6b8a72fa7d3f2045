"""Runs Triton's newest HTTP and gRPC ends (tritonfrontend) on the core of an older Triton, through its C interface.

    host.py FRONT_END CORE_LIBRARIES MODELS BACKENDS CACHES HTTP_PORT GRPC_PORT MODE PREFIX [MODEL]

The Python here is Debian 13's 3.13: tools/deps has prepared the extension, which was built for 3.12, for it.
"""

import ctypes
import importlib.machinery
import importlib.util
import os
import signal
import sys
import time
from pathlib import Path

front_end, libraries, models, backends, caches, http_port, grpc_port, mode, prefix, *loaded = sys.argv[1:]
os.environ.pop("PYTHONHOME", None)  # the python backend's processes use another Python
core = ctypes.CDLL(next(str(path) for path in Path(libraries).glob("libtritonserver*.so")), mode=ctypes.RTLD_GLOBAL)
core.TRITONSERVER_ErrorMessage.restype = ctypes.c_char_p


def call(function, *arguments):
    function = getattr(core, "TRITONSERVER_" + function)
    function.restype = ctypes.c_void_p
    error = function(*(value.encode() if isinstance(value, str) else value for value in arguments))
    if error:
        sys.exit(core.TRITONSERVER_ErrorMessage(ctypes.c_void_p(error)).decode())


options, server = ctypes.c_void_p(), ctypes.c_void_p()
call("ServerOptionsNew", ctypes.byref(options))
call("ServerOptionsSetModelRepositoryPath", options, models)
call("ServerOptionsSetBackendDirectory", options, backends)
call("ServerOptionsSetCacheDirectory", options, caches)
call("ServerOptionsSetCacheConfig", options, "local", '{"size": "67108864"}')
call("ServerOptionsSetBackendConfig", options, "python", "shm-region-prefix-name", prefix)
call("ServerOptionsSetModelControlMode", options, {"none": 0, "explicit": 2}[mode])
for name in loaded:
    call("ServerOptionsSetStartupModel", options, name)
call("ServerOptionsSetStrictModelConfig", options, True)
call("ServerOptionsSetStrictReadiness", options, True)
call("ServerOptionsSetModelLoadThreadCount", options, 2)  # else locks between its processes time out on a busy machine
call("ServerOptionsSetExitTimeout", options, 5)
call("ServerNew", ctypes.byref(server), options)

file = str(Path(front_end, "tritonfrontend_bindings.so"))
loader = importlib.machinery.ExtensionFileLoader("tritonfrontend_bindings", file)
bindings = importlib.util.module_from_spec(importlib.util.spec_from_loader("tritonfrontend_bindings", loader))
loader.exec_module(bindings)

# Its own defaults, and every option must be given.
grpc_end = bindings.TritonFrontendGrpc(server.value, {
    "address": "127.0.0.1", "port": int(grpc_port), "reuse_port": False, "use_ssl": False, "server_cert": "",
    "server_key": "", "root_cert": "", "use_mutual_auth": False, "keepalive_time_ms": 7200000,
    "keepalive_timeout_ms": 20000, "keepalive_permit_without_calls": False, "http2_max_pings_without_data": 2,
    "http2_min_recv_ping_interval_without_data_ms": 300000, "http2_max_ping_strikes": 2, "max_connection_age_ms": 0,
    "max_connection_age_grace_ms": 0, "infer_compression_level": 0, "infer_thread_count": 2,
    "infer_allocation_pool_size": 8, "max_response_pool_size": 2147483647, "forward_header_pattern": ""})
http_end = bindings.TritonFrontendHttp(server.value, {
    "address": "127.0.0.1", "port": int(http_port), "reuse_port": False, "thread_count": 8, "header_forward_pattern": ""})
grpc_end.start()
http_end.start()

ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
while not ended:
    time.sleep(0.1)
http_end.stop()
grpc_end.stop()
call("ServerStop", server)
os._exit(0)  # the core's destructors and Python's disagree about the order
