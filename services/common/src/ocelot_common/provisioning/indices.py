"""The OpenSearch indices of a space, one a period, made explicitly and never by a write."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Any, Final

from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import NotFoundError, RequestError

from ocelot_common.names import PeriodRange, index_name, period_alias, period_at, write_alias
from ocelot_common.opensearch import error_type
from ocelot_common.provisioning.aliases import Present, alias_actions
from ocelot_common.registry.model import IndexRange, Space
from ocelot_common.registry.store import RegistryStore, RegistryTransaction
from ocelot_common.search_document import REFRESH_INTERVAL, index_body, replica_settings
from ocelot_common.telemetry.logs import get_logger

Document = dict[str, Any]

_MAX_GENERATIONS: Final = 1_000

log = get_logger(__name__)


class NoIndexError(Exception):
    """The space has no search index, or none any more."""


class ForeignIndexError(Exception):
    """Indices with names that are wanted exist and are not this installation's.

    Attributes:
        indices: these.
    """

    def __init__(self, indices: AbstractSet[str]) -> None:
        super().__init__(
            f"indices of another installation or program: {', '.join(sorted(indices))};"
            " set OCELOT_INDEX_PREFIX to keep this installation's names apart"
        )
        self.indices = indices


class IndexMaker:
    """Makes the index of a period where it is missing, and records it in the registry."""

    def __init__(self, store: RegistryStore, opensearch: AsyncOpenSearch) -> None:
        self._store = store
        self._opensearch = opensearch

    async def ensure_period(self, space_name: str, moment: datetime) -> Space:
        """Make sure that events received at `moment` have an index with all its aliases.

        An index that is made for a range which holds documents is marked `building`: it may lack
        some of them, and a silently empty index would be a lie.

        Raises:
            NoIndexError: no such space, or its search is off.
            opensearchpy.exceptions.TransportError: OpenSearch is away or refuses.
            pymongo.errors.PyMongoError: the registry is away.
        """
        space = await self._store.space(space_name)
        if space is None or space.retired or not space.search_enabled:
            raise NoIndexError(f"The space {space_name!r} has no search index.")
        period = period_at(space.period, moment)
        known = space.range_at(moment)
        present = await self.present(space)
        if known is not None and known.index in present:
            try:
                await self.restore_aliases(space, present)
            except ForeignIndexError as error:
                if known.index not in error.indices:
                    # Of another period, which is seen to when its own turn comes.
                    return space
                # Ours was deleted, and something else was written under its name.
                log.warning("index_replaced", index=known.index, error=str(error))
            else:
                return space
        alias = known.alias if known else period_alias(space.alias, period.label)
        # An index of another name is another period's, or somebody else's.
        behind = [
            index for index in await self._indices_behind(alias) if index.startswith(f"{alias}_")
        ]
        if behind:  # made by a process that died before it recorded it
            index = behind[0]
            await self._check_ours(space, index)
            await self._opensearch.indices.put_alias(index=index, name=write_alias(index))
        else:
            index = await self._make(space, alias, _generation_after(known))
        building = await self._holds_documents(space, period)
        made = IndexRange(
            start=period.start, end=period.end, alias=alias, index=index, building=building
        )
        log.info("index_made", index=index, building=building)
        return await self._record(space.name, made)

    async def exists(self, index: str) -> bool:
        """Whether an index of ours is there and can be written."""
        return await self._indices_behind(write_alias(index)) == [index]

    async def present(self, space: Space | None = None) -> dict[str, frozenset[str]]:
        """The aliases of all indices, or of those whose names are a space's."""
        answer = await self._opensearch.indices.get_alias(
            index=f"{space.alias}_*" if space else None, params={"expand_wildcards": "all"}
        )
        return {index: frozenset(found["aliases"]) for index, found in answer.items()}

    async def restore_aliases(self, space: Space, present: Present) -> int:
        """Make the aliases of a space what the registry says; returns how many were wrong.

        One request, so that nobody finds a period's alias without an index; safe to repeat.

        Args:
            space: as the registry has it.
            present: what `present` returned.

        Raises:
            ForeignIndexError: indices that should get an alias are not this installation's. They
                are left as they are, and all others have their aliases.
        """
        actions = alias_actions(space, present)
        given = sorted({action["add"]["index"] for action in actions if "add" in action})
        foreign = {index for index in given if not await self._is_ours(space, index)}
        if foreign:
            ours = {index: present[index] for index in present.keys() - foreign}
            actions = alias_actions(space, ours)
        if actions:
            await self._opensearch.indices.update_aliases(body={"actions": actions})
            log.info("aliases_restored", space=space.name, aliases=len(actions))
        if foreign:
            raise ForeignIndexError(foreign)
        return len(actions)

    def next_index(self, space: Space, entry: IndexRange) -> str:
        """A name for the index that a rebuild of this range fills: of none that is kept."""
        used = {entry.index, *(retired.index for retired in space.retired_indices)}
        numbers = [_generation(name) for name in used if name.startswith(f"{entry.alias}_")]
        return index_name(entry.alias, max(numbers) + 1)

    async def make_next(self, space: Space, index: str) -> None:
        """Make an index to be filled: nobody finds it yet, and it refreshes when it is asked to.

        Safe to repeat.

        Raises:
            ForeignIndexError: another installation has an index of this name.
        """
        body = index_body(
            space_key=space.key, shards=space.shards, replicas=0, aliases=[write_alias(index)]
        )
        body["settings"]["index"]["refresh_interval"] = "-1"
        try:
            await self._opensearch.indices.create(index=index, body=body)
        except RequestError as error:
            if error_type(error) != "resource_already_exists_exception":
                raise
            await self._check_ours(space, index)
            await self._opensearch.indices.put_alias(index=index, name=write_alias(index))

    async def put_in_use(self, space: Space, index: str) -> None:
        """Give an index that was filled the settings of one that is searched; safe to repeat."""
        changed = {"refresh_interval": REFRESH_INTERVAL, **replica_settings(space.replicas)}
        await self._opensearch.indices.put_settings(index=index, body={"index": changed})
        await self._opensearch.indices.refresh(index=index)

    async def own(self, space: Space) -> list[str]:
        """The indices of a space that exist, also those that the registry does not know."""
        found = await self._opensearch.indices.get_mapping(
            index=f"{space.alias}_*", params={"expand_wildcards": "all"}
        )
        return sorted(index for index, each in found.items() if _space_key(each) == space.key)

    async def remove(self, index: str) -> None:
        """Delete an index by its name; one that is not there is no error."""
        try:
            await self._opensearch.indices.delete(index=index)
        except NotFoundError:
            return
        log.info("index_removed", index=index)

    async def _make(self, space: Space, alias: str, generation: int) -> str:
        for number in range(generation, generation + _MAX_GENERATIONS):
            name = index_name(alias, number)
            body = index_body(
                space_key=space.key,
                shards=space.shards,
                replicas=space.replicas,
                aliases=[alias, space.alias, write_alias(name)],
            )
            try:
                await self._opensearch.indices.create(index=name, body=body)
            except RequestError as error:
                if error_type(error) != "resource_already_exists_exception":
                    raise
                # Made by another process just now; or it is an old one that lost its alias, and
                # then the next generation is free.
                await self._check_ours(space, name)
                if behind := await self._indices_behind(alias):
                    return behind[0]
            else:
                return name
        raise RuntimeError(
            f"{_MAX_GENERATIONS} indices of {alias} exist, but the alias points to none of them"
        )

    async def _check_ours(self, space: Space, index: str) -> None:
        if not await self._is_ours(space, index):
            raise ForeignIndexError({index})

    async def _is_ours(self, space: Space, index: str) -> bool:
        answer = await self._opensearch.indices.get_mapping(index=index)
        return _space_key(answer[index]) == space.key

    async def _indices_behind(self, alias: str) -> list[str]:
        try:
            return sorted(await self._opensearch.indices.get_alias(name=alias))
        except NotFoundError:
            return []

    async def _holds_documents(self, space: Space, period: PeriodRange) -> bool:
        found = await self._store.database[space.collection].find_one(
            {"received_at": {"$gte": period.start, "$lt": period.end}}, {"_id": 1}
        )
        return found is not None

    async def _record(self, space_name: str, made: IndexRange) -> Space:
        async def work(transaction: RegistryTransaction) -> Space:
            space = await transaction.get(Space, space_name)
            if space is None or space.retired:
                raise NoIndexError(f"The space {space_name!r} was deleted.")
            present = space.range_at(made.start)
            if present is not None and present.index == made.index:
                return space
            changed = space.with_range(made)
            if present is not None and present.beside is not None:  # of a rebuild, in vain now
                changed = changed.with_retired(present.beside, made.start)
            await transaction.replace(changed)
            return changed

        return await self._store.write(work)

    async def ensure_ahead(self, space: Space, *, now: datetime | None = None) -> None:
        """Make the present period's index and the next one's."""
        moment = now or datetime.now(UTC)
        await self.ensure_period(space.name, moment)
        await self.ensure_period(space.name, period_at(space.period, moment).end)


def _space_key(described: Mapping[str, Any]) -> object:
    """What an index says of itself: the key of its space, or None where it is nobody's."""
    return described["mappings"].get("_meta", {}).get("space_key")


def _generation(index: str) -> int:
    return int(index.rpartition("_")[2])


def _generation_after(known: IndexRange | None) -> int:
    return 1 if known is None else max(map(_generation, known.written)) + 1
