"""What a search asks for: a tree of conditions that every backend understands alike (design §10).

Values are checked where they come in (`parameters`); a tree holds nothing that a backend could take
for a query of its own.
"""

from typing import Final, Literal

from msgspec import Struct

#: A field of `Match` whose values are `path=value` entries; see `ocelot_common.attrs`.
ATTRS: Final = "attrs"
#: The fields of `Match`, by their names in both stores.
MATCH_FIELDS: Final = (
    "action",
    "actor.id",
    "actor.type",
    "actor.email",
    "targets.type",
    "targets.id",
    "outcome",
    "severity",
    "request_id",
    "trace_id",
    "tags",
    "source.service",
    ATTRS,
)


class Match(Struct, frozen=True, array_like=True, tag="match"):
    """Values of one field, of which one must fit: exactly, or as the beginning.

    The empty beginning fits any value that is not empty. Of several targets or tags, one must fit.
    """

    field: str
    exact: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()


class Times(Struct, frozen=True, array_like=True, tag="times"):
    """A range of time, milliseconds since the epoch: `start` is in it, `end` is not."""

    field: Literal["occurred_at", "received_at"]
    start: int | None = None
    end: int | None = None


class Addresses(Struct, frozen=True, array_like=True, tag="addresses"):
    """A range of `source.ip`, both ends in it, as 16 bytes with IPv4 mapped into IPv6."""

    first: bytes
    last: bytes


class Word(Struct, frozen=True, array_like=True, tag="word"):
    """A token of the full text."""

    token: str


class WordPrefix(Struct, frozen=True, array_like=True, tag="word_prefix"):
    """The beginning of a token of the full text."""

    beginning: str


class Phrase(Struct, frozen=True, array_like=True, tag="phrase"):
    """Tokens of the full text that follow one another."""

    tokens: tuple[str, ...]


class AllOf(Struct, frozen=True, array_like=True, tag="all"):
    """Every condition holds; with none, everything fits."""

    items: tuple["Filter", ...] = ()


class AnyOf(Struct, frozen=True, array_like=True, tag="any"):
    """One condition holds at least."""

    items: tuple["Filter", ...]


class Not(Struct, frozen=True, array_like=True, tag="not"):
    """The condition does not hold."""

    item: "Filter"


Filter = Match | Times | Addresses | Word | WordPrefix | Phrase | AllOf | AnyOf | Not

EVERYTHING: Final = AllOf()


def all_of(items: list[Filter]) -> Filter:
    """All conditions; one alone is itself."""
    return items[0] if len(items) == 1 else AllOf(tuple(items))


def any_of(items: list[Filter]) -> Filter:
    """One of the conditions; one alone is itself."""
    return items[0] if len(items) == 1 else AnyOf(tuple(items))


def occurred_within(condition: Filter) -> tuple[int | None, int | None]:
    """Bounds of `occurred_at` outside which nothing fits: the first moment, and the end after it.

    None where there is no such bound.
    """
    match condition:
        case Times(field="occurred_at", start=start, end=end):
            return start, end
        case AllOf(items):
            bounds = [occurred_within(item) for item in items]
            starts = [start for start, _ in bounds if start is not None]
            ends = [end for _, end in bounds if end is not None]
            return max(starts, default=None), min(ends, default=None)
        case AnyOf(items):
            all_starts, all_ends = zip(*map(occurred_within, items), strict=True)
            return (
                None if None in all_starts else min(all_starts),
                None if None in all_ends else max(all_ends),
            )
    return None, None
