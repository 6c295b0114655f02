"""The envelope: events of one tenant on their way from the api to the consumer (design §6).

Wire form: msgpack `[uid, [segment, ...]]`, zstd level 1, signed (signed_text.py). A segment holds
what one request brought: `[writer, received_at, request_id, traceparent, [[id, text], ...],
origin]`.
"""

from enum import StrEnum
from typing import Annotated, Final

import msgspec
import zstandard

from ocelot_common.signed_text import Purpose, QueueKey, SignedText, sign
from ocelot_common.versioned import MalformedError, from_text

#: An SQS message holds 1 MiB (AWS limit); some room stays for attributes.
MAX_ENCODED_BYTES: Final = 1_000 * 1024
#: What one envelope may unpack to; 1,000 KiB of base64 never legitimately hold more.
MAX_UNPACKED_BYTES: Final = 64 * 1024 * 1024
#: The api fills an envelope with 6.4 MiB at most, which holds fewer events than this.
MAX_EVENTS: Final = 200_000
#: Fewer bytes hold no more events than take 60 MiB, so these are counted after decoding.
_COUNTED_BYTES: Final = 8 * 1024 * 1024
#: The longest head of a zstd frame has 18 bytes (RFC 8878), 24 characters of base64.
_HEAD_CHARS: Final = 24
#: The three ways in which msgpack writes that 16 bytes follow: the id of an event. JSON holds no
#: byte 0x10, so that texts count for none.
_ID_HEADERS: Final = (b"\xc4\x10", b"\xc5\x00\x10", b"\xc6\x00\x00\x00\x10")

#: The end of the year 9999, in milliseconds: no later time can be written as RFC 3339.
_LAST_MS: Final = 253_402_300_799_999


class Origin(StrEnum):
    """Where events come from: a request to the api, a retry of what failed, Ocelot itself."""

    API = "api"
    RETRY = "retry"
    INTERNAL = "internal"


class PackedEvent(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """One event: 16 bytes of id, and the text of record."""

    id: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    text: bytes


class Segment(msgspec.Struct, array_like=True, gc=False):
    """The events of one request.

    Attributes:
        writer: the token's `sub`.
        received_at: arrival in milliseconds since the epoch.
        request_id: of the HTTP request.
        traceparent: W3C trace context of the request, or empty.
        events: in the order of the request.
        origin: where they come from.
    """

    writer: str
    received_at: Annotated[int, msgspec.Meta(ge=0, le=_LAST_MS)]
    request_id: str
    traceparent: str
    events: Annotated[list[PackedEvent], msgspec.Meta(max_length=MAX_EVENTS)]
    origin: Origin = Origin.API


class Envelope(msgspec.Struct, array_like=True, gc=False):
    """Segments of one tenant."""

    uid: str
    # Empty ones cost 20 times their bytes; msgspec refuses the list by its length alone.
    segments: Annotated[list[Segment], msgspec.Meta(max_length=MAX_EVENTS)]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Envelope)
_compressor = zstandard.ZstdCompressor(level=1)


def pack(envelope: Envelope, key: QueueKey, *, sent_at: int) -> str:
    """Return the text of an SQS message. Not for concurrent use from several threads.

    Args:
        envelope: what to send.
        key: that signs it.
        sent_at: now, in milliseconds since the epoch.
    """
    content = _compressor.compress(_encoder.encode(envelope))
    return sign(content, key, Purpose.INGEST, sent_at=sent_at)


def unpacked_size(message: SignedText) -> int:
    """Return to how many bytes an authenticated message unpacks at most.

    The head of the zstd frame states it. The size is 0 if `unpack` refuses the message.
    """
    try:
        size = zstandard.frame_content_size(from_text(message.data[:_HEAD_CHARS]))
    except (MalformedError, zstandard.ZstdError):
        return 0
    if size < 0:  # the head does not state it
        return MAX_UNPACKED_BYTES
    return size if size <= MAX_UNPACKED_BYTES else 0


def unpack(message: SignedText) -> Envelope:
    """Return the envelope in an authenticated message.

    Raises:
        MalformedError: it holds no envelope, or a larger one than any release writes.
    """
    data = _decompressed(message.content())
    if len(data) > _COUNTED_BYTES and sum(map(data.count, _ID_HEADERS)) > MAX_EVENTS:
        raise MalformedError(f"the envelope has more than {MAX_EVENTS:,} events")
    try:
        envelope = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(str(error)) from None
    if sum(len(segment.events) for segment in envelope.segments) > MAX_EVENTS:
        raise MalformedError(f"the envelope has more than {MAX_EVENTS:,} events")
    return envelope


def _decompressed(compressed: bytes) -> bytes:
    try:
        # A frame that states its size ignores max_output_size, so the stated size is checked;
        # one that lies about it fails in decompress().
        stated = zstandard.get_frame_parameters(compressed).content_size
        if stated > MAX_UNPACKED_BYTES:
            raise MalformedError(
                f"the envelope has {stated:,} bytes after decompression; the limit is"
                f" {MAX_UNPACKED_BYTES:,}"
            )
        return zstandard.ZstdDecompressor().decompress(
            compressed, max_output_size=MAX_UNPACKED_BYTES
        )
    except zstandard.ZstdError as error:
        raise MalformedError(f"the envelope is not valid zstd: {error}") from None
