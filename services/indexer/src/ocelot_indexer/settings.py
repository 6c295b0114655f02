"""The indexer's settings."""

from pydantic import Field

from ocelot_common.settings import BaseUrl, QueueUrl, WorkerSettings


class IndexerSettings(WorkerSettings):
    """Environment variables of the indexer."""

    opensearch_url: BaseUrl = Field(
        alias="OPENSEARCH_URL", description="URL of OpenSearch 2.19 or later, or 3."
    )
    sqs_index_queue_url: QueueUrl = Field(
        alias="SQS_INDEX_QUEUE_URL", description="URL of the index queue."
    )
    sqs_index_dlq_url: QueueUrl = Field(
        alias="SQS_INDEX_DLQ_URL", description="URL of the dead letter queue of the index queue."
    )
    batch_events: int = Field(
        default=2_000,
        alias="OCELOT_INDEXER_BATCH_EVENTS",
        ge=1,
        le=50_000,
        description="Events per batch. They are read from MongoDB in chunks of at most 16 MiB.",
    )
    bulk_bytes: int = Field(
        default=6 * 1024 * 1024,
        alias="OCELOT_INDEXER_BULK_BYTES",
        ge=64 * 1024,
        le=64 * 1024 * 1024,
        description="Bytes per _bulk request.",
    )
    batches_in_flight: int = Field(
        default=3,
        alias="OCELOT_INDEXER_BATCHES_IN_FLIGHT",
        ge=1,
        le=32,
        description="Batches that the indexer processes concurrently.",
    )
    max_buffered_bytes: int = Field(
        default=64 * 1024 * 1024,
        alias="OCELOT_INDEXER_MAX_BUFFERED_BYTES",
        ge=256 * 1024,
        description="Bytes of received messages at which the indexer stops receiving. A receive"
        " call in progress counts 1 MiB per message.",
    )
