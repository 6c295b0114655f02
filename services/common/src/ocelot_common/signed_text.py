"""The wire form of both queues' messages: ASCII text that says who may have written it.

    2.<kid>.<mac>.<sent_at>.<data>

`kid` names the key, `mac` is 64 lowercase hex digits, `sent_at` the milliseconds since the epoch at
which the message was signed, `data` base64. The MAC is HMAC-SHA-256 (RFC 2104) over
`<purpose>.2.<kid>.<sent_at>.<data>`. None of the fields but the last may hold a dot, so two
different messages never have the same input. Everything that a reader needs to tell a newer
version, an unknown key and a forgery apart stands outside `data`: nothing is unpacked before the
MAC has been checked.
"""

import hmac
import re
from enum import StrEnum
from typing import Final, NamedTuple

from ocelot_common.versioned import NewerVersionError, from_text, to_text

VERSION: Final = 2
KEY_BYTES: Final = 32
KID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")

_PARTS: Final = 5
_VERSIONED: Final = re.compile(r"([1-9][0-9]{0,8})\.", re.ASCII)
_MAC: Final = re.compile(r"[0-9a-f]{64}")
#: The end of the year 9999, in milliseconds: later times cannot be told as dates.
_LAST_MS: Final = 253_402_300_799_999
#: No leading zero, so that one moment has one text.
_SENT_AT: Final = re.compile(r"0|[1-9][0-9]{0,14}", re.ASCII)


class Purpose(StrEnum):
    """What a message is for; never the queue's name, since queues are renamed and redriven."""

    INGEST = "ocelot-ingest"
    INDEX = "ocelot-index"


class QueueKey(NamedTuple):
    """A key that signs and verifies messages.

    Attributes:
        kid: its name, which every message carries.
        secret: 32 bytes.
    """

    kid: str
    secret: bytes

    def __repr__(self) -> str:
        """Name the key without its secret."""
        return f"QueueKey({self.kid!r})"


class ForgedError(ValueError):
    """The text was not written by a holder of a key of this installation."""


class SignedText(NamedTuple):
    """A message's parts, before or after its MAC was checked.

    Attributes:
        kid: of the key that it claims.
        mac: 64 hex digits.
        sent_at: when it was signed, milliseconds since the epoch.
        data: base64.
    """

    kid: str
    mac: str
    sent_at: int
    data: str

    def is_signed_with(self, key: QueueKey, purpose: Purpose) -> bool:
        """Whether the holder of a key wrote this for a purpose."""
        made = _mac(key, purpose, self.sent_at, self.data)
        return hmac.compare_digest(made, self.mac)

    def content(self) -> bytes:
        """Return the bytes of `data`.

        Raises:
            MalformedError: it is not base64.
        """
        return from_text(self.data)


def sign(content: bytes, key: QueueKey, purpose: Purpose, *, sent_at: int) -> str:
    """Return the text of a message.

    Args:
        content: what it carries.
        key: that signs it.
        purpose: what it is for.
        sent_at: now, in milliseconds since the epoch.
    """
    data = to_text(content)
    return f"{VERSION}.{key.kid}.{_mac(key, purpose, sent_at, data)}.{sent_at}.{data}"


def parse(text: str) -> SignedText:
    """Split a message's text. The result is not authenticated yet.

    Raises:
        NewerVersionError: a newer release wrote it, or somebody who claims so.
        ForgedError: no release writes such a text.
    """
    found = _VERSIONED.match(text)
    if found is None:
        raise ForgedError("the message does not begin with a version")
    version = int(found[1])
    if version > VERSION:
        raise NewerVersionError(
            f"the message has version {version}; this release reads version {VERSION}"
        )
    if version < VERSION:
        raise ForgedError(f"the message has version {version}, which has no MAC")
    parts = text.split(".", _PARTS - 1)
    if len(parts) != _PARTS:
        raise ForgedError(f"the message does not have {_PARTS} parts")
    _, kid, mac, sent_at, data = parts
    if not (KID.fullmatch(kid) and _MAC.fullmatch(mac) and _SENT_AT.fullmatch(sent_at)):
        raise ForgedError("the key id, the MAC or the time is malformed")
    if int(sent_at) > _LAST_MS:
        raise ForgedError("the time is after the year 9999")
    if not data.isascii():
        raise ForgedError("the data is not ASCII")
    return SignedText(kid, mac, int(sent_at), data)


def _mac(key: QueueKey, purpose: Purpose, sent_at: int, data: str) -> str:
    text = f"{purpose.value}.{VERSION}.{key.kid}.{sent_at}.{data}"
    return hmac.digest(key.secret, text.encode("ascii"), "sha256").hex()
