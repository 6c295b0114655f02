"""The probes port of every process: /healthz, /readyz, /metrics and /version.

The port is for the platform (kubelet, Prometheus), not for clients. A process that stops answering
here is restarted, so a client that reaches the port by mistake or on purpose must not be able to
block it. aiohttp's defaults do not prevent that: it accepts any number of connections, and closes
one that sends nothing after an hour. Therefore

- a connection serves one request and ends after `CONNECTION_SEC` at the latest,
- the oldest connection makes room for a new one beyond `MAX_CONNECTIONS`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ocelot_common.build_info import BuildInfo, export_build_info
from ocelot_common.telemetry.logs import get_logger

#: Why a process is not ready, by cause; empty when it is.
Readiness = Callable[[], dict[str, str]]

MAX_CONNECTIONS: Final = 32
#: From accepting a connection to its end. Prometheus waits for 10 s by default.
CONNECTION_SEC: Final = 15.0
#: Of the request line, and of one header.
_MAX_LINE_BYTES: Final = 4_096
_MAX_HEADERS: Final = 64
#: For the body of a request that is answered already.
_LINGER_SEC: Final = 1.0
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

log = get_logger(__name__)
# aiohttp writes a traceback for each request that is not HTTP: a stranger could fill the log.
_silent: Final = logging.getLogger(f"{__name__}.http")
_silent.setLevel(logging.CRITICAL)


class ProcessReadiness:
    """Collect the causes for which a process is not ready; an instance is a `Readiness`."""

    def __init__(self) -> None:
        self._held: dict[str, str] = {}
        self._checks: dict[str, Callable[[], str | None]] = {}

    def hold(self, cause: str, reason: str) -> None:
        """Report the process as not ready until the cause is released.

        Args:
            cause: a key in snake case, such as `shutting_down`.
            reason: a sentence for people.
        """
        self._held[cause] = reason

    def release(self, cause: str) -> None:
        """End a cause; nothing happens if it does not hold."""
        self._held.pop(cause, None)

    def add_check(self, cause: str, check: Callable[[], str | None]) -> None:
        """Call `check` for each probe; it returns the reason, or None while all is well."""
        self._checks[cause] = check

    def __call__(self) -> dict[str, str]:
        """Return the reasons by cause; empty if the process is ready."""
        causes = dict(self._held)
        for cause, check in self._checks.items():
            if (reason := check()) is not None:
                causes[cause] = reason
        return causes


@asynccontextmanager
async def serve_probes(
    *,
    host: str,
    port: int,
    readiness: Readiness,
    registry: CollectorRegistry,
    build: BuildInfo,
    connection_sec: float = CONNECTION_SEC,
) -> AsyncIterator[None]:
    """Serve the probes while the context lasts.

    Args:
        host: address to listen on.
        port: to listen on.
        readiness: asked for each `/readyz`.
        registry: exported by `/metrics`; `ocelot_build_info` is added to it.
        build: returned by `/version`.
        connection_sec: seconds after which a connection is closed, whatever its state.

    Raises:
        OSError: the port is taken.
    """
    export_build_info(build, registry)

    def healthz() -> web.Response:
        return web.json_response({"status": "ok"}, headers=_HEADERS)

    def readyz() -> web.Response:
        causes = readiness()
        status = "unavailable" if causes else "ready"
        return web.json_response(
            {"status": status, "causes": causes}, status=503 if causes else 200, headers=_HEADERS
        )

    def metrics() -> web.Response:
        headers = {"Content-Type": CONTENT_TYPE_LATEST, **_HEADERS}
        return web.Response(body=generate_latest(registry), headers=headers)

    def version() -> web.Response:
        return web.json_response(build._asdict(), headers=_HEADERS)

    endpoints: dict[str, Callable[[], web.Response]] = {
        "/healthz": healthz,
        "/readyz": readyz,
        "/metrics": metrics,
        "/version": version,
    }
    server = _BoundedServer(_handler(endpoints), connection_sec=connection_sec)
    runner = web.ServerRunner(server, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()


def _handler(endpoints: dict[str, Callable[[], web.Response]]) -> Any:
    async def answer(request: web.BaseRequest) -> web.Response:
        endpoint = endpoints.get(request.path)
        if endpoint is None:
            response = web.Response(status=404, text="not found\n", headers=_HEADERS)
        elif request.method != "GET":
            headers = {"Allow": "GET", **_HEADERS}
            response = web.Response(status=405, text="only GET is allowed\n", headers=headers)
        else:
            try:
                response = endpoint()
            except Exception:  # the outermost loop of a request
                log.exception("probe_failed", probe=request.path)
                response = web.Response(status=500, text="the probe failed\n", headers=_HEADERS)
        response.force_close()
        return response

    return answer


class _BoundedServer(web.Server):
    """An aiohttp server whose connections are few and short."""

    def __init__(self, handler: Any, *, connection_sec: float) -> None:
        super().__init__(
            handler,
            logger=_silent,
            access_log=None,
            max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_LINE_BYTES,
            max_headers=_MAX_HEADERS,
            lingering_time=_LINGER_SEC,
            auto_decompress=False,
        )
        self._connection_sec = connection_sec
        self._ends: dict[web.RequestHandler, tuple[asyncio.Transport, asyncio.TimerHandle]] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Start the connection's clock, and close the oldest connection if there are too many."""
        super().connection_made(handler, transport)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._connection_sec, transport.abort)
        self._ends[handler] = (transport, timer)
        if len(self._ends) > MAX_CONNECTIONS:
            oldest, _ = self._ends[next(iter(self._ends))]
            oldest.abort()

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        """Forget a connection."""
        super().connection_lost(handler, exc)
        _, timer = self._ends.pop(handler, (None, None))
        if timer is not None:
            timer.cancel()
