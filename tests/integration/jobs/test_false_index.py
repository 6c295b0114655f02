"""What somebody who can write to OpenSearch changes, and what a rebuild repairs.

Searches take events from the index. Everything else reads MongoDB. docs/security.md tells it.
"""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from ocelot_common.ids import format_id, new_id
from ocelot_common.registry.model import Isolation

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

TEXT = b'{"action":"doc.read","actor":{"id":"u"},"message":"true"}'
FALSE = {"action": "doc.delete", "actor": {"id": "u"}, "message": "false"}


async def searched(running: Any, access: Any) -> dict[str, str]:
    """Messages by id, as a search in OpenSearch shows them."""
    body: dict[str, Any] = {}

    async def from_opensearch() -> bool:
        # While OpenSearch is too busy to answer in time, MongoDB does.
        nonlocal body
        answer = await running.http.get(
            "/api/v1/logs", params={"limit": 100}, headers=access.reader
        )
        body = answer.json()
        return bool(body["backend"] == "opensearch")

    await running.eventually(from_opensearch, timeout_sec=120, what="a search in OpenSearch")
    return {item["id"]: item["message"] for item in body["items"]}


async def exported(running: Any, access: Any) -> dict[str, str]:
    """The same, as an export shows them."""
    answer = await running.http.get("/api/v1/logs/export", headers=access.admin)
    assert answer.status_code == 200, answer.text
    events = [json.loads(line) for line in answer.text.splitlines()]
    return {event["id"]: event["message"] for event in events if "message" in event}


@pytest.mark.parametrize("isolation", list(Isolation))
async def test_a_search_shows_what_the_index_says_until_a_rebuild_and_nothing_else_does(
    running: Any, jobs: Any, isolation: Isolation
):
    access = await running.tenant(isolation=isolation)
    ids = (await running.post_lines(access, [TEXT] * 6)).json()["ids"]
    await running.until_indexed(access.tenant, 6)
    true = dict.fromkeys(ids, "true")
    assert await exported(running, access) == true
    tenant = access.tenant
    index = (await running.space_of(tenant)).range_at(datetime.now(UTC)).index
    prefix = f"{tenant.uid}:" if tenant.shared else ""
    routing = {"routing": tenant.uid} if tenant.shared else {}
    altered, removed, planted = ids[0], ids[1], format_id(new_id())
    sample = (await running.search.get(index=index, id=prefix + altered, params=routing))["_source"]
    for event_id in (altered, planted):
        await running.search.index(
            index=index,
            id=prefix + event_id,
            body=sample | {"id": event_id, "event": FALSE, "action": FALSE["action"]},
            params={"refresh": "true", **routing},
        )
    await running.search.delete(
        index=index, id=prefix + removed, params={"refresh": "true", **routing}
    )

    false = true | {altered: "false", planted: "false"}
    del false[removed]
    assert await searched(running, access) == false
    for event_id, status in ((altered, 200), (removed, 200), (planted, 404)):
        found = await running.http.get(f"/api/v1/logs/{event_id}", headers=access.reader)
        assert found.status_code == status
        assert found.json().get("message", "true") == "true"
    assert await exported(running, access) == true

    # OpenSearch keeps the version of a deletion for a minute, and refuses the same one until then.
    # It forgets it in a refresh, by a clock that moves on every 200 ms.
    await running.search.indices.put_settings(index=index, body={"index": {"gc_deletes": "0s"}})
    await asyncio.sleep(1)
    await running.search.indices.refresh(index=index)
    ended = await jobs.until_ended(access, (await jobs.rebuild(access, all=True))["id"])
    assert ended["state"] == "succeeded"
    await running.search.indices.refresh(index="_all")
    # A Dedicated tenant gets new indices. In the index of the Shared tier, ids are compared alone.
    left = {altered: "false"} if tenant.shared else {}
    assert await searched(running, access) == true | left
