"""What restores the aliases of a space; OpenSearch itself is asked in tests/integration."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from ocelot_common.names import write_alias
from ocelot_common.provisioning.aliases import alias_actions
from ocelot_common.registry.model import IndexRange, Space

NOVEMBER = IndexRange(
    start=datetime(2026, 11, 1, tzinfo=UTC),
    end=datetime(2026, 12, 1, tzinfo=UTC),
    alias="logs_acme_2026-11",
    index="logs_acme_2026-11_000002",
    beside="logs_acme_2026-11_000001",
)
DECEMBER = IndexRange(
    start=datetime(2026, 12, 1, tzinfo=UTC),
    end=datetime(2027, 1, 1, tzinfo=UTC),
    alias="logs_acme_2026-12",
    index="logs_acme_2026-12_000001",
)
SPACE = Space(
    name="logs_acme",
    version=1,
    key="k",
    collection="logs_acme",
    search_enabled=True,
    alias="logs_acme",
    indices=[NOVEMBER, DECEMBER],
)
OLD, NEW, NEXT = "logs_acme_2026-11_000001", "logs_acme_2026-11_000002", "logs_acme_2026-12_000001"


def whole() -> dict[str, set[str]]:
    """Every index with the aliases that it should have."""
    return {
        OLD: {write_alias(OLD)},
        NEW: {write_alias(NEW), "logs_acme_2026-11", "logs_acme"},
        NEXT: {write_alias(NEXT), "logs_acme_2026-12", "logs_acme"},
        "logs_acme-corp_2026-11_000001": {"logs_acme-corp", "logs_acme-corp_2026-11"},
        "others": {"something"},
    }


def actions(present: dict[str, set[str]], space: Space = SPACE) -> list[tuple[str, str, str]]:
    given: list[dict[str, Any]] = alias_actions(space, present)
    return [
        (verb, each["index"], each["alias"]) for action in given for verb, each in action.items()
    ]


def test_a_space_whose_aliases_are_right_needs_no_action():
    assert actions(whole()) == []


@pytest.mark.parametrize(
    ("index", "alias"),
    [(index, alias) for index in (OLD, NEW, NEXT) for alias in sorted(whole()[index])],
)
def test_each_alias_that_is_missing_is_added(index: str, alias: str):
    present = whole()
    present[index].remove(alias)
    assert actions(present) == [("add", index, alias)]


@pytest.mark.parametrize(
    ("index", "alias"),
    [
        (OLD, "logs_acme"),
        (OLD, "logs_acme_2026-11"),
        (NEXT, "logs_acme_2026-11"),
        ("others", "logs_acme"),
        ("others", "logs_acme_2026-12"),
        ("others", write_alias(NEW)),
        ("logs_acme-corp_2026-11_000001", "logs_acme"),
    ],
)
def test_an_alias_that_leads_to_another_index_too_leaves_it(index: str, alias: str):
    present = whole()
    present[index].add(alias)
    assert actions(present) == [("remove", index, alias)]


def test_an_alias_that_leads_to_another_index_is_moved_in_one_request():
    present = whole()
    present[NEW].remove("logs_acme_2026-11")
    present["others"].add("logs_acme_2026-11")
    assert actions(present) == [
        ("add", NEW, "logs_acme_2026-11"),
        ("remove", "others", "logs_acme_2026-11"),
    ]


def test_an_index_that_was_just_made_keeps_its_aliases_until_the_registry_knows_it():
    present = whole()
    made = "logs_acme_2027-01_000001"
    present[made] = {write_alias(made), "logs_acme_2027-01", "logs_acme"}
    assert actions(present) == []


def test_an_index_that_does_not_exist_gets_no_alias_and_what_stands_in_for_it_keeps_its_own():
    present = whole()
    del present[NEXT]
    present["others"] |= {"logs_acme_2026-12", write_alias(NEXT)}
    assert actions(present) == []


def test_an_index_that_a_rebuild_replaced_and_that_is_kept_is_not_searched():
    space = msgspec.structs.replace(
        SPACE, indices=[msgspec.structs.replace(NOVEMBER, beside=None), DECEMBER]
    ).with_retired(OLD, datetime(2026, 12, 1, tzinfo=UTC))
    present = whole()
    assert actions(present, space) == []
    present[OLD].add("logs_acme")
    assert actions(present, space) == [("remove", OLD, "logs_acme")]
