"""What a row of the tables is."""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

LOGS: Final = "/api/v1/logs"
BULK: Final = "/api/v1/logs/bulk"
JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"


class Row(NamedTuple):
    """One request that must be refused.

    Attributes:
        name: of the row, unique.
        body: as it goes over the wire.
        status: expected.
        code: expected.
        path: expected in the problem; None: it has none.
        token: the role of the token that is sent.
        inside: `code` and `path` are those of the only entry in `errors`.
    """

    name: str
    body: bytes
    status: int
    code: str
    path: str | None = None
    method: str = "POST"
    url: str = LOGS
    headers: Mapping[str, str | bytes] = {}
    token: str = "writer"
    inside: bool = False


def event(**changes: Any) -> dict[str, Any]:
    """A valid event with some fields replaced or added; `...` takes one away."""
    base: dict[str, Any] = {"action": "document.update", "actor": {"id": "user-17"}}
    return {name: value for name, value in (base | changes).items() if value is not ...}


def text(**changes: Any) -> bytes:
    """The same as JSON, in UTF-8."""
    return json.dumps(event(**changes), ensure_ascii=False).encode()


def with_metadata(raw: bytes) -> bytes:
    """An event whose metadata is this text, JSON or not."""
    return b'{"action":"a","actor":{"id":"u"},"metadata":%b}' % raw
