"""What a search should give, said as plainly as it can be; and random conditions."""

import ipaddress
import json
from typing import Any, NamedTuple

from hypothesis import strategies as st

from ocelot_api.search.filters import (
    MATCH_FIELDS,
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
from ocelot_api.search.query import SearchQuery, Sort
from ocelot_common.attrs import attrs_of
from ocelot_common.event import decode_event
from ocelot_common.registry.model import Home
from ocelot_common.stored import StoredEvent
from ocelot_common.text_tokens import tokens_of_event
from searchdata.events import ADDRESSES


class Reference:
    """A search as plainly as it can be said, over an event's text."""

    def __init__(self, event: StoredEvent) -> None:
        self.event = event
        plain = json.loads(event.text)
        actor, source = plain["actor"], plain.get("source") or {}
        targets = plain.get("targets") or []
        several: dict[str, list[Any]] = {
            "action": [plain["action"]],
            "actor.id": [actor["id"]],
            "actor.type": [actor.get("type")],
            "actor.email": [actor.get("email")],
            "actor.name": [actor.get("name")],
            "actor.session_id": [actor.get("session_id")],
            "targets.id": [target.get("id") for target in targets],
            "targets.name": [target.get("name") for target in targets],
            "targets.type": [target.get("type") for target in targets],
            "request_id": [plain.get("request_id")],
            "trace_id": [plain.get("trace_id")],
            "tags": plain.get("tags") or [],
            "source.service": [source.get("service")],
            "source.user_agent": [source.get("user_agent")],
            "source.location": [source.get("location")],
            "writer": [event.writer],
            "outcome": [plain.get("outcome") or "unknown"],
            "severity": [plain.get("severity") or "info"],
            "attrs": attrs_of(
                plain.get("metadata"),
                (plain.get("changes") or {}).get("before"),
                (plain.get("changes") or {}).get("after"),
            ).entries,
        }
        self.values = {
            field: [value for value in values if value] for field, values in several.items()
        }
        ip = source.get("ip")
        self.address = ipaddress.ip_address(ip) if ip else None
        self.sequence = tokens_of_event(decode_event(event.text.encode()))
        self.tokens = set(self.sequence)

    def fits(self, query: SearchQuery) -> bool:
        return self.event.received_at >= query.cutoff and self.holds(query.filter)

    def holds(self, condition: Filter) -> bool:  # noqa: PLR0911 - one return a condition
        match condition:
            case Match(field, exact, prefixes):
                return any(
                    value in exact or any(value.startswith(prefix) for prefix in prefixes)
                    for value in self.values[field]
                )
            case Times(field, start, end):
                time = getattr(self.event, field)
                return (start is None or start <= time) and (end is None or time < end)
            case Addresses(first, last):
                if self.address is None:
                    return False
                mapped = self.address
                if mapped.version == 4:
                    mapped = ipaddress.IPv6Address(f"::ffff:{self.address}")
                return int.from_bytes(first) <= int(mapped) <= int.from_bytes(last)
            case Word(token):
                return token in self.tokens
            case WordPrefix(beginning):
                return any(token.startswith(beginning) for token in self.tokens)
            case Phrase(tokens):
                text, wanted = "\n".join(self.sequence), "\n".join(tokens)
                return f"\n{wanted}\n" in f"\n{text}\n"
            case AllOf(items):
                return all(map(self.holds, items))
            case AnyOf(items):
                return any(map(self.holds, items))
            case Not(item):
                return not self.holds(item)

    def key(self, sort: Sort) -> tuple[int, bytes]:
        time = self.event.occurred_at if sort.field == "occurred_at" else self.event.received_at
        return time, self.event.id


FIELDS = [field for field in MATCH_FIELDS if field != "attrs"]


@st.composite
def conditions(  # noqa: PLR0911 - one return a condition
    draw: st.DrawFn, data: "Data", depth: int = 0
) -> Filter:
    """A tree of conditions over what the events hold, and a little beside it."""
    kinds = ["match", "attrs", "times", "addresses", "word", "prefix", "phrase"]
    operators = ["all", "any", "not"] * (3 - depth)
    kind = draw(st.sampled_from([*operators, *kinds]))
    reference = draw(st.sampled_from(data.references))
    match kind:
        case "match" | "attrs":
            field = "attrs" if kind == "attrs" else draw(st.sampled_from(FIELDS))
            values = reference.values[field] or ["nothing"]
            exact = draw(st.lists(st.sampled_from(values), max_size=2))
            begun = draw(st.lists(st.sampled_from(values), min_size=not exact, max_size=2))
            prefixes = tuple(value[: draw(st.integers(0, len(value)))] for value in begun)
            return Match(field, tuple(exact), prefixes)
        case "times":
            field = draw(st.sampled_from(["occurred_at", "received_at"]))
            time = getattr(reference.event, field) + draw(st.integers(-1, 1))
            end = draw(st.none() | st.integers(time, time + 10**10))
            return Times(field, draw(st.sampled_from([time, None])), end)
        case "addresses":
            ends = sorted(draw(st.lists(st.sampled_from(ADDRESSES), min_size=2, max_size=2)))
            return Addresses(ends[0], ends[1])
        case "word" | "prefix":
            word = draw(st.sampled_from(reference.sequence))
            if kind == "word":
                return Word(word)
            return WordPrefix(word[: draw(st.integers(1, len(word)))])
        case "phrase":
            start = draw(st.integers(0, len(reference.sequence) - 1))
            tokens = reference.sequence[start : start + draw(st.integers(2, 4))]
            return Phrase(tuple(draw(st.permutations(tokens)) if draw(st.booleans()) else tokens))
    inner = conditions(data, depth + 1)
    if kind == "not":
        return Not(draw(inner))
    items = tuple(draw(st.lists(inner, min_size=1, max_size=3)))
    return AllOf(items) if kind == "all" else AnyOf(items)


class Data(NamedTuple):
    """A tenant's stored events, and a plain reading of each."""

    access: Any
    home: Home
    events: list[StoredEvent]
    references: list[Reference]

    def __repr__(self) -> str:
        return f"{len(self.events)} events of {self.access.tenant.id}"


def expected(data: Data, query: SearchQuery) -> list[bytes]:
    found = [ref for ref in data.references if ref.fits(query)]
    found.sort(key=lambda ref: ref.key(query.sort), reverse=query.sort.descending)
    return [ref.event.id for ref in found]
