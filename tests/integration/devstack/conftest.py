"""make dev in a process of its own, which a test can signal."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ocelot_devstack.ports import free_port
from ocelot_devstack.queues import open_sqs
from ocelot_devstack.settings import DevSettings

PROGRAM = Path(__file__).with_name("run_dev.py")
SERVICES = ("API", "CONSUMER", "INDEXER", "JOBS")


class MakeDev:
    """One state directory, and the make dev that runs on it."""

    def __init__(self, state_dir: Path, **env: str) -> None:
        self.state_dir = state_dir
        self.output = ""
        names = ("API", "MONGODB", "SQS", *(f"{name}_PROBES" for name in SERVICES))
        self.ports = {name: str(free_port()) for name in names}
        clean = {k: v for k, v in os.environ.items() if not k.startswith("OCELOT_DEV_")}
        for name in ("MONGODB_URL", "AWS_ENDPOINT_URL_SQS", "OPENSEARCH_URL"):
            clean.pop(name, None)
        self.env = {
            **clean,
            **{f"OCELOT_DEV_{name}_PORT": port for name, port in self.ports.items()},
            "OCELOT_DEV_OPENSEARCH": "false",
            "OCELOT_DEV_OPENSEARCH_PORT": "0",
            "OCELOT_DEV_STATE_DIR": str(state_dir),
            "STUB_ENDS": str(state_dir / "ends"),
            **env,
        }

    async def start(self, consumer: str = "worker") -> None:
        """Start it with a stub of the consumer in this role."""
        await self._start(str(PROGRAM), consumer)

    async def start_whole(self) -> None:
        """Start it with Ocelot's own services, OpenSearch included."""
        self.env["OCELOT_DEV_OPENSEARCH"] = "true"
        await self._start("-m", "ocelot_devstack", "up")

    async def start_kube(self) -> None:
        """Start a control plane and the operator beside a running one."""
        await self._start("-m", "ocelot_devstack", "kube")

    async def _start(self, *arguments: str) -> None:
        self.output = ""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            env=self.env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def wait_for(self, text: str) -> None:
        """Read the output until it holds a text."""
        assert self.process.stdout is not None
        async with asyncio.timeout(540):
            while text not in self.output:
                line = await self.process.stdout.readline()
                assert line, f"ended without {text!r}:\n{self.output}"
                self.output += line.decode()

    async def end(self) -> int:
        """Read the output to its end; the exit status."""
        assert self.process.stdout is not None
        async with asyncio.timeout(360):
            self.output += (await self.process.stdout.read()).decode()
            return await self.process.wait()

    def dev_file(self) -> dict[str, Any]:
        """What `dev.json` says."""
        content: dict[str, Any] = json.loads((self.state_dir / "dev.json").read_text())
        return content

    async def send(self, *bodies: str) -> None:
        """Send texts to the ingest queue."""
        dev = self.dev_file()
        async with open_sqs(dev["sqs_endpoint_url"], DevSettings().aws_env()) as sqs:
            for body in bodies:
                await sqs.send_message(QueueUrl=dev["queues"]["ingest"], MessageBody=body)

    def beside(self) -> "MakeDev":
        """Another one on the same state directory."""
        return MakeDev(self.state_dir)

    def children(self) -> list[int]:
        """Every process whose environment or arguments point into our state directory."""
        mark = str(self.state_dir).encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) in {os.getpid(), self.process.pid}:
                continue
            try:
                seen = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if mark in seen:
                found.append(int(entry.name))
        return found


@pytest.fixture(autouse=True)
def ends_file(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where stubs write that they end."""
    monkeypatch.setenv("STUB_ENDS", str(tmp_path_factory.mktemp("stub") / "ends"))
    assert os.environ["STUB_ENDS"]


@pytest.fixture
async def make_dev(tmp_path: Path) -> AsyncIterator[MakeDev]:
    """Not started yet; killed at the end."""
    run = MakeDev(tmp_path / "state")
    yield run
    process = getattr(run, "process", None)
    if process is not None and process.returncode is None:
        process.kill()
        await process.wait()
