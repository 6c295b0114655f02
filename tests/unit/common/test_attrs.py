import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocelot_common.attrs import (
    MAX_ENTRIES,
    MAX_PATH_BYTES,
    MAX_TOTAL_BYTES,
    MAX_VALUE_BYTES,
    Attrs,
    attr_value,
    attrs_of,
    cut_value,
)


def naive_attrs(metadata: Any, before: Any, after: Any) -> Attrs:
    """The rules of design §10, written plainly."""
    found: list[tuple[str, Any]] = []

    def walk(path: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(f"{path}.{key}", item)
        elif isinstance(value, list):
            for item in value:
                walk(path, item)
        else:
            found.append((path, value))

    parts = {"metadata": metadata, "changes.before": before, "changes.after": after}
    for path, value in parts.items():
        if value is not None:
            walk(path, value)
    entries: list[str] = []
    total, cut = 0, False
    for path, value in found:
        if len(path.encode()) > 256:
            cut = True
            continue
        text = value if isinstance(value, str) else json.dumps(value)
        kept = text.encode()[:512].decode(errors="ignore")
        cut = cut or kept != text
        entry = f"{path}={kept}"
        if entry in entries:
            continue
        total += len(entry.encode())
        if len(entries) == 1_000 or total > 65_536:
            return Attrs(entries, True)
        entries.append(entry)
    return Attrs(entries, cut)


EVENTS: dict[str, tuple[Any, list[str]]] = {
    "a key and a value": ({"plan": "pro"}, ["metadata.plan=pro"]),
    "a dotted key and a nested one are one path": (
        {"a.b": 1, "a": {"b": 1}}, ["metadata.a.b=1"]),
    "items of an array carry its path": ({"a": [1, [2, {"b": 3}]]}, [
        "metadata.a=1", "metadata.a=2", "metadata.a.b=3"]),
    "equal entries stand once": ({"a": ["x", "x", "y", "x"]}, ["metadata.a=x", "metadata.a=y"]),
    "scalars stand as in JSON, text without quotes": (
        {"a": [True, False, None, 1.0, 1, -0.5, "true", 10**25, 1e100]},
        ["metadata.a=true", "metadata.a=false", "metadata.a=null", "metadata.a=1.0",
         "metadata.a=1", "metadata.a=-0.5", f"metadata.a={10**25}", "metadata.a=1e100"]),
    "signs are not escaped": ({"a=b": "c=d", "": ".", 'q"': 'q"'}, [
        "metadata.a=b=c=d", "metadata.=.", 'metadata.q"=q"']),
    "empty text is a value": ({"a": ""}, ["metadata.a="]),
    "empty containers give nothing": ({"a": {}, "b": [], "c": [[], {}]}, []),
    "no metadata": ({}, []),
}  # fmt: skip


@pytest.mark.parametrize(("metadata", "entries"), EVENTS.values(), ids=EVENTS)
def test_attrs(metadata: Any, entries: list[str]) -> None:
    assert attrs_of(metadata, None, None) == Attrs(entries, False)


def test_changes_follow_metadata_and_may_be_of_any_kind() -> None:
    assert attrs_of({"a": 1}, "x", [1, {"b": 2}]).entries == [
        "metadata.a=1", "changes.before=x", "changes.after=1", "changes.after.b=2",
    ]  # fmt: skip
    assert attrs_of(None, None, False).entries == ["changes.after=false"]


keys = st.text(max_size=6) | st.sampled_from(
    ["k" * 31, "k" * 32, "k" * 247, "k" * 248, "ä" * 60, "🦊" * 61, "🦊" * 62]
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.text(max_size=6)
    | st.sampled_from(["v" * 128, "v" * 512, "v" * 513, "ä" * 257, "🦊" * 129, "v" + "€" * 171])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=25,
)


@given(values, values, values)
def test_attrs_are_what_the_plain_rules_give(metadata: Any, before: Any, after: Any) -> None:
    assert attrs_of(metadata, before, after) == naive_attrs(metadata, before, after)


@given(st.integers(0, 8), st.lists(st.sampled_from(["", "x", "é", "🦊", "y" * 9]), max_size=5))
def test_attrs_around_the_longest_path_are_what_the_plain_rules_give(
    missing: int, deeper: list[str]
) -> None:
    key = "k" * (MAX_PATH_BYTES - len("metadata.") - missing)
    value: Any = {"a": [1, {}], "": "v", "é": {}}
    for step in deeper:
        value = {step: value}
    assert attrs_of({key: value}, None, None) == naive_attrs({key: value}, None, None)


def test_the_longest_path_is_kept_and_a_longer_one_left_out() -> None:
    exact = "k" * (MAX_PATH_BYTES - len("metadata."))
    assert attrs_of({exact: 1}, None, None) == Attrs([f"metadata.{exact}=1"], False)
    assert attrs_of({f"{exact}k": 1, "a": 2}, None, None) == Attrs(["metadata.a=2"], True)
    for value in (1, "text", [1], {"": 1}):
        umlauts = "ä" * (MAX_PATH_BYTES // 2)
        assert attrs_of({umlauts: value}, None, None) == Attrs([], True)


def test_a_container_under_too_long_a_path_cuts_nothing_if_it_is_empty() -> None:
    long = "k" * MAX_PATH_BYTES
    assert attrs_of({long: {"a": {}, "b": [[]]}}, None, None) == Attrs([], False)
    assert attrs_of({long: {"a": {}, "b": [[0]]}}, None, None) == Attrs([], True)


@pytest.mark.parametrize("letter", ["v", "ä", "€", "🦊"])
def test_a_value_is_cut_on_a_characters_border(letter: str) -> None:
    size = len(letter.encode())
    exact = letter * (MAX_VALUE_BYTES // size)
    assert attrs_of({"k": exact}, None, None) == Attrs([f"metadata.k={exact}"], False)
    assert attrs_of({"k": exact + letter}, None, None) == Attrs([f"metadata.k={exact}"], True)
    assert cut_value("x" + exact) == "x" + letter * ((MAX_VALUE_BYTES - 1) // size)


def test_a_long_number_is_cut_too() -> None:
    assert attrs_of({"k": 10**600}, None, None) == Attrs([f"metadata.k=1{'0' * 511}"], True)


def test_at_most_1000_entries_are_kept() -> None:
    exact = list(range(MAX_ENTRIES))
    assert attrs_of({"k": exact}, None, None) == Attrs(
        [f"metadata.k={number}" for number in exact], False
    )
    # Repetitions are no entries.
    assert attrs_of({"k": exact + exact}, None, None).cut is False
    more = attrs_of({"k": [*exact, -1], "l": 1}, 2, 3)
    assert (len(more.entries), more.cut) == (MAX_ENTRIES, True)


@pytest.mark.parametrize("letter", ["v", "ä"])
@pytest.mark.parametrize("container", [list, dict])
def test_at_most_64_kib_are_kept(letter: str, container: type) -> None:
    texts = [f"{number:03d}{letter * (120)}" for number in range(999)]
    value = texts if container is list else {text[:3]: text for text in texts}
    kept = attrs_of({"k": value}, None, None)
    assert kept == naive_attrs({"k": value}, None, None)
    assert kept.cut
    total = sum(len(entry.encode()) for entry in kept.entries)
    assert MAX_TOTAL_BYTES - 600 < total <= MAX_TOTAL_BYTES


@pytest.mark.parametrize("size", [128, 512], ids=["short values", "long values"])
def test_exactly_64_kib_are_kept_and_a_byte_more_is_not(size: int) -> None:
    value = "v" * (size - len("metadata.000="))
    texts = {f"{number:03d}": value for number in range(MAX_TOTAL_BYTES // size)}
    kept = attrs_of(texts, None, None)
    assert (len(kept.entries), kept.cut) == (len(texts), False)
    more = attrs_of({**texts, "000": f"{value}v"}, None, None)
    assert (more.entries[1:], more.cut) == (kept.entries[1:-1], True)


def nested(key: str, depth: int, value: Any) -> Any:
    for _ in range(depth):
        value = {key: value}
    return value


LARGE: dict[str, Any] = {
    "1,900 leaves under 29 keys of 1,000 bytes": nested(
        "k" * 1_000, 29, {str(number): number for number in range(1_900)}),
    "25,000 items under 20 keys of 500 bytes": nested("k" * 500, 20, list(range(9_999))),
    "25,000 items under a path just short enough": {"k" * 246: list(range(10_000))},
    "objects under a path just too long": {
        "k" * 248: [{"a": number} for number in range(1_900)]},
}  # fmt: skip


@pytest.mark.parametrize("metadata", LARGE.values(), ids=LARGE)
def test_an_event_that_would_make_megabytes_of_attrs_stays_bounded_and_quick(
    metadata: Any,
) -> None:
    assert len(json.dumps(metadata, separators=(",", ":"))) <= 65_536
    began = time.thread_time()
    kept = attrs_of(metadata, None, None)
    took = time.thread_time() - began
    print(f"{took:.3f} s of CPU time")  # noqa: T201 - in the report of `-rP`
    assert took < 1.2
    assert kept.cut
    assert len(kept.entries) <= MAX_ENTRIES
    assert sum(len(entry.encode()) for entry in kept.entries) <= MAX_TOTAL_BYTES


@given(scalars)
def test_a_scalar_stands_as_in_json_without_quotes(value: object) -> None:
    assert attr_value(value) == (value if isinstance(value, str) else json.dumps(value))


@pytest.mark.parametrize(
    "value",
    [10**18, -(10**18), 10**18 - 1, 2**63, 2**64, -(2**63), 10**1_000 - 1],
    ids=lambda n: len(str(n)),
)
def test_a_large_integer_stands_with_all_its_digits(value: int) -> None:
    assert attr_value(value) == str(value)
