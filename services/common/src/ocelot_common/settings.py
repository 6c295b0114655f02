"""Settings from environment variables, read once (design §12).

Each process composes the groups that it needs; every group is also what `.env.example` is generated
from.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NoReturn, TypeVar

from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from ocelot_common import mongo
from ocelot_common.http_url import check_base_url, check_queue_url, check_sqs_endpoint_url
from ocelot_common.renamed_settings import renamed_settings

S = TypeVar("S", bound=BaseSettings)

MongoUrl = Annotated[str, AfterValidator(mongo.check_url)]
#: Of an HTTP server, such as OpenSearch.
BaseUrl = Annotated[str, AfterValidator(check_base_url)]
SqsEndpointUrl = Annotated[str, AfterValidator(check_sqs_endpoint_url)]
QueueUrl = Annotated[str, AfterValidator(check_queue_url)]


class Settings(BaseSettings):
    """The base of all settings: environment only, unknown variables are none of ours."""

    model_config = SettingsConfigDict(
        extra="ignore", frozen=True, populate_by_name=True, env_ignore_empty=True
    )


class MongoSettings(Settings):
    """Where the truth is."""

    mongodb_url: MongoUrl = Field(
        alias="MONGODB_URL",
        description="URL of MongoDB 6 or later, a replica set:"
        " mongodb://HOST:PORT/?replicaSet=NAME.",
    )
    mongodb_database: str = Field(
        default="ocelot",
        alias="MONGODB_DATABASE",
        pattern=r"^[A-Za-z0-9_-]{1,63}$",
        description="Name of the database of this installation.",
    )


class SqsSettings(Settings):
    """Where the queues are. Keys may be left out where the platform provides them (IRSA)."""

    aws_region: str = Field(
        default="us-east-1", alias="AWS_REGION", description="AWS region of the queues."
    )
    aws_access_key_id: str | None = Field(
        default=None,
        alias="AWS_ACCESS_KEY_ID",
        description="AWS access key. If not set, the process uses the platform's identity, such as"
        " IRSA.",
    )
    aws_secret_access_key: str | None = Field(
        default=None,
        alias="AWS_SECRET_ACCESS_KEY",
        description="AWS secret key that belongs to AWS_ACCESS_KEY_ID.",
    )
    sqs_endpoint_url: SqsEndpointUrl | None = Field(
        default=None,
        alias="AWS_ENDPOINT_URL_SQS",
        description="URL of a local SQS. If not set, AWS is used.",
    )
    sqs_queue_url: QueueUrl = Field(alias="SQS_QUEUE_URL", description="URL of the ingest queue.")
    sqs_dlq_url: QueueUrl | None = Field(
        default=None,
        alias="SQS_DLQ_URL",
        description="URL of the dead letter queue of the ingest queue.",
    )
    sqs_index_queue_url: QueueUrl | None = Field(
        default=None, alias="SQS_INDEX_QUEUE_URL", description="URL of the index queue."
    )
    sqs_index_dlq_url: QueueUrl | None = Field(
        default=None,
        alias="SQS_INDEX_DLQ_URL",
        description="URL of the dead letter queue of the index queue.",
    )


class QueueKeySettings(Settings):
    """The keys that sign and verify queue messages."""

    queue_keys_file: Path = Field(
        alias="OCELOT_QUEUE_KEYS_FILE",
        description="File of the keys that sign and verify queue messages: one `kid:base64` of 32"
        " bytes per line. The first key signs. All keys verify. `ocelot queue-keys new`"
        " creates a key.",
    )


class OpenSearchSettings(Settings):
    """Where the search index is."""

    opensearch_url: BaseUrl | None = Field(
        default=None,
        alias="OPENSEARCH_URL",
        description="URL of OpenSearch 2.19 or later, or 3. If not set, searches run on MongoDB.",
    )


class ProvisioningSettings(MongoSettings, OpenSearchSettings):
    """What making tenants needs."""

    index_prefix: str = Field(
        default="",
        alias="OCELOT_INDEX_PREFIX",
        pattern=r"^([a-z0-9][a-z0-9-]{0,30}_)?$",
        description="Prefix of the names of new indices, ending in '_'. Set it when several"
        " installations share an OpenSearch.",
    )
    shared_shards: int = Field(
        default=1,
        alias="OCELOT_SHARED_SHARDS",
        ge=1,
        le=64,
        description="Primary shards per index of the Shared tier. Read when the tier's first tenant"
        " is created.",
    )
    shared_replicas: int | None = Field(
        default=None,
        alias="OCELOT_SHARED_REPLICAS",
        ge=0,
        le=5,
        description="Replicas per index of the Shared tier. Read when the tier's first tenant is"
        " created. If not set: 1 when OpenSearch has more than one data node, otherwise"
        " 0.",
    )
    retention_delay_sec: float = Field(
        default=86_400,
        alias="OCELOT_RETENTION_DELAY_SEC",
        ge=0,
        description="Seconds until a shorter retention of a tenant takes effect. Until then it can"
        " be corrected without loss of events.",
    )


class TelemetrySettings(Settings):
    """What a process tells of itself."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO",
        alias="LOG_LEVEL",
        description="Lowest level that is logged: DEBUG, INFO, WARNING or ERROR.",
    )
    otlp_endpoint: BaseUrl | None = Field(
        default=None,
        alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="URL of an OpenTelemetry collector (OTLP over HTTP). If not set, no traces are"
        " sent.",
    )


class ProbesSettings(Settings):
    """Where every process serves /healthz, /readyz, /metrics and /version."""

    probes_host: str = Field(
        default="0.0.0.0",  # noqa: S104 - a container's port
        alias="OCELOT_PROBES_HOST",
        description="Address on which probes and metrics are served.",
    )
    probes_port: int = Field(
        default=8080,
        alias="OCELOT_PROBES_PORT",
        ge=1,
        le=65535,
        description="Port of /healthz, /readyz, /metrics and /version. Do not expose it outside the"
        " cluster.",
    )


class TokenSettings(Settings):
    """What tokens must say of their issuer and audience."""

    token_issuer: str = Field(
        default="ocelot",
        alias="OCELOT_TOKEN_ISSUER",
        description="Value of `iss` in Ocelot's own tokens.",
    )
    token_audience: str = Field(
        default="ocelot", alias="OCELOT_TOKEN_AUDIENCE", description="Value of `aud` in tokens."
    )


class SigningSettings(Settings):
    """The private key; belongs to operator, CLI and devstack alone, never to the api."""

    signing_key_file: Path | None = Field(
        default=None,
        alias="OCELOT_SIGNING_KEY_FILE",
        description="PEM file of the private key that signs tokens (EC P-256, Ed25519 or RSA).",
    )


class WorkerSettings(
    MongoSettings,
    SqsSettings,
    QueueKeySettings,
    OpenSearchSettings,
    TelemetrySettings,
    ProbesSettings,
):
    """What consumer, indexer and jobs have in common."""

    receivers: int = Field(
        default=4,
        alias="OCELOT_RECEIVERS",
        ge=1,
        le=64,
        description="Concurrent long-polling receive calls per worker.",
    )
    drain_timeout_sec: float = Field(
        default=25.0,
        alias="OCELOT_DRAIN_TIMEOUT_SEC",
        gt=0,
        description="Seconds from SIGTERM to exit. Keep it below the pod's termination grace"
        " period.",
    )


def read(kind: type[S]) -> S:
    """Read settings from the environment.

    Raises:
        pydantic.ValidationError: naming every wrong variable.
    """
    return kind()


def load(kind: type[S]) -> S:
    """Read the settings of a process from the environment, or end it with one clear message."""
    if renamed := renamed_settings(os.environ):
        exit_with(renamed)
    try:
        return read(kind)
    except ValidationError as error:
        exit_with_faults(kind, error)


def exit_with_faults(kind: type[BaseSettings], error: ValidationError) -> NoReturn:
    """Name every wrong variable at once on stderr, and exit with status 2."""
    exit_with(faults_of(kind, error))


def faults_of(kind: type[BaseSettings], error: ValidationError) -> list[str]:
    """Return a line for each wrong variable."""
    faults = []
    for fault in error.errors():
        name = str(fault["loc"][0]) if fault["loc"] else kind.__name__
        faults.append(f"{name}: {fault_text(fault)}")
    return faults


def fault_text(fault: ErrorDetails) -> str:
    """Return what is wrong with a variable, without its name."""
    if fault["type"] == "missing":
        return "is required"
    return fault["msg"].removeprefix("Value error, ")  # pydantic's, before the text of a ValueError


def exit_with(faults: Sequence[str]) -> NoReturn:
    """Write what is wrong with the settings to stderr, and exit with status 2."""
    lines = ["The settings of this process are wrong:", *(f"  {fault}" for fault in faults)]
    sys.stderr.write("\n".join(lines) + "\n")
    raise SystemExit(2)
