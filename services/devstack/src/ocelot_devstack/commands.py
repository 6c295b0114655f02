"""Programs that run to their end: installers and version questions."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ocelot_devstack.errors import DevstackError
from ocelot_devstack.process import dies_with_parent, kill_group


async def run_command(
    argv: Sequence[str], *, what: str, cwd: Path, env: Mapping[str, str] | None = None
) -> str:
    """Run a program and return what it wrote; a cancelled caller leaves nothing running.

    Args:
        argv: program and arguments.
        what: for the message of a failure.
        cwd: working directory.
        env: added to this process's environment.

    Raises:
        DevstackError: it could not be started or failed; with its last lines.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=dies_with_parent(),
        )
    except OSError as error:
        raise DevstackError(f"{what} failed: {error}") from error
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            kill_group(process)
            await process.wait()
    text = output.decode(errors="replace")
    if process.returncode != 0:
        last = "\n".join(f"    {line}" for line in text.splitlines()[-15:])
        raise DevstackError(f"{what} failed with exit status {process.returncode}:\n{last}")
    return text
