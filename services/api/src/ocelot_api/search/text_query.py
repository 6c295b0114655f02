"""The language of `q`: words, "phrases", -exclusions, OR, and prefix* (design §10).

The grammar is read by Lark. Nothing of a client's text reaches a query language of a backend: what
comes out are tokens, as `ocelot_common.text_tokens` makes them of events too.
"""

from typing import Any, Final, cast

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from ocelot_api.search.filters import Filter, Not, Phrase, Word, WordPrefix, all_of, any_of
from ocelot_common.text_tokens import tokens_of_text

MAX_CHARS: Final = 2_048
MAX_TOKENS: Final = 50
#: Words, signs and phrases: Lark takes 10 µs for each, and a sign alone is no token.
MAX_TERMS: Final = 200

#: What stands together without a space is one word: `jane@example.com`, `2026-11-24`. A hyphen
#: excludes only at a word's beginning.
_GRAMMAR: Final = r"""
start: every (_OR every)*
every: term+
?term: _MINUS atom -> without
     | atom
?atom: PHRASE | PREFIX | WORD

_OR.3: /OR(?=\s|$)/
_MINUS: /-(?=\S)/
PHRASE: /"(?:[^"\\]|\\.)*"/s
PREFIX.2: /[^\s"\-*][^\s"*]*\*(?=[\s"]|$)/
WORD: /[^\s"\-][^\s"]*|-(?=\s|$)/

%ignore /\s+/
"""
_parser: Final = Lark(_GRAMMAR, parser="lalr", lexer="basic")


class TextQueryError(ValueError):
    """A `q` that can't be read; says where, in columns from 1, and what was expected."""

    def __init__(self, detail: str, column: int) -> None:
        super().__init__(f"column {column}: {detail}")


def parse_text_query(text: str) -> Filter:
    """The filter that a `q` asks for.

    Raises:
        TextQueryError: it is empty, too long, or not of this language.
    """
    if len(text) > MAX_CHARS:
        raise TextQueryError(f"the limit is {MAX_CHARS:,} characters", MAX_CHARS + 1)
    if count_terms(text) > MAX_TERMS:
        raise TextQueryError(f"the limit is {MAX_TERMS} words, signs and phrases", 1)
    try:
        tree = _parser.parse(text)
    except UnexpectedToken as error:
        raise TextQueryError(*_unexpected(text, error.token)) from None
    except UnexpectedCharacters as error:
        # Whatever else comes is the beginning of some terminal.
        position = cast("int", error.pos_in_stream)  # Lark declares it as None
        raise TextQueryError("the quote is not closed", position + 1) from None
    return _Reader().either(tree)


def count_terms(text: str) -> int:
    """At least as many as the parser will find words, signs and phrases in a `q`."""
    return len(text.split()) + text.count('"')


def _unexpected(text: str, token: Token) -> tuple[str, int]:
    if token.type != "$END":
        found = f"before {token.value}" if token.type == "_OR" else f"not {token.value!r}"
        return f"expected a word or a phrase {found}", (token.start_pos or 0) + 1
    stripped = text.rstrip()
    if not stripped:
        return "expected a word or a phrase", 1
    return "expected a word or a phrase, not the end", len(stripped) + 1


class _Reader:
    """Turns the parse tree into a filter, and counts the tokens."""

    def __init__(self) -> None:
        self._tokens = 0

    def either(self, tree: Tree[Token]) -> Filter:
        return any_of([self._every(child) for child in tree.children])

    def _every(self, tree: Any) -> Filter:
        found = [self._term(child) for child in tree.children]
        # A sign alone, as in `read & write`, is no word of any event.
        items = [item for item in found if item is not None]
        if not items:
            raise TextQueryError("expected a letter or a digit", _column(tree))
        return all_of(items)

    def _term(self, node: Any) -> Filter | None:
        if isinstance(node, Tree):
            item = self._term(node.children[0])
            return None if item is None else Not(item)
        return self._atom(node)

    def _atom(self, token: Token) -> Filter | None:
        text = str(token)
        if token.type == "PHRASE":
            text = text[1:-1].replace('\\"', '"')
        tokens = tokens_of_text(text)
        self._tokens += len(tokens)
        if self._tokens > MAX_TOKENS:
            raise TextQueryError(f"the limit is {MAX_TOKENS} words", _column(token))
        if not tokens:
            return None
        # After a sign, as in `id:[*`, the star is one more sign.
        if token.type == "PREFIX" and tokens_of_text(text[-2]):
            if len(tokens) > 1:
                raise TextQueryError("only a single word can be a prefix", _column(token))
            return WordPrefix(tokens[0])
        return Word(tokens[0]) if len(tokens) == 1 else Phrase(tuple(tokens))


def _column(node: Any) -> int:
    while isinstance(node, Tree):
        node = node.children[0]
    return (node.start_pos or 0) + 1
