"""Searching in OpenSearch."""

import asyncio
import time
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec
from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import ConnectionError as OpenSearchConnectionError
from opensearchpy.exceptions import ConnectionTimeout, TransportError

from ocelot_api.budget import Reservation
from ocelot_api.problems import search_timeout
from ocelot_api.search.backend import SearchUnavailableError
from ocelot_api.search.filters import occurred_within
from ocelot_api.search.opensearch_query import tenant_clause
from ocelot_api.search.opensearch_stats import extent_body, read_extent, read_stats, stats_body
from ocelot_api.search.page import Page, PageBuilder
from ocelot_api.search.query import EXACT_TOTAL, MAX_LIMIT, SearchQuery, TenantQuery, Total
from ocelot_api.search.stats import Stats, StatsQuery, timeline_of
from ocelot_common.ids import format_id, parse_id
from ocelot_common.opensearch import MAX_ANSWER_BYTES, AnswerTooLargeError, counting, error_type
from ocelot_common.registry.model import IndexRange
from ocelot_common.search_document import SearchDocument
from ocelot_common.stored import StoredEvent
from ocelot_common.timestamps import to_ms

#: An event may have occurred up to 24 h after it arrived (a client's clock), so an index may hold
#: events later than its own end by that.
_AHEAD: Final = timedelta(hours=24)
#: In which a healthy OpenSearch answers the cheapest request, however busy its searches are: its
#: network threads answer that themselves.
_PROBE_SEC: Final = 2.0
#: Tenants whose answers were too large and of which that is remembered.
_REMEMBERED: Final = 1_000
#: Of an answer, between two turns of the event loop.
_SLICE_BYTES: Final = 1024 * 1024
#: Statuses of a gateway before OpenSearch that did not reach it, or not in time.
_GATEWAY_TIMEOUT: Final = 504
_GATEWAY_STATUSES: Final = frozenset({502, 503, _GATEWAY_TIMEOUT})


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
        opensearch: a client that reads answers in bounds and leaves them as bytes.
        timeout_sec: what one search may take.
    """

    name = "opensearch"

    def __init__(self, opensearch: AsyncOpenSearch, *, timeout_sec: float) -> None:
        self._opensearch = opensearch
        self._timeout_sec = timeout_sec
        self._probing: asyncio.Task[bool] | None = None
        self._fitting: OrderedDict[str, int] = OrderedDict()

    async def search(self, query: SearchQuery, held: Reservation) -> Page:
        """Return one page from the index.

        An answer that is too large is asked for again with fewer events: a page may have fewer
        than `limit`.
        """
        uid = query.home.tenant.uid
        size = min(query.limit + 1, self._fitting.get(uid, query.limit + 1))
        deadline = time.monotonic() + self._timeout_sec
        while True:
            before = held.size
            try:
                text = await self._ask(query, request_body(query, size), held)
            except AnswerTooLargeError as error:
                held.shrink_to(before)
                if size == 1:
                    raise SearchUnavailableError(
                        "an event is too large for one answer", away=False
                    ) from None
                size = max(1, min(size // 2, size * MAX_ANSWER_BYTES // error.size))
                self._remember(uid, size)
                if time.monotonic() > deadline:
                    raise search_timeout() from None
                continue
            read = held.size - before
            if size <= query.limit and len(text) < MAX_ANSWER_BYTES // 2:
                self._remember(uid, 2 * size)
            page = await _page(_read(_decoder, text), query, size, held)
            held.shrink(read)
            return page

    def _remember(self, uid: str, size: int) -> None:
        """Have later pages of a tenant begin with as many events as are likely to be read.

        Otherwise each page of large events would have OpenSearch make an answer for nothing.
        """
        self._fitting[uid] = size
        self._fitting.move_to_end(uid)
        if size > MAX_LIMIT:
            del self._fitting[uid]
        elif len(self._fitting) > _REMEMBERED:
            self._fitting.popitem(last=False)

    async def stats(self, query: StatsQuery, held: Reservation) -> Stats:
        """Return statistics from the index."""

        async def ask(body: dict[str, Any]) -> _StatsAnswer:
            before = held.size
            try:
                return _read(_stats_decoder, await self._ask(query, body, held))
            except AnswerTooLargeError as error:
                raise SearchUnavailableError(str(error), away=False) from None
            finally:
                held.shrink_to(before)

        async def extent() -> tuple[int, int] | None:
            return read_extent((await ask(extent_body(query))).aggregations)

        timeline = await timeline_of(query, extent)
        answer = await ask(stats_body(query, timeline))
        return read_stats(query, timeline, answer.hits.total["value"], answer.aggregations)

    async def _ask(self, query: TenantQuery, body: dict[str, Any], held: Reservation) -> bytearray:
        ranges = indices_for(query)
        if not ranges:
            raise SearchUnavailableError("the tenant has no index yet")
        if building := [entry.alias for entry in ranges if entry.building]:
            raise SearchUnavailableError(f"indices are being built: {', '.join(building)}")
        params: dict[str, Any] = {
            "allow_partial_search_results": "false",
            "request_timeout": self._timeout_sec + 1,
            # No filter_path and no source filter: with either, OpenSearch writes `_source` anew,
            # 1e300 as 1.0E300, and it is no longer the text of record.
        }
        if query.home.tenant.shared:
            params["routing"] = query.home.tenant.uid
        try:
            with counting(held.grow):
                answer: bytearray = await self._opensearch.search(
                    # Not by their aliases: the index of one that was deleted is made again, empty,
                    # before the registry can say that it is being built.
                    index=",".join(entry.index for entry in ranges),
                    body=body | {"timeout": f"{int(self._timeout_sec * 1000)}ms"},
                    params=params,
                )
        except TransportError as error:
            raise await self._judged(error) from error
        return answer

    async def _judged(self, error: TransportError) -> Exception:
        """Return what became of a request that failed.

        A request may fail by itself: a search that takes too long, an answer that is cut, a missing
        index. That says nothing about others, so a probe tells whether OpenSearch is away.
        """
        if isinstance(error, OpenSearchConnectionError):
            reason = "no answer"
        else:
            reason = f"OpenSearch: {error.status_code} {error_type(error)[:100]}"
            if error.status_code not in _GATEWAY_STATUSES or isinstance(error.info, dict):
                # A missing index, a shard without a node, too many searches, or a request that it
                # takes for wrong: other searches may fare better, and the store can answer.
                return SearchUnavailableError(reason, away=False)
        if not await self._answers():
            return SearchUnavailableError(f"OpenSearch is unavailable: {reason}", away=True)
        if isinstance(error, ConnectionTimeout) or error.status_code == _GATEWAY_TIMEOUT:
            return search_timeout()
        return SearchUnavailableError(reason, away=False)

    async def _answers(self) -> bool:
        """Whether OpenSearch answers at all; searches that fail at once share one probe."""
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._probe(), name="opensearch-probe")
        return await asyncio.shield(self._probing)

    async def _probe(self) -> bool:
        try:
            return bool(await self._opensearch.ping(params={"request_timeout": _PROBE_SEC}))
        except TransportError:
            return False


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


def request_body(query: SearchQuery, size: int | None = None) -> dict[str, Any]:
    """Return the body of a `_search` request for one page.

    Args:
        query: what is asked.
        size: most events in the answer; one more than a page has, if it is not given.
    """
    order = "desc" if query.sort.descending else "asc"
    body: dict[str, Any] = {
        "query": tenant_clause(query),
        "sort": [{query.sort.field: order}, {"id": order}],
        "size": size or query.limit + 1,
        "track_total_hits": EXACT_TOTAL,
    }
    if query.after is not None:
        body["search_after"] = [query.after.time_ms, format_id(query.after.event_id)]
    return body


def _read(decoder: "msgspec.json.Decoder[A]", text: bytearray) -> A:
    try:
        answer = decoder.decode(text)
    except (msgspec.MsgspecError, ValueError) as error:
        raise SearchUnavailableError(
            "the answer of OpenSearch cannot be decoded", away=False
        ) from error
    if answer.timed_out:
        raise search_timeout()
    return answer


async def _page(answer: _Answer, query: SearchQuery, size: int, held: Reservation) -> Page:
    """Return the page of an answer, which loses its hits."""
    total = Total(answer.hits.total["value"], answer.hits.total["relation"])
    hits = answer.hits.hits
    more = len(hits) == size
    if more and size > 1:
        hits.pop()  # the first of the next page
    hits.reverse()
    builder = PageBuilder(query, held)
    passed = 0
    while hits:
        event = _stored(hits.pop().source)
        if not builder.add(event):
            return builder.page(total, more=True)
        passed += len(event.text)
        if passed > _SLICE_BYTES:
            passed = 0
            await asyncio.sleep(0)  # others have their turn
    return builder.page(total, more=more)


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
