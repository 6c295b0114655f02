import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from ocelot_common.auth.keys import SigningKey, new_signing_key
from ocelot_common.auth.tokens import (
    MAX_TOKEN_BYTES,
    Claims,
    TokenError,
    TokenVerifier,
    mint_token,
)
from ocelot_common.registry.model import KeyState, Tenant, VerificationKey

NOW = datetime.now(UTC)
SECOND = timedelta(seconds=1)
KEYS = {
    "ES256": new_signing_key(),
    "EdDSA": SigningKey(ed25519.Ed25519PrivateKey.generate()),
    "RS256": SigningKey(rsa.generate_private_key(65_537, 2_048)),
}
KEY = KEYS["ES256"]
OTHER = new_signing_key()


@pytest.fixture(autouse=True)
def a_clock_that_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens are signed when this file is read; verify them then, however late the tests run."""

    class Still(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return NOW.astimezone(tz)

    monkeypatch.setattr("jwt.api_jwt.datetime", Still)


def row(key: SigningKey, **changes: Any) -> VerificationKey:
    defaults: dict[str, Any] = {
        "kid": key.kid, "version": 1, "alg": key.alg, "jwk": key.jwk, "published_at": NOW,
    }  # fmt: skip
    return VerificationKey(**(defaults | changes))


def verifier(*rows: VerificationKey) -> TokenVerifier:
    known = {entry.kid: entry for entry in rows or [row(key) for key in KEYS.values()]}
    return TokenVerifier(known.get, issuer="ocelot", audience="ocelot")


def claims(**changes: Any) -> dict[str, Any]:
    seconds = int(NOW.timestamp())
    valid = {
        "iss": "ocelot", "aud": "ocelot", "sub": "billing", "jti": "1", "scope": "logs:write",
        "tenants": {"acme": "0123456789abcdef"}, "role": "",
        "iat": seconds, "nbf": seconds, "exp": seconds + 600,
    }  # fmt: skip
    return {name: value for name, value in (valid | changes).items() if value is not ...}


def signed(key: SigningKey = KEY, *, headers: dict[str, Any] | None = None, **changes: Any) -> str:
    header = {"kid": key.kid} | (headers or {})
    return jwt.encode(claims(**changes), key.private, algorithm=key.alg, headers=header)


def part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def at(delta: timedelta) -> int:
    return int((NOW + delta).timestamp())


@pytest.mark.parametrize("alg", KEYS)
def test_a_minted_token_is_verified(alg: str, make_tenant: Callable[..., Tenant]) -> None:
    token = mint_token(
        KEYS[alg],
        subject="billing",
        tenants=[make_tenant(), make_tenant(id="beta", uid="f" * 16)],
        role="reader",
        scopes=["logs:write", "logs:export"],
        ttl=timedelta(minutes=5),
        issuer="ocelot",
        audience="ocelot",
        now=NOW,
    )
    found = verifier().verify(token)
    assert found == Claims(
        kid=KEYS[alg].kid, sub="billing", jti=found.jti,
        tenants={"acme": "0123456789abcdef", "beta": "f" * 16},
        scope="logs:write logs:export", role="reader",
        iat=at(0 * SECOND), nbf=at(0 * SECOND), exp=at(300 * SECOND),
    )  # fmt: skip
    assert len(found.jti) == 32
    assert jwt.get_unverified_header(token)["alg"] == alg


def minted(**changes: Any) -> str:
    arguments: dict[str, Any] = {
        "subject": "s", "tenants": "*", "role": "installation-admin", "ttl": timedelta(minutes=5),
        "issuer": "ocelot", "audience": "ocelot", "now": NOW,
    }  # fmt: skip
    return mint_token(KEY, **(arguments | changes))


def test_a_token_is_minted_with_the_present_name_of_its_role() -> None:
    assert verifier().verify(minted(role="operator")).role == "installation-admin"


@pytest.mark.parametrize("role", ["operator", "installation-admin"])
def test_the_old_and_the_new_name_of_a_role_are_verified_alike(role: str) -> None:
    assert verifier().verify(signed(scope="", role=role, tenants="*")).role == role
    with pytest.raises(TokenError, match="whole installation"):
        verifier().verify(signed(scope="", role=role))


def test_each_token_has_an_id_of_its_own() -> None:
    assert verifier().verify(minted()).jti != verifier().verify(minted()).jti


def test_a_token_for_all_tenants_lives_an_hour_at_most() -> None:
    hour = timedelta(hours=1)
    assert verifier().verify(minted(ttl=hour)).tenants == "*"
    with pytest.raises(ValueError, match="all tenants"):
        minted(ttl=hour + SECOND)


UNMINTABLE: dict[str, dict[str, Any]] = {
    "an unknown role": {"role": "root"},
    "an unknown scope": {"scopes": ["logs:write", "logs:everything"]},
    "no rights": {"role": ""},
    "no subject": {"subject": ""},
    "a subject of half a pair": {"subject": "\ud800"},
    "a long subject": {"subject": "x" * 1_025},
    "an override in its subject": {"subject": "admin\u202enimda"},
    "a line feed in its subject": {"subject": "a\nb"},
    "an escape in its subject": {"subject": "a\x1b[2J"},
    "C1 in its subject": {"subject": "a\x9b2J"},
    "no tenants": {"tenants": [], "role": "reader"},
    "no life": {"ttl": timedelta(0)},
    "a life that has ended": {"ttl": -SECOND},
}


@pytest.mark.parametrize("changes", UNMINTABLE.values(), ids=UNMINTABLE)
def test_no_token_is_minted_with(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"role|scope|life|subject|tenant"):
        minted(**changes)


@pytest.mark.parametrize(
    "rights",
    [{"role": "installation-admin"}, {"role": "", "scopes": ["logs:read", "tenants:admin"]}],
    ids=str,
)
@pytest.mark.parametrize("number", [1, 2])
def test_rights_over_the_installation_are_minted_for_all_tenants_only(
    rights: dict[str, Any], number: int, make_tenant: Callable[..., Tenant]
) -> None:
    tenants = [make_tenant(), make_tenant(id="beta", uid="f" * 16)][:number]
    with pytest.raises(ValueError, match="tenants:admin is for the whole installation"):
        minted(tenants=tenants, **rights)
    assert verifier().verify(minted(**rights)).tenants == "*"
    assert verifier().verify(minted(tenants=tenants, role="admin")).role == "admin"


PUBLIC_PEM = KEY.private.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


def hmac_with_the_public_key(secret: bytes) -> str:
    """Signs with HMAC as an attacker would, who has only the public key (RFC 8725 §2.1)."""
    head = part({"alg": "HS256", "typ": "JWT", "kid": KEY.kid}) + "." + part(claims())
    mac = jwt.get_algorithm_by_name("HS256")
    return f"{head}.{part(mac.sign(head.encode(), secret))}"


def raw_token(payload: bytes | None, header: bytes | None = None, *, pad: bool = False) -> str:
    """A token of these bytes, signed with the good key."""
    head = part(header or {"alg": "ES256", "typ": "JWT", "kid": KEY.kid})
    body = part(payload or claims())
    if pad:
        body += "=" * (-len(body) % 4 or 4)
    text = f"{head}.{body}"
    algorithm = jwt.get_algorithm_by_name("ES256")
    return f"{text}.{part(algorithm.sign(text.encode(), KEY.private))}"


HIDDEN = {
    "NUL": "\0", "an escape": "\x1b", "a line feed": "\n", "DEL": "\x7f", "C1": "\x9b",
    "a mark": "\u200f", "an override": "\u202e", "an isolate": "\u2067", "a line's end": "\u2028",
    "a zero-width space": "\u200b", "a tag": "\U000e0041",
}  # fmt: skip
ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16, big end first": lambda text: text.encode("utf-16-be"),
    "UTF-16, little end first": lambda text: text.encode("utf-16-le"),
    "UTF-32": lambda text: text.encode("utf-32"),
    "UTF-32, big end first": lambda text: text.encode("utf-32-be"),
    "UTF-8 with a byte order mark": lambda text: text.encode("utf-8-sig"),
    "Latin-1": lambda text: text.replace("billing", "bïlling").encode("latin-1"),
}
_GOOD = json.dumps(claims())[1:]
NOT_STRICT = {
    "a subject that is given twice": '{"sub":"root",' + _GOOD,
    "tenants that are given twice": '{"tenants":"*",' + _GOOD,
    "a tenant that is given twice": _GOOD.replace('{"acme"', '{"acme":"f","acme"').join(("{", "")),
    "NaN, which JSON does not have": '{"x":NaN,' + _GOOD,
    "an infinite number": '{"x":-Infinity,' + _GOOD,
    "nine levels": '{"x":' + "[" * 9 + "]" * 9 + "," + _GOOD,
    "two thousand levels": '{"x":' + "[" * 2_000 + "]" * 2_000 + "," + _GOOD,
    "a number of 5,000 digits": '{"x":' + "9" * 5_000 + "," + _GOOD,
    "a comment": "/**/{" + _GOOD,
    "something behind it": "{" + _GOOD + "{}",
}
HEADER, PAYLOAD, SIGNATURE = signed().split(".")
REFUSED: dict[str, tuple[str, str]] = {
    "nothing": ("", "not a signed JWT"),
    "one part": ("abc", "not a signed JWT"),
    "two parts": (f"{HEADER}.{PAYLOAD}", "not a signed JWT"),
    "five parts, as an encrypted one has": (f"{HEADER}.{PAYLOAD}.a.b.c", "not a signed JWT"),
    "letters that are not ASCII": ("ä.ö.ü", "not a signed JWT"),
    "half a surrogate pair": ("\ud800", "not a signed JWT"),
    "a header nested without end": (f"{part(b'[' * 4_000)}.e30.AA", "not a signed JWT"),
    "a header that is an array": (f"{part([1])}.e30.AA", "not a signed JWT"),
    "over 8 KiB": (signed(headers={"x": "y" * MAX_TOKEN_BYTES}), r"long|at most"),
    "the algorithm none": (
        f"{part({'alg': 'none', 'kid': KEY.kid})}.{PAYLOAD}.", "algorithm"),
    "the algorithm None": (
        f"{part({'alg': 'None', 'kid': KEY.kid})}.{PAYLOAD}.{SIGNATURE}",
        "algorithm"),
    "HMAC with the public PEM as the secret": (
        hmac_with_the_public_key(PUBLIC_PEM), "algorithm"),
    "HMAC with the public JWK as the secret": (
        hmac_with_the_public_key(json.dumps(KEY.jwk).encode()), "algorithm"),
    "no algorithm": (f"{part({'kid': KEY.kid})}.{PAYLOAD}.{SIGNATURE}", r"algorithm|not a signed"),
    "a list of algorithms": (
        f"{part({'alg': ['ES256'], 'kid': KEY.kid})}.{PAYLOAD}.{SIGNATURE}",
        "algorithm"),
    "the algorithm of another kind of key": (
        f"{part({'alg': 'EdDSA', 'kid': KEY.kid})}.{PAYLOAD}.{SIGNATURE}",
        "algorithm"),
    "no kid": (jwt.encode(claims(), KEY.private, algorithm="ES256"), r"names no key|kid"),
    "an empty kid": (signed(headers={"kid": ""}), r"names no key|kid"),
    "a kid that is a path": (signed(headers={"kid": "../../etc/passwd"}), "key is unknown"),
    "a kid that is a query": (signed(headers={"kid": "x' OR '1'='1"}), "key is unknown"),
    "a kid that is too long": (signed(headers={"kid": "k" * 129}), r"names no key|kid"),
    "a kid that is an object": (
        f"{part({'alg': 'ES256', 'kid': {'$ne': ''}})}.{PAYLOAD}.{SIGNATURE}", "not a signed JWT"),
    "an unknown key": (signed(OTHER), "key is unknown"),
    "the signature of another key": (signed(OTHER, headers={"kid": KEY.kid}), "signature"),
    "a key of its own in the header": (
        signed(OTHER, headers={"kid": KEY.kid, "jwk": OTHER.jwk}), "signature"),
    "an address of keys in the header": (
        signed(OTHER, headers={"kid": KEY.kid, "jku": "https://evil.example/jwks"}),
        "signature"),
    "no signature": (f"{HEADER}.{PAYLOAD}.", "signature"),
    "another payload under a signature": (
        f"{HEADER}.{part(claims(role='operator'))}.{SIGNATURE}", "signature"),
    "another header under a signature": (
        f"{part({'alg': 'ES256', 'kid': KEY.kid, 'x': 1})}.{PAYLOAD}.{SIGNATURE}",
        "signature"),
    "critical extensions": (signed(headers={"crit": ["exp"], "exp": 1}),
                            r"critical extensions|not a signed"),
    "a payload that is not encoded": (signed(headers={"b64": False}),
                                      r"critical extensions|valid"),
    "a life that has ended": (signed(exp=at(-70 * SECOND)), "has expired"),
    "a life that has not begun": (signed(nbf=at(70 * SECOND)), "not valid yet"),
    "an issue in the future": (signed(iat=at(70 * SECOND)), "not valid yet"),
    "no end": (signed(exp=...), "exp"),
    "no issue": (signed(iat=...), "iat"),
    "no issuer": (signed(iss=...), "iss"),
    "no audience": (signed(aud=...), "aud"),
    "no subject": (signed(sub=...), "sub"),
    "another issuer": (signed(iss="evil"), "issuer"),
    "another audience": (signed(aud="other"), "audience"),
    "other audiences": (signed(aud=["other", "ocelot2"]), "audience"),
    "a subject that is a number": (signed(sub=1), "valid"),
    "an end that is text": (signed(exp="soon"), "valid"),
    "an end that never comes": (signed(exp=float("inf")), "valid"),
    "an empty subject": (signed(sub=""), "sub"),
    "a long subject": (signed(sub="x" * 1_025), "sub"),
    "a subject that is half of a pair": (signed(sub="a\ud800"), "sub"),
    "no tenants": (signed(tenants=...), "claims"),
    "tenants that are a list": (signed(tenants=["*"]), "claims"),
    "tenants that are a name": (signed(tenants="acme"), "claims"),
    "tenants without uids": (signed(tenants={"acme": None}), "claims"),
    "a scope that is a list": (signed(scope=["logs:read"]), "claims"),
    "all tenants for more than an hour": (
        signed(tenants="*", exp=at(3_601 * SECOND)), "all tenants"),
    "all tenants for ever": (signed(tenants="*", exp=253_402_300_799), "all tenants"),
    "an end beyond all years": (signed(exp=10**18), "nbf"),
    "an end of 400 digits": (signed(exp=10**400), "valid"),
    "an end that is a text of digits": (signed(exp=str(at(600 * SECOND))), "nbf"),
    "a beginning that is true": (signed(nbf=True), "nbf"),
    "the scope of the installation for one tenant": (
        signed(scope="logs:read tenants:admin"), "whole installation"),
    "the scope of the installation for several tenants": (
        signed(scope="tenants:admin", tenants={"acme": "0" * 16, "beta": "f" * 16}),
        "whole installation"),
    "the role of the installation for one tenant": (
        signed(scope="", role="operator"), "whole installation"),
    **{
        f"a subject with {name}": (signed(sub=f"admin{character}nimda"), "sub")
        for name, character in HIDDEN.items()
    },
    **{
        f"a payload in {name}": (raw_token(encode(json.dumps(claims()))), "strict JSON|valid")
        for name, encode in ENCODINGS.items()
    },
    **{
        f"a header in {name}": (
            raw_token(None, encode(json.dumps({"alg": "ES256", "kid": KEY.kid, "x": "billing"}))),
            "not a signed JWT",
        )
        for name, encode in ENCODINGS.items()
    },
    **{
        f"a payload with {name}": (raw_token(payload.encode()), "strict JSON|valid")
        for name, payload in NOT_STRICT.items()
    },
    "a header whose algorithm is given twice": (
        raw_token(None, b'{"alg":"none","alg":"ES256","kid":"%b"}' % KEY.kid.encode()),
        "not a signed JWT"),
    "padding behind its header": (signed().replace(".", "=.", 1), "not a signed JWT"),
    "padding behind its payload": (
        raw_token(json.dumps(claims()).encode(), pad=True), "strict JSON|valid"),
}  # fmt: skip


@pytest.mark.parametrize(("token", "why"), REFUSED.values(), ids=REFUSED)
def test_a_token_is_refused_with(token: str, why: str) -> None:
    with pytest.raises(TokenError, match=why):
        verifier().verify(token)


def test_clocks_may_differ_by_a_minute() -> None:
    for token in (
        signed(exp=at(-50 * SECOND), iat=at(-90 * SECOND)),
        signed(nbf=at(50 * SECOND), iat=at(50 * SECOND)),
    ):
        assert verifier().verify(token).sub == "billing"


def test_one_audience_of_several_is_enough() -> None:
    assert verifier().verify(signed(aud=["other", "ocelot"])).sub == "billing"


def test_a_revoked_key_refuses_all_that_it_signed_at_once() -> None:
    rows = {KEY.kid: row(KEY)}
    checks = TokenVerifier(rows.get, issuer="ocelot", audience="ocelot")
    token = signed()
    assert checks.verify(token).kid == KEY.kid
    rows[KEY.kid] = row(KEY, state=KeyState.REVOKED)
    with pytest.raises(TokenError, match="revoked"):
        checks.verify(token)


def test_a_key_of_an_algorithm_that_is_not_pinned_is_unknown() -> None:
    secret = "s" * 32
    shared = row(KEY, alg="HS256", jwk={"kty": "oct", "k": part(secret.encode())})
    token = jwt.encode(claims(), secret, algorithm="HS256", headers={"kid": KEY.kid})
    with pytest.raises(TokenError, match="unknown"):
        verifier(shared).verify(token)


def test_an_error_tells_nothing_of_the_token() -> None:
    with pytest.raises(TokenError) as refused:
        verifier().verify(f"{HEADER}.{part(claims(sub='secret-subject'))}.{SIGNATURE}")
    assert "secret-subject" not in str(refused.value)
    assert refused.value.__cause__ is None


@given(st.data())
def test_a_token_changed_in_any_one_character_is_refused(data: st.DataObject) -> None:
    token = f"{HEADER}.{PAYLOAD}.{SIGNATURE}"
    position = data.draw(st.integers(0, len(token) - 2))
    letter = data.draw(st.characters(codec="ascii").filter(lambda char: char != token[position]))
    changed = token[:position] + letter + token[position + 1 :]
    # The last letter of a part holds bits that no byte needs; all others count.
    if [_bytes(one) for one in changed.split(".")] == [_bytes(one) for one in token.split(".")]:
        return
    with pytest.raises(TokenError):
        verifier().verify(changed)


def _bytes(text: str) -> bytes | None:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None


@given(st.text(max_size=100))
def test_any_text_raises_nothing_but_token_errors(text: str) -> None:
    header = part(text.encode("utf-8", "replace"))
    for token in (text, f"{HEADER}.{text}.{SIGNATURE}", f"{header}.a.b"):
        with pytest.raises(TokenError):
            verifier().verify(token)
