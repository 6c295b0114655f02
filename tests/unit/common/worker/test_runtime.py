import asyncio

import pytest
from botocore.exceptions import EndpointConnectionError
from prometheus_client import CollectorRegistry

from ocelot_common.worker import runtime
from ocelot_common.worker.runtime import report_depth, run_job


class Job:
    """Works until it is stopped, and then for a while."""

    def __init__(self, *, drain_sec: float = 0.0, error: Exception | None = None) -> None:
        self.drain_sec = drain_sec
        self.error = error
        self.happened: list[str] = []
        self._stop = asyncio.Event()

    async def run(self) -> None:
        self.happened.append("run")
        if self.error:
            raise self.error
        try:
            await self._stop.wait()
            await asyncio.sleep(self.drain_sec)
        except asyncio.CancelledError:
            self.happened.append("cancelled")
            raise
        self.happened.append("drained")

    def stop(self) -> None:
        self.happened.append("stop")
        self._stop.set()

    async def abandon(self) -> None:
        self.happened.append("abandon")


@pytest.fixture(autouse=True)
def _collector_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "tune_garbage_collector", lambda: None)


async def run(job: Job, *, drain_timeout_sec: float = 5) -> None:
    stopping = asyncio.Event()
    task = asyncio.create_task(run_job(job, stopping=stopping, drain_timeout_sec=drain_timeout_sec))
    await asyncio.sleep(0.01)
    stopping.set()
    await asyncio.wait_for(task, 60)


async def test_a_job_is_stopped_and_drained() -> None:
    job = Job(drain_sec=0.02)
    await run(job)
    assert job.happened == ["run", "stop", "drained"]


async def test_a_job_that_does_not_drain_in_time_gives_back_what_is_in_hand() -> None:
    job = Job(drain_sec=3_600)
    await run(job, drain_timeout_sec=0.02)
    assert job.happened == ["run", "stop", "cancelled", "abandon"]


async def test_a_job_whose_messages_can_not_be_given_back_ends_in_its_time_too() -> None:
    class Stuck(Job):
        async def abandon(self) -> None:
            await super().abandon()
            await asyncio.sleep(3_600)

    job = Stuck(drain_sec=3_600)
    await run(job, drain_timeout_sec=0.5)
    assert job.happened == ["run", "stop", "cancelled", "abandon"]


async def test_a_job_that_fails_ends_the_process() -> None:
    with pytest.raises(KeyError):
        await run_job(Job(error=KeyError("x")), stopping=asyncio.Event(), drain_timeout_sec=1)


async def test_a_job_that_ends_by_itself_is_a_failure() -> None:
    job = Job()
    job._stop.set()
    with pytest.raises(RuntimeError, match="loop ended"):
        await run_job(job, stopping=asyncio.Event(), drain_timeout_sec=1)


async def test_a_watcher_that_fails_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    class Log:
        """Not structlog's own capture: a command of another test may have switched logs off."""

        def __init__(self) -> None:
            self.events: list[str] = []

        def error(self, event: str, **_: object) -> None:
            self.events.append(event)

    async def watch(error: Exception | None) -> None:
        if error:
            raise error

    log = Log()
    monkeypatch.setattr(runtime, "log", log)
    for error in (None, KeyError("what nobody foresaw")):
        task = asyncio.ensure_future(watch(error))
        task.add_done_callback(runtime.report_failure)
        await asyncio.wait([task])
        await asyncio.sleep(0)
    assert log.events == ["background_task_failed"]


class FakeSqs:
    def __init__(self) -> None:
        self.answers: list[dict[str, object] | Exception] = []

    async def get_queue_attributes(self, **_: object) -> dict[str, object]:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def depth(number: int) -> dict[str, object]:
    names = ("", "NotVisible", "Delayed")
    return {"Attributes": {f"ApproximateNumberOfMessages{name}": str(number) for name in names}}


async def test_the_gauge_keeps_its_value_while_the_depth_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime, "_DEPTH_EVERY_SEC", 0)
    sqs, registry = FakeSqs(), CollectorRegistry()
    sqs.answers = [depth(3), EndpointConnectionError(endpoint_url="x"), KeyError("the end")]
    with pytest.raises(KeyError, match="the end"):
        await report_depth(sqs, {"ingest": "queue"}, registry)
    for state in ("visible", "in_flight", "delayed"):
        labels = {"queue": "ingest", "state": state}
        assert registry.get_sample_value("ocelot_queue_messages", labels) == 3
