"""An export as clients ask for it: the parameters of a search, and a few of its own."""

from typing import Final

import msgspec
from starlette.datastructures import QueryParams

from ocelot_api.export.formats import Format
from ocelot_api.problems import invalid_parameter
from ocelot_api.query_strings import split_parameters, whole_number
from ocelot_api.search.fields import read_fields
from ocelot_api.search.parameters import query_of_parameters
from ocelot_api.search.query import SearchQuery, Sort
from ocelot_common.csv_rows import DEFAULT_COLUMNS
from ocelot_common.ids import parse_id
from ocelot_common.registry.model import Home
from ocelot_common.sequence import MAX_SEQ, seq_before
from ocelot_common.timestamps import parse_rfc3339

#: The events that the first query of an export asks for.
PAGE: Final = 1_000
MAX_EVENTS: Final = 10**12
_SEQ_DIGITS: Final = 20
_OWN: Final = ("format", "columns", "after", "limit", "stored_until")


class ExportRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to export.

    Attributes:
        query: what must fit, in which order, from which position on; for a page at a time.
        form: of the answer.
        columns: of a table.
        after: the event behind which to begin, 16 bytes.
        limit: most events in all; None is all that there are.
        stored_until: the last `seq` that is wanted; None is all that are stored when it begins.
    """

    query: SearchQuery
    form: Format
    columns: tuple[str, ...]
    after: bytes | None
    limit: int | None
    stored_until: int | None


def read_export(given: QueryParams, home: Home) -> ExportRequest:
    """The export that a query string asks for.

    Raises:
        Problem: 400, with the parameter at fault.
    """
    _, own = split_parameters(given, _OWN, repeatable=("columns",))
    form = _form(own.get("format", [Format.NDJSON.value])[0])
    if "after" in own and "cursor" in given:
        raise invalid_parameter("after", "must not be given together with `cursor`")
    if "columns" in own and form is not Format.CSV:
        raise invalid_parameter("columns", "is for CSV only. For other formats, use `fields`")
    if "fields" in given and form is Format.CSV:
        raise invalid_parameter("fields", "is not for CSV. For CSV, use `columns`")
    rest = [(name, value) for name, value in given.multi_items() if name not in own]
    if "sort" not in given:
        rest.append(("sort", Sort.OCCURRED_ASC.value))
    query = query_of_parameters(QueryParams(rest), home)
    return ExportRequest(
        query=msgspec.structs.replace(query, limit=PAGE),
        form=form,
        columns=read_fields(own.get("columns", ()), "columns") or DEFAULT_COLUMNS,
        after=_after(own["after"][0]) if "after" in own else None,
        limit=_limit(own["limit"][0]) if "limit" in own else None,
        stored_until=_seq(own["stored_until"][0]) if "stored_until" in own else None,
    )


def _form(text: str) -> Format:
    if text not in list(Format):
        raise invalid_parameter("format", f"must be one of {', '.join(Format)}")
    return Format(text)


def _after(text: str) -> bytes:
    try:
        return parse_id(text)
    except ValueError as error:
        raise invalid_parameter("after", str(error)) from None


def _limit(text: str) -> int:
    limit = whole_number(text, digits=_SEQ_DIGITS) or 0
    if not 1 <= limit <= MAX_EVENTS:
        raise invalid_parameter("limit", f"must be a number from 1 to {MAX_EVENTS:,}")
    return limit


def _seq(text: str) -> int:
    """A `seq`, or that of a moment, in whole seconds."""
    seq = whole_number(text, digits=_SEQ_DIGITS) or 0
    if not seq:
        try:
            seq = seq_before(parse_rfc3339(text))
        except ValueError:
            raise invalid_parameter(
                "stored_until",
                "must be a seq or an RFC 3339 date-time such as 2026-11-24T12:00:00Z",
            ) from None
    if seq < 0:
        raise invalid_parameter("stored_until", "must not be before 1970")
    return min(seq, MAX_SEQ)
