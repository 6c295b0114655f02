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
        description="Jobs that one process runs concurrently.",
    )
    bulk_bytes: int = Field(
        default=6 * 1024 * 1024,
        alias="OCELOT_REBUILD_BULK_BYTES",
        ge=64 * 1024,
        le=64 * 1024 * 1024,
        description="Bytes per _bulk request of a rebuild.",
    )
    rebuild_propagation_sec: float = Field(
        default=45.0,
        alias="OCELOT_REBUILD_PROPAGATION_SEC",
        ge=0,
        le=600,
        description="Seconds to wait for every process to pick up a registry change. Below 45, a"
        " partitioned process may write to the old index only.",
    )
    replaced_index_retention_sec: float = Field(
        default=24 * 3600.0,
        alias="OCELOT_REPLACED_INDEX_RETENTION_SEC",
        ge=60,
        description="Seconds for which an index that a rebuild replaced is kept.",
    )
    maintenance_interval_sec: int = Field(
        default=60,
        alias="OCELOT_MAINTENANCE_INTERVAL_SEC",
        ge=1,
        le=3600,
        description="Seconds between runs of the index lifecycle job and of the dead-letter"
        " collector.",
    )
    purge_interval_sec: int = Field(
        default=3600,
        alias="OCELOT_PURGE_INTERVAL_SEC",
        ge=1,
        description="Seconds between purges of events past their retention, and between sweeps of"
        " data written for deleted tenants. Reads hide these events before the purge.",
    )
