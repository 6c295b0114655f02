"""Strings that users see hold to the patterns of `prosekit/patterns.py`."""

import re
from collections.abc import Callable

import pytest

from prosekit import strings
from prosekit.patterns import PATTERNS, Pattern

KINDS = (
    strings.helps,
    strings.settings,
    strings.metrics,
    strings.problems,
    strings.openapi,
    strings.chart,
    strings.lines,
)


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.caught)
def test_each_pattern_catches_its_string(pattern: Pattern):
    assert re.search(pattern.regex, pattern.caught, re.IGNORECASE)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_string_that_users_see_is_caught(kind: Callable[[], strings.Strings]):
    found = [text for text in kind() if text[1]]
    assert len(found) > 20
    caught = [
        f"{place}: {text!r}: {match[0]!r}: say: {pattern.instead}"
        for place, text in found
        for pattern in PATTERNS
        if (match := re.search(pattern.regex, text, re.IGNORECASE))
    ]
    assert not caught, "\n".join(caught)


def test_every_detail_of_a_problem_is_a_sentence():
    fragments = {code: text for code, text in strings.problems() if not _is_sentence(text)}
    assert not fragments


def test_every_description_of_the_openapi_document_is_a_sentence_or_a_phrase():
    # Not those of answers, which end with their codes.
    fragments = {
        place: text
        for place, text in strings.openapi()
        if place.endswith("/description") and "/responses/" not in place and not _is_sentence(text)
    }
    assert not fragments


def _is_sentence(text: str) -> bool:
    return re.match(r"[A-Z`'0-9]", text) is not None and text.rstrip().endswith((".", "?", "`"))
