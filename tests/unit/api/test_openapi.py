"""Every operation of the OpenAPI document says what a generator, a reader and a client need."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import OpenAPIV31SpecValidator

from ocelot_api.app import openapi_document
from ocelot_api.operations import MEDIA_TYPE
from ocelot_api.problem_codes import MEANINGS
from ocelot_common.auth.scopes import SCOPES

ROOT = Path(__file__).parents[3]
DOCUMENT = openapi_document()
#: Parameters without an example: every true one is somebody's own.
OPAQUE = {
    *((path, "cursor") for path in DOCUMENT["paths"]),
    ("/api/v1/logs/export", "after"),
    ("/api/v1/logs/export", "fields"),  # which goes not together with the others
}
#: What raises codes; the code is the first of their arguments that is a text.
RAISING = {"Problem", "bad_request", "unauthenticated", "forbidden", "unavailable", "EventError"}


OPERATIONS = [
    pytest.param(path, operation, id=f"{method.upper()} {path}")
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


def resolved(part: Any) -> Any:
    while "$ref" in part:
        target: Any = DOCUMENT
        for name in part["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        part = target
    return part


def faults(schema: Any, value: Any) -> list[str]:
    """What a value breaks of a schema of the document."""
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    whole["components"] = DOCUMENT["components"]
    validator = OAS31Validator(whole, format_checker=oas31_format_checker)
    return [error.message for error in validator.iter_errors(value)]


def contents(operation: Any) -> Iterator[tuple[str, Any]]:
    """Bodies of an operation's request and responses, with a name."""
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"request {kind}", content
    for status, response in operation["responses"].items():
        for kind, content in response.get("content", {}).items():
            yield f"{status} {kind}", content


def test_the_document_is_valid_openapi_3_1():
    assert DOCUMENT["openapi"].startswith("3.1.")
    errors = [
        f"{list(error.path)}: {error.message[:300]}"
        for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()
    ]
    assert errors == []


def test_ids_of_operations_are_distinct_and_tags_described():
    ids = [operation.values[1]["operationId"] for operation in OPERATIONS]
    assert len(set(ids)) == len(ids)
    tags = {tag["name"]: tag["description"] for tag in DOCUMENT["tags"]}
    assert all(tags.values())


@pytest.mark.parametrize(("path", "operation"), OPERATIONS)
def test_an_operation_has_a_name_for_clients_and_words_for_people(path: str, operation: Any):
    # Not as FastAPI makes them: search_api_v1_logs_get.
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", operation["operationId"])
    assert "api_v" not in operation["operationId"]
    assert operation["summary"]
    [tag] = operation["tags"]
    assert tag in {tag["name"] for tag in DOCUMENT["tags"]}
    parameters = operation.get("parameters", [])
    in_path = {each["name"] for each in parameters if each["in"] == "path"}
    assert in_path == set(re.findall(r"{(\w+)}", path))
    names = [(each["in"], each["name"]) for each in parameters]
    assert len(set(names)) == len(names)
    for each in parameters:
        assert each["description"], each["name"]


@pytest.mark.parametrize(("path", "operation"), OPERATIONS)
def test_an_operation_says_which_scope_it_needs(path: str, operation: Any):
    if not path.startswith("/api/"):
        assert "security" not in operation
        return
    [requirement] = operation["security"]
    [scope] = requirement["token"]
    assert scope in SCOPES
    assert f"`{scope}`" in operation["description"]
    assert "X-Tenant-ID" in {each["name"] for each in operation["parameters"]}
    assert {"401", "403"} <= set(operation["responses"])


@pytest.mark.parametrize(("path", "operation"), OPERATIONS)
def test_an_operation_lists_its_codes_by_status(path: str, operation: Any):
    del path
    assert {"400", "408", "431", "500"} <= set(operation["responses"])
    for status, response in operation["responses"].items():
        assert response["description"]
        assert "X-Request-ID" in response["headers"]
        if MEDIA_TYPE not in response.get("content", {}):
            assert status.startswith("2") or not operation.get("security")
            continue
        content = response["content"][MEDIA_TYPE]
        assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
        assert content["examples"], status
        for code, example in content["examples"].items():
            value = resolved(example)["value"]
            assert (value["status"], value["code"]) == (int(status), code)
            assert code in MEANINGS


@pytest.mark.parametrize(("path", "operation"), OPERATIONS)
def test_an_operation_has_examples_that_fit_its_schemas(path: str, operation: Any):
    if "requestBody" in operation:
        assert operation["requestBody"]["content"]
    for name, content in contents(operation):
        examples = content.get("examples", {})
        assert examples, name
        for example in examples.values():
            assert faults(content["schema"], resolved(example)["value"]) == [], name
    for each in operation.get("parameters", []):
        values = [example["value"] for example in each.get("examples", {}).values()]
        values += [each["example"]] if "example" in each else []
        assert bool(values) is ((path, each["name"]) not in OPAQUE), each["name"]
        for value in values:
            assert faults(each["schema"], value) == [], each["name"]


def test_every_component_is_used():
    text = json.dumps(DOCUMENT)
    for kind in ("schemas", "examples", "headers"):
        for name in DOCUMENT["components"][kind]:
            assert f'"#/components/{kind}/{name}"' in text, name


def codes_of_the_source() -> set[str]:
    """What is raised by name, in the api and for events."""
    found = set()
    for folder in ("api/src/ocelot_api", "common/src/ocelot_common"):
        for file in (ROOT / "services" / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in RAISING:
                    texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
                    found |= set([each for each in texts if isinstance(each, str)][:1])
    return found


def test_the_table_of_codes_is_what_the_source_raises():
    raised = codes_of_the_source()
    assert raised <= set(MEANINGS), raised - set(MEANINGS)
    sources = "".join(
        file.read_text()
        for folder in ("services/api/src", "services/common/src")
        for file in (ROOT / folder).rglob("*.py")
        if file.name != "problem_codes.py"
    )
    for code in MEANINGS:
        assert f'"{code}"' in sources, f"{code} is raised nowhere"


def objects(part: Any) -> Iterator[Any]:
    """All objects within a part of the document."""
    if isinstance(part, dict):
        yield part
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from objects(inner)


class TestGeneratedClients:
    """What openapi-python-client and hey-api need; neither is run here."""

    @pytest.mark.parametrize(("path", "operation"), OPERATIONS)
    def test_every_failure_is_a_typed_problem(self, path: str, operation: Any):
        failures = {status: each for status, each in operation["responses"].items() if status > "3"}
        assert "500" in failures
        assert "503" in failures or not path.startswith("/api/")
        for status, response in failures.items():
            content = resolved(response)["content"]
            assert list(content) == ["application/problem+json"], status
            schema = content["application/problem+json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Problem"}, status

    @pytest.mark.parametrize("name", ["Event", "StoredEvent", "FoundEvent"])
    def test_metadata_is_an_object_of_any_members(self, name: str):
        metadata = DOCUMENT["components"]["schemas"][name]["properties"]["metadata"]
        assert metadata["anyOf"][0] == {"type": "object", "additionalProperties": True}

    @pytest.mark.parametrize("name", ["Event", "StoredEvent", "FoundEvent"])
    def test_an_outcome_is_a_string_of_an_enumeration(self, name: str):
        outcome = DOCUMENT["components"]["schemas"][name]["properties"]["outcome"]
        assert outcome["anyOf"][0]["type"] == "string"
        assert "success" in outcome["anyOf"][0]["enum"]

    def test_every_enumeration_and_constant_has_a_type(self):
        untyped = [
            each
            for part in (DOCUMENT["paths"], DOCUMENT["components"]["schemas"])
            for each in objects(part)
            if ("enum" in each or "const" in each) and "type" not in each
        ]
        assert untyped == []

    @pytest.mark.parametrize("path", ["/api/v1/logs", "/api/v1/logs/stats", "/api/v1/logs/export"])
    def test_filters_by_path_are_parameters_of_their_own_names(self, path: str):
        [paths] = [
            each for each in DOCUMENT["paths"][path]["get"]["parameters"] if each["name"] == "paths"
        ]
        # With these, `{"metadata.order_id": "7"}` becomes `metadata.order_id=7`.
        assert (paths["in"], paths["style"], paths["explode"]) == ("query", "form", True)
        assert paths["schema"]["type"] == "object"
        assert paths["schema"]["additionalProperties"]["type"] == "string"
        assert re.fullmatch(paths["schema"]["propertyNames"]["pattern"], "metadata.order_id")

    def test_a_condition_of_a_tree_takes_filters_by_path(self):
        condition = DOCUMENT["components"]["schemas"]["Condition"]
        assert {"type": "string"}.items() <= condition["additionalProperties"]["anyOf"][0].items()
