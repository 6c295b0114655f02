"""Which messages an administrator was shown before the question, and which of them are accepted.

Anybody who can send to a queue can add messages while the administrator reads. A message is told by
a digest of its whole text: SQS gives it another id when it is sent to its dead letter queue again.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

#: Nobody finds a text with the digest of another one: 128 bits of SHA-256.
_DIGEST_BYTES: Final = 16


def digest_of(queue: str, body: str) -> bytes:
    """Return the digest of a message in the dead letter queue of the queue of this name."""
    return hashlib.sha256(f"{queue}\n{body}".encode()).digest()[:_DIGEST_BYTES]


def packed(digests: Iterable[bytes]) -> bytes:
    """Return digests as they are kept in the checkpoint of the job that counted."""
    return b"".join(sorted(digests))


class Shown:
    """The messages that were shown.

    Args:
        digests: as `packed` gives them.
        done: as the property `done` gave it, of an attempt before.
    """

    def __init__(self, digests: bytes, done: bytes = b"") -> None:
        starts = range(0, len(digests), _DIGEST_BYTES)
        self._places = {
            digests[start : start + _DIGEST_BYTES]: number for number, start in enumerate(starts)
        }
        self._done = bytearray(done.ljust(len(self._places) // 8 + 1, b"\0"))

    def __contains__(self, digest: bytes) -> bool:
        """Whether a message was shown."""
        return digest in self._places

    @property
    def done(self) -> bytes:
        """One bit for each message, in the order of the digests: it was accepted."""
        return bytes(self._done)

    def mark_done(self, digest: bytes) -> None:
        """Note that a message was accepted."""
        byte, bit = divmod(self._places[digest], 8)
        self._done[byte] |= 1 << bit

    def is_done(self, digest: bytes) -> bool:
        """Whether a message was accepted."""
        byte, bit = divmod(self._places[digest], 8)
        return bool(self._done[byte] >> bit & 1)

    def missing(self, seen: set[bytes]) -> int:
        """Return how many were neither accepted nor among `seen`."""
        return sum(digest not in seen and not self.is_done(digest) for digest in self._places)
