"""All processes started together, on empty backends and on a MongoDB with doubled jobs."""

import asyncio
import os
import random
import secrets
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from pymongo.asynchronous.database import AsyncDatabase

from faultkit.harness import Harness, holds
from ocelot_common import mongo
from ocelot_common.ids import format_id, new_id
from ocelot_common.jobs.model import Job, JobKind
from ocelot_common.jobs.store import JobStore, to_document
from ocelot_common.provisioning.claiming import TenantSpec
from ocelot_common.provisioning.database import prepare_database
from ocelot_common.provisioning.queue_keys import record_queue_key
from ocelot_common.provisioning.tenants import Provisioner
from ocelot_common.queue.keys import KeyFile
from ocelot_common.registry.mark import NotPreparedError, require_mark
from ocelot_common.registry.store import RegistryStore
from ocelot_devstack.backends import Backends
from ocelot_devstack.pytest_plugin import SERVICE_ENV, dev_settings
from ocelot_devstack.services import ServiceProcess
from ocelot_devstack.stack import Stack

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

#: Starts in one round: `make faults ROUNDS=30` makes 210 of them.
STARTS: Final = 7
QUICK_STARTS: Final = 2
SERVICES: Final = ("api", "consumer", "indexer", "jobs", "jobs")
RECURRING: Final = {"periods": 1, "drain": 1, "sweep": 1, "purge": 1}
READY_SEC: Final = 300.0


@asynccontextmanager
async def empty_installation(backends: Backends, state_dir: Path) -> AsyncIterator[Stack]:
    """Queues, and the names of a database and of indices that nobody has made."""
    stack = Stack(
        dev_settings(state_dir),
        backends=backends,
        name=secrets.token_hex(4),
        env=SERVICE_ENV,
        report=lambda _: None,
    )
    async with AsyncExitStack() as cleanup:
        await cleanup.enter_async_context(stack)
        cleanup.push_async_callback(stack.remove)
        cleanup.push_async_callback(kill_services, stack)
        yield stack


async def kill_services(stack: Stack) -> None:
    """End them at once: they hold nothing that anybody wants."""
    await asyncio.gather(*(process.kill() for process in stack.services))


@asynccontextmanager
async def database_of(stack: Stack) -> AsyncIterator[AsyncDatabase[dict[str, Any]]]:
    """The installation's database."""
    client = mongo.connect(stack.mongodb_url, app_name="faults")
    yield client[stack.installation.mongodb_database]
    await client.close()


async def create_tenant(stack: Stack, tenant_id: str, delay_sec: float) -> None:
    """Run `ocelot tenants create` to its end."""
    await asyncio.sleep(delay_sec)
    env = stack.installation.service_env(probes_port=1)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ocelot_cli", "tenants", "create", tenant_id),
        *("--retention-days", "30"),
        env={"PATH": os.environ["PATH"], "OCELOT_INDEX_PREFIX": stack.installation.index_prefix}
        | env,
        stdout=PIPE,
        stderr=STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def record_keys(stack: Stack, delay_sec: float) -> None:
    """Prepare MongoDB and record the queue keys, as `ocelot queue-keys new` does."""
    await asyncio.sleep(delay_sec)
    async with database_of(stack) as database:
        await prepare_database(database)
        for key in KeyFile(stack.installation.queue_keys_file).keys:
            await record_queue_key(RegistryStore(database), key)


async def start(stack: Stack, name: str, delay_sec: float) -> ServiceProcess:
    await asyncio.sleep(delay_sec)
    return await stack.start_service(name)


async def double_recurring_jobs(database: AsyncDatabase[dict[str, Any]]) -> None:
    """Leave what two jobs processes of an older release left that started together."""
    now = datetime.now(UTC)
    doubles = [
        Job(
            id=format_id(new_id()),
            kind=kind.value,
            key=kind.value,
            every_sec=60,
            due_at=now,
            created_by="ocelot",
            created_at=now,
        )
        for kind in (JobKind.PERIODS, JobKind.DRAIN)
        for _ in range(2)
    ]
    await database["jobs"].insert_many([to_document(job) for job in doubles])


async def live_jobs(database: AsyncDatabase[dict[str, Any]]) -> dict[str, int]:
    """How many live jobs there are of each recurring kind."""
    jobs = [job for job in await JobStore(database).find() if job.live and job.every_sec]
    return {kind: sum(job.kind == kind for job in jobs) for kind in {job.kind for job in jobs}}


async def start_all_together(stack: Stack, rng: random.Random, *, broken: bool) -> None:
    """One round: start everything at about the same time, and look at what is there then."""
    async with database_of(stack) as database:
        if broken:
            await double_recurring_jobs(database)
        async with asyncio.TaskGroup() as group:
            starting = [
                group.create_task(start(stack, name, rng.uniform(0, 0.5))) for name in SERVICES
            ]
            for _ in range(2):
                group.create_task(create_tenant(stack, "acme", rng.uniform(0, 1.5)))
            group.create_task(record_keys(stack, rng.uniform(0, 1.5)))
        processes = [task.result() for task in starting]
        pids = [process.pid for process in processes]
        await asyncio.gather(*(process.wait_ready(READY_SEC) for process in processes))

        async def one_of_each() -> bool:
            return await live_jobs(database) == RECURRING

        assert await holds(one_of_each, timeout_sec=READY_SEC), await live_jobs(database)
        assert (await database["jobs"].index_information())["live_key"]["unique"]
        assert [(each.running, each.pid) for each in processes] == [(True, pid) for pid in pids]
        store = RegistryStore(database)
        assert [tenant.id for tenant in await store.tenants(tombstones=True)] == ["acme"]
        await Provisioner(store, None).create(TenantSpec(id="second", owner="cli"))
        assert await live_jobs(database) == RECURRING


async def test_processes_that_start_together_leave_one_of_each_recurring_job(
    faults: Harness, backends: Backends, tmp_path: Path, rng: random.Random, seed: int
):
    starts = STARTS if faults.long else QUICK_STARTS
    for number in range(starts):
        async with empty_installation(backends, tmp_path / str(number)) as stack:
            await start_all_together(stack, rng, broken=number % 2 == 1)
    faults.notes.append(f"seed {seed}: all processes started together {starts} times")


async def test_api_consumer_and_indexer_wait_for_a_prepared_mongodb_and_make_nothing_in_it(
    faults: Harness, backends: Backends, tmp_path: Path
):
    del faults  # asked for so that the session's installation does not start meanwhile
    async with empty_installation(backends, tmp_path) as stack, database_of(stack) as database:
        waiting = [await stack.start_service(name) for name in ("api", "consumer", "indexer")]
        async with httpx.AsyncClient(trust_env=False) as http:

            async def all_wait() -> bool:
                try:
                    answers = [await http.get(f"{each.probes_url}/readyz") for each in waiting]
                except httpx.TransportError:
                    return False
                causes = [answer.json()["causes"].get("registry", "") for answer in answers]
                return all("has not been prepared" in cause for cause in causes)

            assert await holds(all_wait, timeout_sec=READY_SEC)
            answer = await http.post(
                f"{waiting[0].url}/api/v1/logs",
                content=b"{}",
                headers={"Authorization": "Bearer x"},
            )
        assert (answer.status_code, answer.json()["code"]) == (503, "registry_stale")
        assert await database.list_collection_names() == []
        jobs = await stack.start_service("jobs")

        async def prepared() -> bool:
            try:
                await require_mark(database)
            except NotPreparedError:
                return False
            return True

        assert await holds(prepared, timeout_sec=READY_SEC)
        await record_keys(stack, 0)
        await asyncio.gather(*(each.wait_ready(READY_SEC) for each in (*waiting, jobs)))
        assert all(each.running for each in waiting)
