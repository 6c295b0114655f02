"""Statistics by MongoDB: in its own pipelines, or over events that were judged here."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from ipaddress import IPv6Address
from sys import getsizeof
from typing import Any, Final

from bson.datetime_ms import DatetimeMS
from pymongo.asynchronous.collection import AsyncCollection

from ocelot_api.search.matching import EventView
from ocelot_api.search.stats import (
    Distinct,
    Group,
    Groups,
    Stats,
    StatsQuery,
    Timeline,
    ValueField,
    timeline_of,
)
from ocelot_common.reading import in_bounds, is_unicode

Document = dict[str, Any]

_BUCKET: Final = "b"
_VALUE: Final = "v"
_COUNT: Final = "n"
#: Of a value, in UTF-8; the longest keyword has 1,024 characters.
_MAX_VALUE_BYTES: Final = 4_096
_ADDRESS_BYTES: Final = 16
#: A time and its place in three lists; and the place of a value in a dictionary.
_TIME_BYTES: Final = 32 + 56 + 3 * 8
_KNOWN_BYTES: Final = 100


class PipelineStats:
    """Counts what a query document selects, on the server.

    Args:
        collection: of the space.
        conditions: the selection, exact, the tenant's uid in it.
        timeout_sec: what one pipeline may take.
    """

    def __init__(
        self, collection: AsyncCollection[Document], conditions: Document, *, timeout_sec: float
    ) -> None:
        self._collection = collection
        self._conditions = conditions
        self._timeout_ms = int(timeout_sec * 1000)

    async def answer(self, query: StatsQuery) -> Stats:
        """Everything that is asked for, one pipeline after the other."""
        timeline = await timeline_of(query, self._extent)
        buckets = [0] * (len(timeline.edges) - 1 if timeline else 0)
        total = 0
        at = _bucket_at(timeline)
        for row in await self._run({"$group": {"_id": at, _COUNT: {"$sum": 1}}}):
            total += row[_COUNT]
            if row["_id"] is not None:
                buckets[row["_id"]] = row[_COUNT]
        whole = not query.needs_attrs or not await self._any_cut()
        groups = None
        if query.group_by:
            groups = await self._groups(query.group_by, query.top, timeline, whole=whole)
        distinct = []
        for field in query.distinct:
            rows = await self._run(*_by_value(field), {"$count": _COUNT})
            exact = whole or not field.path
            distinct.append(Distinct(rows[0][_COUNT] if rows else 0, exact))
        return Stats(total, timeline, buckets, groups, distinct)

    async def _run(self, *stages: Document) -> list[Document]:
        cursor = await self._collection.aggregate(
            [{"$match": self._conditions}, *stages], maxTimeMS=self._timeout_ms
        )
        return await cursor.to_list()

    async def _extent(self) -> tuple[int, int] | None:
        rows = await self._run(
            # What is no date would be the smallest, or the largest.
            {"$match": in_bounds("occurred_at")},
            {
                "$group": {
                    "_id": None,
                    "first": {"$min": "$occurred_at"},
                    "last": {"$max": "$occurred_at"},
                }
            },
        )
        return (int(rows[0]["first"]), int(rows[0]["last"])) if rows else None

    async def _any_cut(self) -> bool:
        return bool(await self._run({"$match": {"attrs_cut": True}}, {"$limit": 1}))

    async def _groups(
        self, field: ValueField, number: int, timeline: Timeline | None, *, whole: bool
    ) -> Groups:
        commonest = {
            "n": number,
            "sortBy": {_COUNT: -1, "_id": 1},
            "output": {_VALUE: "$_id", _COUNT: f"${_COUNT}"},
        }
        rows = await self._run(
            *_by_value(field),
            {"$group": {"_id": None, "all": {"$sum": f"${_COUNT}"}, "top": {"$topN": commonest}}},
        )
        found = rows[0]["top"] if rows else []
        top = [each for each in found if _is_answerable(each[_VALUE])]
        along = await self._along(field, [each[_VALUE] for each in top], timeline)
        groups = [
            Group(_text(field, each[_VALUE]), each[_COUNT], counts)
            for each, counts in zip(top, along, strict=True)
        ]
        other = (rows[0]["all"] if rows else 0) - sum(group.count for group in groups)
        return Groups(groups, other, whole or not field.path)

    async def _along(
        self, field: ValueField, values: list[Any], timeline: Timeline | None
    ) -> list[list[int]]:
        size = len(timeline.edges) - 1 if timeline else 0
        along = {value: [0] * size for value in values}
        if timeline and values:
            rows = await self._run(
                {"$project": {_VALUE: _values(field), _BUCKET: _bucket_at(timeline)}},
                {"$unwind": f"${_VALUE}"},
                {"$match": {_VALUE: {"$in": values}}},
                {"$group": {"_id": [f"${_VALUE}", f"${_BUCKET}"], _COUNT: {"$sum": 1}}},
            )
            for row in rows:
                value, bucket = row["_id"]
                # Within an array of arrays, MongoDB finds values that are not the event's.
                if bucket is not None and isinstance(value, str | bytes):
                    along[value][bucket] = row[_COUNT]
        return list(along.values())


def _by_value(field: ValueField) -> list[Document]:
    return [
        {"$project": {_VALUE: _values(field)}},
        {"$unwind": f"${_VALUE}"},
        {"$group": {"_id": f"${_VALUE}", _COUNT: {"$sum": 1}}},
        # Only what an event can have: judged once per value, not once per document.
        {"$match": {"$expr": _is_value(field)}},
    ]


def _values(field: ValueField) -> Document:
    """The expression of an event's values: each once, none that is null or empty."""
    if field.path:
        is_text = {"$eq": [{"$type": "$$entry"}, "string"]}
        begins = {"$eq": [{"$indexOfBytes": ["$$entry", {"$literal": field.prefix}]}, 0]}
        cond = {"$and": [is_text, begins]}
        return {"$filter": {"input": _array("$attrs"), "as": "entry", "cond": cond}}
    several = field.stored == "tags" or field.stored.startswith("targets.")
    stored = "source.ip16" if field.stored == "source.ip" else field.stored
    given: Any = _array(f"${stored}") if several else [f"${stored}"]
    return {"$setDifference": [given, {"$literal": [None, ""]}]}


def _array(value: str) -> Document:
    return {"$cond": [{"$isArray": value}, value, []]}


def _is_value(field: ValueField) -> Document:
    """The expression of whether a value is one that an event can have, by type and size."""
    kind, size, most = "string", "$strLenBytes", _MAX_VALUE_BYTES
    if field.stored == "source.ip":
        kind, size, most = "binData", "$binarySize", _ADDRESS_BYTES
    least = most if kind == "binData" else 0
    measured = {"$cond": [{"$eq": [{"$type": "$_id"}, kind]}, {size: "$_id"}, None]}
    return {"$and": [{"$gte": [measured, least]}, {"$lte": [measured, most]}]}


def _bucket_at(timeline: Timeline | None) -> Any:
    """The expression of an event's bucket, its number; null outside of all."""
    if timeline is None:
        return None
    edges = timeline.edges

    def search(low: int, high: int) -> Any:
        if high - low == 1:
            return {"$literal": low}
        middle = (low + high) // 2
        return {"$cond": [_before(edges[middle]), search(low, middle), search(middle, high)]}

    inside = {"$cond": [_before(edges[-1]), search(0, len(edges) - 1), None]}
    return {"$cond": [_before(edges[0]), None, inside]}


def _before(edge: int) -> Document:
    return {"$lt": ["$occurred_at", DatetimeMS(edge)]}


def _is_answerable(value: str | bytes) -> bool:
    return isinstance(value, bytes) or is_unicode(value)


def _text(field: ValueField, value: Any) -> str:
    if field.stored == "source.ip":
        return _address(value)
    text: str = value
    return text[len(field.prefix) :] if field.path else text


def _address(sixteen: bytes) -> str:
    address = IPv6Address(bytes(sixteen))
    return str(address.ipv4_mapped or address)


class ScannedStats:
    """Counts events that are handed to it, where MongoDB can't judge or see what is asked."""

    def __init__(self, query: StatsQuery) -> None:
        self._query = query
        self._fields = [field for field in (query.group_by, *query.distinct) if field]
        self._times: list[int] = []
        self._values: list[list[frozenset[Any]]] = []
        self._known: dict[Any, Any] = {}
        self._whole = True

    def add(self, events: Iterable[EventView]) -> int:
        """Take events that fit.

        Returns:
            Bytes that they hold. A value that was met before is held once.
        """
        size = 0
        for event in events:
            self._times.append(event.time_ms("occurred_at"))
            row = []
            for field in self._fields:
                values = _values_of(event, field)
                size += getsizeof(values)
                for value in values - self._known.keys():
                    self._known[value] = value
                    size += _KNOWN_BYTES + getsizeof(value)
                row.append(frozenset([self._known[value] for value in values]))
            self._values.append(row)
            size += _TIME_BYTES
            if self._query.needs_attrs and event.attrs_cut:
                self._whole = False
        return size

    async def answer(self) -> Stats:
        """The statistics of what was taken."""
        timeline = await timeline_of(self._query, self._extent)
        edges = timeline.edges if timeline else []
        at = [bisect_right(edges, moment) - 1 for moment in self._times]
        columns = list(zip(*self._values, strict=True)) or [()] * len(self._fields)
        groups = None
        if self._query.group_by:
            groups = self._groups(self._query.group_by, columns.pop(0), at, len(edges) - 1)
        distinct = [
            Distinct(len(frozenset().union(*column)), self._whole or not field.path)
            for field, column in zip(self._query.distinct, columns, strict=True)
        ]
        buckets = _histogram(at, len(edges) - 1)
        return Stats(len(self._times), timeline, buckets, groups, distinct)

    async def _extent(self) -> tuple[int, int] | None:
        return (min(self._times), max(self._times)) if self._times else None

    def _groups(
        self, field: ValueField, column: Sequence[frozenset[Any]], at: list[int], size: int
    ) -> Groups:
        counter: Counter[Any] = Counter(value for values in column for value in values)
        ordered = sorted(counter.items(), key=lambda item: (-item[1], _bytes(item[0])))
        top = ordered[: self._query.top]
        positions: dict[Any, list[int]] = {value: [] for value, _ in top}
        for values, bucket in zip(column, at, strict=True):
            for value in values & positions.keys():
                positions[value].append(bucket)
        return Groups(
            [
                Group(_text(field, value), count, _histogram(positions[value], size))
                for value, count in top
            ],
            sum(count for _, count in ordered[self._query.top :]),
            self._whole or not field.path,
        )


def _values_of(event: EventView, field: ValueField) -> frozenset[Any]:
    if field.path:
        return frozenset(entry for entry in event.values("attrs") if entry.startswith(field.prefix))
    if field.stored == "source.ip":
        return frozenset([event.address] if event.address else [])
    return frozenset(value for value in event.values(field.stored) if value)


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


def _histogram(at: Iterable[int], size: int) -> list[int]:
    counts = [0] * max(0, size)
    for bucket in at:
        if 0 <= bucket < len(counts):
            counts[bucket] += 1
    return counts
