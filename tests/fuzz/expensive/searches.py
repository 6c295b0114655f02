"""Recipes of searches and statistics that cost much."""

import json
from random import Random
from typing import Any, Final, Self
from urllib.parse import quote

import msgspec

from expensive.service import Sample

_MAX_QUERY_BYTES: Final = 60_000
_MAX_TREE_BYTES: Final = 262_144
_FIRST: Final = "2026-01-01T00:00:00Z"

#: Values of filters, `%d` being ever another number.
VALUES: Final = (
    *("a", "a*", "*", "%d", "x%d*", "10.0.%d.0/24", "2001:db8::%d/64", "10.0.0.%d", "error"),
    *("2026-01-01T00:00:00Z", "0.0.0.0/0", "::/0", "é%d", "\u0301" * 300, "ﷺ" * 50, "\0", "," * 30),
    *("1" * 500, "fe80::1%eth0", "x" * 1_024, "-" * 500, "%41" * 30),
)
NAMES: Final = (
    *("action", "actor.id", "tag", "source.ip", "outcome", "severity.gte", "from", "to", "q"),
    *(
        "metadata.a",
        "metadata.%d",
        "changes.before.%d",
        "nosuch%d",
        "target.id",
        "fields",
        "cursor",
    ),
    *("limit", "sort", "distinct", "interval", "tz", "group_by", "top", "received_from"),
)
#: Parts of `q`.
WORDS: Final = (
    *("a ", "%d ", "-a ", "a OR ", '"a b" ', '"', "a* ", "-", "a@b.c ", "OR ", "日本", "é ", "﷽ "),
    *(
        "\u0301",
        "\\",
        '\\"',
        '"\\"" ',
        "* ",
        ". ",
        "-- ",
        "a-b-c-",
        "\t",
        '"" ',
        "ﬃ",
        "\U0001f98a ",
    ),
)


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """One search.

    Attributes:
        kind: of the request: `parameters`, `tree` or `stats`.
        name: of the filter that is repeated.
        value: of it.
        several: how many values each condition has.
        conditions: how many conditions there are.
        words: parts of a `q`, in turn; they take the place of `value` where there are any.
        chars: of a `q`.
        operators: around the conditions of a tree, from the outside to the inside.
        extra: parameters besides, as they stand in a query string.
    """

    kind: str = "tree"
    name: str = "action"
    value: str = "a"
    several: int = 1
    conditions: int = 1
    words: tuple[str, ...] = ()
    chars: int = 2_000
    operators: tuple[str, ...] = ("or",)
    extra: str = ""

    def sample(self) -> Sample:
        """The request."""
        if self.kind == "tree":
            body = json.dumps({"filter": self._tree()}, ensure_ascii=False).encode()
            body = body[:_MAX_TREE_BYTES]
            headers = ((b"content-type", b"application/json"),)
            return Sample("POST", "/api/v1/logs/search", b"", headers, body, len(body))
        path = "/api/v1/logs/stats" if self.kind == "stats" else "/api/v1/logs"
        parts = [self.extra] if self.extra else []
        size = 0
        for number in range(self.conditions * self.several):
            name = self.name.replace("%d", str(number))
            parts.append(f"{name}={quote(self._value(number), safe='')}")
            size += len(parts[-1]) + 1
            if size > _MAX_QUERY_BYTES:
                break
        query = "&".join(parts).encode()[:_MAX_QUERY_BYTES]
        return Sample("GET", path, query, (), b"", len(query))

    def mutated(self, random: Random) -> Self:
        """Another search, which differs in one or two things."""
        changes: dict[str, Any] = {}
        for _ in range(random.choice((1, 1, 2, 3))):
            name = random.choice(msgspec.structs.fields(type(self))).name
            changes[name] = self._changed(name, random)
        return msgspec.structs.replace(self, **changes)

    def _changed(self, name: str, random: Random) -> Any:
        choices: dict[str, tuple[Any, ...]] = {
            "kind": ("parameters", "tree", "tree", "stats"),
            "name": NAMES,
            "value": VALUES,
            "several": (1, 2, 10, 50, 51, self.several * 2),
            "conditions": (1, 10, 50, 100, 101, 1_000, 5_000, self.conditions * 2),
            "chars": (10, 500, 1_000, 2_000, 2_048, 2_049, 8_000),
            "operators": ((), ("or",), ("and", "or"), ("not",) * 7, ("or", "not") * 3),
            "extra": ("", "limit=1000", "interval=1m&from=2026-01-01T00:00:00Z", "interval=auto",
                      f"interval=1m&tz=Europe/Berlin&from={_FIRST}&to=2026-01-01T16:39:00Z",
                      "fields=" + "a," * 20_000,
                      "fields=" + ",".join(f"metadata.{n}" for n in range(5_000)),
                      f"interval=12h&tz=Europe/Berlin&from={_FIRST}&to=2027-05-01T00:00:00Z",
                      "distinct=" + "action," * 5_000,
                      "cursor=" + "A" * 50_000),
            "words": ((), (random.choice(WORDS),), (*self.words, random.choice(WORDS))[-5:]),
        }  # fmt: skip
        return random.choice(choices[name])

    def _value(self, number: int) -> str:
        if not self.words:
            return self.value.replace("%d", str(number % 250))
        unit = "".join(self.words).replace("%d", str(number))
        return (unit * (self.chars // len(unit) + 1))[: self.chars]

    def _tree(self) -> Any:
        nodes: list[Any] = []
        for number in range(self.conditions):
            values = [self._value(number * self.several + each) for each in range(self.several)]
            name = self.name.replace("%d", str(number))
            nodes.append({name: values if self.several > 1 else values[0]})
        tree: Any = nodes if len(nodes) > 1 else nodes[0]
        for operator in reversed(self.operators or (("and",) if len(nodes) > 1 else ())):
            if operator == "not":
                tree = {"not": {"and": tree} if isinstance(tree, list) else tree}
            else:
                tree = {operator: tree if isinstance(tree, list) else [tree]}
        return tree


def _seed(**options: Any) -> Search:
    return msgspec.structs.replace(Search(), **options)


#: Requests that cost too much once, and likely ones.
SEEDS: Final[dict[str, Search]] = {
    "100 q": _seed(name="q", words=("a%d ", "b "), chars=140, conditions=100),
    "100 q of signs": _seed(name="q", words=(". ",), chars=2_000, conditions=100),
    "100 q of 2,000 characters": _seed(name="q", words=("a ",), chars=99, conditions=100),
    "one q of 50 words": _seed(name="q", words=("a ",), chars=99, kind="parameters"),
    "one q of signs": _seed(name="q", words=(". ",), chars=2_048, kind="parameters"),
    "one q of quotes": _seed(name="q", words=('"" ',), chars=2_048, kind="parameters"),
    "one q of marks": _seed(name="q", words=("\u0301",), chars=2_048, kind="parameters"),
    "100 q of marks": _seed(name="q", words=("\u0301",), chars=1_000, conditions=100),
    "100 q of ligatures": _seed(name="q", words=("﷽",), chars=800, conditions=100),
    "5,000 networks": _seed(name="source.ip", value="10.0.%d.0/24", several=50, conditions=100),
    "5,000 networks of IPv6": _seed(
        name="source.ip", value="2001:db8::%d/64", several=50, conditions=100
    ),
    "2,500 networks": _seed(name="source.ip", value="10.%d.0.0/16", several=50, conditions=50),
    "50 networks": _seed(
        name="source.ip", value="10.0.%d.0/24", several=50, conditions=1, kind="parameters"
    ),
    "5,000 values": _seed(name="action", value="x%d*", several=50, conditions=100),
    "5,000 paths": _seed(name="metadata.%d", value="x%d", several=50, conditions=100),
    "100 times": _seed(name="from", value="2026-01-01T00:00:00Z", conditions=100),
    "10,000 conditions": _seed(name="action", value="a", conditions=10_000),
    "deep": _seed(operators=("not",) * 7, conditions=1),
    "thousands of parameters": _seed(kind="parameters", name="metadata.%d", conditions=4_000),
    "one parameter thousands of times": _seed(kind="parameters", name="action", conditions=6_000),
    "thousands of fields": _seed(
        kind="parameters", extra="fields=" + ",".join(f"metadata.{n}" for n in range(5_000))
    ),
    "an hour by hour count": _seed(
        kind="stats",
        name="action",
        extra="interval=12h&tz=Europe/Berlin&from=2026-01-01T00:00:00Z&to=2027-05-01T00:00:00Z",
    ),
    "minutes": _seed(
        kind="stats",
        name="action",
        extra="interval=1m&tz=Europe/Berlin&from=2026-01-01T00:00:00Z&to=2026-01-01T16:39:00Z",
    ),
    "a stat by 40 parameters": _seed(kind="stats", name="metadata.%d", conditions=1_000),
}
