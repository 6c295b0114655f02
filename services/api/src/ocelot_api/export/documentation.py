"""The export in the OpenAPI document."""

from hashlib import sha256
from typing import Any, Final

from ocelot_api.export.formats import Format
from ocelot_api.export.parameters import MAX_EVENTS
from ocelot_api.operations import NDJSON, answer, content, operation, ref
from ocelot_api.problem_codes import SEARCHING, STORE
from ocelot_api.search.documentation import ANY_FILTER, CURSOR, FIELDS, FILTERS, several_parameters
from ocelot_api.search.query import Sort
from ocelot_common.auth.scopes import LOGS_EXPORT
from ocelot_common.csv_rows import DEFAULT_COLUMNS

Schema = dict[str, Any]

_OPTIONS: Final[dict[str, tuple[str, Schema, Any]]] = {
    "format": (
        "NDJSON (the last line says whether it is complete), a JSON array, or CSV with a header.",
        {"type": "string", "enum": list(Format), "default": Format.NDJSON.value},
        Format.CSV.value,
    ),
    "columns": (
        "Columns of CSV: paths such as `id,occurred_at,actor.id,metadata.plan`. Only for CSV.",
        {"type": "string", "format": "columns", "default": ",".join(DEFAULT_COLUMNS)},
        "id,occurred_at,actor.id",
    ),
    "fields": ("Fields to return of each event, as in `GET /logs`. Not for CSV.", FIELDS, None),
    "sort": (
        "Order of the events. Events of the same time are ordered by id.",
        {"type": "string", "enum": list(Sort), "default": Sort.OCCURRED_ASC.value},
        "received_at",
    ),
    "limit": (
        "Maximum number of events. If not set, all events.",
        {"type": "integer", "minimum": 1, "maximum": MAX_EVENTS},
        1000,
    ),
    # No examples: they are somebody's own.
    "cursor": ("`next_cursor` of an interrupted export.", CURSOR, None),
    "after": (
        "Id of the last event that arrived. The export begins after it. Not with `cursor`.",
        {"type": "string", "format": "cursor"},
        None,
    ),
    "stored_until": (
        (
            "Only events that were stored up to this `seq`, or before this time (RFC 3339, whole"
            " seconds)."
        ),
        {"type": "string", "format": "seq-or-time"},
        "2026-11-24T23:38:08Z",
    ),
}
_EVENT: Final = (
    '{"id":"01a20fec-b3b5-72f4-9ef5-80ce43e0fde8","tenant_id":"acme",'
    '"received_at":"2026-11-24T23:38:20.469Z","writer":"writer@acme","seq":"7711886510391296001",'
    '"action":"document.update","actor":{"id":"alice"}}\n'
)
_SHA256: Final = sha256(_EVENT.encode()).hexdigest()
_TABLE: Final = "id,action\r\n01a20fec-b3b5-72f4-9ef5-80ce43e0fde8,note.write\r\n"
_BOUND: Final = '"stored_until":"7711886523276197895","complete_until":"2026-11-24T23:38:08.000Z"'
_COUNT: Final = f'"events":1,"unreadable":0,"sha256":"{_SHA256}","next_cursor"'
_COMPLETE: Final = f'{{"export":{{"complete":true,{_COUNT}:null,{_BOUND}}}}}\n'
_INCOMPLETE: Final = (
    f'{{"export":{{"complete":false,{_COUNT}:"AZSwMTIz…",{_BOUND},'
    '"code":"store_unavailable","detail":"MongoDB cannot be reached. Retry after 1 s."}}\n'
)

#: What FastAPI adds to `GET /logs/export`.
OPERATION: Final = operation(
    "export_events",
    scope=LOGS_EXPORT,
    description="Stream all events that match, compressed if `Accept-Encoding` names zstd or"
    " gzip. The endpoint accepts the filters of `GET /logs`.\n\nIf an NDJSON export fails while it"
    " is sent,"
    " its last line has `complete: false`, the `code` of the problem, and the `next_cursor` from"
    " which to continue. A JSON or CSV export that fails ends with a closed connection. `sha256`"
    " is the hash of all lines of events, with their line ends, before compression.\n\nA stored"
    " document that is not an event has a line in its place: `id`, `tenant_id` and `unreadable`,"
    " the reason. The last line counts such lines. Documents without a valid id or time share one"
    " line without `id`, after all others. In CSV the first cell of the row says so.\n\nThe"
    " export contains the events that are stored when it begins, up to `stored_until`. An event"
    " of the last seconds before that may become visible too late: the export is complete up to"
    " `complete_until`. A repeated export whose `stored_until` is that time or earlier has the"
    " same events. Words and metadata are compared event by event, after all other"
    " filters.\n\n503 `tenant_share`: the tenant uses half of the exports of the process. 503"
    " `too_many_exports`: all exports of the process are in use."
    "\n\n" + ANY_FILTER,
    parameters=[*FILTERS, *several_parameters(_OPTIONS)],
    answers={
        200: answer(
            "The events.",
            {
                **content(
                    {"type": "string", "format": "ndjson"},
                    {"Complete": _EVENT + _COMPLETE, "Interrupted": _EVENT + _INCOMPLETE},
                    media_type=NDJSON,
                ),
                **content(
                    {
                        "type": "array",
                        "items": {"anyOf": [ref("StoredEvent"), ref("UnreadableDocument")]},
                    },
                    {"No event": []},
                ),
                **content(
                    {"type": "string"},
                    {"Two columns": _TABLE},
                    media_type="text/csv",
                ),
            },
            headers=["Ocelot-Stored-Until", "Ocelot-Complete-Until"],
        )
    },
    codes=[
        SEARCHING,
        STORE,
        {400: ("invalid_cursor", "invalid_id"), 503: ("too_many_exports", "shutting_down")},
    ],
)
