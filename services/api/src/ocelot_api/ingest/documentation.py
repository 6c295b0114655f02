"""The two write endpoints in the OpenAPI document, and the event that they take."""

from typing import Any, Final

import msgspec

from ocelot_api.operations import NDJSON, SCHEMAS, answer, content, operation, parameter, ref
from ocelot_api.problem_codes import BODY, EVENT_FAULTS, WRITING
from ocelot_common.auth.scopes import LOGS_WRITE
from ocelot_common.event import RESERVED_ACTION_PREFIX, WholeEvent

Schema = dict[str, Any]

_UUID: Final[Schema] = {"type": "string", "format": "uuid"}
_ID: Final = "01a20fec-b3b5-72f4-9ef5-80ce43e0fde8"
#: An event, as examples show it.
EVENT: Final[Schema] = {
    "action": "document.update",
    "actor": {"id": "user-17", "type": "user", "name": "Jane Doe"},
    "targets": [{"type": "document", "id": "doc-42", "name": "Quarterly report"}],
    "outcome": "success",
    "message": "Jane renamed the quarterly report",
    "changes": {"before": {"title": "Q3"}, "after": {"title": "Q3 final"}},
    "source": {"ip": "192.0.2.10", "service": "docs"},
    "metadata": {"plan": "pro"},
}
_SMALL: Final[Schema] = {"action": "session.start", "actor": {"id": "user-17"}}
_LOGON: Final[Schema] = {
    "occurred_at": "2026-11-24T12:00:00+01:00",
    "action": "auth.logon",
    "actor": {"id": "user-17", "email": "jane@example.com"},
    "outcome": "failure",
    "severity": "warning",
    "source": {"ip": "2001:db8::17"},
    "tags": ["sso"],
}


def event_schemas() -> Schema:
    """The event and its parts, from the types that validate it."""
    template = SCHEMAS + "{name}"
    (reference,), made = msgspec.json.schema_components([WholeEvent], ref_template=template)
    made["Changes"] = made.pop("Changes_Any_") | {"title": "Changes"}
    event = made.pop(reference["$ref"].removeprefix(SCHEMAS)) | {"title": "Event"}
    made["Event"] = event
    event["description"] = (
        "One audit event. Null counts as given. At most 64 KiB of JSON, 32 levels and 2,000 keys."
    )
    fields = event["properties"]
    fields["changes"]["anyOf"][0] = ref("Changes")
    # What is checked by code is said here in the words of JSON Schema.
    fields["action"] |= {
        "description": f"The action; `{RESERVED_ACTION_PREFIX}` is the prefix of the"
        f" service's own actions",
        "pattern": rf"^(?!{RESERVED_ACTION_PREFIX[:-1]}\.)",
    }
    fields["id"]["anyOf"][0] |= {
        "format": "uuid",
        "description": "The client's own, not the nil UUID; the same event again is stored once",
    }
    fields["occurred_at"]["anyOf"][0] |= {
        "format": "date-time",
        "description": "RFC 3339 with an offset; at most 24 h after its arrival",
    }
    made["Source"]["properties"]["ip"] = {
        "anyOf": [{"type": "string", "format": each} for each in ("ipv4", "ipv6")]
        + [{"const": ""}, {"type": "null"}]
    }
    return made


_ITEM_ERROR: Final[Schema] = {
    "type": "object",
    "required": ["index", "code", "path", "detail"],
    "properties": {
        "index": {
            "type": "integer",
            "minimum": 0,
            "description": "Position of the event in the request; 0 for a single event",
        },
        "code": {"type": "string", "description": "One of the codes of a problem"},
        "path": {"type": "string", "description": "The field at fault; empty for the event"},
        "detail": {"type": "string"},
    },
}
SCHEMAS_OF_ANSWERS: Final[dict[str, Schema]] = {
    "Accepted": {
        "type": "object",
        "required": ["id", "status"],
        "properties": {"id": _UUID, "status": {"type": "string", "const": "accepted"}},
    },
    "BulkResult": {
        "type": "object",
        "required": ["accepted", "rejected", "ids", "errors"],
        "properties": {
            "accepted": {"type": "integer", "minimum": 0},
            "rejected": {"type": "integer", "minimum": 0},
            "ids": {
                "type": "array",
                "items": {"anyOf": [_UUID, {"type": "null"}]},
                "description": "By position; null for a rejected event",
            },
            "errors": {
                "type": "array",
                "items": ref("ItemError"),
                "description": "The faults of the rejected events, at least one per event and at"
                " most 10. `rejected` is the number of events.",
            },
        },
    },
    "ItemError": _ITEM_ERROR,
    "EventList": {
        "type": "object",
        "required": ["logs"],
        "additionalProperties": False,
        "properties": {"logs": {"type": "array", "minItems": 1, "items": ref("Event")}},
    },
}

_KEY: Final = parameter(
    "Idempotency-Key",
    "Events without an id get ids that follow from it: repeating the request with the same key"
    " stores nothing twice",
    {
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
        "pattern": r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$",
    },
    place="header",
    example="import-2026-11-24-0017",
)

POST_ONE: Final[Schema] = {
    "tags": ["write"],
    "summary": "Write one event",
    **operation(
        "write_event",
        scope=LOGS_WRITE,
        description="Plain, gzip or zstd by `Content-Encoding`.",
        parameters=[_KEY],
        body=content(ref("Event"), {"A change": EVENT, "The least": _SMALL, "A logon": _LOGON}),
        answers={
            202: answer(
                "The queue has accepted the event. It will be stored.",
                content(ref("Accepted"), {"Accepted": {"id": _ID, "status": "accepted"}}),
                headers=["Location"],
            )
            | {
                "links": {
                    "read_event": {
                        "operationId": "read_event",
                        "parameters": {"id": "$response.body#/id"},
                        "description": "May be a 404 until the event is stored",
                    }
                }
            }
        },
        codes=[BODY, WRITING, EVENT_FAULTS],
    ),
}

POST_BULK: Final[Schema] = {
    "tags": ["write"],
    "summary": "Write many events",
    **operation(
        "write_events",
        scope=LOGS_WRITE,
        description='A JSON array, `{"logs": [...]}` or NDJSON; plain, gzip or zstd by'
        " `Content-Encoding`. Each event is accepted or rejected by itself, unless"
        " `atomic=true`: the"
        " answer names those that were not, with their codes as for a single event.",
        parameters=[
            _KEY,
            parameter(
                "atomic",
                "Accept all events or none",
                {"type": "boolean", "default": False},
                example=True,
            ),
        ],
        body={
            **content(
                {
                    "oneOf": [
                        {"type": "array", "minItems": 1, "items": ref("Event")},
                        ref("EventList"),
                    ]
                },
                {"An array": [EVENT, _LOGON], "An object": {"logs": [_SMALL]}},
            ),
            **content(
                {
                    "type": "string",
                    "format": "ndjson",
                    "description": "One `Event` a line; blank lines do not count",
                },
                {
                    "Two lines": "".join(
                        msgspec.json.encode(each).decode() + "\n" for each in (_SMALL, _LOGON)
                    )
                },
                media_type=NDJSON,
            ),
        },
        answers={
            202: answer(
                "The queue has accepted the events that are not in `errors`",
                content(
                    ref("BulkResult"),
                    {
                        "All": {"accepted": 1, "rejected": 0, "ids": [_ID], "errors": []},
                        "One refused": {
                            "accepted": 1,
                            "rejected": 1,
                            "ids": [_ID, None],
                            "errors": [
                                {
                                    "index": 1,
                                    "code": "missing_field",
                                    "path": "actor",
                                    "detail": "`actor` is required.",
                                }
                            ],
                        },
                    },
                ),
            )
        },
        codes=[
            BODY,
            WRITING,
            {400: ("invalid_parameter",)},
            {
                400: (
                    "invalid_unicode",
                    "invalid_parameter",
                    "invalid_bulk",
                    "no_events",
                    "too_deep",
                ),
                413: ("too_many_events",),
                422: (
                    "events_rejected",
                    "too_many_faults",
                    "too_many_containers",
                    "too_many_values",
                ),
            },
        ],
    ),
}
PATHS: Final[Schema] = {"/api/v1/logs": POST_ONE, "/api/v1/logs/bulk": POST_BULK}
