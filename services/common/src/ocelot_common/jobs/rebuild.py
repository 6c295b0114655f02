"""What a rebuild is asked to do; api, CLI and the jobs themselves ask for one in the same way."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from ocelot_common.jobs.model import Job, JobKind
from ocelot_common.jobs.store import JobStore
from ocelot_common.registry.model import Home, Space

#: Ids in one job: its document stays far below MongoDB's limit of 16 MiB.
MAX_IDS: Final = 10_000


class RebuildPhase(StrEnum):
    """What a rebuild is at (ADR 0017), in this order; what is mended in place has one phase.

    Each new index is copied, compared and switched before the next one is copied.
    """

    SETTLING = "settling"  # until every process knows of the new index
    COPYING = "copying"
    COMPARING = "comparing"
    RETIRING = "retiring"  # until nobody searches the old index
    MENDING = "mending"


class RebuildSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of which space, and what of it: these ids, or everything received in [from, to).

    Attributes:
        received_from, received_to: None leaves that side open.
        ids: UUIDs of events of one tenant.
    """

    space: str
    received_from: datetime | None = None
    received_to: datetime | None = None
    ids: list[str] | None = None


async def request_rebuild_of_tenant(
    jobs: JobStore,
    home: Home,
    *,
    created_by: str,
    ids: Sequence[str] | None = None,
    received_from: datetime | None = None,
    received_to: datetime | None = None,
) -> Job:
    """Queue a rebuild of a tenant's search index.

    Raises:
        JobExistsError: one of this tenant is under way; ids may be asked for at any time.
    """
    spec = RebuildSpec(
        space=home.space.name,
        received_from=received_from,
        received_to=received_to,
        ids=None if ids is None else list(ids),
    )
    of = home.tenant.uid if home.tenant.shared else home.space.name
    return await jobs.create(
        JobKind.REBUILD,
        created_by=created_by,
        uid=home.tenant.uid,
        key=f"rebuild:{of}" if ids is None else None,
        spec=_document(spec),
    )


async def request_rebuild_of_space(
    jobs: JobStore, space: Space, *, uid: str, start: datetime, end: datetime, created_by: str
) -> Job:
    """Queue a rebuild of the indices of a space between two moments, for all its tenants.

    Args:
        jobs: the store.
        space: whose indices.
        uid: of its tenant; empty for the Shared space.
        start: of what was received in [start, end).
        end: the same.
        created_by: who asks.

    Raises:
        JobExistsError: one of this space is under way.
    """
    spec = RebuildSpec(space=space.name, received_from=start, received_to=end)
    return await jobs.create(
        JobKind.REBUILD,
        created_by=created_by,
        uid=uid,
        key=f"rebuild:{space.name}",
        spec=_document(spec),
    )


def _document(spec: RebuildSpec) -> dict[str, object]:
    document: dict[str, object] = msgspec.to_builtins(spec, builtin_types=(datetime,))
    return document
