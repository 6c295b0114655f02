"""Query strings: the parameters that an endpoint knows, each read once; all others are refused."""

from collections.abc import Collection
from typing import Final

from starlette.datastructures import QueryParams

from ocelot_api.problems import bad_request, invalid_parameter, unknown_parameter

#: Parameters of one request; 100 filters of 50 values would not fit into a request line of 64 KiB.
MAX_PARAMETERS: Final = 1_100


def check_number(query: bytes) -> None:
    """Refuse a query string with too many parameters before it is read: each takes 2 µs.

    Raises:
        Problem: 400.
    """
    number = query.count(b"&") + 1
    if number > MAX_PARAMETERS:
        raise bad_request(
            "invalid_parameter",
            f"The query string has {number:,} parameters. The limit is {MAX_PARAMETERS:,}. Send"
            " fewer values.",
        )


def split_parameters(
    given: QueryParams, options: Collection[str], *, repeatable: Collection[str]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Everything but the options, such as filters, and the options.

    Raises:
        Problem: 400: an option that is not repeatable is given more than once.
    """
    values: dict[str, list[str]] = {}
    for name, value in given.multi_items():
        values.setdefault(name, []).append(value)
    found = {name: values.pop(name) for name in options if name in values}
    for name, several in found.items():
        if name not in repeatable and len(several) > 1:
            raise invalid_parameter(name, "must be given only once")
    return values, found


def known_parameters(
    given: QueryParams, options: Collection[str], *, repeatable: Collection[str] = ()
) -> dict[str, list[str]]:
    """The options, of an endpoint that has nothing else.

    Raises:
        Problem: 400: another parameter is given, or one that is not repeatable more than once.
    """
    values, found = split_parameters(given, options, repeatable=repeatable)
    for name in values:
        raise unknown_parameter(name)
    return found


def whole_number(text: str, *, digits: int = 9) -> int | None:
    """So many ASCII digits at most as a number; None if there is anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= digits else None
