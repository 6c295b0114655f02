"""The export in the OpenAPI document."""

from hashlib import sha256
from typing import Any, Final

from ocelot_api.export.formats import Format
from ocelot_api.export.parameters import MAX_EVENTS
from ocelot_api.search import documentation as search
from ocelot_api.search.query import Sort
from ocelot_common.csv_rows import DEFAULT_COLUMNS

Schema = dict[str, Any]


def _parameter(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema}


_OWN: Final = [
    _parameter(
        "format",
        "NDJSON ends with a line that says whether it is complete; JSON is one array; CSV has a"
        " header, and cells that a spreadsheet would run begin with an apostrophe",
        {"enum": list(Format), "default": Format.NDJSON.value},
    ),
    _parameter(
        "columns",
        "Of CSV: paths such as `id,occurred_at,actor.id,metadata.plan`",
        {"type": "string", "default": ",".join(DEFAULT_COLUMNS)},
    ),
    _parameter(
        "sort",
        "Order; equal times by id",
        {"enum": list(Sort), "default": Sort.OCCURRED_ASC.value},
    ),
    _parameter(
        "limit",
        "Most events in all; without it, all",
        {"type": "integer", "minimum": 1, "maximum": MAX_EVENTS},
    ),
    _parameter(
        "after",
        "Begin behind this event, the last one that arrived; not with `cursor`",
        {"type": "string", "format": "uuid"},
    ),
    _parameter(
        "stored_until",
        "Only events stored up to a `seq`, or before a time (RFC 3339, whole seconds); without it,"
        " those stored when the export begins",
        {"type": "string"},
    ),
]
_OWN_NAMES: Final = {parameter["name"] for parameter in _OWN}
_EVENT: Final = (
    '{"id":"01a20fec-b3b5-72f4-9ef5-80ce43e0fde8","tenant_id":"acme",'
    '"received_at":"2026-11-24T23:38:20.469Z","writer":"writer@acme","seq":"7711886510391296001",'
    '"action":"document.update","actor":{"id":"alice"}}\n'
)
_SHA256: Final = sha256(_EVENT.encode()).hexdigest()
_BOUND: Final = '"stored_until":"7711886523276197895","complete_until":"2026-11-24T23:38:08.000Z"'
_COUNT: Final = f'"events":1,"sha256":"{_SHA256}","next_cursor"'
_COMPLETE: Final = f'{{"export":{{"complete":true,{_COUNT}:null,{_BOUND}}}}}\n'
_INCOMPLETE: Final = (
    f'{{"export":{{"complete":false,{_COUNT}:"AZSwMTIz…",{_BOUND},'
    '"code":"store_unavailable","detail":"the store can\'t be reached now"}}\n'
)
_HEADERS: Final[Schema] = {
    "Ocelot-Stored-Until": {
        "description": "The `seq` of the last event that may be in it: as `stored_until`, it makes"
        " a later request go on within the same events",
        "schema": {"type": "string"},
    },
    "Ocelot-Complete-Until": {
        "description": "Every event stored before this time is in it, if it is complete",
        "schema": {"type": "string", "format": "date-time"},
    },
}

#: What FastAPI adds to `GET /logs/export`.
OPERATION: Final[Schema] = {
    "description": "Everything that a search finds, as one stream, packed as `Accept-Encoding` asks"
    " (zstd, gzip). Filters are those of `GET /logs`.\n\n"
    "An export that fails under way ends, as NDJSON, with a line `complete: false` that has the"
    " `code` of the problem and the `next_cursor` to go on from; as JSON or CSV the connection is"
    " cut. `sha256` is over all lines of events with their ends, before packing.\n\n"
    "It holds what is stored when it begins, up to `stored_until`. Of the last seconds before that,"
    " an event may become visible a moment too late: it is whole up to `complete_until`, and one"
    " with a `stored_until` of that time or an earlier one is the same whenever it is repeated."
    " Words and metadata are compared event by event, in what the other filters leave."
    "\n\n503 `too_many_exports`: as many as one process takes are under way.",
    "parameters": [
        *(each for each in search.PARAMETERS["parameters"] if each["name"] not in _OWN_NAMES),
        *_OWN,
    ],
    "responses": {
        "200": {
            "description": "The events",
            "headers": _HEADERS,
            "content": {
                "application/x-ndjson": {
                    "schema": {"type": "string"},
                    "examples": {
                        "complete": {"value": _EVENT + _COMPLETE},
                        "interrupted": {"value": _EVENT + _INCOMPLETE},
                    },
                },
                "application/json": {"schema": {"type": "array", "items": {"type": "object"}}},
                "text/csv": {
                    "schema": {"type": "string"},
                    "example": "id,action\r\n01a20fec-b3b5-72f4-9ef5-80ce43e0fde8,note.write\r\n",
                },
            },
        }
    },
}
