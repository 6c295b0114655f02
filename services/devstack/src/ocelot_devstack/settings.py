"""Settings of make dev and of the tests' backends, from environment variables."""

import os
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from ocelot_common.settings import BaseUrl, MongoUrl, Settings, SqsEndpointUrl

ENV_PREFIX: Final = "OCELOT_DEV_"
# The runner that carries OpenSearch looks for a free port up to 9299 only.
MAX_OPENSEARCH_PORT: Final = 9299

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(ge=0)]


def _cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ocelot"


class DevSettings(Settings):
    """What a developer may change; port 0 picks a free one.

    Attributes:
        api_port: of the api, docs included.
        api_probes_port: of the api's probes and metrics.
        mongodb_port: of the MongoDB that is started here.
        sqs_port: of the SQS that is started here.
        opensearch_port: of the OpenSearch that is started here, at most 9299.
        consumer_probes_port: of the consumer's probes and metrics.
        indexer_probes_port: of the indexer's probes and metrics.
        jobs_probes_port: of the jobs' probes and metrics.
        state_dir: data, logs, signing key, `dev.json`.
        cache_dir: downloads shared by all checkouts.
        backends_host: address on which the backends that are started here listen.
        drain_sec: how long the end waits for the queues to run empty.
        opensearch: False leaves OpenSearch out; search then runs on MongoDB.
        opensearch_java_options: of the OpenSearch that is started here, with blanks between.
        log_level: of the services.
        mongodb_database: of the installation that make dev runs.
        mongodb_url: a running replica set, used instead of an own one.
        sqs_endpoint_url: a running SQS, used instead of an own one.
        opensearch_url: a running OpenSearch, used instead of an own one.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX)

    api_port: Port = 8000
    mongodb_port: Port = 27117
    sqs_port: Port = 4566
    opensearch_port: Annotated[int, Field(ge=0, le=MAX_OPENSEARCH_PORT)] = 9201
    consumer_probes_port: Port = 8001
    indexer_probes_port: Port = 8002
    jobs_probes_port: Port = 8003
    api_probes_port: Port = 8004
    state_dir: Path = Path(".ocelot")
    cache_dir: Path = Field(default_factory=_cache_dir)
    backends_host: str = "127.0.0.1"
    drain_sec: Seconds = 20.0
    opensearch: bool = True
    opensearch_java_options: str = ""
    log_level: str = Field(default="INFO", validation_alias="LOG_LEVEL")
    mongodb_database: str = Field(default="ocelot", validation_alias="MONGODB_DATABASE")
    mongodb_url: MongoUrl | None = Field(default=None, validation_alias="MONGODB_URL")
    sqs_endpoint_url: SqsEndpointUrl | None = Field(
        default=None, validation_alias="AWS_ENDPOINT_URL_SQS"
    )
    opensearch_url: BaseUrl | None = Field(default=None, validation_alias="OPENSEARCH_URL")

    def port_of(self, name: str) -> int:
        """Return the configured port, 0 where none is configured.

        Args:
            name: `mongodb`, `sqs`, `opensearch`, `api`; `<service>_probes` of a service's probes.
        """
        port = getattr(self, f"{name}_port", 0)
        return port if isinstance(port, int) else 0

    def make_log_dir(self) -> Path:
        """Return the folder of the logs, which name tenants and clients, for its owner alone."""
        folder = self.state_dir / "log"
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)  # also one of an older release
        return folder

    def aws_env(self) -> dict[str, str]:
        """Region and keys: the caller's own for a running SQS, else those of the local one."""
        local = {
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",  # LocalStack takes any
        }
        if self.sqs_endpoint_url is None:
            return local
        return {name: os.environ.get(name, value) for name, value in local.items()}


def port_setting(name: str) -> str:
    """Return the environment variable that moves a port; see `DevSettings.port_of`."""
    return f"{ENV_PREFIX}{name.upper()}_PORT"
