"""Tokens for Secrets: minted, and read again to see whether they still are what they must be."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple

from ocelot_common.auth.keys import SigningKey
from ocelot_common.auth.tokens import TokenError, TokenVerifier, mint_token
from ocelot_common.registry.model import Tenant, VerificationKey

#: Of a token's life, after which the next pass renews it. A third is left for the longest interval
#: of passes, for the kubelet, and for the client to read the file again.
RENEW_AFTER: Final = 2 / 3


class TokenSpec(NamedTuple):
    """What a token must be.

    Attributes:
        subject: its `sub`.
        tenants: for which it is good, or `*`.
        ttl: its lifetime.
        role, scopes: its rights.
    """

    subject: str
    tenants: Sequence[Tenant] | Literal["*"]
    ttl: timedelta
    role: str = ""
    scopes: Sequence[str] = ()


class Mint:
    """Mints tokens with one key.

    Args:
        key: published, and allowed to sign by now.
        issuer: the `iss` of tokens.
        audience: their `aud`.
        clock: the time, aware.
    """

    def __init__(
        self,
        key: SigningKey,
        *,
        issuer: str,
        audience: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._key = key
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._verifier = TokenVerifier(self._find, issuer=issuer, audience=audience)

    def mint(self, spec: TokenSpec) -> str:
        """Return a new token."""
        return mint_token(
            self._key,
            subject=spec.subject,
            tenants=spec.tenants,
            role=spec.role,
            scopes=spec.scopes,
            ttl=spec.ttl,
            issuer=self._issuer,
            audience=self._audience,
            now=self._clock(),
        )

    def expiry(self, token: str, spec: TokenSpec) -> datetime | None:
        """Return when a token ends; None if it is not as specified, or is due to be renewed."""
        try:
            claims = self._verifier.verify(token)
        except TokenError:
            return None
        tenants = "*" if spec.tenants == "*" else {each.id: each.uid for each in spec.tenants}
        rights = (spec.subject, tenants, spec.role, " ".join(spec.scopes))
        life_sec = claims.exp - claims.iat
        if (claims.sub, claims.tenants, claims.role, claims.scope) != rights:
            return None
        if life_sec != int(spec.ttl.total_seconds()):
            return None
        if self._clock().timestamp() >= claims.iat + life_sec * RENEW_AFTER:
            return None
        return datetime.fromtimestamp(claims.exp, UTC)

    def _find(self, kid: str) -> VerificationKey | None:
        key = self._key
        if kid != key.kid:
            return None
        return VerificationKey(
            kid=kid, version=0, alg=key.alg, jwk=key.jwk, published_at=self._clock()
        )
