"""An event as a row: every value where its path says, and none that a spreadsheet would run."""

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocelot_common.csv_rows import DEFAULT_COLUMNS, csv_of, row_of


def cell(event: Any, path: str) -> str:
    content = event if isinstance(event, bytes) else json.dumps(event).encode()
    (found,) = row_of(content, [path])
    return found


@pytest.mark.parametrize(
    ("event", "path", "text"),
    [
        ({"action": "a"}, "action", "a"),
        ({"action": "a"}, "message", ""),
        ({"message": None}, "message", ""),
        ({"message": ""}, "message", ""),
        ({"actor": {"id": "u"}}, "actor.id", "u"),
        ({"actor": {"id": "u"}}, "actor.name", ""),
        ({"actor": {"id": "u"}}, "actor", '{"id": "u"}'),
        ({"actor": {"id": "u"}}, "actor.id.deeper", ""),
        ({"tags": ["a", "b"]}, "tags", '["a", "b"]'),
        ({"targets": [{"id": "1"}, {"id": "2"}, {}]}, "targets.id", '["1","2"]'),
        ({"targets": [{}]}, "targets.id", ""),
        ({"targets": []}, "targets.id", ""),
        # A dotted key and a nested one are one path; the shorter key first.
        ({"metadata": {"a": {"b": 1}}}, "metadata.a.b", "1"),
        ({"metadata": {"a.b": 1}}, "metadata.a.b", "1"),
        ({"metadata": {"a": {"b": 1}, "a.b": 2}}, "metadata.a.b", "1"),
        ({"metadata": {"a": {"c": 1}, "a.b": 2}}, "metadata.a.b", "2"),
        ({"metadata": {"a": 1, "a.b": {"c.d": 2}}}, "metadata.a.b.c.d", "2"),
        ({"metadata": {"a": [{"b": 1}, {"b": [2, {}]}]}}, "metadata.a.b", "[1,[2, {}]]"),
        ({"metadata": {"a": [[{"b": 1}], [{"b": 2}]]}}, "metadata.a.b", "[[1],[2]]"),
        # Numbers as they were written.
        (b'{"metadata":{"n":1.0}}', "metadata.n", "1.0"),
        (b'{"metadata":{"n":1e2}}', "metadata.n", "1e2"),
        (b'{"metadata":{"n":%d}}' % 10**400, "metadata.n", str(10**400)),
        ({"metadata": {"n": True, "m": None}}, "metadata.n", "true"),
        ({"metadata": {"n": True, "m": None}}, "metadata.m", ""),
        # A number runs nothing, a text may.
        ({"metadata": {"n": -1}}, "metadata.n", "-1"),
        ({"metadata": {"n": "-1"}}, "metadata.n", "'-1"),
        ({"message": "=1+1"}, "message", "'=1+1"),
        ({"message": "+1"}, "message", "'+1"),
        ({"message": "@SUM(A1)"}, "message", "'@SUM(A1)"),
        ({"message": "\t=1"}, "message", "'\t=1"),
        ({"message": "\r=1"}, "message", "'\r=1"),
        ({"message": "\n=1"}, "message", "'\n=1"),
        ({"message": "\uff1d1"}, "message", "'\uff1d1"),
        ({"message": "a=1"}, "message", "a=1"),
        ({"message": "'=1"}, "message", "'=1"),
        ({"message": "\u00e9\U0001f600"}, "message", "\u00e9\U0001f600"),
    ],
)  # fmt: skip
def test_a_cell_is_what_stands_at_its_path(event: Any, path: str, text: str):
    assert cell(event, path) == text


@given(st.text())
def test_no_text_begins_as_a_formula(text: str):
    found = cell({"message": text}, "message")
    assert not found.startswith(tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"))
    assert found in (text, f"'{text}")


@given(st.lists(st.lists(st.text(), min_size=1, max_size=3), max_size=4))
def test_a_table_is_read_as_it_was_written(rows: list[list[str]]):
    content = csv_of(rows).decode()
    assert list(csv.reader(io.StringIO(content, newline=""))) == rows


def test_lines_end_as_rfc_4180_says():
    assert csv_of([["a", 'b"c', "d\ne"], ["", "f,g", ""]]) == b'a,"b""c","d\ne"\r\n,"f,g",\r\n'


def test_the_usual_columns_are_each_a_cell():
    event = {"id": "1", "actor": {"id": "u"}, "metadata": {"plan": "pro"}}
    row = dict(
        zip(DEFAULT_COLUMNS, row_of(json.dumps(event).encode(), DEFAULT_COLUMNS), strict=True)
    )
    assert {name: text for name, text in row.items() if text} == {
        "id": "1",
        "actor.id": "u",
        "metadata": '{"plan": "pro"}',
    }
