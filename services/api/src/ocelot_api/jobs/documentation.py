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
                "description": "Whether the job is queued again after it has run.",
            },
            "cancel_requested": {"type": "boolean"},
            "spec": {
                "type": "object",
                "additionalProperties": True,
                "description": "The request. A list of ids is shown as its length.",
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
                "description": "Counts by name. `done` events of `total` are finished.",
            },
            "errors": {
                "type": "array",
                "description": "Errors of the last attempts that failed.",
                "items": ref("JobError"),
            },
            "created_by": {"type": "string"},
            "created_at": _TIME,
            "due_at": {**_TIME, "description": "Time before which the job does not start."},
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
                "properties": {"all": {"type": "boolean", "const": True}},
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
    description="Queue a job that rebuilds the search index from MongoDB: for all events, for those"
    " received in a range of time, or for single events. For a range of a Dedicated tenant, the job"
    " builds new indices, one per period. Searches use the old index of a period until the new one"
    " is complete. Events of a Shared tenant, and single events, are repaired in the existing"
    " index.",
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
            "The queued job.",
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
    description="List the tenant's jobs, newest first. Jobs that have ended are kept for 90 days.",
    parameters=[
        parameter("kind", "Only jobs of these kinds.", _several([*JobKind]), example=["rebuild"]),
        parameter(
            "state",
            "Only jobs in these states.",
            _several([*JobState]),
            example=["queued", "running"],
        ),
        parameter(
            "limit",
            "Maximum number of jobs per page.",
            {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
            example=20,
        ),
        parameter("cursor", "`next_cursor` of the previous page.", _UUID),
    ],
    answers={
        200: answer(
            "A page of jobs.",
            content(ref("Jobs"), {"A page": {"items": [_JOB], "next_cursor": None}}),
        )
    },
    codes=[STORE, {400: ("invalid_parameter", "invalid_cursor")}],
)

#: What FastAPI adds to `GET /jobs/{id}`.
SHOW: Final = operation(
    "read_job",
    scope=LOGS_ADMIN,
    description="Show the state, progress and errors of one of the tenant's jobs.",
    answers={200: answer("The job.", content(ref("Job"), {"A rebuild": _JOB}))},
    codes=[STORE, {400: ("invalid_id",), 404: ("job_not_found", "route_not_found")}],
)
