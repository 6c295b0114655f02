"""Wires the jobs from their settings."""

import asyncio
import os
import socket
from contextlib import AsyncExitStack

from opensearchpy import AsyncOpenSearch

from ocelot_common import opensearch
from ocelot_common.bulk import BulkWriter, Candidate
from ocelot_common.dead_letters import DeadLetterStore, Stage
from ocelot_common.holds import HoldStore
from ocelot_common.jobs.model import JobKind
from ocelot_common.jobs.store import JobStore
from ocelot_common.process import run_until_signalled
from ocelot_common.provisioning.database import prepare_database_when_possible
from ocelot_common.provisioning.indices import IndexMaker
from ocelot_common.provisioning.removal import DataRemoval
from ocelot_common.provisioning.tenants import Provisioner
from ocelot_common.settings import load
from ocelot_common.signed_text import Purpose
from ocelot_common.worker.runtime import WorkerRuntime, open_runtime, report_depth, run_job
from ocelot_jobs.accepting import Accept
from ocelot_jobs.dead_queues import DeadQueue
from ocelot_jobs.drain import Drain
from ocelot_jobs.metrics import JobsMetrics
from ocelot_jobs.periods import Periods
from ocelot_jobs.purge import Purge
from ocelot_jobs.rebuild import Rebuild, RebuildTimes
from ocelot_jobs.retry import Retry
from ocelot_jobs.runner import JobRunner, Work
from ocelot_jobs.sections import Sections
from ocelot_jobs.settings import JobsSettings
from ocelot_jobs.standing import keep_standing_jobs
from ocelot_jobs.sweep import Sweep


async def serve(settings: JobsSettings, stopping: asyncio.Event) -> None:
    """Work on jobs until `stopping` is set; what is not done then is for the next process."""
    async with AsyncExitStack() as stack:
        search: AsyncOpenSearch | None = None
        if settings.opensearch_url:
            search = opensearch.connect(settings.opensearch_url)
            stack.push_async_callback(search.close)
        runtime = await stack.enter_async_context(open_runtime(settings, "jobs"))
        metrics = JobsMetrics(runtime.metrics)
        jobs = JobStore(runtime.database)
        work = _work(settings, runtime, search, jobs, metrics)
        runner = JobRunner(
            jobs,
            {kind.value: each for kind, each in work.items()},
            owner=f"{socket.gethostname()}/{os.getpid()}",
            gate=runtime.gate,
            slots=settings.concurrency,
            metrics=metrics,
        )
        recurring = {
            JobKind.PERIODS: settings.maintenance_interval_sec,
            JobKind.DRAIN: settings.maintenance_interval_sec,
            JobKind.PURGE: settings.purge_interval_sec,
            JobKind.SWEEP: settings.purge_interval_sec,
        }
        standing = keep_standing_jobs(
            jobs,
            runtime.snapshot,
            runtime.store,
            every_sec={kind: sec for kind, sec in recurring.items() if kind in work},
        )
        depths = {f"{queue.name}_dlq": queue.url for queue in _dead_queues(settings)}
        depth = report_depth(runtime.sqs, depths, runtime.metrics)
        preparing = prepare_database_when_possible(runtime.database)
        async with runtime.background(preparing, standing, depth):
            await run_job(runner, stopping=stopping, drain_timeout_sec=settings.drain_timeout_sec)


def _work(
    settings: JobsSettings,
    runtime: WorkerRuntime,
    search: AsyncOpenSearch | None,
    jobs: JobStore,
    metrics: JobsMetrics,
) -> dict[JobKind, Work]:
    """What can be done here: without OpenSearch, there is no index to look after."""
    dead_letters = DeadLetterStore(runtime.database)
    work: dict[JobKind, Work] = {
        JobKind.PURGE: Purge(
            store=runtime.store,
            provisioner=Provisioner(runtime.store, search),
            holds=HoldStore(runtime.database),
            dead_letters=dead_letters,
            opensearch=search,
            metrics=metrics,
        ),
        JobKind.SWEEP: Sweep(store=runtime.store, removal=DataRemoval(runtime.store, search)),
    }
    queue_urls = {Stage.STORE: settings.sqs_queue_url}
    if settings.sqs_index_queue_url:
        queue_urls[Stage.INDEX] = settings.sqs_index_queue_url
    work[JobKind.RETRY] = Retry(
        sqs=runtime.sqs,
        queue_urls=queue_urls,
        keys=runtime.keys,
        dead_letters=dead_letters,
        store=runtime.store,
        holds=HoldStore(runtime.database),
    )
    if queues := _dead_queues(settings):
        work[JobKind.DRAIN] = Drain(
            sqs=runtime.sqs,
            queues=queues,
            keys=runtime.keys,
            dead_letters=dead_letters,
            jobs=jobs,
            metrics=metrics,
        )
        work[JobKind.ACCEPT] = Accept(
            sqs=runtime.sqs, queues=queues, keys=runtime.keys, store=runtime.store, jobs=jobs
        )
    if search is not None:
        indices = IndexMaker(runtime.store, search)
        work[JobKind.PERIODS] = Periods(
            store=runtime.store, snapshot=runtime.snapshot, indices=indices, jobs=jobs
        )
        writer: BulkWriter[Candidate] = BulkWriter(
            search, metrics.bulk_seconds, bulk_bytes=settings.bulk_bytes
        )
        work[JobKind.REBUILD] = Rebuild(
            store=runtime.store,
            opensearch=search,
            indices=indices,
            sections=Sections(
                database=runtime.database,
                opensearch=search,
                writer=writer,
                dead_letters=dead_letters,
                metrics=metrics,
            ),
            times=RebuildTimes(
                settings.rebuild_propagation_sec, settings.replaced_index_retention_sec
            ),
        )
    return work


def _dead_queues(settings: JobsSettings) -> list[DeadQueue]:
    found = (
        ("ingest", settings.sqs_dlq_url, settings.sqs_queue_url, Stage.STORE, Purpose.INGEST),
        (
            "index",
            settings.sqs_index_dlq_url,
            settings.sqs_index_queue_url,
            Stage.INDEX,
            Purpose.INDEX,
        ),
    )
    return [
        DeadQueue(name, url, target_url, stage, purpose)
        for name, url, target_url, stage, purpose in found
        if url and target_url
    ]


def main() -> None:
    """The process of jobs."""
    settings = load(JobsSettings)
    run_until_signalled(lambda stopping: serve(settings, stopping))
