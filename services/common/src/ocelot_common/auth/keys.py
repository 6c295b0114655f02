"""Signing keys and the public key set.

The private key is a PEM file that operator, CLI and devstack read. Its public half is published in
the registry, where the api finds it by its RFC 7638 thumbprint.
"""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from ocelot_common.registry.model import KeyState, VerificationKey
from ocelot_common.registry.store import RegistryStore, RegistryTransaction

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

ALGORITHMS: Final = ("ES256", "EdDSA", "RS256")
#: So long before its first use a new key is published, until every api has surely seen it.
PUBLICATION_LEAD: Final = timedelta(seconds=60)


class SigningKey:
    """A private key with its algorithm and id."""

    def __init__(self, private: PrivateKey) -> None:
        self.private = private
        self.alg, self.jwk = _public_jwk(private)
        self.kid = _thumbprint(self.jwk)


def new_signing_key() -> SigningKey:
    """A fresh EC P-256 key, for ES256."""
    return SigningKey(ec.generate_private_key(ec.SECP256R1()))


def load_signing_key(path: Path) -> SigningKey:
    """Read a private key from a PEM file (PKCS#8 or traditional, unencrypted).

    Raises:
        ValueError: the file holds no key that Ocelot can sign with.
        OSError: the file can't be read.
    """
    return read_signing_key(path.read_bytes(), where=str(path))


def read_signing_key(pem: bytes, *, where: str) -> SigningKey:
    """Read a private key from PEM (PKCS#8 or traditional, unencrypted).

    Args:
        pem: of the key.
        where: it was found, for the message of an error.

    Raises:
        ValueError: this is no key that Ocelot can sign with.
    """
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where} must have an unencrypted private key in PEM: {error}") from None
    if not isinstance(private, PrivateKey):
        raise ValueError(f"{where}: the key must be EC P-256, Ed25519 or RSA.")
    return SigningKey(private)


def signing_key_pem(key: SigningKey) -> bytes:
    """Return a private key as PKCS#8 PEM."""
    return key.private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def save_signing_key(key: SigningKey, path: Path) -> None:
    """Write a private key as PKCS#8 PEM, readable by its owner alone."""
    pem = signing_key_pem(key)
    path.touch(mode=0o600)
    path.chmod(0o600)  # one that was there keeps its mode
    path.write_bytes(pem)


async def publish_key(store: RegistryStore, key: SigningKey) -> datetime:
    """Publish a key's public half, once.

    Returns:
        The moment from which it may sign: at once if no other key is in use.

    Raises:
        ValueError: the key was revoked.
    """
    now = datetime.now(UTC)

    async def work(transaction: RegistryTransaction) -> VerificationKey:
        if known := await transaction.get(VerificationKey, key.kid):
            return known  # another process was faster
        row = VerificationKey(
            kid=key.kid,
            version=transaction.version,
            alg=key.alg,
            jwk=key.jwk,
            published_at=now,
        )
        await transaction.insert(row)
        return row

    published = await store.key(key.kid)
    if published is None:
        published = await store.write(work)
    if published.state is KeyState.REVOKED:
        raise ValueError(f"The signing key {key.kid} was revoked. Create a new key.")
    keys = await store.since(VerificationKey, 0)
    others = [row for row in keys if row.kid != key.kid and row.state is KeyState.ACTIVE]
    first = all(row.published_at >= published.published_at for row in others)
    return published.published_at if first else published.published_at + PUBLICATION_LEAD


def _public_jwk(private: PrivateKey) -> tuple[str, dict[str, Any]]:
    public = private.public_key()
    if isinstance(public, ec.EllipticCurvePublicKey):
        if not isinstance(public.curve, ec.SECP256R1):
            raise ValueError(f"the curve must be P-256, got {public.curve.name}")
        return "ES256", ECAlgorithm.to_jwk(public, as_dict=True)
    if isinstance(public, ed25519.Ed25519PublicKey):
        return "EdDSA", OKPAlgorithm.to_jwk(public, as_dict=True)
    if public.key_size < 2048:
        raise ValueError("an RSA key must have at least 2,048 bits")
    return "RS256", RSAAlgorithm.to_jwk(public, as_dict=True)


def _thumbprint(jwk: dict[str, Any]) -> str:
    members = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}
    required = {name: jwk[name] for name in members[jwk["kty"]]}
    canonical = json.dumps(required, sort_keys=True, separators=(",", ":")).encode()
    digest = hashlib.sha256(canonical).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
