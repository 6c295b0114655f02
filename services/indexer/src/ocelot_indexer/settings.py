"""The indexer's settings."""

from pydantic import Field

from ocelot_common.settings import WorkerSettings


class IndexerSettings(WorkerSettings):
    """Environment variables of the indexer."""

    opensearch_url: str = Field(
        alias="OPENSEARCH_URL", description="OpenSearch 2.19+ or 3, which the indexer fills"
    )
    sqs_index_queue_url: str = Field(alias="SQS_INDEX_QUEUE_URL", description="The index queue")
    sqs_index_dlq_url: str = Field(
        alias="SQS_INDEX_DLQ_URL", description="Dead letter queue of the index queue"
    )
    batch_events: int = Field(
        default=2_000,
        alias="OCELOT_INDEXER_BATCH_EVENTS",
        ge=1,
        le=50_000,
        description="Events of one batch; they are read from MongoDB in steps of at most 16 MiB",
    )
    bulk_bytes: int = Field(
        default=6 * 1024 * 1024,
        alias="OCELOT_INDEXER_BULK_BYTES",
        ge=64 * 1024,
        le=64 * 1024 * 1024,
        description="Size of one _bulk request",
    )
    batches_in_flight: int = Field(
        default=3,
        alias="OCELOT_INDEXER_BATCHES_IN_FLIGHT",
        ge=1,
        le=32,
        description="Batches that the indexer handles at once",
    )
    max_buffered_bytes: int = Field(
        default=64 * 1024 * 1024,
        alias="OCELOT_INDEXER_MAX_BUFFERED_BYTES",
        ge=256 * 1024,
        description="Bytes of messages in hand beyond which the indexer receives nothing; a receive"
        " under way counts 1 MiB per message",
    )
