"""Filters in OpenSearch's query language."""

from socket import AF_INET6, inet_ntop
from typing import Any

from ocelot_api.search.filters import (
    EVERYTHING,
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
from ocelot_api.search.query import TenantQuery

Clause = dict[str, Any]

_TEXT = "text"


def tenant_clause(query: TenantQuery) -> Clause:
    """The query clause of what is asked for. The tenant's term is always in it."""
    filters: list[Clause] = [{"term": {"t": query.home.tenant.uid}}]
    if query.cutoff:
        filters.append({"range": {"received_at": {"gte": query.cutoff}}})
    if query.filter != EVERYTHING:
        filters.append(clause_of(query.filter))
    return {"bool": {"filter": filters}}


def clause_of(condition: Filter) -> Clause:  # noqa: PLR0911 - one return a condition
    """The query clause of a filter. A client's text stands only where a value stands."""
    match condition:
        case Match():
            return _match(condition)
        case Times(field, start, end):
            bounds = {"gte": start, "lt": end}
            return {"range": {field: {k: v for k, v in bounds.items() if v is not None}}}
        case Addresses(first, last):
            # Of `ipaddress`, each takes ten times as long.
            ends = {"gte": inet_ntop(AF_INET6, first), "lte": inet_ntop(AF_INET6, last)}
            return {"range": {"source.ip": ends}}
        case Word(token):
            # Tokens are ready-made on both sides: nothing is left for an analyser to interpret.
            return {"term": {_TEXT: token}}
        case WordPrefix(beginning):
            return {"prefix": {_TEXT: beginning}}
        case Phrase(tokens):
            return {"match_phrase": {_TEXT: " ".join(tokens)}}
        case AllOf(items):
            return {"bool": {"filter": [clause_of(item) for item in items]}}
        case AnyOf(items):
            return _any([clause_of(item) for item in items])
        case Not(item):
            return {"bool": {"must_not": [clause_of(item)]}}


def _match(match: Match) -> Clause:
    if "" in match.prefixes:  # any value; an empty one is none
        return {"range": {match.field: {"gt": ""}}}
    clauses: list[Clause] = [{"prefix": {match.field: prefix}} for prefix in match.prefixes]
    if match.exact:
        clauses.append({"terms": {match.field: list(match.exact)}})
    return clauses[0] if len(clauses) == 1 else _any(clauses)


def _any(clauses: list[Clause]) -> Clause:
    return {"bool": {"should": clauses, "minimum_should_match": 1}}
