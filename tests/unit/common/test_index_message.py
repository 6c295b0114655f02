import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocelot_common.index_message import (
    MAX_IDS,
    IndexMessage,
    pack_index_messages,
    unpack_index_message,
)
from ocelot_common.signed_text import QueueKey, SignedText, parse
from ocelot_common.versioned import MalformedError, to_text

UID = "0123456789abcdef"
ids = st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=20)


def numbered(count: int) -> list[bytes]:
    return [number.to_bytes(16) for number in range(count)]


def packed(sent: list[bytes], traceparents: list[str] | None = None) -> list[str]:
    key = QueueKey("k1", bytes(32))
    return list(pack_index_messages(UID, sent, key, sent_at=1, traceparents=traceparents or ()))


def authenticated(content: bytes) -> SignedText:
    """A message whose MAC was checked, with this content."""
    return SignedText("k1", "0" * 64, 1, to_text(content))


def body(value: object) -> bytes:
    return msgspec.msgpack.encode(value)


@given(ids)
def test_ids_survive_the_queue_in_order(sent: list[bytes]) -> None:
    (text,) = packed(sent)
    assert unpack_index_message(parse(text)) == IndexMessage(UID, sent, [])


@pytest.mark.parametrize(
    ("count", "messages"), [(0, 0), (1, 1), (MAX_IDS, 1), (MAX_IDS + 1, 2), (3 * MAX_IDS, 3)]
)
def test_ids_are_cut_into_as_few_messages_as_hold_them(count: int, messages: int) -> None:
    texts = packed(numbered(count))
    assert len(texts) == messages
    assert [made for text in texts for made in unpack_index_message(parse(text)).ids] == numbered(
        count
    )


def test_ten_full_messages_fit_one_batch_call() -> None:
    (text,) = packed(numbered(MAX_IDS), ["0" * 55] * 100)
    assert 10 * len(text) < 1_000 * 1024


def test_traceparents_are_told_once_and_only_a_few() -> None:
    parents = ["", *(f"00-{number:032x}-{number:016x}-01" for number in range(40))]
    (text,) = packed(numbered(1), [*parents, *parents])
    assert unpack_index_message(parse(text)).traceparents == parents[1:17]


MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "more ids than any release sends": body([UID, bytes(16 * (MAX_IDS + 1)), []]),
    "an id that is cut off": body([UID, b"i" * 17, []]),
    "ids as text": body([UID, "i" * 16, []]),
    "no traceparents": body([UID, b"i" * 16]),
    "a uid that is no text": body([1, b"i" * 16, []]),
    "a map": body({"uid": UID}),
    "the frame of version 1": body([1, [UID, b"", []]]),
    "arrays nested without end": b"\x91" * 100_000,
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED)
def test_an_index_message_is_malformed_with(content: bytes) -> None:
    with pytest.raises(MalformedError):
        unpack_index_message(authenticated(content))


@given(st.binary(max_size=100))
def test_random_bytes_raise_nothing_else(data: bytes) -> None:
    with contextlib.suppress(MalformedError):
        unpack_index_message(authenticated(data))
