import json
import sys
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocelot_common.event import decode_event
from ocelot_common.text_tokens import (
    MAX_TOKEN_CHARS,
    MAX_TOKENS,
    tokens_of_event,
    tokens_of_text,
)


def naive_tokens(text: str) -> list[str]:
    """Tokens of ASCII text, character by character."""
    words = "".join(
        character.lower() if character.isascii() and character.isalnum() else " "
        for character in text
    ).split()
    return [word[:200] for word in words]


TEXTS: dict[str, tuple[str, list[str]]] = {
    "words are folded": ("Hello WORLD", ["hello", "world"]),
    "punctuation separates": ("a.b-c_d/e@f:g", ["a", "b", "c", "d", "e", "f", "g"]),
    "digits belong to words": ("ipv6 2026-11-24", ["ipv6", "2026", "11", "24"]),
    "control characters separate": ("a\0b\x1cc\x7fd", ["a", "b", "c", "d"]),
    "nothing": ("", []),
    "nothing but signs": ("!?… —", []),
    "an umlaut is a letter, composed or not": ("Größe gro\u0308ße", ["grösse", "grösse"]),
    "sharp s folds to two letters": ("STRASSE straße", ["strasse", "strasse"]),
    "a Greek final sigma is a sigma": ("ΟΔΟΣ οδος", ["οδοσ", "οδοσ"]),
    "a Turkish dotted capital keeps its dot": ("İ", ["i\u0307"]),
    "a mark that case folding takes off is put back": ("\u01f0 J\u030c", ["\u01f0", "\u01f0"]),
    "marks stand in canonical order after case folding": (
        "\u0390\u0323", ["\u0390\u0323"]),
    "ligatures come apart": ("ﬁle", ["file"]),
    "full-width letters are letters": ("ＡＢＣ１２", ["abc12"]),
    "superscripts are digits after NFKC": ("m²", ["m2"]),
    "the Kelvin sign is a k": ("K", ["k"]),
    "ideographs stand singly": ("監査ログ", ["監", "査", "ロ", "グ"]),
    "ideographs and Latin side by side": ("監査log監査", ["監", "査", "log", "監", "査"]),
    "hiragana stand singly": ("です", ["で", "す"]),
    "half-width kana are kana": ("ﾛｸﾞ", ["ロ", "グ"]),
    "iteration marks stand singly": ("佐々々木", ["佐", "々", "々", "木"]),
    "long vowel marks stand singly": ("えーー", ["え", "ー", "ー"]),
    "a letter that folds to its parts is composed again": ("ΐ ǰ", ["\u0390", "\u01f0"]),
    "an ideograph beyond the basic plane": ("𠮷野家", ["𠮷", "野", "家"]),
    "Hangul stays together": ("감사 로그", ["감사", "로그"]),
    "decomposed Hangul is composed": ("\u1100\u1161\u11b7", ["감"]),
    "Arabic, with its marks": ("سُجِّل الدخول", ["سُجِّل", "الدخول"]),
    "Hebrew, with its marks": ("שָׁלוֹם עולם", [
        unicodedata.normalize("NFKC", "שָׁלוֹם"), "עולם"]),
    "Arabic digits are digits": ("٢٠٢٦", ["٢٠٢٦"]),
    "Devanagari, with its vowel signs": ("लॉग इन", ["लॉग", "इन"]),
    "Thai stays together": ("บันทึก", ["บันทึก"]),
    "emoji separate": ("a🦊b", ["a", "b"]),
    "other spaces separate": ("a\u00a0b\u2003c\u3000d\u2028e", ["a", "b", "c", "d", "e"]),
    "a soft hyphen separates": ("a\u00adb", ["a", "b"]),
    "fractions and roman numerals of one character": ("½ Ⅻ", ["1", "2", "xii"]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), TEXTS.values(), ids=TEXTS)
def test_tokens(text: str, expected: list[str]) -> None:
    assert tokens_of_text(text) == expected


@given(st.text(st.characters(max_codepoint=127), max_size=600))
def test_the_fast_path_for_ascii_equals_the_slow_one_and_a_naive_reading(text: str) -> None:
    slow = tokens_of_text(text + " ä")
    assert slow.pop() == "ä"
    assert tokens_of_text(text) == slow == naive_tokens(text)


@given(st.text(st.characters(codec="utf-8")))
def test_tokens_of_tokens_are_themselves(text: str) -> None:
    """A search for what an index holds must find it."""
    tokens = tokens_of_text(text)
    assert tokens_of_text(" ".join(tokens)) == tokens


def test_tokens_of_every_character_are_themselves() -> None:
    text = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    for start in range(0, len(text), 4_000):
        # A mark that stands first must not fall upon the character before it.
        tokens = tokens_of_text(" x ".join(text[start : start + 4_000]))
        assert tokens_of_text(" ".join(tokens)) == tokens


@given(st.text(st.characters(codec="utf-8")), st.sampled_from(["NFC", "NFD"]), st.booleans())
def test_equivalent_texts_have_equal_tokens(text: str, form: str, upper: bool) -> None:
    folded = text.casefold()
    other = unicodedata.normalize(form, folded)  # type: ignore[arg-type]
    assert tokens_of_text(other) == tokens_of_text(folded)
    if upper and folded.isascii():
        assert tokens_of_text(folded.upper()) == tokens_of_text(folded)


@given(st.text(st.characters(codec="utf-8")))
def test_no_token_holds_space_and_none_is_empty(text: str) -> None:
    assert all(token and token.split() == [token] for token in tokens_of_text(text))


@pytest.mark.parametrize("letter", ["a", "é", "𐐨"])
def test_a_token_keeps_its_first_200_characters(letter: str) -> None:
    exact = letter * MAX_TOKEN_CHARS
    assert tokens_of_text(exact) == tokens_of_text(f"{exact}x") == [exact]
    assert tokens_of_text(f"b {exact}x c") == ["b", exact, "c"]


MARKS: dict[str, str] = {
    "marks of two classes in turn": "a" + "\u0301\u0323" * 16_000,
    "marks in the wrong order": "a" + "\u0301" * 16_000 + "\u0323" * 16_000,
    "half-width voiced marks and others": "ﾞ\u0301" * 13_000,
    "marks that come apart": "\u0344\u0323" * 16_000,
    "the longest expansions": "\ufdfa" * 21_000,
}


@pytest.mark.parametrize("text", MARKS.values(), ids=MARKS)
def test_64_kib_of_this_are_tokenised_quickly(text: str) -> None:
    tokens_of_text("ä" * 2_000)  # what is made once
    began = time.thread_time()
    tokens_of_text(text)
    took = time.thread_time() - began
    print(f"{took:.3f} s of CPU time")  # noqa: T201 - in the report of `-rP`
    assert took < 2.4


def test_long_texts_with_ordinary_marks_have_the_tokens_of_their_words() -> None:
    words = ["gro\u0308\u0323ße", "שָׁלוֹם", "a" + "\u0301" * 30, "감사"]
    single = [token for word in words for token in tokens_of_text(word)]
    assert tokens_of_text(" ".join(words * 100)) == single * 100


def event_tokens(**members: object) -> list[str]:
    event = {"action": "document.update", "actor": {"id": "u1"}} | members
    return tokens_of_event(decode_event(json.dumps(event).encode()))


def test_an_event_gives_its_values_in_a_fixed_order_of_fields() -> None:
    assert event_tokens(
        metadata={"k": ["m1", {"k": "m2"}], "n": 3},
        changes={"after": {"k": "c2"}, "before": "c1"},
        tags=["t1", "t2"],
        targets=[{"name": "g3", "id": "g2", "type": "g1"}, {"id": "g4"}],
        actor={"session_id": "a5", "email": "a4", "name": "a3", "type": "a2", "id": "a1"},
        message="msg",
    ) == [
        "msg", "document", "update", "a1", "a2", "a3", "a4", "a5", "g1", "g2", "g3", "g4",
        "t1", "t2", "m1", "m2", "3", "c1", "c2",
    ]  # fmt: skip


def test_keys_are_no_text_and_neither_are_the_other_fields() -> None:
    assert event_tokens(
        metadata={"key": {}}, source={"ip": "192.0.2.1", "user_agent": "curl"}, request_id="r",
        trace_id="t", outcome="denied", severity="critical", occurred_at="2020-01-01T00:00:00Z",
    ) == ["document", "update", "u1"]  # fmt: skip


def test_numbers_and_booleans_are_text_as_in_json_and_null_is_none() -> None:
    assert event_tokens(metadata={"a": [1.5, True, None, 10**20]}, message=None)[3:] == [
        "1", "5", "true", str(10**20),
    ]  # fmt: skip


def test_two_values_are_never_one_word() -> None:
    assert event_tokens(tags=["a", "b"], metadata={"k": ["c", "d"]})[3:] == ["a", "b", "c", "d"]


def test_an_event_keeps_its_first_8000_tokens() -> None:
    tokens = event_tokens(message=" ".join(str(number) for number in range(9_000)))
    assert tokens == [str(number) for number in range(MAX_TOKENS)]
