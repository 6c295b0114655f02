"""The OpenAPI document: FastAPI's own, with the write routes that bypass it."""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import BaseRoute

from ocelot_api.ingest import documentation as ingest
from ocelot_api.jobs import documentation as jobs
from ocelot_api.operations import (
    COMPONENT_HEADERS,
    EXAMPLES,
    problem_examples,
    ref,
)
from ocelot_api.search import documentation as search

Schema = dict[str, Any]

#: Every operation has one.
TAGS: Final = [
    {"name": "write", "description": "Write events. For applications."},
    {"name": "read", "description": "Search, count, read and export events. For auditors."},
    {
        "name": "jobs",
        "description": "Request background jobs, such as rebuilds of the search index, and see"
        " their progress.",
    },
    {"name": "service", "description": "Public keys of the service. No token is needed."},
]
_PROBLEM: Final[Schema] = {
    "type": "object",
    "description": "A problem document (RFC 9457).",
    "required": ["type", "title", "status", "code", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable name of the problem, for programs."},
        "detail": {
            "type": "string",
            "description": "Explanation for people. The text may change.",
        },
        "path": {
            "type": "string",
            "description": "Path of the field, or name of the parameter, at fault.",
        },
        "request_id": {"type": "string"},
        "outcome": {
            "type": "string",
            "enum": ["unknown", "rejected"],
            "description": "Of a write: `unknown` if the events may be stored nevertheless,"
            " `rejected` if they are not.",
        },
        "id": {
            "type": "string",
            "description": "Id of a single event. A repeated request with this id stores nothing"
            " twice.",
        },
        "ids": {
            "type": "array",
            "items": {"type": ["string", "null"]},
            "description": "Ids of the events, in the order of the request. A repeated request"
            " with these ids stores"
            " nothing twice.",
        },
        "job_id": {
            "type": "string",
            "format": "uuid",
            "description": "Id of the job that is still running.",
        },
        "accepted": {"type": "integer"},
        "rejected": {"type": "integer"},
        "errors": {
            "type": "array",
            "items": ref("ItemError"),
            "description": "The faults of the rejected events, at most 10 per event. For a single"
            " event, `code`, `path` and `detail` of the problem describe the first fault.",
        },
    },
}


def install(app: FastAPI) -> None:
    """Make the app's document whole."""
    original = app.openapi

    def openapi() -> Schema:
        if app.openapi_schema is None:
            document = original()
            _complete(document, app.routes)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: Schema, routes: Sequence[BaseRoute]) -> None:
    document["tags"] = TAGS
    paths = document["paths"]
    for path, operation in ingest.PATHS.items():
        paths.setdefault(path, {})["post"] = operation
    for context in iter_route_contexts(routes):
        route = context.original_route
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods or ():
                operation = paths[str(context.path_format)][method.lower()]
                # FastAPI would add answers that are not ours, and drop null from examples.
                extra = route.openapi_extra or {}
                operation |= {name: extra[name] for name in extra if name != "parameters"}
    used = re.findall(f'"{EXAMPLES}([^"]+)"', json.dumps(paths))
    written = ingest.event_schemas()
    document["components"] = {
        "schemas": written
        | ingest.SCHEMAS_OF_ANSWERS
        | search.schemas(written)
        | jobs.SCHEMAS
        | {"Problem": _PROBLEM},
        "examples": problem_examples(set(used)),
        "headers": COMPONENT_HEADERS,
        "securitySchemes": {
            "token": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "A token from `ocelot tokens create`, or from the Secret that the"
                " operator writes. Each operation names the scope that it needs.",
            }
        },
    }
