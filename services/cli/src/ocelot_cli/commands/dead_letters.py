"""`ocelot dead-letters`."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, NamedTuple

import msgspec
import typer
from rich.table import Table

from ocelot_cli.administration import (
    Administration,
    administration,
    run_on_backends,
    tenant_ids,
    uid_of,
)
from ocelot_cli.console import counted, fail, out, plain, say, show_json, show_line
from ocelot_cli.sqs import queues
from ocelot_common.dead_letters import DeadLetterStore, Reason, Stage
from ocelot_common.envelope import Envelope, PackedEvent, Segment, pack
from ocelot_common.ids import derived_id
from ocelot_common.index_message import pack_index_messages
from ocelot_common.queue.client import SqsClient
from ocelot_common.queue.sending import Outgoing, send_all
from ocelot_common.registry.model import TenantState
from ocelot_common.settings import SqsSettings
from ocelot_common.timestamps import now_ms, to_ms

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="What could not be stored or indexed: list, retry, discard.",
)

Keys = Annotated[list[str], typer.Argument(metavar="KEY…", help="Keys, or their beginnings.")]
Letter = dict[str, Any]


class Desk(NamedTuple):
    """What the commands work on."""

    admin: Administration
    letters: DeadLetterStore


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    """Connect to the dead letters."""
    async with administration() as admin:
        yield Desk(admin, DeadLetterStore(admin.store.database))


@app.command(name="list")
def list_letters(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print NDJSON, whole letters.")] = False,
) -> None:
    """List letters, those seen last first."""

    async def work() -> tuple[list[Letter], dict[str, str]]:
        async with desk() as at:
            uid = await uid_of(at.admin.store, tenant)
            names = await tenant_ids(at.admin.store)
            return [letter async for letter in at.letters.find(uid=uid, limit=limit)], names

    letters, names = run_on_backends(work())
    if as_json:
        for letter in letters:
            show_line(_json(letter))
        return
    table = Table("key", "stage", "reason", "tenant", "event", "attempts", "last seen", box=None)
    for letter in letters:
        row = (
            letter["_id"][:12],
            letter["stage"],
            letter["reason"],
            names.get(letter["t"], letter["t"] or "-"),
            letter.get("event_id", "-"),
            str(letter["attempts"]),
            letter["last_seen"].isoformat(timespec="seconds"),
        )
        table.add_row(*map(plain, row))
    out.print(table)
    say(counted(len(letters), "dead letter"))


@app.command()
def show(key: Annotated[str, typer.Argument(metavar="KEY", help="Its key or beginning.")]) -> None:
    """Show one letter with its reason and full content."""

    async def work() -> Letter:
        async with desk() as at:
            return await _one(at, key)

    show_json(_json(run_on_backends(work())))


@app.command()
def retry(
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="KEY…", help="Keys, or their beginnings.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All letters.")] = False,
    tenant: Annotated[str | None, typer.Option(help="With --all: only this tenant's.")] = None,
    new_id: Annotated[
        bool,
        typer.Option(
            "--new-id", help="Give a conflict's event an id of its own; always the same one."
        ),
    ] = False,
) -> None:
    """Send what failed again, with its id and time of arrival. Safe to repeat."""
    if bool(keys) == every:
        fail("name letters, or say --all", status=2)

    async def work() -> Counter[str]:
        done: Counter[str] = Counter()
        async with desk() as at, queues() as (sqs, settings):
            uid = await uid_of(at.admin.store, tenant)
            if every:
                letters = [letter async for letter in at.letters.find(uid=uid)]
            else:
                letters = [await _one(at, key) for key in keys or ()]
            for letter in letters:
                done[await _retry(at, sqs, settings, letter, new_id=new_id)] += 1
        return done

    done = run_on_backends(work())
    say(", ".join(f"{number} {what}" for what, number in done.items()) or "no letters")


@app.command()
def discard(
    keys: Keys, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
) -> None:
    """Forget letters; their content is gone for good."""
    if not yes:
        typer.confirm(f"Forget {counted(len(keys), 'letter')} for good?", abort=True, err=True)

    async def work() -> int:
        async with desk() as at:
            letters = [await _one(at, key) for key in keys]
            return sum([await at.letters.remove(letter["_id"]) for letter in letters])

    say(f"{counted(run_on_backends(work()), 'dead letter')} forgotten")


async def _retry(
    at: Desk, sqs: SqsClient, settings: SqsSettings, letter: Letter, *, new_id: bool
) -> str:
    if letter["reason"] == Reason.CONFLICT and not new_id:
        say(f"{letter['_id'][:12]}: its id is taken by other content; --new-id stores it beside")
        return "left"
    if await _is_gone(at, letter):
        await at.letters.remove(letter["_id"])
        return "dropped: the tenant is gone, or the event past its cutoff"
    queue, bodies = _messages(settings, letter, new_id=new_id)
    # The letter goes only when SQS has its event: a crash in between repeats, and that is safe.
    await send_all(sqs, queue, [Outgoing(body, letter["t"] or "dead-letter") for body in bodies])
    await at.letters.remove(letter["_id"])
    return "sent again"


async def _is_gone(at: Desk, letter: Letter) -> bool:
    if not letter["t"]:
        return False
    tenant = await at.admin.store.tenant(letter["t"])
    if tenant is None or tenant.state is TenantState.DELETED:
        return True
    received = letter.get("received_at")
    return received is not None and to_ms(received) < tenant.cutoff_ms()


def _messages(settings: SqsSettings, letter: Letter, *, new_id: bool) -> tuple[str, list[str]]:
    index = letter["stage"] == Stage.INDEX
    queue = settings.sqs_index_queue_url if index else settings.sqs_queue_url
    if queue is None:
        raise ValueError("set SQS_INDEX_QUEUE_URL to retry letters of the index")
    key = letter.get("event_key")
    if key is None:
        return queue, [letter["content"]]
    if index:
        return queue, list(pack_index_messages(letter["t"], [bytes(key)]))
    event_id = bytes(key)
    if letter["reason"] == Reason.CONFLICT and new_id:
        event_id = derived_id("ocelot/dead-letter", letter["_id"].encode())
    received = letter.get("received_at")
    segment = Segment(
        letter["writer"],
        to_ms(received) if received else now_ms(),
        letter["request_id"],
        "",
        [PackedEvent(event_id, letter["content"].encode())],
    )
    return queue, [pack(Envelope(letter["t"], [segment]))]


async def _one(at: Desk, key: str) -> Letter:
    if not key:
        raise ValueError("a key is needed; dead-letters list has them")
    found = [letter async for letter in at.letters.find(keys=[key], limit=2)]
    if not found:
        raise ValueError(f"there is no dead letter {key!r}")
    if len(found) > 1:
        raise ValueError(f"several dead letters begin with {key!r}; give more of the key")
    return found[0]


def _json(letter: Letter) -> bytes:
    shown = {name: value for name, value in letter.items() if name != "event_key"}
    return msgspec.json.encode(shown)
