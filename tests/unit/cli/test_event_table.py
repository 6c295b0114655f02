"""Events as a table."""

from typing import Any

import pytest
from rich.console import Console

from ocelot_cli.event_table import event_table

EVENT: dict[str, Any] = {
    "received_at": "2026-11-24T12:00:00.000Z",
    "occurred_at": "2026-11-24T10:30:00.25+02:00",
    "action": "note.write",
    "actor": {"id": "u-1", "name": "jane"},
    "targets": [{"id": "n-1", "name": "first"}, {"id": "n-2"}, {"name": "third"}],
    "message": "two\n  lines",
    "metadata": {
        "n": 1.5,
        "none": None,
        "a.b": {"c": "dotted"},
        "list": [["x", "y"], "z"],
        "object": {"k": [1, True]},
    },
}


def lines(*fields: str, width: int = 200, **changed: Any) -> list[str]:
    console = Console(width=width, soft_wrap=True)
    with console.capture() as capture:
        console.print(event_table([EVENT | changed], fields))
    return [line.strip() for line in capture.get().splitlines()]


def test_without_fields_it_says_who_did_what_to_whom():
    header, row = lines()

    assert header.split() == ["time", "action", "actor", "target", "outcome", "message"]
    assert row.split() == [
        "2026-11-24T08:30:00.250Z",
        "note.write",
        "jane",
        "first",
        "two",
        "lines",
    ]


@pytest.mark.parametrize(
    ("path", "cell"),
    [
        ("actor.id", "u-1"),
        ("occurred_at", "2026-11-24T08:30:00.250Z"),
        ("received_at", "2026-11-24T12:00:00.000Z"),
        ("targets.name", "first, third"),
        ("message", "two lines"),
        ("metadata.n", "1.5"),
        ("metadata.none", "null"),
        ("metadata.a.b.c", "dotted"),
        ("metadata.list", "x, y, z"),
        ("metadata.object", '{"k":[1,true]}'),
        ("metadata.absent", ""),
        ("actor.id.more", ""),
    ],
)
def test_a_field_is_a_column(path: str, cell: str):
    header, row = lines(path)

    assert (header, row) == (path, cell)


def test_fields_keep_their_order():
    assert [line.split() for line in lines("actor.name", "action")] == [
        ["actor.name", "action"],
        ["jane", "note.write"],
    ]


def test_where_there_is_too_little_room_the_widest_cell_is_cut():
    header, row = lines("occurred_at", "action", "message", width=90, message="word " * 100)

    assert header.split() == ["occurred_at", "action", "message"]
    assert row.startswith("2026-11-24T08:30:00.250Z  note.write  word word ")
    assert row.endswith("…")
    assert len(row) <= 90


def test_control_characters_are_escaped_and_brackets_are_no_markup():
    assert lines("message", message="[b]\x1b[31m")[1] == r"[b]\u001b[31m"


@pytest.mark.parametrize("fields", [(), ("message", "occurred_at", "action", "received_at")])
def test_a_time_is_never_cut_and_a_table_fits_80_columns(fields: tuple[str, ...]):
    long = {"message": "word " * 100, "action": "a" * 200, "outcome": "unknown"}
    actor = {"id": "u" * 300}
    header, row = lines(*fields, width=80, actor=actor, **long)

    assert "2026-11-24T08:30:00.250Z" in row
    assert ("2026-11-24T12:00:00.000Z" in row) == bool(fields)
    assert max(map(len, (header, row))) <= 80
