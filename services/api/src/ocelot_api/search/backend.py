"""What a search backend is."""

from typing import Protocol

from ocelot_api.search.query import Page, SearchQuery
from ocelot_api.search.stats import Stats, StatsQuery


class SearchUnavailableError(Exception):
    """This backend can't answer this search now; another may.

    Attributes:
        away: it answers nobody, so that other searches need not try.
    """

    def __init__(self, reason: str, *, away: bool = False) -> None:
        super().__init__(reason)
        self.away = away


class SearchBackend(Protocol):
    """Answers searches. Both backends give the same events in the same order, and counts."""

    name: str

    async def search(self, query: SearchQuery) -> Page:
        """One page.

        Raises:
            SearchUnavailableError: it can't answer now.
            Problem: the search itself is too much.
        """
        ...

    async def stats(self, query: StatsQuery) -> Stats:
        """Statistics of what a search finds.

        Raises:
            SearchUnavailableError: it can't answer now.
            Problem: what is asked is too much.
        """
        ...
