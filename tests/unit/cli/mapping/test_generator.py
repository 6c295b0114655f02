"""tests/data/generate.py: deterministic, valid, and of every kind that it promises."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from ocelot_common.event import accept_event
from ocelot_common.event_limits import EventError, EventLimits

REPOSITORY = Path(__file__).parents[4]
NOW_MS = 1_900_000_000_000


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", REPOSITORY / "tests/data/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _load()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    first = list(generate.generate(300, 7))
    assert first == list(generate.generate(300, 7))
    assert first != list(generate.generate(300, 8))
    assert list(generate.mixed(300, 7)) == list(generate.mixed(300, 7))


@pytest.mark.parametrize("kind", list(generate.KINDS))
def test_every_event_is_one_line_that_ocelot_accepts(kind: str) -> None:
    for line in generate.generate(40, 3, [kind]):
        assert b"\n" not in line
        accept_event(line, now_ms=NOW_MS, limits=EventLimits())


def test_it_gives_exactly_as_many_lines_as_asked_for() -> None:
    assert [len(list(generate.generate(n, 1))) for n in (0, 1, 37)] == [0, 1, 37]
    assert len(list(generate.mixed(1234, 1))) == 1234


def test_the_deepest_events_are_at_the_limit_and_not_below_it() -> None:
    line = next(generate.generate(1, 1, ["deep"]))
    accept_event(line, now_ms=NOW_MS, limits=EventLimits(max_depth=32))
    with pytest.raises(EventError, match="31 levels"):
        accept_event(line, now_ms=NOW_MS, limits=EventLimits(max_depth=31))


def test_the_events_hold_what_they_are_there_for() -> None:
    lines = list(generate.generate(1000, 5))
    whole = b"\n".join(lines).decode()
    assert max(len(number) for number in _integers(lines)) == 1001  # a sign and 1,000 digits
    assert any(len(text.encode()) > 32_766 for text in _texts(lines))
    assert max(len(json.loads(line).get("metadata") or {}) for line in lines) == 2000
    strange = ('"":', '"a.b":', '"$set":', ":1.0,", ":1E2,", "\\u0000", "👩\u200d👩", "e\u0301")
    for part in strange:
        assert part in whole, part
    assert any(line.count(b'"message":') == 2 for line in lines), "keys given twice"
    assert len(set(lines)) < len(lines), "equal lines"


def test_mixed_events_are_mostly_ordinary_ones_of_some_580_bytes() -> None:
    lines = list(generate.mixed(5000, 2))
    sizes = sorted(len(line) for line in lines)
    assert 480 <= sizes[len(sizes) // 2] <= 680
    actions = {json.loads(line)["action"] for line in lines}
    assert {"user.login", "role.change", "report.export", "nesting.deep", "keys.many"} <= actions


def _integers(lines: list[bytes]) -> list[str]:
    found: list[str] = []

    def note(text: str) -> int:
        found.append(text)
        return 0

    for line in lines:
        json.loads(line, parse_int=note)
    return found


def _texts(lines: list[bytes]) -> list[str]:
    return [
        value
        for line in lines
        for value in (json.loads(line).get("metadata") or {}).values()
        if isinstance(value, str)
    ]
