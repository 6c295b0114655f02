"""Minting and verifying tokens: JWTs with pinned algorithms (RFC 7519, RFC 8725).

PyJWT checks signature, issuer, audience and times. It reads header and payload with `json.loads`,
which takes UTF-16, a byte order mark, NaN and keys that are given twice: another reader of the same
token could see other claims. So both are read strictly here.
"""

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import jwt
import msgspec
from jwt.utils import base64url_decode

from ocelot_common.auth.keys import ALGORITHMS, SigningKey
from ocelot_common.auth.scopes import (
    ROLES,
    SCOPES,
    current_role,
    effective_scopes,
    reaches_beyond,
)
from ocelot_common.registry.model import KeyState, Tenant, VerificationKey
from ocelot_common.terminal import is_safe

LEEWAY_SEC: Final = 60
MAX_TOKEN_BYTES: Final = 8_192
#: As the other names of an event.
MAX_SUBJECT_CHARS: Final = 1_024
#: Tokens for all tenants live an hour at most.
MAX_WILDCARD_TTL: Final = timedelta(hours=1)
EVERY_TENANT: Final = "*"
_MAX_KID_CHARS: Final = 128
#: Our own tokens nest two levels.
_MAX_DEPTH: Final = 8
#: Objects and arrays of a header or payload, with brackets in texts.
_MAX_CONTAINERS: Final = 64
#: NumericDates from 1970 to the year 9999.
_MAX_TIME: Final = 253_402_300_799
_TIMES: Final = ("exp", "iat", "nbf")
_FOR_ALL: Final = "The scope tenants:admin is for the whole installation"
_WILDCARD_LIFE: Final = "A token for all tenants must not live longer than 1 h."
KEY_REVOKED: Final = "The token's key was revoked. Create a token with another key."


class TokenError(Exception):
    """A token that is not accepted; the message says why and holds nothing of the token."""


class ExpiredTokenError(TokenError):
    """A token whose time is over."""

    def __init__(self) -> None:
        super().__init__("The token has expired. Create a new token.")


class UnknownTokenKeyError(TokenError):
    """A token of a key that is not known yet, or of a foreign one."""

    def __init__(self) -> None:
        super().__init__("The token's key is unknown. Create the token with a key of this service.")


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a verified token says.

    Attributes:
        kid: of the key that signed it.
        sub: who writes or reads.
        tenants: uid by tenant id, or `*`.
        scope: separated by spaces.
        iat: when it was issued, seconds since the epoch; so are the others.
    """

    kid: str
    sub: str
    jti: str = ""
    tenants: dict[str, str] | Literal["*"]
    scope: str = ""
    role: str = ""
    iat: int
    nbf: int | None = None
    exp: int


def mint_token(
    key: SigningKey,
    *,
    subject: str,
    tenants: Sequence[Tenant] | Literal["*"],
    role: str = "",
    scopes: Sequence[str] = (),
    ttl: timedelta,
    issuer: str,
    audience: str,
    now: datetime | None = None,
) -> str:
    """A signed token.

    Args:
        key: signs it; must have been published.
        subject: the `sub`, stored as `writer` of every event sent with the token.
        tenants: for which it is good.
        role: one of `ROLES`, or empty. An old name is minted as the new one.
        scopes: besides the role's.
        ttl: how long it lives.
        issuer: the `iss`.
        audience: the `aud`.
        now: the time of issue.

    Raises:
        ValueError: an unknown role or scope, no rights at all, no tenant, `tenants:admin` for some
            tenants only, a subject that events or terminals cannot carry, or a life that is too
            long or none.
    """
    role = current_role(role)
    if role and role not in ROLES:
        raise ValueError(f"The role must be one of {', '.join(ROLES)}, got {role!r}.")
    if unknown := set(scopes) - SCOPES:
        raise ValueError(
            f"Scopes must be among {', '.join(sorted(SCOPES))}, got {', '.join(sorted(unknown))}."
        )
    if not role and not scopes:
        raise ValueError("A token needs a role or a scope.")
    if not tenants:
        raise ValueError("A token needs a tenant, or '*' for all tenants.")
    if tenants != EVERY_TENANT and reaches_beyond(effective_scopes(" ".join(scopes), role)):
        raise ValueError(
            f"{_FOR_ALL}. Create the token for the tenant '*', or choose another role or scope."
        )
    if not _is_subject(subject):
        raise ValueError(
            f"The subject must have 1 to {MAX_SUBJECT_CHARS:,} characters, without control,"
            " bidirectional and invisible characters."
        )
    if ttl <= timedelta(0):
        raise ValueError("The lifetime of a token must be longer than 0 s.")
    if tenants == EVERY_TENANT and ttl > MAX_WILDCARD_TTL:
        raise ValueError(_WILDCARD_LIFE)
    issued = now or datetime.now(UTC)
    claims: dict[str, Any] = {
        "iss": issuer,
        "aud": audience,
        "sub": subject,
        "jti": secrets.token_hex(16),
        "tenants": EVERY_TENANT
        if isinstance(tenants, str)
        else {tenant.id: tenant.uid for tenant in tenants},
        "scope": " ".join(scopes),
        "role": role,
        "iat": int(issued.timestamp()),
        "nbf": int(issued.timestamp()),
        "exp": int((issued + ttl).timestamp()),
    }
    return jwt.encode(claims, key.private, algorithm=key.alg, headers={"kid": key.kid})


class TokenVerifier:
    """Checks signature, issuer, audience and times. Tenant and revocation are the caller's."""

    def __init__(
        self, find_key: Callable[[str], VerificationKey | None], *, issuer: str, audience: str
    ) -> None:
        self._find_key = find_key
        self._issuer = issuer
        self._audience = audience
        self._parsed: dict[str, jwt.PyJWK] = {}

    def verify(self, token: str) -> Claims:
        """The claims of a token.

        Raises:
            TokenError: it is not to be trusted.
        """
        if len(token) > MAX_TOKEN_BYTES:
            raise TokenError(f"The token must have at most {MAX_TOKEN_BYTES:,} bytes.")
        try:
            jwt.get_unverified_header(token)
            header_part, payload_part, _ = token.split(".")
            header = _object(header_part)
        except (jwt.InvalidTokenError, UnicodeEncodeError, ValueError):
            raise TokenError("The token is not a signed JWT.") from None
        key = self._key(header)
        try:
            jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm_name],
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY_SEC,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise ExpiredTokenError from None
        except jwt.ImmatureSignatureError:
            raise TokenError("The token is not valid yet. Check `nbf` and the clocks.") from None
        except jwt.InvalidTokenError as error:
            raise TokenError(f"The token is invalid: {_reason(error)}.") from None
        try:
            payload = _object(payload_part)
        except ValueError:
            raise TokenError("The token is invalid: its payload is not strict JSON.") from None
        if not all(_is_time(payload[name]) for name in _TIMES if payload.get(name) is not None):
            raise TokenError("The token is invalid: `exp`, `iat` or `nbf` is not a NumericDate.")
        try:
            claims = msgspec.convert({**payload, "kid": header["kid"]}, Claims, strict=False)
        except msgspec.ValidationError as error:
            raise TokenError(f"The claims of the token are invalid: {error}.") from None
        if not _is_subject(claims.sub):
            raise TokenError(
                f"The token is invalid: `sub` must have 1 to {MAX_SUBJECT_CHARS:,} characters,"
                " without control, bidirectional and invisible characters."
            )
        scopes = effective_scopes(claims.scope, claims.role)
        if claims.tenants != EVERY_TENANT and reaches_beyond(scopes):
            raise TokenError(f"{_FOR_ALL}, but the token is for some tenants only.")
        life_sec = claims.exp - claims.iat
        if claims.tenants == EVERY_TENANT and life_sec > MAX_WILDCARD_TTL.total_seconds():
            raise TokenError(_WILDCARD_LIFE)
        return claims

    def _key(self, header: Mapping[str, Any]) -> jwt.PyJWK:
        kid = header.get("kid")
        if not isinstance(kid, str) or not 0 < len(kid) <= _MAX_KID_CHARS:
            raise TokenError("The token has no `kid`, which names its key.")
        if "crit" in header:
            raise TokenError(
                "The token has critical extensions, which the service does not support."
            )
        row = self._find_key(kid)
        if row is None or row.alg not in ALGORITHMS:
            raise UnknownTokenKeyError
        if row.state is not KeyState.ACTIVE:
            raise TokenError(KEY_REVOKED)
        # The algorithm is the key's, never the token's (RFC 8725 §3.1).
        if header.get("alg") != row.alg:
            raise TokenError("The token's algorithm is not the algorithm of its key.")
        parsed = self._parsed.get(kid)
        if parsed is None:
            parsed = self._parsed[kid] = jwt.PyJWK(row.jwk, algorithm=row.alg)
        return parsed


def _is_subject(text: str) -> bool:
    """Whether every event of a token can carry its subject as `writer`.

    Half of a surrogate pair, which JSON can hold, is no Unicode: the events could not be packed,
    nor those of others in their envelope. Control, bidirectional and invisible characters would
    show auditors another writer than the one who wrote.
    """
    return 0 < len(text) <= MAX_SUBJECT_CHARS and is_safe(text)


def _is_time(value: object) -> bool:
    """Return whether a claim is a NumericDate (RFC 7519 §2); PyJWT takes texts and booleans too."""
    return type(value) in (int, float) and -_MAX_TIME <= value <= _MAX_TIME  # type: ignore[operator]


def _object(part: str) -> dict[str, Any]:
    """Read a part of a token strictly: base64url without padding, UTF-8, JSON, each key once.

    Raises:
        ValueError: it is something else.
    """
    if part.endswith("="):
        raise ValueError("padding")
    raw = base64url_decode(part)
    # The decoder calls itself for each level.
    if raw.count(b"{") + raw.count(b"[") > _MAX_CONTAINERS:
        raise ValueError("it is nested too deeply")
    content = json.loads(
        raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
    )
    if _depth(content) > _MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    if not isinstance(content, dict):
        raise ValueError("it is not an object")
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its members. Readers differ in which of two equal keys counts."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key is given twice")
    return members


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _reason(error: jwt.InvalidTokenError) -> str:
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"it does not have the claim `{error.claim}`"
    known: dict[type[jwt.InvalidTokenError], str] = {
        jwt.InvalidSignatureError: "its signature is wrong",
        jwt.InvalidIssuerError: "its issuer is wrong",
        jwt.InvalidAudienceError: "its audience is wrong",
        jwt.InvalidIssuedAtError: "it was issued in the future",
    }
    return known.get(type(error), "it is malformed")


def _depth(value: object) -> int:
    """Return how many objects and arrays contain one another."""
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0
