"""From a token to a principal, with a registry that the test writes by hand."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from pymongo.errors import ServerSelectionTimeoutError

from ocelot_api import authentication
from ocelot_api.authentication import Authenticator, Principal
from ocelot_api.problems import Problem
from ocelot_common.auth.keys import SigningKey, new_signing_key
from ocelot_common.auth.tokens import TokenVerifier, mint_token
from ocelot_common.registry.model import KeyState, Tenant, TenantState, VerificationKey

KEY = new_signing_key()
NOW = datetime.now(UTC)
UID2 = "fedcba9876543210"


class Registry:
    """A snapshot whose `confirm` brings in what `elsewhere` holds."""

    def __init__(self) -> None:
        self.keys: dict[str, VerificationKey] = {}
        self.tenants: dict[str, Tenant] = {}
        self.elsewhere: list[Callable[[], None]] = []
        self.reads = 0
        self.fail: Exception | None = None
        self.hang = False

    def key(self, kid: str) -> VerificationKey | None:
        return self.keys.get(kid)

    def live_tenant(self, tenant_id: str) -> Tenant | None:
        return self.tenants.get(tenant_id)

    async def confirm(self) -> None:
        self.reads += 1
        await asyncio.sleep(0.01)
        if self.hang:
            await asyncio.Event().wait()
        if self.fail:
            raise self.fail
        while self.elsewhere:
            self.elsewhere.pop()()

    def publish(self, key: SigningKey, state: KeyState = KeyState.ACTIVE) -> None:
        self.keys[key.kid] = VerificationKey(
            kid=key.kid, version=1, alg=key.alg, jwk=key.jwk, state=state, published_at=NOW
        )

    def put(self, tenant: Tenant) -> None:
        self.tenants[tenant.id] = tenant


@pytest.fixture
def acme(make_tenant: Callable[..., Tenant]) -> Tenant:
    return make_tenant()


@pytest.fixture
def registry(acme: Tenant) -> Registry:
    made = Registry()
    made.publish(KEY)
    made.put(acme)
    return made


@pytest.fixture
def authenticator(registry: Registry) -> Authenticator:
    snapshot: Any = registry
    return Authenticator(snapshot, TokenVerifier(registry.key, issuer="ocelot", audience="ocelot"))


def token(tenants: Any, key: SigningKey = KEY, **changes: Any) -> str:
    fields: dict[str, Any] = {
        "subject": "me",
        "tenants": tenants,
        "role": "writer",
        "ttl": timedelta(hours=1),
        "issuer": "ocelot",
        "audience": "ocelot",
    }
    return mint_token(key, **(fields | changes))


def signed(claims: dict[str, Any], headers: dict[str, Any] | None = None) -> str:
    """A token with claims that `mint_token` would not write."""
    whole = {
        "iss": "ocelot",
        "aud": "ocelot",
        "sub": "me",
        "iat": int(time.time()),
        "exp": int(time.time()) + 600,
        "role": "writer",
    } | claims
    present = {name: value for name, value in whole.items() if value is not None}
    return jwt.encode(present, KEY.private, KEY.alg, headers=headers or {"kid": KEY.kid})


def b64(data: Any) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


async def ask(
    authenticator: Authenticator, text: str | bytes, tenant: str | bytes = "", scope: str = ""
) -> Principal:
    raw = text if isinstance(text, bytes) else text.encode()
    headers = {b"authorization": b"Bearer " + raw}
    if tenant:
        headers[b"x-tenant-id"] = tenant if isinstance(tenant, bytes) else tenant.encode()
    return await authenticator.authenticate(headers, scope or "logs:write")


async def problem_of(authenticator: Authenticator, *args: Any, **options: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        await ask(authenticator, *args, **options)
    return caught.value


def told(problem: Problem) -> tuple[int, str]:
    return problem.status, problem.code


async def test_a_good_token_gives_its_tenant_subject_and_scopes(
    authenticator: Authenticator, acme: Tenant
):
    principal = await ask(authenticator, token([acme], scopes=["logs:export"]))
    assert principal.tenant is acme
    assert principal.subject == "me"
    assert principal.scopes == {"logs:write", "logs:export"}


@pytest.mark.parametrize(
    "private", [ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)]
)
async def test_every_pinned_algorithm_is_taken(
    authenticator: Authenticator, registry: Registry, acme: Tenant, private: Any
):
    key = SigningKey(private)
    registry.publish(key)
    assert (await ask(authenticator, token([acme], key))).tenant is acme


async def test_a_token_without_the_scope_is_forbidden(authenticator: Authenticator, acme: Tenant):
    text = token([acme])
    for scope in ("logs:read", "logs:export", "logs:admin"):
        problem = await problem_of(authenticator, text, scope=scope)
        assert told(problem) == (403, "insufficient_scope")


@pytest.mark.parametrize(
    "header",
    [None, b"", b"Bearer", b"Bearer ", b"Basic dXNlcjpwYXNz", b"bearer\ttoken", b"\xe9", b"token"],
)
async def test_no_bearer_token_is_401_with_a_challenge(
    authenticator: Authenticator, header: bytes | None
):
    headers = {} if header is None else {b"authorization": header}
    with pytest.raises(Problem) as caught:
        await authenticator.authenticate(headers, "logs:write")
    assert caught.value.status == 401
    challenge = caught.value.headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="ocelot"')
    assert ("error=" in challenge) is bool(header)


async def test_the_word_bearer_may_be_in_any_case(authenticator: Authenticator, acme: Tenant):
    for word in ("Bearer", "bearer", "BEARER"):
        headers = {b"authorization": f"{word}  {token([acme])} ".encode()}
        assert (await authenticator.authenticate(headers, "logs:write")).tenant is acme


def forged() -> dict[str, tuple[str | bytes, str]]:
    head, body, signature = signed({"tenants": {"acme": "0123456789abcdef"}}).split(".")
    public = json.dumps(KEY.jwk).encode()

    def hs256(secret: bytes) -> str:
        first = f"{b64({'alg': 'HS256', 'typ': 'JWT', 'kid': KEY.kid})}.{body}"
        return f"{first}.{b64(hmac.new(secret, first.encode(), hashlib.sha256).digest())}"

    stranger = new_signing_key()
    huge = b'{"alg":' + b"1" * 5_000 + b"}"
    unsigned = b64({"alg": "none", "kid": KEY.kid})
    with_jwk = b64({"alg": stranger.alg, "kid": KEY.kid, "jwk": stranger.jwk})
    return {
        "no signature": (f"{unsigned}.{body}.", "token_invalid"),
        "none in capitals": (f"{b64({'alg': 'NONE', 'kid': KEY.kid})}.{body}.", "token_invalid"),
        "another body": (f"{head}.{b64({'role': 'admin'})}.{signature}", "token_invalid"),
        "HS256 by the public key": (hs256(public), "token_invalid"),
        "HS256 by nothing": (hs256(b""), "token_invalid"),
        "a key of its own": (f"{with_jwk}.{body}.{signature}", "token_invalid"),
        "critical extensions": (
            f"{b64({'alg': 'ES256', 'kid': KEY.kid, 'crit': ['x'], 'x': 1})}.{body}.{signature}",
            "token_invalid",
        ),
        "no key": (f"{b64({'alg': 'ES256'})}.{body}.{signature}", "token_invalid"),
        "garbage": ("garbage", "token_invalid"),
        "dots": ("..", "token_invalid"),
        "bytes": (b"\xff\xfe.\xe9.\x80", "token_invalid"),
        "too long": ("a" * 9_000, "token_invalid"),
        "deep header": (f"{b64(b'[' * 5_000)}.e30.e30", "token_invalid"),
        "deep body": (f"{head}.{b64(b'[' * 5_000)}.{signature}", "token_invalid"),
        "huge number": (f"{b64(huge)}.e30.e30", "token_invalid"),
        "header no object": (f"{b64([1])}.{body}.{signature}", "token_invalid"),
    }


@pytest.mark.parametrize("name", forged())
async def test_a_forged_token_is_401(authenticator: Authenticator, name: str):
    text, code = forged()[name]
    problem = await problem_of(authenticator, text)
    assert told(problem) == (401, code)
    assert 'error="invalid_token"' in problem.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    "kid",
    ["../../keys/x", "x'; DROP TABLE", "\0", "k" * 129, "", 7, ["x"], {"$ne": 1}, None, "\ud800"],
    ids=repr,
)
async def test_a_key_id_is_only_looked_up(authenticator: Authenticator, acme: Tenant, kid: Any):
    _, body, signature = token([acme]).split(".")
    head = b64({"alg": "ES256", "kid": kid})
    problem = await problem_of(authenticator, f"{head}.{body}.{signature}")
    assert told(problem) == (401, "token_invalid")


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"exp": int(time.time()) - 61}, "token_expired"),
        ({"exp": None}, "token_invalid"),
        ({"exp": "soon"}, "token_invalid"),
        ({"nbf": int(time.time()) + 86_400}, "token_invalid"),
        ({"iat": int(time.time()) + 86_400}, "token_invalid"),
        ({"iat": None}, "token_invalid"),
        ({"iss": "somebody"}, "token_invalid"),
        ({"aud": "somebody"}, "token_invalid"),
        ({"sub": None}, "token_invalid"),
        ({"tenants": None}, "token_invalid"),
        ({"tenants": "acme"}, "token_invalid"),
        ({"tenants": ["acme"]}, "token_invalid"),
        ({"tenants": {"acme": None}}, "token_invalid"),
        ({"tenants": "*", "exp": int(time.time()) + 7_200}, "token_invalid"),
    ],
    ids=str,
)
async def test_claims_that_do_not_hold_are_401(
    authenticator: Authenticator, claims: dict[str, Any], code: str
):
    text = signed({"tenants": {"acme": "0123456789abcdef"}} | claims)
    assert told(await problem_of(authenticator, text)) == (401, code)


async def test_an_expired_token_is_forgiven_a_minute(authenticator: Authenticator):
    claims = {"tenants": {"acme": "0123456789abcdef"}, "exp": int(time.time()) - 55}
    assert (await ask(authenticator, signed(claims))).subject == "me"


async def test_the_expiry_of_a_remembered_token_is_looked_at(
    authenticator: Authenticator, acme: Tenant, monkeypatch: pytest.MonkeyPatch
):
    text = token([acme])
    await ask(authenticator, text)
    later = time.time() + 3_600 + 61
    monkeypatch.setattr(authentication.time, "time", lambda: later)
    assert told(await problem_of(authenticator, text)) == (401, "token_expired")
    assert not authenticator._verified


async def test_a_token_of_an_earlier_incarnation_is_401(
    authenticator: Authenticator, registry: Registry, acme: Tenant
):
    text = token([acme])
    await ask(authenticator, text)
    registry.put(msgspec.structs.replace(acme, uid=UID2))
    assert told(await problem_of(authenticator, text)) == (401, "tenant_unknown")


async def test_a_deleted_tenant_is_401_and_a_remembered_token_does_not_help(
    authenticator: Authenticator, registry: Registry, acme: Tenant
):
    text = token([acme])
    await ask(authenticator, text)
    del registry.tenants["acme"]
    assert told(await problem_of(authenticator, text)) == (401, "tenant_unknown")


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (TenantState.SUSPENDED, "tenant_suspended"),
        (TenantState.DELETING, "tenant_deleting"),
        (TenantState.ORPHANED, "tenant_orphaned"),
    ],
)
async def test_a_state_other_than_active_is_403_with_a_remembered_token_too(
    authenticator: Authenticator, registry: Registry, acme: Tenant, state: TenantState, code: str
):
    text = token([acme])
    await ask(authenticator, text)
    registry.put(msgspec.structs.replace(acme, state=state))
    assert told(await problem_of(authenticator, text)) == (403, code)
    registry.put(acme)
    assert (await ask(authenticator, text)).tenant is acme


async def test_tokens_from_before_a_tenants_not_before_are_revoked(
    authenticator: Authenticator, registry: Registry, acme: Tenant
):
    old = token([acme], now=NOW - timedelta(minutes=10))
    await ask(authenticator, old)
    registry.put(msgspec.structs.replace(acme, not_before=NOW - timedelta(minutes=5)))
    assert told(await problem_of(authenticator, old)) == (401, "token_revoked")
    assert (await ask(authenticator, token([acme]))).subject == "me"


@pytest.mark.parametrize("remembered", [True, False])
async def test_a_revoked_key_ends_its_tokens(
    authenticator: Authenticator, registry: Registry, acme: Tenant, remembered: bool
):
    text = token([acme])
    if remembered:
        await ask(authenticator, text)
    registry.publish(KEY, KeyState.REVOKED)
    assert told(await problem_of(authenticator, text)) == (401, "token_invalid")
    assert registry.reads == 0


class TestSeveralTenants:
    @pytest.fixture
    def globex(self, registry: Registry, acme: Tenant) -> Tenant:
        made = msgspec.structs.replace(acme, id="globex", uid=UID2)
        registry.put(made)
        return made

    async def test_the_header_picks_one(
        self, authenticator: Authenticator, acme: Tenant, globex: Tenant
    ):
        text = token([acme, globex])
        assert (await ask(authenticator, text, "acme")).tenant is acme
        assert (await ask(authenticator, text, "globex")).tenant is globex

    async def test_without_the_header_it_is_400(
        self, authenticator: Authenticator, acme: Tenant, globex: Tenant
    ):
        problem = await problem_of(authenticator, token([acme, globex]))
        assert told(problem) == (400, "tenant_required")

    @pytest.mark.parametrize(
        "picked",
        ["globex", "ACME", "acme,globex", "acme ", "*", "initech", b"\xe9", b"acme\0", "a" * 5_000],
    )
    async def test_a_header_outside_the_token_is_403(
        self, authenticator: Authenticator, acme: Tenant, globex: Tenant, picked: str | bytes
    ):
        problem = await problem_of(authenticator, token([acme]), picked)
        assert told(problem) == (403, "tenant_forbidden")

    async def test_a_foreign_uid_does_not_open_a_tenant(
        self, authenticator: Authenticator, acme: Tenant, globex: Tenant
    ):
        crossed = signed({"tenants": {"acme": globex.uid, "globex": globex.uid}})
        problem = await problem_of(authenticator, crossed, "acme")
        assert told(problem) == (401, "tenant_unknown")
        assert (await ask(authenticator, crossed, "globex")).tenant is globex

    async def test_no_tenant_at_all_is_400(self, authenticator: Authenticator):
        problem = await problem_of(authenticator, signed({"tenants": {}}))
        assert told(problem) == (400, "tenant_required")


class TestForAllTenants:
    def wildcard(self) -> str:
        return token("*", role="installation-admin")

    async def test_the_header_says_which(self, authenticator: Authenticator, acme: Tenant):
        assert (await ask(authenticator, self.wildcard(), "acme")).tenant is acme

    async def test_without_the_header_it_is_400(self, authenticator: Authenticator):
        problem = await problem_of(authenticator, self.wildcard())
        assert told(problem) == (400, "tenant_required")

    async def test_an_unknown_tenant_is_401(self, authenticator: Authenticator):
        problem = await problem_of(authenticator, self.wildcard(), "initech")
        assert told(problem) == (401, "tenant_unknown")

    async def test_a_suspended_tenant_is_403_all_the_same(
        self, authenticator: Authenticator, registry: Registry, acme: Tenant
    ):
        registry.put(msgspec.structs.replace(acme, state=TenantState.SUSPENDED))
        problem = await problem_of(authenticator, self.wildcard(), "acme")
        assert told(problem) == (403, "tenant_suspended")


class TestAskingTheRegistry:
    async def test_a_new_key_is_found_by_asking(
        self, authenticator: Authenticator, registry: Registry, acme: Tenant
    ):
        fresh = new_signing_key()
        registry.elsewhere.append(lambda: registry.publish(fresh))
        assert (await ask(authenticator, token([acme], fresh))).tenant is acme
        assert registry.reads == 1

    async def test_a_new_tenant_is_found_by_asking(
        self, authenticator: Authenticator, registry: Registry, acme: Tenant
    ):
        made = msgspec.structs.replace(acme, id="globex", uid=UID2)
        registry.elsewhere.append(lambda: registry.put(made))
        assert (await ask(authenticator, token([made]))).tenant is made

    async def test_requests_that_come_together_all_find_it_by_one_read(
        self, authenticator: Authenticator, registry: Registry, acme: Tenant
    ):
        made = msgspec.structs.replace(acme, id="globex", uid=UID2)
        registry.elsewhere.append(lambda: registry.put(made))
        principals = await asyncio.gather(*(ask(authenticator, token([made])) for _ in range(10)))
        assert {principal.tenant.id for principal in principals} == {"globex"}
        assert registry.reads == 1

    async def test_unknown_keys_ask_at_most_once_a_second(
        self,
        authenticator: Authenticator,
        registry: Registry,
        acme: Tenant,
        monkeypatch: pytest.MonkeyPatch,
    ):
        monkeypatch.setattr(authentication, "_ASK_EVERY_SEC", 3_600.0)
        for _ in range(50):
            problem = await problem_of(authenticator, token([acme], new_signing_key()))
            assert told(problem) == (401, "token_invalid")
        assert registry.reads == 1
        authenticator._asked_at -= 3_601
        await problem_of(authenticator, token([acme], new_signing_key()))
        assert registry.reads == 2

    async def test_a_tenant_made_a_moment_after_a_read_is_found_all_the_same(
        self, authenticator: Authenticator, registry: Registry, acme: Tenant
    ):
        gone = msgspec.structs.replace(acme, id="gone", uid="f" * 16)
        made = msgspec.structs.replace(acme, id="globex", uid=UID2)
        problem = await problem_of(authenticator, token([gone]))
        assert told(problem) == (401, "tenant_unknown")
        registry.elsewhere.append(lambda: registry.put(made))
        principals = await asyncio.gather(*(ask(authenticator, token([made])) for _ in range(10)))
        assert {principal.tenant.id for principal in principals} == {"globex"}
        assert registry.reads == 2

    async def test_a_known_token_never_asks(
        self, authenticator: Authenticator, registry: Registry, acme: Tenant
    ):
        text = token([acme])
        for _ in range(3):
            await ask(authenticator, text)
        assert registry.reads == 0

    async def test_a_registry_that_is_away_makes_an_unknown_token_503_and_not_401(
        self, authenticator: Authenticator, registry: Registry, acme: Tenant
    ):
        registry.fail = ServerSelectionTimeoutError("away")
        text = token([acme], new_signing_key())
        for _ in range(3):
            problem = await problem_of(authenticator, text)
            assert told(problem) == (503, "registry_unavailable")
            assert problem.headers["Retry-After"]
        assert registry.reads == 1
        assert (await ask(authenticator, token([acme]))).tenant is acme

    async def test_a_registry_that_hangs_is_waited_for_two_seconds(
        self,
        authenticator: Authenticator,
        registry: Registry,
        acme: Tenant,
        monkeypatch: pytest.MonkeyPatch,
    ):
        monkeypatch.setattr(authentication, "_ASK_TIMEOUT_SEC", 0.1)
        registry.hang = True
        problem = await problem_of(authenticator, token([acme], new_signing_key()))
        assert told(problem) == (503, "registry_unavailable")

    async def test_a_request_that_is_cancelled_does_not_end_the_read_of_others(
        self, authenticator: Authenticator, registry: Registry, acme: Tenant
    ):
        made = msgspec.structs.replace(acme, id="globex", uid=UID2)
        registry.elsewhere.append(lambda: registry.put(made))
        first = asyncio.create_task(ask(authenticator, token([made])))
        second = asyncio.create_task(ask(authenticator, token([made])))
        await asyncio.sleep(0.001)
        first.cancel()
        assert (await second).tenant is made


async def test_the_cache_is_bounded_and_forgets_the_least_used_first(
    authenticator: Authenticator, acme: Tenant, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(authentication, "_CACHED_TOKENS", 3)
    texts = [token([acme]) for _ in range(4)]
    for text in texts[:3]:
        await ask(authenticator, text)
    await ask(authenticator, texts[0])
    await ask(authenticator, texts[3])
    digests = [hashlib.sha256(text.encode()).digest() for text in texts]
    assert [digest in authenticator._verified for digest in digests] == [True, False, True, True]


async def test_refused_tokens_are_not_remembered(authenticator: Authenticator, acme: Tenant):
    for _ in range(5):
        await problem_of(authenticator, token([acme], new_signing_key()))
        await problem_of(authenticator, signed({"exp": 1}))
    assert not authenticator._verified


class TestTenantOfARefusedRequest:
    """For the log: what is known without verifying anything."""

    def asked(self, authenticator: Authenticator, text: str, picked: str = "") -> str | None:
        headers = {b"authorization": b"Bearer " + text.encode()}
        if picked:
            headers[b"x-tenant-id"] = picked.encode()
        return authenticator.tenant_of(headers)

    async def test_of_a_token_that_was_verified(self, authenticator: Authenticator, acme: Tenant):
        text = token([acme])
        assert self.asked(authenticator, text) is None, "nobody has verified it yet"
        await ask(authenticator, text)
        assert self.asked(authenticator, text) == "acme"
        assert self.asked(authenticator, text, "globex") is None
        assert (await problem_of(authenticator, text, scope="logs:read")).status == 403
        assert self.asked(authenticator, text) == "acme"

    async def test_a_token_for_all_tenants_names_only_those_that_exist(
        self, authenticator: Authenticator
    ):
        text = token("*", role="installation-admin")
        await ask(authenticator, text, "acme")
        assert self.asked(authenticator, text, "acme") == "acme"
        assert self.asked(authenticator, text, "gl\nobex") is None
        assert self.asked(authenticator, text) is None

    def test_no_token_and_a_forged_one_have_none(self, authenticator: Authenticator):
        assert authenticator.tenant_of({}) is None
        assert authenticator.tenant_of({b"authorization": b"Basic x"}) is None
        assert self.asked(authenticator, "x.y.z", "acme") is None
