"""What the tests of jobs ask of them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from ocelot_common.envelope import Envelope, Origin, PackedEvent, Segment
from ocelot_common.ids import format_id, new_id
from ocelot_common.jobs.store import JobStore
from ocelot_common.queue.sending import Outgoing, send_all
from ocelot_common.timestamps import now_ms
from ocelot_devstack.queues import open_sqs
from queuekit.signing import ingest_text, key_of

DAY_MS = 24 * 3600 * 1000
TEXT = b'{"action":"doc.read","actor":{"id":"u"}}'


class JobsOver:
    """The jobs of one installation, over HTTP."""

    def __init__(self, running: Any) -> None:
        self._running = running

    async def rebuild(self, access: Any, **body: Any) -> dict[str, Any]:
        """Ask for a rebuild that is taken."""
        answer = await self._running.http.post(
            "/api/v1/logs/index/bulk", json=body, headers=access.admin
        )
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        assert answer.headers["Location"] == f"/api/v1/jobs/{job['id']}"
        return job

    async def get(self, access: Any, job_id: str) -> dict[str, Any]:
        """A job as it is now."""
        answer = await self._running.http.get(f"/api/v1/jobs/{job_id}", headers=access.admin)
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        return job

    async def until_ended(
        self, access: Any, job_id: str, *, timeout_sec: float = 300
    ) -> dict[str, Any]:
        """Wait until a job has ended."""

        async def ended() -> dict[str, Any] | None:
            job = await self.get(access, job_id)
            return job if job["state"] not in ("queued", "running") else None

        job: dict[str, Any] = await self._running.eventually(
            ended, timeout_sec=timeout_sec, what=f"the end of job {job_id}"
        )
        return job

    async def list(self, access: Any, **params: Any) -> list[dict[str, Any]]:
        """The tenant's jobs."""
        answer = await self._running.http.get("/api/v1/jobs", params=params, headers=access.admin)
        assert answer.status_code == 200, answer.text
        jobs: list[dict[str, Any]] = answer.json()["items"]
        return jobs


@pytest.fixture
def jobs(running: Any) -> JobsOver:
    """The jobs of the session's installation."""
    return JobsOver(running)


@pytest.fixture
def jobs_with(running: Any) -> Callable[..., AbstractAsyncContextManager[Any]]:
    """Runs jobs of other settings in place of the installation's own."""

    @asynccontextmanager
    async def run(**env: str) -> AsyncIterator[Any]:
        await running.stack.stop_services("jobs")
        process = await running.stack.start_service("jobs", extra_env=env)
        try:
            await process.wait_ready(180)
            yield process
        finally:
            await running.stack.stop_services("jobs")
            await (await running.stack.start_service("jobs")).wait_ready(180)

    return run


@pytest.fixture
def store(running: Any) -> JobStore:
    """The jobs themselves."""
    return JobStore(running.database)


@pytest_asyncio.fixture(loop_scope="session")
async def arrive(running: Any) -> Any:
    """Has events stored that arrived some days ago, through the queue."""

    async def send(access: Any, *, days_ago: int, number: int) -> list[str]:
        ids = [new_id() for _ in range(number)]
        events = [PackedEvent(event_id, TEXT) for event_id in ids]
        segment = Segment("w", now_ms() - days_ago * DAY_MS, "r", "", events, Origin.RETRY)
        body = ingest_text(Envelope(access.tenant.uid, [segment]), key_of(running.stack))
        stack = running.stack
        async with open_sqs(stack.sqs_endpoint_url, stack.settings.aws_env()) as sqs:
            await send_all(sqs, stack.queues.ingest, [Outgoing(body, access.tenant.uid)])
        return [format_id(event_id) for event_id in ids]

    return send


@pytest.fixture
def until_settled(running: Any) -> Any:
    """Waits until an index is whole and nothing is rebuilt."""

    async def wait(access: Any, number: int) -> None:
        """Wait until an index holds so many events, and nothing is to be rebuilt any more.

        Events of long ago have an index made for them, which is rebuilt at once; and the api knows
        of it a moment later.
        """

        async def settled() -> bool:
            space = await running.space_of(access.tenant)
            counted = await running.http.get(
                "/api/v1/logs/stats", headers=access.reader, params={"distinct": "action"}
            )
            body = counted.json()
            quiet = not any(entry.building or entry.beside for entry in space.indices)
            return quiet and (body["total"], body["backend"]) == (number, "opensearch")

        await running.until_indexed(access.tenant, number)
        await running.eventually(settled, timeout_sec=300, what="an index that is whole")

    return wait
