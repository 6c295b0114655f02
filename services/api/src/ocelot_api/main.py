"""The api process."""

import uvicorn

from ocelot_api.app import create_app
from ocelot_api.protocol import BoundedProtocol
from ocelot_api.settings import ApiSettings
from ocelot_common.settings import load
from ocelot_common.telemetry.logs import configure_logs


def main() -> None:
    """Serve until SIGTERM; open requests are answered first."""
    settings = load(ApiSettings)
    configure_logs(service="api", level=settings.log_level)
    uvicorn.run(
        create_app(settings),
        host=settings.http_host,
        port=settings.http_port,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing asks for the client's address
        timeout_keep_alive=75,
        timeout_graceful_shutdown=20,
    )
