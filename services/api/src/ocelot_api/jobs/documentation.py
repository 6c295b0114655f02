"""The jobs in the OpenAPI document."""

from typing import Any, Final

from ocelot_common.jobs.model import JobKind, JobState
from ocelot_common.jobs.rebuild import MAX_IDS

Schema = dict[str, Any]

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 500

_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_MAYBE_TIME: Final[Schema] = {"oneOf": [_TIME, {"type": "null"}]}
_UUID: Final[Schema] = {"type": "string", "format": "uuid"}
_JOB_REF: Final[Schema] = {"$ref": "#/components/schemas/Job"}
_JOB: Final[Schema] = {
    "id": "019b0000-0000-7000-8000-000000000001",
    "kind": "rebuild",
    "state": "running",
    "recurring": False,
    "cancel_requested": False,
    "spec": {},
    "progress": {"done": 40000, "total": 200000},
    "errors": [],
    "created_by": "jane",
    "created_at": "2026-11-25T12:00:00Z",
    "due_at": "2026-11-25T12:00:00Z",
    "started_at": "2026-11-25T12:00:01Z",
    "finished_at": None,
}

SCHEMAS: Final[dict[str, Schema]] = {
    "Job": {
        "type": "object",
        "required": [*_JOB],
        "properties": {
            "id": _UUID,
            "kind": {"type": "string", "description": ", ".join(JobKind)},
            "state": {"enum": list(JobState)},
            "recurring": {
                "type": "boolean",
                "description": "Whether it is queued again when it has run",
            },
            "cancel_requested": {"type": "boolean"},
            "spec": {"type": "object", "description": "What it is to do; of ids, their number"},
            "progress": {
                "type": "object",
                "additionalProperties": {"type": "integer"},
                "description": "Numbers by name; `done` of `total`",
            },
            "errors": {
                "type": "array",
                "description": "Of the last attempts that failed",
                "items": {
                    "type": "object",
                    "required": ["at", "detail"],
                    "properties": {"at": _TIME, "detail": {"type": "string"}},
                },
            },
            "created_by": {"type": "string"},
            "created_at": _TIME,
            "due_at": {**_TIME, "description": "It is not begun before"},
            "started_at": _MAYBE_TIME,
            "finished_at": _MAYBE_TIME,
        },
    },
    "Jobs": {
        "type": "object",
        "required": ["items", "next_cursor"],
        "properties": {
            "items": {"type": "array", "items": _JOB_REF},
            "next_cursor": {"oneOf": [{"type": "string"}, {"type": "null"}]},
        },
    },
    "Rebuild": {
        "oneOf": [
            {
                "type": "object",
                "additionalProperties": False,
                "required": ["all"],
                "properties": {"all": {"const": True}},
            },
            {
                "type": "object",
                "additionalProperties": False,
                "minProperties": 1,
                "properties": {"received_from": _TIME, "received_to": _TIME},
            },
            {
                "type": "object",
                "additionalProperties": False,
                "required": ["ids"],
                "properties": {
                    "ids": {"type": "array", "minItems": 1, "maxItems": MAX_IDS, "items": _UUID}
                },
            },
        ]
    },
}


def _answer(schema: Schema, description: str, example: Any) -> Schema:
    content = {"application/json": {"schema": schema, "example": example}}
    return {"description": description, "content": content}


def _problem(description: str) -> Schema:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": description,
        "content": {"application/problem+json": {"schema": schema}},
    }


#: What FastAPI adds to `POST /logs/index/bulk`.
REBUILD: Final[Schema] = {
    "description": "Bring the search index to hold what the store holds, as a job: of everything,"
    " of what was received in a range of time, or of some events. A Dedicated tenant's range gets"
    " new indices, period by period, and searches see the old ones until the new ones are whole; a"
    " Shared tenant's events, and single ids, are mended where they are.",
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Rebuild"},
                "examples": {
                    "all": {"summary": "Everything", "value": {"all": True}},
                    "range": {
                        "summary": "What was received in November",
                        "value": {
                            "received_from": "2026-11-01T00:00:00Z",
                            "received_to": "2026-12-01T00:00:00Z",
                        },
                    },
                    "ids": {
                        "summary": "Some events",
                        "value": {"ids": ["019b0000-0000-7000-8000-000000000002"]},
                    },
                },
            }
        },
    },
    "responses": {
        "202": _answer(_JOB_REF, "The job, queued; `Location` leads to it", _JOB),
        "409": _problem("A rebuild is under way (`job_exists`, with `job_id`), or search is off"),
        "413": _problem("The body is too large"),
        "415": _problem("The body is not JSON"),
    },
}

#: What FastAPI adds to `GET /jobs`.
LIST: Final[Schema] = {
    "description": "The tenant's jobs, the newest first; ended ones are kept for 90 days.",
    "parameters": [
        {
            "name": "kind",
            "in": "query",
            "description": "Only these",
            "schema": {"type": "array", "items": {"enum": list(JobKind)}},
        },
        {
            "name": "state",
            "in": "query",
            "description": "Only these",
            "schema": {"type": "array", "items": {"enum": list(JobState)}},
        },
        {
            "name": "limit",
            "in": "query",
            "description": "Items of a page",
            "schema": {
                "type": "integer",
                "minimum": 1,
                "maximum": MAX_LIMIT,
                "default": DEFAULT_LIMIT,
            },
        },
        {
            "name": "cursor",
            "in": "query",
            "description": "`next_cursor` of the page before",
            "schema": {"type": "string"},
        },
    ],
    "responses": {
        "200": _answer(
            {"$ref": "#/components/schemas/Jobs"},
            "One page",
            {"items": [_JOB], "next_cursor": None},
        )
    },
}

#: What FastAPI adds to `GET /jobs/{id}`.
SHOW: Final[Schema] = {
    "description": "How far one of the tenant's jobs is, and what went wrong.",
    "responses": {
        "200": _answer(_JOB_REF, "The job", _JOB),
        "404": _problem("The tenant has no such job"),
    },
}
