"""`ocelot jobs`."""

from typing import Annotated, Any, Final

import msgspec
import typer

from ocelot_cli.administration import (
    Administration,
    administration,
    run_on_backends,
    tenant_ids,
    tenant_of,
    uid_of,
)
from ocelot_cli.console import (
    WRONG_USAGE,
    counted,
    fail,
    plural,
    say,
    show_json,
    show_line,
)
from ocelot_cli.durations import parse_option
from ocelot_cli.following import follow, moment
from ocelot_cli.groups import AsJson, command_group
from ocelot_cli.job_names import KIND_NAMES, kind_name, parse_kind, phase_name
from ocelot_cli.listing import Column, print_list, time_text
from ocelot_cli.running import NotFoundError
from ocelot_common.ids import format_id, parse_id
from ocelot_common.jobs.model import Job, JobKind, JobState
from ocelot_common.jobs.rebuild import MAX_IDS, RebuildPhase, request_rebuild_of_tenant
from ocelot_common.jobs.store import JobExistsError, JobStore, to_document
from ocelot_common.provisioning.errors import TenantNotFoundError
from ocelot_common.registry.model import Home

_OF_EACH_INDEX: Final = (RebuildPhase.COPYING, RebuildPhase.COMPARING)
_COLUMNS: Final = (
    Column("id", whole=True),
    Column("begun", whole=True),
    Column("kind"),
    Column("state"),
    Column("tenant", optional=True),
    Column("progress", optional=True),
    Column("last error", optional=True),
)

app = command_group(
    "List, show and cancel jobs, and request rebuilds of a search index.",
    example="ocelot jobs list",
)

JobId = Annotated[str, typer.Argument(metavar="ID", help="Id of the job, or a unique prefix.")]


@app.command(name="list")
def list_jobs(
    tenant: Annotated[str | None, typer.Option(help="List only jobs of this tenant.")] = None,
    kind: Annotated[
        list[JobKind] | None,
        typer.Option(
            parser=parse_kind,
            metavar="KIND",
            help=f"List only this kind: {', '.join(KIND_NAMES)}. Repeat for several.",
        ),
    ] = None,
    state: Annotated[
        list[JobState] | None,
        typer.Option(help="List only jobs in this state. Repeat for several."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of jobs.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first. Finished jobs are kept for 90 days.

    Example: ocelot jobs list --state running --state failed
    """

    async def work() -> tuple[list[Job], dict[str, str]]:
        async with administration() as admin:
            uid = await uid_of(admin.store, tenant)
            names = await tenant_ids(admin.store)
            found = await JobStore(admin.store.database).find(
                uid=uid, kinds=kind or (), states=state or (), limit=limit
            )
            return found, names

    jobs, names = run_on_backends(work())
    if as_json:
        for job in jobs:
            show_line(_json(job))
        return
    rows = [
        (
            job.id,
            time_text(job.started_at),
            kind_name(job.kind),
            _state(job),
            names.get(job.uid, job.uid or "-"),
            _progress(job),
            job.errors[-1].detail[:60] if job.errors else "-",
        )
        for job in jobs
    ]
    print_list(_COLUMNS, rows)
    say(counted(len(jobs), "job"))


@app.command()
def show(job_id: JobId) -> None:
    """Print one job with its progress and errors.

    Example: ocelot jobs show 01a21322
    """

    async def work() -> Job:
        async with administration() as admin:
            return await _one(JobStore(admin.store.database), job_id)

    show_json(_json(run_on_backends(work())))


@app.command()
def cancel(job_id: JobId) -> None:
    """Stop a job. Data and indices stay consistent.

    Example: ocelot jobs cancel 01a21322
    """

    async def work() -> Job:
        async with administration() as admin:
            jobs = JobStore(admin.store.database)
            job = await _one(jobs, job_id)
            return await jobs.request_cancel(job.id) or job

    job = run_on_backends(work())
    if job.every_sec is not None:
        fail(f"{job.id} is a recurring job ({kind_name(job.kind)}), which cannot be cancelled.")
    if job.live:
        say(f"Asked the job {job.id} to stop.")
    elif job.state is JobState.CANCELLED:
        say(f"Cancelled the job {job.id}.")
    else:
        fail(f"The job {job.id} has already ended: {job.state}.")


@app.command()
def rebuild(
    tenant: Annotated[str, typer.Option(help="Tenant whose search index is rebuilt.")],
    received_from: Annotated[
        str | None,
        typer.Option(
            "--received-from", metavar="TIME", help="Only events received at or after this time."
        ),
    ] = None,
    received_to: Annotated[
        str | None,
        typer.Option(
            "--received-to", metavar="TIME", help="Only events received before this time."
        ),
    ] = None,
    ids: Annotated[
        list[str] | None,
        typer.Option("--id", metavar="ID", help="Only this event. Repeat for several."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the end, and print the progress.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Queue a rebuild of a tenant's search index: all of it, a range of time, or single events.

    With --wait, Ctrl-C stops waiting but not the job, and the exit status is 1 if the job fails.

    Example: ocelot jobs rebuild --tenant acme --received-from 2026-11-01T00:00:00Z --wait
    """
    if ids and (received_from or received_to):
        fail("--id cannot be combined with a range of time.", status=WRONG_USAGE)
    if ids and len(ids) > MAX_IDS:
        fail(f"--id accepts at most {MAX_IDS:,} events.", status=WRONG_USAGE)
    start, end = moment("--received-from", received_from), moment("--received-to", received_to)
    if start and end and start >= end:
        fail("--received-to must be after --received-from.", status=WRONG_USAGE)
    keys = [_event_id(text) for text in ids] if ids else None

    async def work() -> Job:
        async with administration() as admin:
            home = await _home(admin, tenant)
            if not home.space.search_enabled:
                raise ValueError(f"The tenant {tenant!r} has no search index to rebuild.")
            jobs = JobStore(admin.store.database)
            try:
                job = await request_rebuild_of_tenant(
                    jobs,
                    home,
                    created_by="cli",
                    ids=keys,
                    received_from=start,
                    received_to=end,
                )
            except JobExistsError as error:
                raise ValueError(
                    f"The rebuild {error.job.id} is still running. Wait until it has ended."
                ) from None
            say(f"Queued the job {job.id}. `ocelot jobs show {job.id}` shows its progress.")
            return await follow(jobs, job, _progress) if wait else job

    job = run_on_backends(work())
    if as_json:
        show_line(_json(job))
    if not wait:
        return
    if job.state is not JobState.SUCCEEDED:
        reason = f": {job.errors[-1].detail}" if job.errors else ""
        fail(f"The rebuild is {job.state}{reason}")
    total = job.progress.get("total", job.progress.get("done", 0))
    say(f"Rebuilt {_progress(job)} {plural(total, 'event')}.")


async def _home(admin: Administration, tenant_id: str) -> Home:
    tenant = await tenant_of(admin.store, tenant_id)
    space = await admin.store.space(tenant.space)
    if space is None:
        raise TenantNotFoundError(f"The tenant {tenant_id!r} does not exist.")
    return Home(tenant, space)


async def _one(jobs: JobStore, job_id: str) -> Job:
    found = await jobs.find(prefix=job_id, limit=2) if job_id else []
    if not found:
        raise NotFoundError(f"The job {job_id!r} does not exist.")
    if len(found) > 1:
        raise ValueError(f"Several jobs begin with {job_id!r}. Give more of the id.")
    return found[0]


def _event_id(text: str) -> str:
    return format_id(parse_option("--id", text, parse_id))


def _state(job: Job) -> str:
    if job.live and job.cancel_requested:
        return "stopping"
    return f"{job.state}, recurs" if job.every_sec is not None else job.state.value


def _progress(job: Job) -> str:
    """The phase and its numbers, such as `copying index 1 of 2, 12,000 of 200,000`."""
    counted = "compared" if job.phase == RebuildPhase.COMPARING else "done"
    done, total = job.progress.get(counted), job.progress.get("total")
    parts = [_phase(job)] if job.phase else []
    if done is not None:
        parts.append(f"{done:,}" if total is None else f"{done:,} of {total:,}")
    return ", ".join(parts) or "-"


def _phase(job: Job) -> str:
    index, indices = job.progress.get("index"), job.progress.get("indices", 1)
    # A rebuild copies and compares one index after the other.
    if index is None or indices == 1 or job.phase not in _OF_EACH_INDEX:
        return phase_name(job.phase)
    return f"{phase_name(job.phase)} index {index:,} of {indices:,}"


def _json(job: Job) -> bytes:
    shown: dict[str, Any] = to_document(job)
    shown["id"], shown["tenant_uid"] = shown.pop("_id"), shown.pop("t")
    for internal in ("v", "live", "key"):
        del shown[internal]
    return msgspec.json.encode(shown)
