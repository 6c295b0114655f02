"""The query parameters of `GET /logs`, and the search that they ask for."""

import re
from typing import Annotated, Final

import msgspec
from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import QueryParams

from ocelot_api.problems import bad_request
from ocelot_api.search.query import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    MAX_VALUES,
    MAX_WORDS,
    Match,
    SearchQuery,
    Sort,
    read_cursor,
)
from ocelot_common.event import OUTCOMES, SEVERITIES
from ocelot_common.registry.model import Home
from ocelot_common.text_tokens import tokens_of_text
from ocelot_common.timestamps import parse_rfc3339

_MAX_VALUE_CHARS: Final = 1_024
_MAX_Q_CHARS: Final = 2_048
#: A plus sign of an offset that was not percent-encoded arrives as a space.
_PLUS_AS_SPACE: Final = re.compile(r"(?<=\d) (?=\d\d:\d\d$)", re.ASCII)


class SearchParameters(BaseModel):
    """A repeated parameter is OR, different ones are AND, a trailing `*` is a prefix."""

    model_config = ConfigDict(extra="forbid")

    action: list[str] = Field([], description="Action; `document.*` is a prefix")
    actor_id: list[str] = Field([], alias="actor.id", description="Who did it")
    target_id: list[str] = Field([], alias="target.id", description="A resource acted on")
    outcome: list[str] = Field([], description=", ".join(OUTCOMES))
    severity: list[str] = Field([], description=", ".join(SEVERITIES))
    request_id: list[str] = Field([], description="Correlation id of the request")
    from_: str | None = Field(
        None, alias="from", description="RFC 3339; `occurred_at` at or after it"
    )
    to: str | None = Field(None, description="RFC 3339; `occurred_at` before it")
    q: str | None = Field(
        None,
        description="Words that must all occur in message, action, actor, targets, tags, metadata"
        " or changes",
    )
    sort: Sort = Field(Sort.OCCURRED_DESC, description="Order; equal times by id")
    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="Items of a page")
    cursor: str | None = Field(None, description="`next_cursor` of the page before")


Parameters = Annotated[SearchParameters, Query()]

_PREFIXABLE: Final = (
    ("action", "action", "action"),
    ("actor_id", "actor.id", "actor.id"),
    ("target_id", "target.id", "targets.id"),
    ("request_id", "request_id", "request_id"),
)


_SINGLE: Final = ("from", "to", "q", "sort", "limit", "cursor")


def refuse_repeated(given: QueryParams) -> None:
    """Refuse a parameter that is given twice and can't be OR: one would be dropped in silence.

    Raises:
        Problem: 400, with the parameter at fault.
    """
    for name in _SINGLE:
        if len(given.getlist(name)) > 1:
            raise bad_request("invalid_parameter", "given more than once", path=name)


def to_query(parameters: SearchParameters, home: Home) -> SearchQuery:
    """The search that the parameters ask for.

    Raises:
        Problem: 400, with the parameter at fault.
    """
    matches = [
        _match(getattr(parameters, attribute), name, field)
        for attribute, name, field in _PREFIXABLE
        if getattr(parameters, attribute)
    ]
    if parameters.outcome:
        matches.append(_enumerated(parameters.outcome, "outcome", OUTCOMES))
    if parameters.severity:
        matches.append(_enumerated(parameters.severity, "severity", SEVERITIES))
    query = SearchQuery(
        home=home,
        matches=tuple(matches),
        occurred_from=_time(parameters.from_, "from"),
        occurred_to=_time(parameters.to, "to"),
        words=_words(parameters.q),
        sort=parameters.sort,
        limit=parameters.limit,
        cutoff=home.tenant.cutoff_ms(),
    )
    if parameters.cursor is None:
        return query
    return msgspec.structs.replace(query, after=read_cursor(parameters.cursor, query))


def _match(values: list[str], name: str, field: str) -> Match:
    _check_values(values, name)
    exact = tuple(sorted({value for value in values if not value.endswith("*")}))
    prefixes = tuple(sorted({value[:-1] for value in values if value.endswith("*")}))
    return Match(field, exact, prefixes)


def _enumerated(values: list[str], name: str, known: tuple[str, ...]) -> Match:
    _check_values(values, name)
    if unknown := sorted(set(values) - set(known)):
        raise bad_request(
            "invalid_parameter",
            f"{unknown[0][:50]!r} is not one of {', '.join(known)}",
            path=name,
        )
    return Match(name, tuple(sorted(set(values))))


def _check_values(values: list[str], name: str) -> None:
    if len(values) > MAX_VALUES:
        raise bad_request("invalid_parameter", f"at most {MAX_VALUES} values", path=name)
    if "" in values:
        raise bad_request("invalid_parameter", "an empty value", path=name)
    if any(len(value) > _MAX_VALUE_CHARS for value in values):
        raise bad_request(
            "invalid_parameter", f"a value has at most {_MAX_VALUE_CHARS} characters", path=name
        )


def _time(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    try:
        return parse_rfc3339(_PLUS_AS_SPACE.sub("+", text))
    except ValueError as error:
        raise bad_request("invalid_parameter", str(error), path=name) from None


def _words(q: str | None) -> tuple[str, ...]:
    if q is None:
        return ()
    if len(q) > _MAX_Q_CHARS:
        raise bad_request(
            "invalid_parameter", f"q has at most {_MAX_Q_CHARS:,} characters", path="q"
        )
    words = tuple(sorted(set(tokens_of_text(q))))
    if not words:
        raise bad_request("invalid_parameter", "q holds no word", path="q")
    if len(words) > MAX_WORDS:
        raise bad_request("invalid_parameter", f"at most {MAX_WORDS} words", path="q")
    return words
