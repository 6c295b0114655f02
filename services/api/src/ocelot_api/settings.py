"""The api's settings."""

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode

from ocelot_api.budget import EVENT_BYTES
from ocelot_api.client_address import Network, parse_networks
from ocelot_common.event_limits import EventLimits
from ocelot_common.queue.client import SEND_TIMEOUT_SEC
from ocelot_common.settings import (
    MongoSettings,
    OpenSearchSettings,
    ProbesSettings,
    QueueKeySettings,
    SqsSettings,
    TelemetrySettings,
    TokenSettings,
)

_MIB = 1024 * 1024


class ApiSettings(
    MongoSettings,
    SqsSettings,
    QueueKeySettings,
    OpenSearchSettings,
    TelemetrySettings,
    ProbesSettings,
    TokenSettings,
):
    """Environment variables of the api."""

    http_host: str = Field(
        default="0.0.0.0",  # noqa: S104 - a container's port
        alias="OCELOT_HTTP_HOST",
        description="Address on which clients are served.",
    )
    http_port: int = Field(
        default=8000,
        alias="OCELOT_HTTP_PORT",
        ge=1,
        le=65535,
        description="Port on which clients are served: /api and /.well-known.",
    )
    # Not decoded as JSON, as pydantic does with other types than text.
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(parse_networks)] = (
        Field(
            default=(),
            alias="OCELOT_TRUSTED_PROXIES",
            description="Networks of proxies whose X-Forwarded-For header is trusted, such as"
            " 10.0.0.0/8,fd00::/8. If not set, the header is ignored. The client's address"
            " is logged for 401, 403, 429 and 503.",
        )
    )
    api_docs: bool = Field(
        default=True,
        alias="OCELOT_API_DOCS",
        description="Serve the documentation page /api/v1/docs.",
    )
    max_event_bytes: int = Field(
        default=65_536,
        alias="OCELOT_MAX_EVENT_BYTES",
        ge=1_024,
        le=262_144,
        description="Largest event, in bytes of JSON. A tenant's own limit may be lower.",
    )
    max_bulk_events: int = Field(
        default=10_000,
        alias="OCELOT_MAX_BULK_EVENTS",
        ge=1,
        le=100_000,
        description="Largest number of events per bulk request.",
    )
    max_bulk_bytes: int = Field(
        default=16 * _MIB,
        alias="OCELOT_MAX_BULK_BYTES",
        ge=65_536,
        le=64 * _MIB,
        description="Largest bulk request, in bytes after decompression.",
    )
    body_budget_bytes: int = Field(
        default=512 * _MIB,
        alias="OCELOT_BODY_BUDGET_BYTES",
        ge=4 * 65_536,
        description="Memory limit per process for request bodies, buffers and sends, in bytes. One"
        " tenant may use half. Requests over the limit get 503.",
    )
    answer_budget_bytes: int = Field(
        default=128 * _MIB,
        alias="OCELOT_ANSWER_BUDGET_BYTES",
        ge=64 * _MIB,
        description="Memory limit per process for responses until clients have read them, in bytes."
        " One tenant may use half. Requests over the limit get 503.",
    )
    body_timeout_sec: float = Field(
        default=30.0,
        alias="OCELOT_BODY_TIMEOUT_SEC",
        gt=0,
        description="Seconds in which a request's body must arrive.",
    )
    linger_sec: float = Field(
        default=0.005,
        alias="OCELOT_LINGER_SEC",
        ge=0,
        le=1,
        description="Seconds for which an event waits for others before it is sent to SQS.",
    )
    sqs_timeout_sec: float = Field(
        default=SEND_TIMEOUT_SEC,
        alias="OCELOT_SQS_TIMEOUT_SEC",
        ge=0.5,
        le=60,
        description="Seconds that a send to SQS may take. A write is answered at most 0.5 s later.",
    )
    search_timeout_sec: float = Field(
        default=5.0,
        alias="OCELOT_SEARCH_TIMEOUT_SEC",
        gt=0,
        le=60,
        description="Seconds that one search may take on a backend.",
    )
    max_searches: int = Field(
        default=64,
        alias="OCELOT_MAX_SEARCHES",
        ge=4,
        le=1_000,
        description="Concurrent searches and statistics requests per process. One tenant may use"
        " half. Requests over the limit get 503.",
    )
    max_exports: int = Field(
        default=8,
        alias="OCELOT_MAX_EXPORTS",
        ge=4,
        le=100,
        description="Concurrent exports per process. One tenant may use half. Requests over the"
        " limit get 503.",
    )

    max_connections: int = Field(
        default=4_096,
        alias="OCELOT_MAX_CONNECTIONS",
        ge=1,
        le=100_000,
        description="Open connections per process. More connections wait in the kernel.",
    )
    shutdown_delay_sec: float = Field(
        default=0.0,
        alias="OCELOT_SHUTDOWN_DELAY_SEC",
        ge=0,
        le=600,
        description="Seconds after SIGTERM for which the api still accepts connections, so that"
        " load balancers notice the shutdown. Add them to the pod's termination grace"
        " period.",
    )

    @model_validator(mode="after")
    def _check_ports(self) -> Self:
        if self.http_port == self.probes_port:
            raise ValueError(
                f"OCELOT_HTTP_PORT and OCELOT_PROBES_PORT are both {self.http_port}; they must"
                " differ: metrics and probes are not for clients"
            )
        return self

    @model_validator(mode="after")
    def _check_budget(self) -> Self:
        largest = 2 * self.max_bulk_bytes + EVENT_BYTES * self.max_bulk_events
        if self.body_budget_bytes < 2 * largest:
            raise ValueError(
                f"OCELOT_BODY_BUDGET_BYTES must be at least {2 * largest}. One tenant may use half"
                f" of it, and the largest request needs {largest}: twice OCELOT_MAX_BULK_BYTES (a"
                f" compressed body is in memory twice) and {EVENT_BYTES} for each of"
                " OCELOT_MAX_BULK_EVENTS"
            )
        return self

    def event_limits(self, tenant_max_event_bytes: int | None) -> EventLimits:
        """The bounds on one event of a tenant."""
        size = self.max_event_bytes
        if tenant_max_event_bytes is not None:
            size = min(size, tenant_max_event_bytes)
        return EventLimits(max_event_bytes=size)
