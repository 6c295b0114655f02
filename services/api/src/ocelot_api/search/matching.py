"""Whether one event fits a filter: what MongoDB can't judge, and a measure for both stores."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from msgspec import UNSET

from ocelot_api.search.filters import (
    Addresses,
    AllOf,
    AnyOf,
    Filter,
    Match,
    Not,
    Phrase,
    Times,
    Word,
    WordPrefix,
)
from ocelot_common.attrs import Attrs
from ocelot_common.event import (
    DEFAULT_OUTCOME,
    DEFAULT_SEVERITY,
    Event,
    decode_event,
    ip_bytes,
)
from ocelot_common.search_document import attrs_of_event
from ocelot_common.stored import StoredEvent
from ocelot_common.text_tokens import tokens_of_event


class EventView:
    """A stored event as filters see it; each part is made when it is first asked for."""

    def __init__(self, stored: StoredEvent) -> None:
        self._stored = stored

    @cached_property
    def _event(self) -> Event[Any, Any]:
        return decode_event(self._stored.text.encode())

    def time_ms(self, field: str) -> int:
        """`occurred_at` or `received_at`."""
        return self._stored.occurred_at if field == "occurred_at" else self._stored.received_at

    def values(self, field: str) -> Sequence[str]:
        """The values of a field of `Match`; none that is absent, null or empty."""
        event = self._event
        match field:
            case "attrs":
                return self._attrs.entries
            case "writer":
                return (self._stored.writer,)
            case "outcome":
                return (event.outcome or DEFAULT_OUTCOME,)
            case "severity":
                return (event.severity or DEFAULT_SEVERITY,)
            case "tags":
                return event.tags or ()
        owner, _, name = field.rpartition(".")
        holders: Sequence[Any] = (event,)
        if owner == "targets":
            holders = event.targets or ()
        elif owner:
            holders = (getattr(event, owner),)
        return [
            value
            for holder in holders
            if holder and (value := getattr(holder, name)) is not UNSET and value is not None
        ]

    @cached_property
    def address(self) -> bytes | None:
        """`source.ip` as 16 bytes."""
        source = self._event.source
        return ip_bytes(source.ip) if source and source.ip else None

    @cached_property
    def tokens(self) -> list[str]:
        """The tokens of the full text, in order."""
        return tokens_of_event(self._event)

    @cached_property
    def words(self) -> frozenset[str]:
        """The tokens of the full text."""
        return frozenset(self.tokens)

    @property
    def attrs_cut(self) -> bool:
        """Whether some of the `path=value` entries were left out or cut."""
        return self._attrs.cut

    @cached_property
    def _attrs(self) -> Attrs:
        return attrs_of_event(self._event)


def fits(condition: Filter, event: EventView) -> bool:  # noqa: PLR0911 - one return a condition
    """Whether an event fits."""
    match condition:
        case Match(field, exact, prefixes):
            return _matches(event.values(field), exact, prefixes)
        case Times(field, start, end):
            time_ms = event.time_ms(field)
            return (start is None or time_ms >= start) and (end is None or time_ms < end)
        case Addresses(first, last):
            return event.address is not None and first <= event.address <= last
        case Word(token):
            return token in event.words
        case WordPrefix(beginning):
            return any(word.startswith(beginning) for word in event.words)
        case Phrase(tokens):
            return event.words.issuperset(tokens) and _follow(event.tokens, tokens)
        case AllOf(items):
            return all(fits(item, event) for item in items)
        case AnyOf(items):
            return any(fits(item, event) for item in items)
        case Not(item):
            return not fits(item, event)


def _matches(values: Sequence[str], exact: tuple[str, ...], prefixes: tuple[str, ...]) -> bool:
    return any(value in exact or (value != "" and value.startswith(prefixes)) for value in values)


def _follow(tokens: list[str], wanted: tuple[str, ...]) -> bool:
    """Whether the wanted tokens stand one after the other somewhere."""
    size = len(wanted)
    first = wanted[0]
    at = -1
    while True:
        try:
            at = tokens.index(first, at + 1)
        except ValueError:
            return False
        if tuple(tokens[at : at + size]) == wanted:
            return True
