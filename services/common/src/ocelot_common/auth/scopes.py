"""Scopes, and the roles that bundle them."""

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

ROLES: Final[dict[str, frozenset[str]]] = {
    "writer": frozenset({LOGS_WRITE}),
    "reader": frozenset({LOGS_READ}),
    "auditor": frozenset({LOGS_READ, LOGS_EXPORT, ACCESSLOG_READ}),
    "admin": SCOPES - {TENANTS_ADMIN},
    "operator": SCOPES,
}


def effective_scopes(scope: str, role: str) -> frozenset[str]:
    """The scopes of a token: its `scope`, separated by spaces, and its role's together.

    An unknown role gives nothing, so that a token of a newer release is never taken for more.
    """
    return frozenset(scope.split()) | ROLES.get(role, frozenset())
