"""The envelope: events of one tenant on their way from the api to the consumer (design §6).

Wire form: msgpack `[version, [uid, [segment, ...]]]`, zstd level 1, base64. A segment holds what
one request brought: `[writer, received_at, request_id, traceparent, [[id, text], ...]]`.
"""

from typing import Annotated, Final

import msgspec
import zstandard

from ocelot_common.versioned import MalformedError, frame, from_text, to_text, unframe

VERSION: Final = 1
#: An SQS message holds 1 MiB (AWS limit); some room stays for attributes.
MAX_ENCODED_BYTES: Final = 1_000 * 1024
#: What one envelope may unpack to; 1,000 KiB of base64 never legitimately hold more.
MAX_UNPACKED_BYTES: Final = 64 * 1024 * 1024

#: The end of the year 9999, in milliseconds: no later time can be written as RFC 3339.
_LAST_MS: Final = 253_402_300_799_999


class PackedEvent(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """One event: 16 bytes of id, and the text of record."""

    id: bytes
    text: bytes


class Segment(msgspec.Struct, array_like=True, gc=False):
    """The events of one request.

    Attributes:
        writer: the token's `sub`.
        received_at: arrival in milliseconds since the epoch.
        request_id: of the HTTP request.
        traceparent: W3C trace context of the request, or empty.
        events: in the order of the request.
    """

    writer: str
    received_at: Annotated[int, msgspec.Meta(ge=0, le=_LAST_MS)]
    request_id: str
    traceparent: str
    events: list[PackedEvent]


class Envelope(msgspec.Struct, array_like=True, gc=False):
    """Segments of one tenant."""

    uid: str
    segments: list[Segment]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Envelope)
_compressor = zstandard.ZstdCompressor(level=1)


def pack(envelope: Envelope) -> str:
    """The text of an SQS message. Not for concurrent use from several threads."""
    return to_text(_compressor.compress(frame(VERSION, _encoder.encode(envelope))))


def unpack(text: str) -> Envelope:
    """The envelope in an SQS message's text.

    Raises:
        MalformedError: no envelope; a dead letter.
        NewerVersionError: written by a newer release; it waits.
    """
    compressed = from_text(text)
    try:
        # A frame that states its size ignores max_output_size, so the stated size is checked;
        # one that lies about it fails in decompress().
        stated = zstandard.get_frame_parameters(compressed).content_size
        if stated > MAX_UNPACKED_BYTES:
            raise MalformedError(f"unpacks to {stated:,} bytes")
        data = zstandard.ZstdDecompressor().decompress(
            compressed, max_output_size=MAX_UNPACKED_BYTES
        )
    except zstandard.ZstdError as error:
        raise MalformedError(f"zstd: {error}") from None
    body = unframe(data, newest=VERSION)
    try:
        envelope = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(str(error)) from None
    if any(len(event.id) != 16 for segment in envelope.segments for event in segment.events):
        raise MalformedError("an id that has not 16 bytes")
    return envelope
