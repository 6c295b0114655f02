"""Each form is what its readers expect, however its events come in stretches."""

import csv
import hashlib
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocelot_api.export.bound import Bound
from ocelot_api.export.formats import End, Format, Writer, writer_of
from ocelot_api.problems import unavailable

EVENT = st.fixed_dictionaries({"id": st.uuids().map(str), "message": st.text(max_size=20)})
STRETCHES = st.lists(st.lists(EVENT, max_size=3), max_size=4)
BOUND = Bound(7 << 32 | 5, 6 << 32)
FAILED = unavailable("store_unavailable", "away")


def answers_of(stretch: list[dict[str, str]]) -> list[bytes]:
    return [json.dumps(event).encode() for event in stretch]


def written(writer: Writer, stretches: list[list[dict[str, str]]], end: End) -> bytes:
    content = writer.begin()
    for stretch in stretches:
        content += writer.write(answers_of(stretch)) if stretch else writer.pause()
    trailer = writer.end(end)
    assert trailer is not None
    return content + trailer


@given(STRETCHES)
def test_lines_end_with_their_number_and_hash(stretches: list[list[dict[str, str]]]):
    events = [event for stretch in stretches for event in stretch]
    end = End(len(events), 0, "cursor", None, BOUND)
    *lines, last = written(writer_of(Format.NDJSON, ()), stretches, end).splitlines(keepends=True)
    assert [json.loads(line) for line in lines] == events
    assert json.loads(last)["export"] == {
        "complete": True,
        "events": len(events),
        "unreadable": 0,
        "sha256": hashlib.sha256(b"".join(lines)).hexdigest(),
        "next_cursor": "cursor",
        "stored_until": str(7 << 32 | 5),
        "complete_until": "1970-01-01T00:00:06.000Z",
    }


def test_lines_say_why_they_are_not_all():
    trailer = writer_of(Format.NDJSON, ()).end(End(0, 0, None, FAILED, BOUND))
    assert trailer is not None
    told = json.loads(trailer)["export"]
    assert (told["complete"], told["code"], told["detail"]) == (False, "store_unavailable", "away")


@given(STRETCHES)
def test_json_is_an_array(stretches: list[list[dict[str, str]]]):
    events = [event for stretch in stretches for event in stretch]
    end = End(len(events), 0, None, None, BOUND)
    assert json.loads(written(writer_of(Format.JSON, ()), stretches, end)) == events


@given(STRETCHES)
def test_csv_is_a_table(stretches: list[list[dict[str, str]]]):
    events = [event for stretch in stretches for event in stretch]
    end = End(len(events), 0, None, None, BOUND)
    content = written(writer_of(Format.CSV, ("id", "none")), stretches, end).decode()
    header, *rows = csv.reader(io.StringIO(content, newline=""))
    assert header == ["id", "none"]
    assert rows == [[event["id"], ""] for event in events]


@pytest.mark.parametrize("form", [Format.JSON, Format.CSV])
def test_forms_that_can_not_say_so_have_no_end_where_events_are_missing(form: Format):
    assert writer_of(form, ("id",)).end(End(0, 0, None, FAILED, BOUND)) is None
