"""Backends, one installation on them and its services."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from pymongo import AsyncMongoClient

from ocelot_common.auth.keys import new_signing_key, save_signing_key
from ocelot_common.queue.keys import add_key, new_queue_key
from ocelot_devstack.backends import Backends
from ocelot_devstack.console import Report, say
from ocelot_devstack.errors import DevstackError
from ocelot_devstack.installation import Installation
from ocelot_devstack.ports import check_ports, free_port
from ocelot_devstack.queues import QueueUrls, delete_queues, ensure_queues, open_sqs
from ocelot_devstack.services import SERVICES, ServiceProcess, ServiceSpec, inherited_env
from ocelot_devstack.settings import DevSettings


class Stack:
    """An async context manager: inside it backends and queues are there, services can be started.

    Args:
        settings: ports, state directory, running backends.
        backends: share these, which the caller starts and stops; None starts own ones.
        name: tells installations on the same backends apart: database `ocelot_<name>`, queues
            `ocelot-<name>-…`; empty for the only one.
        services: what can be started.
        env: added to the environment of every service.
        report: gets lines for people.
    """

    def __init__(
        self,
        settings: DevSettings,
        *,
        backends: Backends | None = None,
        name: str = "",
        services: Sequence[ServiceSpec] = SERVICES,
        env: Mapping[str, str] | None = None,
        report: Report = say,
    ) -> None:
        self.settings = settings
        self.name = name
        self.report = report
        self.specs = {spec.name: spec for spec in services}
        self.services: list[ServiceProcess] = []
        self._env = dict(env or {})
        self._owns_backends = backends is None
        self.backends = Backends(settings, report=report) if backends is None else backends
        self._installation: Installation | None = None
        self._exit = AsyncExitStack()

    @property
    def installation(self) -> Installation:
        """Database, queues and keys.

        Raises:
            DevstackError: the stack was not entered.
        """
        if self._installation is None:
            raise DevstackError("The stack was not started.")
        return self._installation

    @property
    def mongodb_url(self) -> str:
        """Of the replica set."""
        return self.backends.mongodb.url

    @property
    def sqs_endpoint_url(self) -> str:
        """Of SQS."""
        return self.backends.sqs.url

    @property
    def opensearch_url(self) -> str | None:
        """None where OpenSearch cannot run."""
        opensearch = self.backends.opensearch
        return None if opensearch is None else opensearch.url

    @property
    def queues(self) -> QueueUrls:
        """This installation's queues."""
        return self.installation.queues

    async def __aenter__(self) -> Self:
        """Start the backends unless they are shared, and make queues and keys.

        Raises:
            DevstackError: ports are taken (all are looked at before anything starts), or a
                backend could not be started; nothing is left running.
        """
        try:
            if self._owns_backends:
                ports = (name for spec in self.specs.values() for name in spec.port_names)
                check_ports(self.settings, ports)
                await self._exit.enter_async_context(self.backends)
            self._installation = await self._install()
        except BaseException:
            await self._exit.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop services, then own backends."""
        try:
            await self.stop_services()
        finally:
            await self._exit.aclose()

    def env(self, service: str, *, port: int | None = None) -> dict[str, str]:
        """Return the environment variables of a service.

        Args:
            service: its name.
            port: for clients if it serves any, else of its probes; None for the configured one, or
                a free one.
        """
        if self.specs[service].public:
            return self.installation.service_env(
                probes_port=self._port_for(service, f"{service}_probes"),
                port=port or self._port_for(service, service),
            )
        return self.installation.service_env(
            probes_port=port or self._port_for(service, f"{service}_probes")
        )

    async def start_service(
        self,
        name: str,
        *,
        extra_env: Mapping[str, str] | None = None,
    ) -> ServiceProcess:
        """Start one more instance of a service; wait_ready() waits until it can be used.

        The first instance gets the configured ports where there are any, others free ones.

        Args:
            name: of the service.
            extra_env: added to its environment.

        Raises:
            DevstackError: there is no service of that name.
        """
        if name not in self.specs:
            raise DevstackError(f"The service must be one of {', '.join(self.specs)}, got {name}.")
        spec = self.specs[name]
        probes_port = self._port_for(name, f"{name}_probes")
        port = self._port_for(name, name) if spec.public else None
        instances = sum(process.spec.name == name for process in self.services)
        label = f"{name}-{instances + 1}" if instances else name
        own = self.installation.service_env(probes_port=probes_port, port=port)
        env = {**inherited_env(), **own, **self._env, **(extra_env or {})}
        process = ServiceProcess(
            spec,
            label=label,
            probes_port=probes_port,
            port=port,
            env=env,
            log_path=self.settings.make_log_dir() / self.name / f"{label}.log",
        )
        self.services.append(process)
        await process.start()
        return process

    async def start_services(self, timeout_sec: float = 60.0) -> None:
        """Start one of each service that can run here, and wait until all are ready.

        Raises:
            DevstackError: one ended or was not ready in time.
        """
        wanted = [
            spec
            for spec in self.specs.values()
            if not (spec.needs_opensearch and self.opensearch_url is None)
        ]
        started = [await self.start_service(spec.name) for spec in wanted]
        problems: list[str] = []
        try:
            async with asyncio.TaskGroup() as group:
                for process in started:
                    group.create_task(process.wait_ready(timeout_sec))
        except* DevstackError as failed:
            problems = [str(error) for error in failed.exceptions]
        if problems:
            raise DevstackError("\n".join(problems))

    async def stop_services(self, *names: str, timeout_sec: float | None = None) -> list[str]:
        """Stop services side by side; the labels of those that had to be killed.

        Args:
            names: of the services; none means all.
            timeout_sec: instead of each service's own time to drain.
        """
        chosen = [process for process in self.services if not names or process.spec.name in names]
        clean = await asyncio.gather(*(process.stop(timeout_sec) for process in chosen))
        return [process.name for process, ok in zip(chosen, clean, strict=True) if not ok]

    async def ensure_queues(self) -> QueueUrls:
        """Make the queues, also again after SQS lost them."""
        prefix = f"ocelot-{self.name}" if self.name else "ocelot"
        async with open_sqs(self.sqs_endpoint_url, self.settings.aws_env()) as sqs:
            return await ensure_queues(sqs, self.sqs_endpoint_url, prefix=prefix)

    async def remove(self) -> None:
        """Delete the installation's database, queues and indices; for tests on shared backends."""
        if self.opensearch_url is not None and self.name:
            async with httpx.AsyncClient(base_url=self.opensearch_url) as http:
                pattern = f"{self.installation.index_prefix}*"
                listed = await http.get(f"/_cat/indices/{pattern}", params={"format": "json"})
                for entry in listed.raise_for_status().json():
                    (await http.delete(f"/{entry['index']}")).raise_for_status()
        async with open_sqs(self.sqs_endpoint_url, self.settings.aws_env()) as sqs:
            await delete_queues(sqs, self.queues)
        client: AsyncMongoClient[dict[str, object]] = AsyncMongoClient(self.mongodb_url)
        async with client:
            await client.drop_database(self.installation.mongodb_database)

    async def _install(self) -> Installation:
        database = self.settings.mongodb_database
        return Installation(
            mongodb_url=self.mongodb_url,
            mongodb_database=f"{database}_{self.name}" if self.name else database,
            sqs_endpoint_url=self.sqs_endpoint_url,
            opensearch_url=self.opensearch_url,
            queues=await self.ensure_queues(),
            signing_key_file=await asyncio.to_thread(self._signing_key_file),
            queue_keys_file=await asyncio.to_thread(self._queue_keys_file),
            aws_env=self.settings.aws_env(),
            log_level=self.settings.log_level,
            index_prefix=f"{self.name}_" if self.name else "",
        )

    def _signing_key_file(self) -> Path:
        path = self.settings.state_dir.resolve() / self.name / "signing-key.pem"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            save_signing_key(new_signing_key(), path)
        return path

    def _queue_keys_file(self) -> Path:
        path = self.settings.state_dir.resolve() / self.name / "queue-keys"
        if not path.exists():
            add_key(path, new_queue_key())
        return path

    def _port_for(self, service: str, port_name: str) -> int:
        taken = any(process.spec.name == service for process in self.services)
        return (0 if taken else self.settings.port_of(port_name)) or free_port()
