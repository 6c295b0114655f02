"""The api process."""

from contextlib import suppress

from ocelot_api.app import create_app
from ocelot_api.http.bounds import EdgeBounds
from ocelot_api.http.metrics import EdgeMetrics
from ocelot_api.http.server import EdgeServer
from ocelot_api.settings import ApiSettings
from ocelot_common.probes import ProcessReadiness
from ocelot_common.settings import load
from ocelot_common.telemetry.logs import configure_logs
from ocelot_common.telemetry.metrics import process_registry


def main() -> None:
    """Serve until SIGTERM; open requests are answered first."""
    settings = load(ApiSettings)
    configure_logs(service="api", level=settings.log_level)
    readiness = ProcessReadiness()
    registry = process_registry()
    server = EdgeServer(
        create_app(settings, readiness=readiness, registry=registry),
        host=settings.http_host,
        port=settings.http_port,
        bounds=EdgeBounds(max_connections=settings.max_connections),
        shutdown_delay_sec=settings.shutdown_delay_sec,
        readiness=readiness,
        metrics=EdgeMetrics(registry),
    )
    with suppress(KeyboardInterrupt):  # uvicorn raises Ctrl-C again after it has stopped
        server.run()
