"""The api's settings."""

from typing import Self

from pydantic import Field, model_validator

from ocelot_api.budget import EVENT_BYTES
from ocelot_common.event_limits import EventLimits
from ocelot_common.settings import (
    HttpSettings,
    MongoSettings,
    OpenSearchSettings,
    SqsSettings,
    TelemetrySettings,
    TokenSettings,
)

_MIB = 1024 * 1024


class ApiSettings(
    MongoSettings, SqsSettings, OpenSearchSettings, TelemetrySettings, HttpSettings, TokenSettings
):
    """Environment variables of the api."""

    max_event_bytes: int = Field(
        default=65_536,
        alias="OCELOT_MAX_EVENT_BYTES",
        ge=1_024,
        le=262_144,
        description="Largest event, in bytes of JSON; a tenant's own limit may be lower",
    )
    max_bulk_events: int = Field(
        default=10_000,
        alias="OCELOT_MAX_BULK_EVENTS",
        ge=1,
        le=100_000,
        description="Most events in one bulk request",
    )
    max_bulk_bytes: int = Field(
        default=16 * _MIB,
        alias="OCELOT_MAX_BULK_BYTES",
        ge=65_536,
        le=64 * _MIB,
        description="Largest bulk request, in bytes after decompression",
    )
    body_budget_bytes: int = Field(
        default=512 * _MIB,
        alias="OCELOT_BODY_BUDGET_BYTES",
        ge=4 * 65_536,
        description="Bodies, buffers and sends of one process together; one tenant may hold half;"
        " beyond it: 503",
    )
    answer_budget_bytes: int = Field(
        default=128 * _MIB,
        alias="OCELOT_ANSWER_BUDGET_BYTES",
        ge=64 * _MIB,
        description="Answers of one process together, until clients have read them; one tenant may"
        " hold half; beyond it: 503",
    )
    body_timeout_sec: float = Field(
        default=30.0,
        alias="OCELOT_BODY_TIMEOUT_SEC",
        gt=0,
        description="Time in which a request's body must arrive",
    )
    linger_sec: float = Field(
        default=0.005,
        alias="OCELOT_LINGER_SEC",
        ge=0,
        le=1,
        description="How long an event waits for others before it is sent to SQS",
    )
    search_timeout_sec: float = Field(
        default=5.0,
        alias="OCELOT_SEARCH_TIMEOUT_SEC",
        gt=0,
        le=60,
        description="Time that one search may take on a backend",
    )
    max_searches: int = Field(
        default=64,
        alias="OCELOT_MAX_SEARCHES",
        ge=4,
        le=1_000,
        description="Searches and statistics that one process asks its backends for at once; one"
        " tenant may hold half; beyond them: 503",
    )
    max_exports: int = Field(
        default=8,
        alias="OCELOT_MAX_EXPORTS",
        ge=4,
        le=100,
        description="Exports that one process answers at once; one tenant may hold half; beyond"
        " them: 503",
    )

    @model_validator(mode="after")
    def _check_budget(self) -> Self:
        largest = 2 * self.max_bulk_bytes + EVENT_BYTES * self.max_bulk_events
        if self.body_budget_bytes < 2 * largest:
            raise ValueError(
                f"OCELOT_BODY_BUDGET_BYTES must be at least {2 * largest}. One tenant may hold half"
                f" of it, and the largest request holds {largest}: twice OCELOT_MAX_BULK_BYTES (a"
                f" compressed body is held twice) and {EVENT_BYTES} for each of"
                " OCELOT_MAX_BULK_EVENTS"
            )
        return self

    def event_limits(self, tenant_max_event_bytes: int | None) -> EventLimits:
        """The bounds on one event of a tenant."""
        size = self.max_event_bytes
        if tenant_max_event_bytes is not None:
            size = min(size, tenant_max_event_bytes)
        return EventLimits(max_event_bytes=size)
