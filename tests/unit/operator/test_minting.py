"""When the token in a Secret is good enough to stay."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from ocelot_common.auth.keys import SigningKey, new_signing_key
from ocelot_common.registry.model import Isolation, Tenant, TenantState
from ocelot_operator.minting import Mint, TokenSpec

TENANT = Tenant(
    uid="0123456789abcdef",
    id="acme",
    version=1,
    display_name="Acme",
    owner="cli",
    isolation=Isolation.DEDICATED,
    state=TenantState.ACTIVE,
    space="logs_acme",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)
HOUR = timedelta(hours=1)
SPEC = TokenSpec("app@acme", [TENANT], 3 * HOUR, scopes=["logs:read", "logs:write"])
KEY = new_signing_key()
NOW = datetime.now(UTC).replace(microsecond=0)


def mint(*, now: datetime = NOW, key: SigningKey = KEY) -> Mint:
    return Mint(key, issuer="ocelot", audience="ocelot", clock=lambda: now)


def test_a_new_token_is_good_until_two_thirds_of_its_life_are_over() -> None:
    token = mint().mint(SPEC)
    assert mint().expiry(token, SPEC) == NOW + 3 * HOUR
    assert mint(now=NOW + 2 * HOUR - timedelta(seconds=1)).expiry(token, SPEC) == NOW + 3 * HOUR
    assert mint(now=NOW + 2 * HOUR).expiry(token, SPEC) is None


CHANGED: dict[str, TokenSpec] = {
    "another subject": SPEC._replace(subject="other@acme"),
    "fewer scopes": SPEC._replace(scopes=["logs:read"]),
    "another life": SPEC._replace(ttl=4 * HOUR),
    "a role": SPEC._replace(role="reader"),
    "another incarnation": SPEC._replace(tenants=[msgspec.structs.replace(TENANT, uid="f" * 16)]),
    "another tenant": SPEC._replace(tenants=[msgspec.structs.replace(TENANT, id="globex")]),
    "all tenants": SPEC._replace(tenants="*", ttl=HOUR),
}


@pytest.mark.parametrize("spec", CHANGED.values(), ids=CHANGED)
def test_a_token_is_not_good_for(spec: TokenSpec) -> None:
    assert mint().expiry(mint().mint(SPEC), spec) is None


FORGED: dict[str, Callable[[], str]] = {
    "nothing": lambda: "",
    "another key": lambda: mint(key=new_signing_key()).mint(SPEC),
    "a cut signature": lambda: mint().mint(SPEC)[:-8],
    "hostile text": lambda: "\x00\ud800" * 5_000,
    "another audience": lambda: Mint(KEY, issuer="ocelot", audience="x").mint(SPEC),
}


@pytest.mark.parametrize("token", FORGED.values(), ids=FORGED)
def test_a_token_is_replaced_that_has(token: Callable[[], str]) -> None:
    assert mint().expiry(token(), SPEC) is None
