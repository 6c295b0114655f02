"""nginx in front of the api, configured as ingress-nginx configures it."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from string import Template
from typing import Final

from ocelot_devstack.ports import free_port
from ocelot_devstack.probes import http_status
from ocelot_devstack.process import ManagedProcess

#: What ingress-nginx writes for a location: HTTP/1.1 to the upstream, its connections kept, and an
#: upgrade passed on where the client asks for one. One upstream connection makes every request
#: follow the one before it on the same connection, which is the worst case.
_CONFIG: Final = Template("""
$user
daemon off;
worker_processes 1;
pid $folder/nginx.pid;
error_log $folder/error.log info;
events { worker_connections 1024; }
http {
  log_format upstream '$$status $$upstream_status $$upstream_connect_time $$upstream_response_time';
  access_log $folder/access.log upstream;
  client_body_temp_path $folder/bodies;
  proxy_temp_path $folder/proxy;
  fastcgi_temp_path $folder/fastcgi;
  uwsgi_temp_path $folder/uwsgi;
  scgi_temp_path $folder/scgi;
  client_max_body_size 64m;
  map $$http_upgrade $$connection_upgrade {
    default upgrade;
    '' '';
  }
  upstream api {
    server 127.0.0.1:$api_port max_fails=0;
    keepalive $keepalive;
    keepalive_requests 1000000;
    keepalive_timeout $idle_sec;
  }
  server {
    listen 127.0.0.1:$port;
    location / {
      proxy_pass http://api;
      proxy_http_version 1.1;
      proxy_set_header Host $$host;
      proxy_set_header Upgrade $$http_upgrade;
      proxy_set_header Connection $$connection_upgrade;
      proxy_set_header X-Request-ID $$http_x_request_id;
      proxy_connect_timeout 30s;
      proxy_read_timeout 60s;
      proxy_request_buffering $buffering;
    }
  }
}
""")


class Nginx:
    """A running nginx.

    Attributes:
        port: where it listens, on the loopback address.
        folder: its configuration, pid and logs.
    """

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self.folder = folder

    def errors(self) -> list[str]:
        """Lines of the error log that say what went wrong with the api."""
        text = (self.folder / "error.log").read_text()
        return [line for line in text.splitlines() if "[error]" in line or "[crit]" in line]

    def statuses(self) -> list[str]:
        """The status of every answer so far, as nginx logs it."""
        text = (self.folder / "access.log").read_text()
        return [line.split(" ", 1)[0] for line in text.splitlines()]


@asynccontextmanager
async def nginx_before(
    api_port: int,
    *,
    program: str,
    folder: Path,
    keepalive: int = 1,
    idle_sec: int = 60,
    request_buffering: bool = True,
) -> AsyncIterator[Nginx]:
    """Run nginx in front of an api.

    Args:
        api_port: of the api, on the loopback address.
        program: the path of nginx.
        folder: an empty folder for everything that it writes.
        keepalive: how many idle connections to the api it keeps.
        idle_sec: for how long; nginx's default is 60 s, below the 75 s of the api.
        request_buffering: whether it reads a whole body before it sends the request on.
    """
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(
        _CONFIG.substitute(
            # Workers of a nginx that root starts run as another user, who may not write here.
            user="user root;" if os.geteuid() == 0 else "",
            folder=folder,
            api_port=api_port,
            port=port,
            keepalive=keepalive,
            idle_sec=idle_sec,
            buffering="on" if request_buffering else "off",
        )
    )

    async def ready() -> bool:
        return await http_status(f"http://127.0.0.1:{port}/.well-known/jwks.json") == 200

    process = ManagedProcess(
        "nginx",
        (program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)),
        env={"PATH": os.environ.get("PATH", os.defpath)},
        log_path=folder / "output.log",
        ready=ready,
    )
    await process.start()
    try:
        await process.wait_ready(180)
        yield Nginx(port, folder)
    finally:
        await process.stop()
