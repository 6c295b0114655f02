"""The searches in the OpenAPI document."""

from typing import Any, Final

from ocelot_api.search.query import DEFAULT_LIMIT, MAX_LIMIT, Sort
from ocelot_api.search.stats import DEFAULT_TOP, MAX_DISTINCT, MAX_TOP
from ocelot_api.search.stats_parameters import AUTO, VALUE_FIELDS
from ocelot_api.search.text_query import MAX_CHARS
from ocelot_api.search.time_buckets import Interval
from ocelot_common.event import OUTCOMES, SEVERITIES

Schema = dict[str, Any]

_TEXTS: Final[Schema] = {"type": "array", "items": {"type": "string"}}
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_FILTERS: Final[dict[str, tuple[str, Schema]]] = {
    "action": ("Action; `document.*` is a prefix", _TEXTS),
    "actor.id": ("Who did it", _TEXTS),
    "actor.type": ("What kind of actor", _TEXTS),
    "actor.email": ("The actor's address", _TEXTS),
    "target.type": ("What kind of resource was acted on; of several targets, one must fit", _TEXTS),
    "target.id": ("A resource acted on; of several targets, one must fit", _TEXTS),
    "outcome": ("Outcome", {"type": "array", "items": {"enum": list(OUTCOMES)}}),
    "severity": ("Severity", {"type": "array", "items": {"enum": list(SEVERITIES)}}),
    "severity.gte": ("This severity and worse ones", {"enum": list(SEVERITIES)}),
    "request_id": ("Correlation id of the request", _TEXTS),
    "trace_id": ("W3C trace id", _TEXTS),
    "tag": ("A tag", _TEXTS),
    "source.ip": ("Address of the client, or a block such as `192.0.2.0/24`", _TEXTS),
    "source.service": ("Service that reported the event", _TEXTS),
    "from": ("RFC 3339; `occurred_at` at or after it", _TIME),
    "to": ("RFC 3339; `occurred_at` before it", _TIME),
    "received_from": ("RFC 3339; `received_at` at or after it", _TIME),
    "received_to": ("RFC 3339; `received_at` before it", _TIME),
    "q": (
        'Words, "a phrase", -word, one OR another, begin*; over all texts of an event',
        {"type": "string", "maxLength": MAX_CHARS},
    ),
}
_ANY_FILTER: Final = (
    "A repeated parameter is OR, different ones are AND, a trailing `*` is a prefix. Besides the"
    " parameters listed there are `metadata.<path>`, `changes.before.<path>` and"
    " `changes.after.<path>`, such as `metadata.plan=pro`."
)


def _parameter(name: str, description: str, schema: Schema) -> Schema:
    parameter: Schema = {"name": name, "in": "query", "description": description, "schema": schema}
    if schema.get("type") == "array":
        parameter |= {"style": "form", "explode": True}
    return parameter


_OPTIONS: Final[dict[str, tuple[str, Schema]]] = {
    "sort": (
        "Order; equal times by id",
        {"enum": list(Sort), "default": Sort.OCCURRED_DESC.value},
    ),
    "limit": (
        "Items of a page",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    ),
    "cursor": ("`next_cursor` of the page before", {"type": "string"}),
    "fields": ("Parts of an event to answer with, such as `action,actor.id`; `id` always", _TEXTS),
}

#: What FastAPI adds to `GET /logs`.
PARAMETERS: Final[Schema] = {
    "description": "Find events, the latest first unless told otherwise. "
    + _ANY_FILTER
    + "\n\nThe answer names the `backend`: OpenSearch, or MongoDB where the index is left out, away"
    " or being built. `total.relation` is `gte` where more match than were counted.",
    "parameters": [
        _parameter(name, description, schema)
        for name, (description, schema) in {**_FILTERS, **_OPTIONS}.items()
    ],
}

_STATS_OPTIONS: Final[dict[str, tuple[str, Schema]]] = {
    "interval": (
        "Width of time buckets by `occurred_at`; `auto` gives a hundred at most",
        {"enum": [AUTO, *Interval]},
    ),
    "tz": (
        "IANA time zone in which days begin; with `interval`",
        {"type": "string", "default": "UTC", "example": "Europe/Berlin"},
    ),
    "group_by": (
        "Count the commonest values of a field: a path such as `metadata.plan`, or one of "
        + ", ".join(f"`{name}`" for name in VALUE_FIELDS),
        {"type": "string", "example": "actor.id"},
    ),
    "top": (
        "How many values; with `group_by`",
        {"type": "integer", "minimum": 1, "maximum": MAX_TOP, "default": DEFAULT_TOP},
    ),
    "distinct": (f"Count the different values of fields, {MAX_DISTINCT} at most", _TEXTS),
}

#: What FastAPI adds to `GET /logs/stats`.
STATS: Final[Schema] = {
    "description": "Count what a search finds: over time (`interval`), by value (`group_by`), both"
    " together, and different values (`distinct`). "
    + _ANY_FILTER
    + "\n\nAn event with several values, such as tags, counts once for each; an empty value is"
    " none. `relation` is `approximate` where a number is estimated, or where metadata were too"
    " large to be indexed whole.",
    "parameters": [
        _parameter(name, description, schema)
        for name, (description, schema) in {**_FILTERS, **_STATS_OPTIONS}.items()
    ],
}

_LEAF: Final[Schema] = {
    "type": "object",
    "description": "Filters by their names as in `GET /logs`; all must fit",
    "minProperties": 1,
    "properties": {
        name: {"description": description, "oneOf": [{"type": "string"}, _TEXTS]}
        for name, (description, _) in _FILTERS.items()
    },
}
_CONDITION_REF: Final[Schema] = {"$ref": "#/components/schemas/Condition"}
_CONDITIONS: Final[Schema] = {"type": "array", "minItems": 1, "items": _CONDITION_REF}
SCHEMAS: Final[dict[str, Schema]] = {
    "Condition": {
        "oneOf": [
            *(
                {
                    "type": "object",
                    "required": [operator],
                    "properties": {operator: schema},
                    "additionalProperties": False,
                }
                for operator, schema in (
                    ("and", _CONDITIONS),
                    ("or", _CONDITIONS),
                    ("not", _CONDITION_REF),
                )
            ),
            _LEAF,
        ]
    },
    "Search": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "filter": _CONDITION_REF,
            **{
                name: {"description": description, **schema}
                for name, (description, schema) in _OPTIONS.items()
            },
        },
    },
}

#: What FastAPI adds to `POST /logs/search`.
BODY: Final[Schema] = {
    "description": "As `GET /logs`, with a tree of conditions. " + _ANY_FILTER,
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Search"},
                "example": {
                    "filter": {
                        "and": [
                            {"action": "document.*", "from": "2026-11-01T00:00:00Z"},
                            {"or": [{"outcome": "denied"}, {"severity.gte": "error"}]},
                            {"not": {"actor.id": ["robot-1", "robot-2"]}},
                        ]
                    },
                    "limit": 50,
                },
            }
        },
    },
}
