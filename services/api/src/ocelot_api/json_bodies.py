"""JSON bodies of requests that are no events: searches, rebuilds."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request

from ocelot_api.bodies import read_body
from ocelot_api.budget import FairPool
from ocelot_api.ingest.splitting import check_json
from ocelot_api.middleware import headers_of
from ocelot_api.timers import TimeLimits


class JsonBodies:
    """Reads them within the process's budget.

    Args:
        budget: of all bodies.
        timeout_sec: in which one must arrive.
    """

    def __init__(self, budget: FairPool, *, timeout_sec: float) -> None:
        self._budget = budget
        self._time_limits = TimeLimits(timeout_sec)

    @asynccontextmanager
    async def body(self, request: Request, *, uid: str, max_bytes: int) -> AsyncIterator[bytes]:
        """Read a request's body; what it takes is given back at the end of the context.

        Args:
            request: whose body it is.
            uid: of the tenant that asks.
            max_bytes: bound of the body, as sent and decompressed alike.

        Raises:
            Problem: 400, 408, 413, 415 or 503.
            ClientGoneError: the client went away.
        """
        headers = headers_of(request.scope)
        check_json(headers)
        with self._budget.reservation(uid) as reservation:
            yield await read_body(
                request.receive,
                headers,
                max_bytes=max_bytes,
                time_limits=self._time_limits,
                reservation=reservation,
            )
