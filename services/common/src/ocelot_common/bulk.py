"""`_bulk` requests as ready-made bytes, and their results an event."""

import itertools
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec
from opensearchpy import AsyncOpenSearch
from prometheus_client import Histogram

from ocelot_common.registry.model import Home, IndexRange
from ocelot_common.search_document import build_search_document, document_id
from ocelot_common.stored import StoredEvent
from ocelot_common.telemetry.logs import get_logger

_VERSION_CONFLICT: Final = 409
_NOT_FOUND: Final = 404
_TRANSIENT: Final = frozenset({429, 500, 502, 503, 504})
#: Positions in `items` must stay, so every item keeps its status.
_FILTER_PATH: Final = "errors,items.*.status,items.*.error.type,items.*.error.reason"
#: Line feed, carriage return and tab. JSON allows these between two tokens; every other byte below
#: 0x20 is refused when the stored text is decoded.
_LF, _CR, _TAB = 10, 13, 9


log = get_logger(__name__)


class ControlCharacterError(Exception):
    """A document would not stay in its line of a `_bulk` request."""


class Candidate(msgspec.Struct, eq=False):
    """A stored event on its way into the index.

    Attributes:
        range: of its space's indices, the one that covers it.
    """

    home: Home
    stored: StoredEvent
    range: IndexRange | None = None


C = TypeVar("C", bound=Candidate)
_Verdict = dict[str, Any]
#: What an answer without a single error says of its documents.
_NO_ERRORS: Final[list[_Verdict]] = []


class _Entry(NamedTuple, Generic[C]):
    """One action with its bytes; the second index of an event has one of its own."""

    candidate: C
    payload: bytes
    first: bool


class BulkResult(NamedTuple, Generic[C]):
    """Candidates by what OpenSearch said of them.

    Attributes:
        indexed: they are in the index, as they are or in a later revision.
        busy: OpenSearch may take them later.
        homeless: the index that is searched does not exist.
        refused: OpenSearch will never take them, and why.
    """

    indexed: list[C]
    busy: list[C]
    homeless: list[C]
    refused: list[tuple[C, str]]

    @classmethod
    def empty(cls) -> "BulkResult[C]":
        """A result of nothing."""
        return cls([], [], [], [])

    def add(self, other: "BulkResult[C]") -> None:
        """Take another result in."""
        self.indexed.extend(other.indexed)
        self.busy.extend(other.busy)
        self.homeless.extend(other.homeless)
        self.refused.extend(other.refused)


class BulkWriter(Generic[C]):
    """Sends candidates to OpenSearch.

    Args:
        opensearch: the client.
        seconds: gets the time of each request.
        bulk_bytes: size of a request.
    """

    def __init__(self, opensearch: AsyncOpenSearch, seconds: Histogram, *, bulk_bytes: int) -> None:
        self._opensearch = opensearch
        self._seconds = seconds
        self._bulk_bytes = bulk_bytes

    async def write(self, candidates: Iterable[C]) -> BulkResult[C]:
        """Index candidates under the aliases of their range, which no write ever makes.

        Where a range has a second index, a candidate counts as indexed only when both have it.
        After an answer that does not have one verdict per document, it is unknown which verdict is
        whose: each document is sent again in a request of its own.

        Raises:
            opensearchpy.exceptions.TransportError: a whole request failed.
        """
        result: BulkResult[C] = BulkResult.empty()
        for request in self._requests(candidates, result):
            verdicts = await self._send(request)
            if verdicts is not None:
                result.add(_sorted(request, verdicts))
                continue
            log.warning("bulk_answer_unclear", documents=len(request))
            for entries in _by_candidate(request):
                result.add(await self._write_alone(entries))
        return result

    async def _write_alone(self, entries: list[_Entry[C]]) -> BulkResult[C]:
        verdicts = await self._send(entries)
        if verdicts is not None:
            return _sorted(entries, verdicts)
        result: BulkResult[C] = BulkResult.empty()
        result.busy.append(entries[0].candidate)  # whoever answers so may not do so for long
        return result

    async def _send(self, request: list[_Entry[C]]) -> list[_Verdict] | None:
        """Send one request; return a verdict per entry, or None if the answer lacks that."""
        began = time.monotonic()
        answer = await self._opensearch.bulk(
            body=b"".join(entry.payload for entry in request),
            params={"require_alias": "true", "filter_path": _FILTER_PATH},
        )
        self._seconds.observe(time.monotonic() - began)
        return _verdicts(answer, len(request))

    def _requests(
        self, candidates: Iterable[C], result: BulkResult[C]
    ) -> Iterator[list[_Entry[C]]]:
        request: list[_Entry[C]] = []
        size = 0
        for candidate in candidates:
            if candidate.range is None:
                raise RuntimeError("the candidate has no index")
            try:
                entries = _entries(candidate, candidate.range)
            except (ValueError, RecursionError, ControlCharacterError) as error:
                # An EventError, or what a text that no api has seen does to its own parts.
                result.refused.append((candidate, str(error)))
                continue
            bytes_ = sum(len(entry.payload) for entry in entries)
            if request and size + bytes_ > self._bulk_bytes:
                yield request
                request, size = [], 0
            request.extend(entries)
            size += bytes_
        if request:
            yield request


def _entries(candidate: C, entry: IndexRange) -> list[_Entry[C]]:
    tenant, stored = candidate.home.tenant, candidate.stored
    routing = f',"routing":"{tenant.uid}"' if tenant.shared else ""
    document = build_search_document(stored)
    if _LF in document or _CR in document or _TAB in document:
        raise ControlCharacterError("the document contains a control character")
    document += b"\n"
    entries = []
    for number, alias in enumerate(entry.write_aliases):
        # An older revision never replaces a newer one; equal or older is 409, which is success.
        action = (
            f'{{"index":{{"_index":"{alias}","_id":"{document_id(tenant, stored.id)}"'
            f',"version":{stored.rev},"version_type":"external"{routing}}}}}\n'
        )
        entries.append(_Entry(candidate, action.encode() + document, number == 0))
    return entries


def _by_candidate(request: list[_Entry[C]]) -> Iterator[list[_Entry[C]]]:
    for _, group in itertools.groupby(request, key=lambda entry: id(entry.candidate)):
        yield list(group)


def _verdicts(answer: Any, number: int) -> list[_Verdict] | None:
    items = answer.get("items") if isinstance(answer, dict) else None
    if not isinstance(items, list) or len(items) != number:
        return None
    if answer.get("errors") is False:
        return _NO_ERRORS
    try:
        verdicts = [next(iter(item.values())) for item in items]
        clear = all(isinstance(verdict["status"], int) for verdict in verdicts)
    except (AttributeError, KeyError, StopIteration, TypeError):
        return None
    return verdicts if clear else None


def _sorted(request: list[_Entry[C]], verdicts: list[_Verdict]) -> BulkResult[C]:
    result: BulkResult[C] = BulkResult.empty()
    if verdicts is _NO_ERRORS:
        result.indexed.extend(entry.candidate for entry in request if entry.first)
        return result
    judged = zip(request, verdicts, strict=True)
    for _, group in itertools.groupby(judged, key=lambda pair: id(pair[0].candidate)):
        pairs = list(group)
        _sort_in(result, pairs[0][0].candidate, [verdict for _, verdict in pairs])
    return result


def _sort_in(result: BulkResult[C], candidate: C, verdicts: list[_Verdict]) -> None:
    """Sort a candidate by the verdicts of its indices, the one that is searched first.

    A second index that is gone can never come to be searched, so nobody needs it filled; what it
    refuses for good, the first, of the same mapping, refuses too.
    """
    status, error = verdicts[0]["status"], verdicts[0].get("error")
    if any(verdict["status"] in _TRANSIENT for verdict in verdicts):
        result.busy.append(candidate)
    elif status == _NOT_FOUND:
        result.homeless.append(candidate)
    elif error is None or status == _VERSION_CONFLICT:
        result.indexed.append(candidate)
    else:
        reason = str(error)
        if isinstance(error, dict):
            reason = f"{error.get('type', 'error')}: {error.get('reason', '')}"
        result.refused.append((candidate, reason))
