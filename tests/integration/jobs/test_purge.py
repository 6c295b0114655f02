"""What has passed its cutoff is deleted from both stores, unless it is held."""

import asyncio
import secrets
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from ocelot_common.dead_letters import DeadLetter, DeadLetterStore, Reason, Stage
from ocelot_common.holds import HoldStore
from ocelot_common.ids import format_id, new_id
from ocelot_common.provisioning.claiming import TenantSpec
from ocelot_common.provisioning.errors import HeldError, OwnerError, ProvisioningError
from ocelot_common.provisioning.tenants import Provisioner
from ocelot_common.registry.model import Home, Isolation, Tenant, TenantState
from ocelot_common.stored import build_document
from ocelot_common.timestamps import now_ms, to_datetime, to_ms
from ocelot_jobs import purge as purge_module
from ocelot_jobs.metrics import JobsMetrics
from ocelot_jobs.purge import Purge

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

BOTH_TIERS = pytest.mark.parametrize("isolation", list(Isolation))
DAY_MS = 24 * 3600 * 1000
TEXT = b'{"action":"doc.read","actor":{"id":"u"}}'


async def found_by(running: Any, access: Any) -> set[str]:
    answer = await running.http.get("/api/v1/logs", headers=access.reader, params={"limit": 1000})
    assert answer.status_code == 200, answer.text
    return {item["id"] for item in answer.json()["items"]}


async def until_gone(running: Any, access: Any, ids: set[str]) -> None:
    async def gone() -> bool:
        stored = {format_id(event.id) for event in await running.stored(access.tenant)}
        indexed = set(await running.indexed_ids(access.tenant))
        return not ids & (stored | indexed)

    await running.eventually(gone, timeout_sec=300, what="the purge")


async def purged(jobs: Any, access: Any) -> dict[str, Any]:
    (job,) = await jobs.list(access, kind="purge")
    return dict(job)


@BOTH_TIERS
async def test_old_events_vanish_at_once_and_are_deleted_from_both_stores(
    running: Any, jobs: Any, arrive: Any, until_settled: Any, isolation: Isolation
):
    access = await running.tenant(isolation=isolation)
    other = await running.tenant(isolation=isolation)
    old = set(await arrive(access, days_ago=40, number=1_200))
    young = set(await arrive(access, days_ago=5, number=30))
    theirs = set(await arrive(other, days_ago=40, number=30))
    await until_settled(access, len(old | young))
    await until_settled(other, len(theirs))
    await running.set_tenant(access.tenant, retention_days=30)

    async def hidden() -> bool:
        return await found_by(running, access) == young

    await running.eventually(hidden, timeout_sec=300, what="the cutoff at the api")
    one = next(iter(old))
    read = await running.http.get(f"/api/v1/logs/{one}", headers=access.reader)
    assert read.status_code == 404
    counted = await running.http.get(
        "/api/v1/logs/stats", headers=access.reader, params={"group_by": "action"}
    )
    assert counted.json()["total"] == len(young)
    await until_gone(running, access, old)
    assert set(await running.indexed_ids(access.tenant)) == young
    assert {format_id(event.id) for event in await running.stored(access.tenant)} == young
    assert set(await running.indexed_ids(other.tenant)) == theirs
    assert await found_by(running, other) == theirs
    job = await purged(jobs, access)
    assert job["recurring"]
    assert job["errors"] == []
    assert await jobs.list(other, kind="purge") == []


async def test_a_shorter_retention_hides_and_deletes_events_after_its_delay_only(
    running: Any, jobs: Any, arrive: Any, until_settled: Any
):
    provisioner = Provisioner(running.maker.store, None, retention_delay=timedelta(seconds=12))
    access = await running.tenant()
    old = set(await arrive(access, days_ago=40, number=50))
    await until_settled(access, len(old))
    change = partial(provisioner.update, access.tenant.id, owner="cli")

    await change(retention_days=30)
    assert await found_by(running, access) == old
    corrected = await change(retention_days=None)
    assert corrected.pending_retention is None
    # Longer than every process needs to read the registry.
    await asyncio.sleep(18)
    assert await found_by(running, access) == old
    assert len(await running.stored(access.tenant)) == len(old)

    pending = (await change(retention_days=30)).pending_retention
    assert pending is not None

    async def hidden() -> bool:
        return await found_by(running, access) == set()

    await running.eventually(hidden, timeout_sec=300, what="the shorter retention at the api")
    assert datetime.now(UTC) >= pending.effective_at
    await until_gone(running, access, old)


async def test_applying_a_spec_makes_a_tenant_and_then_changes_it(running: Any):
    provisioner = Provisioner(running.maker.store, None)
    spec = TenantSpec(
        id=f"t{secrets.token_hex(5)}", owner="cli", display_name="Acme", retention_days=365
    )
    made = await provisioner.apply(spec)
    assert (made.display_name, made.retention_days) == ("Acme", 365)
    # What is met writes nothing: each write has every process read the registry.
    version = await running.maker.store.version()
    assert (await provisioner.apply(spec)).uid == made.uid
    assert await running.maker.store.version() == version

    longer = msgspec.structs.replace(spec, display_name="Acme Corp", retention_days=400)
    changed = await provisioner.apply(longer)
    assert (changed.uid, changed.display_name) == (made.uid, "Acme Corp")
    assert (changed.retention_days, changed.pending_retention) == (400, None)
    shorter = await provisioner.apply(msgspec.structs.replace(longer, retention_days=30))
    again = await provisioner.apply(msgspec.structs.replace(longer, retention_days=30))
    assert (shorter.retention_days, shorter.pending_retention.days) == (400, 30)
    assert to_ms(again.pending_retention.effective_at) == to_ms(
        shorter.pending_retention.effective_at
    )
    with pytest.raises(OwnerError):
        await provisioner.apply(msgspec.structs.replace(spec, owner="somebody/else"))
    with pytest.raises(ProvisioningError):
        await provisioner.apply(msgspec.structs.replace(spec, retention_days=0))
    await provisioner.delete(spec.id, owner="cli")
    with pytest.raises(ProvisioningError):
        await provisioner.update(spec.id, owner="cli", display_name="gone")


async def test_with_a_hold_nothing_is_deleted_until_it_is_lifted(
    running: Any, jobs: Any, arrive: Any, until_settled: Any
):
    access = await running.tenant()
    old = set(await arrive(access, days_ago=40, number=50))
    await until_settled(access, len(old))
    letters = DeadLetterStore(running.database)
    await letters.put([letter(access.tenant, days_ago=40)])
    holds = HoldStore(running.database)
    hold = await holds.place(access.tenant.uid, reason="case 4711", owner="cli")
    await running.set_tenant(access.tenant, retention_days=30)

    async def held() -> bool:
        found = await jobs.list(access, kind="purge")
        return bool(found and found[0]["progress"].get("held") == 1 and found[0]["finished_at"])

    await running.eventually(held, timeout_sec=300, what="a purge that met the hold")
    assert {format_id(event.id) for event in await running.stored(access.tenant)} == old
    assert set(await running.indexed_ids(access.tenant)) == old
    assert len([each async for each in letters.find(uid=access.tenant.uid)]) == 1
    with pytest.raises(HeldError, match="legal hold"):
        await running.maker.provisioner.delete(access.tenant.id, owner="cli", now=True)
    assert {format_id(event.id) for event in await running.stored(access.tenant)} == old
    assert await holds.lift(hold.id)
    await until_gone(running, access, old)

    async def forgotten() -> bool:
        return [each async for each in letters.find(uid=access.tenant.uid)] == []

    await running.eventually(forgotten, what="the dead letter's purge")


async def test_a_hold_that_is_placed_stops_a_purge_that_is_under_way(running: Any, arrive: Any):
    """From the moment that `place` returns, not one more event goes."""
    access = await running.tenant()
    await arrive(access, days_ago=40, number=4_000)
    await arrive(access, days_ago=40, number=4_000)
    await running.until_stored(access.tenant, 8_000)
    await running.set_tenant(access.tenant, retention_days=30)

    async def begun() -> bool:
        return await count(running, access) < 8_000

    await running.eventually(begun, timeout_sec=300, what="the purge")
    await HoldStore(running.database).place(access.tenant.uid, reason="now", owner="cli")
    left = await count(running, access)
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        await asyncio.sleep(0.2)
        assert await count(running, access) == left


class FreeLease:
    """A lease that nobody can lose.

    Attributes:
        doomed: how many events each batch had.
        done: how many documents were deleted up to the end of each batch.
    """

    def __init__(self) -> None:
        self.doomed: list[int] = []
        self.done: list[int] = []

    async def save(
        self, *, checkpoint: dict[str, Any], progress: dict[str, int], session: Any
    ) -> None:
        self.doomed.append(len(checkpoint["doomed"]))
        self.done.append(progress["done"])


#: Keys of documents that no tenant's event has.
ODD_KEYS: Any = {
    "text": secrets.token_hex,
    "an object": lambda: {"a": secrets.token_hex()},
}


@pytest.mark.parametrize("odd_key", [None, *ODD_KEYS])
async def test_a_batch_of_a_purge_is_bounded_by_bytes(
    running: Any, monkeypatch: pytest.MonkeyPatch, odd_key: str | None
):
    monkeypatch.setattr(purge_module, "MAX_BATCH_BYTES", 200_000)
    access = await running.tenant()
    space = await running.space_of(access.tenant)
    text = b'{"action":"a","actor":{"id":"u"},"message":"%s"}' % (b"x" * 30_000)
    old = [
        build_document(
            access.tenant,
            new_id(),
            text,
            received_at=now_ms() - 40 * DAY_MS,
            writer="w",
            with_attrs=False,
        )
        for _ in range(20)
    ]
    if odd_key:
        old = [document | {"_id": ODD_KEYS[odd_key]()} for document in old]
    await running.database[space.collection].insert_many(old)
    store = running.maker.store
    purge = Purge(
        store=store,
        provisioner=running.maker.provisioner,
        holds=HoldStore(store.database),
        dead_letters=DeadLetterStore(store.database),
        opensearch=running.search,
        metrics=JobsMetrics(CollectorRegistry()),
    )
    home = Home(msgspec.structs.replace(access.tenant, retention_days=30), space)
    lease: Any = FreeLease()
    numbers = {"done": 0, "dead_letters": 0, "held": 0}
    while await purge._delete_batch(lease, home, numbers):
        pass
    assert lease.done == [6, 12, 18, 20, 20]
    assert lease.doomed == ([0] * 5 if odd_key else [6, 6, 6, 2, 0])
    assert numbers["done"] == 20
    assert await count(running, access) == 0


async def count(running: Any, access: Any) -> int:
    space = await running.space_of(access.tenant)
    found: int = await running.database[space.collection].count_documents({})
    return found


async def test_an_index_of_which_nothing_is_left_goes(
    running: Any, arrive: Any, until_settled: Any
):
    access = await running.tenant()
    old = set(await arrive(access, days_ago=100, number=20))
    await until_settled(access, len(old))
    moment = to_datetime(now_ms() - 100 * DAY_MS)
    await running.set_tenant(access.tenant, retention_days=30)
    await until_gone(running, access, old)

    async def gone() -> bool:
        space = await running.space_of(access.tenant)
        # But for those that a rebuild replaced, which are kept for a day.
        tomorrow = datetime.now(UTC) + timedelta(hours=23)
        due = [each for each in space.retired_indices if each.drop_after < tomorrow]
        return space.range_at(moment) is None and not due

    await running.eventually(gone, timeout_sec=300, what="the end of the index")
    assert await found_by(running, access) == set()


async def test_a_deleted_tenant_is_purged_when_its_time_is_over(running: Any, jobs: Any):
    access = await running.tenant()
    await running.post_lines(access, [TEXT])
    await running.until_indexed(access.tenant, 1)
    indices = (await running.space_of(access.tenant)).indices
    await running.maker.provisioner.delete(access.tenant.id, owner="cli")
    await asyncio.sleep(3)  # a purge comes by, and leaves it alone
    assert len(await running.stored(access.tenant)) == 1
    over = datetime.now(UTC) - timedelta(seconds=1)
    await running.set_tenant(access.tenant, purge_after=over)

    async def tombstone() -> bool:
        tenant = await running.maker.store.tenant(access.tenant.uid)
        return tenant.state is TenantState.DELETED and tenant.purged_at is not None

    await running.eventually(tombstone, timeout_sec=300, what="the tenant's end")
    assert await running.stored(access.tenant) == []
    for entry in indices:
        assert not await running.search.indices.exists(index=entry.index)

    async def ended() -> bool:
        found = await running.database["jobs"].find({"t": access.tenant.uid}).to_list()
        return [job["live"] for job in found] == [False]

    await running.eventually(ended, what="the purge job's end")


def letter(tenant: Tenant, *, days_ago: int) -> DeadLetter:
    return DeadLetter(
        stage=Stage.STORE,
        reason=Reason.CONFLICT,
        uid=tenant.uid,
        event_id=new_id(),
        content=TEXT.decode(),
        detail="because",
        received_at=now_ms() - days_ago * DAY_MS,
        writer="w",
    )
