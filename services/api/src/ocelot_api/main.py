"""The api process."""

import socket
import sys
from contextlib import suppress

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from ocelot_api.app import create_app
from ocelot_api.protocol import BoundedProtocol
from ocelot_api.settings import ApiSettings
from ocelot_common.probes import ProcessReadiness
from ocelot_common.settings import load
from ocelot_common.telemetry.logs import configure_logs


class _Server(uvicorn.Server):
    """Reports the process as ready once clients can connect.

    The probes port opens first, and the port for clients after everything else.
    """

    def __init__(self, config: uvicorn.Config, readiness: ProcessReadiness) -> None:
        super().__init__(config)
        self._readiness = readiness
        readiness.hold("starting", "the process is starting")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._readiness.release("starting")


def main() -> None:
    """Serve until SIGTERM; open requests are answered first."""
    settings = load(ApiSettings)
    configure_logs(service="api", level=settings.log_level)
    readiness = ProcessReadiness()
    config = uvicorn.Config(
        create_app(settings, readiness=readiness),
        host=settings.http_host,
        port=settings.http_port,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # OCELOT_TRUSTED_PROXIES says which to believe (client_address.py)
        timeout_keep_alive=75,
        timeout_graceful_shutdown=20,
    )
    server = _Server(config, readiness)
    with suppress(KeyboardInterrupt):  # uvicorn raises Ctrl-C again after it has stopped
        server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)
