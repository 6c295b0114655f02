"""A bulk body in its three forms, cut into the JSON texts of its events."""

from collections.abc import Sequence
from io import BytesIO
from itertools import filterfalse, islice
from typing import Final

import msgspec

from ocelot_api.json_faults import NESTED_TOO_DEEP, invalid_body
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
    """The object around the array, which is not split yet: `logs` may be written several times."""

    logs: msgspec.Raw


class _Anything(msgspec.Struct, gc=False):
    """Any object; its members are skipped."""


_array = msgspec.json.Decoder(list[msgspec.Raw])
_object = msgspec.json.Decoder(_Logs)
_counted_array = msgspec.json.Decoder(list[_Anything])

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
#: `{"action":"a","actor":{"id":"u"}}` has 33 bytes.
_SHORTEST_EVENT: Final = 33
#: Longer lines lose their line break: it must not count toward a bound on the size of an event,
#: which is 1,024 at least.
_LONG_LINE: Final = 1_000
#: How msgspec says that an item is no object.
_AT_ITEM: Final = "at `$["
_FORMS: Final = 'The body must be an array of events or {"logs": […]}.'


def media_type(headers: dict[bytes, bytes]) -> bytes:
    """The request's media type in lowercase, without parameters."""
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


def check_json(headers: dict[bytes, bytes]) -> None:
    """Refuse a body that does not say that it is JSON.

    Raises:
        Problem: 415.
    """
    if media_type(headers) not in _JSON_TYPES:
        raise Problem(415, "unsupported_media_type", "Content-Type must be application/json.")


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
            f"The body has {values:,} commas and opening brackets, including those in strings. The"
            f" limit for JSON is {MOST_VALUES:,}. Send the events as NDJSON, or fewer events per"
            " request.",
        )


def check_number(body: bytes, headers: dict[bytes, bytes], *, max_events: int) -> None:
    """Refuse a body of far too many items before each becomes an object of its own.

    A step of its own: it takes as long as splitting.

    Raises:
        Problem: 400 or 413.
    """
    if media_type(headers) in _JSON_TYPES:
        try:
            _check_number(body, max_events)
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
            # Each by its own length: no event is larger because of another one.
            events = [
                line.removesuffix(b"\n") if len(line) > _LONG_LINE else line for line in events
            ]
        _check_size(events, max_events)
        return events
    if kind not in _JSON_TYPES:
        raise Problem(
            415,
            "unsupported_media_type",
            "Content-Type must be application/json or application/x-ndjson.",
        )
    raws = _split_json(body)
    _check_size(raws, max_events)
    return raws


def _check_size(events: Sequence[object], max_events: int) -> None:
    if not events:
        raise bad_request("no_events", "The request has no event. Send at least one.")
    if len(events) > max_events:
        raise _too_many(max_events, len(events))


def _array_of(body: bytes) -> bytes | msgspec.Raw:
    """The array of a body that may hold it in an object.

    Raises:
        msgspec.DecodeError: the body is not JSON, or neither of the two.
        RecursionError: it nests too deep.
    """
    return body if body.lstrip(b" \t\r\n").startswith(b"[") else _object.decode(body).logs


def _split_json(body: bytes) -> list[msgspec.Raw]:
    parent = ""
    try:
        array = _array_of(body)
        parent = "" if array is body else "logs"
        return _array.decode(array)
    except msgspec.ValidationError as error:
        raise invalid_body("invalid_bulk", error, rule=_FORMS, parent=parent) from None
    except RecursionError:
        raise bad_request("too_deep", NESTED_TOO_DEEP) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        code, _, detail = json_fault(body, error)
        raise bad_request(code, detail) from None


def _check_number(body: bytes, max_events: int) -> None:
    """2 KiB of zstd can hold eight million items, which would take a gigabyte.

    Raises:
        Problem: 400 or 413.
        msgspec.DecodeError: it is of another form.
    """
    commas = body.count(b",")
    few = max_events * _FEW_COMMAS_AN_EVENT
    sparse = commas * _DENSE_BYTES < len(body) and commas <= max_events * _COMMAS_AN_EVENT
    if commas <= few or sparse:
        return
    try:
        number = len(_counted_array.decode(_array_of(body)))
    except msgspec.ValidationError as error:
        if _AT_ITEM not in str(error):
            raise
        # To count the others would take as long as to split them.
        raise bad_request(
            "invalid_bulk",
            f"{_FORMS} An array with more than {few:,} commas must contain only objects.",
        ) from None
    if number > max_events:
        raise _too_many(max_events)


def _too_many(max_events: int, number: int | None = None) -> Problem:
    told = f"{number:,}" if number else "too many"
    return Problem(
        413,
        "too_many_events",
        f"The request has {told} events. The limit is {max_events:,}. Send several requests or"
        " raise OCELOT_MAX_BULK_EVENTS.",
    )
