import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocelot_common.versioned import (
    MalformedError,
    NewerVersionError,
    frame,
    from_text,
    to_text,
    unframe,
)

BODY = msgspec.msgpack.encode({"a": [1, b"\xff"]})


@given(st.binary())
def test_bytes_survive_their_text_which_is_ascii_without_line_breaks(data: bytes) -> None:
    text = to_text(data)
    assert text.isascii()
    assert "\n" not in text
    assert from_text(text) == data


@given(st.integers(1, 2**64 - 1))
def test_a_body_survives_its_frame(version: int) -> None:
    assert bytes(unframe(frame(version, BODY), newest=version)) == BODY


def test_an_older_version_is_read_and_a_newer_one_waits() -> None:
    assert bytes(unframe(frame(1, BODY), newest=2)) == BODY
    with pytest.raises(NewerVersionError, match="version 3"):
        unframe(frame(3, BODY), newest=2)


def test_a_newer_version_may_have_any_body() -> None:
    with pytest.raises(NewerVersionError):
        unframe(frame(2, msgspec.msgpack.encode(None)), newest=1)


MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "no array": msgspec.msgpack.encode(1),
    "no body": msgspec.msgpack.encode([1]),
    "something behind the body": msgspec.msgpack.encode([1, 2, 3]),
    "something behind the frame": frame(1, BODY) + b"\0",
    "a frame that is cut off": frame(1, BODY)[:-1],
    "version 0": frame(0, BODY),
    "a negative version": frame(-1, BODY),
    "a version that is text": msgspec.msgpack.encode(["1", 1]),
    "a version that is true": msgspec.msgpack.encode([True, 1]),
    "a body nested without end": b"\x92\x01" + b"\x91" * 50_000,
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_a_frame_is_malformed_with(data: bytes) -> None:
    with pytest.raises(MalformedError):
        unframe(data, newest=1)


@pytest.mark.parametrize(
    "text", ["a", "YWJj*", "YWJj\n", " YWJj", "YQ", "é", "\ud800", "YW-_"], ids=ascii
)
def test_text_that_is_no_base64_is_malformed(text: str) -> None:
    with pytest.raises(MalformedError):
        from_text(text)


@given(st.text(max_size=60))
def test_any_text_is_base64_or_malformed(text: str) -> None:
    try:
        data = from_text(text)
    except MalformedError:
        return
    assert len(data) <= len(text)
