"""The OpenAPI document: FastAPI's own, with the write routes that bypass it."""

from typing import Any, Final

import msgspec
from fastapi import FastAPI

from ocelot_api.jobs.documentation import SCHEMAS as JOB_SCHEMAS
from ocelot_api.search.documentation import SCHEMAS as SEARCH_SCHEMAS
from ocelot_common.event import Event

Schema = dict[str, Any]

_PREFIX: Final = "#/components/schemas/"
_EXAMPLE: Final = {
    "action": "document.update",
    "actor": {"id": "user-17", "type": "user", "name": "Jane Doe"},
    "targets": [{"type": "document", "id": "doc-42", "name": "Quarterly report"}],
    "outcome": "success",
    "message": "Jane renamed the quarterly report",
    "changes": {"before": {"title": "Q3"}, "after": {"title": "Q3 final"}},
    "source": {"ip": "192.0.2.10", "service": "docs"},
    "metadata": {"plan": "pro"},
}
_ERROR_CODES: Final = {
    "400": "The request can't be read",
    "401": "No token, or none that is taken",
    "403": "The token lacks a scope, or the tenant is suspended",
    "408": "Head or body did not arrive in time",
    "413": "The body, an event or their number is too large",
    "415": "Unknown media type or encoding",
    "422": "The event, or every event, is not valid; the path names the field",
    "431": "The request line and headers are too large",
    "503": "Not known to be taken; with `outcome: unknown` repeat with the ids that it returns",
}


def install(app: FastAPI) -> None:
    """Make the app's document whole."""
    original = app.openapi

    def openapi() -> Schema:
        if app.openapi_schema is None:
            document = original()
            _complete(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: Schema) -> None:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    (_,), event_schemas = msgspec.json.schema_components([Event], ref_template=_PREFIX + "{name}")
    schemas.update(event_schemas)
    schemas.update(_SCHEMAS)
    schemas.update(SEARCH_SCHEMAS)
    schemas.update(JOB_SCHEMAS)
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    }
    paths = document["paths"]
    paths.setdefault("/api/v1/logs", {})["post"] = _post_one()
    paths.setdefault("/api/v1/logs/bulk", {})["post"] = _post_bulk()
    not_found = _problem("No such event is stored, or not yet")
    paths["/api/v1/logs/{id}"]["get"]["responses"]["404"] = not_found
    by_tree = paths["/api/v1/logs/search"]["post"]["responses"]
    by_tree |= {status: _problem(_ERROR_CODES[status]) for status in ("413", "415")}
    for path, operations in paths.items():
        if path.startswith("/api/v1/"):
            for operation in operations.values():
                _secure(operation)


def _secure(operation: Schema) -> None:
    operation["security"] = [{"token": []}]
    operation.setdefault("parameters", []).append(
        {
            "name": "X-Tenant-ID",
            "in": "header",
            "schema": {"type": "string"},
            "description": "Which of the token's tenants; needed if there are several",
        }
    )
    responses = operation["responses"]
    for status in ("401", "403", "408", "431", "503"):
        responses.setdefault(status, _problem(_ERROR_CODES[status]))
    if operation["tags"] != ["write"]:
        responses.pop("422", None)
    responses.setdefault("400", _problem(_ERROR_CODES["400"]))
    if operation["tags"] != ["write"]:
        responses.setdefault("504", _problem("A backend did not answer in time; narrow the search"))


def _ref(name: str) -> Schema:
    return {"$ref": _PREFIX + name}


def _problem(description: str) -> Schema:
    return {
        "description": description,
        "content": {"application/problem+json": {"schema": _ref("Problem")}},
    }


_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "Events without an id get ids that follow from it: repeating the request with"
    " the same key stores nothing twice",
}


def _post_one() -> Schema:
    return {
        "tags": ["write"],
        "summary": "Write one event",
        "operationId": "post_log",
        "parameters": [_IDEMPOTENCY_KEY],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref("Event"), "example": _EXAMPLE}},
        },
        "responses": {
            "202": {
                "description": "The queue has taken the event; it will be stored",
                "content": {"application/json": {"schema": _ref("Accepted")}},
            },
            **{status: _problem(text) for status, text in _ERROR_CODES.items()},
        },
    }


def _post_bulk() -> Schema:
    return {
        "tags": ["write"],
        "summary": "Write many events",
        "description": 'A JSON array, `{"logs": [...]}` or NDJSON; plain, gzip or zstd by'
        " `Content-Encoding`. Each event is taken or refused by itself, unless `atomic=true`.",
        "operationId": "post_logs",
        "parameters": [
            _IDEMPOTENCY_KEY,
            {
                "name": "atomic",
                "in": "query",
                "schema": {"type": "boolean", "default": False},
                "description": "Take all events or none",
            },
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "oneOf": [
                            {"type": "array", "items": _ref("Event")},
                            {
                                "type": "object",
                                "required": ["logs"],
                                "properties": {"logs": {"type": "array", "items": _ref("Event")}},
                            },
                        ]
                    },
                    "example": [_EXAMPLE],
                },
                "application/x-ndjson": {"schema": {"type": "string"}},
            },
        },
        "responses": {
            "202": {
                "description": "The queue has taken the events that are not in `errors`",
                "content": {"application/json": {"schema": _ref("BulkResult")}},
            },
            **{status: _problem(text) for status, text in _ERROR_CODES.items()},
        },
    }


_UUID: Final = {"type": "string", "format": "uuid"}
_SCHEMAS: Final[dict[str, Schema]] = {
    "Accepted": {
        "type": "object",
        "required": ["id", "status"],
        "properties": {"id": _UUID, "status": {"const": "accepted"}},
    },
    "BulkResult": {
        "type": "object",
        "required": ["accepted", "rejected", "ids", "errors"],
        "properties": {
            "accepted": {"type": "integer"},
            "rejected": {"type": "integer"},
            "ids": {
                "type": "array",
                "items": {"oneOf": [_UUID, {"type": "null"}]},
                "description": "By position; null for an event that was refused",
            },
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["index", "code", "path", "detail"],
                    "properties": {
                        "index": {"type": "integer"},
                        "code": {"type": "string"},
                        "path": {"type": "string"},
                        "detail": {"type": "string"},
                    },
                },
            },
        },
    },
    "Problem": {
        "type": "object",
        "description": "RFC 9457",
        "required": ["type", "title", "status", "code", "detail", "request_id"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "code": {"type": "string", "description": "Stable, for programs"},
            "detail": {"type": "string"},
            "path": {"type": "string", "description": "The field at fault"},
            "request_id": {"type": "string"},
            "outcome": {"enum": ["unknown", "rejected"]},
            "job_id": {"type": "string", "format": "uuid"},
        },
    },
}
