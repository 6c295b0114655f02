"""Wires the operator from its settings."""

import asyncio
import gc
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from itertools import chain, repeat
from math import inf
from typing import Any, Final, TypeVar

import kopf
from opensearchpy import AsyncOpenSearch
from pymongo.errors import PyMongoError

from ocelot_common import mongo, opensearch
from ocelot_common.build_info import build_info
from ocelot_common.probes import ProcessReadiness, serve_probes
from ocelot_common.process import run_until_signalled
from ocelot_common.provisioning.claiming import SharedSpaceSpec
from ocelot_common.provisioning.database import prepare_database
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
    NotFoundError,
    log_in,
)
from ocelot_operator.metrics import OperatorMetrics
from ocelot_operator.reconcile import Reconciler
from ocelot_operator.secrets import SecretNotOwnedError, TokenSecrets
from ocelot_operator.settings import OperatorSettings

SERVICE: Final = "operator"
_RETRY_SEC: Final = 2.0
#: A backend that does not answer must not hold back the watch for longer.
_FIRST_ATTEMPT_SEC: Final = 30.0
#: A watch whose connection died silently ends by itself. The API server takes whole seconds only.
_WATCH_SEC: Final = 300

#: Tenants per answer. Etcd bounds one at 1.5 MiB. Decoded, many short labels take twelve times
#: their bytes in memory, and the text of an answer takes four bytes per character if one character
#: is beyond U+FFFF.
_CHUNK: Final = 2
#: kopf keeps the last event of each Tenant, decoded, for this long.
_KEPT_SEC: Final = 0.05
#: Events between two collections of garbage. What kopf makes of an event are reference cycles, with
#: the decoded Tenant. They are few objects, however many bytes they have, so that Python would
#: collect them too seldom.
_COLLECTED_EVENTS: Final = 4
#: The least pause between them: with thousands of Tenants, a collection takes 16 ms and more.
_COLLECT_EVERY_SEC: Final = 0.1

T = TypeVar("T")


class TenantsUnreadableError(Exception):
    """Tenants cannot be listed and watched; the message says why."""


_TRANSIENT: Final = (
    TenantsUnreadableError,
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
    """Keep the keys, and watch Tenants, whose status says what is missing."""
    keys = InstallationKeys(kubernetes, store, settings)
    tried = asyncio.Event()
    helpers = [
        asyncio.create_task(
            _keep_keys(keys, store, settings.interval_sec, readiness, tried), name="keys"
        )
    ]
    try:
        cluster = settings.cluster_id or await _until_works(
            kubernetes.cluster_uid, "cluster_unknown", readiness
        )
        await _until_tenants_can_be_watched(kubernetes, readiness)
        # Without this, a restart would report a missing key for every Tenant.
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_ATTEMPT_SEC):
                await tried.wait()
        controller = _controller(settings, kubernetes, store, search, keys, cluster, metrics)
        helpers.append(
            asyncio.create_task(
                _keep_checking(kubernetes, settings.interval_sec, readiness), name="checking"
            )
        )
        try:
            await watch(controller, readiness)
        finally:
            await controller.close()
    finally:
        await cancel_and_wait(helpers)


def _controller(
    settings: OperatorSettings,
    kubernetes: KubernetesClient,
    store: RegistryStore,
    search: AsyncOpenSearch | None,
    keys: InstallationKeys,
    cluster: str,
    metrics: OperatorMetrics,
) -> TenantController:
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
    return TenantController(reconciler, metrics, interval_sec=settings.interval_sec)


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


class _Backoffs:
    """Seconds between two attempts of a request, without end: kopf ends behind the last attempt."""

    def __iter__(self) -> Iterator[float]:
        """Start again with a short pause."""
        return chain((1.0, 1.0, 2.0, 3.0, 5.0, 8.0), repeat(10.0))


def kopf_settings() -> kopf.OperatorSettings:
    """Return how kopf watches: without writing anything, and with watches that end."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True  # needs rights on definitions and namespaces
    settings.watching.server_timeout = _WATCH_SEC
    settings.watching.client_timeout = _WATCH_SEC + 30
    settings.networking.error_backoffs = _Backoffs()
    settings.watching.chunk_size = _CHUNK
    settings.queueing.idle_timeout = _KEPT_SEC
    settings.process.ultimate_exiting_timeout = None
    return settings


class _Garbage:
    """Collects the garbage of kopf's events.

    Args:
        clock: monotonic, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._events = 0
        self._collected_at = -inf

    def add(self) -> None:
        """Count an event, and collect if there were enough."""
        self._events += 1
        if self._events < _COLLECTED_EVENTS:
            return
        now = self._clock()
        if now - self._collected_at >= _COLLECT_EVERY_SEC:
            gc.collect()
            self._events = 0
            self._collected_at = now


def _handlers(controller: TenantController, readiness: ProcessReadiness) -> kopf.OperatorRegistry:
    handlers = kopf.OperatorRegistry()
    garbage = _Garbage()

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
        garbage.add()

    async def close(**_: Any) -> None:
        await controller.close()  # kopf would wait for its tasks

    kopf.on.login(registry=handlers)(login)
    kopf.on.startup(registry=handlers)(ready)
    kopf.on.event(GROUP, VERSION, PLURAL, registry=handlers)(see)
    kopf.on.cleanup(registry=handlers)(close)
    return handlers


async def _until_tenants_can_be_watched(
    kubernetes: KubernetesClient, readiness: ProcessReadiness
) -> None:
    async def attempt() -> None:
        try:
            await kubernetes.require_watch()
        except NotFoundError:
            reason = f"The API server does not know {PLURAL}.{GROUP}/{VERSION}. Install the CRD."
            raise TenantsUnreadableError(reason) from None
        except KubernetesError as error:
            reason = f"Tenants of all namespaces cannot be listed and watched ({error})."
            raise TenantsUnreadableError(reason) from None

    await _until_works(attempt, "tenants_unreadable", readiness)


async def _keep_checking(
    kubernetes: KubernetesClient, interval_sec: float, readiness: ProcessReadiness
) -> None:
    """Report the process as not ready while kopf's requests would fail: it tells nobody."""
    while True:
        await asyncio.sleep(interval_sec)
        await _until_tenants_can_be_watched(kubernetes, readiness)


async def _until_works(
    attempt: Callable[[], Awaitable[T]], cause: str, readiness: ProcessReadiness
) -> T:
    """Repeat what a later attempt may achieve; the probe and the log say why it waits."""
    while True:
        try:
            result = await attempt()
        except Exception as error:  # noqa: BLE001 - an outermost loop: a defect must not end it
            readiness.hold(cause, _warn("operator_waits", error, cause=cause))
            await asyncio.sleep(_RETRY_SEC)
        else:
            readiness.release(cause)
            return result


async def _keep_keys(
    keys: InstallationKeys,
    store: RegistryStore,
    interval_sec: float,
    readiness: ProcessReadiness,
    tried: asyncio.Event,
) -> None:
    """Keep the keys and the administrator's token, and take over keys that somebody replaced.

    Args:
        keys: to keep.
        store: of the registry, prepared here.
        interval_sec: between two looks at the keys.
        readiness: not ready until the keys were read or made.
        tried: set behind the first attempt, whether it failed or not.
    """

    async def attempt() -> None:
        try:
            await prepare_database(store.database)
            await keys.refresh()
        finally:
            tried.set()

    await _until_works(attempt, "keys_not_ready", readiness)
    while True:
        pause = interval_sec
        try:
            wait = await keys.refresh()
            if wait:
                pause = min(pause, wait.total_seconds())
        except Exception as error:  # noqa: BLE001 - an outermost loop: a defect must not end it
            _warn("keys_not_refreshed", error)
        try:
            await keys.renew_admin_token()
        except Exception as error:  # noqa: BLE001 - an outermost loop: a defect must not end it
            _warn("admin_token_not_written", error)
        await asyncio.sleep(pause)


def _warn(event: str, error: Exception, **fields: str) -> str:
    """Log an error, a defect with its traceback; returns what may be told of it."""
    if isinstance(error, _TRANSIENT):
        reason = str(error)[:500]
        log.warning(event, error=reason, **fields)
        return reason
    log.error(event, exc_info=error, **fields)
    return f"An unexpected error ({type(error).__name__}), which is in the log."


def main() -> None:
    """Run the process of the operator."""
    settings = load(OperatorSettings)
    gc.freeze()  # what is loaded stays, and is no work for a collection
    run_until_signalled(lambda stopping: serve(settings, stopping))
