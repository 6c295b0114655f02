"""From a token to a principal: whose request this is, and what it may do (design §7)."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from typing import Final

import msgspec
from pymongo.errors import PyMongoError

from ocelot_api.problems import Problem, bad_request, forbidden, unauthenticated, unavailable
from ocelot_common.auth.scopes import effective_scopes
from ocelot_common.auth.tokens import (
    KEY_REVOKED,
    LEEWAY_SEC,
    Claims,
    ExpiredTokenError,
    TokenError,
    TokenVerifier,
    UnknownTokenKeyError,
)
from ocelot_common.registry.model import KeyState, Tenant, TenantState
from ocelot_common.registry.snapshot import RegistrySnapshot

_CACHED_TOKENS: Final = 10_000
#: The registry is asked about an unknown key no more often than this, and about an unknown tenant.
_ASK_EVERY_SEC: Final = 1.0
_ASK_AGAIN_SEC: Final = 0.1
_ASK_TIMEOUT_SEC: Final = 2.0


class Principal(msgspec.Struct, frozen=True):
    """Who asks, and for which tenant.

    Attributes:
        subject: the token's `sub`.
    """

    tenant: Tenant
    subject: str
    scopes: frozenset[str]

    def require(self, scope: str) -> None:
        """Refuse a request whose token lacks a scope.

        Raises:
            Problem: 403 `insufficient_scope`.
        """
        if scope not in self.scopes:
            raise forbidden(
                "insufficient_scope",
                f"The token lacks the scope `{scope}`. Use a token that has it.",
            )


class _Verified(msgspec.Struct, frozen=True):
    claims: Claims
    scopes: frozenset[str]


class _UnknownError(Exception):
    """A key or tenant that this snapshot does not have; the registry may.

    Attributes:
        problem: the answer if the registry does not have it, either.
        signed: whether one of our keys vouches for the token.
    """

    def __init__(self, problem: Problem, *, signed: bool) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.signed = signed


class Authenticator:
    """Verifies tokens once and remembers them; tenant and key state are looked at every time."""

    def __init__(self, snapshot: RegistrySnapshot, verifier: TokenVerifier) -> None:
        self._snapshot = snapshot
        self._verifier = verifier
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self._asking: asyncio.Task[bool] | None = None
        self._asked_at = 0.0

    async def authenticate(self, headers: dict[bytes, bytes], scope: str) -> Principal:
        """The principal of a request that needs a scope.

        Raises:
            Problem: 400, 401 or 403; 503 if the key or tenant is unknown and the registry away.
        """
        token = _bearer(headers)
        picked = headers.get(b"x-tenant-id", b"").decode("latin-1")
        try:
            principal = self._principal(token, picked)
        except _UnknownError as unknown:
            await self._ask_registry(unknown)
            try:
                principal = self._principal(token, picked)
            except _UnknownError as still_unknown:
                raise still_unknown.problem from None
        principal.require(scope)
        return principal

    def tenant_of(self, headers: dict[bytes, bytes]) -> str | None:
        """Return the id of the tenant that a request is for, for a log line.

        Only a token that was verified before is believed. None is verified here: this is called
        for requests that are refused.
        """
        try:
            known = self._verified.get(hashlib.sha256(_bearer(headers)).digest())
            if known is None:
                return None
            picked = headers.get(b"x-tenant-id", b"").decode("latin-1")
            if isinstance(known.claims.tenants, str):
                return picked if self._snapshot.live_tenant(picked) else None
            return _pick(known.claims.tenants, picked)
        except Problem:
            return None

    def _principal(self, token: bytes, picked: str) -> Principal:
        verified = self._verify(token)
        tenant = self._tenant(verified.claims, picked)
        return Principal(tenant, verified.claims.sub, verified.scopes)

    def _verify(self, token: bytes) -> _Verified:
        digest = hashlib.sha256(token).digest()
        known = self._verified.get(digest)
        if known is not None:
            if known.claims.exp + LEEWAY_SEC <= time.time():
                del self._verified[digest]
                raise unauthenticated("token_expired", str(ExpiredTokenError()))
            key = self._snapshot.key(known.claims.kid)
            if key is None or key.state is not KeyState.ACTIVE:
                raise unauthenticated("token_invalid", KEY_REVOKED)
            self._verified.move_to_end(digest)
            return known
        try:
            claims = self._verifier.verify(token.decode("latin-1"))
        except UnknownTokenKeyError as error:
            problem = unauthenticated("token_invalid", str(error))
            raise _UnknownError(problem, signed=False) from None
        except ExpiredTokenError as error:
            raise unauthenticated("token_expired", str(error)) from None
        except TokenError as error:
            raise unauthenticated("token_invalid", str(error)) from None
        verified = _Verified(claims, effective_scopes(claims.scope, claims.role))
        self._verified[digest] = verified
        if len(self._verified) > _CACHED_TOKENS:
            self._verified.popitem(last=False)
        return verified

    def _tenant(self, claims: Claims, picked: str) -> Tenant:
        if isinstance(claims.tenants, str):
            tenant_id, uid = self._pick_any(picked), None
        else:
            tenant_id = _pick(claims.tenants, picked)
            uid = claims.tenants[tenant_id]
        tenant = self._snapshot.live_tenant(tenant_id)
        if tenant is None or (uid is not None and tenant.uid != uid):
            # One answer for a tenant that never was, is gone, or was made again.
            raise _UnknownError(
                unauthenticated("tenant_unknown", _TENANT_UNKNOWN),
                signed=True,
            )
        if tenant.not_before and claims.iat < tenant.not_before.timestamp():
            raise unauthenticated("token_revoked", "The token was revoked. Create a new token.")
        if tenant.state is not TenantState.ACTIVE:
            code, detail = _STATES[tenant.state]
            raise forbidden(code, detail)
        return tenant

    @staticmethod
    def _pick_any(picked: str) -> str:
        if not picked:
            raise bad_request(
                "tenant_required",
                "The token is for all tenants. Name the tenant in the header X-Tenant-ID.",
            )
        return picked

    async def _ask_registry(self, unknown: _UnknownError) -> None:
        """Read the registry, unless that was done a moment ago.

        A token of one of our keys has its tenant from somewhere: it waits for a read that begins
        after it came, since the tenant may be a moment old. Others are not worth that.

        Raises:
            Problem: 503, if it can't be read.
        """
        arrived = time.monotonic()
        if unknown.signed:
            since = arrived
            await asyncio.sleep(self._asked_at + _ASK_AGAIN_SEC - arrived)
        else:
            since = arrived - _ASK_EVERY_SEC
        asking = self._asking
        if asking is None or (self._asked_at < since and (unknown.signed or asking.done())):
            self._asked_at = time.monotonic()
            asking = asyncio.create_task(self._confirm(), name="registry-ask")
            self._asking = asking
        if not await asyncio.shield(asking):
            raise _registry_away()

    async def _confirm(self) -> bool:
        try:
            async with asyncio.timeout(_ASK_TIMEOUT_SEC):
                await self._snapshot.confirm()
        except (PyMongoError, TimeoutError):
            return False
        return True


def _registry_away() -> Problem:
    # Not 401, which clients take for final: the token may be good.
    return unavailable(
        "registry_unavailable",
        "The service does not know the token's key or tenant yet and cannot read the registry."
        " Retry after 1 s.",
        members={"outcome": "rejected"},
    )


_TENANT_UNKNOWN: Final = (
    "The token's tenant does not exist, or was created again after the token. Create a token for a"
    " tenant that exists."
)
_STATES: Final = {
    TenantState.SUSPENDED: (
        "tenant_suspended",
        "The tenant is suspended. `ocelot tenants resume` ends the suspension.",
    ),
    TenantState.DELETING: (
        "tenant_deleting",
        "The tenant is being deleted. `ocelot tenants create` can still restore it.",
    ),
    TenantState.ORPHANED: (
        "tenant_orphaned",
        (
            "The tenant's owner no longer manages it. `ocelot tenants create` with this owner as"
            " `--owner` activates it. `ocelot tenants list` shows the owner."
        ),
    ),
    TenantState.DELETED: ("tenant_unknown", _TENANT_UNKNOWN),
}


def _bearer(headers: dict[bytes, bytes]) -> bytes:
    header = headers.get(b"authorization")
    if not header:
        raise unauthenticated(
            "token_missing",
            "The request has no token. Send it in the header `Authorization: Bearer TOKEN`.",
        )
    kind, _, token = header.partition(b" ")
    if kind.lower() != b"bearer" or not token.strip():
        raise unauthenticated(
            "token_invalid", "The header Authorization must be `Authorization: Bearer TOKEN`."
        )
    return token.strip()


def _pick(tenants: dict[str, str], picked: str) -> str:
    if picked:
        if picked not in tenants:
            raise forbidden(
                "tenant_forbidden",
                "The token is not for the tenant in the header X-Tenant-ID. Name one of its"
                " tenants.",
            )
        return picked
    if len(tenants) != 1:
        raise bad_request(
            "tenant_required",
            "The token is for several tenants. Name one of them in the header X-Tenant-ID.",
        )
    return next(iter(tenants))
