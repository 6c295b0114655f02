"""Aliases that somebody removed or moved are what the registry says again, and lose no event."""

from typing import Any

import msgspec
import pytest

from ocelot_common.names import new_uid, write_alias
from ocelot_common.provisioning.indices import IndexMaker

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

LINE = msgspec.json.encode({"action": "document.update", "actor": {"id": "u"}})


async def aliases_of(running: Any, index: str) -> set[str]:
    answer = await running.search.indices.get_alias(index=index)
    return set(answer[index]["aliases"])


async def change(running: Any, *actions: tuple[str, str, str]) -> None:
    body = {"actions": [{verb: {"index": index, "alias": name}} for verb, index, name in actions]}
    await running.search.indices.update_aliases(body=body)


@pytest.mark.parametrize("which", ["period", "space", "write", "all"])
async def test_a_removed_alias_is_restored_and_the_index_stays_as_it_was(running: Any, which: str):
    access = await running.tenant()
    await running.post_lines(access, [LINE])
    await running.until_indexed(access.tenant, 1)
    space = await running.space_of(access.tenant)
    entry = space.indices[0]
    names = {"period": entry.alias, "space": space.alias, "write": write_alias(entry.index)}
    removed = list(names.values()) if which == "all" else [names[which]]
    await change(running, *(("remove", entry.index, name) for name in removed))

    async def restored() -> bool:
        return await aliases_of(running, entry.index) == set(names.values())

    await running.eventually(restored, what="the aliases")
    await running.post_lines(access, [LINE, LINE])
    await running.until_indexed(access.tenant, 3)
    assert (await running.space_of(access.tenant)).indices == space.indices
    answer = (await running.http.get("/api/v1/logs", headers=access.reader)).json()
    assert answer["backend"] == "opensearch"


async def test_aliases_that_lead_to_anothers_index_leave_it(running: Any):
    access = await running.tenant()
    space = await running.space_of(access.tenant)
    entry, foreign = space.indices[0], f"{space.alias.partition('_')[0]}_foreign-{new_uid()}"
    await running.search.indices.create(index=foreign)
    await change(
        running,
        ("add", foreign, space.alias),
        ("add", foreign, entry.alias),
        ("remove", entry.index, entry.alias),
    )

    async def restored() -> bool:
        own = await aliases_of(running, entry.index)
        return await aliases_of(running, foreign) == set() and {entry.alias, space.alias} <= own

    await running.eventually(restored, what="the aliases")
    assert await running.search.indices.exists(index=foreign), "only its aliases are ours"


@pytest.mark.usefixtures("jobs_stopped")
async def test_the_indexer_restores_an_index_without_aliases_by_itself(running: Any):
    access = await running.tenant()
    space = await running.space_of(access.tenant)
    entry = space.indices[0]
    names = (entry.alias, space.alias, write_alias(entry.index))
    await change(running, *(("remove", entry.index, name) for name in names))
    await running.post_lines(access, [LINE])
    await running.until_indexed(access.tenant, 1)
    assert await aliases_of(running, entry.index) == set(names)
    assert (await running.space_of(access.tenant)).indices == space.indices


@pytest.mark.usefixtures("jobs_stopped")
async def test_a_foreign_index_of_another_period_replaces_no_good_index(running: Any):
    access = await running.tenant()
    await running.post_lines(access, [LINE])
    await running.until_indexed(access.tenant, 1)
    space = await running.space_of(access.tenant)
    good, other = space.indices
    foreign = other.index
    await running.search.indices.delete(index=foreign)
    await running.search.index(index=foreign, id="theirs", body={"of": "somebody"})
    names = {good.alias, space.alias, write_alias(good.index)}
    await change(running, *(("remove", good.index, name) for name in names))

    maker = IndexMaker(running.maker.store, running.search)
    ensured = await maker.ensure_period(space.name, good.start)
    assert ensured.indices == space.indices, "the good index is searched as before"
    assert await aliases_of(running, good.index) == names

    made = (await maker.ensure_period(space.name, other.start)).range_at(other.start)
    assert made.index != foreign
    assert len(await running.indexed_ids(access.tenant)) == 1
    assert await aliases_of(running, made.index) == {
        other.alias, space.alias, write_alias(made.index)
    }  # fmt: skip
    assert await aliases_of(running, foreign) == set()
    assert (await running.search.get(index=foreign, id="theirs"))["found"]


@pytest.mark.usefixtures("jobs_stopped")
async def test_an_alias_that_leads_to_another_periods_index_makes_it_no_index_of_its_own(
    running: Any,
):
    access = await running.tenant()
    space = await running.space_of(access.tenant)
    good, other = space.indices
    await running.search.indices.delete(index=good.index)
    await change(running, ("add", other.index, good.alias))
    maker = IndexMaker(running.maker.store, running.search)
    made = (await maker.ensure_period(space.name, good.start)).range_at(good.start)
    assert made.index not in (good.index, other.index)
