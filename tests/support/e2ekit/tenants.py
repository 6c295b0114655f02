"""Tenant resources."""

from typing import Any, NamedTuple

from e2ekit.kubectl import Kubectl

CLIENT = {"name": "app", "scopes": ["logs:write", "logs:read"]}


class Account(NamedTuple):
    """A tenant that the operator made, and the token of its client.

    Attributes:
        id: of the tenant, and name of its resource.
        secret: name of the Secret.
        token: with the scopes of a writer and of a reader.
    """

    id: str
    secret: str
    token: str


def apply_tenant(kubectl: Kubectl, name: str, **spec: Any) -> None:
    """Create or change a Tenant with one client; `spec` has further fields."""
    client = {**CLIENT, "secretName": f"{name}-token"}
    kubectl.apply(
        {
            "apiVersion": "ocelot.dev/v1alpha1",
            "kind": "Tenant",
            "metadata": {"name": name, "namespace": kubectl.namespace},
            "spec": {"auth": {"clients": [client]}, **spec},
        }
    )


def is_ready(kubectl: Kubectl, name: str) -> bool:
    """Return whether the status says that the Tenant is as its present spec wants it."""
    tenant = kubectl.get("tenant", name)
    assert tenant is not None
    return any(
        condition["type"] == "Ready"
        and condition["status"] == "True"
        and condition["observedGeneration"] == tenant["metadata"]["generation"]
        for condition in tenant.get("status", {}).get("conditions", ())
    )


def account_of(kubectl: Kubectl, name: str) -> Account:
    """Return the account of a Tenant that is ready."""
    secret = kubectl.secret(f"{name}-token")
    assert secret is not None
    return Account(name, f"{name}-token", secret["token"])
