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
    {"name": "write", "description": "Applications write events"},
    {"name": "read", "description": "Auditors search, count and read them"},
    {"name": "jobs", "description": "Rebuilds, purges and other background work, and its progress"},
    {"name": "service", "description": "The process itself; needs no token"},
]
_PROBLEM: Final[Schema] = {
    "type": "object",
    "description": "A problem document (RFC 9457)",
    "required": ["type", "title", "status", "code", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable, for programs"},
        "detail": {"type": "string", "description": "For people; may change"},
        "path": {"type": "string", "description": "The field or parameter at fault"},
        "request_id": {"type": "string"},
        "outcome": {
            "type": "string",
            "enum": ["unknown", "rejected"],
            "description": "Of a write: whether the events may be stored all the same",
        },
        "id": {"type": "string", "description": "As `ids`, of a single event"},
        "ids": {
            "type": "array",
            "items": {"type": ["string", "null"]},
            "description": "By position; a repeat with these ids doubles nothing",
        },
        "job_id": {"type": "string", "format": "uuid", "description": "Of the job in the way"},
        "accepted": {"type": "integer"},
        "rejected": {"type": "integer"},
        "errors": {
            "type": "array",
            "items": ref("ItemError"),
            "description": "The faults of the rejected events, at most 10 per event. `code`, `path`"
            " and `detail` of a single event are those of the first.",
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
                "description": "`ocelot tokens create`, or the Secret that the operator writes. An"
                " operation lists the scope that it needs.",
            }
        },
    }
