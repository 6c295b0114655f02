"""One operation of the OpenAPI document, said where its endpoint is.

An endpoint passes what `operation` makes as its `openapi_extra`. `tests/unit/api/test_openapi.py`
fails for one that has no examples, codes or scope.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from ocelot_api.problem_codes import ANY, AUTHENTICATED, MEANINGS, Codes, together
from ocelot_api.problems import MEDIA_TYPE, Problem

Schema = dict[str, Any]

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
SCHEMAS: Final = "#/components/schemas/"
EXAMPLES: Final = "#/components/examples/"
HEADERS: Final = "#/components/headers/"
_REQUEST_ID: Final = "01a20fec-b3b5-72f4-9ef5-80ce43e0fde8"
_STATUSES: Final = {
    400: "The request is invalid. `path` names the parameter at fault",
    401: "The token is missing or invalid",
    403: "The token does not permit the request",
    404: "The object does not exist, or is not stored yet",
    408: "The headers or the body did not arrive in time",
    409: "The request conflicts with the current state",
    413: "The body or an event is too large, or there are too many events",
    415: "The media type or the encoding is not supported",
    422: "The event, or each event of the request, is invalid. `path` names the field",
    417: "The service does not support the expectation",
    431: "The request line and headers are too large",
    500: "The service failed",
    501: "The service does not support the transfer coding",
    503: "The service is not available now. Retry after `Retry-After` seconds",
    504: "A backend did not answer in time",
    505: "The service does not support the version of HTTP",
}
_EVENT_ID: Final = "01a20fec-b3b5-72f4-9ef5-80ce43e0fde9"
_REJECTED: Final[Schema] = {
    "accepted": 0,
    "rejected": 1,
    "ids": [None],
    "errors": [
        {
            "index": 0,
            "code": "missing_field",
            "path": "actor",
            "detail": MEANINGS["missing_field"],
        }
    ],
}
#: What the problems of these codes say besides.
_MEMBERS: Final[dict[str, Schema]] = {
    "queue_unavailable": {"outcome": "unknown", "ids": [_EVENT_ID, None]},
    "registry_unavailable": {"outcome": "rejected"},
    "job_exists": {"job_id": _EVENT_ID},
    "events_rejected": _REJECTED,
    "too_many_faults": _REJECTED,
}
_HEADERS_OF: Final = {401: ("WWW-Authenticate",), 503: ("Retry-After",)}
_TENANT: Final[Schema] = {
    "name": "X-Tenant-ID",
    "in": "header",
    "schema": {"type": "string"},
    "description": "Id of one of the token's tenants. Required if the token is for several"
    " tenants.",
    "example": "acme",
}


def ref(name: str) -> Schema:
    """A reference to a schema of the document."""
    return {"$ref": SCHEMAS + name}


def parameter(
    name: str, description: str, schema: Schema, *, example: Any = None, place: str = "query"
) -> Schema:
    """A parameter that may be left out. An array is given by repeating the parameter."""
    made: Schema = {"name": name, "in": place, "description": description, "schema": schema}
    if schema.get("type") in ("array", "object") and place == "query":
        made |= {"style": "form", "explode": True}
    if example is not None:
        made["example"] = example
    return made


def content(schema: Schema, examples: Mapping[str, Any], *, media_type: str = JSON) -> Schema:
    """A body's content: its schema, and examples by their summaries."""
    return {
        media_type: {
            "schema": schema,
            "examples": {
                summary.lower().replace(" ", "_"): {"summary": summary, "value": value}
                for summary, value in examples.items()
            },
        }
    }


def answer(description: str, body: Schema, *, headers: Iterable[str] = ()) -> Schema:
    """A response that is no problem; see `content` for its body."""
    return {"description": description, "headers": _headers(*headers), "content": body}


def operation(
    operation_id: str,
    *,
    answers: Mapping[int, Schema],
    codes: Iterable[Codes] = (),
    scope: str | None = None,
    description: str = "",
    parameters: Iterable[Schema] = (),
    body: Schema | None = None,
) -> Schema:
    """What the document says of an operation, besides its summary, tags and path.

    Args:
        operation_id: names the function in a generated client, in snake case.
        answers: responses that are no problems, by status; see `answer`.
        codes: of problems that it can answer, besides those of every request.
        scope: that a token must have; None where no token is needed.
        description: Markdown.
        parameters: those that FastAPI does not know of; see `parameter`.
        body: content of the request, by media type; see `content`.
    """
    problems = together(ANY, *([AUTHENTICATED] if scope else []), *codes)
    made: Schema = {
        "operationId": operation_id,
        "responses": {
            **{str(status): each for status, each in answers.items()},
            **{str(status): _problem(status, each) for status, each in problems.items()},
        },
    }
    given = list(parameters)
    if scope:
        # OpenAPI 3.1: for a bearer token, the names of what it needs stand here.
        made["security"] = [{"token": [scope]}]
        description = f"{description}\n\nNeeds a token with the scope `{scope}`.".strip()
        given.append(_TENANT)
    if description:
        made["description"] = description
    if given:
        made["parameters"] = given
    if body:
        made["requestBody"] = {"required": True, "content": body}
    return made


def problem_examples(names: Iterable[str]) -> Schema:
    """The components that responses refer to by these names."""
    made: Schema = {}
    for name in sorted(names):
        status, _, code = name.partition("_")
        made[name] = {"summary": code, "value": _example(int(status), code)}
    return made


def _problem(status: int, codes: Iterable[str]) -> Schema:
    listed = list(codes)
    return {
        "description": f"{_STATUSES[status]}: {', '.join(f'`{code}`' for code in listed)}",
        "headers": _headers(*_HEADERS_OF.get(status, ())),
        "content": {
            MEDIA_TYPE: {
                "schema": ref("Problem"),
                "examples": {code: {"$ref": f"{EXAMPLES}{status}_{code}"} for code in listed},
            }
        },
    }


def _headers(*names: str) -> Schema:
    return {name: {"$ref": HEADERS + name} for name in ("X-Request-ID", *names)}


def _example(status: int, code: str) -> Any:
    problem = Problem(status, code, MEANINGS[code], members=_MEMBERS.get(code))
    return msgspec.json.decode(problem.document(_REQUEST_ID))


COMPONENT_HEADERS: Final[Schema] = {
    "X-Request-ID": {
        "description": "Id of the request: the one that the client sent, or a new one. The"
        " service logs it.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Location": {
        "description": "Path of the event or the job.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Ocelot-Stored-Until": {
        "description": "`seq` up to which the export contains events. Send it as `stored_until` to"
        " continue with the same events.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Ocelot-Complete-Until": {
        "description": "The export contains every event that was stored before this time, if it is"
        " complete.",
        "required": True,
        "schema": {"type": "string", "format": "date-time"},
    },
    "WWW-Authenticate": {
        "description": "Authentication challenge (RFC 6750).",
        "required": True,
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Seconds to wait before the next attempt.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
}
