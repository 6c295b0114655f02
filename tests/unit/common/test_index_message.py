import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocelot_common.index_message import (
    MAX_IDS,
    VERSION,
    IndexMessage,
    pack_index_messages,
    unpack_index_message,
)
from ocelot_common.versioned import MalformedError, NewerVersionError, frame, to_text

UID = "0123456789abcdef"
ids = st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=20)


def numbered(count: int) -> list[bytes]:
    return [number.to_bytes(16) for number in range(count)]


def body(value: object, version: int = VERSION) -> str:
    return to_text(frame(version, msgspec.msgpack.encode(value)))


@given(ids)
def test_ids_survive_the_queue_in_order(sent: list[bytes]) -> None:
    (text,) = pack_index_messages(UID, sent)
    assert unpack_index_message(text) == IndexMessage(UID, sent, [])


@pytest.mark.parametrize(
    ("count", "messages"), [(0, 0), (1, 1), (MAX_IDS, 1), (MAX_IDS + 1, 2), (3 * MAX_IDS, 3)]
)
def test_ids_are_cut_into_as_few_messages_as_hold_them(count: int, messages: int) -> None:
    texts = list(pack_index_messages(UID, numbered(count)))
    assert len(texts) == messages
    assert [made for text in texts for made in unpack_index_message(text).ids] == numbered(count)


def test_ten_full_messages_fit_one_batch_call() -> None:
    (text,) = pack_index_messages(UID, numbered(MAX_IDS), ["0" * 55] * 100)
    assert 10 * len(text) < 1_000 * 1024


def test_traceparents_are_told_once_and_only_a_few() -> None:
    parents = ["", *(f"00-{number:032x}-{number:016x}-01" for number in range(40))]
    (text,) = pack_index_messages(UID, numbered(1), [*parents, *parents])
    assert unpack_index_message(text).traceparents == parents[1:17]


MALFORMED: dict[str, str] = {
    "nothing": "",
    "text that is no base64": "?",
    "an id that is cut off": body([UID, b"i" * 17, []]),
    "ids as text": body([UID, "i" * 16, []]),
    "no traceparents": body([UID, b"i" * 16]),
    "a uid that is no text": body([1, b"i" * 16, []]),
    "a map": body({"uid": UID}),
    "version 0": body([UID, b"", []], version=0),
    "arrays nested without end": to_text(frame(VERSION, b"\x91" * 100_000)),
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_an_index_message_is_malformed_with(text: str) -> None:
    with pytest.raises(MalformedError):
        unpack_index_message(text)


def test_an_index_message_of_a_newer_version_waits() -> None:
    with pytest.raises(NewerVersionError):
        unpack_index_message(body({"anything": 1}, version=VERSION + 1))


@given(st.binary(max_size=100))
def test_random_bytes_raise_nothing_else(data: bytes) -> None:
    for text in (to_text(data), to_text(frame(VERSION, data or b"\xc0"))):
        with contextlib.suppress(MalformedError, NewerVersionError):
            unpack_index_message(text)
