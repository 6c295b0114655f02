"""No tenant sees, counts or touches another's events, whatever its request looks like."""

import asyncio
import json
from typing import Any

import pytest

from ocelot_common.ids import format_id
from ocelot_common.provisioning import removal
from ocelot_common.provisioning.claiming import TenantSpec
from ocelot_common.provisioning.errors import OwnerError, ProvisioningError
from ocelot_common.registry.model import Isolation, TenantState

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

SAME_IDS = [f"0190aaaa-0000-7000-8000-{number:012d}" for number in range(5)]
NAMES = {
    "acme": Isolation.DEDICATED,
    "acme-corp": Isolation.DEDICATED,
    "globex": Isolation.SHARED,
    "globex-2": Isolation.SHARED,
}


def events_of(name: str) -> list[bytes]:
    """Events with the same ids in every tenant, and what tells them apart in every field."""
    return [
        json.dumps(
            {
                "id": event_id,
                "action": "secret.read",
                "actor": {"id": "same-actor", "name": f"of-{name}"},
                "targets": [{"type": "vault", "id": "same-target"}],
                "request_id": "same-request",
                "message": f"belongs to {name} marker{name.replace('-', '')}",
                "metadata": {"owner": name},
            }
        ).encode()
        for event_id in SAME_IDS
    ]


@pytest.fixture(scope="module")
async def four(running: Any) -> dict[str, Any]:
    """Two Dedicated and two Shared tenants with events of equal ids, stored and indexed."""
    tenants = {}
    for name, isolation in NAMES.items():
        tenants[name] = await running.tenant(name, isolation)
        answer = await running.post_lines(tenants[name], events_of(name))
        assert answer.json()["accepted"] == len(SAME_IDS)
    for access in tenants.values():
        await running.until_indexed(access.tenant, len(SAME_IDS))
    return tenants


def assert_only(name: str, items: list[dict[str, Any]]) -> None:
    assert items
    for item in items:
        assert item["tenant_id"] == name
        assert item["writer"] == f"writer@{name}"
        assert item["metadata"] == {"owner": name}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("event_id", SAME_IDS)
async def test_get_by_an_id_that_all_have_gives_ones_own(
    running: Any, four: dict[str, Any], name: str, event_id: str
):
    answer = await running.http.get(f"/api/v1/logs/{event_id}", headers=four[name].reader)
    assert_only(name, [answer.json()])


SEARCHES = [
    {},
    {"action": "secret.read"},
    {"action": "secret.*"},
    {"action": "*"},
    {"actor.id": "same-actor"},
    {"target.id": "same-target"},
    {"target.id": "same-*"},
    {"request_id": "same-request"},
    {"outcome": "unknown"},
    {"severity": "info"},
    {"q": "belongs"},
    {"q": "secret read same actor"},
    {"from": "2020-01-01T00:00:00Z"},
    {"to": "2099-01-01T00:00:00Z"},
    {"sort": "received_at"},
    {"limit": "1"},
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("params", SEARCHES, ids=str)
async def test_no_search_shows_or_counts_anothers_events(
    running: Any, four: dict[str, Any], name: str, params: dict[str, str]
):
    answer = await running.http.get("/api/v1/logs", params=params, headers=four[name].reader)
    body = answer.json()
    assert body["backend"] == "opensearch"
    assert_only(name, body["items"])
    assert body["total"] == {"value": len(SAME_IDS), "relation": "eq"}


TREES: list[dict[str, Any]] = [
    {},
    {"not": {"action": "nothing"}},
    {"or": [{"action": "*"}, {"not": {"action": "*"}}]},
    {"not": {"q": "nothing"}},
    {"or": [{"q": "belongs"}, {"from": "2020-01-01T00:00:00Z"}]},
    {"not": {"and": [{"metadata.x": "*"}, {"source.ip": "::/0"}]}},
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tree", TREES, ids=str)
async def test_no_tree_of_conditions_shows_or_counts_anothers_events(
    running: Any, four: dict[str, Any], name: str, tree: dict[str, Any]
):
    answer = await running.http.post(
        "/api/v1/logs/search", json={"filter": tree}, headers=four[name].reader
    )
    body = answer.json()
    assert_only(name, body["items"])
    assert body["total"] == {"value": len(SAME_IDS), "relation": "eq"}
    other = next(each for each in NAMES if each != name)
    refused = await running.http.post(
        "/api/v1/logs/search",
        json={"filter": tree},
        headers=four[name].reader | {"X-Tenant-ID": other},
    )
    assert refused.status_code == 403


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("other", NAMES)
async def test_anothers_words_find_nothing(
    running: Any, four: dict[str, Any], name: str, other: str
):
    marker = f"marker{other.replace('-', '')}"
    answer = await running.http.get("/api/v1/logs", params={"q": marker}, headers=four[name].reader)
    expected = len(SAME_IDS) if name == other else 0
    assert answer.json()["total"]["value"] == expected
    assert len(answer.json()["items"]) == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("other", NAMES)
async def test_anothers_cursor_is_refused(
    running: Any, four: dict[str, Any], name: str, other: str
):
    page = await running.http.get("/api/v1/logs", params={"limit": 2}, headers=four[other].reader)
    cursor = page.json()["next_cursor"]
    answer = await running.http.get(
        "/api/v1/logs", params={"limit": 2, "cursor": cursor}, headers=four[name].reader
    )
    if name == other:
        assert_only(name, answer.json()["items"])
    else:
        assert answer.status_code == 400
        assert answer.json()["code"] == "invalid_cursor"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("other", NAMES)
async def test_a_header_for_another_tenant_does_not_help(
    running: Any, four: dict[str, Any], name: str, other: str
):
    headers = four[name].reader | {"X-Tenant-ID": other}
    searched = await running.http.get("/api/v1/logs", headers=headers)
    read = await running.http.get(f"/api/v1/logs/{SAME_IDS[0]}", headers=headers)
    written = await running.http.post(
        "/api/v1/logs",
        content=events_of(name)[0],
        headers=four[name].writer | {"X-Tenant-ID": other, "Content-Type": "application/json"},
    )
    if name == other:
        assert_only(name, [*searched.json()["items"], read.json()])
        assert written.status_code == 202
    else:
        assert [answer.status_code for answer in (searched, read, written)] == [403, 403, 403]
        assert searched.json()["code"] == "tenant_forbidden"


@pytest.mark.parametrize("name", NAMES)
async def test_a_parameter_that_names_a_tenant_is_refused(
    running: Any, four: dict[str, Any], name: str
):
    for params in ({"tenant": "acme"}, {"tenant_id": "acme"}, {"t": "x"}, {"uid": "x"}):
        answer = await running.http.get("/api/v1/logs", params=params, headers=four[name].reader)
        assert answer.status_code == 400
        assert answer.json()["code"] == "unknown_parameter"


async def test_writing_an_id_that_others_have_changes_nothing_of_theirs(
    running: Any, four: dict[str, Any]
):
    before = {name: await running.stored(access.tenant) for name, access in four.items()}
    intruder = await running.tenant()
    changed = [line.replace(b"belongs", b"BELONGS") for line in events_of("acme")]
    await running.post_lines(intruder, changed)
    await running.until_stored(intruder.tenant, len(SAME_IDS))
    after = {name: await running.stored(access.tenant) for name, access in four.items()}
    assert {n: sorted(e.text for e in events) for n, events in after.items()} == {
        n: sorted(e.text for e in events) for n, events in before.items()
    }
    letters = await running.database["dead_letters"].count_documents(
        {"t": {"$in": [access.tenant.uid for access in four.values()]}}
    )
    assert letters == 0


@pytest.mark.parametrize("isolation", list(Isolation))
async def test_a_tenant_made_again_after_a_purge_sees_nothing_of_the_old_one(
    running: Any, isolation: Isolation, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(removal, "_INDEXED_AT_ONCE", 2)
    old = await running.tenant(isolation=isolation)
    name = old.tenant.id
    await running.post_lines(old, events_of(name))
    await running.until_indexed(old.tenant, len(SAME_IDS))

    deleted = await running.maker.provisioner.delete(name, owner="cli", now=True)
    assert deleted.state is TenantState.DELETED
    new = await running.tenant(name, isolation)

    assert new.tenant.uid != old.tenant.uid
    await eventually_status(running, old.reader, 401)
    refused = await running.http.get("/api/v1/logs", headers=old.reader)
    assert refused.json()["code"] == "tenant_unknown"
    written = await running.http.post(
        "/api/v1/logs",
        content=events_of(name)[0],
        headers=old.writer | {"Content-Type": "application/json"},
    )
    assert written.status_code == 401
    await eventually_status(running, new.reader, 200)
    seen = await running.http.get("/api/v1/logs", headers=new.reader)
    assert seen.json()["items"] == []
    assert seen.json()["total"] == {"value": 0, "relation": "eq"}
    by_id = await running.http.get(f"/api/v1/logs/{SAME_IDS[0]}", headers=new.reader)
    assert by_id.status_code == 404
    assert await running.stored(old.tenant) == []
    if isolation is Isolation.SHARED:  # the indices of the other tier are gone
        assert await running.indexed_ids(old.tenant) == []

    await running.post_lines(new, events_of(name)[:2])
    stored = await running.until_stored(new.tenant, 2)
    assert {format_id(event.id) for event in stored} == set(SAME_IDS[:2])
    assert len(await running.until_indexed(new.tenant, 2)) == 2


@pytest.mark.parametrize("isolation", list(Isolation))
async def test_within_the_grace_time_the_same_owner_gets_everything_back(
    running: Any, isolation: Isolation
):
    access = await running.tenant(isolation=isolation)
    name = access.tenant.id
    await running.post_lines(access, events_of(name))
    await running.until_indexed(access.tenant, len(SAME_IDS))

    deleting = await running.maker.provisioner.delete(name, owner="cli")
    assert deleting.state is TenantState.DELETING
    assert deleting.purge_after is not None
    await eventually_status(running, access.reader, 403)
    with pytest.raises(OwnerError):
        await running.maker.provisioner.create(
            TenantSpec(id=name, owner="somebody/else", isolation=isolation)
        )
    again = await running.tenant(name, isolation)

    assert again.tenant.uid == access.tenant.uid
    await eventually_status(running, access.reader, 200)
    seen = await running.http.get("/api/v1/logs", headers=access.reader)
    assert seen.json()["total"]["value"] == len(SAME_IDS)
    assert len(await running.stored(access.tenant)) == len(SAME_IDS)


async def test_a_suspended_tenant_is_refused_and_keeps_what_was_acknowledged(running: Any):
    access = await running.tenant()
    await running.post_lines(access, events_of(access.tenant.id))
    await running.maker.provisioner.suspend(access.tenant.id, owner="cli")
    await eventually_status(running, access.reader, 403)
    refused = await running.http.get("/api/v1/logs", headers=access.reader)
    assert refused.json()["code"] == "tenant_suspended"
    await running.until_stored(access.tenant, len(SAME_IDS))
    await running.maker.provisioner.resume(access.tenant.id, owner="cli")
    await eventually_status(running, access.reader, 200)


async def test_isolation_of_a_tenant_can_not_be_changed(running: Any):
    access = await running.tenant()
    with pytest.raises(ProvisioningError, match="isolation"):
        await running.tenant(access.tenant.id, Isolation.SHARED)


async def eventually_status(running: Any, headers: dict[str, str], status: int) -> None:
    """Wait until the api knows of a change; it asks the registry once a second."""
    for _ in range(600):
        answer = await running.http.get("/api/v1/logs", params={"limit": 1}, headers=headers)
        if answer.status_code == status:
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"the api went on answering {answer.status_code}, not {status}")
