"""The jobs in the OpenAPI document."""

from typing import Any, Final

from ocelot_api.operations import answer, content, operation, parameter, ref
from ocelot_api.problem_codes import BODY, STORE
from ocelot_common.auth.scopes import LOGS_ADMIN
from ocelot_common.jobs.model import JobKind, JobState
from ocelot_common.jobs.rebuild import MAX_IDS, RebuildPhase

Schema = dict[str, Any]

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 500

_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_MAYBE_TIME: Final[Schema] = {"type": ["string", "null"], "format": "date-time"}
_UUID: Final[Schema] = {"type": "string", "format": "uuid"}
#: Also the example of the path's parameter.
JOB_ID: Final = "01a21322-0632-710b-8580-2fae79ed33ff"
_EVENT_ID: Final = "01a20fec-b3b5-72f4-9ef5-80ce43e0fde8"
_JOB: Final[Schema] = {
    "id": JOB_ID,
    "kind": "rebuild",
    "state": "running",
    "recurring": False,
    "cancel_requested": False,
    "spec": {},
    "phase": "copying",
    "progress": {"done": 40000, "total": 200000},
    "errors": [],
    "created_by": "jane",
    "created_at": "2026-11-25T12:00:00Z",
    "due_at": "2026-11-25T12:00:00Z",
    "started_at": "2026-11-25T12:00:01Z",
    "finished_at": None,
}
_QUEUED: Final = _JOB | {"state": "queued", "phase": "", "progress": {}, "started_at": None}

SCHEMAS: Final[dict[str, Schema]] = {
    "Job": {
        "type": "object",
        "required": [*_JOB],
        "properties": {
            "id": _UUID,
            "kind": {
                "type": "string",
                "description": f"One of {', '.join(JobKind)}. `periods` is the index lifecycle job,"
                " `drain` the dead-letter collector.",
            },
            "state": {"type": "string", "enum": list(JobState)},
            "recurring": {
                "type": "boolean",
                "description": "Whether it is queued again when it has run",
            },
            "cancel_requested": {"type": "boolean"},
            "spec": {
                "type": "object",
                "description": "The request; a list of ids is given as its length",
            },
            "phase": {
                "type": "string",
                "description": f"The phase of a running rebuild: {', '.join(RebuildPhase)}."
                " `settling` waits for propagation, `mending` repairs an index in place. Empty for"
                " other jobs.",
            },
            "progress": {
                "type": "object",
                "additionalProperties": {"type": "integer"},
                "description": "Numbers by name; `done` of `total`",
            },
            "errors": {
                "type": "array",
                "description": "Of the last attempts that failed",
                "items": ref("JobError"),
            },
            "created_by": {"type": "string"},
            "created_at": _TIME,
            "due_at": {**_TIME, "description": "It is not begun before"},
            "started_at": _MAYBE_TIME,
            "finished_at": _MAYBE_TIME,
        },
        "additionalProperties": False,
    },
    "JobError": {
        "type": "object",
        "required": ["at", "detail"],
        "properties": {"at": _TIME, "detail": {"type": "string"}},
        "additionalProperties": False,
    },
    "Jobs": {
        "type": "object",
        "required": ["items", "next_cursor"],
        "properties": {
            "items": {"type": "array", "items": ref("Job")},
            "next_cursor": {"type": ["string", "null"]},
        },
        "additionalProperties": False,
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
                "required": ["received_from"],
                "properties": {"received_from": _TIME},
            },
            {
                "type": "object",
                "additionalProperties": False,
                "required": ["received_to"],
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

#: What FastAPI adds to `POST /logs/index/bulk`.
REBUILD: Final = operation(
    "rebuild_index",
    scope=LOGS_ADMIN,
    description="Bring the search index to hold what the store holds, as a job: of everything, of"
    " what was received in a range of time, or of some events. A Dedicated tenant's range gets new"
    " indices, period by period, and searches see the old ones until the new ones are whole; a"
    " Shared tenant's events, and single ids, are repaired in the existing index.",
    body=content(
        ref("Rebuild"),
        {
            "Some events": {"ids": [_EVENT_ID]},
            "Everything": {"all": True},
            "A range": {
                "received_from": "2026-11-01T00:00:00Z",
                "received_to": "2026-12-01T00:00:00Z",
            },
        },
    ),
    answers={
        202: answer(
            "The job, queued",
            content(ref("Job"), {"A rebuild": _QUEUED}),
            headers=["Location"],
        )
    },
    codes=[
        BODY,
        STORE,
        {
            400: ("invalid_rebuild", "invalid_parameter", "invalid_id"),
            409: ("job_exists", "search_not_enabled"),
        },
    ],
)


def _several(values: list[str]) -> Schema:
    return {"type": "array", "items": {"type": "string", "enum": values}}


#: What FastAPI adds to `GET /jobs`.
LIST: Final = operation(
    "list_jobs",
    scope=LOGS_ADMIN,
    description="The tenant's jobs, the newest first; ended ones are kept for 90 days.",
    parameters=[
        parameter("kind", "Only these", _several([*JobKind]), example=["rebuild"]),
        parameter("state", "Only these", _several([*JobState]), example=["queued", "running"]),
        parameter(
            "limit",
            "Items of a page",
            {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
            example=20,
        ),
        parameter("cursor", "`next_cursor` of the page before", _UUID),
    ],
    answers={
        200: answer(
            "One page",
            content(ref("Jobs"), {"A page": {"items": [_JOB], "next_cursor": None}}),
        )
    },
    codes=[STORE, {400: ("invalid_parameter", "invalid_cursor")}],
)

#: What FastAPI adds to `GET /jobs/{id}`.
SHOW: Final = operation(
    "read_job",
    scope=LOGS_ADMIN,
    description="How far one of the tenant's jobs is, and what went wrong.",
    answers={200: answer("The job", content(ref("Job"), {"A rebuild": _JOB}))},
    codes=[STORE, {400: ("invalid_id",), 404: ("job_not_found", "route_not_found")}],
)
