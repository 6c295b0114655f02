"""The Postman collection is made from the OpenAPI document and may not drift from it."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ocelot_api.app import openapi_document

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def postman() -> ModuleType:
    """scripts/postman.py."""
    spec = importlib.util.spec_from_file_location("postman", ROOT / "scripts/postman.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def requests_of(collection: Any) -> Iterator[tuple[str, Any]]:
    """Each folder's name, with its requests."""
    for folder in collection["item"]:
        for item in folder["item"]:
            yield folder["name"], item


def test_the_collection_is_what_the_document_says(postman: ModuleType):
    assert (ROOT / "docs/postman_collection.json").read_text() == postman.render(), (
        "run `make postman`"
    )


def test_every_operation_has_a_request_in_the_folder_of_its_tag(postman: ModuleType):
    made = {
        (folder, item["request"]["method"], "/".join(item["request"]["url"]["path"]))
        for folder, item in requests_of(json.loads(postman.render()))
    }
    wanted = {
        (operation["tags"][0], method.upper(), path.strip("/").replace("{", ":").replace("}", ""))
        for path, operations in openapi_document()["paths"].items()
        for method, operation in operations.items()
    }
    assert made == wanted


def test_every_variable_is_declared_and_what_may_be_left_out_is_off(postman: ModuleType):
    collection = json.loads(postman.render())
    assert [each["key"] for each in collection["variable"]] == ["baseUrl", "token", "tenant"]
    for _, item in requests_of(collection):
        request = item["request"]
        assert request["url"]["raw"].startswith("{{baseUrl}}/")
        for each in (*request["header"], *request["url"].get("query", [])):
            assert each.get("disabled") or each["key"] == "Content-Type"
        if "raw" in request.get("body", {}):
            assert request["body"]["raw"]
