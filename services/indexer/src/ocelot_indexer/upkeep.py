"""Keeps the present and the next period's index of every space made (design §8)."""

import asyncio
from typing import Final

from opensearchpy.exceptions import TransportError
from pymongo.errors import PyMongoError

from ocelot_common.provisioning.indices import IndexMaker, NoIndexError
from ocelot_common.registry.snapshot import RegistrySnapshot
from ocelot_common.telemetry.logs import get_logger

_EVERY_SEC: Final = 3600.0

log = get_logger(__name__)


async def keep_indices_ahead(indices: IndexMaker, snapshot: RegistrySnapshot) -> None:
    """Once an hour, until cancelled. A period that is found made late is marked `building`."""
    await snapshot.wait_fresh()
    while True:
        for space in snapshot.spaces():
            if space.retired or not space.search_enabled:
                continue
            try:
                await indices.ensure_ahead(space)
            except (TransportError, PyMongoError, NoIndexError) as error:
                log.warning("index_not_ensured", space=space.name, error=repr(error)[:300])
        await asyncio.sleep(_EVERY_SEC)
