"""The keys of both queues: read from a file, known to the registry, used to sign and to verify.

The file holds one key per line, `kid:base64` of 32 bytes. The first key signs, all keys verify. The
registry holds `{kid, sha256, state}` of each key and never the key itself, so that a process can
tell a key that it lacks from one that never was.
"""

import base64
import binascii
import hashlib
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ocelot_common.registry.model import QueueKeyRow, QueueKeyState
from ocelot_common.settings import exit_with
from ocelot_common.signed_text import (
    KEY_BYTES,
    KID,
    ForgedError,
    Purpose,
    QueueKey,
    SignedText,
    parse,
)
from ocelot_common.telemetry.logs import get_logger

MAX_FILE_BYTES: Final = 64 * 1024
_LOOK_EVERY_SEC: Final = 1.0

log = get_logger(__name__)

#: The registry's row of a key id, if it has one.
Rows = Callable[[str], QueueKeyRow | None]


class NoSigningKeyError(Exception):
    """This process has no key with which it may sign."""


class UnknownKeyError(Exception):
    """A message names a key that this process does not have; the registry may know it.

    Attributes:
        kid: of the key.
    """

    def __init__(self, kid: str) -> None:
        super().__init__(f"the key {kid} is not in the file of queue keys")
        self.kid = kid


def new_queue_key() -> QueueKey:
    """Return a fresh key with a random name."""
    return QueueKey(f"q{secrets.token_hex(6)}", secrets.token_bytes(KEY_BYTES))


def key_line(key: QueueKey) -> str:
    """Return the line of a key in the file, without its end."""
    return f"{key.kid}:{base64.b64encode(key.secret).decode()}"


def add_key(path: Path, key: QueueKey) -> None:
    """Write a key as the first line of a file, so that it signs; the others keep their places.

    The file is replaced as a whole, and only its owner can read it.

    Raises:
        ValueError: the file holds something other than keys, or this key id.
        OSError: it cannot be read or written.
    """
    before = path.read_text() if path.exists() else ""
    content = f"{key_line(key)}\n{before}"
    parse_keys(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.tmp")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
    unfinished.replace(path)


def fingerprint(key: QueueKey) -> str:
    """Return the SHA-256 of a key in hex, which the registry keeps."""
    return hashlib.sha256(key.secret).hexdigest()


def parse_keys(text: str) -> tuple[QueueKey, ...]:
    """Read the lines of a key file; blank lines and lines that begin with `#` are skipped.

    Raises:
        ValueError: a line is not a key, or a key id occurs twice. The message never shows a key.
    """
    keys: dict[str, QueueKey] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()  # noqa: PLW2901 - the same line without what surrounds it
        if not line or line.startswith("#"):
            continue
        kid, colon, encoded = line.partition(":")
        if not colon or not KID.fullmatch(kid):  # without a colon, the line may be a key's secret
            raise ValueError(f"line {number} does not begin with a key id and a colon")
        if kid in keys:
            raise ValueError(f"line {number}: the key id {kid} occurs twice")
        try:
            secret = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            secret = b""
        if len(secret) != KEY_BYTES:
            raise ValueError(f"line {number}: the key {kid} is not base64 of {KEY_BYTES} bytes")
        keys[kid] = QueueKey(kid, secret)
    if not keys:
        raise ValueError("it has no key; `ocelot queue-keys new` creates one")
    return tuple(keys.values())


class KeyFile:
    """The keys in a file, read again when it changes.

    A file that cannot be read any more, or that holds something else, leaves the keys as they were.

    Args:
        path: of the file.
        clock: monotonic, in seconds.

    Raises:
        ValueError: the file holds no keys.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._content: bytes | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._looked_at = clock()
        self._keys: tuple[QueueKey, ...] = ()
        self._by_kid: dict[str, QueueKey] = {}
        self._read()

    @property
    def keys(self) -> tuple[QueueKey, ...]:
        """All keys in the order of the file, at most one second old."""
        self._look()
        return self._keys

    def find(self, kid: str) -> QueueKey | None:
        """Return a key by its id; an id that is not known has the file read again at once."""
        self._look()
        return self._by_kid.get(kid) or self._find_again(kid)

    def _find_again(self, kid: str) -> QueueKey | None:
        self._read_or_keep()
        return self._by_kid.get(kid)

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked_at < _LOOK_EVERY_SEC:
            return
        self._looked_at = now
        try:
            stamp = self._stat()
        except OSError as error:
            log.warning("queue_keys_not_read", file=str(self._path), error=str(error))
            return
        if stamp != self._stamp:
            self._read_or_keep()

    def _read_or_keep(self) -> None:
        try:
            self._read()
        except (OSError, ValueError) as error:
            log.warning("queue_keys_not_read", file=str(self._path), error=str(error))

    def _read(self) -> None:
        stamp = self._stat()
        with self._path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        self._stamp = stamp
        if content == self._content:
            return
        if len(content) > MAX_FILE_BYTES:
            raise ValueError(f"{self._path} is larger than {MAX_FILE_BYTES:,} bytes")
        try:
            keys = parse_keys(content.decode())
        except ValueError as error:  # UnicodeDecodeError shows bytes of the file
            reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error
            raise ValueError(f"{self._path}: {reason}") from None
        self._content = content
        self._keys = keys
        self._by_kid = {key.kid: key for key in keys}

    def _stat(self) -> tuple[int, int, int]:
        # Kubernetes replaces a mounted Secret by pointing a symbolic link to a new folder.
        found = self._path.stat()
        return found.st_mtime_ns, found.st_ino, found.st_size


def load_key_file(path: Path) -> KeyFile:
    """Read the key file of a process, or end the process with one clear message and status 2."""
    try:
        return KeyFile(path)
    except (OSError, ValueError) as error:
        exit_with([f"OCELOT_QUEUE_KEYS_FILE: {error}"])


class QueueKeys:
    """Signs and verifies messages with the keys of a file, as the registry allows.

    Args:
        file: with the keys.
        rows: the registry's rows by key id, as the process last read them.
    """

    def __init__(self, file: KeyFile, rows: Rows) -> None:
        self._file = file
        self._rows = rows
        self._signing_of: tuple[QueueKey, ...] = ()
        self._signing = QueueKey("", b"")
        self._signing_row: QueueKeyRow | None = None
        self._refused_first = ""
        self._used: dict[str, tuple[int, int]] = {}

    def signing_key(self) -> QueueKey:
        """Return the first key of the file that is active in the registry.

        A key that the registry does not have yet, or has as retired or lost, is passed over: what
        it signs would be refused by every process that does not have it.

        Raises:
            NoSigningKeyError: there is none.
        """
        keys = self._file.keys
        if keys is self._signing_of and self._rows(self._signing.kid) is self._signing_row:
            return self._signing  # the fingerprint takes a fifth of signing a single event
        for key in keys:
            row = self._rows(key.kid)
            if row is None or row.state is not QueueKeyState.ACTIVE:
                continue
            if row.sha256 != fingerprint(key):
                continue
            if key is keys[0]:
                self._signing_of, self._signing, self._signing_row = keys, key, row
            else:
                self._warn(keys[0].kid)
            return key
        raise NoSigningKeyError(
            "no key of OCELOT_QUEUE_KEYS_FILE is active in the registry; `ocelot queue-keys list`"
            " shows the registry's keys"
        )

    def find(self, kid: str) -> QueueKey | None:
        """Return a key of the file, unless the registry has another key under its id."""
        key = self._file.find(kid)
        if key is None:
            return None
        row = self._rows(kid)
        return key if row is None or row.sha256 == fingerprint(key) else None

    def open(self, text: str, purpose: Purpose) -> SignedText:
        """Authenticate a message. Nothing of it is unpacked.

        Raises:
            NewerVersionError: it claims to be of a newer release.
            UnknownKeyError: its key is not in the file.
            ForgedError: it is not a message, or its MAC is wrong.
        """
        message = parse(text)
        key = self._file.find(message.kid)
        if key is None:
            raise UnknownKeyError(message.kid)
        if not message.is_signed_with(key, purpose):
            if self.find(message.kid) is None:  # the file's key is not the registry's
                raise UnknownKeyError(message.kid)
            raise ForgedError("the MAC does not match the message")
        self._note_use(message)
        return message

    def take_used(self) -> dict[str, tuple[int, int]]:
        """Return the first and last `sent_at` of verified messages by key id, and forget them."""
        used, self._used = self._used, {}
        return used

    def _note_use(self, message: SignedText) -> None:
        first, last = self._used.get(message.kid, (message.sent_at, message.sent_at))
        if first <= message.sent_at <= last and message.kid in self._used:
            return
        self._used[message.kid] = (min(first, message.sent_at), max(last, message.sent_at))

    def _warn(self, kid: str) -> None:
        if kid != self._refused_first:
            self._refused_first = kid
            log.warning("queue_key_not_active", kid=kid)
