import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from pymongo import AsyncMongoClient

from ocelot_devstack.ports import free_opensearch_port, free_port
from ocelot_devstack.pytest_plugin import dev_settings
from ocelot_devstack.queues import open_sqs
from ocelot_devstack.services import inherited_env

#: On the loopback device, but not the address that backends have by default.
HOST = "127.0.0.2"


@asynccontextmanager
async def backends_process(
    state_dir: Path, **env: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ocelot_devstack", "backends"),
        env={
            **inherited_env(),
            "OCELOT_DEV_BACKENDS_HOST": HOST,
            "OCELOT_DEV_STATE_DIR": str(state_dir),
            **env,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def children_of(pid: int) -> dict[int, str]:
    """The command lines of a process's children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child): Path(f"/proc/{child}/cmdline").read_text() for child in children}


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def read_until_ready(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    text = ""
    async for line in process.stdout:
        text += line.decode()
        if line.startswith(b"Ready"):
            return text
    pytest.fail(f"the backends ended: {text}")


@pytest.mark.opensearch
async def test_backends_alone_listen_on_the_address_that_a_setting_names(
    opensearch_url: str, tmp_path: Path
) -> None:
    del opensearch_url  # asked for so that a missing OpenSearch skips or fails by name
    mongodb, sqs, search = free_port(), free_port(), free_opensearch_port()
    async with backends_process(
        tmp_path,
        OCELOT_DEV_MONGODB_PORT=str(mongodb),
        OCELOT_DEV_SQS_PORT=str(sqs),
        OCELOT_DEV_OPENSEARCH_PORT=str(search),
        OCELOT_DEV_OPENSEARCH_JAVA_OPTIONS="-XX:TieredStopAtLevel=1",
    ) as process:
        await read_until_ready(process)
        async with AsyncMongoClient[dict[str, object]](
            f"mongodb://{HOST}:{mongodb}/?replicaSet=rs0", serverSelectionTimeoutMS=30_000
        ) as client:
            hello = await client.admin.command("hello")
        assert hello["me"] == f"{HOST}:{mongodb}"
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            assert (await http.get(f"http://{HOST}:{search}")).status_code == 200
        async with open_sqs(f"http://{HOST}:{sqs}", dev_settings(tmp_path).aws_env()) as client:
            listed = await client.list_queues()
        names = {url.rpartition("/")[2] for url in listed["QueueUrls"]}
        assert names == {"ocelot-ingest", "ocelot-ingest-dlq", "ocelot-index", "ocelot-index-dlq"}

        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 120) == 0


async def test_a_backend_that_ends_ends_the_others(tmp_path: Path) -> None:
    async with backends_process(
        tmp_path,
        OCELOT_DEV_MONGODB_PORT=str(free_port()),
        OCELOT_DEV_SQS_PORT=str(free_port()),
        OCELOT_DEV_OPENSEARCH="false",
    ) as process:
        await read_until_ready(process)
        children = children_of(process.pid)
        (mongod,) = (pid for pid, command in children.items() if "mongod" in command)
        os.kill(mongod, signal.SIGKILL)
        assert process.stdout is not None
        rest = (await asyncio.wait_for(process.stdout.read(), 120)).decode()
        assert await process.wait() == 1
        assert "MongoDB ended unexpectedly (SIGKILL)" in rest
        assert len(children) == 2
        assert not any(map(exists, children))
