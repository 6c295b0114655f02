"""Filters in MongoDB's query language, as far as it can judge them."""

import re
from typing import Any, NamedTuple

from bson import Binary, Regex
from bson.datetime_ms import DatetimeMS

from ocelot_api.search.filters import (
    ATTRS,
    Addresses,
    AllOf,
    AnyOf,
    Filter,
    Match,
    Not,
    Times,
)

Document = dict[str, Any]


class Selection(NamedTuple):
    """What MongoDB is asked for.

    Attributes:
        conditions: a query document; empty if it selects everything.
        exact: whether all that it selects fits. If not, each document is to be judged by
            `matching.fits`; what fits is selected in any case.
    """

    conditions: Document
    exact: bool


_EVERYTHING = Selection({}, exact=True)
_UNKNOWN = Selection({}, exact=False)


def selection_of(  # noqa: PLR0911 - one return a condition
    condition: Filter, *, with_attrs: bool
) -> Selection:
    """What MongoDB can select of a filter.

    Args:
        condition: the filter.
        with_attrs: whether the collection's documents hold `attrs`.
    """
    match condition:
        case Match(field) if field != ATTRS or with_attrs:
            return Selection(_match(condition), exact=True)
        case Times(field, start, end):
            bounds = {
                sign: DatetimeMS(time)
                for sign, time in (("$gte", start), ("$lt", end))
                if time is not None
            }
            return Selection({field: bounds} if bounds else {}, exact=True)
        case Addresses(first, last):
            ends = {"$gte": Binary(first), "$lte": Binary(last)}
            return Selection({"source.ip16": ends}, exact=True)
        case AllOf(items):
            return _all([selection_of(item, with_attrs=with_attrs) for item in items])
        case AnyOf(items):
            return _any([selection_of(item, with_attrs=with_attrs) for item in items])
        case Not(item):
            inner = selection_of(item, with_attrs=with_attrs)
            # What may be more than fits, turned round, may be less.
            return Selection({"$nor": [inner.conditions]}, exact=True) if inner.exact else _UNKNOWN
    return _UNKNOWN  # full text, and attrs that are not stored


def _all(selections: list[Selection]) -> Selection:
    conditions = [each.conditions for each in selections if each.conditions]
    exact = all(each.exact for each in selections)
    if len(conditions) < 2:
        return Selection(conditions[0] if conditions else {}, exact)
    return Selection({"$and": conditions}, exact)


def _any(selections: list[Selection]) -> Selection:
    exact = all(each.exact for each in selections)
    if not all(each.conditions for each in selections):
        return Selection({}, exact)
    return Selection({"$or": [each.conditions for each in selections]}, exact)


def _match(match: Match) -> Document:
    if "" in match.prefixes:  # any value; an empty one is none
        return {match.field: {"$gt": ""}}
    values: list[Any] = list(match.exact)
    values += [_beginning_with(prefix) for prefix in match.prefixes]
    return {match.field: {"$in": values}}


def _beginning_with(prefix: str) -> Regex[str]:
    # Not re.compile(), whose flag for Unicode keeps MongoDB from the bounds of an index. A pattern
    # in BSON ends at its first NUL.
    return Regex("^" + re.escape(prefix).replace("\0", r"\x00"))
