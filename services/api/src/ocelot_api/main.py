"""The api process."""

from ocelot_api.app import create_app
from ocelot_api.http.bounds import EdgeBounds
from ocelot_api.http.server import EdgeServer
from ocelot_api.settings import ApiSettings
from ocelot_common.settings import load
from ocelot_common.telemetry.logs import configure_logs


def main() -> None:
    """Serve until SIGTERM; open requests are answered first."""
    settings = load(ApiSettings)
    configure_logs(service="api", level=settings.log_level)
    EdgeServer(
        create_app(settings),
        host=settings.http_host,
        port=settings.http_port,
        bounds=EdgeBounds(max_connections=settings.max_connections),
        shutdown_delay_sec=settings.shutdown_delay_sec,
    ).run()
