"""The HTTP port of a worker: /healthz, /readyz and /metrics."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

#: Why a process is not ready, by cause; empty when it is.
Readiness = Callable[[], dict[str, str]]


@asynccontextmanager
async def serve_probes(
    *, host: str, port: int, readiness: Readiness, registry: CollectorRegistry
) -> AsyncIterator[None]:
    """Serve the probes while the context lasts.

    Raises:
        OSError: the port is taken.
    """

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        causes = readiness()
        status = "unavailable" if causes else "ready"
        return web.json_response(
            {"status": status, "causes": causes}, status=503 if causes else 200
        )

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    application = web.Application()
    application.router.add_get("/healthz", healthz)
    application.router.add_get("/readyz", readyz)
    application.router.add_get("/metrics", metrics)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()
