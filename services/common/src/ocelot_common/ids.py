"""Event ids: UUIDs as 16 bytes, made or derived (design §5)."""

import hashlib
import os
import re
import struct
import time
from collections.abc import Iterable, Sequence
from typing import Final

import uuid_utils

_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_NIL = bytes(16)


def new_id() -> bytes:
    """A fresh UUIDv7 (RFC 9562): ordered by time, so that B-trees stay compact."""
    return uuid_utils.uuid7().bytes


def new_id_and_text() -> tuple[bytes, str]:
    """As `new_id`, with its form for people: half the time of making that from the bytes."""
    made = uuid_utils.uuid7()
    return made.bytes, str(made)


def new_ids_and_texts(number: int) -> tuple[list[bytes], list[str]]:
    """As `new_id_and_text`, many at once, in their order, in a third of the time.

    They share a time and count up from a random number (RFC 9562 §6.2, method 2), so each of them
    tells its neighbours. They compress to one byte each, those of `new_id` to five.
    """
    first = bytearray(os.urandom(16))
    first[:6] = (time.time_ns() // 1_000_000).to_bytes(6)
    first[6] = 0x70 | first[6] & 0x0F
    first[8] = 0x80 | first[8] & 0x3F
    # Clears the highest of the last 48 bits: counting up changes no other bits, so that all texts
    # begin alike.
    first[10] &= 0x7F
    head = bytes(first[:8])
    (start,) = _COUNTER.unpack_from(first, 8)
    counters = struct.pack(f">{number}Q", *range(start, start + number))
    ids = list(map(head.__add__, struct.unpack("8s" * number, counters)))
    begin = format_id(bytes(first))[:_COMMON_CHARS]
    group = begin[-5:-1]
    texts = f" {counters.hex(' ', 8)}".replace(f" {group}", f" {begin}").split()
    return ids, texts


_COUNTER = struct.Struct(">Q")
#: The characters of an id before its last 48 bits.
_COMMON_CHARS: Final = 24


def new_id_text() -> str:
    """A fresh UUIDv7 for people and logs only."""
    return str(uuid_utils.uuid7())


def derived_id(domain: str, *parts: bytes) -> bytes:
    """A UUIDv8 (RFC 9562) from SHA-256 over `domain` and `parts`.

    Each part is preceded by its length, so that no two lists of parts are hashed alike.
    """
    return _version_8(hashlib.sha256(domain.encode() + _with_lengths(parts)).digest())


def _with_lengths(parts: Iterable[bytes]) -> bytes:
    return b"".join([b"\0%d:%b" % (len(part), part) for part in parts])


def _version_8(digest: bytes) -> bytes:
    return digest[:6] + _VERSION[digest[6]] + digest[7:8] + _VARIANT[digest[8]] + digest[9:16]


_VERSION = [bytes([0x80 | code & 0x0F]) for code in range(256)]
_VARIANT = [bytes([0x80 | code & 0x3F]) for code in range(256)]


def parse_id(text: str) -> bytes:
    """The 16 bytes of a UUID in its hyphenated form, in either case.

    Raises:
        ValueError: another form (msgspec and `uuid.UUID` take several), or the nil UUID. The
            message is the rest of a sentence that begins with the name of the value: "must be …".
    """
    if not _UUID.fullmatch(text):
        raise ValueError("must be a UUID such as 01234567-89ab-7cde-8f01-23456789abcd")
    raw = bytes.fromhex(text.replace("-", ""))
    if raw == _NIL:
        raise ValueError("must not be the nil UUID")
    return raw


def format_id(raw: bytes) -> str:
    """The lowercase hyphenated form of 16 bytes."""
    return b"-".join(_GROUPS.unpack(raw.hex().encode())).decode()


def format_ids(ids: Sequence[bytes]) -> list[str]:
    """Format many ids as `format_id` does, in half of its time: no step of Python's per id."""
    if not ids:
        return []
    groups = _GROUPS.iter_unpack(b"".join(ids).hex().encode())
    return b" ".join(map(b"-".join, groups)).decode().split(" ")


_GROUPS = struct.Struct("8s4s4s4s12s")


class Ordinals:
    """Numbers equal texts: 0 for the first of its kind, 1 for the second, and so on.

    Equal lines can be different events (4,485 of 72,533 Windows events), so their ordinal among
    their equals enters a derived id; their position never does, since a client may drop one item
    and repeat the rest.
    """

    def __init__(self) -> None:
        self._seen: dict[bytes, int] = {}

    def next(self, text: bytes) -> int:
        """The ordinal of this text among its equals given before."""
        key = hashlib.blake2b(text, digest_size=16).digest()
        ordinal = self._seen.get(key, 0)
        self._seen[key] = ordinal + 1
        return ordinal


class IdsByKey:
    """Ids for events without one, sent under an `Idempotency-Key` header (design §5).

    Args:
        uid: the tenant's uid.
        subject: the token's `sub`.
        key: the header's value.
    """

    def __init__(self, uid: str, subject: str, key: str) -> None:
        scope = _with_lengths((uid.encode(), subject.encode(), key.encode()))
        # 32 bytes for what all events share: hashed once.
        self._scope = hashlib.sha256(b"ocelot/idempotency-key" + scope).digest()
        # Has hashed what comes before a text. A copy of it takes less time than a new object.
        self._first = hashlib.sha256(self._scope + b"0:")
        self._seen: dict[bytes, int] = {}

    def next(self, text: bytes) -> bytes:
        """The id of the request's next event, by its canonical text."""
        (made,) = self.next_ids((text,))
        return made

    def next_ids(self, texts: Sequence[bytes]) -> list[bytes]:
        """Return the ids of the request's next events, by their canonical texts.

        A client pays 55 bytes for an event, so each step counts: version and variant are set in all
        ids at once, and an id takes one hash.
        """
        seen, copy = self._seen, self._first.copy
        get, sha256 = seen.get, hashlib.sha256
        digests = []
        for text in texts:
            ordinal = get(text, 0)
            seen[text] = ordinal + 1
            if ordinal:
                digests.append(sha256(b"%b%d:%b" % (self._scope, ordinal, text)).digest())
            else:
                hashed = copy()
                hashed.update(text)
                digests.append(hashed.digest())
        return _versions_8(digests)


def _versions_8(digests: Sequence[bytes]) -> list[bytes]:
    """Make ids of many digests of 32 bytes, as `_version_8` does of one."""
    number = len(digests)
    size = 32 * number
    joined = int.from_bytes(b"".join(digests)) & int.from_bytes(_FREE_BITS * number)
    made = (joined | int.from_bytes(_SET_BITS * number)).to_bytes(size)
    return [made[at : at + 16] for at in range(0, size, 32)]


_FREE_BITS = bytes.fromhex("ffffffffffff0fff3fffffffffffffff" + 32 * "0")
_SET_BITS = bytes.fromhex("00000000000080008000000000000000" + 32 * "0")
