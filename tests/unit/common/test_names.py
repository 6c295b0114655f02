from datetime import UTC, datetime, timedelta, timezone
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocelot_common.names import (
    RESERVED_TENANT_IDS,
    SHARED_SPACE,
    UID,
    Period,
    check_tenant_id,
    index_name,
    new_uid,
    period_alias,
    period_at,
    space_name,
)

tenant_ids = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True).filter(
    lambda text: text not in RESERVED_TENANT_IDS
)
uids = st.text("0123456789abcdef", min_size=16, max_size=16)
moments = st.datetimes(
    max_value=datetime(9999, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    timezones=st.integers(-23, 23).map(lambda hours: timezone(timedelta(hours=hours))),
    min_value=datetime(2, 1, 1),  # noqa: DTZ001
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def names_of(tenant_id: str, uid: str, *, first: bool) -> set[str]:
    space = space_name(tenant_id, uid, first=first)
    aliases = {period_alias(space, period_at(period, at("2026-11-24")).label) for period in Period}
    return {space} | aliases | {index_name(alias, 1) for alias in aliases}


@pytest.mark.parametrize("tenant_id", ["a", "0", "acme", "acme-corp", "a--b", "x" * 40, "4711"])
def test_a_tenant_may_be_called(tenant_id: str) -> None:
    check_tenant_id(tenant_id)


@pytest.mark.parametrize(
    "tenant_id",
    ["", "-a", "a-", "-", "x" * 41, "Acme", "a_b", "a.b", "a*", "a b", "a/b", "acme\n", "ä", "٣"],
    ids=ascii,
)
def test_no_tenant_may_be_called(tenant_id: str) -> None:
    with pytest.raises(ValueError, match="tenant id"):
        check_tenant_id(tenant_id)


@pytest.mark.parametrize("tenant_id", sorted(RESERVED_TENANT_IDS))
def test_reserved_is(tenant_id: str) -> None:
    with pytest.raises(ValueError, match="reserved"):
        check_tenant_id(tenant_id)


def test_the_shared_space_can_be_no_tenants() -> None:
    shared = SHARED_SPACE.removeprefix("logs_")
    with pytest.raises(ValueError, match="reserved"):
        check_tenant_id(shared)
    assert space_name(shared, "0" * 16, first=True) == SHARED_SPACE


def test_a_uid_is_16_hex_characters_and_each_differs() -> None:
    made = {new_uid() for _ in range(100)}
    assert len(made) == 100
    assert all(UID.fullmatch(uid) for uid in made)


def test_names_of_a_first_incarnation_are_readable() -> None:
    assert names_of("acme", "0123456789abcdef", first=True) == {
        "logs_acme",
        "logs_acme_2026-11",
        "logs_acme_2026-q4",
        "logs_acme_2026",
        "logs_acme_2026-11_000001",
        "logs_acme_2026-q4_000001",
        "logs_acme_2026_000001",
    }


def test_a_later_incarnation_has_a_space_of_its_own() -> None:
    assert space_name("acme", "0123456789abcdef", first=False) == "logs_acme_0123456789abcdef"


def test_no_pattern_for_the_parts_of_acme_takes_a_name_of_acme_corp() -> None:
    names = names_of("acme-corp", "1" * 16, first=True) | names_of(
        "acme-corp", "2" * 16, first=False
    )
    assert not [name for name in names if fnmatchcase(name, "logs_acme_*")]
    assert not [name for name in names if name.startswith("logs_acme_")]


@given(tenant_ids, tenant_ids, uids, uids, st.booleans(), st.booleans())
def test_two_incarnations_never_share_a_name_and_no_alias_begins_like_anothers_space(
    one: str, other: str, uid: str, other_uid: str, first: bool, other_first: bool
) -> None:
    same = one == other and ((first and other_first) or (first == other_first and uid == other_uid))
    shared = names_of(one, uid, first=first) & names_of(other, other_uid, first=other_first)
    assert bool(shared) is same
    if one != other:
        prefix = f"logs_{one}_"
        assert not any(
            name.startswith(prefix) for name in names_of(other, other_uid, first=other_first)
        )


@given(tenant_ids, uids)
def test_every_name_is_one_that_mongodb_and_opensearch_take(tenant_id: str, uid: str) -> None:
    for name in names_of(tenant_id, uid, first=False):
        assert name == name.lower()
        assert len(name.encode()) < 120
        assert not set(name) & set('\\/*?"<>| ,#:$\0')


PERIODS: dict[str, tuple[Period, str, str, str, str]] = {
    "a month": (Period.MONTH, "2026-11-24T12:00", "2026-11-01", "2026-12-01", "2026-11"),
    "the first moment of a month": (
        Period.MONTH, "2026-11-01T00:00", "2026-11-01", "2026-12-01", "2026-11"),
    "the last month of a year": (
        Period.MONTH, "2026-12-31T23:59:59.999999", "2026-12-01", "2027-01-01", "2026-12"),
    "a February of 29 days": (Period.MONTH, "2028-02-29", "2028-02-01", "2028-03-01", "2028-02"),
    "the first quarter": (Period.QUARTER, "2026-03-31T23:59", "2026-01-01", "2026-04-01",
                          "2026-Q1"),
    "the second quarter": (Period.QUARTER, "2026-04-01", "2026-04-01", "2026-07-01", "2026-Q2"),
    "the last quarter": (Period.QUARTER, "2026-12-31T23:59", "2026-10-01", "2027-01-01",
                         "2026-Q4"),
    "a year": (Period.YEAR, "2026-01-01", "2026-01-01", "2027-01-01", "2026"),
    "the end of a year": (Period.YEAR, "2026-12-31T23:59:59.999", "2026-01-01", "2027-01-01",
                          "2026"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("period", "moment", "start", "end", "label"), PERIODS.values(), ids=PERIODS
)
def test_the_calendar_period_of(
    period: Period, moment: str, start: str, end: str, label: str
) -> None:
    assert period_at(period, at(moment)) == (at(start), at(end), label)


def test_periods_are_those_of_utc() -> None:
    moment = datetime(2027, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert period_at(Period.MONTH, moment).label == "2026-12"


@given(st.sampled_from(Period), moments)
def test_a_period_holds_its_moment_and_the_next_begins_where_it_ends(
    period: Period, moment: datetime
) -> None:
    found = period_at(period, moment)
    assert found.start <= moment < found.end
    assert period_at(period, found.start) == found
    following = period_at(period, found.end)
    assert following.start == found.end
    assert following.label > found.label


def test_a_rebuild_makes_the_next_generation_behind_the_same_alias() -> None:
    alias = period_alias("logs_acme", "2026-Q4")
    assert [index_name(alias, number) for number in (1, 12)] == [
        "logs_acme_2026-q4_000001",
        "logs_acme_2026-q4_000012",
    ]
