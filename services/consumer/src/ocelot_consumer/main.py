"""Wires a consumer from its settings."""

import asyncio

from ocelot_common.dead_letters import DeadLetterStore
from ocelot_common.process import run_until_signalled
from ocelot_common.queue.receiver import Receiver
from ocelot_common.settings import load
from ocelot_common.worker.refusing import RefusedMessages
from ocelot_common.worker.runtime import open_runtime, report_depth, run_job
from ocelot_consumer.consumer import Consumer
from ocelot_consumer.metrics import ConsumerMetrics
from ocelot_consumer.settings import ConsumerSettings
from ocelot_consumer.storing import EventStore


async def serve(settings: ConsumerSettings, stopping: asyncio.Event) -> None:
    """Run a consumer until `stopping` is set, then drain it."""
    async with open_runtime(settings, "consumer") as runtime:
        metrics = ConsumerMetrics(runtime.metrics)
        metrics.gate_open.set_function(lambda: float(runtime.gate.is_open))
        receiver = Receiver(
            runtime.sqs,
            settings.sqs_queue_url,
            gate=runtime.gate,
            receivers=settings.receivers,
            max_buffered_bytes=settings.max_buffered_bytes,
        )
        consumer = Consumer(
            receiver=receiver,
            store=EventStore(runtime.database, metrics, max_documents=settings.batch_events),
            dead_letters=DeadLetterStore(runtime.database),
            snapshot=runtime.snapshot,
            store_monitor=runtime.store_monitor,
            sqs=runtime.sqs,
            keys=runtime.keys,
            refused=RefusedMessages(
                receiver=receiver,
                sqs=runtime.sqs,
                dlq_url=settings.sqs_dlq_url,
                snapshot=runtime.snapshot,
                keys=runtime.key_monitor,
                counter=metrics.messages,
            ),
            index_queue_url=settings.sqs_index_queue_url,
            metrics=metrics,
            batch_events=settings.batch_events,
            batches_in_flight=settings.batches_in_flight,
        )
        depth = report_depth(runtime.sqs, {"ingest": settings.sqs_queue_url}, runtime.metrics)
        async with runtime.background(depth):
            await run_job(consumer, stopping=stopping, drain_timeout_sec=settings.drain_timeout_sec)


def main() -> None:
    """The consumer process."""
    settings = load(ConsumerSettings)
    run_until_signalled(lambda stopping: serve(settings, stopping))
