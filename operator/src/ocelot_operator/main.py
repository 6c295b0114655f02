"""Wires the operator from its settings."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, Final, TypeVar

import kopf
from opensearchpy import AsyncOpenSearch
from pymongo.errors import PyMongoError

from ocelot_common import mongo, opensearch
from ocelot_common.build_info import build_info
from ocelot_common.probes import ProcessReadiness, serve_probes
from ocelot_common.process import run_until_signalled
from ocelot_common.provisioning.claiming import SharedSpaceSpec
from ocelot_common.provisioning.database import prepare_database_when_possible
from ocelot_common.provisioning.queue_keys import QueueKeyError
from ocelot_common.provisioning.tenants import Provisioner
from ocelot_common.registry.store import RegistryStore
from ocelot_common.settings import load
from ocelot_common.tasks import cancel_and_wait
from ocelot_common.telemetry.logs import configure_logs, get_logger
from ocelot_common.telemetry.metrics import process_registry
from ocelot_common.telemetry.tracing import configure_tracing
from ocelot_operator.controller import TenantController
from ocelot_operator.keys import InstallationKeys, KeySecretError
from ocelot_operator.kubernetes import (
    GROUP,
    PLURAL,
    VERSION,
    KubernetesClient,
    KubernetesError,
    log_in,
)
from ocelot_operator.metrics import OperatorMetrics
from ocelot_operator.reconcile import Reconciler
from ocelot_operator.secrets import SecretNotOwnedError, TokenSecrets
from ocelot_operator.settings import OperatorSettings

SERVICE: Final = "operator"
_RETRY_SEC: Final = 2.0
#: A watch whose connection died silently ends by itself. The API server takes whole seconds only.
_WATCH_SEC: Final = 300

#: Tenants per answer. Etcd bounds one at 1.5 MiB, and the text of an answer takes four bytes per
#: character in memory if one character is beyond U+FFFF.
_CHUNK: Final = 10
#: kopf keeps the last event of each Tenant for this long.
_KEPT_SEC: Final = 0.5

T = TypeVar("T")


class DefinitionMissingError(Exception):
    """The CustomResourceDefinition of Tenants is not installed."""


_TRANSIENT: Final = (
    DefinitionMissingError,
    KeySecretError,
    KubernetesError,
    PyMongoError,
    QueueKeyError,
    SecretNotOwnedError,
    kopf.LoginError,
)

log = get_logger(__name__)


async def serve(settings: OperatorSettings, stopping: asyncio.Event) -> None:
    """Keep keys, tenants and Secrets until `stopping` is set."""
    configure_logs(service=SERVICE, level=settings.log_level)
    # kopf logs each event of the watch; the operator logs what it did.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    provider = configure_tracing(service=SERVICE, otlp_endpoint=settings.otlp_endpoint)
    async with AsyncExitStack() as stack:
        client = mongo.connect(settings.mongodb_url, app_name=f"ocelot-{SERVICE}")
        stack.push_async_callback(mongo.close, client)
        search: AsyncOpenSearch | None = None
        if settings.opensearch_url:
            search = opensearch.connect(settings.opensearch_url)
            stack.push_async_callback(search.close)
        kubernetes = await stack.enter_async_context(
            KubernetesClient(lambda: log_in(settings=kopf_settings()))
        )
        readiness = ProcessReadiness()
        readiness.hold("starting", "The operator has not started to watch Tenants yet.")
        registry = process_registry()
        metrics = OperatorMetrics(registry)
        await stack.enter_async_context(
            serve_probes(
                host=settings.probes_host,
                port=settings.probes_port,
                readiness=readiness,
                registry=registry,
                build=build_info(SERVICE),
            )
        )
        store = RegistryStore(client[settings.mongodb_database])
        working = asyncio.create_task(
            _work(settings, kubernetes, store, search, readiness, metrics), name="work"
        )
        stop = asyncio.create_task(stopping.wait(), name="stop")
        try:
            await asyncio.wait({working, stop}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        finally:
            readiness.hold("shutting_down", "The process is shutting down.")
            await cancel_and_wait([working, stop])
    if provider:
        provider.shutdown()


async def _work(
    settings: OperatorSettings,
    kubernetes: KubernetesClient,
    store: RegistryStore,
    search: AsyncOpenSearch | None,
    readiness: ProcessReadiness,
    metrics: OperatorMetrics,
) -> None:
    """Wait for what Tenants need, one after another, and then watch them."""
    await prepare_database_when_possible(store.database)
    keys = InstallationKeys(kubernetes, store, settings)
    await _until_works(keys.refresh, "keys_not_ready", readiness)
    cluster = settings.cluster_id or await _until_works(
        kubernetes.cluster_uid, "cluster_unknown", readiness
    )
    await _until_works(lambda: _require_tenants(kubernetes), "crd_missing", readiness)
    reconciler = Reconciler(
        kubernetes,
        provisioner=Provisioner(
            store,
            search,
            index_prefix=settings.index_prefix,
            shared=SharedSpaceSpec(settings.shared_shards, settings.shared_replicas),
            retention_delay=timedelta(seconds=settings.retention_delay_sec),
        ),
        secrets=TokenSecrets(
            kubernetes,
            api_url=settings.api_url,
            installation=settings.installation,
            reserved=settings.own_secrets,
        ),
        mint=lambda: keys.mint,
        cluster=cluster,
    )
    controller = TenantController(reconciler, metrics, interval_sec=settings.interval_sec)
    keeping = asyncio.create_task(_keep_keys(keys, settings.interval_sec), name="keys")
    try:
        await watch(controller, readiness)
    finally:
        await cancel_and_wait([keeping])
        await controller.close()


async def watch(controller: TenantController, readiness: ProcessReadiness) -> None:
    """Tell the controller of each Tenant until the process is asked to stop: kopf handles SIGTERM.

    Args:
        controller: makes the passes.
        readiness: its cause `starting` is released.
    """
    await kopf.operator(
        registry=_handlers(controller, readiness),
        settings=kopf_settings(),
        standalone=True,
        clusterwide=True,
        # kopf would take it from the name of the user, and a container's user has none. Only
        # peering needs it, which `standalone` turns off. kopf does not export its type, a text.
        identity=SERVICE,  # type: ignore[arg-type]
    )


def kopf_settings() -> kopf.OperatorSettings:
    """Return how kopf watches: without writing anything, and with watches that end."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True  # needs rights on definitions and namespaces
    settings.watching.server_timeout = _WATCH_SEC
    settings.watching.client_timeout = _WATCH_SEC + 30
    settings.watching.chunk_size = _CHUNK
    settings.queueing.idle_timeout = _KEPT_SEC
    settings.process.ultimate_exiting_timeout = None
    return settings


def _handlers(controller: TenantController, readiness: ProcessReadiness) -> kopf.OperatorRegistry:
    handlers = kopf.OperatorRegistry()

    async def login(*, settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo:
        return log_in(settings=settings)

    async def ready(**_: Any) -> None:
        readiness.release("starting")

    async def see(
        *,
        namespace: str | None,
        name: str | None,
        meta: Mapping[str, Any],
        status: Mapping[str, Any],
        **_: Any,
    ) -> None:
        if namespace and name:
            # The operator's own write of the status is no reason for another pass.
            changed = meta.get("generation") != status.get("observedGeneration")
            controller.see(namespace, name, changed=changed)

    async def close(**_: Any) -> None:
        await controller.close()  # kopf would wait for its tasks

    kopf.on.login(registry=handlers)(login)
    kopf.on.startup(registry=handlers)(ready)
    kopf.on.event(GROUP, VERSION, PLURAL, registry=handlers)(see)
    kopf.on.cleanup(registry=handlers)(close)
    return handlers


async def _require_tenants(kubernetes: KubernetesClient) -> None:
    if not await kubernetes.serves_tenants():
        raise DefinitionMissingError(f"The API server does not know {PLURAL}.{GROUP}/{VERSION}.")


async def _until_works(
    attempt: Callable[[], Awaitable[T]], cause: str, readiness: ProcessReadiness
) -> T:
    """Repeat what a later attempt may achieve; the probe and the log say why it waits."""
    while True:
        try:
            result = await attempt()
        except _TRANSIENT as error:
            readiness.hold(cause, str(error)[:500])
            log.warning("operator_waits", cause=cause, error=str(error)[:500])
            await asyncio.sleep(_RETRY_SEC)
        else:
            readiness.release(cause)
            return result


async def _keep_keys(keys: InstallationKeys, interval_sec: float) -> None:
    """Take over keys that an administrator replaced, and renew the administrator's token."""
    while True:
        pause = interval_sec
        try:
            wait = await keys.refresh()
            if wait:
                pause = min(pause, wait.total_seconds())
        except _TRANSIENT as error:
            log.warning("keys_not_refreshed", error=str(error)[:500])
        try:
            await keys.renew_admin_token()
        except _TRANSIENT as error:
            log.warning("admin_token_not_written", error=str(error)[:500])
        await asyncio.sleep(pause)


def main() -> None:
    """Run the process of the operator."""
    settings = load(OperatorSettings)
    run_until_signalled(lambda stopping: serve(settings, stopping))
