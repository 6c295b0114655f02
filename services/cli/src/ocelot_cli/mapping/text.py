"""Foreign values as text, and text cut to a field's length."""

import unicodedata
from typing import Final

import msgspec

#: Longest text of actor, targets, source, ids and tags (design §3); all of it is in `metadata`.
KEYWORD_LENGTH: Final = 1024
ACTION_LENGTH: Final = 256

# A user-perceived character is looked for this far back; text may be nothing but marks.
_LONGEST_CLUSTER = 32
_JOINERS = frozenset("\u200d\ufe0e\ufe0f")


def text_of(value: object) -> str | None:
    """A scalar as text: numbers and booleans as in JSON; `None` for null, objects and arrays."""
    if type(value) is str:
        return value
    if value is None or isinstance(value, dict | list):
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return msgspec.json.encode(value).decode()


def shorten(text: str, length: int) -> str:
    """The beginning of `text`, at most `length` characters.

    Combining marks, joined emoji and skin tones are never torn from what they belong to.
    """
    if len(text) <= length:
        return text
    cut = length
    while cut > length - _LONGEST_CLUSTER and cut > 1 and _continues(text, cut):
        cut -= 1
    return text[: length if _continues(text, cut) else cut]


def _continues(text: str, at: int) -> bool:
    """Whether the character at `at` belongs to the one before it."""
    character = text[at]
    return (
        character in _JOINERS
        or text[at - 1] == "\u200d"
        or "\U0001f3fb" <= character <= "\U0001f3ff"
        or unicodedata.category(character).startswith("M")
    )
