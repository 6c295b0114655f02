"""Statistics as OpenSearch aggregations."""

import re
from ipaddress import ip_address
from itertools import pairwise
from typing import Any, Final

from ocelot_api.search.opensearch_query import tenant_clause
from ocelot_api.search.stats import Distinct, Group, Groups, Stats, StatsQuery, Timeline, ValueField

Document = dict[str, Any]

#: Different values are counted one by one up to here, and estimated beyond.
EXACT_DISTINCT: Final = 1_000
#: Candidates for the commonest values from each shard: with fewer values than these, counts are
#: exact.
_CANDIDATES: Final = 1_000
_PRECISION: Final = 10_000
#: What may have a meaning in Lucene's regular expressions; nothing else has.
_PUNCTUATION: Final = re.compile(r"[!-/:-@\[-`{-~]")


def extent_body(query: StatsQuery) -> Document:
    """The body that asks for the first and the last moment."""
    return _body(query) | {
        "aggs": {
            "first": {"min": {"field": "occurred_at"}},
            "last": {"max": {"field": "occurred_at"}},
        }
    }


def read_extent(aggregations: Document) -> tuple[int, int] | None:
    """The first and the last moment; None where nothing was found."""
    first, last = (aggregations[name]["value"] for name in ("first", "last"))
    return None if first is None or last is None else (int(first), int(last))


def stats_body(query: StatsQuery, timeline: Timeline | None) -> Document:
    """The body that asks for everything else."""
    aggregations: Document = {"cut": {"filter": {"term": {"attrs_cut": True}}}}
    along = {"buckets": _along(timeline)} if timeline else {}
    aggregations |= along
    if query.group_by:
        terms = _terms(query.group_by, query.top)
        terms["shard_size"] = max(_CANDIDATES, 2 * query.top)
        aggregations["groups"] = {"terms": terms, **({"aggs": along} if along else {})}
    for number, field in enumerate(query.distinct):
        aggregations[f"distinct_{number}"] = {"terms": _terms(field, EXACT_DISTINCT)}
        if not field.path:
            estimate = {"field": field.stored, "precision_threshold": _PRECISION}
            aggregations[f"estimate_{number}"] = {"cardinality": estimate}
    return _body(query) | {"aggs": aggregations}


def read_stats(
    query: StatsQuery, timeline: Timeline | None, total: int, aggregations: Document
) -> Stats:
    """The answer from OpenSearch's."""
    whole = aggregations["cut"]["doc_count"] == 0
    return Stats(
        total,
        timeline,
        _counts(aggregations) if timeline else [],
        _groups(query.group_by, aggregations["groups"], whole=whole) if query.group_by else None,
        [
            _distinct(field, number, aggregations, whole=whole)
            for number, field in enumerate(query.distinct)
        ],
    )


def _body(query: StatsQuery) -> Document:
    return {"size": 0, "track_total_hits": True, "query": tenant_clause(query)}


def _along(timeline: Timeline) -> Document:
    ranges = [{"from": start, "to": end} for start, end in pairwise(timeline.edges)]
    return {"date_range": {"field": "occurred_at", "format": "epoch_millis", "ranges": ranges}}


def _terms(field: ValueField, size: int) -> Document:
    terms: Document = {"field": field.stored, "size": size}
    if field.path:
        terms["include"] = _PUNCTUATION.sub(r"\\\g<0>", field.prefix) + ".*"
    elif field.stored != "source.ip":
        terms["exclude"] = [""]  # an empty value is none
    return terms


def _groups(field: ValueField, answer: Document, *, whole: bool) -> Groups:
    top = [
        Group(_value(field, bucket), bucket["doc_count"], _counts(bucket))
        for bucket in answer["buckets"]
    ]
    exact = answer["doc_count_error_upper_bound"] == 0 and (whole or not field.path)
    return Groups(top, answer["sum_other_doc_count"], exact)


def _value(field: ValueField, bucket: Document) -> str:
    key: str = bucket["key"]
    if field.path:
        return key[len(field.prefix) :]
    return str(ip_address(key)) if field.stored == "source.ip" else key


def _counts(holder: Document) -> list[int]:
    return [bucket["doc_count"] for bucket in holder.get("buckets", {}).get("buckets", [])]


def _distinct(field: ValueField, number: int, aggregations: Document, *, whole: bool) -> Distinct:
    listed = aggregations[f"distinct_{number}"]
    counted = len(listed["buckets"])
    if listed["sum_other_doc_count"] == 0:
        return Distinct(counted, whole or not field.path)
    if field.path:
        return Distinct(counted, exact=False)
    return Distinct(max(counted, aggregations[f"estimate_{number}"]["value"]), exact=False)
