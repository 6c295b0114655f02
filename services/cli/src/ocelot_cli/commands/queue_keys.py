"""`ocelot queue-keys`."""

from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from ocelot_cli.administration import administration, run_on_backends
from ocelot_cli.console import counted, say, show_line
from ocelot_cli.groups import AsJson, command_group
from ocelot_cli.listing import Column, print_list, time_text
from ocelot_common.provisioning.database import prepare_database
from ocelot_common.provisioning.queue_keys import (
    KeyUse,
    lose_queue_key,
    queue_key_uses,
    record_queue_key,
    record_queue_keys,
    retire_queue_key,
)
from ocelot_common.queue.keys import KeyFile, add_key, new_queue_key
from ocelot_common.registry.model import QueueKeyRow
from ocelot_common.signed_text import QueueKey
from ocelot_common.terminal import escape

_COLUMNS: Final = (
    Column("key", whole=True),
    Column("last signed", whole=True),
    Column("state"),
    Column("created", whole=True, optional=True),
    Column("sha256", whole=True, optional=True),
)

app = command_group(
    "Create, record, list and retire the keys that sign queue messages.",
    example="ocelot queue-keys list",
)

KeyId = Annotated[str, typer.Argument(metavar="KID", help="Id of the key.")]


@app.command()
def new(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="Key file. It is created if it does not exist.")
    ],
) -> None:
    """Create a key, write it as the first line of FILE, and record its fingerprint.

    The first key signs. All keys verify. Give the file to api, consumer, indexer and jobs
    (OCELOT_QUEUE_KEYS_FILE). They read it again when it changes. A process that does not have the
    key yet waits for it.

    Example: ocelot queue-keys new queue-keys
    """
    key = new_queue_key()

    async def work() -> None:
        async with administration() as admin:
            await prepare_database(admin.store.database)
            add_key(path, key)
            await record_queue_key(admin.store, key)

    run_on_backends(work())
    say(f"Wrote the key {key.kid} to {path}. Set OCELOT_QUEUE_KEYS_FILE={path}")


@app.command()
def record(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="Key file with one kid:base64 per line.")
    ],
) -> None:
    """Record the fingerprints of the keys of FILE that the registry does not have yet.

    A process signs only with a recorded key. Use this command for a key file that
    `ocelot queue-keys new` did not create, such as a Kubernetes Secret. The command neither stores
    nor prints the keys. You can repeat it.

    Example: ocelot queue-keys record queue-keys
    """

    async def work() -> tuple[tuple[QueueKey, ...], list[QueueKeyRow]]:
        keys = KeyFile(path).keys
        async with administration() as admin:
            await prepare_database(admin.store.database)
            return keys, await record_queue_keys(admin.store, keys)

    keys, rows = run_on_backends(work())
    for row in rows:
        say(f"Recorded the key {row.kid}.")
    say(f"Recorded {len(rows)} of {counted(len(keys), 'key')}. The registry had the others.")


@app.command(name="list")
def list_keys(
    as_json: AsJson = False,
) -> None:
    """List the keys in the registry, oldest first.

    Example: ocelot queue-keys list
    """

    async def work() -> tuple[list[QueueKeyRow], dict[str, KeyUse]]:
        async with administration() as admin:
            rows = await admin.store.since(QueueKeyRow, 0)
            return sorted(rows, key=lambda row: row.created_at), await queue_key_uses(admin.store)

    rows, uses = run_on_backends(work())
    if as_json:
        for row in rows:
            show_line(_json(row, uses.get(row.kid, KeyUse())))
        return
    cells = [
        (
            row.kid,
            time_text(uses.get(row.kid, KeyUse()).last_sent_at),
            row.state.value,
            time_text(row.created_at),
            row.sha256[:12],
        )
        for row in rows
    ]
    print_list(_COLUMNS, cells)
    say(counted(len(rows), "queue key"))


@app.command()
def retire(kid: KeyId) -> None:
    """Record that a key is no longer needed. Then remove it from the key files.

    The command fails until 15 days after the key last signed, because messages of the key may wait
    in a queue until then.

    Example: ocelot queue-keys retire q1a2b3c4d5e6
    """

    async def work() -> QueueKeyRow:
        async with administration() as admin:
            return await retire_queue_key(admin.store, kid)

    row = run_on_backends(work())
    say(f"Retired the key {row.kid}. Remove its line from every OCELOT_QUEUE_KEYS_FILE.")


@app.command()
def lost(
    kid: KeyId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Record that a key is lost, so that no process waits for it.

    Messages that it signed are moved to the dead letter queue. `ocelot dead-letters accept` stores
    their events.

    Example: ocelot queue-keys lost q1a2b3c4d5e6
    """
    if not yes:
        typer.confirm(f"Record the key {escape(kid)} as lost?", abort=True, err=True)

    async def work() -> QueueKeyRow:
        async with administration() as admin:
            return await lose_queue_key(admin.store, kid)

    row = run_on_backends(work())
    say(
        f"Recorded the key {row.kid} as lost. `ocelot dead-letters accept --kid {row.kid}` stores"
        " its events."
    )


def _json(row: QueueKeyRow, use: KeyUse) -> bytes:
    shown: dict[str, Any] = msgspec.to_builtins(row) | msgspec.to_builtins(use)
    shown["kid"] = shown.pop("_id")
    return msgspec.json.encode(shown)
