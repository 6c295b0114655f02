"""A bulk body in its three forms, cut into the JSON texts of its events."""

import re
from collections.abc import Sequence
from io import BytesIO
from itertools import filterfalse, islice
from typing import Final

import msgspec

from ocelot_api.problems import Problem, bad_request
from ocelot_common.event import json_fault

_JSON_TYPES: Final = frozenset({b"application/json", b"text/json", b""})
_NDJSON_TYPES: Final = frozenset(
    {
        b"application/x-ndjson",
        b"application/ndjson",
        b"application/jsonl",
        b"application/x-jsonlines",
    }
)


class _Logs(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    logs: list[msgspec.Raw]


class _Anything(msgspec.Struct, gc=False):
    """Any object; its members are skipped."""


class _CountedLogs(msgspec.Struct, gc=False):
    logs: list[_Anything]


_array = msgspec.json.Decoder(list[msgspec.Raw])
_object = msgspec.json.Decoder(_Logs)
_counted_array = msgspec.json.Decoder(list[_Anything])
_counted_object = msgspec.json.Decoder(_CountedLogs)

#: Above it, each step of splitting leaves others their turn.
LARGE_BYTES: Final = 1024 * 1024
#: Commas and opening brackets of a body of JSON: 200 for each of 10,000 events. msgspec parses such
#: a body in one step, at 1 ns per byte and 4 ns per value: 16 MiB of `0,0,0` would take 35 ms, of
#: `[0,0],[0,0]` 45, and one step may take 50.
MOST_VALUES: Final = 2_000_000
_NOT_BEFORE_VALUES: Final = bytes(code for code in range(256) if code not in b",[{")
#: Lines for each event of NDJSON that is taken: blank ones may stand between.
_LINES_AN_EVENT: Final = 4
#: Commas for each event of a body that is split as it is: an item of one byte costs 140 bytes and
#: 0.1 µs when split off.
_FEW_COMMAS_AN_EVENT: Final = 2
#: Bytes per comma of ordinary events: 30. Such bodies are split as they are, too, if they cannot
#: hold so many items that splitting takes long.
_DENSE_BYTES: Final = 8
_COMMAS_AN_EVENT: Final = 25
#: Tokens that are looked at one by one, at 0.15 µs each, to count items that are no objects.
_TOKENS_AN_EVENT: Final = 10
#: `{"action":"a","actor":{"id":"u"}}` has 33 bytes.
_SHORTEST_EVENT: Final = 33
#: Longer lines lose their line break: it must not count toward a bound on the size of an event,
#: which is 1,024 at least.
_LONG_LINE: Final = 1_000
_STRUCTURE: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{},]', re.DOTALL)


def media_type(headers: dict[bytes, bytes]) -> bytes:
    """The request's media type in lowercase, without parameters."""
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


def check_json(headers: dict[bytes, bytes]) -> None:
    """Refuse a body that does not say that it is JSON.

    Raises:
        Problem: 415.
    """
    if media_type(headers) not in _JSON_TYPES:
        raise Problem(415, "unsupported_media_type", "send the event as application/json")


def check_density(body: bytes, headers: dict[bytes, bytes]) -> None:
    """Refuse a body of JSON with so many values that no step of its parsing would be short enough.

    Raises:
        Problem: 422.
    """
    if len(body) <= MOST_VALUES or media_type(headers) not in _JSON_TYPES:
        return
    values = len(body.translate(None, _NOT_BEFORE_VALUES))
    if values > MOST_VALUES:
        raise Problem(
            422,
            "too_many_values",
            f"The body has {values:,} commas and opening brackets, those in strings included; the"
            f" limit for JSON is {MOST_VALUES:,}. Send the events as NDJSON, or fewer per request.",
        )


def check_number(body: bytes, headers: dict[bytes, bytes], *, max_events: int) -> None:
    """Refuse a body of far too many items before each becomes an object of its own.

    A step of its own: it takes as long as splitting.

    Raises:
        Problem: 400 or 413.
    """
    if media_type(headers) in _JSON_TYPES:
        try:
            _check_number(body.lstrip(b" \t\r\n"), max_events)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return  # as splitting will report


def split_events(
    body: bytes, headers: dict[bytes, bytes], *, max_events: int
) -> list[bytes] | list[msgspec.Raw]:
    """The JSON text of each event of a bulk body, in order.

    Blank lines of NDJSON are no events and are not counted. A line of up to 1,000 bytes keeps its
    line break, which JSON allows as white space. The texts of a JSON body are parts of it: to copy
    them takes 5 ms for 16 MiB, and belongs to another step. `check_number` comes first.

    Raises:
        Problem: 400, 413 or 415, when the body as a whole can't be taken.
    """
    kind = media_type(headers)
    if kind in _NDJSON_TYPES:
        most = max_events * _LINES_AN_EVENT
        # A third of the time of `split`, which looks at each byte by itself.
        events = list(islice(BytesIO(body), most + 1))
        if len(events) > most:
            raise _too_many(max_events)
        lengths = list(map(len, events))
        if min(lengths, default=0) <= _SHORTEST_EVENT:  # a look costs less than a copy
            events = list(filterfalse(bytes.isspace, events))
        if max(lengths, default=0) > _LONG_LINE:
            events = [line.removesuffix(b"\n") for line in events]
        _check_size(events, max_events)
        return events
    if kind not in _JSON_TYPES:
        raise Problem(
            415,
            "unsupported_media_type",
            "send events as application/json or application/x-ndjson",
        )
    raws = _split_json(body.lstrip(b" \t\r\n"))
    _check_size(raws, max_events)
    return raws


def _check_size(events: Sequence[object], max_events: int) -> None:
    if not events:
        raise bad_request("no_events", "the request holds no event")
    if len(events) > max_events:
        raise _too_many(max_events, len(events))


def _split_json(body: bytes) -> list[msgspec.Raw]:
    is_array = body.startswith(b"[")
    try:
        return _array.decode(body) if is_array else _object.decode(body).logs
    except msgspec.ValidationError as error:
        raise bad_request(
            "invalid_bulk", f'neither an array of events nor {{"logs": […]}}: {error}'
        ) from None
    except RecursionError:
        raise bad_request("too_deep", "objects and arrays nest too deep") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        code, _, detail = json_fault(body, error)
        raise bad_request(code, detail) from None


def _check_number(body: bytes, max_events: int) -> None:
    """2 KiB of zstd can hold eight million items, which would take a gigabyte."""
    is_array = body.startswith(b"[")
    commas = body.count(b",")
    few = max_events * _FEW_COMMAS_AN_EVENT
    sparse = commas * _DENSE_BYTES < len(body) and commas <= max_events * _COMMAS_AN_EVENT
    if commas <= few or sparse:
        return
    try:
        items = _counted_array.decode(body) if is_array else _counted_object.decode(body).logs
        number = len(items)
    except msgspec.ValidationError:  # not all are objects, which only splitting can report
        number = _count_items(body, max_events, depth=1 if is_array else 2)
    if number > max_events:
        raise _too_many(max_events)


def _count_items(body: bytes, enough: int, *, depth: int) -> int:
    """Items at a depth of nesting; the count ends past `enough`.

    Raises:
        Problem: 400: counting would take too long.
    """
    level, number = 0, 1
    left = enough * _TOKENS_AN_EVENT
    for match in _STRUCTURE.finditer(body):
        match match.group():
            case b"{" | b"[":
                level += 1
            case b"}" | b"]":
                level -= 1
            case b"," if level == depth:
                number += 1
                if number > enough:
                    break
        left -= 1
        if not left:
            raise bad_request(
                "invalid_bulk",
                "an item of the array is not an object; send objects only, or fewer values per"
                " request",
            )
    return number


def _too_many(max_events: int, number: int | None = None) -> Problem:
    told = f"{number:,} events" if number else "too many events"
    return Problem(413, "too_many_events", f"{told}; one request may hold {max_events:,}")
