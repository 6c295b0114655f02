"""Both backends count alike, and as a naive count of the events."""

import itertools
import random
from collections import Counter
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocelot_api.search.filters import Filter, Match, Times, Word, all_of
from ocelot_api.search.stats import Stats, StatsQuery, ValueField
from ocelot_api.search.stats_parameters import VALUE_FIELDS
from ocelot_api.search.time_buckets import Interval
from ocelot_common.event import ip_bytes
from ocelot_common.timestamps import parse_rfc3339
from searchdata.reference import Data, Reference, conditions

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

STATS = "/api/v1/logs/stats"
#: The test data has events from the year 1 to today: what has buckets is a part of it.
DAY_MS = 24 * 3600 * 1000
START = parse_rfc3339("2026-01-01T00:00:00Z")
LATELY = Times("occurred_at", START, None)
PATHS = (
    "metadata.k",
    "metadata.plan",
    "metadata.a.b",
    "metadata.é",
    "changes.after.k",
    "metadata.$x",
)
FIELDS = [
    *(ValueField(name, stored) for name, stored in VALUE_FIELDS.items()),
    *(ValueField(path, "attrs", path) for path in PATHS),
]


def values_of(reference: Reference, field: ValueField) -> set[str]:
    if field.path:
        entries = reference.values["attrs"]
        return {
            each.removeprefix(f"{field.path}=")
            for each in entries
            if each.startswith(f"{field.path}=")
        }
    if field.stored == "source.ip":
        address = reference.address
        mapped = getattr(address, "ipv4_mapped", None)
        return {str(mapped or address)} if address else set()
    return set(reference.values[field.stored])


def tie(field: ValueField, value: str) -> bytes:
    """What orders values of equal counts: their bytes, an address's sixteen."""
    return (ip_bytes(value) or b"") if field.stored == "source.ip" else value.encode()


def naive(data: Data, query: StatsQuery, stats: Stats) -> None:
    """Count again, plainly, and compare."""
    found = [reference for reference in data.references if reference.fits(query)]
    assert stats.total == len(found)
    edges = stats.timeline.edges if stats.timeline else []

    def along(references: list[Reference]) -> list[int]:
        return [
            sum(start <= each.event.occurred_at < end for each in references)
            for start, end in itertools.pairwise(edges)
        ]

    if query.timed and found:
        assert stats.buckets == along(found)
        assert sum(stats.buckets) == len(found)
    if query.group_by:
        counts = Counter(value for each in found for value in values_of(each, query.group_by))
        ordered = sorted(counts.items(), key=lambda item: (-item[1], tie(query.group_by, item[0])))
        assert stats.groups is not None
        top = [(group.value, group.count) for group in stats.groups.top]
        assert top == ordered[: query.top]
        assert stats.groups.other == sum(counts.values()) - sum(g.count for g in stats.groups.top)
        for group in stats.groups.top:
            holders = [each for each in found if group.value in values_of(each, query.group_by)]
            assert group.count == len(holders)
            assert group.buckets == along(holders)
    for field, each in zip(query.distinct, stats.distinct, strict=True):
        assert each.value == len(set().union(*(values_of(one, field) for one in found)))


async def assert_same(data: Data, both: Any, **asked: Any) -> Stats:
    query = StatsQuery(home=data.home, **asked)
    answers = [await backend.stats(query) for backend in both]
    assert answers[0] == answers[1]
    naive(data, query, answers[0])
    return answers[0]


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
async def test_every_field_is_counted_alike(data: Data, both: Any, field: ValueField):
    stats = await assert_same(data, both, group_by=field, top=100, distinct=(field,))
    assert stats.groups is not None
    if field.name not in ("source.location", "actor.session_id", "actor.name", "target.name"):
        assert stats.groups.top or field.path
    few = await assert_same(data, both, group_by=field, top=2)
    assert few.groups is not None
    assert few.groups.top == stats.groups.top[:2]


@pytest.mark.parametrize("interval", [None, Interval.HOUR, Interval.SIX_HOURS, *list(Interval)[8:]])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/New_York"])
async def test_every_interval_is_counted_alike(
    data: Data, both: Any, interval: Interval | None, zone: str
):
    asked: dict[str, Any] = {"filter": LATELY, "zone": ZoneInfo(zone), "auto": interval is None}
    action = ValueField("action", "action")
    if interval in (Interval.HOUR, Interval.THREE_HOURS, Interval.SIX_HOURS):
        asked["filter"] = Times("occurred_at", START, START + 30 * DAY_MS)
    stats = await assert_same(data, both, interval=interval, group_by=action, top=3, **asked)
    assert sum(stats.buckets) == stats.total > 0


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(draw=st.data())
async def test_random_statistics_give_the_same_on_both_and_as_they_are_counted(
    data: Data, both: Any, draw: st.DataObject
):
    filters: list[Filter] = [draw.draw(conditions(data))]
    interval = draw.draw(st.sampled_from([None, Interval.DAY, Interval.WEEK, Interval.MONTH]))
    if interval:
        filters.append(LATELY)
    await assert_same(
        data,
        both,
        filter=all_of(filters),
        interval=interval,
        zone=ZoneInfo(draw.draw(st.sampled_from(["UTC", "Europe/Berlin", "Pacific/Chatham"]))),
        group_by=draw.draw(st.sampled_from([None, *FIELDS])),
        top=draw.draw(st.sampled_from([1, 5, 50])),
        distinct=tuple(draw.draw(st.lists(st.sampled_from(FIELDS), max_size=2, unique=True))),
    )


async def test_nothing_found_is_zero_everywhere(data: Data, both: Any):
    nothing = Match("action", ("no such action",))
    action = ValueField("action", "action")
    stats = await assert_same(
        data, both, filter=nothing, interval=Interval.DAY, group_by=action, distinct=(action,)
    )
    assert stats == Stats(0, None, [], stats.groups, stats.distinct)
    assert stats.groups is not None
    assert (stats.groups.top, stats.groups.other, stats.distinct[0].value) == ([], 0, 0)
    bounded = Times(
        "occurred_at", parse_rfc3339("2020-01-01T00:00:00Z"), parse_rfc3339("2020-01-04T00:00:00Z")
    )
    stats = await assert_same(data, both, filter=bounded, interval=Interval.DAY)
    assert stats.buckets == [0, 0, 0]


async def test_metadata_too_large_to_be_indexed_whole_make_the_counts_approximate(
    data: Data, both: Any
):
    path = ValueField("metadata.plan", "attrs", "metadata.plan")
    stats = await assert_same(data, both, group_by=path, distinct=(path,))
    assert stats.groups is not None
    assert not stats.groups.exact
    assert not stats.distinct[0].exact
    typed = await assert_same(data, both, group_by=FIELDS[0], distinct=(FIELDS[0],))
    assert typed.groups is not None
    assert typed.groups.exact
    assert typed.distinct[0].exact


async def test_words_are_counted_on_both(data: Data, both: Any):
    rng = random.Random(5)
    for reference in rng.sample(data.references, 5):
        word = Word(rng.choice(sorted(reference.tokens)))
        stats = await assert_same(
            data, both, filter=word, group_by=FIELDS[0], distinct=(FIELDS[1],)
        )
        assert stats.total > 0


async def test_over_http_on_both(data: Data, running: Any, mongo_only: httpx.AsyncClient):
    bodies = []
    for http, backend in ((running.http, "opensearch"), (mongo_only, "mongodb")):
        answer = await http.get(
            STATS,
            params=[
                ("from", "2026-01-01T00:00:00Z"), ("to", "2026-04-01T00:00:00+02:00"),
                ("interval", "1M"), ("tz", "Europe/Berlin"), ("group_by", "outcome"), ("top", "2"),
                ("distinct", "actor.id,action"), ("distinct", "metadata.plan"),
            ],
            headers=data.access.reader,
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body.pop("backend") == backend
        bodies.append(body)
    assert bodies[0] == bodies[1]
    body = bodies[0]
    starts = ["2026-01-01T00:00:00+01:00", "2026-02-01T00:00:00+01:00", "2026-03-01T00:00:00+01:00"]
    assert [bucket["start"] for bucket in body["buckets"]] == starts
    assert sum(bucket["count"] for bucket in body["buckets"]) == body["total"] > 0
    assert (body["interval"], body["tz"]) == ("1M", "Europe/Berlin")
    groups = body["groups"]
    assert (groups["field"], groups["relation"], len(groups["values"])) == ("outcome", "exact", 2)
    for value in groups["values"]:
        assert sum(bucket["count"] for bucket in value["buckets"]) == value["count"]
    assert groups["other"] + sum(value["count"] for value in groups["values"]) == body["total"]
    assert body["distinct"].keys() == {"actor.id", "action", "metadata.plan"}
    assert all(datetime.fromisoformat(bucket["start"]).tzinfo for bucket in body["buckets"])


async def test_another_tenants_events_and_those_past_the_cutoff_are_not_counted(running: Any):
    access, other = await running.tenant(), await running.tenant()
    line = b'{"action":"mine","actor":{"id":"u"}}'
    await running.post_lines(access, [line] * 3)
    await running.post_lines(other, [b'{"action":"theirs","actor":{"id":"v"}}'] * 5)
    await running.until_indexed(access.tenant, 3)
    await running.until_indexed(other.tenant, 5)
    params = {"group_by": "action", "distinct": "actor.id"}
    body = (await running.http.get(STATS, params=params, headers=access.reader)).json()
    assert (body["total"], body["distinct"]["actor.id"]["value"]) == (3, 1)
    assert body["groups"]["values"] == [{"value": "mine", "count": 3}]


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("interval=2m", "interval"),
        ("interval=", "interval"),
        ("interval=1d&interval=1h", "interval"),
        ("interval=1d&tz=Berlin", "tz"),
        ("interval=1d&tz=../../etc/passwd", "tz"),
        ("interval=1d&tz=%00", "tz"),
        ("tz=UTC", "tz"),
        ("top=5", "top"),
        ("group_by=action&top=0", "top"),
        ("group_by=action&top=101", "top"),
        ("group_by=action&top=%D9%A1", "top"),
        ("group_by=$where", "group_by"),
        ("group_by=event", "group_by"),
        ("group_by=t", "group_by"),
        ("group_by=metadata.", "group_by"),
        ("group_by=changes.x", "group_by"),
        ("group_by=", "group_by"),
        ("group_by=metadata." + "x" * 300, "group_by"),
        ("distinct=a,b", "distinct"),
        ("distinct=action,actor.id,tag,outcome,severity,writer", "distinct"),
        ("interval=1m&from=2026-01-01T00:00:00Z&to=2026-03-01T00:00:00Z", "interval"),
        ("interval=1y&from=0001-01-01T00:00:00Z&to=9999-12-31T00:00:00Z", "interval"),
        (
            "interval=1d&from=2024-01-01T00:00:00Z&to=2026-03-01T00:00:00Z&group_by=action&top=100",
            "interval",
        ),
        ("limit=5", "limit"),
        ("cursor=x", "cursor"),
        ("fields=id", "fields"),
        ("q=%22", "q"),
    ],
)
async def test_bad_parameters(data: Data, running: Any, query: str, path: str):
    answer = await running.http.get(f"{STATS}?{query}", headers=data.access.reader)
    assert answer.status_code == 400, answer.text
    assert answer.json()["path"] == path


@pytest.mark.parametrize(
    "path",
    ["metadata..*", "metadata.(a|b)", "metadata.k=.*|metadata", "metadata.\\", "metadata.$x",
     "metadata.a]b[", "metadata.~", "metadata.#", "metadata.<1-5>", "metadata.&", "metadata.\"",
     "metadata.@", "metadata.\n", "metadata.\0", "metadata.é{2}", "metadata.$$entry"],
)  # fmt: skip
async def test_a_path_is_never_a_pattern(data: Data, both: Any, path: str):
    field = ValueField(path, "attrs", path)
    await assert_same(data, both, group_by=field, distinct=(field,))
