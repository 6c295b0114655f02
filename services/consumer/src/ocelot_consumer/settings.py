"""The consumer's settings."""

from pydantic import Field

from ocelot_common.settings import QueueUrl, WorkerSettings


class ConsumerSettings(WorkerSettings):
    """Environment variables of the consumer."""

    sqs_dlq_url: QueueUrl = Field(
        alias="SQS_DLQ_URL", description="URL of the dead letter queue of the ingest queue."
    )
    batch_events: int = Field(
        default=4_000,
        alias="OCELOT_CONSUMER_BATCH_EVENTS",
        ge=1,
        le=100_000,
        description="Events per batch, across envelopes. A batch also ends at 16 MiB of events.",
    )
    batches_in_flight: int = Field(
        default=3,
        alias="OCELOT_CONSUMER_BATCHES_IN_FLIGHT",
        ge=1,
        le=32,
        description="Batches that the consumer processes concurrently.",
    )
    max_buffered_bytes: int = Field(
        default=64 * 1024 * 1024,
        alias="OCELOT_CONSUMER_MAX_BUFFERED_BYTES",
        ge=1024 * 1024,
        description="Bytes of received messages, packed and unpacked, at which the consumer stops"
        " receiving. A receive call in progress counts 1 MiB per message.",
    )
