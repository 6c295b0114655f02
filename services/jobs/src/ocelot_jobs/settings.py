"""The jobs' settings."""

from pydantic import Field

from ocelot_common.settings import WorkerSettings


class JobsSettings(WorkerSettings):
    """Environment variables of the jobs."""

    concurrency: int = Field(
        default=4,
        alias="OCELOT_JOBS_CONCURRENCY",
        ge=1,
        le=64,
        description="Jobs that one process works on at once",
    )
    bulk_bytes: int = Field(
        default=6 * 1024 * 1024,
        alias="OCELOT_REBUILD_BULK_BYTES",
        ge=64 * 1024,
        le=64 * 1024 * 1024,
        description="Size of one _bulk request of a rebuild",
    )
    rebuild_propagation_sec: float = Field(
        default=45.0,
        alias="OCELOT_REBUILD_PROPAGATION_SEC",
        ge=0,
        le=600,
        description="How long a rebuild waits until every process has read the registry or stopped;"
        " below 45, one that is cut off for longer may miss the change",
    )
    replaced_index_retention_sec: float = Field(
        default=24 * 3600.0,
        alias="OCELOT_REPLACED_INDEX_RETENTION_SEC",
        ge=60,
        description="How long an index that a rebuild replaced is kept",
    )
    maintenance_interval_sec: int = Field(
        default=60,
        alias="OCELOT_MAINTENANCE_INTERVAL_SEC",
        ge=1,
        le=3600,
        description="How often the indices are looked after and SQS's dead letter queues emptied",
    )
    purge_interval_sec: int = Field(
        default=3600,
        alias="OCELOT_PURGE_INTERVAL_SEC",
        ge=1,
        description="How often events past their retention, which are hidden at once, and what was"
        " written for deleted tenants are removed",
    )
