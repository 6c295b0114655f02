"""Following a job until it has ended."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from math import inf
from typing import Final

from ocelot_cli.console import err, plain, say
from ocelot_cli.durations import parse_option
from ocelot_common.jobs.model import Job
from ocelot_common.jobs.store import JobStore
from ocelot_common.timestamps import parse_rfc3339, to_datetime

_POLL_SEC: Final = 0.5


async def follow(
    jobs: JobStore, job: Job, progress: Callable[[Job], str], *, wait_sec: float = inf
) -> Job:
    """Tell how far a job is until it has ended; not on a terminal, only when its phase changes.

    A rebuild has the same phases for each of its indices.

    Args:
        jobs: the store.
        job: to follow.
        progress: what to tell of it.
        wait_sec: return the job as it is after so many seconds.
    """
    said: tuple[str, int | None] = ("", None)
    deadline = time.monotonic() + wait_sec
    with err.status("") as status:
        while job.live and time.monotonic() < deadline:
            status.update(plain(progress(job)))
            step = (job.phase, job.progress.get("index"))
            if not err.is_terminal and job.phase and step != said:
                said = step
                say(progress(job))
            await asyncio.sleep(_POLL_SEC)
            job = await jobs.get(job.id) or job
    return job


def moment(option: str, text: str | None) -> datetime | None:
    """Return the time that an option gives; a text that is not one ends the command."""
    return None if text is None else parse_option(option, text, _parse_time)


def _parse_time(text: str) -> datetime:
    try:
        return to_datetime(parse_rfc3339(text))
    except OverflowError as error:
        raise ValueError(str(error)) from None
