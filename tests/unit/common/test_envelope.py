import contextlib

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ocelot_common import envelope as module
from ocelot_common.envelope import (
    MAX_EVENTS,
    MAX_UNPACKED_BYTES,
    Envelope,
    Origin,
    PackedEvent,
    Segment,
    pack,
    unpack,
    unpacked_size,
)
from ocelot_common.signed_text import QueueKey, SignedText, parse
from ocelot_common.versioned import MalformedError, to_text

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
            origin=st.sampled_from(Origin),
        ),
        max_size=3,
    ),
)
SAMPLE = Envelope(UID, [Segment("w", 1, "r", "", [PackedEvent(b"i" * 16, b'{"a":1}')])])


KEY = QueueKey("k1", bytes(32))


def packed(envelope: Envelope) -> str:
    return pack(envelope, KEY, sent_at=1)


def authenticated(content: bytes) -> SignedText:
    """A message whose MAC was checked, with this content."""
    return SignedText("k1", "0" * 64, 1, to_text(content))


def compressed(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(data)


def body(value: object) -> bytes:
    return compressed(msgspec.msgpack.encode(value))


@given(envelopes)
def test_an_envelope_survives_the_queue(envelope: Envelope) -> None:
    text = packed(envelope)
    assert text.isascii()
    assert unpack(parse(text)) == envelope


def test_an_envelope_compresses_what_its_events_have_in_common() -> None:
    events = [PackedEvent(bytes(16), b'{"action":"document.update"}' * 20) for _ in range(100)]
    assert len(packed(Envelope(UID, [Segment("w", 1, "r", "", events)]))) < 1_000


def with_size(stated: int, data: bytes) -> bytes:
    """A zstd frame (RFC 8878 §3.1.1) of one raw block that states another size than it has."""
    header = b"\x28\xb5\x2f\xfd" + bytes([0b10100000]) + stated.to_bytes(4, "little")
    block = (len(data) << 3 | 1).to_bytes(3, "little") + data
    return header + block


def test_a_handmade_frame_that_states_its_true_size_is_read() -> None:
    """What makes the frames below malformed is the size that they state, nothing else."""
    data = msgspec.msgpack.encode(SAMPLE)
    assert unpack(authenticated(with_size(len(data), data))) == SAMPLE


DATA = msgspec.msgpack.encode(SAMPLE)
GOOD = compressed(DATA)
MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "bytes that are no zstd": b"hello, world",
    "msgpack that is not compressed": DATA,
    "a frame that is cut off": GOOD[:-1],
    "a frame that states less than it holds": with_size(len(DATA) - 1, DATA),
    "a frame that states more than it holds": with_size(len(DATA) + 1, DATA),
    "a frame that states much more than it holds": with_size(MAX_UNPACKED_BYTES, DATA),
    "a frame that states 4 GiB": with_size(2**32 - 1, DATA),
    "a frame that states no size": zstandard.ZstdCompressor(write_content_size=False).compress(
        DATA
    ),
    "a bomb": compressed(bytes(MAX_UNPACKED_BYTES + 1)),
    "a large frame of zeros": compressed(bytes(MAX_UNPACKED_BYTES)),
    "an empty frame": compressed(b""),
    "the frame of version 1": body([1, SAMPLE]),
    "an origin that there is not": body([UID, [["w", 1, "r", "", [], "client"]]]),
    "more segments than any release sends": body(
        [UID, [["", 1, "", "", [], "api"]] * (MAX_EVENTS + 1)]
    ),
    "more events than any release sends": body(
        [UID, [["w", 1, "r", "", [[b"i" * 16, b""]] * (MAX_EVENTS + 1)]]]
    ),
    "a map": body({"uid": UID}),
    "no segments": body([UID]),
    "a uid that is no text": body([1, []]),
    "a uid that is not UTF-8": compressed(b"\x92\xa1\xff\x90"),
    "an id of 15 bytes": body([UID, [["w", 1, "r", "", [[b"i" * 15, b"{}"]]]]]),
    "an id of 17 bytes in the last place": body(
        [UID, [["w", 1, "r", "", [[b"i" * 16, b"{}"]]], ["w", 1, "r", "", [[b"i" * 17, b""]]]]]
    ),
    "an id that is text": body([UID, [["w", 1, "r", "", [["i" * 16, b"{}"]]]]]),
    "a time that is text": body([UID, [["w", "1", "r", "", []]]]),
    "a time below zero": body([UID, [["w", -1, "r", "", []]]]),
    "a time past the year 9999": body([UID, [["w", 253_402_300_800_000, "r", "", []]]]),
    "a time past 63 bits": body([UID, [["w", 2**64 - 1, "r", "", []]]]),
    "arrays nested without end": compressed(b"\x91" * 100_000),
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED)
def test_an_envelope_is_malformed_if_it_is(content: bytes) -> None:
    with pytest.raises(MalformedError):
        unpack(authenticated(content))


@pytest.mark.parametrize("data", ["not base64!", "A"])
def test_data_that_is_not_base64_is_malformed(data: str) -> None:
    with pytest.raises(MalformedError):
        unpack(SignedText("k1", "0" * 64, 1, data))


@given(st.binary(max_size=200))
def test_random_bytes_are_malformed_and_nothing_else_is_raised(data: bytes) -> None:
    with pytest.raises(MalformedError):
        unpack(authenticated(data))


@given(st.binary(max_size=200))
def test_random_bytes_inside_a_frame_raise_nothing_else(data: bytes) -> None:
    with contextlib.suppress(MalformedError):
        unpack(authenticated(compressed(data)))


@given(envelopes, st.data())
def test_a_damaged_envelope_raises_nothing_else(envelope: Envelope, data: st.DataObject) -> None:
    raw = bytearray(parse(packed(envelope)).content())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(MalformedError):
        unpack(authenticated(bytes(raw)))


#: The ways in which msgpack writes the length of an id: in one byte, in two and in four.
ID_HEADERS = [b"\xc4\x10", b"\xc5\x00\x10", b"\xc6\x00\x00\x00\x10"]
#: And those in which it writes an array of two.
PAIR_HEADERS = [b"\x92", b"\xdc\x00\x02", b"\xdd\x00\x00\x00\x02"]


def with_events(event: bytes, number: int, *, segments: int = 1) -> bytes:
    """An envelope whose segments have so many events, which are given as they are encoded."""
    head = msgspec.msgpack.encode(["w", 1, "r", ""]).replace(b"\x94", b"\x95", 1)
    segment = head + b"\xdd" + number.to_bytes(4, "big") + event * number
    start = b"\x92" + msgspec.msgpack.encode(UID) + b"\xdd" + segments.to_bytes(4, "big")
    return compressed(start + segment * segments)


@pytest.mark.parametrize("id_header", ID_HEADERS, ids=[8, 16, 32])
@pytest.mark.parametrize("pair_header", PAIR_HEADERS, ids=[4, 16, 32])
def test_very_many_events_are_refused_before_they_are_decoded(
    monkeypatch: pytest.MonkeyPatch, id_header: bytes, pair_header: bytes
) -> None:
    """Decoded, they would take ten times their bytes."""
    event = pair_header + id_header + b"i" * 16 + msgspec.msgpack.encode(b"t" * 30)
    [read] = unpack(authenticated(with_events(event, 1))).segments
    assert read.events == [PackedEvent(b"i" * 16, b"t" * 30)]
    monkeypatch.setattr(module, "_decoder", None)
    with pytest.raises(MalformedError, match="more than 200,000 events"):
        unpack(authenticated(with_events(event, 1_001, segments=200)))


def test_a_list_of_too_many_events_is_refused_by_its_length_alone() -> None:
    """Of events without an id there are 12 million in 64 MiB."""
    with pytest.raises(MalformedError, match=r"`array` of length <= 200000.*\$\[1\]\[0\]\[4\]`"):
        unpack(authenticated(with_events(b"\x92\xc4\x00\xc4\x00", MAX_EVENTS + 1)))


@pytest.mark.parametrize("length", [0, 15, 17])
def test_an_id_of_another_length_is_refused_at_the_first_event(length: int) -> None:
    event = msgspec.msgpack.encode([b"i" * length, b""])
    with pytest.raises(MalformedError, match=r"`bytes` of length .*\$\[1\]\[0\]\[4\]\[0\]\[0\]`"):
        unpack(authenticated(with_events(event, 1_000)))


@given(envelopes)
def test_the_head_of_a_message_states_to_how_many_bytes_it_unpacks(envelope: Envelope):
    message = parse(pack(envelope, KEY, sent_at=1))
    assert unpacked_size(message) == len(msgspec.msgpack.encode(envelope))


def test_a_size_is_stated_for_a_message_that_unpacks_to_a_thousand_times_its_bytes():
    events = [PackedEvent(bytes(16), b"x" * 60_000) for _ in range(100)]
    message = parse(pack(Envelope(UID, [Segment("w", 1, "r", "", events)]), KEY, sent_at=1))
    assert len(message.data) < 6_000
    assert 6_000_000 < unpacked_size(message) < 6_010_000


def test_a_message_without_a_stated_size_counts_as_the_largest():
    compressor = zstandard.ZstdCompressor(write_content_size=False)
    assert unpacked_size(authenticated(compressor.compress(b"x"))) == MAX_UNPACKED_BYTES


@pytest.mark.parametrize("content", [b"", b"\x28", b"no zstd"])
def test_what_is_never_unpacked_has_no_size(content: bytes):
    assert unpacked_size(authenticated(content)) == 0
    assert unpacked_size(SignedText("k1", "0" * 64, 1, "?")) == 0


def test_a_message_that_unpacks_to_more_than_any_release_writes_has_no_size():
    content = zstandard.ZstdCompressor().compress(bytes(MAX_UNPACKED_BYTES + 1))
    assert unpacked_size(authenticated(content)) == 0
