import stat
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519

from ocelot_common.auth.keys import (
    PUBLICATION_LEAD,
    PrivateKey,
    SigningKey,
    load_signing_key,
    new_signing_key,
    publish_key,
    save_signing_key,
)
from ocelot_common.registry.model import KeyState, VerificationKey
from ocelot_common.registry.store import RegistryStore

KINDS: dict[str, PrivateKey] = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    "RS256": rsa.generate_private_key(65_537, 2_048),
}


def pem(key: Any, encryption: serialization.KeySerializationEncryption | None = None) -> bytes:
    return cast(
        "bytes",
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            encryption or serialization.NoEncryption(),
        ),
    )


@pytest.mark.parametrize("alg", KINDS)
def test_a_key_is_the_same_after_its_file(alg: str, tmp_path: Path) -> None:
    key = SigningKey(KINDS[alg])
    path = tmp_path / "key.pem"
    save_signing_key(key, path)
    loaded = load_signing_key(path)
    assert (loaded.alg, loaded.kid, loaded.jwk) == (alg, key.kid, key.jwk)
    assert pem(loaded.private) == pem(key.private)


def test_a_key_file_is_its_owners_alone_even_if_it_was_there(tmp_path: Path) -> None:
    fresh, open_to_all = tmp_path / "fresh.pem", tmp_path / "old.pem"
    open_to_all.touch()
    open_to_all.chmod(0o644)
    for path in (fresh, open_to_all):
        save_signing_key(new_signing_key(), path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("alg", KINDS)
def test_the_public_half_holds_nothing_private(alg: str) -> None:
    jwk = SigningKey(KINDS[alg]).jwk
    assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & set(jwk)


def test_the_id_is_the_thumbprint_of_rfc_7638() -> None:
    """The example of its §3.1."""
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJEC"
        "PebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2Qv"
        "zqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6W"
        "eZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    from ocelot_common.auth import keys  # noqa: PLC0415 - the only private name that is tested

    thumbprint = keys._thumbprint({"kty": "RSA", "n": modulus, "e": "AQAB", "alg": "RS256"})
    assert thumbprint == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


UNFIT: dict[str, tuple[bytes, str]] = {
    "no PEM": (b"hello", "unencrypted private key"),
    "a public key": (
        KINDS["ES256"].public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        "unencrypted private key"),
    "an encrypted key": (
        pem(KINDS["ES256"], serialization.BestAvailableEncryption(b"secret")),
        "unencrypted private key"),
    "another curve": (pem(ec.generate_private_key(ec.SECP384R1())), "P-256"),
    "a short RSA key": (
        pem(rsa.generate_private_key(65_537, 1_024)),  # noqa: S505 - what is refused
        "2,048 bits"),
    "Ed448": (pem(ed448.Ed448PrivateKey.generate()), "EC P-256, Ed25519 or RSA"),
    "a key that only agrees on keys": (
        pem(x25519.X25519PrivateKey.generate()), "EC P-256, Ed25519 or RSA"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "why"), UNFIT.values(), ids=UNFIT)
def test_a_file_is_refused_with(content: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=why):
        load_signing_key(path)


def test_a_file_that_is_not_there_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_signing_key(tmp_path / "key.pem")


class FakeRegistry:
    """Holds keys as the registry does; `meanwhile` is what another process publishes first."""

    def __init__(self, *rows: VerificationKey) -> None:
        self.rows = list(rows)
        self.version = 7
        self.meanwhile: list[VerificationKey] = []

    async def key(self, kid: str) -> VerificationKey | None:
        return next((row for row in self.rows if row.kid == kid), None)

    async def get(self, _: type[VerificationKey], kid: str) -> VerificationKey | None:
        return await self.key(kid)

    async def since(self, _: type[VerificationKey], __: int) -> list[VerificationKey]:
        return list(self.rows)

    async def insert(self, row: VerificationKey) -> None:
        self.rows.append(row)

    async def write(
        self, work: Callable[["FakeRegistry"], Awaitable[VerificationKey]]
    ) -> VerificationKey:
        self.rows += self.meanwhile
        return await work(self)


async def publish(registry: FakeRegistry, key: SigningKey) -> datetime:
    return await publish_key(cast("RegistryStore", registry), key)


def published(key: SigningKey, **changes: Any) -> VerificationKey:
    defaults: dict[str, Any] = {
        "kid": key.kid, "version": 1, "alg": key.alg, "jwk": key.jwk,
        "published_at": datetime.now(UTC) - timedelta(days=1),
    }  # fmt: skip
    return VerificationKey(**(defaults | changes))


async def test_the_first_key_signs_at_once() -> None:
    registry, key = FakeRegistry(), new_signing_key()
    assert await publish(registry, key) <= datetime.now(UTC)
    assert [(row.kid, row.alg, row.jwk) for row in registry.rows] == [(key.kid, "ES256", key.jwk)]


async def test_a_second_key_waits_until_every_api_has_seen_it() -> None:
    registry, key = FakeRegistry(published(new_signing_key())), new_signing_key()
    before = datetime.now(UTC)
    assert await publish(registry, key) >= before + PUBLICATION_LEAD


async def test_a_key_that_was_published_is_not_published_again() -> None:
    first, second = new_signing_key(), new_signing_key()
    registry = FakeRegistry(published(second), published(first, published_at=datetime.now(UTC)))
    begins = await publish(registry, first)
    assert len(registry.rows) == 2
    assert begins == registry.rows[1].published_at + PUBLICATION_LEAD
    assert await publish(registry, second) == registry.rows[0].published_at


async def test_a_key_that_two_processes_publish_at_once_is_published_once() -> None:
    registry, key = FakeRegistry(), new_signing_key()
    registry.meanwhile = [published(key)]
    assert await publish(registry, key) == registry.meanwhile[0].published_at
    assert registry.rows == registry.meanwhile


async def test_a_key_waits_for_its_lead_although_another_was_published_in_the_same_moment() -> None:
    registry, key = FakeRegistry(), new_signing_key()
    registry.meanwhile = [published(new_signing_key())]
    before = datetime.now(UTC)
    assert await publish(registry, key) >= before + PUBLICATION_LEAD


async def test_a_revoked_key_beside_a_new_one_holds_nothing_up() -> None:
    revoked = published(new_signing_key(), state=KeyState.REVOKED)
    assert await publish(FakeRegistry(revoked), new_signing_key()) <= datetime.now(UTC)


async def test_a_revoked_key_never_signs_again() -> None:
    key = new_signing_key()
    with pytest.raises(ValueError, match="revoked"):
        await publish(FakeRegistry(published(key, state=KeyState.REVOKED)), key)
