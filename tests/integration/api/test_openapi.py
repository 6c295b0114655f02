"""What the OpenAPI document says of the api is true: examples, answers, scopes, codes.

That it says enough is in `tests/unit/api/test_openapi.py`.
"""

import asyncio
import itertools
import json
import re
import uuid
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import schemathesis
from jsonschema import Draft202012Validator, FormatChecker

from badinput.bodies import body_rows
from badinput.events import line_rows, single_rows
from badinput.reads import read_rows
from badinput.tokens import ENDPOINTS, token_rows
from ocelot_api.app import openapi_document
from ocelot_api.jobs.requests import read_rebuild
from ocelot_api.problems import Problem
from ocelot_api.search.conditions import FIELDS, SINGLE
from ocelot_common.auth.scopes import INSTALLATION_SCOPES, SCOPES
from ocelot_common.auth.tokens import mint_token

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

DOCUMENT = openapi_document()
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
ABSENT = object()
PROBLEM = "application/problem+json"
OPERATIONS = [
    pytest.param(method, path, id=f"{method.upper()} {path}")
    for path, methods in DOCUMENT["paths"].items()
    for method in methods
]


def documented(method: str, path: str) -> Any:
    return DOCUMENT["paths"][path][method.lower()]


def url_of(path: str) -> str:
    """The path with an id that nothing has."""
    return re.sub(r"{\w+}", "01a20fec-b3b5-72f4-9ef5-80ce43e0fde8", path)


def bearer(running: Any, access: Any, scopes: Iterable[str]) -> dict[str, str]:
    """The header of a token with these scopes, but for those over the whole installation."""
    token = mint_token(
        running.maker.key,
        subject="s",
        tenants=[access.tenant],
        scopes=sorted(set(scopes) - INSTALLATION_SCOPES),
        ttl=timedelta(hours=1),
        issuer="ocelot",
        audience="ocelot",
    )
    return {"Authorization": f"Bearer {token}"}


def examples_of(part: Any) -> list[Any]:
    """The values of a parameter's or a content's examples."""
    several = [each["value"] for each in part.get("examples", {}).values()]
    return [part["example"]] if "example" in part else several


def assert_documented(method: str, path: str, answer: httpx.Response) -> None:
    """An answer's status, type, body, headers and code are among those of the document."""
    responses = documented(method, path)["responses"]
    assert str(answer.status_code) in responses, answer.text
    SCHEMA[path][method.upper()].validate_response(answer)
    if answer.headers["content-type"] == PROBLEM:
        content = responses[str(answer.status_code)]["content"][PROBLEM]
        assert answer.json()["code"] in content["examples"], answer.text


def requests_of(method: str, path: str, access: Any, real_id: str) -> list[dict[str, Any]]:
    """Every example of an operation's request: all parameters together, and each body."""
    operation = documented(method, path)
    url, headers, params = path, dict(access.admin), []
    for parameter in operation.get("parameters", []):
        if not (values := examples_of(parameter)):
            continue
        name, value = parameter["name"], values[0]
        if parameter["in"] == "path":
            # An event's own id; of others, the example is one that might have been.
            url = url.replace(f"{{{name}}}", real_id if path.startswith("/api/v1/logs/") else value)
        elif parameter["in"] == "header":
            headers[name] = access.tenant.id if name == "X-Tenant-ID" else value
        elif isinstance(value, dict):
            params += list(value.items())
        else:
            for each in value if isinstance(value, list) else [value]:
                params.append((name, str(each).lower() if isinstance(each, bool) else str(each)))
    usual = {"method": method.upper(), "url": url, "headers": headers, "params": params}
    contents = operation.get("requestBody", {}).get("content", {})
    if not contents:
        return [usual]
    made = []
    for kind, content in contents.items():
        for value in examples_of(content):
            body = {"content": value.encode()} if isinstance(value, str) else {"json": value}
            made.append(usual | body | {"headers": headers | {"Content-Type": kind}})
    return made


def assert_taken(path: str, answer: httpx.Response) -> None:
    """An example is taken, but for what depends on what there is."""
    if path.startswith("/api/v1/jobs/"):
        assert answer.is_success or answer.json()["code"] == "job_not_found", answer.text
    elif path == "/api/v1/logs/index/bulk":  # of rebuilds, the first is in the way of the next
        assert answer.is_success or answer.json()["code"] == "job_exists", answer.text
    else:
        assert answer.is_success, answer.text


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def access(running: Any) -> Any:
    return await running.tenant()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def event_id(running: Any, access: Any) -> str:
    """Of a stored event."""
    content = documented("post", "/api/v1/logs")["requestBody"]["content"]["application/json"]
    posted = await running.http.post(
        "/api/v1/logs", json=examples_of(content)[0], headers=access.writer
    )
    await running.until_stored(access.tenant, 1)
    return str(posted.json()["id"])


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
async def test_every_example_of_a_request_is_taken_and_answered_as_documented(
    running: Any, access: Any, event_id: str, method: str, path: str
):
    for request in requests_of(method, path, access, event_id):
        answer = await running.http.request(**request)
        assert_taken(path, answer)
        assert_documented(method, path, answer)


async def test_an_example_of_each_parameter_is_taken_by_itself(running: Any, access: Any):
    needs = {"tz": {"interval": "1d"}, "top": {"group_by": "actor.id"}}
    for path in ("/api/v1/logs", "/api/v1/logs/stats"):
        for parameter in documented("get", path)["parameters"]:
            name, values = parameter["name"], examples_of(parameter)
            if parameter["in"] != "query" or not values:
                continue
            given = values[0] if isinstance(values[0], dict) else {name: values[0]}
            answer = await running.http.get(
                path, params=given | needs.get(name, {}), headers=access.reader
            )
            assert answer.status_code == 200, (name, answer.text)
            assert_documented("get", path, answer)


async def test_an_answer_of_chosen_fields_fits_the_schema(running: Any, access: Any, event_id: str):
    await running.until_indexed(access.tenant, 1)
    for fields in ("actor.name", "targets.name,changes.before", "seq", "source,metadata.plan"):
        answer = await running.http.get(
            "/api/v1/logs", params={"fields": fields}, headers=access.reader
        )
        assert event_id in {item["id"] for item in answer.json()["items"]}
        assert_documented("get", "/api/v1/logs", answer)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
async def test_the_scope_that_is_documented_is_the_one_that_is_needed(
    running: Any, access: Any, method: str, path: str
):
    [scope] = [
        scope
        for requirement in documented(method, path).get("security", [])
        for scope in requirement["token"]
    ] or [""]

    async def ask(*scopes: str) -> httpx.Response:
        headers = bearer(running, access, scopes)
        return await running.http.request(method, url_of(path), headers=headers)

    answer = await ask(*(SCOPES - {scope}))
    assert (answer.status_code == 403) is bool(scope)
    assert_documented(method, path, answer)
    if scope:
        assert answer.json()["code"] == "insufficient_scope"
        answer = await ask(scope)
        assert answer.status_code != 403
        assert_documented(method, path, answer)
        answer = await running.http.request(method, path)
        assert answer.status_code == 401
        assert_documented(method, path, answer)


@pytest.mark.parametrize(
    ("method", "path"),
    [each for each in OPERATIONS if documented(*each.values).get("security")],
)
async def test_a_parameter_that_is_not_documented_is_refused(
    running: Any, access: Any, method: str, path: str
):
    headers = {**bearer(running, access, SCOPES), "Content-Type": "application/json"}
    answer = await running.http.request(
        method, url_of(path), params={"actorid": "x"}, headers=headers, content=b"{}"
    )
    assert_documented(method, path, answer)
    assert (answer.json()["code"], answer.json()["path"]) == ("unknown_parameter", "actorid")


def test_a_rebuild_is_read_exactly_if_its_schema_holds():
    # schemathesis can't see it while a rebuild is under way: all that it asks for is a 409 then.
    values = {
        "all": (True, False, None, 1),
        "received_from": ("2026-11-01T00:00:00Z", None, 1, []),
        "received_to": ("2026-11-02T00:00:00Z", None, 1),
        "ids": ([str(uuid.uuid4())], ["x"], [], [None], None, "x"),
        "id": (None, "x"),
    }
    schema = {"$ref": "#/components/schemas/Rebuild", "components": DOCUMENT["components"]}
    validator = Draft202012Validator(schema, format_checker=FormatChecker())
    wrong, read = [], 0
    for chosen in itertools.product(*((ABSENT, *several) for several in values.values())):
        body = {
            name: value for name, value in zip(values, chosen, strict=True) if value is not ABSENT
        }
        try:
            read_rebuild(json.dumps(body).encode())
            accepted = True
        except Problem:
            accepted = False
        read += accepted
        if accepted is not validator.is_valid(body):
            wrong.append(body)
    assert wrong == []
    assert read == 5


async def test_the_running_api_serves_this_document(running: Any):
    answer = await running.http.get("/api/v1/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == DOCUMENT


async def test_every_search_parameter_that_is_documented_is_known(running: Any, access: Any):
    parameters = documented("get", "/api/v1/logs")["parameters"]
    names = {p["name"] for p in parameters if p["in"] == "query"}
    options = {"sort", "limit", "cursor", "fields", "paths"}
    assert names == {*FIELDS, *SINGLE, "outcome", "severity", "source.ip", *options}
    answers = await asyncio.gather(
        *(
            running.http.get("/api/v1/logs", params={name: "?"}, headers=access.reader)
            for name in names - {"paths"}
        )
    )
    for name, answer in zip(names - {"paths"}, answers, strict=True):
        assert answer.json().get("code") != "unknown_parameter", name


def test_every_code_of_the_bad_requests_is_documented():
    patterns = {re.sub(r"{\w+}", "[^/]+", path): path for path in DOCUMENT["paths"]}
    missing = set()
    checked = 0

    def check(method: str, url: str, status: int, code: str) -> None:
        nonlocal checked
        asked = url.partition("?")[0]
        fits = [path for pattern, path in patterns.items() if re.fullmatch(pattern, asked)]
        path = asked if asked in fits else (fits or [""])[0]
        operation = DOCUMENT["paths"].get(path, {}).get(method.lower())
        if operation is None:
            assert code in ("route_not_found", "method_not_allowed"), (method, url)
            return
        checked += 1
        content = operation["responses"].get(str(status), {}).get("content", {})
        if code not in content.get(PROBLEM, {}).get("examples", {}):
            missing.add((method, path, status, code))

    for row in (*single_rows(), *line_rows(), *body_rows(), *read_rows()):
        check(row.method, row.url, row.status, "events_rejected" if row.inside else row.code)
    for token in token_rows():
        for method, url in ENDPOINTS:
            check(method, url, token.status, token.code)
    assert missing == set()
    assert checked > 500


def collected() -> list[Any]:
    """The requests of the Postman collection."""
    page = Path(__file__).parents[3] / "docs/postman_collection.json"
    return [item for folder in json.loads(page.read_text())["item"] for item in folder["item"]]


@pytest.mark.parametrize("item", collected(), ids=lambda item: item["name"])
async def test_a_request_of_the_postman_collection_is_taken(
    running: Any, access: Any, event_id: str, item: Any
):
    request = item["request"]
    values = {
        "{{baseUrl}}": str(running.http.base_url).rstrip("/"),
        "{{tenant}}": access.tenant.id,
        ":id": event_id,
    }
    url = request["url"]["raw"]
    for name, value in values.items():
        url = url.replace(name, value)
    auth = {} if request.get("auth") == {"type": "noauth"} else access.admin
    for ticked in (False, True):  # as it comes, and with all that is off
        headers = {
            each["key"]: values.get(each["value"], each["value"])
            for each in request["header"]
            if ticked or not each.get("disabled")
        }
        answer = await running.http.request(
            request["method"],
            url,
            headers=auth | headers,
            params=[
                (each["key"], each["value"])
                for each in request["url"].get("query", [])
                if ticked and each["value"]  # a cursor is somebody's own
            ],
            content=request.get("body", {}).get("raw", "").encode(),
        )
        assert_taken("/" + "/".join(request["url"]["path"]), answer)
