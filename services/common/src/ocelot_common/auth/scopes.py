"""Scopes, and the roles that bundle them."""

from collections.abc import Iterable
from typing import Final

LOGS_WRITE: Final = "logs:write"
LOGS_READ: Final = "logs:read"
LOGS_EXPORT: Final = "logs:export"
LOGS_ADMIN: Final = "logs:admin"
LOGS_DELETE: Final = "logs:delete"
ACCESSLOG_READ: Final = "accesslog:read"
TENANTS_ADMIN: Final = "tenants:admin"

SCOPES: Final = frozenset(
    {LOGS_WRITE, LOGS_READ, LOGS_EXPORT, LOGS_ADMIN, LOGS_DELETE, ACCESSLOG_READ, TENANTS_ADMIN}
)

#: Scopes over the whole installation. A token that is for some tenants only cannot have them.
INSTALLATION_SCOPES: Final = frozenset({TENANTS_ADMIN})

ROLES: Final[dict[str, frozenset[str]]] = {
    "writer": frozenset({LOGS_WRITE}),
    "reader": frozenset({LOGS_READ}),
    "auditor": frozenset({LOGS_READ, LOGS_EXPORT, ACCESSLOG_READ}),
    "admin": SCOPES - {TENANTS_ADMIN},
    "installation-admin": SCOPES,
}

#: Old names of roles, which tokens may still carry and commands may still name. Removed in 0.2.
RENAMED_ROLES: Final[dict[str, str]] = {"operator": "installation-admin"}


def current_role(role: str) -> str:
    """Return the present name of a role; any other text is returned as it is."""
    return RENAMED_ROLES.get(role, role)


def effective_scopes(scope: str, role: str) -> frozenset[str]:
    """Return the scopes of a token: those of its `scope` and of its role together.

    An unknown role or scope gives nothing, so that a token of a newer release never gives more.

    Args:
        scope: separated by U+0020 alone (RFC 6749 §3.3). Python's `split()` would also split at
            no-break spaces and line separators, which nobody sees in the token of another issuer.
        role: one of `ROLES` or of `RENAMED_ROLES`, or empty.
    """
    return (SCOPES & frozenset(scope.split(" "))) | ROLES.get(current_role(role), frozenset())


def reaches_beyond(scopes: Iterable[str]) -> bool:
    """Return whether some of the scopes are for the installation and not for single tenants."""
    return not INSTALLATION_SCOPES.isdisjoint(scopes)
