"""The command as people run it: a process with an environment, on the session's installation."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ocelot_devstack.queues import open_sqs

#: What a process needs of the developer's environment, and nothing more.
_INHERITED = ("PATH", "HOME", "LANG", "VIRTUAL_ENV", "COVERAGE_PROCESS_START")


class Ended(NamedTuple):
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it printed as NDJSON."""
        return [json.loads(line) for line in self.out.splitlines()]


class Ocelot:
    """Runs `ocelot` in a folder of its own."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self.env = env
        self.folder = folder

    async def start(self, *args: object, **env: str) -> Process:
        """Start a command."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "ocelot_cli",
            *[str(arg) for arg in args],
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=self.env | env,
            cwd=self.folder,
            # A shell starts what it puts in the background with SIGINT ignored, and that is
            # inherited: of tests that run so, too.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    async def __call__(self, *args: object, stdin: bytes = b"", **env: str) -> Ended:
        """Run a command to its end."""
        process = await self.start(*args, **env)
        return await self.ended(process, stdin)

    async def ended(self, process: Process, stdin: bytes = b"") -> Ended:
        """Wait for the end of a command."""
        out, err = await process.communicate(stdin)
        assert process.returncode is not None
        assert b"Traceback" not in err, err.decode()
        return Ended(process.returncode, out.decode(), err.decode())

    async def ok(self, *args: object, stdin: bytes = b"", **env: str) -> Ended:
        """Run a command that must end well."""
        ended = await self(*args, stdin=stdin, **env)
        assert ended.status == 0, ended.err
        return ended

    def write(self, name: str, content: bytes) -> Path:
        """Write a file for it."""
        path = self.folder / name
        path.write_bytes(content)
        return path


@pytest.fixture
def ocelot(running: Any, tmp_path: Path) -> Ocelot:
    stack = running.stack
    api = next(service for service in stack.services if service.spec.name == "api")
    backends = stack.installation.service_env(0)
    env = {name: os.environ[name] for name in _INHERITED if name in os.environ} | backends
    return Ocelot(
        env
        | {
            "OCELOT_API_URL": api.url,
            "OCELOT_DEV_JSON": "",
            "OCELOT_INDEX_PREFIX": stack.installation.index_prefix,
            "OCELOT_SIGNING_KEY_FILE": str(stack.installation.signing_key_file),
        },
        tmp_path,
    )


def _bearer(header: dict[str, str]) -> str:
    return header["Authorization"].removeprefix("Bearer ")


@pytest.fixture
def tokens() -> Any:
    """The variables with a tenant's token of a role."""

    def of(access: Any, role: str = "writer") -> dict[str, str]:
        return {"OCELOT_TOKEN": _bearer(getattr(access, role))}

    return of


@pytest.fixture
def until_drained(running: Any) -> Any:
    """Waits until no message is in the queues or under way."""

    async def waiting(sqs: Any) -> int:
        number = 0
        for url in (running.stack.queues.ingest, running.stack.queues.index):
            answer = await sqs.get_queue_attributes(
                QueueUrl=url,
                AttributeNames=[
                    "ApproximateNumberOfMessages",
                    "ApproximateNumberOfMessagesNotVisible",
                    "ApproximateNumberOfMessagesDelayed",
                ],
            )
            number += sum(map(int, answer["Attributes"].values()))
        return number

    async def wait(timeout_sec: float = 120) -> None:
        stack = running.stack
        async with (
            asyncio.timeout(timeout_sec),
            open_sqs(stack.sqs_endpoint_url, stack.settings.aws_env()) as sqs,
        ):
            # Twice: between the queues an event is in none for a moment.
            quiet = 0
            while quiet < 3:
                quiet = 0 if await waiting(sqs) else quiet + 1
                await asyncio.sleep(0.2)

    return wait
