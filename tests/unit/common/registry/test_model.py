from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from ocelot_common.registry.model import (
    IndexRange,
    Isolation,
    Owner,
    PendingRetention,
    ResourceOwner,
    Space,
    Tenant,
    TenantState,
    is_owner,
)
from ocelot_common.timestamps import now_ms, to_ms

Make = Callable[..., Tenant]

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MS = timedelta(milliseconds=1)

CUTOFFS: dict[str, tuple[int | None, datetime | None, datetime]] = {
    "nothing ends": (None, None, datetime(1970, 1, 1, tzinfo=UTC)),
    "retention": (30, None, NOW - 30 * DAY),
    "no day is kept": (0, None, NOW),
    "a purge": (None, NOW - 5 * DAY, NOW - 5 * DAY),
    "a purge later than retention": (30, NOW - 5 * DAY, NOW - 5 * DAY),
    "a purge earlier than retention": (30, NOW - 50 * DAY, NOW - 30 * DAY),
}


@pytest.mark.parametrize(("days", "purged", "cutoff"), CUTOFFS.values(), ids=CUTOFFS)
def test_the_cutoff_is_the_later_of_purge_and_retention_for(
    make_tenant: Make, days: int | None, purged: datetime | None, cutoff: datetime
) -> None:
    tenant = make_tenant(retention_days=days, purged_before=purged)
    assert tenant.cutoff_ms(to_ms(NOW)) == to_ms(cutoff)


def test_a_purge_within_a_millisecond_takes_the_milliseconds_before(make_tenant: Make) -> None:
    tenant = make_tenant(purged_before=NOW + timedelta(microseconds=999))
    assert tenant.cutoff_ms(to_ms(NOW)) == to_ms(NOW)


def test_the_cutoff_moves_with_the_clock(make_tenant: Make) -> None:
    before = now_ms()
    cutoff = make_tenant(retention_days=1).cutoff_ms()
    assert before <= cutoff + 24 * 3600 * 1000 <= now_ms()


def test_a_shorter_retention_takes_effect_after_the_delay(make_tenant: Make) -> None:
    tenant = make_tenant(retention_days=365).with_retention(30, now=NOW, delay=DAY)
    for moment, days in ((NOW, 365), (NOW + DAY - MS, 365), (NOW + DAY, 30), (NOW + 9 * DAY, 30)):
        assert tenant.retention_days_at(to_ms(moment)) == days
        assert tenant.cutoff_ms(to_ms(moment)) == to_ms(moment - days * DAY)


@pytest.mark.parametrize(
    ("present", "days"), [(30, 31), (30, None), (None, None), (30, 30)], ids=str
)
def test_a_retention_that_is_not_shorter_takes_effect_at_once(
    make_tenant: Make, present: int | None, days: int | None
) -> None:
    tenant = make_tenant(retention_days=present).with_retention(days, now=NOW, delay=DAY)
    assert (tenant.retention_days, tenant.pending_retention) == (days, None)


def test_the_first_retention_is_shorter_than_none(make_tenant: Make) -> None:
    tenant = make_tenant(retention_days=None).with_retention(30, now=NOW, delay=DAY)
    assert tenant.retention_days is None
    assert tenant.pending_retention == PendingRetention(days=30, effective_at=NOW + DAY)


def test_asking_for_the_same_shorter_retention_again_delays_nothing(make_tenant: Make) -> None:
    once = make_tenant(retention_days=365).with_retention(30, now=NOW, delay=DAY)
    assert once.with_retention(30, now=NOW + DAY / 2, delay=DAY) == once
    in_force = once.with_retention(30, now=NOW + DAY, delay=DAY)
    assert (in_force.retention_days, in_force.pending_retention) == (30, None)


def test_another_retention_ends_what_is_pending(make_tenant: Make) -> None:
    pending = make_tenant(retention_days=365).with_retention(30, now=NOW, delay=DAY)
    later = NOW + DAY / 2
    same = pending.with_retention(365, now=later, delay=DAY)
    assert (same.retention_days, same.pending_retention) == (365, None)
    less = pending.with_retention(90, now=later, delay=DAY)
    assert less.pending_retention == PendingRetention(days=90, effective_at=later + DAY)
    assert less.retention_days_at(to_ms(NOW + DAY)) == 365
    after = pending.with_retention(90, now=NOW + 2 * DAY, delay=DAY)
    assert (after.retention_days, after.pending_retention) == (90, None)


@pytest.mark.parametrize("state", TenantState)
def test_only_a_deleted_incarnation_is_not_live(make_tenant: Make, state: TenantState) -> None:
    assert make_tenant(state=state).live is (state is not TenantState.DELETED)


def test_only_the_shared_tier_is_shared(make_tenant: Make) -> None:
    assert make_tenant(isolation=Isolation.SHARED).shared
    assert not make_tenant(isolation=Isolation.DEDICATED).shared


def month(number: int) -> IndexRange:
    return IndexRange(
        start=datetime(2026, number, 1, tzinfo=UTC),
        end=datetime(2026, number + 1, 1, tzinfo=UTC),
        alias=f"logs_acme_2026-{number:02d}",
        index=f"logs_acme_2026-{number:02d}_000001",
    )


def test_a_range_holds_its_start_and_not_its_end() -> None:
    november = month(11)
    assert november.covers(november.start)
    assert november.covers(november.end - timedelta(microseconds=1))
    assert not november.covers(november.end)
    assert not november.covers(november.start - timedelta(microseconds=1))


def test_a_space_finds_the_one_range_of_a_moment() -> None:
    space = Space(
        name="logs_acme", version=1, key="k", collection="logs_acme", search_enabled=True,
        alias="logs_acme", indices=[month(9), month(11)],
    )  # fmt: skip
    assert space.range_at(NOW) == month(11)
    assert space.range_at(month(11).start) == month(11)
    assert space.range_at(datetime(2026, 10, 15, tzinfo=UTC)) is None
    assert space.range_at(month(11).end) is None


RESOURCE = ResourceOwner(kind="Tenant", cluster="c", namespace="team", name="acme", uid="1")
OWNERS: dict[str, tuple[Owner, Owner, bool]] = {
    "the same text": ("cli", "cli", True),
    "another text": ("cli", "team/acme", False),
    "the same resource": (RESOURCE, RESOURCE, True),
    "the resource made again": (RESOURCE, msgspec.structs.replace(RESOURCE, uid="2"), True),
    "another kind": (RESOURCE, msgspec.structs.replace(RESOURCE, kind="Other"), False),
    "another cluster": (RESOURCE, msgspec.structs.replace(RESOURCE, cluster="d"), False),
    "another namespace": (RESOURCE, msgspec.structs.replace(RESOURCE, namespace="other"), False),
    "another name": (RESOURCE, msgspec.structs.replace(RESOURCE, name="other"), False),
    "a person who names the resource": (RESOURCE, "Tenant/c/team/acme", True),
    "a person who names another": (RESOURCE, "Tenant/c/team/other", False),
    "a resource that a person's text names": ("Tenant/c/team/acme", RESOURCE, False),
}


@pytest.mark.parametrize(("recorded", "asking", "allowed"), OWNERS.values(), ids=OWNERS)
def test_an_owner_is(recorded: Owner, asking: Owner, *, allowed: bool) -> None:
    assert is_owner(recorded, asking) is allowed
