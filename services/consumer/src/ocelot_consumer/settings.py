"""The consumer's settings."""

from pydantic import Field

from ocelot_common.settings import WorkerSettings


class ConsumerSettings(WorkerSettings):
    """Environment variables of the consumer."""

    sqs_dlq_url: str = Field(
        alias="SQS_DLQ_URL", description="Dead letter queue of the ingest queue"
    )
    batch_events: int = Field(
        default=4_000,
        alias="OCELOT_CONSUMER_BATCH_EVENTS",
        ge=1,
        le=100_000,
        description="Events of one batch, across envelopes; a batch also ends at 16 MiB of events",
    )
    batches_in_flight: int = Field(
        default=3,
        alias="OCELOT_CONSUMER_BATCHES_IN_FLIGHT",
        ge=1,
        le=32,
        description="Batches that the consumer handles at once",
    )
    max_buffered_bytes: int = Field(
        default=64 * 1024 * 1024,
        alias="OCELOT_CONSUMER_MAX_BUFFERED_BYTES",
        ge=1024 * 1024,
        description="Bytes of messages in hand, packed and unpacked, beyond which the consumer"
        " receives nothing; a receive under way counts 1 MiB per message",
    )
