"""What a search backend is."""

from typing import Protocol

from ocelot_api.budget import Reservation
from ocelot_api.search.page import Page
from ocelot_api.search.query import SearchQuery
from ocelot_api.search.stats import Stats, StatsQuery


class SearchUnavailableError(Exception):
    """This backend can't answer this search now; another may.

    Attributes:
        away: whether it answers nobody, so that other searches need not try. None where nothing
            was learned about that.
    """

    def __init__(self, reason: str, *, away: bool | None = None) -> None:
        super().__init__(reason)
        self.away = away


class SearchBackend(Protocol):
    """Answers searches. Both backends give the same events in the same order, and counts."""

    name: str

    async def search(self, query: SearchQuery, held: Reservation) -> Page:
        """Return one page.

        Args:
            query: what is asked.
            held: grows with what is held. At the end it holds the page, and what it held before.

        Raises:
            SearchUnavailableError: it can't answer now.
            Problem: the search itself is too much, or the budget of answers is used up.
        """
        ...

    async def stats(self, query: StatsQuery, held: Reservation) -> Stats:
        """Return statistics of what a search finds.

        Args:
            query: what is asked.
            held: as of `search`.

        Raises:
            SearchUnavailableError: it can't answer now.
            Problem: what is asked is too much, or the budget of answers is used up.
        """
        ...
