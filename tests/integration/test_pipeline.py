"""An event's whole way: HTTP, SQS, MongoDB, OpenSearch."""

import importlib.util
import json
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from ocelot_common.event import accept_event
from ocelot_common.event_limits import EventLimits
from ocelot_common.ids import format_id
from ocelot_common.registry.model import Isolation
from ocelot_common.timestamps import now_ms

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

EVENT = {
    "action": "document.update",
    "actor": {"id": "user-17", "name": "Jane Doe"},
    "message": "Jane renamed the quarterly report",
    "metadata": {"plan": "pro"},
}


def text_of_record(raw: bytes) -> bytes:
    return accept_event(raw, now_ms=now_ms(), limits=EventLimits()).text


def generator() -> ModuleType:
    path = Path(__file__).parents[1] / "data" / "generate.py"
    spec = importlib.util.spec_from_file_location("ocelot_test_data", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("isolation", list(Isolation))
async def test_an_event_is_searchable_within_two_seconds(running: Any, isolation: Isolation):
    access = await running.tenant(isolation=isolation)
    # The first event of an index pays for what later ones find made.
    await running.http.post("/api/v1/logs", json=EVENT, headers=access.writer)
    await running.until_indexed(access.tenant, 1)

    async def by_index() -> bool:  # the api hears of an index within a second
        found = await running.http.get("/api/v1/logs", headers=access.reader)
        return bool(found.json()["backend"] == "opensearch")

    await running.eventually(by_index, what="the index at the api")
    answer = await running.http.post(
        "/api/v1/logs", json=EVENT | {"message": "zanzibar"}, headers=access.writer
    )
    began = time.monotonic()
    assert answer.status_code == 202
    while True:
        found = await running.http.get(
            "/api/v1/logs", params={"q": "zanzibar"}, headers=access.reader
        )
        if found.json()["items"]:
            break
        assert time.monotonic() - began < 120, "the event never became searchable"

    assert found.json()["backend"] == "opensearch"
    assert [item["id"] for item in found.json()["items"]] == [answer.json()["id"]]
    # No timed assertion (the machine is shared); the figure is in the report of `-rP`.
    print(f"searchable after {time.monotonic() - began:.2f} s")  # noqa: T201


async def test_an_event_comes_back_by_id_with_the_fields_of_the_server(running: Any):
    access = await running.tenant()
    posted = await running.http.post("/api/v1/logs", json=EVENT, headers=access.writer)
    event_id = posted.json()["id"]
    [stored] = await running.until_stored(access.tenant, 1)

    got = await running.http.get(f"/api/v1/logs/{event_id}", headers=access.reader)

    assert got.status_code == 200
    item = got.json()
    assert item.pop("seq") == str(stored.seq)
    assert item.pop("received_at").endswith("Z")
    assert item == EVENT | {
        "id": event_id,
        "tenant_id": access.tenant.id,
        "writer": f"writer@{access.tenant.id}",
    }


@pytest.mark.parametrize("isolation", list(Isolation))
async def test_twenty_thousand_mixed_events_are_in_both_stores_once_and_as_sent(
    running: Any, isolation: Isolation
):
    access = await running.tenant(isolation=isolation)
    number = 20_000 if isolation is Isolation.DEDICATED else 2_000
    lines = list(generator().mixed(number, seed=8))
    sent: dict[str, bytes] = {}
    for start in range(0, number, 1_000):
        part = lines[start : start + 1_000]
        answer = await running.post_lines(access, part)
        assert answer.status_code == 202, answer.text
        body = answer.json()
        assert body["errors"] == []
        sent |= dict(zip(body["ids"], (text_of_record(line) for line in part), strict=True))
    assert len(sent) == number

    stored = await running.until_stored(access.tenant, number, timeout_sec=600)
    assert {format_id(event.id): event.text.encode() for event in stored} == sent
    assert len(stored) == number
    assert all(event.uid == access.tenant.uid for event in stored)
    assert len({event.seq for event in stored}) == number

    indexed = await running.until_indexed(access.tenant, number, timeout_sec=600)
    assert sorted(indexed) == sorted(sent)
    assert await dead_letters(running, access.tenant.uid) == []


async def test_equal_lines_without_ids_are_different_events(running: Any):
    access = await running.tenant()
    line = json.dumps(EVENT).encode()

    answer = await running.post_lines(access, [line, line, line])

    assert len(set(answer.json()["ids"])) == 3
    assert len(await running.until_stored(access.tenant, 3)) == 3


async def test_the_same_request_under_the_same_key_stores_nothing_twice(running: Any):
    access = await running.tenant()
    lines = [json.dumps(EVENT | {"message": f"m{number % 3}"}).encode() for number in range(9)]

    first = await running.post_lines(access, lines, **{"Idempotency-Key": "k-1"})
    again = await running.post_lines(access, lines[::-1], **{"Idempotency-Key": "k-1"})
    other = await running.post_lines(access, lines[:1], **{"Idempotency-Key": "k-2"})

    assert sorted(first.json()["ids"]) == sorted(again.json()["ids"])
    assert other.json()["ids"][0] not in first.json()["ids"]
    stored = await running.until_stored(access.tenant, 10)
    assert len(stored) == 10


async def test_a_repeat_with_the_returned_id_is_the_same_event(running: Any):
    access = await running.tenant()
    first = await running.http.post("/api/v1/logs", json=EVENT, headers=access.writer)
    event_id = first.json()["id"]
    await running.until_stored(access.tenant, 1)

    again = await running.http.post(
        "/api/v1/logs", json={"id": event_id, **EVENT}, headers=access.writer
    )
    other = await running.http.post("/api/v1/logs", json=EVENT, headers=access.writer)

    assert again.json()["id"] == event_id
    stored = await running.until_stored(access.tenant, 2)
    assert sorted(format_id(event.id) for event in stored) == sorted([event_id, other.json()["id"]])
    assert await dead_letters(running, access.tenant.uid) == []


async def test_the_same_id_with_other_content_is_one_dead_letter_with_its_content(running: Any):
    access = await running.tenant()
    event_id = "0190aaaa-0000-7000-8000-000000000001"
    lines = [
        msgspec.json.encode({"id": event_id, **EVENT}),
        msgspec.json.encode({**EVENT, "message": "neighbour"}),
    ]
    await running.post_lines(access, lines)
    await running.until_stored(access.tenant, 2)

    changed = {"id": event_id, **EVENT, "message": "another story"}
    for _ in range(2):
        await running.post_lines(access, [msgspec.json.encode(changed), lines[1]])
    await running.until_stored(access.tenant, 4)

    stored = {format_id(event.id): event.text for event in await running.stored(access.tenant)}
    assert json.loads(stored[event_id]) == EVENT
    [letter] = await until_dead_letters(running, access.tenant.uid, 1)
    assert letter["reason"] == "conflict"
    assert letter["event_id"] == event_id
    assert json.loads(letter["content"]) == {**EVENT, "message": "another story"}
    assert letter["writer"] == f"writer@{access.tenant.id}"


async def dead_letters(running: Any, uid: str) -> list[dict[str, Any]]:
    return await running.database["dead_letters"].find({"t": uid}).to_list()


async def until_dead_letters(running: Any, uid: str, number: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 180
    while len(letters := await dead_letters(running, uid)) < number:
        assert time.monotonic() < deadline, "the dead letter never came"
    return letters
