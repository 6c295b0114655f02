"""Parts of events."""

import json
from typing import Any

import pytest

from ocelot_api.search.fields import pick

EVENT: dict[str, Any] = {
    "id": "x",
    "action": "a",
    "actor": {"id": "u", "name": None},
    "targets": [{"id": "t1", "type": "d"}, {"type": "d"}, {"id": "t2"}],
    "tags": ["a", "b"],
    "metadata": {"a": {"b": 1, "c": 2}, "a.b": 3, "": {"": 4}, "n": 10**300},
}


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["action"], {"action": "a"}),
        (["id"], {}),
        (["actor.id"], {"actor": {"id": "u"}}),
        (["actor.name", "actor.id"], {"actor": {"id": "u", "name": None}}),
        (["actor", "actor.id"], {"actor": {"id": "u", "name": None}}),
        (["actor.email", "message"], {}),
        (["targets.id"], {"targets": [{"id": "t1"}, {"id": "t2"}]}),
        (["tags"], {"tags": ["a", "b"]}),
        (["tags.x"], {}),
        (["action.x"], {}),
        (["metadata.a.b"], {"metadata": {"a": {"b": 1}, "a.b": 3}}),
        (["metadata.n"], {"metadata": {"n": 10**300}}),
    ],
    ids=str,
)
def test_what_is_picked(paths: list[str], expected: Any) -> None:
    assert json.loads(pick(json.dumps(EVENT).encode(), paths)) == {"id": "x"} | expected


def test_values_stay_byte_for_byte() -> None:
    raw = b'{"id":"x","metadata":{"f":1e300,"z":-0.0,"s":"\\u0041"},"action":"b"}'
    assert pick(raw, ["metadata"]) == b'{"id":"x","metadata":{"f":1e300,"z":-0.0,"s":"\\u0041"}}'
