"""What a search backend is."""

from typing import Protocol

from ocelot_api.search.query import Page, SearchQuery


class SearchUnavailableError(Exception):
    """This backend can't answer this search now; another may."""


class SearchBackend(Protocol):
    """Answers searches. Both backends give the same events in the same order."""

    name: str

    async def search(self, query: SearchQuery) -> Page:
        """One page.

        Raises:
            SearchUnavailableError: it can't answer now.
            Problem: the search itself is too much.
        """
        ...
