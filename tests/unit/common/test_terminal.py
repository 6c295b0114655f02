"""What a terminal must not get from others, and what ordinary text keeps."""

import json
import sys
import unicodedata

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocelot_common.terminal import escape, is_safe

UNSAFE = {
    "bell": "\x07", "backspace": "\x08", "tab": "\t", "line feed": "\n", "carriage return": "\r",
    "escape": "\x1b", "delete": "\x7f", "next line": "\x85", "control sequence": "\x9b",
    "operating system command": "\x9d", "soft hyphen": "\xad", "Arabic letter mark": "\u061c",
    "zero-width space": "\u200b", "left-to-right mark": "\u200e", "right-to-left mark": "\u200f",
    "embedding": "\u202a", "override": "\u202e", "word joiner": "\u2060", "isolate": "\u2066",
    "end of isolate": "\u2069", "line separator": "\u2028", "paragraph separator": "\u2029",
    "byte order mark": "\ufeff", "Hangul filler": "\u3164", "half of a pair": "\ud800",
    "other half": "\udfff", "noncharacter": "\uffff", "unassigned": "\u0378",
    "private": "\ue000", "tag": "\U000e0041", "private, plane 16": "\U00100000",
    "graphem joiner": "\u034f", "Mongolian vowel separator": "\u180e",
}  # fmt: skip

ORDINARY = {
    "ASCII": "[red]a\\u202e b[/]", "Latin": "Müller, Ångström, naïve", "Greek": "Ελλάδα",
    "Hebrew": "שָׁלוֹם", "Persian, with a joiner": "می\u200cخواهم",
    "Hindi, with a joiner": "क्\u200dष", "Japanese": "東京　葛\U000e0100城", "Korean": "감사",
    "an emoji": "🦊", "a family": "👩\u200d👩\u200d👧", "a heart": "❤\ufe0f", "a hand": "👋🏽",
    "a heart on fire": "❤\ufe0f\u200d🔥", "a keycap": "1\ufe0f\u20e3", "a copyright": "©\ufe0f",
    "a flag": "🇪🇺", "a no-break space": "10\u00a0km", "a number sign of Arabic": "\u0600١٢",
    "marks": "a\u0301\u0323",
}  # fmt: skip


@pytest.mark.parametrize("character", UNSAFE.values(), ids=UNSAFE)
def test_a_character_that_no_terminal_may_get_is_escaped_wherever_it_is(character: str) -> None:
    for text in (character, f"admin{character}nimda", f"東{character}京", f"👩{character}👧"):
        assert not is_safe(text)
        shown = escape(text)
        assert is_safe(shown)
        assert json.loads(f'"{shown}"') == text


@pytest.mark.parametrize("text", ORDINARY.values(), ids=ORDINARY)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert is_safe(text)
    assert escape(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "adm\u200din", "adm\u200cin", "\u200d", "👩\u200d", "\u200d👩", "👩\u200d\u200d👧",
        "a\ufe0f",
        "\ufe0f", "👋\ufe0f\ufe0f", "1\ufe0f", "1\ufe0fa", "а\u200dа", "葛\U000e0100\U000e0101",
    ],
    ids=ascii,
)  # fmt: skip
def test_joiners_and_selectors_that_join_and_select_nothing_are_escaped(text: str) -> None:
    assert not is_safe(text)
    assert is_safe(escape(text))


def test_what_the_program_wrote_itself_is_kept() -> None:
    assert escape("a\n\tb\r\x1b", keep="\n\t") == "a\n\tb\\u000d\\u001b"


def test_every_character_of_an_unsafe_category_is_unsafe() -> None:
    visible = set()
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}:
            if is_safe(character):
                visible.add(code)
        elif not is_safe(character):
            assert unicodedata.category(character)[0] in "ML", hex(code)
    assert visible == {
        *range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD
    }  # fmt: skip


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_escaped_json_has_the_same_value(text: str) -> None:
    given = msgspec.json.encode({text: [text]}).decode()
    shown = escape(given)
    assert is_safe(shown)
    assert json.loads(shown) == {text: [text]}


@given(st.text(max_size=40))
def test_any_text_is_safe_once_it_is_escaped_and_safe_text_is_not_changed(text: str) -> None:
    assert is_safe(escape(text))
    assert (escape(text) == text) == is_safe(text)
