"""Characters that text of others must not bring to a terminal, and their escapes.

An event's text, an answer of a server or the name of a file is written by somebody else. Control
characters in it move the cursor, rewrite lines, set the title or the clipboard (C0, DEL, C1).
Bidirectional controls reorder what a reader sees ("Trojan Source", CVE-2021-42574), so that an
audit log shows another name than it holds. Invisible characters make two values look alike.

One function decides what is unsafe; tables, messages, JSON and the `sub` of tokens all ask it.
Unsafe are, by Unicode's general category and properties:

- Cc: C0 and C1 controls and DEL; the caller says which line feeds and tabs it wrote itself;
- Cf: bidirectional controls, zero-width and other format characters, tags, but not the visible
  signs of Arabic, Syriac and Kaithi that have this category;
- Zl and Zp: U+2028 and U+2029;
- Cs, Cn, Co: lone surrogates, unassigned and private characters, which every terminal shows in its
  own way;
- what Unicode calls default-ignorable: fillers, invisible marks, variation selectors.

Two kinds of invisible characters belong to ordinary text and are safe where they do their work:

- joiners (U+200C, U+200D) between characters of scripts and emoji that are joined;
- one variation selector behind such a character or in a keycap.

Between or behind Latin, Greek and Cyrillic letters both are escaped.
"""

import re
import unicodedata
from typing import Final

_UNSAFE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
#: Format characters that are seen: signs above or around digits.
_VISIBLE_FORMATS: Final = frozenset(
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)
#: Default-ignorable characters of other categories (DerivedCoreProperties.txt).
_INVISIBLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_SELECTORS: Final = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_JOINERS: Final = frozenset("\u200c\u200d")
#: Scripts that are joined and symbols: all but Latin, Greek, Cyrillic, Armenian and punctuation.
_JOINED: Final = re.compile(
    "[\u0590-\u1dff\u2190-\u2bff\u2d00-\u2dff\u2e80-\ufdff\ufe70-\uff00\U00010000-\U000dffff]"
)
#: Older signs that have an emoji form.
_SIGNS: Final = frozenset("\u00a9\u00ae\u203c\u2049\u2122\u2139")
_KEYCAPS: Final = frozenset("0123456789#*")
_NOT_ASCII_GRAPHIC: Final = re.compile("[^ -~]")


def is_safe(text: str) -> bool:
    """Return whether a text holds nothing that must be escaped, not even a line feed."""
    if text.isprintable() and (text.isascii() or not _INVISIBLE.search(text)):
        return True
    return not any(is_unsafe_at(text, match.start()) for match in _NOT_ASCII_GRAPHIC.finditer(text))


def is_unsafe_at(text: str, at: int) -> bool:
    """Return whether the character at a position must be escaped; its neighbours count."""
    character = text[at]
    if character in _JOINERS:
        return not (_is_joined(text, at - 1) and _is_joined(text, at + 1))
    if _SELECTORS.match(character):
        return not _is_selected(text, at)
    if _INVISIBLE.match(character):
        return True
    return (
        unicodedata.category(character) in _UNSAFE_CATEGORIES and character not in _VISIBLE_FORMATS
    )


def escape(text: str, *, keep: str = "") -> str:
    r"""Return a text with `\u202e` in place of each unsafe character.

    The escapes are those of JSON, a surrogate pair beyond U+FFFF. In a JSON text, which holds such
    characters in its strings only, the result is JSON of the same value.

    Args:
        text: of others.
        keep: characters that the program wrote itself, such as line feeds.
    """
    if is_safe(text):
        return text

    def escaped(match: re.Match[str]) -> str:
        character = match[0]
        if character in keep or not is_unsafe_at(text, match.start()):
            return character
        units = character.encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))

    return _NOT_ASCII_GRAPHIC.sub(escaped, text)


def _is_joined(text: str, at: int) -> bool:
    """Return whether a character of a joined script or an emoji is there, or its selector."""
    if not 0 <= at < len(text):
        return False
    if _SELECTORS.match(text[at]):
        return not is_unsafe_at(text, at)
    return bool(_JOINED.match(text[at])) or text[at] in _SIGNS


def _is_selected(text: str, at: int) -> bool:
    """Return whether a variation selector follows a character that has variants."""
    if at == 0:
        return False
    before = text[at - 1]
    if before in _KEYCAPS:
        return text[at + 1 : at + 2] == "\u20e3"
    if _SELECTORS.match(before):
        return False
    return bool(_JOINED.match(before)) or before in _SIGNS
