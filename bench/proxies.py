"""What stands in front of a server in the benchmarks: nginx, with or without its cache, and Hippocamp."""

import getpass
from pathlib import Path

import processes
from processes import HOST

PROXY = """\
user {user};
worker_processes {workers};
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 512; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_max_body_size 0;
    {buffers}
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_cache_path {folder}/cache keys_zone=answers:64m;
    upstream behind {{ server {host}:{behind}; keepalive 256; keepalive_requests 100000000; }}
    server {{
        listen {host}:{port};
        location / {{
            proxy_pass http://behind;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            {cache}
        }}
    }}
}}
"""
# A body that is larger than its buffer goes into a file, and is no part of a key.
BUFFERS = "client_body_buffer_size 1m;"
# A key that is larger than proxy_buffer_size is not used, and one of more than 64 KB cannot be kept: the files of nginx's cache
# have a number of 16 bits for where the response begins.
CACHE = """proxy_cache answers; proxy_cache_methods POST; proxy_cache_valid 200 1h;
            proxy_cache_key "$request_uri|$request_body";"""


def nginx(name, folder, behind, cache="", buffers=BUFFERS, workers=1):
    """Starts nginx in front of the server `behind`."""
    (port,) = processes.free_ports(1)
    home = Path(folder, name.replace(" ", "_"))
    home.mkdir(exist_ok=True)
    config = home / "nginx.conf"
    config.write_text(PROXY.format(folder=home, host=HOST, port=port, behind=behind.port, cache=cache,
                                   buffers=buffers, workers=workers, user=getpass.getuser()))
    return processes.Server(name, ["nginx", "-p", home, "-e", "stderr", "-c", config], port, folder, "/v2/health/ready")


def hippocamp(name, folder, behind, cache):
    """Starts hippocamp in front of the server `behind`. `cache` is "none", "local" or the port of a Redis server."""
    port, grpc_port, metrics_port = processes.free_ports(3)
    caches = {"none": ["--cache-config=none"], "local": [f"--cache-config=local,size={processes.CACHE_BYTES >> 20}MB"]}.get(
        cache, [f"--cache-config=redis,host={HOST}", f"--cache-config=redis,port={cache}", "--upstream-generation=bench"])
    return processes.Server(name, [*processes.HIPPOCAMP, "serve", f"--upstream=http://{HOST}:{behind.port}",
                               f"--upstream=grpc://{HOST}:{behind.grpc_port}", f"--http-address={HOST}", f"--http-port={port}",
                               f"--grpc-address={HOST}", f"--grpc-port={grpc_port}", f"--metrics-port={metrics_port}",
                               *caches], port, folder, "/v2/health/ready", grpc_port=grpc_port)
