"""The command as people run it: a process with an environment, on the session's installation."""

import asyncio
import json
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ocelot_devstack.queues import open_sqs

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
REAL_LOGS = ROOT.parent / "shared" / "data"
#: The shipped mappings, and the files that each reads.
REAL_FILES = {
    "cloudtrail": "cloudtrail-*.ndjson.gz",
    "kubernetes": "kubernetes-audit-*.ndjson.gz",
    "okta": "okta-cribl.ndjson.gz",
    "windows-security": "windows-security-otrf.ndjson.gz",
    "github-webhook": "github-webhooks-octokit.ndjson.gz",
}

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

    async def shell(self, line: str, **env: str) -> str:
        """What a line prints in a terminal whose folder is the checkout; it must end well."""
        programs = os.pathsep.join((str(Path(sys.executable).parent), self.env["PATH"]))
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", line),
            stdout=PIPE,
            stderr=STDOUT,
            env=self.env | {"PATH": programs} | env,
            cwd=ROOT,
        )
        printed = (await process.communicate())[0].decode()
        assert process.returncode == 0, printed
        return printed

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


@pytest.fixture(scope="session")
def ocelot_env(running: Any) -> dict[str, str]:
    """The variables of an administrator of the session's installation."""
    stack = running.stack
    api = next(service for service in stack.services if service.spec.name == "api")
    backends = stack.installation.service_env(probes_port=0)
    env = {name: os.environ[name] for name in _INHERITED if name in os.environ} | backends
    return env | {
        "OCELOT_API_URL": api.url,
        "OCELOT_DEV_JSON": "",
        "OCELOT_INDEX_PREFIX": stack.installation.index_prefix,
        "OCELOT_SIGNING_KEY_FILE": str(stack.installation.signing_key_file),
    }


@pytest.fixture
def ocelot(ocelot_env: dict[str, str], tmp_path: Path) -> Ocelot:
    return Ocelot(ocelot_env, tmp_path)


def _bearer(header: dict[str, str]) -> str:
    return header["Authorization"].removeprefix("Bearer ")


@pytest.fixture(scope="session")
def tokens() -> Any:
    """The variables with a tenant's token of a role."""

    def of(access: Any, role: str = "writer") -> dict[str, str]:
        return {"OCELOT_TOKEN": _bearer(getattr(access, role))}

    return of


@pytest.fixture(scope="session")
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

    async def wait(timeout_sec: float = 600) -> None:
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


class ImportedLogs(NamedTuple):
    """Audit logs, and the tenant into which they were imported."""

    access: Any
    files: dict[str, list[Path]]
    #: What each command printed, the command as the tutorial has it: for the tenant acme.
    printed: dict[str, str]

    def accounts(self) -> list[dict[str, int]]:
        """Of each import, what became of its lines."""
        return [self.account_of(text) for text in self.printed.values()]

    @staticmethod
    def account_of(printed: str) -> dict[str, int]:
        """The numbers at an import's end."""
        lines = re.findall(r"^ (\S.*?) +([\d,]+) *$", printed, re.MULTILINE)
        return {name: int(number.replace(",", "")) for name, number in lines}


@pytest.fixture(scope="session")
def import_logs(running: Any, ocelot_env: dict[str, str], tokens: Any, until_drained: Any) -> Any:
    """Imports files into a tenant of their own, and waits until they are stored and searchable."""

    async def run(files: dict[str, list[Path]], lines: list[str], run_in: Path) -> ImportedLogs:
        """Import files.

        Args:
            files: by mapping.
            lines: the commands that import them, for the tenant acme.
            run_in: a folder for the command.
        """
        access = await running.tenant()
        ocelot = Ocelot(ocelot_env, run_in)
        printed = {
            line: await ocelot.shell(line.replace("acme", access.tenant.id), **tokens(access))
            for line in lines
        }
        await until_drained(1_800)
        logs = ImportedLogs(access, files, printed)
        await running.until_indexed(
            access.tenant, sum(account["accepted"] for account in logs.accounts())
        )
        return logs

    return run


def _import_lines(folder: str, patterns: dict[str, str]) -> list[str]:
    return [
        f"ocelot import --tenant acme --mapping {mapping} {folder}/{pattern}"
        for mapping, pattern in patterns.items()
    ]


@pytest.fixture(scope="session")
async def real_logs(import_logs: Any, tmp_path_factory: pytest.TempPathFactory) -> ImportedLogs:
    """All real audit logs in one tenant."""
    if not REAL_LOGS.is_dir():
        pytest.skip("the real audit logs are not beside the checkout")
    files = {name: sorted(REAL_LOGS.glob(pattern)) for name, pattern in REAL_FILES.items()}
    lines = _import_lines(str(REAL_LOGS), REAL_FILES)
    logs: ImportedLogs = await import_logs(files, lines, tmp_path_factory.mktemp("real-logs"))
    return logs


@pytest.fixture(scope="session")
async def example_logs(import_logs: Any, tmp_path_factory: pytest.TempPathFactory) -> ImportedLogs:
    """The examples in one tenant."""
    names = {mapping: f"{mapping}.ndjson" for mapping in REAL_FILES}
    files = {mapping: [EXAMPLES / name] for mapping, name in names.items()}
    lines = _import_lines("examples", names)
    logs: ImportedLogs = await import_logs(files, lines, tmp_path_factory.mktemp("example-logs"))
    return logs
