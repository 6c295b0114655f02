"""docs/access.md: every endpoint as everybody."""

import asyncio
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ocelot_common.auth.scopes import ROLES, SCOPES, TENANTS_ADMIN
from ocelot_common.auth.tokens import mint_token

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

PAGE = (Path(__file__).parents[3] / "docs/access.md").read_text()
EVENT = b'{"action":"a","actor":{"id":"u"}}'
BODIES = {
    "POST /api/v1/logs/search": b"{}",
    # Ids may be asked for at any time, and twice.
    "POST /api/v1/logs/index/bulk": b'{"ids":["019b0000-0000-7000-8000-000000000001"]}',
}


def read_table() -> tuple[list[str], dict[str, list[int]]]:
    """The people of the first table, and for each endpoint what they get."""
    lines = [line for line in PAGE.split("\n\n## ")[0].split("\n") if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    people = cells[0][1:]
    return people, {row[0].strip("`"): [int(cell) for cell in row[1:]] for row in cells[2:]}


PEOPLE, TABLE = read_table()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def headers(running: Any) -> dict[str, dict[str, str]]:
    """By the table's names, what each sends; and an event to read, as `id`."""
    access = await running.tenant()
    other = await running.tenant()
    suspended = await running.tenant()
    ids = (await running.post_lines(access, [EVENT])).json()["ids"]
    await running.until_stored(access.tenant, 1)
    rebuild = {"ids": ids}
    job = await running.http.post("/api/v1/logs/index/bulk", json=rebuild, headers=access.admin)
    await running.maker.provisioner.suspend(suspended.tenant.id, owner="cli")
    installation_admin = mint_token(
        running.maker.key,
        subject="installation-admin@*",
        tenants="*",
        role="installation-admin",
        ttl=timedelta(minutes=30),
        issuer="ocelot",
        audience="ocelot",
    )
    sent = {
        role: running.bearer(access.tenant, role) for role in ROLES if role != "installation-admin"
    }
    sent["installation-admin"] = {
        "Authorization": f"Bearer {installation_admin}",
        "X-Tenant-ID": access.tenant.id,
    }
    return sent | {
        "no token": {},
        "another tenant's": other.admin | {"X-Tenant-ID": access.tenant.id},
        "suspended tenant": suspended.admin,
        "id": {"logs": ids[0], "jobs": job.json()["id"]},
        "elsewhere": other.admin,
    }


async def ask(
    running: Any, endpoint: str, ids: dict[str, str], headers: dict[str, str]
) -> tuple[int, str]:
    method, path = endpoint.split(" ")
    body = None if method == "GET" else BODIES.get(endpoint, EVENT)
    if path.endswith("/logs/bulk") and body:
        body = b"[" + body + b"]"
    answer = await running.http.request(
        method,
        path.replace("{id}", ids[path.split("/")[3]] if "{id}" in path else ""),
        content=body,
        headers=headers | ({"Content-Type": "application/json"} if body else {}),
    )
    return answer.status_code, answer.text


@pytest.mark.parametrize("endpoint", TABLE)
@pytest.mark.parametrize("who", PEOPLE)
async def test_an_endpoint_answers_as_the_table_says(
    running: Any, headers: dict[str, Any], endpoint: str, who: str
):
    expected = TABLE[endpoint][PEOPLE.index(who)]
    for _ in range(240):
        status, text = await ask(running, endpoint, headers["id"], headers[who])
        if status == expected or who != "suspended tenant":
            break
        await asyncio.sleep(0.1)  # the api hears of the suspension within a second
    assert status == expected, text


async def test_with_a_token_for_another_tenant_alone_ones_events_are_not_there(
    running: Any, headers: dict[str, Any]
):
    status, _ = await ask(running, "GET /api/v1/logs/{id}", headers["id"], headers["elsewhere"])
    assert status == 404


async def test_every_endpoint_of_the_openapi_document_has_a_row_and_the_reverse(running: Any):
    document = (await running.http.get("/api/v1/openapi.json")).json()
    endpoints = {
        f"{method.upper()} {path}"
        for path, operations in document["paths"].items()
        for method in operations
    }
    assert endpoints == set(TABLE)


def test_the_page_lists_the_roles_as_they_are():
    roles = PAGE.split("\n## Roles\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([\w-]+)` \| (.*) \|$", roles, re.MULTILINE)
    assert [name for name, _ in rows] == list(ROLES)
    for name, text in rows:
        scopes = set(re.findall(r"`([\w:]+)`", text))
        if text.startswith("all"):
            scopes = set(SCOPES) - scopes
        assert scopes == ROLES[name]
    assert TENANTS_ADMIN in ROLES["installation-admin"]
