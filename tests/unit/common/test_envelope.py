import contextlib

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ocelot_common.envelope import (
    MAX_UNPACKED_BYTES,
    VERSION,
    Envelope,
    PackedEvent,
    Segment,
    pack,
    unpack,
)
from ocelot_common.versioned import MalformedError, NewerVersionError, frame, from_text, to_text

UID = "0123456789abcdef"
envelopes = st.builds(
    Envelope,
    uid=st.text("0123456789abcdef", min_size=16, max_size=16),
    segments=st.lists(
        st.builds(
            Segment,
            writer=st.text(st.characters(codec="utf-8"), max_size=20),
            received_at=st.integers(0, 253_402_300_799_999),
            request_id=st.text(st.characters(codec="utf-8"), max_size=20),
            traceparent=st.text("0123456789abcdef-", max_size=55),
            events=st.lists(
                st.builds(PackedEvent, id=st.binary(min_size=16, max_size=16), text=st.binary()),
                max_size=5,
            ),
        ),
        max_size=3,
    ),
)
SAMPLE = Envelope(UID, [Segment("w", 1, "r", "", [PackedEvent(b"i" * 16, b'{"a":1}')])])


def compressed(data: bytes) -> str:
    return to_text(zstandard.ZstdCompressor(level=1).compress(data))


def body(value: object) -> str:
    return compressed(frame(VERSION, msgspec.msgpack.encode(value)))


@given(envelopes)
def test_an_envelope_survives_the_queue(envelope: Envelope) -> None:
    text = pack(envelope)
    assert text.isascii()
    assert unpack(text) == envelope


def test_an_envelope_compresses_what_its_events_have_in_common() -> None:
    events = [PackedEvent(bytes(16), b'{"action":"document.update"}' * 20) for _ in range(100)]
    assert len(pack(Envelope(UID, [Segment("w", 1, "r", "", events)]))) < 1_000


def with_size(stated: int, data: bytes) -> str:
    """A zstd frame (RFC 8878 §3.1.1) of one raw block that states another size than it has."""
    header = b"\x28\xb5\x2f\xfd" + bytes([0b10100000]) + stated.to_bytes(4, "little")
    block = (len(data) << 3 | 1).to_bytes(3, "little") + data
    return to_text(header + block)


def test_a_handmade_frame_that_states_its_true_size_is_read() -> None:
    """What makes the frames below malformed is the size that they state, nothing else."""
    data = frame(VERSION, msgspec.msgpack.encode(SAMPLE))
    assert unpack(with_size(len(data), data)) == SAMPLE


DATA = frame(VERSION, msgspec.msgpack.encode(SAMPLE))
GOOD = from_text(pack(SAMPLE))
MALFORMED: dict[str, str] = {
    "nothing": "",
    "text that is no base64": "not base64!",
    "text that is not ASCII": "ümlaut",
    "bytes that are no zstd": to_text(b"hello, world"),
    "msgpack that is not compressed": to_text(DATA),
    "a frame that is cut off": to_text(GOOD[:-1]),
    "a frame that states less than it holds": with_size(len(DATA) - 1, DATA),
    "a frame that states more than it holds": with_size(len(DATA) + 1, DATA),
    "a frame that states much more than it holds": with_size(MAX_UNPACKED_BYTES, DATA),
    "a frame that states 4 GiB": with_size(2**32 - 1, DATA),
    "a frame that states no size": to_text(
        zstandard.ZstdCompressor(write_content_size=False).compress(DATA)
    ),
    "a bomb": compressed(bytes(MAX_UNPACKED_BYTES + 1)),
    "a large frame of zeros": compressed(bytes(MAX_UNPACKED_BYTES)),
    "an empty frame": compressed(b""),
    "no framed body": compressed(msgspec.msgpack.encode(SAMPLE)),
    "version 0": compressed(frame(0, msgspec.msgpack.encode(SAMPLE))),
    "a map": body({"uid": UID}),
    "no segments": body([UID]),
    "a uid that is no text": body([1, []]),
    "a uid that is not UTF-8": compressed(frame(VERSION, b"\x92\xa1\xff\x90")),
    "an id of 15 bytes": body([UID, [["w", 1, "r", "", [[b"i" * 15, b"{}"]]]]]),
    "an id of 17 bytes in the last place": body(
        [UID, [["w", 1, "r", "", [[b"i" * 16, b"{}"]]], ["w", 1, "r", "", [[b"i" * 17, b""]]]]]
    ),
    "an id that is text": body([UID, [["w", 1, "r", "", [["i" * 16, b"{}"]]]]]),
    "a time that is text": body([UID, [["w", "1", "r", "", []]]]),
    "a time below zero": body([UID, [["w", -1, "r", "", []]]]),
    "a time past the year 9999": body([UID, [["w", 253_402_300_800_000, "r", "", []]]]),
    "a time past 63 bits": body([UID, [["w", 2**64 - 1, "r", "", []]]]),
    "arrays nested without end": compressed(frame(VERSION, b"\x91" * 100_000)),
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_an_envelope_is_malformed_if_it_is(text: str) -> None:
    with pytest.raises(MalformedError):
        unpack(text)


@pytest.mark.parametrize("value", [SAMPLE, None, {"future": True}], ids=["known", "nil", "other"])
def test_an_envelope_of_a_newer_version_waits_whatever_its_body(value: object) -> None:
    with pytest.raises(NewerVersionError):
        unpack(compressed(frame(VERSION + 1, msgspec.msgpack.encode(value))))


@given(st.binary(max_size=200))
def test_random_bytes_are_malformed_and_nothing_else_is_raised(data: bytes) -> None:
    with pytest.raises(MalformedError):
        unpack(to_text(data))


@given(st.binary(max_size=200))
def test_random_bytes_inside_a_frame_raise_nothing_else(data: bytes) -> None:
    for text in (compressed(data), compressed(frame(VERSION, data or b"\xc0"))):
        with contextlib.suppress(MalformedError, NewerVersionError):
            unpack(text)


@given(envelopes, st.data())
def test_a_damaged_envelope_raises_nothing_else(envelope: Envelope, data: st.DataObject) -> None:
    raw = bytearray(from_text(pack(envelope)))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(MalformedError, NewerVersionError):
        unpack(to_text(bytes(raw)))
