"""The api's server: uvicorn's lifespan, signals and event loop around connections of our own."""

import asyncio
import resource
import socket
from functools import partial
from typing import Final

import msgspec
import uvicorn
from starlette.types import ASGIApp

from ocelot_api.http.bounds import EdgeBounds
from ocelot_api.http.connection import Connection
from ocelot_api.http.connections import Connections
from ocelot_api.http.listener import Listener, bind
from ocelot_api.http.metrics import EdgeMetrics
from ocelot_common.probes import ProcessReadiness
from ocelot_common.telemetry.logs import get_logger

#: File descriptors for MongoDB, SQS, OpenSearch, probes and logs.
RESERVED_DESCRIPTORS: Final = 256
#: From the end of accepting to the cut of what is still being answered.
GRACE_SEC: Final = 20.0
_STEP_SEC: Final = 0.05

log = get_logger(__name__)


class EdgeServer(uvicorn.Server):
    """Serves an application on the public port until SIGTERM.

    On SIGTERM it goes on to accept for `shutdown_delay_sec`, and tells each client with its next
    answer to close the connection: a load balancer that has not heard of the end yet loses no
    request. Then it stops to listen, closes idle connections, and waits for what is being answered.

    Args:
        app: an ASGI application with a lifespan.
        host: address to listen on.
        port: of the host.
        bounds: on connections.
        shutdown_delay_sec: how long connections are accepted after SIGTERM.
        readiness: of the process: it is ready once clients can connect, until it drains.
        metrics: of the connections.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        port: int,
        bounds: EdgeBounds,
        shutdown_delay_sec: float,
        readiness: ProcessReadiness,
        metrics: EdgeMetrics,
    ) -> None:
        super().__init__(
            uvicorn.Config(app, loop="uvloop", lifespan="on", ws="none", log_config=None)
        )
        self._app = app
        self._host = host
        self._port = port
        self._bounds = bounds
        self._shutdown_delay_sec = shutdown_delay_sec
        self._readiness = readiness
        self._metrics = metrics
        readiness.hold("starting", "the process is starting")
        self._connections: Connections | None = None
        self._listener: Listener | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then accept connections."""
        del sockets
        try:
            bound = bind(self._host, self._port)
        except OSError as error:
            raise SystemExit(f"cannot listen on {self._host}:{self._port}: {error}") from None
        await super().startup(sockets=[])  # uvicorn listens to nothing itself
        bounds = msgspec.structs.replace(
            self._bounds, max_connections=_affordable(self._bounds.max_connections)
        )
        connections = Connections(
            self._app, bounds, loop=asyncio.get_running_loop(), metrics=self._metrics
        )
        self._connections = connections
        self._listener = Listener(bound, connections, partial(Connection, connections))
        self._readiness.release("starting")
        log.info("listening", host=self._host, port=self._port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain the connections, then end the application."""
        del sockets
        self._readiness.hold("shutting_down", "the process is shutting down")
        connections, listener = self._connections, self._listener
        if connections is not None and listener is not None:
            if self._shutdown_delay_sec > 0:
                connections.draining = True
                await self._wait(self._shutdown_delay_sec)
            listener.close()
            await asyncio.sleep(0)  # what was just accepted is opened
            connections.drain()
            ended = asyncio.create_task(connections.ended())
            await self._wait(GRACE_SEC, until=ended)
            ended.cancel()
            await connections.cut()
            connections.close()
        await super().shutdown()

    async def _wait(self, seconds: float, *, until: asyncio.Task[None] | None = None) -> None:
        """Wait, but not after a second signal."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + seconds
        while loop.time() < ends_at and not (self.force_exit or (until and until.done())):  # noqa: ASYNC110 - uvicorn's signal handler sets a flag
            await asyncio.sleep(_STEP_SEC)


def _affordable(wanted: int) -> int:
    """Raise the limit of file descriptors where it may be; return the connections that it allows.

    Raises:
        SystemExit: it allows none.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + RESERVED_DESCRIPTORS
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft >= needed:
        return wanted
    allowed = soft - RESERVED_DESCRIPTORS
    if allowed < 1:
        raise SystemExit(
            f"The process may open {soft} files; it needs {RESERVED_DESCRIPTORS} for its backends"
            " and one for each connection. Raise the limit (ulimit -n)."
        )
    log.warning("connections_limited", wanted=wanted, allowed=allowed, open_files=soft)
    return allowed
