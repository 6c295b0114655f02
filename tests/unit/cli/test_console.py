"""What people see can't drive their terminal."""

import json

import pytest

from ocelot_cli.console import plain, show_json


@pytest.mark.parametrize("control", ["\x00", "\x07", "\x1b", "\x7f", "\x80", "\x9b", "\r"])
def test_control_characters_are_replaced_in_text(control: str):
    assert plain(f"a{control}b").plain == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize("text", ["[red]x[/red]", "[/]", "tab\tand\nline", "Zoë 🦊"])
def test_other_text_stays_as_it_is(text: str):
    assert plain(text).plain == text


def test_json_is_the_same_value_without_control_characters(capsys: pytest.CaptureFixture[str]):
    value = {"a": "\x1b[31m \x7f \x9b31m [red] Zoë", "n": 10**40, "f": 1.0, "l": [None, {}]}

    show_json(json.dumps(value, ensure_ascii=False).encode())

    shown = capsys.readouterr().out
    assert json.loads(shown) == value
    assert "Zoë" in shown
    assert not set(shown) & {"\x1b", "\x7f", "\x9b"}
