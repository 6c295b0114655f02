"""Token Secrets: one per client of a Tenant, and one for the administrator.

A Secret is the operator's own if it has the operator's labels with the Tenant's uid and the id of
the installation, and an ownerReference to the Tenant. The operators of two installations in one
cluster see the same Tenants: without the id, each would replace the other's tokens for ever. Every
other Secret is left alone, and its data are not used: a name that is taken is noticed when the
create is refused.

A Secret without the id is the operator's own, too, and gets the id: an earlier release wrote none.
"""

import base64
import binascii
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from ocelot_common.registry.model import Tenant
from ocelot_common.telemetry.logs import get_logger
from ocelot_operator.kubernetes import (
    GROUP,
    KIND,
    VERSION,
    ExistsError,
    KubernetesClient,
    KubernetesError,
    NotFoundError,
    Object,
)
from ocelot_operator.minting import Mint, TokenSpec
from ocelot_operator.resource import Client, TenantResource

MANAGER: Final = "ocelot-operator"
_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
_TENANT_UID: Final = f"{GROUP}/tenant-uid"
_INSTALLATION: Final = f"{GROUP}/installation"
_COMPONENT: Final = "app.kubernetes.io/component"
_UNPROCESSABLE: Final = 422

log = get_logger(__name__)


class ClientToken(NamedTuple):
    """A client whose Secret has a token.

    Attributes:
        expires_at: when the token ends.
    """

    client: Client
    expires_at: datetime


class TokenSecretsState(NamedTuple):
    """The Secrets of a Tenant's clients after a pass.

    Attributes:
        served: clients that have a token.
        foreign: names of Secrets that belong to somebody else.
        reserved: names of clients' Secrets that only the installation itself may have.
        failed: errors by the name of the Secret that could not be written or deleted.
    """

    served: list[ClientToken]
    foreign: list[str]
    reserved: list[str]
    failed: dict[str, KubernetesError]


class SecretNotOwnedError(Exception):
    """A Secret is somebody else's; it was not touched."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The Secret {name} exists and is not the operator's. Delete it.")


class TokenSecrets:
    """Keeps the Secrets of a Tenant's clients as its spec says.

    Args:
        kubernetes: to write them.
        api_url: written into each.
        installation: its id, a label of each.
        reserved: namespace and name of Secrets that no client may have. A token Secret in the place
            of a key Secret that was lost would be overwritten again when the key is restored.
    """

    def __init__(
        self,
        kubernetes: KubernetesClient,
        *,
        api_url: str,
        installation: str,
        reserved: Collection[tuple[str, str]],
    ) -> None:
        self._kubernetes = kubernetes
        self._api_url = api_url
        self._installation = installation
        self._reserved = frozenset(reserved)

    async def ensure(
        self, resource: TenantResource, tenant: Tenant, mint: Mint
    ) -> TokenSecretsState:
        """Create, renew and delete Secrets so that each client has one with a good token.

        Raises:
            KubernetesError: the Secrets could not be listed.
        """
        namespace, uid = resource.metadata.namespace, resource.metadata.uid
        found = await self._kubernetes.secrets(namespace, label=_TENANT_UID, value=uid)
        own = {
            name: each
            for each in found
            if (namespace, name := each["metadata"]["name"]) not in self._reserved
            and _is_own(each, uid, self._installation)
        }
        state = TokenSecretsState([], [], [], {})
        for client in resource.clients:
            if (namespace, client.secret_name) in self._reserved:
                state.reserved.append(client.secret_name)
                continue
            spec = TokenSpec(
                subject=f"{client.name}@{tenant.id}",
                tenants=[tenant],
                scopes=sorted(set(client.scopes)),
                ttl=client.lifetime,
            )
            metadata = {
                "namespace": namespace,
                "name": client.secret_name,
                "labels": {
                    _MANAGED_BY: MANAGER,
                    _TENANT_UID: uid,
                    _INSTALLATION: self._installation,
                },
                "ownerReferences": [_owner_reference(resource)],
            }
            data = {"tenant": tenant.id, "url": self._api_url}
            present = own.pop(client.secret_name, None)
            try:
                expires_at = await keep_token(
                    self._kubernetes, present, metadata=metadata, data=data, spec=spec, mint=mint
                )
            except ExistsError:
                state.foreign.append(client.secret_name)
            except KubernetesError as error:
                state.failed[client.secret_name] = error
            else:
                state.served.append(ClientToken(client, expires_at))
        for name, rest in own.items():
            try:
                with suppress(NotFoundError):
                    await self._kubernetes.delete_secret(rest)
            except KubernetesError as error:
                state.failed[name] = error
            else:
                log.info("token_secret_deleted", namespace=namespace, secret=name)
        for name, failure in state.failed.items():
            log.warning("token_secret_failed", namespace=namespace, secret=name, error=str(failure))
        return state


async def keep_admin_token(
    kubernetes: KubernetesClient,
    mint: Mint,
    *,
    namespace: str,
    name: str,
    api_url: str,
    spec: TokenSpec,
) -> None:
    """Keep the Secret of the administrator's token.

    Raises:
        SecretNotOwnedError: it is somebody else's.
        KubernetesError: it could not be read or written.
    """
    labels = {_MANAGED_BY: MANAGER, _COMPONENT: "admin-token"}
    present = await kubernetes.secret(namespace, name)
    if present is not None and not _has_labels(present, labels):
        raise SecretNotOwnedError(name)
    metadata = {"namespace": namespace, "name": name, "labels": labels}
    await keep_token(
        kubernetes, present, metadata=metadata, data={"url": api_url}, spec=spec, mint=mint
    )


async def keep_token(
    kubernetes: KubernetesClient,
    present: Object | None,
    *,
    metadata: Object,
    data: Mapping[str, str],
    spec: TokenSpec,
    mint: Mint,
) -> datetime:
    """Write a Secret unless it has its labels, a good token and `data`.

    Args:
        kubernetes: to write it.
        present: the Secret as it was read, the operator's own; None to create it.
        metadata: of the Secret.
        data: what it has beside `token` and `expires`.
        spec: of the token.
        mint: makes the token.

    Returns:
        When the token ends.

    Raises:
        ExistsError: another Secret has the name.
        KubernetesError: it could not be written, such as one that was changed since it was read.
    """
    held: dict[str, str] = {}
    if present is not None and _has_labels(present, metadata["labels"]):
        held = _data_of(present)
    if (expires_at := mint.expiry(held.get("token", ""), spec)) is not None:
        wanted = {**data, "token": held["token"], "expires": utc_text(expires_at)}
        if held == wanted:
            return expires_at
    token = mint.mint(spec)
    expires_at = mint.expiry(token, spec)
    if expires_at is None:
        raise RuntimeError("a new token is not what was asked for")
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": dict(metadata),
        "stringData": {**data, "token": token, "expires": utc_text(expires_at)},
    }
    if present is None:
        await kubernetes.create_secret(secret)
    else:
        await _replace(kubernetes, present, secret)
    log.info("token_secret_written", namespace=metadata["namespace"], secret=metadata["name"])
    return expires_at


async def _replace(kubernetes: KubernetesClient, present: Object, secret: Object) -> None:
    version = present["metadata"]["resourceVersion"]
    try:
        await kubernetes.replace_secret(
            {**secret, "metadata": {**secret["metadata"], "resourceVersion": version}}
        )
    except KubernetesError as error:
        if error.status != _UNPROCESSABLE:
            raise
        # Somebody made it immutable or of another type, which no update can change.
        await kubernetes.delete_secret(present)
        await kubernetes.create_secret(secret)


def _owner_reference(resource: TenantResource) -> Object:
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "name": resource.metadata.name,
        "uid": resource.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _is_own(secret: Object, uid: str, installation: str) -> bool:
    references = secret["metadata"].get("ownerReferences", [])
    owned = any(each.get("kind") == KIND and each.get("uid") == uid for each in references)
    return (
        owned
        and _has_labels(secret, {_MANAGED_BY: MANAGER, _TENANT_UID: uid})
        and secret["metadata"]["labels"].get(_INSTALLATION, installation) == installation
    )


def _has_labels(secret: Object, labels: Mapping[str, str]) -> bool:
    return labels.items() <= (secret["metadata"].get("labels") or {}).items()


def _data_of(secret: Mapping[str, Any]) -> dict[str, str]:
    """Return a Secret's data as text; what is not text is left out."""
    texts = {}
    for name, value in (secret.get("data") or {}).items():
        try:
            texts[name] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, ValueError):
            texts[name] = ""
    return texts


def utc_text(moment: datetime) -> str:
    """Return a moment as a text of RFC 3339 in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
