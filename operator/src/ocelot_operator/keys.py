"""The installation's keys: created once as Secrets, or taken from Secrets that exist.

A key Secret is created only, never overwritten. It is not created either where the registry knows
keys already: then the Secret was lost, and a new key would end tokens or leave messages unread.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from ocelot_common.auth.keys import (
    SigningKey,
    new_signing_key,
    publish_key,
    read_signing_key,
    signing_key_pem,
)
from ocelot_common.auth.tokens import MAX_WILDCARD_TTL
from ocelot_common.provisioning.queue_keys import record_queue_keys
from ocelot_common.queue.keys import key_line, new_queue_key, parse_keys
from ocelot_common.registry.model import KeyState, QueueKeyRow, QueueKeyState, VerificationKey
from ocelot_common.registry.store import RegistryStore
from ocelot_common.telemetry.logs import get_logger
from ocelot_operator.kubernetes import ExistsError, KubernetesClient, Object
from ocelot_operator.minting import Mint, TokenSpec
from ocelot_operator.secrets import MANAGER, keep_admin_token
from ocelot_operator.settings import OperatorSettings

SIGNING_KEY: Final = "signing-key.pem"
QUEUE_KEYS: Final = "queue-keys"
ADMIN_TOKEN: Final = TokenSpec(
    subject="ocelot-operator@admin-token",
    tenants="*",
    role="installation-admin",
    ttl=MAX_WILDCARD_TTL,
)

log = get_logger(__name__)


class KeySecretError(Exception):
    """A key Secret is missing or holds something else; the message says what to do."""


class InstallationKeys:
    """Reads, creates and publishes the keys, and keeps the administrator's token.

    Args:
        kubernetes: for the Secrets.
        store: of the registry.
        settings: with the names of the Secrets.
        clock: the time, aware.
    """

    def __init__(
        self,
        kubernetes: KubernetesClient,
        store: RegistryStore,
        settings: OperatorSettings,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._kubernetes = kubernetes
        self._store = store
        self._settings = settings
        self._clock = clock
        self._signing: SigningKey | None = None
        self._waiting = ""

    @property
    def mint(self) -> Mint | None:
        """Return what mints tokens; None until a key may sign."""
        if self._signing is None:
            return None
        settings = self._settings
        return Mint(
            self._signing,
            issuer=settings.token_issuer,
            audience=settings.token_audience,
            clock=self._clock,
        )

    async def refresh(self) -> timedelta:
        """Bring Secrets and registry to the same keys.

        Returns:
            How long a signing key that replaced another must still wait before it signs.

        Raises:
            KeySecretError: a Secret is missing and may not be created, or holds something else.
            QueueKeyError: the registry has another key under the id of one.
            KubernetesError: a Secret could not be read or written.
            pymongo.errors.PyMongoError: the registry cannot be read or written.
        """
        await self._refresh_queue_keys()
        return await self._refresh_signing_key()

    async def renew_admin_token(self) -> None:
        """Keep the Secret of the administrator's token, if there is a signing key.

        Raises:
            SecretNotOwnedError: the Secret is somebody else's.
            KubernetesError: it could not be read or written.
        """
        settings = self._settings
        if (mint := self.mint) is not None:
            await keep_admin_token(
                self._kubernetes,
                mint,
                namespace=settings.namespace,
                name=settings.admin_token_secret,
                api_url=settings.api_url,
                spec=ADMIN_TOKEN,
            )

    async def _refresh_queue_keys(self) -> None:
        settings = self._settings

        async def known() -> bool:
            rows = await self._store.since(QueueKeyRow, 0)
            return any(row.state is QueueKeyState.ACTIVE for row in rows)

        content = await self._content(
            settings.queue_keys_secret,
            QUEUE_KEYS,
            make=_new_key_file,
            create=settings.create_queue_keys,
            known=known,
        )
        where = f"The Secret {settings.queue_keys_secret}"
        try:
            keys = parse_keys(content.decode())
        except ValueError as error:
            reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error
            raise KeySecretError(f"{where}, {QUEUE_KEYS}: {reason}") from None
        for row in await record_queue_keys(self._store, keys):
            log.info("queue_key_recorded", kid=row.kid)

    async def _refresh_signing_key(self) -> timedelta:
        settings = self._settings

        async def known() -> bool:
            rows = await self._store.since(VerificationKey, 0)
            return any(row.state is KeyState.ACTIVE for row in rows)

        content = await self._content(
            settings.signing_key_secret,
            SIGNING_KEY,
            make=_new_signing_key_pem,
            create=settings.create_signing_key,
            known=known,
        )
        try:
            key = read_signing_key(
                content, where=f"{SIGNING_KEY} of the Secret {settings.signing_key_secret}"
            )
            ready_at = await publish_key(self._store, key)
        except ValueError as error:
            raise KeySecretError(str(error)) from None
        wait = max(ready_at - self._clock(), timedelta())
        if not wait and (self._signing is None or self._signing.kid != key.kid):
            self._signing = key
            log.info("signing_key_used", kid=key.kid)
        elif wait and self._waiting != key.kid:
            self._waiting = key.kid
            log.info("signing_key_waits", kid=key.kid, wait_sec=round(wait.total_seconds()))
        return wait

    async def _content(
        self,
        name: str,
        entry: str,
        *,
        make: Callable[[], bytes],
        create: bool,
        known: Callable[[], Awaitable[bool]],
    ) -> bytes:
        """Return what a key Secret holds, which is created if that is allowed."""
        namespace = self._settings.namespace
        secret = await self._kubernetes.secret(namespace, name)
        if secret is None:
            if not create:
                raise KeySecretError(f"The Secret {name} is missing. Create it.")
            if await known():
                raise KeySecretError(
                    f"The Secret {name} is missing, but the registry has keys already. Restore the"
                    " Secret from the backup, or create one with a new key."
                )
            with suppress(ExistsError):  # another operator was faster: its key counts
                await self._kubernetes.create_secret(_key_secret(namespace, name, entry, make()))
                log.info("key_secret_created", secret=name)
            secret = await self._kubernetes.secret(namespace, name) or {}
        try:
            return base64.b64decode((secret.get("data") or {})[entry], validate=True)
        except (KeyError, TypeError, binascii.Error):
            raise KeySecretError(f"The Secret {name} has no {entry}.") from None


def _new_key_file() -> bytes:
    return f"{key_line(new_queue_key())}\n".encode()


def _new_signing_key_pem() -> bytes:
    return signing_key_pem(new_signing_key())


def _key_secret(namespace: str, name: str, entry: str, content: bytes) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "namespace": namespace,
            "name": name,
            "labels": {"app.kubernetes.io/managed-by": MANAGER},
        },
        "data": {entry: base64.b64encode(content).decode()},
    }
