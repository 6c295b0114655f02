"""Large bulk requests take turns on the event loop, so that others wait for one of them at most."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from starlette.types import Message, Receive

from ocelot_api.bodies import ClientGoneError

Turn = Callable[[], Awaitable[None]]


class Turns:
    """Gives one waiting request a turn in each pass of the event loop.

    If each took its turn whenever it could, a pass would take as long as all of them together, and
    a call to SQS, which needs several passes, would time out. Tenants take turns, and so do the
    requests of each.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._next: asyncio.Handle | None = None

    @contextmanager
    def request(self, uid: str, receive: Receive) -> Iterator[Turn]:
        """Return what a request awaits before each step of up to 10 ms.

        It raises `ClientGoneError` if the client has closed the connection meanwhile.

        Args:
            uid: the tenant's.
            receive: of the request, whose body has been read.
        """
        gone: asyncio.Task[Message] | None = None

        async def turn() -> None:
            nonlocal gone
            if gone is None:  # most requests end before their first turn
                gone = asyncio.ensure_future(receive())
            await self._wait(uid)
            if gone.done():
                raise ClientGoneError

        try:
            yield turn
        finally:
            if gone is not None:
                gone.cancel()

    async def _wait(self, uid: str) -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.setdefault(uid, deque()).append(future)
        if self._next is None:
            self._next = loop.call_soon(self._give, loop)
        await future

    def _give(self, loop: asyncio.AbstractEventLoop) -> None:
        self._next = None
        while self._waiting:
            uid = next(iter(self._waiting))
            futures = self._waiting.pop(uid)
            future = futures.popleft()
            if futures:
                self._waiting[uid] = futures  # behind the other tenants
            if not future.done():  # its request was cancelled
                future.set_result(None)
                break
        if self._waiting:
            # In the next pass, after the step of the request that was just woken.
            self._next = loop.call_soon(self._give, loop)
