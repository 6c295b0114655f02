"""Ocelot's services as processes on this machine."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ocelot_devstack.ports import LOOPBACK
from ocelot_devstack.probes import http_status
from ocelot_devstack.process import ManagedProcess
from ocelot_devstack.settings import ENV_PREFIX


@dataclass(frozen=True)
class ServiceSpec:
    """How a service is run.

    Attributes:
        name: `api`, `consumer` …; also names its port setting and its log.
        argv: program and arguments.
        drains: the queue that it empties, an attribute of QueueUrls.
        needs_opensearch: it is left out where there is no OpenSearch.
        stop_sec: its time from SIGTERM to exit, drain included.
    """

    name: str
    argv: tuple[str, ...]
    drains: str | None = None
    needs_opensearch: bool = False
    stop_sec: float = 30.0


def _module(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name)


SERVICES: Final = (
    ServiceSpec("api", _module("ocelot_api")),
    ServiceSpec("consumer", _module("ocelot_consumer"), drains="ingest"),
    ServiceSpec("indexer", _module("ocelot_indexer"), drains="index", needs_opensearch=True),
    ServiceSpec("jobs", _module("ocelot_jobs")),
)


class ServiceProcess(ManagedProcess):
    """One instance of a service; ready when its `/readyz` says 200.

    Attributes:
        spec: of the service.
        port: of its HTTP server, on the loopback address.
    """

    def __init__(
        self, spec: ServiceSpec, *, label: str, port: int, env: Mapping[str, str], log_path: Path
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
        self.port = port

    @property
    def url(self) -> str:
        """Where its HTTP server answers."""
        return f"http://{LOOPBACK}:{self.port}"

    async def _is_ready(self) -> bool:
        return await http_status(f"{self.url}/readyz") == 200


def inherited_env() -> dict[str, str]:
    """This process's environment without what would steer a service past the installation."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "SQS_", "MONGODB_", "OPENSEARCH_", ENV_PREFIX))
        and name not in {"OCELOT_SIGNING_KEY_FILE", "OCELOT_HTTP_HOST", "OCELOT_HTTP_PORT"}
    }
