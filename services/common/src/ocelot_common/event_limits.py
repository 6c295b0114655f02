"""Bounds on the shape of one event's JSON: size, nesting, containers, keys and numbers (design §3).

Each check must cost less than decoding, because a client pays a byte for what costs us a Python
object. So the bytes are looked at first, by functions that run in C: nearly every event is too
small to break a bound. Only parts that may hold a long key are walked, and a path is built only for
a fault.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import accumulate, islice
from typing import Any, Final, NamedTuple, Self

import msgspec

_OPENING: Final = b"{["
_OPENED: Final = ord("(")
_NOT_OPENING: Final = bytes(code for code in range(256) if code not in _OPENING)
#: No UTF-8 text has this byte.
_SEPARATOR: Final = b"\xff"
_NOT_OPENING_OR_SEPARATOR: Final = _NOT_OPENING.replace(_SEPARATOR, b"")
_NOT_BRACKETS_OR_QUOTES: Final = bytes(code for code in range(256) if code not in b'{}[]"')
_AS_PARENTHESES: Final = bytes.maketrans(b"{[]}", b"(())")
_MANY_QUOTES: Final = b'"' * 16
_TWO_BACKSLASHES: Final = rb"\\"
#: Backslashes before a quote that are looked at first, and escaped quotes that are passed over.
_BACKSLASHES: Final = 16
_QUOTES: Final = 8
_COLON: Final = re.compile(rb"[ \t\r\n]*+:")
#: Brackets that close and open as many levels.
_VALLEYS: Final = tuple(b")" * depth + b"(" * depth for depth in (16, 8, 4, 2, 1))
_DIGITS: Final = b"0123456789"
_DIGITS_AS_0: Final = bytes(48 if 48 <= code <= 57 else 32 for code in range(256))
#: Numbers whose exponent has two digits (three if it is negative). msgspec reads most numbers in
#: 30 ns, but takes 0.4 µs for 1e23 and 8 µs for 1e300 or 1e-310.
_EXPONENTS: Final = tuple(
    re.compile(rb"%b(?<=[0-9]%b)(?:\+?[0-9]{2,}+|-[0-9]{3,}+)[\s,\]}]" % (letter, letter))
    for letter in (b"e", b"E")
)
#: Of these, the numbers that can take the longest to read, up to 14 µs.
_SLOW_NUMBERS: Final = tuple(
    re.compile(rb"%b(?<=[0-9]%b)[-+]?[0-9]{3,}+[\s,\]}]" % (letter, letter))
    for letter in (b"e", b"E")
)
#: A superset of all of them. Each pattern begins with a letter, so that `re` uses `memchr`, and
#: what follows it is rare in words: 0.4 µs per event of 600 bytes.
_LIKELY_EXPONENTS: Final = tuple(
    re.compile(rb"%b[-+0-9](?<=[0-9]%b.)[0-9]++[\s,\]}]" % (letter, letter))
    for letter in (b"e", b"E")
)
#: What stands before digits that are no integer: of a fraction, or of an exponent.
_OF_FLOATS: Final = (b".", b"e", b"E", b"e+", b"e-", b"E+", b"E-")
_CONTAINERS: Final = frozenset({dict, list})
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items: Final = msgspec.json.Decoder(list[msgspec.Raw])
#: Arrays and objects, and numbers with long exponents, that an event of any size may have.
FREE_CONTAINERS: Final = 64
FREE_EXPONENTS: Final = 4
#: Beyond these, one per so many bytes of the event. `[1,2],` has 6 bytes.
BYTES_PER_CONTAINER: Final = 6
#: The bound of a bulk request counts what is beyond these in each event. An object in an object
#: takes 0.3 µs: 5,000 events of 2,000 bytes with one per 6 bytes took 1.7 times what they may by
#: their bytes. The densest of 82,000 real events has 6 and one per 45.
BYTES_PER_CONTAINER_OF_BULK: Final = 20
FREE_CONTAINERS_OF_BULK: Final = 6
BYTES_PER_EXPONENT: Final = 64
#: Bytes of one request that are looked at to tell where faults stand. To split an array into its
#: items takes 0.15 µs for each, so a comma counts as many bytes.
PLACE_BYTES: Final = 128 * 1024
_BYTES_PER_COMMA: Final = 240


class EventLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The largest event that is taken. Sizes are in bytes."""

    max_event_bytes: int = 65_536
    max_depth: int = 32
    max_keys: int = 2_000
    max_key_bytes: int = 1_024
    max_integer_digits: int = 1_000


class EventError(ValueError):
    """One event breaks a rule.

    Attributes:
        code: stable, for programs.
        path: of the field at fault, `metadata.plan` or `targets[0].id`; empty for the whole event.
        detail: one sentence for people.
    """

    def __init__(self, code: str, path: str, detail: str) -> None:
        self.code = code
        self.path = path
        self.detail = detail

    def __str__(self) -> str:
        # Made when it is asked for: most errors become faults of an answer.
        return f"{self.path or 'event'}: {self.detail}"


class EventFault(NamedTuple):
    """What an `EventError` says, without its traceback.

    The error itself must not be kept: its traceback leads to the decoded event and back to the list
    that keeps the error. Such a cycle lasts until the garbage collector runs, for 100 ms and more.
    """

    code: str
    path: str
    detail: str

    @classmethod
    def of(cls, error: EventError) -> Self:
        """Return what an error says."""
        return cls(error.code, error.path, error.detail)


class Density(NamedTuple):
    """What in a text takes longer than its bytes.

    Attributes:
        exponents: numbers that may take long to read; text in strings may look like one.
        surplus: arrays and objects beyond six and one per `BYTES_PER_CONTAINER_OF_BULK`.
        brackets: all brackets outside of strings, as parentheses; None if there are few.
    """

    exponents: int
    surplus: int
    brackets: bytes | None


def check_text(raw: bytes, limits: EventLimits) -> Density:
    """Refuse an event by its bytes alone, before it is decoded.

    Args:
        raw: the event's JSON text; it need not be valid.
        limits: the bounds.

    Raises:
        EventError: `event_too_large`, `too_many_containers` or `too_many_exponents`.
    """
    size = len(raw)
    if size > limits.max_event_bytes:
        raise too_large(size, limits)
    surplus = 0
    counted = _counted_from(size)
    pairs = None
    if count_openings(raw) > counted:
        pairs = _pairs_outside_strings(raw)
        openings = pairs.count(b"(")
        containers = most_openings(size)
        if openings > containers:
            if _begins_deep(pairs, limits.max_depth):
                raise _too_deep(limits)
            raise EventError(
                "too_many_containers",
                "",
                "The event has too many arrays and objects, including empty ones. The limit for"
                f" {size:,} bytes is {containers:,}: {FREE_CONTAINERS}, plus one per"
                f" {BYTES_PER_CONTAINER} bytes.",
            )
        surplus = max(0, openings - counted)
    if not has_exponents(raw):
        return Density(0, surplus, pairs)
    most = _most_exponents(size)
    exponents = count_exponents(raw, most + 1)
    if exponents > most and count_exponents(_outside_strings(raw), most + 1) > most:
        raise EventError(
            "too_many_exponents",
            "",
            f"The event has too many numbers such as 1e23 or 1e-300. The limit for {size:,} bytes"
            f" is {most:,}: {FREE_EXPONENTS}, plus one per {BYTES_PER_EXPONENT} bytes. Write"
            " them without an exponent or as strings.",
        )
    return Density(exponents, surplus, pairs)


def too_large(size: int, limits: EventLimits) -> EventError:
    """Return the error of an event whose text, or whose text of record, has so many bytes."""
    return EventError(
        "event_too_large",
        "",
        f"The event is {size:,} bytes; the limit is {limits.max_event_bytes:,}. Shorten `metadata`"
        " or raise OCELOT_MAX_EVENT_BYTES.",
    )


def may_have_many_keys(text: bytes, limits: EventLimits) -> bool:
    """Whether a text may hold more keys than an event may have; it looks into strings, too."""
    return text.count(b":") > limits.max_keys


def check_keys(texts: Mapping[str, bytes], limits: EventLimits) -> None:
    """Refuse an event with too many keys by its texts, before any of them becomes an object.

    Each key counts as often as it is written. A colon outside of strings stands behind a key.

    Args:
        texts: the JSON texts of the free-form parts, by their path.
        limits: the bounds.

    Raises:
        EventError: `too_many_keys`.
    """
    keys = 0
    for path, text in texts.items():
        keys += _outside_strings(text).count(b":")
        if keys > limits.max_keys:
            raise EventError(
                "too_many_keys",
                path,
                f"The event has too many keys. The limit is {limits.max_keys:,}.",
            )


def may_have_long_integer(text: bytes, limits: EventLimits) -> bool:
    """Whether a text may hold an integer that is too long; it looks into strings, too."""
    return _has_long_integer(text, limits.max_integer_digits)


def check_integers(texts: Mapping[str, bytes], limits: EventLimits) -> None:
    """Refuse an event with an integer that is too long by its texts, before any is decoded.

    The path of the fault is that of the part; `PlaceFinder` tells more.

    Args:
        texts: the valid JSON texts of the free-form parts, by their path.
        limits: the bounds.

    Raises:
        EventError: `integer_too_long`.
    """
    most = limits.max_integer_digits
    for path, text in texts.items():
        if _holds_long_integer(text, most):
            raise EventError(
                "integer_too_long",
                path,
                f"The integer is too long. The limit is {most:,} digits. Write it as a string.",
            )


def has_exponents(text: bytes) -> bool:
    """Whether there may be numbers that take long to read; text in strings may look like one."""
    lower, upper = _LIKELY_EXPONENTS
    # Many texts hold no E at all, which `in` tells in a tenth of the pattern's time.
    return lower.search(text) is not None or (b"E" in text and upper.search(text) is not None)


def has_many_exponents(text: bytes) -> bool:
    """Whether an event may have more of them than it is allowed."""
    most = _most_exponents(len(text))
    return has_exponents(text) and count_exponents(text, most + 1) > most


def have_few_exponents(text: bytes) -> bool:
    """Whether a text has no more of them than the smallest event is allowed."""
    return not has_exponents(text) or count_exponents(text, FREE_EXPONENTS + 1) <= FREE_EXPONENTS


def count_exponents(text: bytes, enough: int) -> int:
    """How many there are; of each form, the count ends at `enough`."""
    return sum(len(list(islice(each.finditer(text), enough))) for each in _EXPONENTS)


def count_slow_numbers(text: bytes) -> int:
    """How many numbers such as 1e300 there are; text in strings may look like one."""
    return sum(len(each.findall(text)) for each in _SLOW_NUMBERS)


def _most_exponents(size: int) -> int:
    return FREE_EXPONENTS + size // BYTES_PER_EXPONENT


def may_have_long_key(text: bytes, limits: EventLimits) -> bool:
    """Whether a text may hold a key that is too long; it looks into strings, too."""
    return _has_long_key(text, limits.max_key_bytes)


def check_key_lengths(value: Any, path: str, limits: EventLimits) -> None:
    """Refuse an event whose free-form part holds a key that is too long.

    Walks it level by level: no path is built, and no function is called per item. The path of the
    fault is that of the part; `PlaceFinder` tells more.

    Args:
        value: the decoded part.
        path: of the part.
        limits: the bounds.

    Raises:
        EventError: `key_too_long`.
    """
    level: list[Any] = [[value]]
    # UTF-8 has at most 4 bytes per character: short keys need no encoding.
    short = limits.max_key_bytes // 4
    while level:
        # One comprehension per level: one per container would take three times as long.
        for each in level:
            # Most have no key that is worth a closer look.
            if type(each) is dict and each and max(map(len, each)) > short:
                for key in each:
                    if _is_long(key, limits):
                        raise EventError(
                            "key_too_long",
                            path,
                            f"The key that begins with {key[:20]!r} is too long. The limit is"
                            f" {limits.max_key_bytes:,} bytes.",
                        )
        level = [
            item
            for each in level
            for item in (each.values() if type(each) is dict else each)
            if type(item) in _CONTAINERS
        ]


def check_depth(raw: bytes, limits: EventLimits, brackets: bytes | None = None) -> None:
    """Refuse an event that nests too deep, before it is decoded: what nests deep takes long.

    Args:
        raw: the event's JSON text, which must be valid.
        limits: the bounds.
        brackets: of its `Density`, if it is known.

    Raises:
        EventError: `too_deep`.
    """
    if brackets is None:
        if count_openings(raw) <= limits.max_depth:
            return
        brackets = _pairs_outside_strings(raw)
    if _is_deep(brackets, limits):
        raise _too_deep(limits)


def _too_deep(limits: EventLimits) -> EventError:
    return EventError(
        "too_deep",
        "",
        f"The event is nested too deeply. The limit is {limits.max_depth} levels.",
    )


def _is_deep(pairs: bytes, limits: EventLimits) -> bool:
    """Whether the brackets of a valid text, as parentheses, nest too deep.

    Takes the valleys out of its brackets, `)(` and deeper ones, until one ascent is left: what is
    taken out is never the deepest place. It costs a tenth of walking the decoded values.
    """
    pairs = pairs.replace(_VALLEYS[-1], b"")  # enough for most
    ascent = b"(" * (limits.max_depth + 1)
    while len(pairs) > 2 * limits.max_depth:
        if b")(" not in pairs or ascent in pairs:
            return True
        for valley in _VALLEYS:
            pairs = pairs.replace(valley, b"")
    return False


def _pairs_outside_strings(raw: bytes) -> bytes:
    """All brackets outside of strings, as parentheses."""
    marks = _without_escapes(raw).translate(_AS_PARENTHESES, _NOT_BRACKETS_OR_QUOTES)
    # Strings without brackets vanish, many at once. An odd number of quotes stands before a bracket
    # in a string, so one of them would be left.
    pairs = marks.replace(_MANY_QUOTES, b"").replace(b'""', b"")
    return b"".join(marks.split(b'"')[::2]) if b'"' in pairs else pairs


def _begins_deep(pairs: bytes, max_depth: int) -> bool:
    """Whether the first brackets of a text, as parentheses, nest too deep.

    It only chooses between two faults, so it looks no further.
    """
    depths = accumulate(1 if code == _OPENED else -1 for code in pairs[: 8 * max_depth])
    return max(depths, default=0) > max_depth


def count_openings(text: bytes) -> int:
    """How many arrays and objects begin in a text; brackets in its strings are counted, too."""
    return len(text.translate(None, _NOT_OPENING))


def openings_within_bounds(raw: bytes, limits: EventLimits) -> int | None:
    """How many arrays and objects the valid text of an event has; None if too many or too deep."""
    pairs = _pairs_outside_strings(raw)
    openings = pairs.count(b"(")
    if openings > most_openings(len(raw)) or _is_deep(pairs, limits):
        return None
    return openings


def openings_of_each(texts: Sequence[bytes]) -> list[int]:
    """`count_openings` of each text, in a fifth of the time where the texts are short."""
    joined = _SEPARATOR.join(texts).translate(None, _NOT_OPENING_OR_SEPARATOR)
    openings = joined.split(_SEPARATOR)
    if len(openings) == len(texts):
        return list(map(len, openings))
    return list(map(count_openings, texts))  # one is not UTF-8


def most_openings(size: int) -> int:
    """Return how many arrays and objects an event of so many bytes may hold."""
    return FREE_CONTAINERS + size // BYTES_PER_CONTAINER


def surplus_of_each(texts: Sequence[bytes], openings: Sequence[int]) -> list[int]:
    """Count the surplus of arrays and objects (see `Density`) of each text.

    Args:
        texts: of events.
        openings: of each, as `openings_of_each` counts them.
    """
    return [
        # Most have few, and a call for each would take 0.1 µs.
        max(0, _pairs_outside_strings(text).count(b"(") - _counted_from(len(text)))
        if number > FREE_CONTAINERS_OF_BULK + len(text) // BYTES_PER_CONTAINER_OF_BULK
        else 0
        for text, number in zip(texts, openings, strict=True)
    ]


def _counted_from(size: int) -> int:
    """Arrays and objects of an event of a size that are not surplus."""
    return FREE_CONTAINERS_OF_BULK + size // BYTES_PER_CONTAINER_OF_BULK


def _outside_strings(raw: bytes) -> bytes:
    """The text without its strings."""
    return b'""'.join(_without_escapes(raw).split(b'"')[::2])


def _without_escapes(raw: bytes) -> bytes:
    """The text without the escapes that hide where a string ends. They occur in strings only."""
    if b"\\" not in raw:  # a single byte is found in a tenth of the time of two
        return raw
    raw = raw.replace(_TWO_BACKSLASHES, b"")
    return raw.replace(b'\\"', b"") if b"\\" in raw else raw


def _has_escaped_quote(text: bytes) -> bool:
    """Whether there may be a quote inside of a string; a backslash at a string's end is none."""
    number = text.count(b'\\"')
    return number > 0 and (number > text.count(b'\\\\"') or b"\\\\\\" in text)


def _holds_long_integer(text: bytes, most: int) -> bool:
    """Whether a valid text holds an integer of more digits than `most`."""
    return _has_long_integer(text, most) and _has_long_integer(_outside_strings(text), most)


def _has_long_integer(raw: bytes, most: int) -> bool:
    """Whether there is an integer of more digits than `most`; those in strings are counted, too.

    Such a row has a digit at one of the places that lie `most` bytes apart, so only these are
    looked at. A search for 1,001 digits takes 40 ns per byte among rows of 400, and more as a
    pattern.
    """
    at = most
    while at < len(raw):
        if raw[at] in _DIGITS:
            around = raw[at - most : at + most + 1].translate(_DIGITS_AS_0)
            begin = around.rfind(b" ", 0, most) + 1
            end = around.find(b" ", most)
            if (end if end >= 0 else len(around)) - begin > most:
                before = raw[:at].rstrip(_DIGITS)
                after = raw[at:].lstrip(_DIGITS)
                if not (before.endswith(_OF_FLOATS) or after.startswith((b".", b"e", b"E"))):
                    return True
                # Of a fraction or an exponent. Its other digits need no look.
                at = len(raw) - len(after)
        at += most + 1
    return False


def _has_long_key(text: bytes, most: int) -> bool:
    """Whether there may be a key of more bytes than `most`.

    As `_has_long_integer`, it looks at few places; the pattern alone would look behind each quote.
    """
    size = len(text)
    at = most
    while at < size:
        begin, end = _begin_of_string(text, at), _end_of_string(text, at)
        if end < 0:
            return False
        if end - begin > most:
            if begin < -1 or end > size:
                return _may_have_long_key(text, most)
            # What is between two strings may look like one: then this one may be behind a colon.
            if _COLON.match(text, end + 1):
                return True
            at = end
        at += most + 1
    return False


def _may_have_long_key(text: bytes, most: int) -> bool:
    """Do as `_has_long_key`, for a text with many quotes or backslashes in a long string."""
    if _has_escaped_quote(text):
        # The pattern ends at any quote. No key is longer than its text.
        text = text.replace(_TWO_BACKSLASHES, b"__").replace(b'\\"', b"__")
    return _long_key(most + 1).search(text) is not None


def _begin_of_string(text: bytes, at: int) -> int:
    """Where the nearest quote before a place is that is not escaped; far away if there are many."""
    for _ in range(_QUOTES):
        at = text.rfind(b'"', 0, at)
        if at < 0 or not _is_escaped(text, at):
            return at
    return -len(text)


def _end_of_string(text: bytes, at: int) -> int:
    """Where the nearest quote from a place on is that is not escaped; far away if there are many.

    It is -1 if there is none.
    """
    for _ in range(_QUOTES):
        at = text.find(b'"', at)
        if at < 0 or not _is_escaped(text, at):
            return at
        at += 1
    return 2 * len(text)


def _is_escaped(text: bytes, at: int) -> bool:
    """Whether a quote in a string stands behind an escaping backslash."""
    width = _BACKSLASHES
    while True:
        before = text[max(0, at - width) : at]
        backslashes = len(before) - len(before.rstrip(b"\\"))
        if backslashes < width:
            return backslashes % 2 == 1
        width *= 4


@cache
def _long_key(size: int) -> re.Pattern[bytes]:
    """A key of at least so many bytes without quotes."""
    return re.compile(rb"\"[^\"]{%d}[^\"]*+\"[ \t\r\n]*+:" % size)


def _is_long(key: str, limits: EventLimits) -> bool:
    return len(key.encode()) > limits.max_key_bytes


class _Fault(NamedTuple):
    """What `PlaceFinder` looks for.

    Attributes:
        longer_than: bytes that the text of what holds it exceeds.
        may_hold: whether a text may hold it.
        is_key: whether a key is it.
        elsewhere: the path below a text none of whose items holds it. It is empty where `may_hold`
            is certain: the fault is then a value whose key is written again behind it.
    """

    longer_than: int
    may_hold: Callable[[bytes], bool]
    is_key: Callable[[str], bool]
    elsewhere: str | None


class PlaceFinder:
    """Tells where in the parts of a request's events a fault stands.

    It goes down level by level, leaves the texts of the items as they are, and ends once it has
    looked at `PLACE_BYTES`. The path is then that of an array or an object around the fault.

    Args:
        limits: that the events break.
    """

    def __init__(self, limits: EventLimits) -> None:
        # Every request makes one, and few need it: the rest is made for a fault.
        self._limits = limits
        self._bytes_left = PLACE_BYTES

    def long_integer(self, text: bytes) -> str:
        """Return the path from a part to its first integer that is too long."""
        most = self._limits.max_integer_digits
        fault = _Fault(most, lambda each: _holds_long_integer(each, most), lambda _: False, "")
        return self._path(text, fault) or ""

    def long_key(self, text: bytes) -> str:
        """Return the path from a part to the object that has a key that is too long."""
        limits = self._limits
        fault = _Fault(
            limits.max_key_bytes,
            lambda each: may_have_long_key(each, limits),
            lambda key: _is_long(key, limits),
            None,
        )
        return self._path(text, fault) or ""

    def _path(self, text: bytes, fault: _Fault) -> str | None:
        """Return the path from a text to a fault; None if the fault is not there."""
        self._bytes_left -= len(text) + text.count(b",") * _BYTES_PER_COMMA
        if self._bytes_left < 0:
            return ""
        children: Iterable[tuple[str | int, msgspec.Raw]]
        try:
            if text.startswith(b"{"):
                members = _members.decode(text)
                if any(map(fault.is_key, members)):
                    return ""
                children = members.items()
            elif text.startswith(b"["):
                children = enumerate(_items.decode(text))
            else:
                return ""
        except (ValueError, RecursionError):  # decoding all of it will say what is wrong
            return ""
        for name, value in children:
            if len(value) > fault.longer_than and fault.may_hold(child := bytes(value)):
                below = self._path(child, fault)
                if below is not None:
                    return (f"[{name}]" if type(name) is int else f".{name}") + below
        return fault.elsewhere
