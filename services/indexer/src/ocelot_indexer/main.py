"""Wires an indexer from its settings."""

import asyncio

from ocelot_common import opensearch
from ocelot_common.bulk import BulkWriter
from ocelot_common.dead_letters import DeadLetterStore
from ocelot_common.process import run_until_signalled
from ocelot_common.provisioning.indices import IndexMaker
from ocelot_common.queue.receiver import Receiver
from ocelot_common.settings import load
from ocelot_common.worker.monitors import BackendMonitor
from ocelot_common.worker.refusing import RefusedMessages
from ocelot_common.worker.runtime import open_runtime, report_depth, run_job
from ocelot_indexer.indexer import Indexer
from ocelot_indexer.metrics import IndexerMetrics
from ocelot_indexer.settings import IndexerSettings


async def serve(settings: IndexerSettings, stopping: asyncio.Event) -> None:
    """Run an indexer until `stopping` is set, then drain it."""
    client = opensearch.connect(settings.opensearch_url)
    try:
        async with open_runtime(settings, "indexer") as runtime:
            metrics = IndexerMetrics(runtime.metrics)
            metrics.gate_open.set_function(lambda: float(runtime.gate.is_open))

            async def probe() -> None:
                await client.cluster.health()

            search_monitor = BackendMonitor("opensearch", runtime.gate, probe)
            indices = IndexMaker(runtime.store, client)
            receiver = Receiver(
                runtime.sqs,
                settings.sqs_index_queue_url,
                gate=runtime.gate,
                receivers=settings.receivers,
                max_buffered_bytes=settings.max_buffered_bytes,
            )
            indexer = Indexer(
                receiver=receiver,
                keys=runtime.keys,
                refused=RefusedMessages(
                    receiver=receiver,
                    sqs=runtime.sqs,
                    dlq_url=settings.sqs_index_dlq_url,
                    snapshot=runtime.snapshot,
                    keys=runtime.key_monitor,
                    counter=metrics.messages,
                ),
                database=runtime.database,
                writer=BulkWriter(client, metrics.bulk_seconds, bulk_bytes=settings.bulk_bytes),
                indices=indices,
                dead_letters=DeadLetterStore(runtime.database),
                snapshot=runtime.snapshot,
                store_monitor=runtime.store_monitor,
                search_monitor=search_monitor,
                metrics=metrics,
                batch_events=settings.batch_events,
                batches_in_flight=settings.batches_in_flight,
            )
            watchers = (
                search_monitor.run(),
                report_depth(runtime.sqs, {"index": settings.sqs_index_queue_url}, runtime.metrics),
            )
            async with runtime.background(*watchers):
                await run_job(
                    indexer, stopping=stopping, drain_timeout_sec=settings.drain_timeout_sec
                )
    finally:
        await client.close()


def main() -> None:
    """The indexer process."""
    settings = load(IndexerSettings)
    run_until_signalled(lambda stopping: serve(settings, stopping))
