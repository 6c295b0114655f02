"""The language of `q`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocelot_api.search.filters import AllOf, AnyOf, Filter, Not, Phrase, Word, WordPrefix
from ocelot_api.search.text_query import MAX_CHARS, MAX_TOKENS, TextQueryError, parse_text_query
from ocelot_common.text_tokens import tokens_of_text

A, B, C = Word("a"), Word("b"), Word("c")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", A),
        (" a  b\n", AllOf((A, B))),
        ("A B", AllOf((A, B))),
        ('"a b"', Phrase(("a", "b"))),
        ('"a"', A),
        ("-a", Not(A)),
        ('-"a b" c', AllOf((Not(Phrase(("a", "b"))), C))),
        ("a OR b", AnyOf((A, B))),
        ("a b OR c", AnyOf((AllOf((A, B)), C))),
        ("a OR -b OR c", AnyOf((A, Not(B), C))),
        ("a or b", AllOf((A, Word("or"), B))),
        ("ORDER", Word("order")),
        ('"OR"', Word("or")),
        ("a*", WordPrefix("a")),
        ("-a* b", AllOf((Not(WordPrefix("a")), B))),
        ("jane@example.com", Phrase(("jane", "example", "com"))),
        ("a-b", Phrase(("a", "b"))),
        ("a - b", AllOf((A, B))),
        ("a & b", AllOf((A, B))),
        ("a* OR a*b", AnyOf((WordPrefix("a"), Phrase(("a", "b"))))),
        ('"a \\" b"', Phrase(("a", "b"))),
        ('a"b c"', AllOf((A, Phrase(("b", "c"))))),
        ("東京", Phrase(("東", "京"))),
        ("Straße", Word("strasse")),
        ("x" * 300, Word("x" * 200)),
        ("(a)", A),
        ("text:a", Phrase(("text", "a"))),
        ("_id:[* TO *]", AllOf((Word("id"), Word("to")))),
    ],
)
def test_it_is_read_as(text: str, expected: Filter) -> None:
    assert parse_text_query(text) == expected


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("", 1, "expected a word"),
        ("  ", 1, "expected a word"),
        ("!!!", 1, "a letter or a digit"),
        ("OR a", 1, "before OR"),
        ("a OR", 5, "not the end"),
        ("a OR OR b", 6, "before OR"),
        ("a OR -", 6, "a letter or a digit"),
        ("--a", 2, "not '-'"),
        ('a "b', 3, "not closed"),
        ('"', 1, "not closed"),
        ("a jane@x*", 3, "prefix"),
        ("x" * (MAX_CHARS + 1), MAX_CHARS + 1, "characters"),
        ("w " * MAX_TOKENS + "w", 2 * MAX_TOKENS + 1, "words"),
    ],
)
def test_an_error_says_where_and_what_was_expected(text: str, column: int, says: str) -> None:
    with pytest.raises(TextQueryError, match=f"^column {column}: .*{says}"):
        parse_text_query(text)


@given(st.text(max_size=60) | st.text(st.sampled_from('ab OR-"*\\ '), max_size=30))
def test_any_text_is_read_or_refused_with_a_column(text: str) -> None:
    try:
        parse_text_query(text)
    except TextQueryError as error:
        assert str(error).startswith("column ")  # noqa: PT017 - both ends are right


@given(st.text(max_size=60))
def test_what_is_quoted_is_the_tokens_that_events_have(text: str) -> None:
    tokens = tokens_of_text(text)
    quoted = '"' + text.replace("\\", " ").replace('"', " ") + '"'
    tokens = tokens_of_text(text.replace("\\", " ").replace('"', " "))
    if not tokens:
        return
    expected = Word(tokens[0]) if len(tokens) == 1 else Phrase(tuple(tokens))
    assert parse_text_query(quoted) == expected
