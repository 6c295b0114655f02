"""Full-text tokens: one function for what is indexed, asked and compared (design §10).

NFKC and case folding; a token is a run of letters, marks and decimal digits; ideographs and kana
stand singly. OpenSearch's whitespace analyser and the MongoDB backend both get these tokens, so
they agree by construction.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import Any, Final

from msgspec import UNSET

from ocelot_common.attrs import attr_value
from ocelot_common.event import Event

MAX_TOKENS: Final = 8_000
MAX_TOKEN_CHARS: Final = 200

_ASCII = bytes(
    code + 32 if 65 <= code <= 90 else code if chr(code).isalnum() and code < 128 else 32
    for code in range(256)
)
# Scripts written without spaces, whose characters are found one by one.
_SINGLES = (
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x3007),
    (0x3021, 0x3029),
    (0x3041, 0x30FF),  # hiragana, katakana
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x1AFF0, 0x1B16F),  # kana extensions
    (0x20000, 0x3FFFF),
)


# Putting a run of marks into canonical order takes the square of its length: 1.8 s for the marks
# that fit into one event. As in the Stream-Safe Text Format (UAX #15 §13), a joiner ends a run.
_MAX_MARKS = 30
_GRAPHEME_JOINER = "\u034f"
#: Text so short is ordered in a millisecond, whatever it is.
_SHORT_CHARS = 1_000


@cache
def _overlong_run() -> re.Pattern[str]:
    marks = "".join(
        character
        for character in map(chr, range(0x300, 0x1F000))
        if unicodedata.combining(unicodedata.normalize("NFKD", character)[0])
    )
    return re.compile(f"[{marks}]{{{_MAX_MARKS}}}(?=[{marks}])")


class _CharacterTable(dict[int, str]):
    """Maps a character to itself, to itself between spaces, or to a space; filled as needed."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if category[0] not in "LM" and category != "Nd":
            result = " "
        elif category[0] == "L" and any(first <= code <= last for first, last in _SINGLES):
            result = f" {character} "
        else:
            result = character
        self[code] = result
        return result


_characters = _CharacterTable()


def tokens_of_text(text: str) -> list[str]:
    """The tokens of one string, in order, each cut to its first 200 characters."""
    if text.isascii():
        plain = text.encode().translate(_ASCII).decode()
    else:
        if len(text) > _SHORT_CHARS:
            text = _overlong_run().sub(r"\g<0>" + _GRAPHEME_JOINER, text)
        folded = unicodedata.normalize("NFKC", text).casefold()
        # Case folding can leave text that is not NFKC any more (Unicode §3.13, D147).
        plain = unicodedata.normalize("NFKC", folded).translate(_characters)
    words = plain.split()
    if len(plain) > MAX_TOKEN_CHARS:
        return [word[:MAX_TOKEN_CHARS] for word in words]
    return words


def tokens_of_event(event: Event[Any, Any]) -> list[str]:
    """An event's first 8,000 tokens: of values only, in a fixed order of fields."""
    # All values in one text: one call for an event of ASCII, the usual one.
    return tokens_of_text("\n".join(_values(event)))[:MAX_TOKENS]


def _values(event: Event[Any, Any]) -> list[str]:
    actor = event.actor
    known: list[object] = [event.message, event.action]
    known += (actor.id, actor.type, actor.name, actor.email, actor.session_id)
    for target in event.targets or ():
        known += (target.type, target.id, target.name)
    known += event.tags or ()
    values = [value for value in known if type(value) is str]
    if event.metadata:
        _add_scalars(event.metadata.values(), values)
    if event.changes:
        changes = (event.changes.before, event.changes.after)
        _add_scalars([value for value in changes if value is not UNSET], values)
    return values


def _add_scalars(items: Iterable[Any], values: list[str]) -> None:
    # Scalars are the usual case and cost no call of their own.
    for item in items:
        kind = type(item)
        if kind is str:
            values.append(item)
        elif kind is dict:
            _add_scalars(item.values(), values)
        elif kind is list:
            _add_scalars(item, values)
        elif item is not None:
            values.append(attr_value(item))
