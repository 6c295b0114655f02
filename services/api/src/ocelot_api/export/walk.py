"""Everything that a search finds, stretch by stretch, from MongoDB."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

import msgspec

from ocelot_api.problems import Problem, unauthenticated
from ocelot_api.search.mongo_backend import MongoBackend
from ocelot_api.search.page import Stretch
from ocelot_api.search.query import Position, SearchQuery
from ocelot_common.registry.model import Home
from ocelot_common.tasks import cancel_and_wait

#: A stretch that takes longer passes by too many events that do not fit; from then on,
_PATIENCE_SEC: Final = 2.0
#: a query of MongoDB's passes by so many at most, and its next asks for those behind them.
_SPAN: Final = 50_000
#: Stretches are of about so many bytes of events: small ones cost more, large ones memory.
_BYTES: Final = 2 * 1024 * 1024
_MOST_EVENTS: Final = 4_000
_FEWEST_EVENTS: Final = 100


class Walk:
    """Goes from one position to the end, or to a limit.

    Each stretch is asked for while the one before is sent: a walk holds two, whatever its length.

    Args:
        query: where it begins, and what must fit.
        store: holds the events.
        stored_until: the last `seq` that is wanted.
        limit: most events in all; None is all.
        present_home: the tenant as it is now, or why nobody may read on.
    """

    def __init__(
        self,
        query: SearchQuery,
        *,
        store: MongoBackend,
        stored_until: int,
        limit: int | None,
        present_home: Callable[[], Awaitable[Home]],
    ) -> None:
        self._query = query
        self._store = store
        self._stored_until = stored_until
        self._left = limit
        self._present_home = present_home
        self._sparse = False
        self._horizon: Position | None = None
        self._displaced = False

    @property
    def displaced(self) -> bool:
        """Whether documents without a place in the order are stored, once all was walked."""
        return self._displaced

    async def stretches(self) -> AsyncGenerator[Stretch]:
        """The events, in order. The end of the last stretch is None if nothing more fits.

        Raises:
            Problem: the tenant may not be read any more, or MongoDB does not answer in time.
            PyMongoError: it does not answer.
        """
        upcoming = asyncio.create_task(self._next())
        try:
            while True:
                stretch = self._within_limit(await upcoming)
                self._displaced = self._displaced or stretch.displaced
                more = stretch.end is not None and self._left != 0
                if more:
                    self._query = msgspec.structs.replace(
                        self._query, after=stretch.end, limit=self._next_limit(stretch)
                    )
                    upcoming = asyncio.create_task(self._next())
                yield stretch
                if not more:
                    break
            if stretch.end is None and not self._displaced:
                self._displaced = not await self._store.is_whole(
                    self._query, stored_until=self._stored_until
                )
        finally:
            await cancel_and_wait([upcoming])

    def _within_limit(self, stretch: Stretch) -> Stretch:
        if self._left is None:
            return stretch
        if len(stretch.items) > self._left:
            items = stretch.items[: self._left]
            stretch = stretch._replace(items=items, end=items[-1].position)
        self._left -= len(stretch.items)
        return stretch

    def _next_limit(self, stretch: Stretch) -> int:
        """As many events as are likely to make a stretch."""
        if not stretch.items:
            return self._query.limit
        size = sum([len(item.json) for item in stretch.items])
        return max(_FEWEST_EVENTS, min(_MOST_EVENTS, _BYTES * len(stretch.items) // size))

    async def _next(self) -> Stretch:
        await self._look_again()
        if not self._sparse:
            try:
                return await self._follow(_PATIENCE_SEC)
            except Problem as problem:
                if problem.code != "search_timeout":
                    raise
                self._sparse = True
        if self._horizon is None:
            self._horizon = await self._store.look_ahead(self._query, _SPAN)
        stretch = await self._follow()
        if stretch.end is None:
            stretch = stretch._replace(end=self._horizon)
            self._horizon = None
        return stretch

    async def _follow(self, timeout_sec: float | None = None) -> Stretch:
        return await self._store.follow(
            self._query,
            stored_until=self._stored_until,
            upto=self._horizon,
            timeout_sec=timeout_sec,
        )

    async def _look_again(self) -> None:
        """Tenant, token and cutoff may have changed since the last stretch."""
        home = await self._present_home()
        if home.tenant.uid != self._query.home.tenant.uid:
            raise unauthenticated("tenant_unknown", "The tenant was deleted.")
        cutoff = home.tenant.cutoff_ms()
        self._query = msgspec.structs.replace(self._query, home=home, cutoff=cutoff)
