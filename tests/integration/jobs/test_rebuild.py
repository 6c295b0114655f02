"""The search index, brought to hold what the store holds."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from ocelot_common.ids import format_id, new_id
from ocelot_common.names import write_alias
from ocelot_common.registry.model import Isolation

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

BOTH_TIERS = pytest.mark.parametrize("isolation", list(Isolation))


def lines(number: int) -> list[bytes]:
    return [b'{"action":"doc.read","actor":{"id":"u%d"}}' % (i % 7) for i in range(number)]


async def filled(running: Any, isolation: Isolation, number: int = 300) -> tuple[Any, list[str]]:
    """A tenant with events in both stores, and their ids."""
    access = await running.tenant(isolation=isolation)
    ids = (await running.post_lines(access, lines(number))).json()["ids"]
    await running.until_indexed(access.tenant, number)
    return access, ids


async def spoil(running: Any, access: Any, ids: list[str]) -> str:
    """Take events out of the index behind Ocelot's back, and put one in that nobody stored."""
    tenant = access.tenant
    space = await running.space_of(tenant)
    index = space.range_at(datetime.now(UTC)).index
    prefix = f"{tenant.uid}:" if tenant.shared else ""
    params = {"refresh": "true"} | ({"routing": tenant.uid} if tenant.shared else {})
    sample = await running.search.get(
        index=index, id=f"{prefix}{ids[0]}", params={"routing": tenant.uid} if tenant.shared else {}
    )
    # Else it remembers a deletion for a minute, and takes no revision that is as old.
    forget = {"index": {"gc_deletes": "0s"}}
    await running.search.indices.put_settings(index=index, body=forget)
    for event_id in ids[:5]:
        await running.search.delete(index=index, id=f"{prefix}{event_id}", params=params)
    await asyncio.sleep(2)  # its clock, by which it forgets, ticks five times a second
    stray = format_id(new_id())
    await running.search.index(
        index=index, id=f"{prefix}{stray}", body=sample["_source"] | {"id": stray}, params=params
    )
    return stray


@BOTH_TIERS
async def test_a_rebuild_brings_the_index_to_hold_what_the_store_holds(
    running: Any, jobs: Any, isolation: Isolation
):
    access, ids = await filled(running, isolation)
    other, others = await filled(running, isolation, 20)
    stray = await spoil(running, access, ids)
    before = await running.indexed_ids(access.tenant)
    assert stray in before
    assert not set(ids[:5]) & set(before)
    job = await jobs.rebuild(access, all=True)
    ended = await jobs.until_ended(access, job["id"])
    assert ended["state"] == "succeeded", ended
    assert ended["errors"] == []
    assert ended["progress"]["total"] == len(ids)
    await running.search.indices.refresh(index="_all")
    assert sorted(await running.indexed_ids(access.tenant)) == sorted(ids)
    assert sorted(await running.indexed_ids(other.tenant)) == sorted(others)
    answer = await running.http.get("/api/v1/logs", headers=access.reader, params={"limit": 1000})
    assert answer.json()["backend"] == "opensearch"
    assert sorted(item["id"] for item in answer.json()["items"]) == sorted(ids)


async def test_a_dedicated_tenants_rebuild_makes_new_indices_and_keeps_the_old_for_a_day(
    running: Any, jobs: Any
):
    access, ids = await filled(running, Isolation.DEDICATED)
    old = (await running.space_of(access.tenant)).indices
    job = await jobs.rebuild(access, all=True)
    assert (await jobs.until_ended(access, job["id"]))["state"] == "succeeded"
    space = await running.space_of(access.tenant)
    assert [entry.beside for entry in space.indices] == [None] * len(old)
    assert [entry.start for entry in space.indices] == [entry.start for entry in old]
    assert not {entry.index for entry in old} & {entry.index for entry in space.indices}
    assert {each.index for each in space.retired_indices} == {entry.index for entry in old}
    for entry in space.indices:
        behind = await running.search.indices.get_alias(name=entry.alias)
        assert list(behind) == [entry.index]
        assert set(behind[entry.index]["aliases"]) == {entry.alias}
        settings = await running.search.indices.get_settings(index=entry.index)
        assert settings[entry.index]["settings"]["index"]["refresh_interval"] == "1s"
    # What comes now is found, and the old index is left alone.
    (more,) = (await running.post_lines(access, lines(1))).json()["ids"]
    await running.until_indexed(access.tenant, len(ids) + 1)
    assert more in await running.indexed_ids(access.tenant)
    for entry in old:
        counted = await running.search.count(index=entry.index)
        assert counted["count"] <= len(ids)


async def test_progress_counts_each_event_of_several_periods_once(
    running: Any, jobs: Any, arrive: Any, until_settled: Any
):
    access = await running.tenant()
    await arrive(access, days_ago=40, number=30)
    await arrive(access, days_ago=0, number=20)
    await until_settled(access, 50)
    ended = await jobs.until_ended(access, (await jobs.rebuild(access, all=True))["id"])
    assert ended["state"] == "succeeded"
    assert (ended["progress"]["done"], ended["progress"]["total"]) == (50, 50)
    assert ended["progress"]["index"] == ended["progress"]["indices"] >= 2


@BOTH_TIERS
async def test_single_events_are_mended(running: Any, jobs: Any, isolation: Isolation):
    access, ids = await filled(running, isolation, 50)
    stray = await spoil(running, access, ids)
    job = await jobs.rebuild(access, ids=[ids[0], ids[1], stray])
    ended = await jobs.until_ended(access, job["id"])
    assert ended["state"] == "succeeded"
    assert ended["spec"] == {"ids": 3}
    assert ended["progress"]["removed"] == 1
    await running.search.indices.refresh(index="_all")
    indexed = set(await running.indexed_ids(access.tenant))
    assert indexed == set(ids) - set(ids[2:5])


async def test_an_index_that_was_deleted_comes_back_whole(running: Any, jobs: Any):
    access, ids = await filled(running, Isolation.DEDICATED)
    for entry in (await running.space_of(access.tenant)).indices:
        await running.search.indices.delete(index=entry.index)

    async def asked() -> tuple[str, list[str]]:
        answer = await running.http.get(
            "/api/v1/logs", headers=access.reader, params={"limit": 1000}
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["backend"], sorted(item["id"] for item in answer.json()["items"])

    assert await asked() == ("mongodb", sorted(ids))

    async def back() -> bool:
        backend, found = await asked()
        assert found == sorted(ids)  # all the while
        return bool(backend == "opensearch")

    await running.eventually(back, timeout_sec=300, what="the index")
    assert sorted(await running.indexed_ids(access.tenant)) == sorted(ids)
    (job,) = await jobs.list(access, kind="rebuild")
    assert job["created_by"] == "ocelot"
    space = await running.space_of(access.tenant)
    assert not any(entry.building for entry in space.indices)


async def test_events_that_arrive_during_a_rebuild_are_found_after_it(running: Any, jobs: Any):
    access, ids = await filled(running, Isolation.DEDICATED, 200)
    job = await jobs.rebuild(access, all=True)
    for _ in range(20):
        ids += (await running.post_lines(access, lines(10))).json()["ids"]
        answer = await running.http.get("/api/v1/logs", headers=access.reader)
        assert answer.status_code == 200
    assert (await jobs.until_ended(access, job["id"]))["state"] == "succeeded"
    ids += (await running.post_lines(access, lines(10))).json()["ids"]
    await running.until_indexed(access.tenant, len(ids))
    assert sorted(await running.indexed_ids(access.tenant)) == sorted(ids)


async def test_a_cancelled_rebuild_leaves_the_old_index_in_use(
    running: Any, jobs: Any, jobs_with: Any, store: Any
):
    access, ids = await filled(running, Isolation.DEDICATED, 100)
    old = (await running.space_of(access.tenant)).indices
    async with jobs_with(OCELOT_REBUILD_PROPAGATION_SEC="60"):
        job = await jobs.rebuild(access, all=True)

        async def marked() -> bool:
            space = await running.space_of(access.tenant)
            return all(entry.beside for entry in space.indices)

        await running.eventually(marked, what="the mark")
        await store.request_cancel(job["id"])
        ended = await jobs.until_ended(access, job["id"])
    assert ended["state"] == "cancelled"
    space = await running.space_of(access.tenant)
    assert space.indices == old
    for entry in space.indices:
        settings = await running.search.indices.get_settings(index=entry.index)
        assert settings[entry.index]["settings"]["index"]["refresh_interval"] == "1s"

    async def dropped() -> bool:
        return not (await running.space_of(access.tenant)).retired_indices

    await running.eventually(dropped, what="the new index's end")
    for entry in old:
        assert not await running.search.indices.exists(index=entry.index[:-1] + "2")
    assert sorted(await running.indexed_ids(access.tenant)) == sorted(ids)


async def test_a_second_rebuild_is_refused_while_one_is_under_way(running: Any, jobs: Any):
    access, _ = await filled(running, Isolation.DEDICATED, 10)
    job = await jobs.rebuild(access, all=True)
    again = await running.http.post(
        "/api/v1/logs/index/bulk", json={"all": True}, headers=access.admin
    )
    assert again.status_code == 409
    assert again.json()["code"] == "job_exists"
    assert again.json()["job_id"] == job["id"]
    assert (await jobs.until_ended(access, job["id"]))["state"] == "succeeded"
    await jobs.until_ended(access, (await jobs.rebuild(access, all=True))["id"])


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        ({}, "invalid_rebuild", None),
        ({"all": True, "ids": ["x"]}, "invalid_rebuild", None),
        ({"all": False}, "invalid_rebuild", None),
        ({"all": False, "received_to": "2026-11-01T00:00:00Z"}, "invalid_rebuild", None),
        (
            {"received_from": None, "received_to": "2026-11-01T00:00:00Z"},
            "invalid_rebuild",
            "received_from",
        ),
        ({"al": True}, "invalid_rebuild", "al"),
        ({"ids": []}, "invalid_rebuild", "ids"),
        ({"ids": ["x"]}, "invalid_id", "ids[0]"),
        ({"ids": "x"}, "invalid_rebuild", "ids"),
        ({"received_from": "yesterday"}, "invalid_parameter", "received_from"),
        (
            {"received_from": "2026-11-02T00:00:00Z", "received_to": "2026-11-01T00:00:00Z"},
            "invalid_rebuild",
            "received_to",
        ),
        ([], "invalid_rebuild", None),
    ],
)
async def test_a_wrong_request_is_refused(
    running: Any, jobs: Any, body: Any, code: str, path: str | None
):
    access = await running.tenant()
    answer = await running.http.post(
        "/api/v1/logs/index/bulk",
        content=json.dumps(body),
        headers=access.admin | {"Content-Type": "application/json"},
    )
    assert answer.status_code == 400, answer.text
    assert (answer.json()["code"], answer.json().get("path")) == (code, path)
    assert await jobs.list(access, kind="rebuild") == []


async def test_a_job_of_another_tenant_is_not_there(running: Any, jobs: Any):
    access = await running.tenant()
    other = await running.tenant()
    job = await jobs.rebuild(access, ids=[format_id(new_id())])
    foreign = await running.http.get(f"/api/v1/jobs/{job['id']}", headers=other.admin)
    assert foreign.status_code == 404
    assert [each["id"] for each in await jobs.list(access, kind="rebuild")] == [job["id"]]
    assert await jobs.list(other, kind="rebuild") == []


async def test_every_index_can_be_written_under_an_alias_of_its_own(running: Any):
    access = await running.tenant()
    for entry in (await running.space_of(access.tenant)).indices:
        behind = await running.search.indices.get_alias(name=write_alias(entry.index))
        assert list(behind) == [entry.index]
