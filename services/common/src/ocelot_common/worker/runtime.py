"""Start, readiness and drain of a worker process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Gauge
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from ocelot_common import mongo
from ocelot_common.build_info import build_info
from ocelot_common.probes import serve_probes
from ocelot_common.process import tune_garbage_collector
from ocelot_common.queue.client import SqsClient, working_client
from ocelot_common.queue.depth import read_depth
from ocelot_common.queue.gate import Gate
from ocelot_common.queue.keys import KeyFile, QueueKeys, load_key_file
from ocelot_common.queue.sending import SQS_ERRORS
from ocelot_common.registry.snapshot import RegistrySnapshot
from ocelot_common.registry.store import RegistryStore
from ocelot_common.settings import WorkerSettings
from ocelot_common.tasks import cancel_and_wait
from ocelot_common.telemetry.logs import configure_logs, get_logger
from ocelot_common.telemetry.metrics import process_registry
from ocelot_common.telemetry.tracing import configure_tracing
from ocelot_common.worker.key_monitor import KeyMonitor
from ocelot_common.worker.monitors import (
    BackendMonitor,
    hold_for_registry,
    store_probe,
    watch_registry,
)

Document = dict[str, Any]

_DEPTH_EVERY_SEC = 15.0
#: Of the time to drain: for giving back what is in hand, and for closing the clients after it.
_RELEASE_SHARE = 0.1
_CLOSE_SHARE = 0.1

log = get_logger(__name__)


class Job(Protocol):
    """The work of a worker process."""

    async def run(self) -> None:
        """Work until `stop`, and then until all that was begun is done."""
        ...

    def stop(self) -> None:
        """Take nothing new."""
        ...

    async def abandon(self) -> None:
        """Give back what is in hand: the time is up."""
        ...


class WorkerRuntime:
    """The clients and watchers of a worker, opened in the order in which they need each other."""

    def __init__(
        self,
        service: str,
        client: AsyncMongoClient[Document],
        database: AsyncDatabase[Document],
        sqs: SqsClient,
        registry: CollectorRegistry,
        key_file: KeyFile,
    ) -> None:
        self.service = service
        self.client = client
        self.database = database
        self.sqs = sqs
        self.metrics = registry
        self.store = RegistryStore(database)
        self.snapshot = RegistrySnapshot(self.store)
        self.gate = Gate(
            Gauge(
                "ocelot_worker_paused",
                "1 while the worker does not receive messages for this cause, otherwise 0",
                ["cause"],
                registry=registry,
            )
        )
        hold_for_registry(self.snapshot, self.gate)
        self.keys = QueueKeys(key_file, self.snapshot.queue_key)
        self.key_monitor = KeyMonitor(self.keys, self.snapshot, self.gate, database)
        self.store_monitor = BackendMonitor("mongodb", self.gate, store_probe(database, service))

    @asynccontextmanager
    async def background(self, *tasks: Awaitable[None]) -> AsyncIterator[None]:
        """Run watchers and `tasks` while the context lasts."""
        await self.snapshot.start()
        running = [
            asyncio.ensure_future(task)
            for task in (
                watch_registry(self.snapshot, self.gate),
                self._watch_store(),
                self.key_monitor.run(),
                *tasks,
            )
        ]
        for each in running:
            each.add_done_callback(report_failure)
        try:
            yield
        finally:
            await cancel_and_wait(running)
            await self.snapshot.close()

    async def _watch_store(self) -> None:
        # The probe writes, and a write before MongoDB has been prepared makes a collection.
        await self.snapshot.wait_fresh()
        await self.store_monitor.run()


@asynccontextmanager
async def open_runtime(settings: WorkerSettings, service: str) -> AsyncIterator[WorkerRuntime]:
    """Open a worker's clients and its probes port."""
    key_file = load_key_file(settings.queue_keys_file)
    configure_logs(service=service, level=settings.log_level)
    provider = configure_tracing(service=service, otlp_endpoint=settings.otlp_endpoint)
    async with AsyncExitStack() as stack:
        client = mongo.connect(settings.mongodb_url, app_name=f"ocelot-{service}")
        stack.push_async_callback(mongo.close, client)
        sqs = await stack.enter_async_context(working_client(settings))
        registry = process_registry()
        database = client[settings.mongodb_database]
        runtime = WorkerRuntime(service, client, database, sqs, registry, key_file)
        await stack.enter_async_context(
            serve_probes(
                host=settings.probes_host,
                port=settings.probes_port,
                readiness=lambda: runtime.gate.causes,
                registry=registry,
                build=build_info(service),
            )
        )
        yield runtime
    if provider:
        provider.shutdown()


def report_failure(task: asyncio.Future[None]) -> None:
    """Log what ended a watcher: the process goes on, so nobody would learn of it otherwise."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("background_task_failed", exc_info=error)


async def run_job(job: Job, *, stopping: asyncio.Event, drain_timeout_sec: float) -> None:
    """Run a job until the process is asked to stop, then drain it within its time.

    Args:
        job: to run.
        stopping: set when the process is asked to stop.
        drain_timeout_sec: from then to the end, giving back what is left in hand included: what is
            away, SQS too, must not keep the process until it is killed.

    Raises:
        Exception: what ended the job early.
    """
    tune_garbage_collector()
    work = asyncio.create_task(job.run(), name="job")
    stop = asyncio.create_task(stopping.wait(), name="stop")
    log.info("worker_started")
    await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        stop.cancel()
        work.result()
        raise RuntimeError("the worker's loop ended unexpectedly")
    log.info("worker_draining", timeout_sec=drain_timeout_sec)
    job.stop()
    work_sec = drain_timeout_sec * (1 - _RELEASE_SHARE - _CLOSE_SHARE)
    done, _ = await asyncio.wait({work}, timeout=work_sec)
    if not done:
        log.warning("worker_drain_timed_out")
        await cancel_and_wait([work])
        try:
            async with asyncio.timeout(drain_timeout_sec * _RELEASE_SHARE):
                await job.abandon()
        except TimeoutError:
            log.warning("worker_release_timed_out")  # the messages come back by themselves
        return
    work.result()
    log.info("worker_drained")


async def report_depth(
    sqs: SqsClient, queue_urls: Mapping[str, str], registry: CollectorRegistry
) -> None:
    """Keep the gauge of the depths of queues, by name; runs until cancelled."""
    gauge = Gauge(
        "ocelot_queue_messages",
        "Messages per queue and state, as estimated by SQS",
        ["queue", "state"],
        registry=registry,
    )
    while True:
        for queue, url in queue_urls.items():
            try:
                depth = await read_depth(sqs, url)
            except SQS_ERRORS as error:
                log.warning("queue_depth_unknown", queue=queue, error=repr(error)[:300])
            else:
                for state, value in depth._asdict().items():
                    gauge.labels(queue=queue, state=state).set(value)
        await asyncio.sleep(_DEPTH_EVERY_SEC)
