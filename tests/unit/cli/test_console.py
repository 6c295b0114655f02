"""What people see can't drive their terminal."""

import io
import json
import sys

import pytest
import typer
from rich.color import ColorSystem
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ocelot_cli.console import GuardedConsole, counted, guarded_streams, plain, show_json, show_line
from ocelot_common.terminal import is_safe

UNSAFE = "\x00\x07\n\r\x1b\x7f\x80\x9b\u200b\u200f\u202e\u2066\u2028\ufeff\ud800\U000e0041"


@pytest.mark.parametrize("character", UNSAFE, ids=ascii)
def test_what_drives_a_terminal_or_deceives_its_reader_is_escaped(character: str):
    shown = plain(f"a{character}b").plain
    assert is_safe(shown)
    assert json.loads(f'"{shown}"') == f"a{character}b"


@pytest.mark.parametrize("text", ["[red]x[/red]", "[/]", ":smiley:", "Zoë 🦊 👩\u200d💻 ❤\ufe0f"])
def test_other_text_stays_as_it_is(text: str):
    assert plain(text).plain == text


@pytest.mark.parametrize("character", UNSAFE.replace("\n", ""), ids=ascii)
def test_a_console_escapes_what_nobody_escaped_before(character: str):
    file = io.StringIO()
    console = GuardedConsole(width=80)
    console.file = file
    table = Table(f"head{character}", title=f"title{character}", caption=f"caption{character}")
    table.add_row(f"[red]cell{character}[/]", Text(f"text{character}"))
    console.print(table, f"bare{character} :smiley:", Panel(f"inner{character}"))
    shown = file.getvalue()
    assert all(is_safe(line) for line in shown.split("\n"))
    assert "[red]cell" in shown
    assert ":smiley:" in shown


def test_what_is_written_past_the_consoles_is_escaped_and_colours_of_the_consoles_are_not(
    monkeypatch: pytest.MonkeyPatch,
):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    console = GuardedConsole(stderr=True)
    console._color_system = ColorSystem.STANDARD
    with guarded_streams():
        with guarded_streams():
            sys.stderr.write("a\x1b[31mb\n")
            sys.stderr.writelines(["c\u202e\n"])
            console.print(Text("d\x1b", "red"))
        typer.echo("e\x9b", err=True)
    assert sys.stderr is stream
    assert stream.getvalue() == "a\\u001b[31mb\nc\\u202e\n\x1b[31md\\u001b\x1b[0m\ne\\u009b\n"


def test_json_is_the_same_value_without_control_characters(capsys: pytest.CaptureFixture[str]):
    value = {
        "a": "\x1b[31m \x7f \x9b31m \u202e \u2028 \U000e0041 [red] Zoë",
        "n": 10**40,
        "f": 1.0,
        "l": [None, {}],
    }

    show_json(json.dumps(value, ensure_ascii=False).encode())

    shown = capsys.readouterr().out
    assert json.loads(shown) == value
    assert "Zoë" in shown
    assert all(is_safe(line) for line in shown.split("\n"))


def test_ndjson_is_the_same_value_in_one_line(capsys: pytest.CaptureFixture[str]):
    value = {"a": "\x1b \x7f \x9b \u202e \u2028 \U000e0041 \n\t Zoë 🦊"}

    show_line(json.dumps(value, ensure_ascii=False).encode())

    shown = capsys.readouterr().out
    assert json.loads(shown) == value
    assert "Zoë 🦊" in shown
    assert is_safe(shown.removesuffix("\n"))


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 jobs"), (1, "1 job"), (2, "2 jobs"), (12_000, "12,000 jobs")]
)
def test_a_noun_is_singular_behind_one_alone(number: int, text: str):
    assert counted(number, "job") == text
