"""Refuse settings that have another name now.

Unknown variables in the environment are ignored, because most belong to other programs. A setting
under its old name would be ignored, too: the process would run with the default, and nobody would
see it. Every process therefore ends when it finds one. This module imports nothing that takes time,
so that the command line can look before it does anything else.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

#: Old name to new name. An entry is removed one minor version after the rename.
RENAMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "OCELOT_CONSUMER_MAX_HELD_BYTES": "OCELOT_CONSUMER_MAX_BUFFERED_BYTES",
        "OCELOT_INDEXER_MAX_HELD_BYTES": "OCELOT_INDEXER_MAX_BUFFERED_BYTES",
        "OCELOT_JOBS_AT_ONCE": "OCELOT_JOBS_CONCURRENCY",
        "OCELOT_PURGE_EVERY_SEC": "OCELOT_PURGE_INTERVAL_SEC",
        "OCELOT_REBUILD_KEEP_SEC": "OCELOT_REPLACED_INDEX_RETENTION_SEC",
        "OCELOT_REBUILD_SETTLE_SEC": "OCELOT_REBUILD_PROPAGATION_SEC",
        "OCELOT_UPKEEP_EVERY_SEC": "OCELOT_MAINTENANCE_INTERVAL_SEC",
    }
)


def renamed_settings(environ: Mapping[str, str]) -> list[str]:
    """Return one sentence per setting that is set under an old name.

    An empty variable counts as not set, as it does for all settings.
    """
    return [
        f"{old}: this setting is now named {new}. Set {new} and remove {old}."
        for old, new in RENAMED.items()
        if environ.get(old)
    ]
