"""The filters by the names that clients use, the same in a query string and in a tree (§10)."""

import ipaddress
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from ocelot_api.problems import bad_request, invalid_parameter, unknown_parameter
from ocelot_api.search.filters import ATTRS, Addresses, Filter, Match, Times, any_of
from ocelot_api.search.text_query import TextQueryError, count_terms, parse_text_query
from ocelot_common.attrs import MAX_PATH_BYTES, MAX_VALUE_BYTES
from ocelot_common.event import OUTCOMES, SEVERITIES, ip_bytes
from ocelot_common.timestamps import parse_rfc3339

MAX_VALUES: Final = 50
MAX_VALUE_CHARS: Final = 1_024
#: Of one request, all its conditions together. A value costs 5 µs, an address or block up to 30 µs,
#: a term of `q` 10 µs.
MAX_CONDITIONS: Final = 100
MAX_ALL_VALUES: Final = 1_000
MAX_ADDRESSES: Final = 250
MAX_TERMS: Final = 200
MAX_Q_CHARS: Final = 8_192

#: Filters by value: the client's name, and the stores' field.
FIELDS: Final = {
    "action": "action",
    "actor.id": "actor.id",
    "actor.type": "actor.type",
    "actor.email": "actor.email",
    "target.type": "targets.type",
    "target.id": "targets.id",
    "request_id": "request_id",
    "trace_id": "trace_id",
    "tag": "tags",
    "source.service": "source.service",
}
_ENUMS: Final = {"outcome": OUTCOMES, "severity": SEVERITIES}


class _Bound(NamedTuple):
    field: str
    is_start: bool


_TIMES: Final = {
    "from": _Bound("occurred_at", True),
    "to": _Bound("occurred_at", False),
    "received_from": _Bound("received_at", True),
    "received_to": _Bound("received_at", False),
}
#: Filters that take one value; others take several, of which one must fit.
SINGLE: Final = frozenset({*_TIMES, "q", "severity.gte"})
#: `metadata.plan`, `changes.after.role`, `changes.before`.
_ATTR: Final = re.compile(r"metadata\..+|changes\.(before|after)(\..+)?", re.DOTALL)
#: A plus sign of an offset that was not percent-encoded arrives as a space.
_PLUS_AS_SPACE: Final = re.compile(r"(?<=\d) (?=\d\d:\d\d$)", re.ASCII)


class Allowance:
    """Counts what one request asks for, so that its CPU is bounded before it is spent."""

    def __init__(self) -> None:
        self._conditions = self._values = self._addresses = self._terms = self._chars = 0

    def take(self, name: str, values: Sequence[str]) -> None:
        """Count one condition.

        Raises:
            Problem: 400: with it, the request asks for too much.
        """
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise bad_request(
                "invalid_parameter",
                f"The request has too many conditions. The limit is {MAX_CONDITIONS}.",
                path=name[:100],
            )
        self._values += len(values)
        if self._values > MAX_ALL_VALUES:
            raise bad_request(
                "invalid_parameter",
                f"The request has too many values. The limit is {MAX_ALL_VALUES:,}.",
                path=name[:100],
            )
        if name == "source.ip":
            self._addresses += len(values)
            if self._addresses > MAX_ADDRESSES:
                raise invalid_parameter(
                    name, f"must have at most {MAX_ADDRESSES} addresses and blocks per request"
                )
        elif name == "q":
            self._chars += len(values[0])
            if self._chars > MAX_Q_CHARS:
                raise invalid_parameter(
                    name, f"must have at most {MAX_Q_CHARS:,} characters per request"
                )
            self._terms += count_terms(values[0])
            if self._terms > MAX_TERMS:
                raise invalid_parameter(
                    name, f"must have at most {MAX_TERMS} words and signs per request"
                )


def is_filter(name: str) -> bool:
    """Whether a filter of this name exists."""
    return (
        name in FIELDS
        or name in _ENUMS
        or name in SINGLE
        or name == "source.ip"
        or name.startswith(("metadata.", "changes."))
    )


def condition(  # noqa: PLR0911 - one return a kind
    name: str, values: Sequence[str], allowance: Allowance
) -> Filter:
    """The condition that a filter's values stand for; several are OR.

    Args:
        name: of the filter.
        values: at least one.
        allowance: of the request.

    Raises:
        Problem: 400, with the filter at fault.
    """
    if len(values) > MAX_VALUES:
        raise invalid_parameter(name, f"must have at most {MAX_VALUES} values")
    if name in SINGLE and len(values) > 1:
        raise invalid_parameter(name, "must be given only once")
    allowance.take(name, values)
    if name in FIELDS:
        return _match(name, FIELDS[name], values)
    if name in _ENUMS:
        return Match(name, tuple(sorted({_one_of(name, v, _ENUMS[name]) for v in values})))
    if name == "severity.gte":
        least = SEVERITIES.index(_one_of(name, values[0], SEVERITIES))
        return Match("severity", tuple(sorted(SEVERITIES[least:])))
    if name == "source.ip":
        return any_of([_addresses(text) for text in dict.fromkeys(values)])
    if name in _TIMES:
        return _times(name, values[0])
    if name == "q":
        try:
            return parse_text_query(values[0])
        except TextQueryError as error:
            raise invalid_parameter("q", f"is invalid at {error}") from None
    if name.startswith(("metadata.", "changes.")):
        return _attrs(name, values)
    raise unknown_parameter(name)


def _match(name: str, field: str, values: Sequence[str]) -> Match:
    for value in values:
        if value == "":
            raise invalid_parameter(name, "must not be empty")
        if len(value) > MAX_VALUE_CHARS:
            raise invalid_parameter(name, f"must have at most {MAX_VALUE_CHARS:,} characters")
    return _values(field, values)


def _values(field: str, values: Sequence[str]) -> Match:
    exact = tuple(sorted({value for value in values if not value.endswith("*")}))
    prefixes = tuple(sorted({value[:-1] for value in values if value.endswith("*")}))
    return Match(field, exact, prefixes)


def check_path(path: str, *, parameter: str) -> None:
    """Refuse what is no path of metadata or changes.

    Raises:
        Problem: 400, with the parameter at fault.
    """
    if not _ATTR.fullmatch(path):
        raise invalid_parameter(
            parameter, "must be a path such as metadata.plan, changes.before.role or changes.after"
        )
    if len(path.encode()) > MAX_PATH_BYTES:
        raise invalid_parameter(parameter, f"must be a path of at most {MAX_PATH_BYTES} bytes")


def _attrs(name: str, values: Sequence[str]) -> Match:
    check_path(name, parameter=name)
    if any(len(value.encode()) > MAX_VALUE_BYTES for value in values):
        raise invalid_parameter(
            name,
            f"must have at most {MAX_VALUE_BYTES} bytes; longer values are indexed up to there",
        )
    return _values(ATTRS, [f"{name}={value}" for value in values])


def _one_of(name: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise invalid_parameter(name, f"must be one of {', '.join(known)}, got {value[:50]!r}")
    return value


def _times(name: str, text: str) -> Times:
    try:
        time_ms = parse_rfc3339(_PLUS_AS_SPACE.sub("+", text))
    except ValueError as error:
        raise invalid_parameter(name, str(error)) from None
    bound = _TIMES[name]
    if bound.is_start:
        return Times(bound.field, start=time_ms)  # type: ignore[arg-type]
    return Times(bound.field, end=time_ms)  # type: ignore[arg-type]


def _addresses(text: str) -> Addresses:
    # A twentieth of the time of `ipaddress`, for the usual forms.
    if (address := ip_bytes(text)) is not None:
        return Addresses(address, address)
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        network = None
    if network is None or "%" in text:  # an IPv6 zone, which no event's address has
        raise invalid_parameter(
            "source.ip", "must be an address such as 192.0.2.1 or a block such as 192.0.2.0/24"
        )
    return Addresses(_sixteen(network.network_address), _sixteen(network.broadcast_address))


def _sixteen(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bytes:
    packed = address.packed
    return packed if len(packed) == 16 else b"\0" * 10 + b"\xff\xff" + packed
