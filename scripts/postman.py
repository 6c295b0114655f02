"""Writes `docs/postman_collection.json` from the OpenAPI document: each request with its examples.

Postman's Collection Format v2.1: https://schema.postman.com/collection/json/v2.1.0/draft-07/docs/
"""

import json
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from ocelot_api.app import openapi_document
from ocelot_api.operations import JSON

TARGET: Final = Path(__file__).resolve().parent.parent / "docs/postman_collection.json"
_SCHEMA: Final = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
#: One collection for all versions: importing it again replaces it.
_ID: Final = "0ce10700-0000-4000-8000-000000000001"
_VARIABLES: Final = {
    "baseUrl": "http://127.0.0.1:8000",
    "token": "",
    "tenant": "",
}

Object = dict[str, Any]


def collection(document: Object) -> Object:
    """The collection: a folder a tag, in the document's order."""
    folders: dict[str, list[Object]] = {tag["name"]: [] for tag in document["tags"]}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            folders[operation["tags"][0]] += _requests(document, method.upper(), path, operation)
    return {
        "info": {
            "_postman_id": _ID,
            "name": document["info"]["title"],
            "description": document["info"]["description"],
            "schema": _SCHEMA,
        },
        "auth": {
            "type": "bearer",
            "bearer": [{"key": "token", "value": "{{token}}", "type": "string"}],
        },
        "variable": [{"key": name, "value": value} for name, value in _VARIABLES.items()],
        "item": [
            {
                "name": tag["name"],
                "description": tag["description"],
                "item": folders[tag["name"]],
            }
            for tag in document["tags"]
        ],
    }


def _requests(document: Object, method: str, path: str, operation: Object) -> Iterator[Object]:
    """One request for each example of a body; one, if there is no body."""
    bodies: list[tuple[str, str | None, Any]] = [
        (example["summary"], kind, example["value"])
        for kind, content in operation.get("requestBody", {}).get("content", {}).items()
        for example in content["examples"].values()
    ] or [("", None, None)]
    for summary, kind, value in bodies:
        name = operation["summary"] + (f": {summary.lower()}" if summary else "")
        request = _request(method, path, operation, kind, value)
        yield {"name": name, "request": request, "response": _responses(document, operation)}


def _request(method: str, path: str, operation: Object, kind: str | None, value: Any) -> Object:
    parameters = operation.get("parameters", [])
    headers = [_header(each) for each in parameters if each["in"] == "header"]
    request: Object = {
        "method": method,
        "header": headers,
        "url": _url(path, parameters),
        "description": operation.get("description", operation["summary"]),
    }
    if "security" not in operation:
        request["auth"] = {"type": "noauth"}
    if kind is not None:
        headers.insert(0, {"key": "Content-Type", "value": kind})
        request["body"] = {
            "mode": "raw",
            "raw": value if isinstance(value, str) else _text(value),
            "options": {"raw": {"language": "json" if kind == JSON else "text"}},
        }
    return request


def _header(parameter: Object) -> Object:
    name = parameter["name"]
    value = "{{tenant}}" if name == "X-Tenant-ID" else str(_example(parameter))
    return _off({"key": name, "value": value}, parameter)


def _url(path: str, parameters: list[Object]) -> Object:
    segments = [
        f":{part[1:-1]}" if part.startswith("{") else part for part in path.strip("/").split("/")
    ]
    url: Object = {
        "raw": "{{baseUrl}}/" + "/".join(segments),
        "host": ["{{baseUrl}}"],
        "path": segments,
    }
    query = [pair for each in parameters if each["in"] == "query" for pair in _pairs(each)]
    if query:
        url["query"] = query
    variables = [
        {"key": each["name"], "value": str(_example(each)), "description": each["description"]}
        for each in parameters
        if each["in"] == "path"
    ]
    if variables:
        url["variable"] = variables
    return url


def _pairs(parameter: Object) -> Iterator[Object]:
    """A parameter of the query string, as often as its example has values."""
    value = _example(parameter)
    for name, each in (
        value.items()
        if isinstance(value, dict)
        else [(parameter["name"], one) for one in (value if isinstance(value, list) else [value])]
    ):
        text = str(each).lower() if isinstance(each, bool) else str(each)
        yield _off({"key": name, "value": text}, parameter)


def _off(entry: Object, parameter: Object) -> Object:
    """With its description; what may be left out is, until somebody ticks it."""
    entry["description"] = parameter["description"]
    return entry if parameter.get("required") else entry | {"disabled": True}


def _example(parameter: Object) -> Any:
    if "example" in parameter:
        return parameter["example"]
    return next((each["value"] for each in parameter.get("examples", {}).values()), "")


def _responses(document: Object, operation: Object) -> list[Object]:
    """The first example of each answer, of each media type: of a problem, one of its codes."""
    made = []
    for status, response in operation["responses"].items():
        for kind, content in response["content"].items():
            name, example = next(iter(content["examples"].items()))
            if "$ref" in example:
                example = document["components"]["examples"][example["$ref"].rpartition("/")[2]]
            value = example["value"]
            made.append(
                {
                    "name": f"{status} {name}",
                    "status": HTTPStatus(int(status)).phrase,
                    "code": int(status),
                    "header": [{"key": "Content-Type", "value": kind}],
                    "body": value if isinstance(value, str) else _text(value),
                    "_postman_previewlanguage": "text" if isinstance(value, str) else "json",
                }
            )
    return made


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def render() -> str:
    """The file's content."""
    return _text(collection(openapi_document())) + "\n"


if __name__ == "__main__":
    TARGET.write_text(render())
