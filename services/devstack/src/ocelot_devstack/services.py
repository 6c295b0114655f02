"""Ocelot's services as processes on this machine."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ocelot_devstack.errors import DevstackError
from ocelot_devstack.ports import LOOPBACK
from ocelot_devstack.probes import http_status
from ocelot_devstack.process import ManagedProcess
from ocelot_devstack.settings import ENV_PREFIX


@dataclass(frozen=True)
class ServiceSpec:
    """How a service is run.

    Attributes:
        name: `api`, `consumer` …; also names its port settings and its log.
        argv: program and arguments.
        drains: the queue that it empties, an attribute of QueueUrls.
        public: clients connect to it, on a port of its own beside that of its probes.
        needs_opensearch: it is left out where there is no OpenSearch.
        stop_sec: its time from SIGTERM to exit, drain included.
    """

    name: str
    argv: tuple[str, ...]
    drains: str | None = None
    public: bool = False
    needs_opensearch: bool = False
    stop_sec: float = 30.0

    @property
    def port_names(self) -> tuple[str, ...]:
        """Return what `DevSettings.port_of` calls its ports."""
        probes = f"{self.name}_probes"
        return (self.name, probes) if self.public else (probes,)


def _module(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name)


SERVICES: Final = (
    ServiceSpec("api", _module("ocelot_api"), public=True),
    ServiceSpec("consumer", _module("ocelot_consumer"), drains="ingest"),
    ServiceSpec("indexer", _module("ocelot_indexer"), drains="index", needs_opensearch=True),
    ServiceSpec("jobs", _module("ocelot_jobs")),
)


_NOT_INHERITED: Final = frozenset(
    {
        "OCELOT_SIGNING_KEY_FILE",
        "OCELOT_QUEUE_KEYS_FILE",
        "OCELOT_HTTP_HOST",
        "OCELOT_HTTP_PORT",
        "OCELOT_PROBES_HOST",
        "OCELOT_PROBES_PORT",
    }
)


class ServiceProcess(ManagedProcess):
    """One instance of a service; ready when its `/readyz` says 200.

    Attributes:
        spec: of the service.
        probes_port: of its probes and metrics, on the loopback address.
        port: for clients, on the loopback address; None where no client connects.
    """

    def __init__(
        self,
        spec: ServiceSpec,
        *,
        label: str,
        probes_port: int,
        port: int | None,
        env: Mapping[str, str],
        log_path: Path,
    ) -> None:
        super().__init__(
            label,
            spec.argv,
            env=env,
            log_path=log_path,
            ready=self._is_ready,
            stop_sec=spec.stop_sec,
        )
        self.spec = spec
        self.probes_port = probes_port
        self.port = port

    @property
    def url(self) -> str:
        """Return where it serves clients.

        Raises:
            DevstackError: it serves none.
        """
        if self.port is None:
            raise DevstackError(f"{self.name} has no port for clients.")
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def probes_url(self) -> str:
        """Return where `/readyz`, `/metrics` and the other probes answer."""
        return f"http://{LOOPBACK}:{self.probes_port}"

    async def _is_ready(self) -> bool:
        return await http_status(f"{self.probes_url}/readyz") == 200


def inherited_env() -> dict[str, str]:
    """This process's environment without what would steer a service past the installation."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "SQS_", "MONGODB_", "OPENSEARCH_", ENV_PREFIX))
        and name not in _NOT_INHERITED
    }
