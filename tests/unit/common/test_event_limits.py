import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocelot_common.event_limits import EventError, EventLimits, check_contents, nesting_exceeds


def depth_of(text: bytes) -> int:
    """The nesting of JSON text, read character by character."""
    depth = deepest = 0
    in_string = escaped = False
    for code in text:
        character = chr(code)
        if in_string:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                in_string = False
        elif character == '"':
            in_string = True
        elif character in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "}]":
            depth -= 1
    return deepest


awkward = st.text(st.sampled_from('[]{}"\\,:a\u00e9\n'), max_size=8)
json_values = st.recursive(
    st.integers() | awkward,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(awkward, inner, max_size=3),
    max_leaves=30,
)


@given(json_values)
def test_nesting_is_measured_as_a_character_by_character_reading_does(value: object) -> None:
    text = json.dumps(value).encode()
    depth = depth_of(text)
    assert not nesting_exceeds(text, depth)
    for shallower in range(depth):
        assert nesting_exceeds(text, shallower)


@given(st.text(st.sampled_from('[]{}"\\a'), max_size=40).map(str.encode), st.integers(0, 5))
def test_text_that_is_no_json_is_measured_alike(text: bytes, limit: int) -> None:
    assert nesting_exceeds(text, limit) is (depth_of(text) > limit)


LONG: dict[str, bytes] = {
    "brackets side by side": b"[]" * 32_768,
    "quotes": b'"' * 65_536 + b"[" * 33,
    "one string of escaped quotes": b'"' + b'\\"' * 32_767 + b'"' + b"{}" * 40,
    "one string that never ends": b"[" * 20 + b'"' + b"\\\\[" * 20_000,
    "backslashes outside of strings": b"\\" * 65_536 + b"[" * 33,
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_64_kib_of_this_are_measured_in_linear_time(text: bytes) -> None:
    began = time.thread_time()
    measured = nesting_exceeds(text, 32)
    took = time.thread_time() - began
    print(f"{took:.3f} s of CPU time")  # noqa: T201 - in the report of `-rP`
    assert took < 1
    assert measured is (depth_of(text) > 32)


def test_contents_are_walked_as_soon_as_a_bound_could_be_broken() -> None:
    """The shortest text that can break a bound has one byte more than it."""
    limits = EventLimits(max_keys=5, max_key_bytes=8, max_integer_digits=20)
    with pytest.raises(EventError, match="key"):
        check_contents(b'{"123456789":1}', {"metadata": {"123456789": 1}}, limits)
    limits = EventLimits(max_keys=5, max_key_bytes=80, max_integer_digits=4)
    with pytest.raises(EventError, match="digits"):
        check_contents(b"12345", {"metadata": 12_345}, limits)


def test_an_error_tells_path_and_detail() -> None:
    error = EventError("too_deep", "metadata.a", "nests too deep")
    assert str(error) == "metadata.a: nests too deep"
    assert str(EventError("too_deep", "", "nests too deep")) == "event: nests too deep"
