"""nginx with one worker, as plain HTTP proxy and as gRPC proxy.

Tuned as an operator would for a fair race: kept-alive upstream connections, no access log, buffers large enough that
an image is not written to disk, and no limit on requests per connection.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess

from loadtests.peers.base import ProcessPeer, accepts

_CONFIG = """
{user}daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
pid {scratch}/{name}.pid;
error_log stderr error;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    client_max_body_size 64m;
    client_body_buffer_size 4m;
    client_body_temp_path {scratch}/{name}-body;
    proxy_temp_path {scratch}/{name}-proxy;
    {http}
    fastcgi_temp_path {scratch}/{name}-fastcgi;
    uwsgi_temp_path {scratch}/{name}-uwsgi;
    scgi_temp_path {scratch}/{name}-scgi;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    upstream triton {{
        server {upstream};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {address}{options} backlog=4096;
        {location}
    }}
}}
"""


class _Nginx(ProcessPeer):
    options = ""
    http = ""
    location = ""

    @classmethod
    def missing(cls) -> str | None:
        """nginx comes from the system."""
        return None if shutil.which("nginx") else "nginx is not installed: apt-get install nginx-light"

    @classmethod
    def version(cls) -> str | None:
        """As `nginx -v` says."""
        said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, timeout=10, check=False).stderr
        found = re.search(r"nginx/([\d.]+)", said)
        return f"nginx {found[1]}" if found else None

    def command(self) -> list[str]:
        """Write nginx.conf."""
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        upstream = self.backend.grpc if "grpc" in self.dialects else self.backend.rest
        config = self.scratch / f"{self.name}.conf"
        config.write_text(
            _CONFIG.format(
                files=files,
                connections=files - 100,
                scratch=self.scratch,
                name=self.name,
                upstream=upstream,
                address=self.address,
                options=self.options,
                location=self.location,
                user="user root;\n" if os.geteuid() == 0 else "",
                http=self.http.format(scratch=self.scratch, name=self.name),
            )
        )
        return ["nginx", "-p", str(self.scratch), "-c", str(config), "-e", "stderr"]


class NginxPlain(_Nginx):
    """HTTP/1.1 on both sides, to Triton's REST port."""

    name = "nginx_plain"
    label = "nginx, plain HTTP proxy"
    dialects = ("oip_json", "oip_binary")
    location = 'location / { proxy_pass http://triton; proxy_http_version 1.1; proxy_set_header Connection ""; }'


class NginxCache(_Nginx):
    """`proxy_cache` with the target and the whole body as its key, which it compares as MD5; its files are in memory
    where /dev/shm is. It keeps bytes for bytes: the same numbers written otherwise are another entry, and it knows of
    no tenants, versions or loads."""

    name = "nginx_cache"
    label = "nginx, proxy_cache hit"
    dialects = ("oip_json", "oip_binary")
    http = "proxy_cache_path {scratch}/{name}-cache keys_zone=answers:16m max_size=256m inactive=1h;"
    location = (
        'location / { proxy_pass http://triton; proxy_http_version 1.1; proxy_set_header Connection "";'
        ' proxy_cache answers; proxy_cache_methods POST; proxy_cache_key "$request_uri $request_body";'
        " proxy_cache_valid 200 1h; proxy_cache_lock on; add_header X-Cache $upstream_cache_status; }"
    )


class NginxGrpc(_Nginx):
    """`grpc_pass` to Triton's gRPC port."""

    name = "nginx_grpc"
    label = "nginx, gRPC passthrough"
    dialects = ("grpc",)
    options = " http2"
    location = "location / { grpc_pass grpc://triton; }"

    def ready(self) -> bool:
        """Speaks HTTP/2 only, so an open port must do."""
        return accepts(self.address)
