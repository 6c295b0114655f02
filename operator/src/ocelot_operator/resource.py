"""A Tenant resource as the operator reads it.

The schema of the CustomResourceDefinition refuses nearly all that is refused here. It is checked
again, since an administrator may have changed the schema, and objects stay when it changes.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, field

from ocelot_common import names
from ocelot_common.provisioning.claiming import TenantSpec
from ocelot_common.registry.model import Isolation, ResourceOwner
from ocelot_common.terminal import escape, is_safe
from ocelot_operator.kubernetes import KIND

#: What a token Secret may allow. The others give rights over retention, deletion and tenants.
Scope = Literal["logs:write", "logs:read", "logs:export", "accesslog:read"]

MIN_TTL: Final = timedelta(minutes=10)
MAX_TTL: Final = timedelta(days=90)
_TTL: Final = re.compile(r"([1-9][0-9]{0,5})(h|m)")

#: RFC 1123 subdomain, at most 253 characters: how Kubernetes names most objects.
OBJECT_NAME: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"

_Label = Annotated[str, Meta(pattern=r"\A[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")]
_ObjectName = Annotated[str, Meta(max_length=253, pattern=rf"\A{OBJECT_NAME}\Z")]


class InvalidResourceError(Exception):
    """A Tenant that cannot be met; the message says why and is safe to show."""


class Client(msgspec.Struct, frozen=True, rename="camel"):
    """Who gets a token.

    Attributes:
        scopes: of the token.
        secret_name: Secret of the Tenant's namespace that gets it.
        ttl: its lifetime, such as `720h`.
    """

    name: _Label
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=4)]
    secret_name: _ObjectName
    ttl: str = "720h"

    @property
    def lifetime(self) -> timedelta:
        """Return the lifetime of a token.

        Raises:
            InvalidResourceError: it is not one.
        """
        found = _TTL.fullmatch(self.ttl)
        hours = {"h": 1.0, "m": 1 / 60}
        life = timedelta(hours=int(found[1]) * hours[found[2]]) if found else timedelta()
        if not MIN_TTL <= life <= MAX_TTL:
            raise InvalidResourceError(
                f"spec.auth.clients[{self.name}].ttl must be 10m to 2160h, in whole hours or"
                " minutes, such as 90m."
            )
        return life


class _Auth(msgspec.Struct, frozen=True):
    clients: Annotated[list[Client], Meta(max_length=16)] = []


class _Retention(msgspec.Struct, frozen=True):
    days: Annotated[int, Meta(ge=1, le=36_500)] | None = None


class _Search(msgspec.Struct, frozen=True):
    replicas: Annotated[int, Meta(ge=0, le=5)] | None = None


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    tenant_id: str | None = None
    display_name: Annotated[str, Meta(max_length=256)] = ""
    isolation: Isolation = Isolation.DEDICATED
    retention: _Retention = _Retention()
    search: _Search = _Search()
    auth: _Auth = _Auth()
    deletion_policy: Literal["Retain"] = "Retain"


class _Metadata(msgspec.Struct, frozen=True):
    namespace: str
    name: str
    uid: str
    generation: int = 0


class TenantResource(msgspec.Struct, frozen=True):
    """A Tenant whose fields are what they must be."""

    metadata: _Metadata
    spec: _Spec = field(default_factory=_Spec)

    @property
    def tenant_id(self) -> str:
        """Return the id of the tenant: by default the name of the resource."""
        return self.metadata.name if self.spec.tenant_id is None else self.spec.tenant_id

    @property
    def clients(self) -> list[Client]:
        """Return who gets a token."""
        return self.spec.auth.clients

    def owner(self, cluster: str) -> ResourceOwner:
        """Return the owner on record of the tenant."""
        metadata = self.metadata
        return ResourceOwner(
            kind=KIND,
            cluster=cluster,
            namespace=metadata.namespace,
            name=metadata.name,
            uid=metadata.uid,
        )

    def tenant_spec(self, cluster: str) -> TenantSpec:
        """Return what the tenant is asked to be."""
        return TenantSpec(
            id=self.tenant_id,
            owner=self.owner(cluster),
            display_name=self.spec.display_name,
            isolation=self.spec.isolation,
            retention_days=self.spec.retention.days,
            replicas=self.spec.search.replicas,
        )


def read_resource(body: Mapping[str, Any]) -> TenantResource:
    """Read a Tenant as the API server returns it; fields that are not known are passed over.

    Raises:
        InvalidResourceError: a field is not what it must be.
    """
    try:
        resource = msgspec.convert(body, TenantResource)
        names.check_tenant_id(resource.tenant_id)
    except (msgspec.ValidationError, ValueError) as error:
        raise InvalidResourceError(escape(str(error))) from None
    if not is_safe(resource.spec.display_name):
        raise InvalidResourceError(
            "spec.displayName must have no control, bidirectional or invisible characters."
        )
    if resource.spec.search.replicas is not None and resource.spec.isolation is Isolation.SHARED:
        raise InvalidResourceError("spec.search.replicas needs spec.isolation Dedicated.")
    for attribute in ("name", "secret_name"):
        values = [getattr(client, attribute) for client in resource.clients]
        if len(set(values)) < len(values):
            what = "name" if attribute == "name" else "secretName"
            raise InvalidResourceError(f"Two of spec.auth.clients have the same {what}.")
    for client in resource.clients:
        _ = client.lifetime
    return resource
