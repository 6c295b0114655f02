"""`ocelot dead-letters`."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import typer

from ocelot_cli.administration import (
    Administration,
    administration,
    run_on_backends,
    tenant_ids,
    uid_of,
)
from ocelot_cli.console import (
    WRONG_USAGE,
    counted,
    fail,
    note,
    say,
    show_json,
    show_line,
)
from ocelot_cli.following import follow, moment
from ocelot_cli.groups import AsJson, command_group
from ocelot_cli.listing import Column, print_list, time_text
from ocelot_cli.running import NotFoundError
from ocelot_common.dead_letters import DeadLetterStore
from ocelot_common.holds import HoldStore
from ocelot_common.jobs.model import Job, JobKind, JobState
from ocelot_common.jobs.store import JobStore
from ocelot_common.timestamps import to_ms

_COLUMNS: Final = (
    Column("key", whole=True),
    Column("last seen", whole=True),
    Column("stage"),
    Column("reason"),
    Column("tenant"),
    Column("attempts", optional=True),
    Column("event", whole=True, optional=True),
)
_COUNTED: Final = (
    Column("tenant"),
    Column("writer"),
    Column("hour", whole=True),
    Column("events", whole=True),
)

app = command_group(
    "List, retry, accept and discard events that could not be stored or indexed.",
    example="ocelot dead-letters list",
)

Keys = Annotated[
    list[str], typer.Argument(metavar="KEY…", help="Keys of dead letters, or unique prefixes.")
]
WaitSec = Annotated[
    float,
    typer.Option(
        "--wait-sec", min=0, help="Seconds to wait for the job. The job continues afterwards."
    ),
]
Letter = dict[str, Any]

#: What a retry's progress counts, for people.
_RETRIED: Final = {
    "sent": "sent again",
    "conflict": "kept: another event has the same id; --new-id stores the event under a new id",
    "dropped": "dropped: the tenant is deleted, or the event is past the retention",
    "unknown_tenant": "kept: the registry has no such tenant; restore it first",
    "held": "kept: the tenant has a legal hold",
    "unreadable": "kept: the content is not authenticated, unreadable or too large",
}


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
    tenant: Annotated[
        str | None, typer.Option(help="List only dead letters of this tenant.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of dead letters.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List dead letters, most recent first.

    Example: ocelot dead-letters list --tenant acme
    """

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
    # Somebody else may have written them: any field may be missing.
    rows = [
        (
            letter.get("_id", "-")[:12],
            time_text(letter.get("last_seen")),
            letter.get("stage", "-"),
            letter.get("reason", "-"),
            names.get(letter.get("t", ""), letter.get("t") or "-"),
            str(letter.get("attempts", "-")),
            letter.get("event_id", "-"),
        )
        for letter in letters
    ]
    print_list(_COLUMNS, rows)
    say(counted(len(letters), "dead letter"))


@app.command()
def show(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="Key of the dead letter, or a unique prefix.")
    ],
) -> None:
    """Print one dead letter with its reason and full content.

    Example: ocelot dead-letters show 3f9a0c
    """

    async def work() -> Letter:
        async with desk() as at:
            return await _one(at, key)

    show_json(_json(run_on_backends(work())))


@app.command()
def retry(
    keys: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY…", help="Keys of dead letters, or unique prefixes."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Retry all dead letters.")] = False,
    tenant: Annotated[
        str | None, typer.Option(help="With --all, retry only dead letters of this tenant.")
    ] = None,
    new_id: Annotated[
        bool,
        typer.Option(
            "--new-id", help="Give the event of a conflict a new id, the same on every retry."
        ),
    ] = False,
    wait_sec: WaitSec = 3_600.0,
) -> None:
    """Send failed events again, with their ids and times of arrival. Safe to repeat.

    A job sends them, because only Ocelot's processes have the keys that sign queue messages. A dead
    letter whose content was not authenticated is never sent.

    Example: ocelot dead-letters retry --all
    """
    if bool(keys) == every:
        fail("Name dead letters, or give --all.", status=WRONG_USAGE)

    async def work() -> Job:
        async with desk() as at:
            spec: dict[str, Any] = {"new_id": new_id}
            if every:
                spec |= {"all": True, "uid": await uid_of(at.admin.store, tenant)}
            else:
                spec["keys"] = [(await _one(at, key))["_id"] for key in keys or ()]
            return await _run(at, JobKind.RETRY, spec, wait_sec)

    job = run_on_backends(work())
    for what, text in _RETRIED.items():
        if number := job.progress.get(what):
            say(f"{number} {text}")
    if job.state is not JobState.SUCCEEDED:
        fail(_failure(job))
    if not any(job.progress.values()):
        say("There are no dead letters.")


@app.command()
def accept(
    kid: Annotated[str, typer.Option(help="Id of the lost key.")],
    sent_from: Annotated[
        str | None,
        typer.Option(
            "--sent-from", metavar="TIME", help="Only messages signed at or after this time."
        ),
    ] = None,
    sent_to: Annotated[
        str | None,
        typer.Option("--sent-to", metavar="TIME", help="Only messages signed before this time."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    wait_sec: WaitSec = 3_600.0,
) -> None:
    """Store events whose messages cannot be authenticated because their key is lost.

    A job reads the messages from the dead letter queues and counts their events per tenant, writer
    and hour. Compare the numbers with those that your writers sent: a sender that can write to the
    queue can name any key. After your confirmation, a second job signs these messages again and
    sends them. Messages that arrived later are left for the next run.

    Example: ocelot dead-letters accept --kid q1a2b3c4d5e6
    """
    start, end = moment("--sent-from", sent_from), moment("--sent-to", sent_to)
    spec: dict[str, Any] = {
        "kid": kid,
        "sent_from": to_ms(start) if start else None,
        "sent_to": to_ms(end) if end else None,
    }

    async def run_job(spec: dict[str, Any]) -> tuple[Job, dict[str, str]]:
        async with desk() as at:
            names = await tenant_ids(at.admin.store)
            return await _run(at, JobKind.ACCEPT, spec, wait_sec), names

    count, names = run_on_backends(run_job(spec))
    if count.state is not JobState.SUCCEEDED:
        fail(_failure(count))
    numbers = count.progress
    if numbers.get("messages"):
        rows = [
            (names.get(uid, uid or "-"), writer, hour, f"{events:,}")
            for uid, writer, hour, events in count.checkpoint.get("report", [])
        ]
        print_list(_COUNTED, rows)
    else:
        say(f"There are no messages of the key {kid} to accept.")
    for line in outcome_lines(count):
        say(line)
    if not numbers.get("messages"):
        return
    if not yes:
        typer.confirm("Accept and store these events?", abort=True, err=True)
    accepted, _ = run_on_backends(run_job(spec | {"count_job": count.id}))
    if accepted.state is not JobState.SUCCEEDED:
        fail(_failure(accepted))
    for line in outcome_lines(accepted):
        say(line)


def outcome_lines(job: Job) -> Iterator[str]:
    """Yield what an administrator must know about a job of kind `accept` that has succeeded."""
    numbers = job.progress
    accepts = "count_job" in job.spec
    messages, events = numbers.get("messages", 0), numbers.get("events", 0)
    if messages or accepts:
        done = "Accepted" if accepts else "Found"
        yield f"{done} {counted(messages, 'message')} with {counted(events, 'event')}."
    if refused := numbers.get("refused"):
        yield f"Kept {counted(refused, 'message')} that failed the checks in the dead letter queue."
    if further := numbers.get("further"):
        yield f"Left {counted(further, 'message')} that arrived after the count. Run the command"
        " again."
    if missing := numbers.get("missing"):
        yield (
            f"Could not accept {counted(missing, 'message')} that were counted, because they are"
            " not in the queue now. Run the command again."
        )
    for queue, number in job.checkpoint.get("unread", {}).items():
        yield (
            f"Read only {counted(number, 'message')} of the {queue} dead letter queue, which may"
            " have more. Run the command again."
        )


@app.command()
def discard(
    keys: Keys,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete dead letters with their content permanently.

    The command rejects dead letters of a tenant that has a legal hold.

    Example: ocelot dead-letters discard 3f9a0c
    """
    if not yes:
        typer.confirm(
            f"Delete {counted(len(keys), 'dead letter')} permanently?", abort=True, err=True
        )

    deleted: list[str] = []

    async def work() -> int:
        async with desk() as at:
            # Two prefixes may name the same letter.
            letters = {letter["_id"]: letter for letter in [await _one(at, key) for key in keys]}
            await _discard(at, list(letters.values()), deleted)
            return len(letters) - len(deleted)

    try:
        missing = run_on_backends(work())
    except BaseException:
        if deleted:
            say(f"Deleted {counted(len(deleted), 'dead letter')} before the command ended.")
        raise
    say(f"Deleted {counted(len(deleted), 'dead letter')}.")
    if missing:
        say(f"Somebody else removed {counted(missing, 'dead letter')} before the command did.")


async def _discard(at: Desk, letters: Sequence[Letter], deleted: list[str]) -> None:
    """Delete letters.

    Args:
        at: what the command works on.
        letters: to delete.
        deleted: gets the key of each letter that was still there, as soon as it is deleted.

    Raises:
        ValueError: a tenant of them has a legal hold.
    """
    holds = HoldStore(at.admin.store.database)
    names = await tenant_ids(at.admin.store)

    def held(uid: str) -> ValueError:
        tenant = names.get(uid, uid)
        return ValueError(
            f"The tenant {tenant} has a legal hold, so its dead letters cannot be discarded."
            f" `ocelot holds list --tenant {tenant}` shows the hold."
        )

    for uid in {letter.get("t", "") for letter in letters}:  # before any letter is deleted
        if await holds.find(uid=uid):
            raise held(uid)
    for letter in letters:
        key, uid = letter["_id"], letter.get("t", "")
        removed: bool | None
        if uid not in names:  # nobody can place a hold on it
            removed = await at.letters.remove(key)
        else:
            removed = await holds.unless_held(uid, partial(at.letters.remove, key))
        if removed is None:
            raise held(uid)
        if removed:
            deleted.append(key)


async def _run(at: Desk, kind: JobKind, spec: dict[str, Any], wait_sec: float) -> Job:
    """Have a job done; Ctrl-C ends the waiting and not the job."""
    jobs = JobStore(at.admin.store.database)
    job = await jobs.create(kind, created_by="cli", spec=spec)
    note(f"Queued the job {job.id}. `ocelot jobs show {job.id}` shows its progress.")
    return await follow(jobs, job, lambda each: f"{each.kind} {each.state}", wait_sec=wait_sec)


def _failure(job: Job) -> str:
    reason = f" {job.errors[-1].detail}" if job.errors else ""
    continues = " It continues when a jobs worker runs." if job.live else ""
    return f"The job {job.id} is {job.state}.{reason}{continues}"


async def _one(at: Desk, key: str) -> Letter:
    if not key:
        raise ValueError("KEY must not be empty. `ocelot dead-letters list` shows the keys.")
    found = [letter async for letter in at.letters.find(keys=[key], limit=2)]
    if not found:
        raise NotFoundError(f"The dead letter {key!r} does not exist.")
    if len(found) > 1:
        raise ValueError(f"Several dead letters begin with {key!r}. Give more of the key.")
    return found[0]


def _json(letter: Letter) -> bytes:
    shown = {name: value for name, value in letter.items() if name != "event_key"}
    return msgspec.json.encode(shown)
