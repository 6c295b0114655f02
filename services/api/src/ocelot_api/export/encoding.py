"""Content encodings of a stream, by `Accept-Encoding` (RFC 9110 §12.5.3)."""

import zlib
from typing import Final, Protocol

import zstandard

_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
_GZIP_LEVEL: Final = 4
_ZSTD_LEVEL: Final = 3
#: Of encodings that a client likes alike, the first.
_PREFERRED: Final = ("zstd", "gzip", "identity")
_ALIASES: Final = {"x-gzip": "gzip"}


class Encoder(Protocol):
    """Encodes a stream piece by piece."""

    def encode(self, content: bytes) -> bytes:
        """A piece, from which a client can decode all that came so far."""
        ...

    def end(self) -> bytes:
        """What ends the stream."""
        ...


class Identity:
    """No encoding."""

    def encode(self, content: bytes) -> bytes:
        """The piece itself."""
        return content

    def end(self) -> bytes:
        """Nothing."""
        return b""


class Gzip:
    """RFC 1952."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WINDOW)

    def encode(self, content: bytes) -> bytes:
        """The piece, flushed."""
        return self._deflate.compress(content) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        """The last block and the checksum."""
        return self._deflate.flush()


class Zstd:
    """RFC 8878."""

    def __init__(self) -> None:
        compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True)
        self._frame = compressor.compressobj()

    def encode(self, content: bytes) -> bytes:
        """The piece, flushed."""
        return self._frame.compress(content) + self._frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def end(self) -> bytes:
        """The last block and the checksum."""
        return self._frame.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH)


_ENCODERS: Final[dict[str, type[Encoder]]] = {"zstd": Zstd, "gzip": Gzip, "identity": Identity}


def encoder_of(name: str) -> Encoder:
    """An encoder by the name that `pick_encoding` gave."""
    return _ENCODERS[name]()


def pick_encoding(accepted: bytes) -> str:
    """`zstd`, `gzip` or `identity`: what the client likes best, `identity` where it likes none.

    Args:
        accepted: the header's value; empty if there is none.
    """
    weights: dict[str, float] = {}
    for part in accepted.decode("latin-1").lower().split(","):
        name, _, parameters = part.partition(";")
        name = name.strip()
        weights[_ALIASES.get(name, name)] = _weight(parameters)
    # What is not named is as good as `*`; identity is taken, though not sought, without either.
    others = weights.get("*", 0.0)
    best = max(_PREFERRED, key=lambda name: weights.get(name, others))
    return best if weights.get(best, others) > 0 else "identity"


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        weight = float(value)
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0
