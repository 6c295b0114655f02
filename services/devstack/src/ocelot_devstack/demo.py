"""The two tenants that make dev shows."""

from collections.abc import Mapping
from typing import Final, Protocol

from ocelot_common.registry.model import Isolation
from ocelot_devstack.stack import Stack

#: Tokens by tenant and role.
Tokens = dict[str, dict[str, str]]

ROLES: Final = ("admin", "writer", "reader")
DEMO_TENANTS: Final[Mapping[str, Isolation]] = {
    "acme": Isolation.DEDICATED,
    "globex": Isolation.SHARED,
}


class ProvisionTenant(Protocol):
    """Makes a tenant if it is not there yet."""

    async def __call__(self, stack: Stack, tenant: str, isolation: Isolation) -> Mapping[str, str]:
        """One token for each of ROLES, by role."""


async def provision_nothing(stack: Stack, tenant: str, isolation: Isolation) -> Mapping[str, str]:
    """Stands in where no tenants are wanted, as in the tests of make dev itself."""
    del stack, tenant, isolation
    return {}


async def provision_demo(stack: Stack, provision: ProvisionTenant = provision_nothing) -> Tokens:
    """Create the demo tenants that do not exist, and return the tokens of all."""
    made = {
        tenant: dict(await provision(stack, tenant, isolation))
        for tenant, isolation in DEMO_TENANTS.items()
    }
    tokens = {tenant: tokens for tenant, tokens in made.items() if tokens}
    if tokens:
        named = ", ".join(f"{tenant} ({DEMO_TENANTS[tenant]})" for tenant in tokens)
        stack.report(f"Demo tenants: {named}")
    return tokens
