"""`ocelot dead-letters`."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final, NamedTuple

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
from ocelot_cli.console import (
    WRONG_USAGE,
    counted,
    fail,
    note,
    out,
    plain,
    say,
    show_json,
    show_line,
)
from ocelot_cli.following import follow, moment
from ocelot_cli.groups import AsJson, command_group
from ocelot_cli.running import NotFoundError
from ocelot_common.dead_letters import DeadLetterStore
from ocelot_common.jobs.model import Job, JobKind, JobState
from ocelot_common.jobs.store import JobStore
from ocelot_common.timestamps import to_ms

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
    "conflict": "left: the id is taken by other content; --new-id stores it beside",
    "dropped": "dropped: the tenant is gone, or the event past its cutoff",
    "unknown_tenant": "left: the registry has no such tenant; restore it first",
    "unreadable": "left: the content was not authenticated, cannot be read, or is too large",
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
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of dead letters.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List dead letters, last seen first.

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
    table = Table("key", "stage", "reason", "tenant", "event", "attempts", "last seen", box=None)
    for letter in letters:
        # Somebody else may have written it: any field may be missing.
        uid, seen = letter.get("t", ""), letter.get("last_seen")
        row = (
            letter.get("_id", "-")[:12],
            letter.get("stage", "-"),
            letter.get("reason", "-"),
            names.get(uid, uid or "-"),
            letter.get("event_id", "-"),
            str(letter.get("attempts", "-")),
            seen.isoformat(timespec="seconds") if seen else "-",
        )
        table.add_row(*map(plain, row))
    out.print(table)
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
    tenant: Annotated[str | None, typer.Option(help="With --all: only of this tenant.")] = None,
    new_id: Annotated[
        bool,
        typer.Option(
            "--new-id", help="Give the event of a conflict a new id, the same on every retry."
        ),
    ] = False,
    wait_sec: WaitSec = 3_600.0,
) -> None:
    """Send failed events again, with their ids and times of arrival. Safe to repeat.

    A job sends them, because only Ocelot's processes hold the keys that sign queue messages. A dead
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
    and hour. Compare the numbers with what your writers sent: a sender that can write to the queue
    can name any key. After your confirmation, a second job signs these messages again and sends
    them. Messages that arrived later are left for the next run.

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
        table = Table("tenant", "writer", "hour", "events", box=None)
        for uid, writer, hour, events in count.checkpoint.get("report", []):
            table.add_row(*map(plain, (names.get(uid, uid or "-"), writer, hour, f"{events:,}")))
        out.print(table)
    else:
        say(f"no messages of the key {kid} that can be accepted")
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
        done = "accepted " if accepts else ""
        yield f"{done}{counted(messages, 'message')} with {counted(events, 'event')}"
    if refused := numbers.get("refused"):
        yield f"failed the checks and stay in the dead letter queue: {counted(refused, 'message')}"
    if further := numbers.get("further"):
        yield f"{counted(further, 'further message')} came since the count; run the command again"
    if missing := numbers.get("missing"):
        yield (
            f"not found any more, and not accepted: {counted(missing, 'message')}; run the command"
            " again"
        )
    for queue, number in job.checkpoint.get("unread", {}).items():
        yield (
            f"stopped after {counted(number, 'message')} of the {queue} dead letter queue, which"
            " may hold more; run the command again after this one"
        )


@app.command()
def discard(
    keys: Keys,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete dead letters with their content permanently.

    Example: ocelot dead-letters discard 3f9a0c
    """
    if not yes:
        typer.confirm(
            f"Delete {counted(len(keys), 'dead letter')} permanently?", abort=True, err=True
        )

    async def work() -> int:
        async with desk() as at:
            letters = [await _one(at, key) for key in keys]
            return sum([await at.letters.remove(letter["_id"]) for letter in letters])

    say(f"{counted(run_on_backends(work()), 'dead letter')} forgotten")


async def _run(at: Desk, kind: JobKind, spec: dict[str, Any], wait_sec: float) -> Job:
    """Have a job done; Ctrl-C ends the waiting and not the job."""
    jobs = JobStore(at.admin.store.database)
    job = await jobs.create(kind, created_by="cli", spec=spec)
    note(f"job {job.id}; `ocelot jobs show {job.id}` shows its progress")
    return await follow(jobs, job, lambda each: f"{each.kind} {each.state}", wait_sec=wait_sec)


def _failure(job: Job) -> str:
    reason = f": {job.errors[-1].detail}" if job.errors else ""
    goes_on = "; it goes on if a process of jobs runs" if job.live else ""
    return f"the job {job.id} is {job.state}{reason}{goes_on}"


async def _one(at: Desk, key: str) -> Letter:
    if not key:
        raise ValueError("a key is needed; dead-letters list has them")
    found = [letter async for letter in at.letters.find(keys=[key], limit=2)]
    if not found:
        raise NotFoundError(f"there is no dead letter {key!r}")
    if len(found) > 1:
        raise ValueError(f"several dead letters begin with {key!r}; give more of the key")
    return found[0]


def _json(letter: Letter) -> bytes:
    shown = {name: value for name, value in letter.items() if name != "event_key"}
    return msgspec.json.encode(shown)
