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
        "One audit event. A null is stored as it was sent. Limits: 64 KiB of JSON, 32 levels, 2,000"
        " keys."
    )
    fields = event["properties"]
    fields["changes"]["anyOf"][0] = ref("Changes")
    # What is checked by code is said here in the words of JSON Schema.
    fields["action"] |= {
        "description": f"Name of the action. It must not begin with `{RESERVED_ACTION_PREFIX}`,"
        " which is reserved for Ocelot.",
        "pattern": rf"^(?!{RESERVED_ACTION_PREFIX[:-1]}\.)",
    }
    fields["id"]["anyOf"][0] |= {
        "format": "uuid",
        "description": "UUID that the client chose; not the nil UUID. An event that is sent twice"
        " with the same id is stored once.",
    }
    fields["occurred_at"]["anyOf"][0] |= {
        "format": "date-time",
        "description": "Time of the action: RFC 3339 with an offset, at most 24 h in the future.",
    }
    made["Source"]["properties"]["ip"] = {
        "anyOf": [{"type": "string", "format": each} for each in ("ipv4", "ipv6")]
        + [{"type": "string", "const": ""}, {"type": "null"}]
    }
    # Explicit for generators of clients: an enumeration of strings, and an object of any members.
    for name in ("outcome", "severity"):
        fields[name]["anyOf"][0] |= {"type": "string"}
    fields["metadata"]["anyOf"][0] |= {"additionalProperties": True}
    return made


_ITEM_ERROR: Final[Schema] = {
    "type": "object",
    "required": ["index", "code", "path", "detail"],
    "properties": {
        "index": {
            "type": "integer",
            "minimum": 0,
            "description": "Position of the event in the request, from 0. 0 for a single event.",
        },
        "code": {"type": "string", "description": "Code of the fault, as `code` of a problem."},
        "path": {
            "type": "string",
            "description": "Path of the field at fault. Empty if the fault is one of the whole"
            " event.",
        },
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
                "description": "Ids of the events, in the order of the request. Null for a"
                " rejected event.",
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
    "Key from which the ids of events without an id are derived. A repeated request with the same"
    " key stores nothing twice.",
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
        description="Send the event as JSON: plain, gzip or zstd, as `Content-Encoding` says.",
        parameters=[_KEY],
        body=content(
            ref("Event"), {"A change": EVENT, "Required fields only": _SMALL, "A logon": _LOGON}
        ),
        answers={
            202: answer(
                "The queue has accepted the event. The service will store it.",
                content(ref("Accepted"), {"Accepted": {"id": _ID, "status": "accepted"}}),
                headers=["Location"],
            )
            | {
                "links": {
                    "read_event": {
                        "operationId": "read_event",
                        "parameters": {"id": "$response.body#/id"},
                        "description": "Read the event. The answer is 404 until it is stored.",
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
        description='Send events as a JSON array, `{"logs": [...]}` or NDJSON: plain, gzip or zstd,'
        " as `Content-Encoding` says. Each event is accepted or rejected separately, unless"
        " `atomic=true`. The answer lists the faults of the rejected events, with the codes of a"
        " single event.",
        parameters=[
            _KEY,
            parameter(
                "atomic",
                "Whether one invalid event rejects the whole request.",
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
                    "description": "One `Event` per line. Blank lines are ignored.",
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
                "The queue has accepted all events except those in `errors`.",
                content(
                    ref("BulkResult"),
                    {
                        "All": {"accepted": 1, "rejected": 0, "ids": [_ID], "errors": []},
                        "One rejected event": {
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
