"""One idempotent pass over a Tenant: fetch, check, act through common, write the status."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from opensearchpy.exceptions import OpenSearchException
from pymongo.errors import PyMongoError

from ocelot_common.provisioning.errors import (
    LeftoverDataError,
    OwnerError,
    ProvisioningError,
)
from ocelot_common.provisioning.indices import ForeignIndexError
from ocelot_common.provisioning.tenants import Provisioner
from ocelot_common.registry.model import Tenant
from ocelot_common.telemetry.logs import get_logger
from ocelot_operator.kubernetes import KubernetesClient, KubernetesError, NotFoundError, Object
from ocelot_operator.minting import Mint
from ocelot_operator.resource import InvalidResourceError, TenantResource, read_resource
from ocelot_operator.secrets import TokenSecrets
from ocelot_operator.status import Outcome, Reason, status_patch

#: A store that hangs must not hold a pass for ever.
_PASS_SEC: Final = 60.0

#: What the status says of an error. The first row that fits counts.
_EXPLAINED: Final[tuple[tuple[type[Exception] | tuple[type[Exception], ...], Reason, str], ...]] = (
    (
        OwnerError,
        Reason.TENANT_ID_TAKEN,
        (
            "The tenant {id} belongs to another owner, and was not changed. Delete this Tenant and"
            " choose another tenantId. `ocelot tenants list` shows the owner to an administrator."
        ),
    ),
    (
        (LeftoverDataError, ForeignIndexError),
        Reason.LEFTOVER_DATA,
        (
            "MongoDB or OpenSearch has data of another tenant under the names of the tenant {id}."
            " Nothing was changed. The operator's log says what to do."
        ),
    ),
    (ProvisioningError, Reason.REFUSED, "{error}"),
    (
        PyMongoError,
        Reason.STORE_UNAVAILABLE,
        "MongoDB cannot be used now ({kind}). The operator tries again.",
    ),
    (
        OpenSearchException,
        Reason.SEARCH_UNAVAILABLE,
        "OpenSearch cannot be used now ({kind}). The operator tries again.",
    ),
    (
        KubernetesError,
        Reason.KUBERNETES_UNAVAILABLE,
        "The Secrets could not be listed ({error}). The operator tries again.",
    ),
    (
        TimeoutError,
        Reason.TIMED_OUT,
        "A backend does not answer. The operator tries again.",
    ),
    (
        Exception,
        Reason.INTERNAL_ERROR,
        "An unexpected error ({kind}), which is in the operator's log. The operator tries again.",
    ),
)

log = get_logger(__name__)


class Reconciler:
    """Makes passes over Tenants. It keeps nothing between two passes.

    Args:
        kubernetes: to read Tenants and to write their status.
        provisioner: makes and changes tenants.
        secrets: keeps the Secrets of clients.
        mint: returns what mints tokens, None while there is no signing key.
        cluster: in the owner on record.
        clock: the time, aware.
        pass_sec: the longest that a pass may take.
    """

    def __init__(
        self,
        kubernetes: KubernetesClient,
        *,
        provisioner: Provisioner,
        secrets: TokenSecrets,
        mint: Callable[[], Mint | None],
        cluster: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        pass_sec: float = _PASS_SEC,
    ) -> None:
        self._kubernetes = kubernetes
        self._provisioner = provisioner
        self._secrets = secrets
        self._mint = mint
        self._cluster = cluster
        self._clock = clock
        self._pass_sec = pass_sec

    async def reconcile(self, namespace: str, name: str) -> Outcome | None:
        """Bring a tenant to what its resource says, and the status to what came of it.

        Deleting the resource leaves the tenant as it is (`deletionPolicy: Retain`), and the garbage
        collector removes the token Secrets.

        Returns:
            The outcome, or None if the resource is gone or being deleted.

        Raises:
            KubernetesError: the resource could not be read, or its status not be written.
        """
        body = await self._kubernetes.tenant(namespace, name)
        if body is None or body["metadata"].get("deletionTimestamp"):
            return None
        outcome = await self._bring(body)
        if patch := status_patch(body, outcome, now=self._clock()):
            # The patch is for this resource, not for one of its name that was made meanwhile.
            patch["metadata"] = {"uid": body["metadata"]["uid"]}
            try:
                await self._kubernetes.patch_status(namespace, name, patch)
            except NotFoundError:
                return None
        return outcome

    async def _bring(self, body: Object) -> Outcome:
        try:
            resource = read_resource(body)
        except InvalidResourceError as error:
            return Outcome(Reason.INVALID_SPEC, str(error))
        tenant: Tenant | None = None
        try:
            async with asyncio.timeout(self._pass_sec):
                tenant = await self._provisioner.apply(resource.tenant_spec(self._cluster))
                return await self._with_tokens(resource, tenant)
        except Exception as error:  # noqa: BLE001 - the outermost loop; status and log say which
            return _refused(resource, tenant, error)

    async def _with_tokens(self, resource: TenantResource, tenant: Tenant) -> Outcome:
        mint = self._mint()
        if mint is None:
            return Outcome(
                Reason.SIGNING_KEY_MISSING,
                "The operator cannot sign tokens yet. Its log says which key it waits for.",
                tenant,
            )
        secrets = await self._secrets.ensure(resource, tenant, mint)
        if secrets.failed:
            failures = [f"{name} ({error})" for name, error in sorted(secrets.failed.items())]
            return Outcome(
                Reason.KUBERNETES_UNAVAILABLE,
                f"The API server refused a change of the Secret {', '.join(failures)}. The"
                " operator tries again.",
                tenant,
                secrets.served,
            )
        if secrets.reserved:
            return Outcome(
                Reason.SECRET_NOT_OWNED,
                f"The name {', '.join(sorted(secrets.reserved))} is reserved for a Secret of the"
                " operator. It was not changed. Change spec.auth.clients.",
                tenant,
                secrets.served,
            )
        if secrets.foreign:
            return Outcome(
                Reason.SECRET_NOT_OWNED,
                f"The Secret {', '.join(sorted(secrets.foreign))} exists, and this operator"
                " did not create it for this Tenant. It was not changed. Delete it, or change"
                " spec.auth.clients.",
                tenant,
                secrets.served,
            )
        return Outcome(Reason.RECONCILED, "The tenant is as specified.", tenant, secrets.served)


def _refused(resource: TenantResource, tenant: Tenant | None, error: Exception) -> Outcome:
    """Name what went wrong without names of other tenants, addresses or credentials."""
    reason, message = _explain(resource.tenant_id, error)
    fields = {"namespace": resource.metadata.namespace, "name": resource.metadata.name}
    if reason is Reason.INTERNAL_ERROR:
        log.error("tenant_failed", **fields, exc_info=error)
    else:
        log.warning("tenant_not_ready", **fields, reason=reason.value, error=str(error)[:1_000])
    return Outcome(reason, message, tenant)


def _explain(tenant_id: str, error: Exception) -> tuple[Reason, str]:
    for kinds, reason, message in _EXPLAINED:
        if isinstance(error, kinds):
            return reason, message.format(id=tenant_id, kind=type(error).__name__, error=error)
    raise AssertionError("the last row is for every error")
