"""The aliases of a space: which there should be, and what restores them.

An index has three: its own, under which it is written; its period's, and its space's, under which
people search. The index of a period that is searched has all of them. A second index of a period,
which a rebuild fills or has replaced, has its own alias only.
"""

from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from ocelot_common.names import write_alias
from ocelot_common.registry.model import Space

#: The aliases of each index.
Present = Mapping[str, AbstractSet[str]]


def alias_actions(space: Space, present: Present) -> list[dict[str, Any]]:
    """Return the actions of one `_aliases` request that restores the aliases of a space.

    An index that does not exist gets none, and neither does what points to another index in its
    place: it has to be made first.

    Args:
        space: as the registry has it.
        present: all indices that exist, or at least those whose names are the space's.
    """
    wanted: dict[str, set[str]] = defaultdict(set)
    target: dict[str, str] = {}  # of aliases that lead to one index
    for entry in space.indices:
        wanted[entry.index] |= {entry.alias, space.alias}
        target[entry.alias] = entry.index
        for index in entry.written:
            wanted[index].add(write_alias(index))
            target[write_alias(index)] = index
    add = [
        {"add": {"index": index, "alias": alias}}
        for index, aliases in sorted(wanted.items())
        if index in present
        for alias in sorted(aliases - present[index])
    ]
    remove = [
        {"remove": {"index": index, "alias": alias, "must_exist": False}}
        for index, aliases in sorted(present.items())
        for alias in sorted(aliases - wanted.get(index, set()))
        if target.get(alias) in present or (alias == space.alias and _is_stray(space, index))
    ]
    return [*add, *remove]


def _is_stray(space: Space, index: str) -> bool:
    """Whether an index behind the space's alias does not belong there.

    One with a name of ours that the registry does not know may have been made just now.
    """
    replaced = {retired.index for retired in space.retired_indices}
    replaced |= {entry.beside for entry in space.indices if entry.beside is not None}
    return index in replaced or not index.startswith(f"{space.alias}_")
