"""Lists fit the terminal, with ids and times whole."""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module

import pytest

from ocelot_cli import listing
from ocelot_cli.console import GuardedConsole
from ocelot_cli.listing import Column, print_list, time_text

TIME = time_text(datetime(2026, 11, 30, 12, 39, 17, tzinfo=UTC))
ID = "01a20fec-b3b5-72f4-9ef5-80ce43e0fde8"
LONG = "x" * 40
#: Rows as long as real ones get, by the module of the command and the name of its columns.
ROWS: dict[tuple[str, str], Sequence[str]] = {
    ("tenants", "_COLUMNS"): (LONG, "Suspended", "2026-11-30", "0" * 16, "dedicated", LONG),
    ("jobs", "_COLUMNS"): (
        ID, TIME, "dead-letter-collector", "queued, recurs", LONG, "copying, 12,000 of 200,000",
        "an error " * 6,
    ),
    ("dead_letters", "_COLUMNS"): (
        "0123456789ab", TIME, "index", "unauthenticated", LONG, "12", ID,
    ),
    ("dead_letters", "_COUNTED"): (LONG, f"writer@{LONG}", "2026-11-30T12:00Z", "1,000,000"),
    ("queue_keys", "_COLUMNS"): ("q1a2b3c4d5e6", TIME, "Active", TIME, "0" * 12),
    ("holds", "_COLUMNS"): (ID, TIME, LONG, "a reason of many words " * 4, "an owner"),
}  # fmt: skip

EACH_LIST = pytest.mark.parametrize(("place", "row"), ROWS.items(), ids=map(" ".join, ROWS))


def columns_at(module: str, name: str) -> Sequence[Column]:
    columns: Sequence[Column] = getattr(import_module(f"ocelot_cli.commands.{module}"), name)
    return columns


def printed(
    columns: Sequence[Column],
    row: Sequence[str],
    width: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> list[str]:
    monkeypatch.setattr(listing, "out", GuardedConsole(width=width))
    print_list(columns, [row, row])
    return capsys.readouterr().out.splitlines()


@EACH_LIST
def test_a_list_fits_80_columns_and_cuts_no_id_and_no_time(
    place: tuple[str, str],
    row: Sequence[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    columns = columns_at(*place)

    heading, *lines = printed(columns, row, 80, monkeypatch, capsys)

    assert len(lines) == 2
    assert max(map(len, (heading, *lines))) <= 80
    whole = [text for column, text in zip(columns, row, strict=True) if column.whole]
    required = [
        text
        for column, text in zip(columns, row, strict=True)
        if column.whole and not column.optional
    ]
    assert all(text in lines[0] for text in required)
    # An optional id is there as a whole or not at all.
    assert all(text in lines[0] or text[:8] not in lines[0].replace(row[0], "") for text in whole)


@EACH_LIST
def test_a_wide_terminal_shows_every_column_whole(
    place: tuple[str, str],
    row: Sequence[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    columns = columns_at(*place)

    heading, line, _ = printed(columns, row, 300, monkeypatch, capsys)

    assert all(column.name in heading for column in columns)
    assert all(text.strip() in line for text in row)


def test_a_time_that_is_missing_is_a_hyphen():
    assert time_text(None) == "-"
    assert TIME == "2026-11-30T12:39:17Z"
