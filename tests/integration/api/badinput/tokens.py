"""Tokens that must be refused, and what else of the headers says who asks."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from badinput.rows import BULK, LOGS
from ocelot_common.auth.keys import SigningKey, new_signing_key
from ocelot_common.registry.model import Tenant

Headers = list[tuple[str, str]]


class Forge:
    """Makes tokens of every kind.

    Args:
        key: the installation's own.
        tenant: that the tokens are for, unless they say another.
        others: tenants by what is wrong with them.
    """

    def __init__(self, key: SigningKey, tenant: Tenant, others: Mapping[str, Tenant]) -> None:
        self.key = key
        self.tenant = tenant
        self.others = others
        self.foreign = new_signing_key()

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Those of a good token, with some replaced; `...` takes one away."""
        now = int(time.time())
        base: dict[str, Any] = {
            "iss": "ocelot",
            "aud": "ocelot",
            "sub": "mallory",
            "jti": "j",
            "tenants": {self.tenant.id: self.tenant.uid},
            "scope": "",
            "role": "admin",
            "iat": now,
            "nbf": now,
            "exp": now + 600,
        }
        return {name: value for name, value in (base | changes).items() if value is not ...}

    def signed(self, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """Signed with the good key; its header and claims as told."""
        merged = {"alg": "ES256", "typ": "JWT", "kid": self.key.kid} | (header or {})
        return self.sign(merged, self.claims(**changes))

    def sign(self, header: dict[str, Any], payload: Any, key: SigningKey | None = None) -> str:
        """The signature is ES256's, whatever the header says."""
        head = {name: value for name, value in header.items() if value is not ...}
        return self.sign_raw(json.dumps(head).encode(), json.dumps(payload).encode(), key)

    def header(self) -> bytes:
        """That of a good token."""
        return json.dumps({"alg": "ES256", "typ": "JWT", "kid": self.key.kid}).encode()

    def sign_raw(self, header: bytes, payload: bytes, key: SigningKey | None = None) -> str:
        """The same, of bytes that need not be JSON."""
        text = f"{_b64(header)}.{_b64(payload)}"
        algorithm = jwt.get_algorithm_by_name("ES256")
        return f"{text}.{_b64(algorithm.sign(text.encode(), (key or self.key).private))}"

    def unsigned(self, alg: str, **header: Any) -> str:
        """With an empty signature."""
        head = {"alg": alg, "typ": "JWT", "kid": self.key.kid} | header
        return f"{_b64(json.dumps(head).encode())}.{_b64(json.dumps(self.claims()).encode())}."

    def hmacked(self, secret: bytes, alg: str = "HS256", **header: Any) -> str:
        """Signed with HMAC, by what everybody may read."""
        head = {"alg": alg, "typ": "JWT", "kid": self.key.kid} | header
        text = f"{_b64(json.dumps(head).encode())}.{_b64(json.dumps(self.claims()).encode())}"
        digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[alg]
        return f"{text}.{_b64(hmac.new(secret, text.encode(), digest).digest())}"

    @property
    def public_pem(self) -> bytes:
        """The good key's public half."""
        return self.key.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )


class TokenRow(NamedTuple):
    """Headers that say who asks, and what they get."""

    name: str
    headers: Callable[[Forge], Headers]
    status: int
    code: str


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bearer(make: Callable[[Forge], str]) -> Callable[[Forge], Headers]:
    return lambda forge: [("Authorization", f"Bearer {make(forge)}")]


def _invalid(name: str, make: Callable[[Forge], str], code: str = "token_invalid") -> TokenRow:
    return TokenRow(name, _bearer(make), 401, code)


def _times() -> Iterator[TokenRow]:
    now = int(time.time())
    tomorrow = now + 86_400  # also when this test's turn comes
    yield _invalid("expired", lambda f: f.signed(iat=now - 900, exp=now - 300), "token_expired")
    yield _invalid("expired in 1970", lambda f: f.signed(iat=0, nbf=0, exp=1), "token_expired")
    yield _invalid("expired below zero", lambda f: f.signed(exp=-1), "token_expired")
    for name, claims in {
        "not valid yet": {"nbf": tomorrow, "exp": tomorrow + 900},
        "issued in the future": {"iat": tomorrow, "nbf": tomorrow, "exp": tomorrow + 900},
        "no exp": {"exp": ...},
        "no iat": {"iat": ...},
        "exp is text": {"exp": "soon"},
        "exp is null": {"exp": None},
        "exp is a list": {"exp": [1]},
        "exp is an object": {"exp": {}},
        "exp is true": {"exp": True},
        "exp is infinite": {"exp": float("inf")},
        "exp is NaN": {"exp": float("nan")},
        "iat is text": {"iat": "x"},
        "iat is NaN": {"iat": float("nan")},
        "iat is infinite": {"iat": float("inf")},
        "iat of 400 digits": {"iat": 10**400},
        "iat is an object": {"iat": {}},
        "nbf is text": {"nbf": "x"},
        "nbf is infinite": {"nbf": float("inf")},
        "nbf of 400 digits": {"nbf": 10**400},
        "nbf is a list": {"nbf": []},
    }.items():
        code = "token_expired" if name == "exp is true" else "token_invalid"
        yield _invalid(name, lambda f, claims=claims: f.signed(**claims), code)


def _claims() -> Iterator[TokenRow]:
    for name, claims in {
        "another issuer": {"iss": "https://evil.example"},
        "no issuer": {"iss": ...},
        "issuer is null": {"iss": None},
        "issuers in a list": {"iss": ["ocelot"]},
        "issuer is a number": {"iss": 1},
        "another audience": {"aud": "other"},
        "no audience": {"aud": ...},
        "audience is a number": {"aud": 1},
        "audiences of numbers": {"aud": [1]},
        "audience is null": {"aud": None},
        "no subject": {"sub": ...},
        "subject is a number": {"sub": 1},
        "subject is null": {"sub": None},
        "subject is half of a pair": {"sub": "\ud800"},
        "subject is empty": {"sub": ""},
        "subject is long": {"sub": "s" * 1_025},
        "subject with an override": {"sub": "admin\u202enimda"},
        "subject with a line feed": {"sub": "a\nb"},
        "subject with an escape": {"sub": "a\x1b[2J"},
        "subject with C1": {"sub": "a\x9b2J"},
        "subject with a zero-width space": {"sub": "adm\u200bin"},
        "the installation's scope for one tenant": {"scope": "tenants:admin"},
        "the installation's role for one tenant": {"role": "installation-admin"},
        "exp is a text of digits": {"exp": str(int(time.time()) + 86_400)},
        "exp is beyond all years": {"exp": 10**18},
        "no tenants": {"tenants": ...},
        "tenants is null": {"tenants": None},
        "tenants is a list": {"tenants": ["a"]},
        "tenants is another text": {"tenants": "**"},
        "tenants of numbers": {"tenants": {"a": 1}},
        "tenants of null": {"tenants": {"a": None}},
        "scope is a list": {"scope": ["logs:write"]},
        "scope is null": {"scope": None},
        "role is a list": {"role": ["admin"]},
        "role is null": {"role": None},
        "jti is a number": {"jti": 1},
        "all tenants for too long": {"tenants": "*", "exp": int(time.time()) + 7_200},
        "all tenants from long ago": {"tenants": "*", "iat": 0},
    }.items():
        yield _invalid(name, lambda f, claims=claims: f.signed(**claims))
    for name, encoding in {
        "UTF-16": "utf-16",
        "UTF-16, little end first": "utf-16-le",
        "UTF-32": "utf-32",
        "UTF-8 with a byte order mark": "utf-8-sig",
    }.items():
        yield _invalid(
            f"the payload in {name}",
            lambda f, encoding=encoding: f.sign_raw(
                f.header(), json.dumps(f.claims()).encode(encoding)
            ),
        )
        yield _invalid(
            f"the header in {name}",
            lambda f, encoding=encoding: f.sign_raw(
                json.dumps(json.loads(f.header())).encode(encoding),
                json.dumps(f.claims()).encode(),
            ),
        )
    yield _invalid(
        "tenants given twice",
        lambda f: f.sign_raw(f.header(), b'{"tenants":"*",' + json.dumps(f.claims()).encode()[1:]),
    )
    yield _invalid(
        "a payload of 1,000 levels",
        lambda f: f.sign_raw(
            f.header(),
            b'{"x":' + b"[" * 999 + b"]" * 999 + b"," + json.dumps(f.claims()).encode()[1:],
        ),
    )
    yield _invalid("padding", lambda f: f.signed().replace(".", "=.", 1))
    for name, payload in {
        "a list": [],
        "a number": 1,
        "a text": "x",
        "null": None,
        "an empty object": {},
    }.items():
        yield _invalid(
            f"the payload is {name}",
            lambda f, payload=payload: f.sign({"alg": "ES256", "kid": f.key.kid}, payload),
        )


KIDS: Final[dict[str, Any]] = {
    "path": "../../../../dev/null",
    "proc": "/proc/self/environ",
    "SQL": "x' UNION SELECT 'secret' -- ",
    "NoSQL": {"$ne": None},
    "operator": "$ne",
    "NUL": "x\0y",
    "URL": "https://evil.example/jwks.json",
    "command": "$(id)|id",
    "format": "%s%n{0}",
    "128": "k" * 128,
    "129": "k" * 129,
    "5,000": "k" * 5_000,
    "empty": "",
    "number": 1,
    "null": None,
    "list": ["a"],
    "true": True,
    "emoji": "🦊",
    "half of a pair": "\ud800",
    "dots": "__proto__",
}


def _headers() -> Iterator[TokenRow]:
    for alg in ("none", "None", "NONE", "nOnE", ""):
        yield _invalid(f"alg {alg!r}", lambda f, alg=alg: f.unsigned(alg))
        yield _invalid(f"alg {alg!r}, but signed", lambda f, alg=alg: f.signed({"alg": alg}))
    for alg in ("HS256", "HS384", "HS512"):
        yield _invalid(f"{alg} by the PEM", lambda f, alg=alg: f.hmacked(f.public_pem, alg))
        yield _invalid(
            f"{alg} by the JWK",
            lambda f, alg=alg: f.hmacked(json.dumps(f.key.jwk).encode(), alg),
        )
        yield _invalid(f"{alg} by nothing", lambda f, alg=alg: f.hmacked(b"", alg))
        yield _invalid(f"{alg} by the kid", lambda f, alg=alg: f.hmacked(f.key.kid.encode(), alg))
    for alg in ("ES384", "ES512", "PS256", "RS256", "EdDSA", "es256", "ES256K", "x" * 1_000):
        yield _invalid(f"alg {alg:.10}", lambda f, alg=alg: f.signed({"alg": alg}))
    for name, alg in {"missing": ..., "null": None, "1": 1, "a list": ["ES256"], "{}": {}}.items():
        yield _invalid(f"alg is {name}", lambda f, alg=alg: f.signed({"alg": alg}))
    for name, kid in KIDS.items():
        yield _invalid(f"kid: {name}", lambda f, kid=kid: f.signed({"kid": kid}))
        yield _invalid(
            f"kid: {name}, by a foreign key",
            lambda f, kid=kid: f.sign({"alg": "ES256", "kid": kid}, f.claims(), f.foreign),
        )
    yield _invalid("kid: missing", lambda f: f.signed({"kid": ...}))
    yield _invalid("crit", lambda f: f.signed({"crit": ["exp"], "exp": 1}))
    yield _invalid("b64 false", lambda f: f.signed({"crit": ["b64"], "b64": False}))
    yield _invalid("compressed", lambda f: f.signed({"crit": ["zip"], "zip": "DEF"}))
    for name in ("jwk", "jku", "x5u", "x5c"):
        # The header offers the foreign key; only a known kid counts.
        def offered(f: Forge, name: str = name) -> str:
            value: Any = {
                "jwk": f.foreign.jwk,
                "jku": "http://127.0.0.1:1/jwks.json",
                "x5u": "http://127.0.0.1:1/cert.pem",
                "x5c": ["AAAA"],
            }[name]
            return f.sign(
                {"alg": "ES256", "kid": f.foreign.kid, name: value}, f.claims(), f.foreign
            )

        def under_ours(f: Forge, name: str = name) -> str:
            value = {"jwk": f.foreign.jwk}.get(name, "http://127.0.0.1:1/x")
            return f.sign({"alg": "ES256", "kid": f.key.kid, name: value}, f.claims(), f.foreign)

        yield _invalid(f"{name}: a foreign key", offered)
        yield _invalid(f"{name}: a foreign key under our kid", under_ours)


def _flipped(token: str, at: int) -> str:
    """One character replaced by another of the alphabet."""
    other = "B" if token[at] != "B" else "C"
    return token[:at] + other + token[at + 1 :]


def _rsa(forge: Forge) -> str:
    private = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    return jwt.encode(forge.claims(), private, "RS256", headers={"kid": forge.key.kid})


def _es384(forge: Forge) -> str:
    private = ec.generate_private_key(ec.SECP384R1())
    return jwt.encode(forge.claims(), private, "ES384", headers={"kid": forge.key.kid})


def _signatures() -> Iterator[TokenRow]:
    yield _invalid(
        "a foreign key",
        lambda f: f.sign({"alg": "ES256", "kid": f.foreign.kid}, f.claims(), f.foreign),
    )
    yield _invalid(
        "a foreign key under our kid",
        lambda f: f.sign({"alg": "ES256", "kid": f.key.kid}, f.claims(), f.foreign),
    )
    yield _invalid("RS256 under our kid", _rsa)
    yield _invalid("ES384 under our kid", _es384)
    yield _invalid("another's signature", lambda f: _swap(f.signed(), f.signed(sub="x")))
    yield _invalid("no signature", lambda f: f.signed().rpartition(".")[0] + ".")
    yield _invalid("two parts", lambda f: f.signed().rpartition(".")[0])
    yield _invalid("four parts", lambda f: f.signed() + ".x")
    yield _invalid("zeros as signature", lambda f: f.signed().rpartition(".")[0] + "." + "A" * 86)
    yield _invalid("a short signature", lambda f: f.signed()[:-20])
    yield _invalid("a long signature", lambda f: f.signed() + "AAAA")
    yield _invalid("a flipped header", lambda f: _flipped(f.signed(), 5))
    yield _invalid("a flipped payload", lambda f: _flipped(f.signed(), f.signed().index(".") + 9))
    yield _invalid("a flipped signature", lambda f: _flipped(f.signed(), -10))
    yield _invalid("100 KB of payload", lambda f: f.signed(extra="x" * 30_000))
    yield _invalid("just too long", lambda f: f.signed(extra="x" * 5_900))
    yield _invalid("40 KB of dots", lambda f: "." * 40_000)


def _swap(token: str, other: str) -> str:
    return token.rpartition(".")[0] + "." + other.rpartition(".")[2]


GARBAGE: Final = (
    *("x", ".", "..", "...", "a.b.c", "e30.e30.e30", "AA.AA.AA", "====", "null", "{}", "%00"),
    *("eyJhbGciOiJub25lIn0.e30.", "eyJ.eyJ.sig", "$ne", "' OR 1=1 --", "Bearer", "é", "\xff\xfe"),
    *("bnVsbA.e30.AA", "W10.e30.AA", "MQ.e30.AA", "ImEi.e30.AA", "e30.bnVsbA.AA", "x" * 8_193),
    _b64(b'{"alg":"ES256","kid":"' + b"\xff" + b'"}') + ".e30.AA",
    _b64(b"[" * 5_000) + ".e30.AA",
    _b64(b'{"a":' * 1_000) + ".e30.AA",
    _b64(b'{"alg":"ES256","kid":' + b"9" * 5_000 + b"}") + ".e30.AA",
)


def _garbage() -> Iterator[TokenRow]:
    for text in GARBAGE:
        yield _invalid(f"garbage {text!r:.40}", lambda _, text=text: text)
    for name, value in (
        ("Basic", "Basic dXNlcjpwYXNz"),
        ("Digest", "Digest x"),
        ("Bearer alone", "Bearer"),
        ("Bearer and a blank", "Bearer "),
        ("no scheme", "x.y.z"),
        ("a tab", "Bearer\tx"),
        ("a comma", "Bearer,x"),
        ("JWT", "JWT x"),
        ("Bearer twice", "Bearer Bearer x"),
    ):
        yield TokenRow(
            f"scheme: {name}",
            lambda _, value=value: [("Authorization", value)],
            401,
            "token_invalid",
        )
    yield TokenRow("no header", lambda _: [], 401, "token_missing")
    yield TokenRow("an empty header", lambda _: [("Authorization", "")], 401, "token_missing")
    yield TokenRow(
        "two headers, a bad one first",
        lambda f: [("Authorization", "Bearer x"), ("Authorization", f"Bearer {f.signed()}")],
        401,
        "token_invalid",
    )
    yield TokenRow(
        "two headers, a bad one last",
        lambda f: [("Authorization", f"Bearer {f.signed()}"), ("Authorization", "Bearer x")],
        401,
        "token_invalid",
    )
    yield TokenRow(
        "two good headers",
        lambda f: [("Authorization", f"Bearer {f.signed()}")] * 2,
        401,
        "token_invalid",
    )
    yield TokenRow(
        "the token as another header",
        lambda f: [("X-Authorization", f"Bearer {f.signed()}")],
        401,
        "token_missing",
    )


def _tenants() -> Iterator[TokenRow]:
    def of(which: str) -> Callable[[Forge], str]:
        return lambda f: f.signed(tenants={f.others[which].id: f.others[which].uid})

    yield _invalid(
        "a tenant that never was",
        lambda f: f.signed(tenants={"t-never": "0" * 16}),
        "tenant_unknown",
    )
    yield _invalid("another incarnation", of("incarnation"), "tenant_unknown")
    yield _invalid("deleted for good", of("purged"), "tenant_unknown")
    yield _invalid(
        "another tenant's uid under our id",
        lambda f: f.signed(tenants={f.tenant.id: f.others["suspended"].uid}),
        "tenant_unknown",
    )
    yield _invalid("no uid", lambda f: f.signed(tenants={f.tenant.id: ""}), "tenant_unknown")
    yield _invalid(
        "an id in capitals",
        lambda f: f.signed(tenants={f.tenant.id.upper(): f.tenant.uid}),
        "tenant_unknown",
    )
    yield _invalid("an operator as id", lambda f: f.signed(tenants={"$ne": "x"}), "tenant_unknown")
    yield _invalid("an id with a NUL", lambda f: f.signed(tenants={"a\0": "x"}), "tenant_unknown")
    yield _invalid(
        "an id of half a pair", lambda f: f.signed(tenants={"\ud800": "x"}), "tenant_unknown"
    )
    yield TokenRow("suspended", _bearer(of("suspended")), 403, "tenant_suspended")
    yield TokenRow("being deleted", _bearer(of("deleting")), 403, "tenant_deleting")
    yield _invalid("revoked", of("revoked"), "token_revoked")
    yield TokenRow("for no tenant", _bearer(lambda f: f.signed(tenants={})), 400, "tenant_required")
    several = _bearer(
        lambda f: f.signed(tenants={t.id: t.uid for t in (f.tenant, *f.others.values())})
    )
    yield TokenRow("for several, none picked", several, 400, "tenant_required")
    every = _bearer(lambda f: f.signed(tenants="*"))
    yield TokenRow("for all, none picked", every, 400, "tenant_required")
    for name, value in (
        ("never was", "t-never"),
        ("*", "*"),
        ("é", "é"),
        ("long", "x" * 5_000),
        ("blank", "a b"),
        ("operator", '{"$ne":""}'),
    ):
        yield TokenRow(
            f"for all, picks {name}",
            lambda f, value=value: [*every(f), ("X-Tenant-ID", value)],
            401,
            "tenant_unknown",
        )
        yield TokenRow(
            f"for one, picks {name}",
            lambda f, value=value: [
                ("Authorization", f"Bearer {f.signed()}"),
                ("X-Tenant-ID", value),
            ],
            403,
            "tenant_forbidden",
        )
    yield TokenRow(
        "for one, picks another",
        lambda f: [
            ("Authorization", f"Bearer {f.signed()}"),
            ("X-Tenant-ID", f.others["revoked"].id),
        ],
        403,
        "tenant_forbidden",
    )


def _scopes() -> Iterator[TokenRow]:
    for name, scopes in {
        "none": {"role": "", "scope": ""},
        "an unknown role": {"role": "root", "scope": ""},
        "a role in capitals": {"role": "ADMIN", "scope": ""},
        "an unknown scope": {"role": "", "scope": "logs:*"},
        "scopes by commas": {"role": "", "scope": "logs:write,logs:read"},
        "scopes in capitals": {"role": "", "scope": "LOGS:WRITE LOGS:READ"},
        "others": {"role": "", "scope": "logs:export logs:delete accesslog:read"},
        "scopes by no-break spaces": {"role": "", "scope": "logs:write\u00a0logs:read"},
        "scopes by line separators": {"role": "", "scope": "logs:write\u2028logs:read"},
        "scopes by tabs": {"role": "", "scope": "logs:write\tlogs:read"},
        "a role as scope": {"role": "", "scope": "admin"},
    }.items():
        yield TokenRow(
            f"scope: {name}",
            _bearer(lambda f, scopes=scopes: f.signed(**scopes)),
            403,
            "insufficient_scope",
        )


def token_rows() -> list[TokenRow]:
    """Every token; each is sent to the write and the read endpoints."""
    sources = (_times, _claims, _headers, _signatures, _garbage, _tenants, _scopes)
    return [row for source in sources for row in source()]


ENDPOINTS: Final = (("POST", LOGS), ("POST", BULK), ("GET", LOGS), ("GET", f"{LOGS}/x"))


def revoked_at() -> datetime:
    """A moment after every token of these tests."""
    return datetime.now(UTC) + timedelta(hours=1)
