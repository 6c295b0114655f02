"""`_bulk` requests as ready-made bytes, and their results an item."""

import time
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from opensearchpy import AsyncOpenSearch

from ocelot_common.event_limits import EventError
from ocelot_common.search_document import build_search_document, document_id
from ocelot_indexer.metrics import IndexerMetrics
from ocelot_indexer.work import Candidate

_VERSION_CONFLICT: Final = 409
_NOT_FOUND: Final = 404
_TRANSIENT: Final = frozenset({429, 500, 502, 503, 504})
#: Positions in `items` must stay, so every item keeps its status.
_FILTER_PATH: Final = "errors,items.*.status,items.*.error.type,items.*.error.reason"


class Entry(NamedTuple):
    """One candidate with the bytes of its action and document."""

    candidate: Candidate
    payload: bytes


class BulkResult(NamedTuple):
    """Candidates by what OpenSearch said of them.

    Attributes:
        indexed: they are in the index, as they are or in a later revision.
        busy: OpenSearch may take them later.
        homeless: their alias does not exist.
        refused: OpenSearch will never take them, and why.
    """

    indexed: list[Candidate]
    busy: list[Candidate]
    homeless: list[Candidate]
    refused: list[tuple[Candidate, str]]

    @classmethod
    def empty(cls) -> "BulkResult":
        """A result of nothing."""
        return cls([], [], [], [])

    def add(self, other: "BulkResult") -> None:
        """Take another result in."""
        self.indexed.extend(other.indexed)
        self.busy.extend(other.busy)
        self.homeless.extend(other.homeless)
        self.refused.extend(other.refused)


class BulkWriter:
    """Sends candidates to OpenSearch."""

    def __init__(
        self, opensearch: AsyncOpenSearch, metrics: IndexerMetrics, *, bulk_bytes: int
    ) -> None:
        self._opensearch = opensearch
        self._metrics = metrics
        self._bulk_bytes = bulk_bytes

    async def write(self, candidates: Iterable[Candidate]) -> BulkResult:
        """Index candidates under their aliases, never into an index that a write would make.

        Raises:
            opensearchpy.exceptions.TransportError: a whole request failed.
        """
        result = BulkResult.empty()
        for request in self._requests(candidates, result):
            began = time.monotonic()
            answer = await self._opensearch.bulk(
                body=b"".join(entry.payload for entry in request),
                params={"require_alias": "true", "filter_path": _FILTER_PATH},
            )
            self._metrics.bulk_seconds.observe(time.monotonic() - began)
            result.add(_sorted(request, answer))
        return result

    def _requests(
        self, candidates: Iterable[Candidate], result: BulkResult
    ) -> Iterator[list[Entry]]:
        request: list[Entry] = []
        size = 0
        for candidate in candidates:
            try:
                payload = _payload(candidate)
            except EventError as error:
                result.refused.append((candidate, str(error)))
                continue
            if request and size + len(payload) > self._bulk_bytes:
                yield request
                request, size = [], 0
            request.append(Entry(candidate, payload))
            size += len(payload)
        if request:
            yield request


def _payload(candidate: Candidate) -> bytes:
    tenant, stored = candidate.home.tenant, candidate.stored
    routing = f',"routing":"{tenant.uid}"' if tenant.shared else ""
    # An older revision never replaces a newer one; equal or older is 409, which is success.
    action = (
        f'{{"index":{{"_index":"{candidate.alias}","_id":"{document_id(tenant, stored.id)}"'
        f',"version":{stored.rev},"version_type":"external"{routing}}}}}\n'
    )
    return action.encode() + build_search_document(stored) + b"\n"


def _sorted(request: list[Entry], answer: dict[str, Any]) -> BulkResult:
    result = BulkResult.empty()
    if not answer.get("errors"):
        result.indexed.extend(entry.candidate for entry in request)
        return result
    for entry, item in zip(request, answer["items"], strict=True):
        verdict = next(iter(item.values()))
        status, error = verdict["status"], verdict.get("error")
        if error is None or status == _VERSION_CONFLICT:
            result.indexed.append(entry.candidate)
        elif status in _TRANSIENT:
            result.busy.append(entry.candidate)
        elif status == _NOT_FOUND:
            result.homeless.append(entry.candidate)
        else:
            reason = f"{error.get('type', 'error')}: {error.get('reason', '')}"
            result.refused.append((entry.candidate, reason))
    return result
