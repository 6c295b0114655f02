"""Every line that was read is in the account once."""

import json
from pathlib import Path
from typing import Any

import pytest

from ocelot_cli.transfer.account import MAX_LISTED, Account


def test_a_line_is_open_until_its_end_is_known(line: Any):
    account = Account(None)
    account.read = 10
    account.blank = 1
    account.accepted = 4
    account.reject_line(line(b"x"), "why")
    account.reject_event(line(b"y"), "why not")

    assert (account.unusable, account.refused, account.rejected, account.open) == (1, 1, 2, 3)


def test_rejects_are_kept_with_file_number_reason_and_content(line: Any, tmp_path: Path):
    path = tmp_path / "rejects.ndjson"

    with Account(path) as account:
        account.reject_line(line(b"caf\xe9", number=7, file="b.ndjson"), "not valid UTF-8")
        account.reject_event(line(b"{}", number=9), "missing_field: x")

    assert [json.loads(entry) for entry in path.read_bytes().splitlines()] == [
        {"file": "b.ndjson", "line": 7, "reason": "not valid UTF-8", "raw": "caf\\xe9"},
        {"file": "a.ndjson", "line": 9, "reason": "missing_field: x", "raw": "{}"},
    ]


def test_the_terminal_lists_some_and_the_file_all(
    line: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "rejects.ndjson"

    with Account(path) as account:
        for number in range(MAX_LISTED + 20):
            account.reject_line(line(b"x", number=number), "a reason")

    shown = capsys.readouterr().err
    assert shown.count("a reason") == MAX_LISTED
    assert shown.count("lines are counted and not listed") == 1
    assert str(path) in shown
    assert len(path.read_bytes().splitlines()) == MAX_LISTED + 20


def test_without_a_file_the_option_for_one_is_named(line: Any, capsys: pytest.CaptureFixture[str]):
    account = Account(None)
    for _ in range(MAX_LISTED + 1):
        account.reject_line(line(b"x"), "a reason")

    assert "--rejects FILE" in capsys.readouterr().err


def test_reasons_can_not_drive_the_terminal(line: Any, capsys: pytest.CaptureFixture[str]):
    Account(None).reject_line(line(b"x"), "[red]\x1b[31m[/] \x9b1m")

    shown = capsys.readouterr().err
    assert "[red]" in shown
    assert "[/]" in shown
    assert "\x1b" not in shown
    assert "\x9b" not in shown


def test_the_summary_shows_only_what_there_was(capsys: pytest.CaptureFixture[str]):
    account = Account(None)
    account.read, account.accepted, account.blank = 1_234, 1_000, 4

    account.summary(2.0)

    shown = capsys.readouterr().err
    assert [part in shown for part in ("1,234", "1,000", "known", "230", "blank")] == [True] * 5
    assert "refused" not in shown
    assert "500 events/s in 2.0 s" in shown
