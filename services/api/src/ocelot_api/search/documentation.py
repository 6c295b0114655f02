"""The searches in the OpenAPI document."""

from collections.abc import Iterable
from typing import Any, Final

from ocelot_api.operations import answer, content, operation, parameter, ref
from ocelot_api.problem_codes import BODY, SEARCHING, STORE
from ocelot_api.search.conditions import MAX_CONDITIONS, MAX_VALUE_CHARS, MAX_VALUES
from ocelot_api.search.fields import KNOWN, MAX_FIELDS
from ocelot_api.search.parameters import MAX_DEPTH
from ocelot_api.search.query import DEFAULT_LIMIT, MAX_LIMIT, Sort
from ocelot_api.search.stats import DEFAULT_TOP, MAX_DISTINCT, MAX_TOP
from ocelot_api.search.stats_parameters import AUTO, VALUE_FIELDS
from ocelot_api.search.text_query import MAX_CHARS
from ocelot_api.search.time_buckets import Interval
from ocelot_common.attrs import MAX_VALUE_BYTES
from ocelot_common.auth.scopes import LOGS_READ
from ocelot_common.event import OUTCOMES, SEVERITIES

Schema = dict[str, Any]

#: A path of the free-form parts, as a regular expression of JSON Schema.
_PATH: Final = r"metadata\.[\s\S]+|changes\.(before|after)(\.[\s\S]+)?"
_TEXT: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": MAX_VALUE_CHARS}
_OUTCOME: Final[Schema] = {"type": "string", "enum": list(OUTCOMES)}
_SEVERITY: Final[Schema] = {"type": "string", "enum": list(SEVERITIES)}
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
CURSOR: Final[Schema] = {"type": "string", "format": "cursor"}
_ATTR: Final[Schema] = {
    "type": "string",
    "maxLength": MAX_VALUE_BYTES,
    "description": f"At most {MAX_VALUE_BYTES} bytes in UTF-8.",
}


def _either(names: Iterable[str]) -> str:
    return "|".join(name.replace(".", r"\.") for name in names)


def _several(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1, "maxItems": MAX_VALUES}


_TEXTS: Final = _several(_TEXT)
#: By name: what it says, the schema, and an example.
_FILTERS: Final[dict[str, tuple[str, Schema, Any]]] = {
    "action": ("Action. `document.*` matches a prefix.", _TEXTS, ["document.*"]),
    "actor.id": ("Id of the actor.", _TEXTS, ["user-17"]),
    "actor.type": ("Type of the actor.", _TEXTS, ["user"]),
    "actor.email": ("Email address of the actor.", _TEXTS, ["jane@example.com"]),
    "target.type": (
        "Type of a target. One of the event's targets must match.",
        _TEXTS,
        ["document"],
    ),
    "target.id": ("Id of a target. One of the event's targets must match.", _TEXTS, ["doc-42"]),
    "outcome": ("Outcome of the action.", _several(_OUTCOME), ["failure", "denied"]),
    "severity": ("Severity of the event.", _several(_SEVERITY), ["warning"]),
    "severity.gte": ("Lowest severity that matches.", _SEVERITY, "warning"),
    "request_id": ("Correlation id of the request that caused the event.", _TEXTS, ["req-8f2b"]),
    "trace_id": ("W3C trace id.", _TEXTS, ["4bf92f3577b34da6a3ce929d0e0e4736"]),
    "tag": ("Tag of the event.", _TEXTS, ["sso"]),
    "source.ip": (
        "IP address of the client, or a block such as `192.0.2.0/24`.",
        _several({"type": "string", "format": "ip-or-block"}),
        ["192.0.2.0/24", "2001:db8::17"],
    ),
    "source.service": ("Service that reported the event.", _TEXTS, ["docs"]),
    "from": (
        "RFC 3339. `occurred_at` must be at or after this time.",
        _TIME,
        "2026-11-01T00:00:00Z",
    ),
    "to": ("RFC 3339. `occurred_at` must be before this time.", _TIME, "2026-12-01T00:00:00+01:00"),
    "received_from": (
        "RFC 3339. `received_at` must be at or after this time.",
        _TIME,
        "2026-11-01T00:00:00Z",
    ),
    "received_to": (
        "RFC 3339. `received_at` must be before this time.",
        _TIME,
        "2026-12-01T00:00:00Z",
    ),
    "q": (
        (
            'Full-text search in all strings of an event: words, "a phrase", -word, one OR another,'
            " prefix*."
        ),
        {"type": "string", "format": "text-query", "minLength": 1, "maxLength": MAX_CHARS},
        'quarterly "renamed the" -draft',
    ),
}
_PATHS: Final = parameter(
    "paths",
    "Filters by path. Send each path as one parameter: `metadata.plan=pro`,"
    " `changes.after.title=Q3*`.",
    {
        "type": "object",
        "propertyNames": {"pattern": f"^({_PATH})$", "maxLength": 256},
        "additionalProperties": _ATTR,
    },
    example={"metadata.plan": "pro", "changes.after.title": "Q3*"},
)
ANY_FILTER: Final = (
    "Values of a repeated parameter are joined by OR, different parameters by AND. A trailing `*`"
    " matches a prefix. Parameters such as `metadata.plan=pro` filter by `metadata.<path>`,"
    " `changes.before.<path>` and `changes.after.<path>`."
)
FIELDS: Final[Schema] = {
    "type": "array",
    "maxItems": MAX_FIELDS,
    "items": {"type": "string", "format": "field-path", "minLength": 2, "maxLength": 300},
}
_OPTIONS: Final[dict[str, tuple[str, Schema, Any]]] = {
    "sort": (
        "Order of the events. Events of the same time are ordered by id.",
        {"type": "string", "enum": list(Sort), "default": Sort.OCCURRED_DESC.value},
        "occurred_at",
    ),
    "limit": (
        "Maximum number of items per page. A page also ends at 8 MiB.",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
        50,
    ),
    # No example: one of another tenant or other filters is refused.
    "cursor": ("`next_cursor` of the previous page.", CURSOR, None),
    "fields": (
        "Fields to return of each event, besides `id`: "
        + ", ".join(f"`{name}`" for name in sorted(KNOWN))
        + ", or a path below one of them. Separate several by commas, or repeat the parameter.",
        FIELDS,
        ["action", "actor.id", "metadata.plan"],
    ),
}


def several_parameters(*groups: dict[str, tuple[str, Schema, Any]]) -> list[Schema]:
    """Parameters of groups by name: what each says, its schema, and an example."""
    return [
        parameter(name, description, schema, example=example)
        for group in groups
        for name, (description, schema, example) in group.items()
    ]


#: Parameters of whatever is asked by filters.
FILTERS: Final = [*several_parameters(_FILTERS), _PATHS]
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_ID: Final = "01a20fec-b3b5-72f4-9ef5-80ce43e0fde8"
_STORED: Final[Schema] = {
    "id": _ID,
    "tenant_id": "acme",
    "received_at": "2026-11-24T23:38:20.469Z",
    "writer": "writer@acme",
    "seq": "7711886510391296001",
    "action": "document.update",
    "actor": {"id": "user-17", "type": "user", "name": "Jane Doe"},
    "outcome": "success",
    "metadata": {"plan": "pro"},
}
_PAGE: Final = answer(
    "A page of events. It may have fewer than `limit`, because a page ends at 8 MiB."
    " `next_cursor` is null on the last page.",
    content(
        ref("Page"),
        {
            "A page": {
                "items": [_STORED],
                "next_cursor": None,
                "total": {"value": 1, "relation": "eq"},
                "backend": "opensearch",
            },
            "Chosen fields": {
                "items": [{"id": _ID, "action": "document.update"}],
                "next_cursor": "kgGUsDAwMDAwMDAwMDAwMDAwMDA",
                "total": {"value": 10_000, "relation": "gte"},
                "backend": "mongodb",
            },
        },
    ),
)
_CURSOR: Final = {400: ("invalid_cursor",)}

#: What FastAPI adds to `GET /logs`.
SEARCH: Final = operation(
    "search_events",
    scope=LOGS_READ,
    description="Find events, by default latest first. "
    + ANY_FILTER
    + "\n\n`backend` names the backend that answered: OpenSearch, or MongoDB while the index is"
    " not configured, unavailable or being built. `total.relation` is `gte` if more events match"
    " than were counted. An item with `unreadable` is a stored document that is not an event; only"
    " MongoDB returns such items.",
    parameters=[*FILTERS, *several_parameters(_OPTIONS)],
    answers={200: _PAGE},
    codes=[SEARCHING, STORE, _CURSOR],
)

_VALUE_FIELD: Final[Schema] = {"type": "string", "format": "value-field", "maxLength": 256}
_STATS_OPTIONS: Final[dict[str, tuple[str, Schema, Any]]] = {
    "interval": (
        "Width of the time buckets by `occurred_at`. `auto` returns at most 100 buckets.",
        {"type": "string", "enum": [AUTO, *Interval]},
        "1d",
    ),
    "tz": (
        "IANA time zone in which days begin. It needs `interval`.",
        {"type": "string", "format": "time-zone", "default": "UTC"},
        "Europe/Berlin",
    ),
    "group_by": (
        "Count the most common values of a field: a path such as `metadata.plan`, or one of "
        + ", ".join(f"`{name}`" for name in VALUE_FIELDS)
        + ".",
        _VALUE_FIELD,
        "actor.id",
    ),
    "top": (
        "Maximum number of values. It needs `group_by`.",
        {"type": "integer", "minimum": 1, "maximum": MAX_TOP, "default": DEFAULT_TOP},
        5,
    ),
    "distinct": (
        f"Count the distinct values of up to {MAX_DISTINCT} fields.",
        {"type": "array", "items": _VALUE_FIELD, "minItems": 1, "maxItems": MAX_DISTINCT},
        ["source.ip", "metadata.plan"],
    ),
}

#: What FastAPI adds to `GET /logs/stats`.
STATS: Final = operation(
    "count_events",
    scope=LOGS_READ,
    description="Count the events that match: over time (`interval`), by value (`group_by`), or"
    " both."
    " `distinct` counts the distinct values of fields. "
    + ANY_FILTER
    + "\n\nAn event with several values, such as tags, counts once per value. Empty values do not"
    " count. `relation` is `approximate` if a number is estimated, or if metadata were too large to"
    " be indexed completely.",
    parameters=[*FILTERS, *several_parameters(_STATS_OPTIONS)],
    answers={
        200: answer(
            "The counts.",
            content(
                ref("Stats"),
                {
                    "Actors by day": {
                        "total": 412,
                        "interval": "1d",
                        "tz": "Europe/Berlin",
                        "buckets": [{"start": "2026-11-01T00:00:00+01:00", "count": 412}],
                        "groups": {
                            "field": "actor.id",
                            "values": [
                                {
                                    "value": "alice",
                                    "count": 96,
                                    "buckets": [
                                        {"start": "2026-11-01T00:00:00+01:00", "count": 96}
                                    ],
                                }
                            ],
                            "other": 316,
                            "relation": "exact",
                        },
                        "distinct": {"source.ip": {"value": 38, "relation": "exact"}},
                        "backend": "opensearch",
                    },
                    "A total": {"total": 0, "backend": "mongodb"},
                },
            ),
        )
    },
    codes=[SEARCHING, STORE, {400: ("too_many_buckets",)}],
)

#: What FastAPI adds to `POST /logs/search`.
SEARCH_BY_TREE: Final = operation(
    "search_events_by_tree",
    scope=LOGS_READ,
    description=f"Find events by a tree of conditions: at most {MAX_DEPTH} levels and"
    f" {MAX_CONDITIONS}"
    " conditions. " + ANY_FILTER,
    body=content(
        ref("Search"),
        {
            "A tree": {
                "filter": {
                    "and": [
                        {"action": "document.*", "from": "2026-11-01T00:00:00Z"},
                        {"or": [{"outcome": "denied"}, {"severity.gte": "error"}]},
                        {"not": {"actor.id": ["robot-1", "robot-2"]}},
                    ]
                },
                "limit": 50,
            },
            "Paths": {
                "filter": {"metadata.plan": ["pro", "team*"], "source.ip": "192.0.2.0/24"},
                "sort": "received_at",
                "fields": ["action", "actor.id"],
            },
            "Everything": {},
        },
    ),
    answers={200: _PAGE},
    codes=[BODY, SEARCHING, STORE, _CURSOR, {400: ("invalid_search",)}],
)

#: What FastAPI adds to `GET /logs/{id}`.
READ: Final = operation(
    "read_event",
    scope=LOGS_READ,
    description="Read an event from MongoDB. An event that was just accepted is a 404 until it is"
    " stored. 409 `event_unreadable`: the stored document was changed, or another program wrote"
    " it.",
    answers={200: answer("The event.", content(ref("StoredEvent"), {"An event": _STORED}))},
    codes=[
        STORE,
        {
            400: ("invalid_id",),
            404: ("event_not_found", "route_not_found"),
            409: ("event_unreadable",),
        },
    ],
)


def _one_or_several(schema: Schema) -> Schema:
    return {"anyOf": [schema["items"], schema]} if schema["type"] == "array" else schema


def _condition() -> Schema:
    # One object for all kinds: generators of clients stumble over unions that hold themselves.
    operators = {
        "and": {"type": "array", "minItems": 1, "items": ref("Condition")},
        "or": {"type": "array", "minItems": 1, "items": ref("Condition")},
        "not": ref("Condition"),
    }
    filters = {
        name: {"description": description} | _one_or_several(schema)
        for name, (description, schema, _) in _FILTERS.items()
    }
    return {
        "type": "object",
        "description": "Either `and`, `or` or `not` alone, or filters by name, as in `GET /logs`,"
        " with paths such as `metadata.plan`. All filters of one object must match.",
        "minProperties": 1,
        "propertyNames": {"pattern": f"^({_either([*operators, *filters])}|{_PATH})$"},
        "properties": operators | filters,
        "additionalProperties": _one_or_several(_several(_ATTR)),
        "dependentSchemas": {name: {"maxProperties": 1} for name in operators},
    }


def _closed(name: str, properties: Schema, *, optional: tuple[str, ...] = ()) -> Schema:
    required = [each for each in properties if each not in optional]
    return {name: {"type": "object", "required": required, "properties": properties}}


def _relation(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


_BACKEND: Final[Schema] = {
    "type": "string",
    "enum": ["opensearch", "mongodb"],
    "description": "Backend that answered.",
}
_SERVERS: Final[Schema] = {
    "id": {"type": "string", "format": "uuid"},
    "tenant_id": {"type": "string"},
    "received_at": {"type": "string", "format": "date-time"},
    "writer": {
        "type": "string",
        "description": "`sub` of the token with which the event was written.",
    },
    "seq": {
        "type": "string",
        "pattern": "^[0-9]+$",
        "description": "Position in the order of storing. A string, because JavaScript would round"
        " it.",
    },
}


def schemas(written: Schema) -> Schema:
    """What the searches take and answer.

    Args:
        written: the schemas of an event as it is written.
    """
    event = written["Event"]
    properties = event["properties"] | _SERVERS
    actor = {name: each for name, each in written["Actor"].items() if name != "required"}
    return {
        "Condition": _condition(),
        "Search": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "filter": {"anyOf": [ref("Condition"), {"type": "object", "maxProperties": 0}]},
                **{
                    name: {"description": description, **schema}
                    for name, (description, schema, _) in _OPTIONS.items()
                },
                "cursor": {
                    "description": "`next_cursor` of the previous page, or null.",
                    "type": ["string", "null"],
                    "format": "cursor",
                },
            },
        },
        "StoredEvent": {
            "type": "object",
            "description": "An event as it was written, with the fields that the service adds.",
            "required": [*_SERVERS, *event["required"]],
            "properties": properties,
            "additionalProperties": False,
        },
        "FoundEvent": {
            "type": "object",
            "description": "A stored event, or the fields of it that `fields` names.",
            "required": ["id"],
            "properties": properties
            | {
                "actor": ref("FoundActor"),
                "unreadable": {
                    "type": "string",
                    "description": "Fault of a stored document that is not an event. Such an item"
                    " has only `id`, `tenant_id` and, if known, `received_at` besides. OpenSearch"
                    " does not return such items.",
                },
            },
            "additionalProperties": False,
        },
        "UnreadableDocument": {
            "type": "object",
            "description": "A stored document that is not an event.",
            "required": ["tenant_id", "unreadable"],
            "properties": {
                **{name: _SERVERS[name] for name in ("id", "tenant_id", "received_at")},
                "unreadable": {
                    "type": "string",
                    "description": "Fault of the document.",
                },
            },
            "additionalProperties": False,
        },
        "FoundActor": actor | {"title": "FoundActor"},
        **_closed(
            "Page",
            {
                "items": {"type": "array", "items": ref("FoundEvent")},
                "next_cursor": {"type": ["string", "null"]},
                "total": ref("Total"),
                "backend": _BACKEND,
            },
        ),
        **_closed("Total", {"value": _COUNT, "relation": _relation("eq", "gte")}),
        **_closed(
            "Stats",
            {
                "total": _COUNT,
                "interval": {
                    "type": ["string", "null"],
                    "description": "Null if `auto` found no event.",
                },
                "tz": {"type": "string"},
                "buckets": {"type": "array", "items": ref("Bucket")},
                "groups": ref("Groups"),
                "distinct": {"type": "object", "additionalProperties": ref("Distinct")},
                "backend": _BACKEND,
            },
            optional=("interval", "tz", "buckets", "groups", "distinct"),
        ),
        **_closed("Bucket", {"start": _TIME, "count": _COUNT}),
        **_closed(
            "Groups",
            {
                "field": {"type": "string"},
                "values": {"type": "array", "items": ref("Group")},
                "other": {**_COUNT, "description": "Number of events with other values."},
                "relation": _relation("exact", "approximate"),
            },
        ),
        **_closed(
            "Group",
            {
                "value": {"type": "string"},
                "count": _COUNT,
                "buckets": {"type": "array", "items": ref("Bucket")},
            },
            optional=("buckets",),
        ),
        **_closed("Distinct", {"value": _COUNT, "relation": _relation("exact", "approximate")}),
    }
