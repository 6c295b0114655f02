"""One Ocelot on the backends: its own database, queues and keys."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ocelot_devstack.ports import LOOPBACK
from ocelot_devstack.queues import QueueUrls


@dataclass(frozen=True, kw_only=True)
class Installation:
    """Where everything of an installation is.

    Attributes:
        mongodb_url: of the replica set.
        mongodb_database: this installation's own.
        sqs_endpoint_url: of SQS.
        opensearch_url: None where there is none.
        queues: this installation's own.
        signing_key_file: PEM of the private key; for provisioning only, no service gets it.
        queue_keys_file: keys that sign and verify queue messages.
        aws_env: region and keys.
        log_level: of the services.
        index_prefix: what the names of this installation's indices begin with.
    """

    mongodb_url: str
    mongodb_database: str
    sqs_endpoint_url: str
    opensearch_url: str | None
    queues: QueueUrls
    signing_key_file: Path
    queue_keys_file: Path
    aws_env: Mapping[str, str] = field(repr=False)
    log_level: str = "INFO"
    index_prefix: str = ""

    def service_env(self, *, probes_port: int, port: int | None = None) -> dict[str, str]:
        """Return the environment variables of a service.

        Args:
            probes_port: of its probes and metrics.
            port: for clients; None where no client connects.
        """
        env = {
            **self.aws_env,
            "AWS_ENDPOINT_URL_SQS": self.sqs_endpoint_url,
            "LOG_LEVEL": self.log_level,
            "MONGODB_DATABASE": self.mongodb_database,
            "MONGODB_URL": self.mongodb_url,
            "OCELOT_PROBES_HOST": LOOPBACK,
            "OCELOT_PROBES_PORT": str(probes_port),
            "OCELOT_QUEUE_KEYS_FILE": str(self.queue_keys_file),
            "SQS_DLQ_URL": self.queues.ingest_dlq,
            "SQS_INDEX_DLQ_URL": self.queues.index_dlq,
            "SQS_INDEX_QUEUE_URL": self.queues.index,
            "SQS_QUEUE_URL": self.queues.ingest,
        }
        if port is not None:
            env["OCELOT_HTTP_HOST"] = LOOPBACK
            env["OCELOT_HTTP_PORT"] = str(port)
        if self.opensearch_url is not None:
            env["OPENSEARCH_URL"] = self.opensearch_url
        return env
