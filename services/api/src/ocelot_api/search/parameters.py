"""A search as clients ask for it: parameters of `GET /logs`, or a body of `POST /logs/search`."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.datastructures import QueryParams

from ocelot_api.json_faults import invalid_body, invalid_json
from ocelot_api.problems import Problem, bad_request, invalid_parameter, unknown_parameter
from ocelot_api.query_strings import split_parameters, whole_number
from ocelot_api.search.conditions import MAX_CONDITIONS, Allowance, condition, is_filter
from ocelot_api.search.fields import read_fields
from ocelot_api.search.filters import EVERYTHING, Filter, Not, all_of, any_of
from ocelot_api.search.query import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    SearchQuery,
    Sort,
    read_cursor,
)
from ocelot_common.registry.model import Home

#: Bounds of a boolean tree.
MAX_DEPTH: Final = 8
#: What is not a filter; each is given once, but `fields`.
_OPTIONS: Final = ("sort", "limit", "cursor", "fields")
_OPERATORS: Final = ("and", "or", "not")


def query_of_parameters(given: QueryParams, home: Home) -> SearchQuery:
    """The search that a query string asks for.

    Raises:
        Problem: 400, with the parameter at fault.
    """
    values, options = split_parameters(given, _OPTIONS, repeatable=("fields",))
    limit = options.get("limit", [str(DEFAULT_LIMIT)])[0]
    return _query(
        home,
        filter_of(values),
        sort=options.get("sort", [Sort.OCCURRED_DESC.value])[0],
        limit=whole_number(limit),
        cursor=options.get("cursor", [None])[0],
        fields=options.get("fields", []),
    )


def filter_of(values: Mapping[str, Sequence[str]]) -> Filter:
    """The filter that parameters stand for.

    Raises:
        Problem: 400, with the parameter at fault.
    """
    for name in values:
        if not is_filter(name):
            raise unknown_parameter(name)
    # In one order, so that a cursor is good however a client orders its parameters.
    allowance = Allowance()
    return all_of([condition(name, values[name], allowance) for name in sorted(values)])


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /logs/search`."""

    filter: dict[str, Any] = {}
    sort: str = Sort.OCCURRED_DESC.value
    limit: int | float = DEFAULT_LIMIT  # some write every number of JSON with a point
    cursor: str | None = None
    fields: list[str] = []


_decoder = msgspec.json.Decoder(_Body)


def query_of_body(body: bytes, home: Home) -> SearchQuery:
    """The search that a body with a boolean tree asks for.

    Raises:
        Problem: 400, with the place of the fault.
    """
    try:
        given = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise invalid_body("invalid_search", error) from None
    except RecursionError:
        raise _too_deep() from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid_json(body, error) from None
    return _query(
        home,
        _Tree().read(given.filter, "filter", 1) if given.filter else EVERYTHING,
        sort=given.sort,
        limit=int(given.limit) if given.limit % 1 == 0 else None,
        cursor=given.cursor,
        fields=given.fields,
    )


class _Tree:
    """Reads `{"and": […]}`, `{"or": […]}`, `{"not": …}` and `{"<filter>": value or values, …}`."""

    def __init__(self) -> None:
        self._conditions = 0
        self._allowance = Allowance()

    def read(self, node: Any, path: str, depth: int) -> Filter:
        if depth > MAX_DEPTH:
            raise _too_deep()
        if not isinstance(node, dict) or not node:
            raise _tree_fault(path, "must be an object with an operator or with filters")
        operators = [name for name in _OPERATORS if name in node]
        if not operators:
            return all_of([self._leaf(name, node[name], path) for name in sorted(node)])
        if len(node) > 1:
            raise _tree_fault(path, f"must have `{operators[0]}` alone")
        operator, inner = operators[0], node[operators[0]]
        path = f"{path}.{operator}"
        if operator == "not":
            return Not(self.read(inner, path, depth + 1))
        if not isinstance(inner, list) or not inner:
            raise _tree_fault(path, "must be an array of at least one condition")
        items = [self.read(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(inner)]
        return all_of(items) if operator == "and" else any_of(items)

    def _leaf(self, name: str, value: Any, path: str) -> Filter:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise bad_request(
                "invalid_search",
                f"The filter has too many conditions. The limit is {MAX_CONDITIONS}.",
                path=path,
            )
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(each, str) for each in values):
            raise _tree_fault(f"{path}.{name[:100]}", "must be a string or an array of strings")
        try:
            return condition(name, values, self._allowance)
        except Problem as problem:
            raise bad_request(problem.code, problem.detail, path=f"{path}.{name[:100]}") from None


def _too_deep() -> Problem:
    return _tree_fault("filter", f"must have at most {MAX_DEPTH} levels")


def _tree_fault(path: str, rule: str) -> Problem:
    return bad_request("invalid_search", f"`{path}` {rule}.", path=path)


def _query(
    home: Home,
    conditions: Filter,
    *,
    sort: str,
    limit: int | None,
    cursor: str | None,
    fields: Sequence[str],
) -> SearchQuery:
    if sort not in list(Sort):
        raise invalid_parameter("sort", f"must be one of {', '.join(Sort)}")
    if limit is None or not 1 <= limit <= MAX_LIMIT:
        raise invalid_parameter("limit", f"must be a number from 1 to {MAX_LIMIT:,}")
    query = SearchQuery(
        home=home,
        filter=conditions,
        sort=Sort(sort),
        limit=limit,
        cutoff=home.tenant.cutoff_ms(),
        fields=read_fields(fields),
    )
    if cursor is None:
        return query
    return msgspec.structs.replace(query, after=read_cursor(cursor, query))
