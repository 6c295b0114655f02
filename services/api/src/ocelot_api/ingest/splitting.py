"""A bulk body in its three forms, cut into the JSON texts of its events."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import filterfalse, islice
from typing import Final, NamedTuple

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


class JsonArray(NamedTuple):
    """The array of a body of JSON, not split yet."""

    text: bytes | msgspec.Raw
    #: Where it stands in the body: "" or "logs".
    path: str


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


def array_of(body: bytes, headers: dict[bytes, bytes]) -> JsonArray | None:
    """Find the array of events of a body of JSON. None: the body is NDJSON.

    A step of its own: to skip 16 MiB of escapes takes 27 ms, and splitting takes as long again.

    Raises:
        Problem: 400 or 415, when the body as a whole can't be taken.
    """
    kind = media_type(headers)
    if kind in _NDJSON_TYPES:
        return None
    if kind not in _JSON_TYPES:
        raise Problem(
            415,
            "unsupported_media_type",
            "Content-Type must be application/json or application/x-ndjson.",
        )
    if body.lstrip(b" \t\r\n").startswith(b"["):
        return JsonArray(body, "")
    with _faults_as_problems(body, ""):
        return JsonArray(_object.decode(body).logs, "logs")


def check_number(body: bytes, array: JsonArray | None, *, max_events: int) -> None:
    """Refuse a body of far too many items before each becomes an object of its own.

    2 KiB of zstd can hold eight million items, which would take a gigabyte. A step of its own: it
    takes as long as splitting.

    Raises:
        Problem: 400 or 413.
    """
    if array is None:
        return
    commas = body.count(b",")
    few = max_events * _FEW_COMMAS_AN_EVENT
    sparse = commas * _DENSE_BYTES < len(body) and commas <= max_events * _COMMAS_AN_EVENT
    if commas <= few or sparse:
        return
    try:
        number = len(_counted_array.decode(array.text))
    except msgspec.ValidationError as error:
        if _AT_ITEM not in str(error):
            return  # as splitting will report
        # To count the others would take as long as to split them.
        raise bad_request(
            "invalid_bulk",
            f"{_FORMS} An array with more than {few:,} commas must contain only objects.",
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return  # as splitting will report
    if number > max_events:
        raise _too_many(max_events)


def split_events(
    body: bytes, array: JsonArray | None, *, max_events: int
) -> list[bytes] | list[msgspec.Raw]:
    """The JSON text of each event of a bulk body, in order.

    Blank lines of NDJSON are no events and are not counted. A line of up to 1,000 bytes keeps its
    line break, which JSON allows as white space. The texts of a JSON body are parts of it: to copy
    them takes 5 ms for 16 MiB, and belongs to another step. `check_number` comes first.

    Raises:
        Problem: 400 or 413, when the body as a whole can't be taken.
    """
    if array is None:
        lines = _split_lines(body, max_events)
        _check_size(lines, max_events)
        return lines
    with _faults_as_problems(body, array.path):
        raws = _array.decode(array.text)
    _check_size(raws, max_events)
    return raws


def _split_lines(body: bytes, max_events: int) -> list[bytes]:
    most = max_events * _LINES_AN_EVENT
    # A third of the time of `split`, which looks at each byte by itself.
    lines = list(islice(BytesIO(body), most + 1))
    if len(lines) > most:
        raise _too_many(max_events)
    lengths = list(map(len, lines))
    if min(lengths, default=0) <= _SHORTEST_EVENT:  # a look costs less than a copy
        lines = list(filterfalse(bytes.isspace, lines))
    if max(lengths, default=0) > _LONG_LINE:
        # Each by its own length: no event is larger because of another one.
        lines = [line.removesuffix(b"\n") if len(line) > _LONG_LINE else line for line in lines]
    return lines


def _check_size(events: Sequence[object], max_events: int) -> None:
    if not events:
        raise bad_request("no_events", "The request has no event. Send at least one.")
    if len(events) > max_events:
        raise _too_many(max_events, len(events))


@contextmanager
def _faults_as_problems(body: bytes, path: str) -> Iterator[None]:
    """Raise what msgspec says of `body`, or of its part at `path`, as a problem."""
    try:
        yield
    except msgspec.ValidationError as error:
        raise invalid_body("invalid_bulk", error, rule=_FORMS, parent=path) from None
    except RecursionError:
        raise bad_request("too_deep", NESTED_TOO_DEEP) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        code, _, detail = json_fault(body, error)
        raise bad_request(code, detail) from None


def _too_many(max_events: int, number: int | None = None) -> Problem:
    told = f"{number:,}" if number else "too many"
    return Problem(
        413,
        "too_many_events",
        f"The request has {told} events. The limit is {max_events:,}. Send several requests or"
        " raise OCELOT_MAX_BULK_EVENTS.",
    )
