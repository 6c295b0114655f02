"""Searching in OpenSearch."""

from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec
from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import ConnectionError as OpenSearchConnectionError
from opensearchpy.exceptions import TransportError

from ocelot_api.problems import Problem
from ocelot_api.search.backend import SearchUnavailableError
from ocelot_api.search.filters import occurred_within
from ocelot_api.search.opensearch_query import tenant_clause
from ocelot_api.search.opensearch_stats import extent_body, read_extent, read_stats, stats_body
from ocelot_api.search.query import EXACT_TOTAL, Page, SearchQuery, TenantQuery, Total
from ocelot_api.search.stats import Stats, StatsQuery, timeline_of
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


class _Timed(msgspec.Struct, gc=False, kw_only=True):
    timed_out: bool = False


class _Answer(_Timed, gc=False, kw_only=True):
    hits: _Hits


class _Counted(msgspec.Struct):
    total: dict[str, Any]


class _StatsAnswer(_Timed, kw_only=True):
    hits: _Counted
    aggregations: dict[str, Any]


A = TypeVar("A", bound=_Timed)

_decoder = msgspec.json.Decoder(_Answer)
_stats_decoder = msgspec.json.Decoder(_StatsAnswer)


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
        text = await self._ask(query, request_body(query))
        return _page(_read(_decoder, text), query)

    async def stats(self, query: StatsQuery) -> Stats:
        """Statistics from the index."""

        async def ask(body: dict[str, Any]) -> _StatsAnswer:
            return _read(_stats_decoder, await self._ask(query, body))

        async def extent() -> tuple[int, int] | None:
            return read_extent((await ask(extent_body(query))).aggregations)

        timeline = await timeline_of(query, extent)
        answer = await ask(stats_body(query, timeline))
        return read_stats(query, timeline, answer.hits.total["value"], answer.aggregations)

    async def _ask(self, query: TenantQuery, body: dict[str, Any]) -> str:
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
            answer: str = await self._opensearch.search(
                # Not by their aliases: the index of one that was deleted is made again, empty,
                # before the registry can say that it is being built.
                index=",".join(entry.index for entry in ranges),
                body=body | {"timeout": f"{int(self._timeout_sec * 1000)}ms"},
                params=params,
            )
        except OpenSearchConnectionError as error:
            raise SearchUnavailableError("OpenSearch is away", away=True) from error
        except TransportError as error:
            # A missing index, a shard without a node, too many searches, or a request that it
            # takes for wrong: other searches may fare better, and the store can answer this one.
            reason = f"OpenSearch: {error.status_code} {error_type(error)[:100]}"
            raise SearchUnavailableError(reason) from error
        return answer


def indices_for(query: TenantQuery) -> list[IndexRange]:
    """The indices that may hold what is asked for; the newest at least."""
    ranges = query.home.space.indices
    fits = [entry for entry in ranges if _may_hold(entry, query)]
    return fits or ranges[-1:]


def _may_hold(entry: IndexRange, query: TenantQuery) -> bool:
    end: datetime = entry.end
    if to_ms(end) <= query.cutoff:
        return False
    start, _ = occurred_within(query.filter)
    return start is None or to_ms(end + _AHEAD) > start


def request_body(query: SearchQuery) -> dict[str, Any]:
    """The body of a `_search` request for one page."""
    order = "desc" if query.sort.descending else "asc"
    body: dict[str, Any] = {
        "query": tenant_clause(query),
        "sort": [{query.sort.field: order}, {"id": order}],
        "size": query.limit + 1,
        "track_total_hits": EXACT_TOTAL,
    }
    if query.after is not None:
        body["search_after"] = [query.after.time_ms, format_id(query.after.event_id)]
    return body


def _read(decoder: "msgspec.json.Decoder[A]", text: str) -> A:
    try:
        answer = decoder.decode(text)
    except (msgspec.MsgspecError, ValueError) as error:
        raise SearchUnavailableError("the answer can't be read") from error
    if answer.timed_out:
        raise Problem(504, "search_timeout", "the search took too long; narrow it")
    return answer


def _page(answer: _Answer, query: SearchQuery) -> Page:
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
