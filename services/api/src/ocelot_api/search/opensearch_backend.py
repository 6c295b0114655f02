"""Searching in OpenSearch."""

from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import ConnectionError as OpenSearchConnectionError
from opensearchpy.exceptions import TransportError

from ocelot_api.problems import Problem
from ocelot_api.search.backend import SearchUnavailableError
from ocelot_api.search.filters import EVERYTHING, occurred_from
from ocelot_api.search.opensearch_query import clause_of
from ocelot_api.search.query import EXACT_TOTAL, Page, SearchQuery, Total
from ocelot_common.ids import format_id, parse_id
from ocelot_common.opensearch import error_type
from ocelot_common.registry.model import IndexRange
from ocelot_common.search_document import SearchDocument
from ocelot_common.stored import StoredEvent
from ocelot_common.timestamps import to_ms

#: An event may have occurred up to 24 h after it arrived (a client's clock), so an index may hold
#: events later than its own end by that.
_AHEAD: Final = timedelta(hours=24)


class _Hit(msgspec.Struct, gc=False):
    source: SearchDocument = msgspec.field(name="_source")


class _Hits(msgspec.Struct, gc=False):
    total: dict[str, Any]
    hits: list[_Hit]


class _Answer(msgspec.Struct, gc=False):
    hits: _Hits
    timed_out: bool = False


_decoder = msgspec.json.Decoder(_Answer)


class OpenSearchBackend:
    """Searches a tenant's indices, each named, so that one that is missing is noticed.

    Args:
        opensearch: a client that leaves answers as text.
        timeout_sec: what one search may take.
    """

    name = "opensearch"

    def __init__(self, opensearch: AsyncOpenSearch, *, timeout_sec: float) -> None:
        self._opensearch = opensearch
        self._timeout_sec = timeout_sec

    async def search(self, query: SearchQuery) -> Page:
        """One page from the index."""
        ranges = indices_for(query)
        if not ranges:
            raise SearchUnavailableError("no index has been made")
        if building := [entry.alias for entry in ranges if entry.building]:
            raise SearchUnavailableError(f"being built: {', '.join(building)}")
        params: dict[str, Any] = {
            "allow_partial_search_results": "false",
            "request_timeout": self._timeout_sec + 1,
            # No filter_path and no source filter: with either, OpenSearch writes `_source` anew,
            # 1e300 as 1.0E300, and it is no longer the text of record.
        }
        if query.home.tenant.shared:
            params["routing"] = query.home.tenant.uid
        try:
            text = await self._opensearch.search(
                # Not by their aliases: the index of one that was deleted is made again, empty,
                # before the registry can say that it is being built.
                index=",".join(entry.index for entry in ranges),
                body=request_body(query) | {"timeout": f"{int(self._timeout_sec * 1000)}ms"},
                params=params,
            )
        except OpenSearchConnectionError as error:
            raise SearchUnavailableError("OpenSearch is away", away=True) from error
        except TransportError as error:
            # A missing index, a shard without a node, too many searches, or a request that it
            # takes for wrong: other searches may fare better, and the store can answer this one.
            reason = f"OpenSearch: {error.status_code} {error_type(error)[:100]}"
            raise SearchUnavailableError(reason) from error
        try:
            return _page(text, query)
        except (msgspec.MsgspecError, ValueError) as error:
            raise SearchUnavailableError("the answer can't be read") from error


def indices_for(query: SearchQuery) -> list[IndexRange]:
    """The indices that may hold what is asked for; the newest at least."""
    ranges = query.home.space.indices
    fits = [entry for entry in ranges if _may_hold(entry, query)]
    return fits or ranges[-1:]


def _may_hold(entry: IndexRange, query: SearchQuery) -> bool:
    end: datetime = entry.end
    if to_ms(end) <= query.cutoff:
        return False
    start = occurred_from(query.filter)
    return start is None or to_ms(end + _AHEAD) > start


def request_body(query: SearchQuery) -> dict[str, Any]:
    """The body of a `_search` request. The tenant's term is always in it."""
    filters: list[dict[str, Any]] = [{"term": {"t": query.home.tenant.uid}}]
    if query.cutoff:
        filters.append({"range": {"received_at": {"gte": query.cutoff}}})
    if query.filter != EVERYTHING:
        filters.append(clause_of(query.filter))
    order = "desc" if query.sort.descending else "asc"
    body: dict[str, Any] = {
        "query": {"bool": {"filter": filters}},
        "sort": [{query.sort.field: order}, {"id": order}],
        "size": query.limit + 1,
        "track_total_hits": EXACT_TOTAL,
    }
    if query.after is not None:
        body["search_after"] = [query.after.time_ms, format_id(query.after.event_id)]
    return body


def _page(text: str, query: SearchQuery) -> Page:
    answer = _decoder.decode(text)
    if answer.timed_out:
        raise Problem(504, "search_timeout", "the search took too long; narrow it")
    total = answer.hits.total
    items = [_stored(hit.source) for hit in answer.hits.hits]
    more = len(items) > query.limit
    return Page(items[: query.limit], more, Total(total["value"], total["relation"]))


def _stored(source: SearchDocument) -> StoredEvent:
    return StoredEvent(
        id=parse_id(source.id),
        uid=source.t,
        received_at=source.received_at,
        occurred_at=source.occurred_at,
        seq=source.seq,
        writer=source.writer,
        rev=source.rev,
        text=bytes(source.event).decode(),
    )
