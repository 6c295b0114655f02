"""The event as clients write it (design §3), its validation, and its text of record (§4).

An event is decoded, checked and encoded again: absent stays absent, what was given stays, a key
given twice counts once (the last), integers are exact. That text, without `id`, is what is stored,
found and returned.
"""

import re
import socket
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from functools import lru_cache, partial
from math import isfinite
from typing import Annotated, Any, Final, Generic, Literal, NamedTuple, TypeVar, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, convert

from ocelot_common.event_limits import (
    Density,
    EventError,
    EventFault,
    EventLimits,
    PlaceFinder,
    check_depth,
    check_integers,
    check_key_lengths,
    check_keys,
    check_text,
    count_exponents,
    count_openings,
    count_slow_numbers,
    has_exponents,
    has_many_exponents,
    have_few_exponents,
    may_have_long_integer,
    may_have_long_key,
    may_have_many_keys,
    most_openings,
    openings_of_each,
    openings_within_bounds,
    surplus_of_each,
    too_large,
)
from ocelot_common.ids import parse_id
from ocelot_common.timestamps import parse_rfc3339, to_datetime, to_ms

Outcome = Literal["success", "failure", "denied", "unknown"]
Severity = Literal["debug", "info", "notice", "warning", "error", "critical"]

DEFAULT_OUTCOME: Final = "unknown"
DEFAULT_SEVERITY: Final = "info"
#: From the least to the most severe.
SEVERITIES: Final[tuple[str, ...]] = get_args(Severity)
OUTCOMES: Final[tuple[str, ...]] = get_args(Outcome)

#: Actions of the service itself; refused from clients.
RESERVED_ACTION_PREFIX: Final = "ocelot."
#: A client's clock may run ahead, by time zone mistakes too, but not by more.
MAX_AHEAD_MS: Final = 24 * 3600 * 1000
#: 9999-12-31T00:00:00Z, the last day that a date-time can name.
_LAST_MS: Final = 253_402_214_400_000

Keyword = Annotated[str, Meta(max_length=1024)]
_Id = Annotated[str, Meta(min_length=1, max_length=1024)]
_OptionalKeyword = Keyword | None | UnsetType
#: The values of an event's free-form parts.
Free = TypeVar("Free")
#: What stands for `changes` and `metadata`: their values, or their JSON texts.
ChangesForm = TypeVar("ChangesForm")
MetadataForm = TypeVar("MetadataForm")
Decoded = TypeVar("Decoded")


class Actor(Struct, gc=False, forbid_unknown_fields=True):
    """Person or system that acted."""

    id: _Id
    type: _OptionalKeyword = UNSET
    name: _OptionalKeyword = UNSET
    email: _OptionalKeyword = UNSET
    session_id: _OptionalKeyword = UNSET


class Target(Struct, gc=False, forbid_unknown_fields=True):
    """Resource that the action affected."""

    type: _OptionalKeyword = UNSET
    id: _OptionalKeyword = UNSET
    name: _OptionalKeyword = UNSET


class Source(Struct, gc=False, forbid_unknown_fields=True):
    """Origin of the request."""

    ip: _OptionalKeyword = UNSET
    user_agent: _OptionalKeyword = UNSET
    service: _OptionalKeyword = UNSET
    location: _OptionalKeyword = UNSET


class Changes(Struct, Generic[Free], gc=False, forbid_unknown_fields=True):
    """The changed values before and after, free-form."""

    before: Free | UnsetType = UNSET
    after: Free | UnsetType = UNSET


class Event(Struct, Generic[ChangesForm, MetadataForm], gc=False, forbid_unknown_fields=True):
    """One audit event as a client sends it. `None` stands for an explicit JSON null."""

    action: Annotated[str, Meta(min_length=1, max_length=256)]
    actor: Actor
    id: str | UnsetType | None = UNSET
    occurred_at: str | UnsetType | None = UNSET
    targets: list[Target] | UnsetType | None = UNSET
    outcome: Outcome | UnsetType | None = UNSET
    severity: Severity | UnsetType | None = UNSET
    message: str | UnsetType | None = UNSET
    changes: ChangesForm | UnsetType = UNSET
    source: Source | UnsetType | None = UNSET
    request_id: _OptionalKeyword = UNSET
    trace_id: _OptionalKeyword = UNSET
    tags: list[Keyword] | UnsetType | None = UNSET
    metadata: MetadataForm | UnsetType = UNSET


#: An event with all of its values.
WholeEvent = Event[Changes[Any] | None, dict[str, Any] | None]


class FreeForm(Struct, Generic[Free], gc=False):
    """The parts of an event that are the client's own: only they hold numbers, and nest."""

    changes: Changes[Free] | UnsetType | None = UNSET
    metadata: dict[str, Free] | UnsetType | None = UNSET


_Scalar = str | int | float | bool | None
_Shallow1 = _Scalar | list[_Scalar] | dict[str, _Scalar]
_Shallow2 = _Scalar | list[_Shallow1] | dict[str, _Shallow1]
_Shallow3 = _Scalar | list[_Shallow2] | dict[str, _Shallow2]
#: How deep an event of these nests at most: itself, `changes`, and the values of `before`.
_SHALLOW_DEPTH: Final = 5


class AcceptedEvent(Struct, gc=False):
    """A valid event.

    Attributes:
        id: the client's, 16 bytes, or None.
        text: of record.
        surplus: arrays and objects that `Density` counts, if they were counted.
    """

    id: bytes | None
    text: bytes
    surplus: int = 0


class PlainEvents(NamedTuple):
    """Those of several events that are plain: valid, of up to 4 KiB and not too deep.

    Attributes:
        positions: where they stand among all.
        texts: of record.
        ids: those that the client gave; None if it gave no id at all.
        surplus: as of `AcceptedEvent`, of all together.
    """

    positions: list[int]
    texts: list[bytes]
    ids: list[bytes | None] | None
    surplus: int


_decoder = msgspec.json.Decoder(WholeEvent)

#: Leaves the free-form parts as they are: what they hold is looked at before it is decoded.
_outline_decoder: msgspec.json.Decoder[Event[Any, Any]] = msgspec.json.Decoder(
    Event[msgspec.Raw, msgspec.Raw]
)
_changes_outline_decoder = msgspec.json.Decoder(Changes[msgspec.Raw] | None)
#: Bounds the nesting by its types, which costs nothing; counting brackets costs as much as a third
#: of the decoding.
_shallow_decoder = msgspec.json.Decoder(FreeForm[_Shallow3])
#: How many numbers the hook may read in the time in which msgspec reads one with a long exponent.
_HOOK_GAIN: Final = 24


def _read_float(text: str) -> float:
    """Read a number as msgspec does, which takes 8 µs for 1e300; this takes 0.4 µs."""
    value = float(text)
    if not isfinite(value):
        raise ValueError("Number out of range")
    return value


class _DeepDecoder(Generic[Decoded]):
    """Decodes values that nest as deep as they like, and reads long exponents as fast as it can."""

    def __init__(self, form: Any) -> None:
        self._usual = msgspec.json.Decoder(form)
        self._hooked = msgspec.json.Decoder(form, float_hook=_read_float)

    def decode(self, text: bytes, *, exponents: bool) -> Decoded:
        """Decode a text, which may have numbers with long exponents or not."""
        hooked = False
        if exponents:
            others = text.count(b".") // _HOOK_GAIN
            hooked = count_exponents(text, others + 1) > others
        decoded: Decoded = (self._hooked if hooked else self._usual).decode(text)
        return decoded


_deep_decoder = _DeepDecoder[FreeForm[Any]](FreeForm[Any])


class _Decoders(NamedTuple):
    """Of the same free-form part of events: of a list, shallow or deep, and of a single one."""

    shallow: msgspec.json.Decoder[list[Any]]
    deep: _DeepDecoder[list[Any]]
    single: _DeepDecoder[Any]


_METADATA_DECODERS: Final = _Decoders(
    msgspec.json.Decoder(list[dict[str, _Shallow3] | None]),
    _DeepDecoder[list[Any]](list[dict[str, Any] | None]),
    _DeepDecoder[Any](dict[str, Any] | None),
)
_CHANGES_DECODERS: Final = _Decoders(
    msgspec.json.Decoder(list[Changes[_Shallow3] | None]),
    _DeepDecoder[list[Any]](list[Changes[Any] | None]),
    _DeepDecoder[Any](Changes[Any] | None),
)
#: Outlines of events by their position in a request.
_Outlines = dict[int, Event[Any, Any]]


class _Parts:
    """The free-form parts of many outlines, which are decoded together.

    Attributes:
        exponents: whether one may hold a number that takes long to read.
    """

    __slots__ = ("_changes", "_metadata", "_with_changes", "_with_metadata", "exponents")

    def __init__(self, events: Collection[Event[Any, Any]]) -> None:
        self._with_metadata = [event for event in events if event.metadata is not UNSET]
        self._with_changes = [event for event in events if event.changes is not UNSET]
        metadata: list[Any] = [event.metadata for event in self._with_metadata]
        changes: list[Any] = [event.changes for event in self._with_changes]
        self._metadata = b"[%b]" % b",".join(metadata)
        self._changes = b"[%b]" % b",".join(changes)
        self.exponents = has_exponents(self._metadata) or has_exponents(self._changes)

    def fill_in_shallow(self) -> bool:
        """Decode the parts into their outlines.

        Returns:
            False, if the outlines are as they were: a part is faulty, or nests deeper than most.
        """
        return self._fill_in(_METADATA_DECODERS.shallow.decode, _CHANGES_DECODERS.shallow.decode)

    def fill_in(self) -> bool:
        """Decode the parts into their outlines, however deep they nest.

        Returns:
            False, if the outlines are as they were: a part is faulty.
        """
        return self._fill_in(
            partial(_METADATA_DECODERS.deep.decode, exponents=self.exponents),
            partial(_CHANGES_DECODERS.deep.decode, exponents=self.exponents),
        )

    def _fill_in(
        self,
        decode_metadata: Callable[[bytes], list[Any]],
        decode_changes: Callable[[bytes], list[Any]],
    ) -> bool:
        try:
            metadata, changes = decode_metadata(self._metadata), decode_changes(self._changes)
        except (ValueError, RecursionError):
            return False
        for event, value in zip(self._with_metadata, metadata, strict=True):
            event.metadata = value
        for event, value in zip(self._with_changes, changes, strict=True):
            event.changes = value
        return True


_RESERVED_ACTION: Final = EventFault(
    "reserved_action",
    "action",
    f"`action` must not begin with `{RESERVED_ACTION_PREFIX}`, which is reserved for Ocelot.",
)
_INVALID_IP: Final = EventFault(
    "invalid_ip",
    "source.ip",
    "`source.ip` must be an IPv4 or IPv6 address. Leave it out, or put the value into `metadata`.",
)
_NO_IP: Final = frozenset({UNSET, None, ""})
#: The density of an event that is too small to have any.
_SPARSE: Final = Density(exponents=0, surplus=0, brackets=None)
_Times = list[Annotated[datetime, Meta(tz=True)]]
_encoder = msgspec.json.Encoder()


def accept_event(raw: bytes, *, now_ms: int, limits: EventLimits) -> AcceptedEvent:
    """Validate one event's JSON text and bring it into its form of record.

    Args:
        raw: one JSON object, UTF-8.
        now_ms: the time of arrival, for the bound on `occurred_at`.
        limits: the bounds on size and shape.

    Raises:
        EventError: with the code and path of the first fault.
    """
    return EventAcceptor(now_ms=now_ms, limits=limits).accept(raw)


class EventAcceptor:
    """Validates events, one by one. It keeps nothing of them: requests of all tenants share it.

    Args:
        now_ms: the time of arrival, for the bound on `occurred_at`.
        limits: the bounds on size and shape.
    """

    __slots__ = ("_latest", "_limits", "_small")

    def __init__(self, *, now_ms: int, limits: EventLimits) -> None:
        self._limits = limits
        # An event so short can hold no key or integer that is too long, nor too many keys.
        self._small = min(
            limits.max_event_bytes,
            limits.max_key_bytes,
            limits.max_integer_digits,
            limits.max_keys,
        )
        if limits.max_depth < _SHALLOW_DEPTH:
            self._small = 0
        self._latest = to_datetime(min(now_ms + MAX_AHEAD_MS, _LAST_MS))

    def bulk(self) -> "BulkAcceptor":
        """Return what validates the events of one bulk request."""
        return BulkAcceptor(limits=self._limits, latest=self._latest, small=self._small)

    def place_finder(self) -> PlaceFinder:
        """Return what tells where in the events of one request a fault stands."""
        return PlaceFinder(self._limits)

    @property
    def small_bytes(self) -> int:
        """The size of the largest event that can break no bound but those on depth and density."""
        return self._small

    @property
    def max_event_bytes(self) -> int:
        """The size of the largest event that is accepted."""
        return self._limits.max_event_bytes

    def accept(self, raw: bytes) -> AcceptedEvent:
        """Validate one event's JSON text and bring it into its form of record.

        Raises:
            EventError: with the code and path of the first fault.
        """
        small = len(raw) <= self._small
        density = _SPARSE if small else check_text(raw, self._limits)
        event = _decode_outline(raw)
        if not small or not _fill_in_shallow(event):
            check_depth(raw, self._limits, density.brackets)
            if small:  # most of them are too deep, or hold a slow number
                density = check_text(raw, self._limits)
            if text := _free_text(event):
                self._fill_in_deep(event, text, exponents=density.exponents > 0, small=small)
        event_id = self._check_values(event)
        text = _encoder.encode(event)
        if len(text) > self._limits.max_event_bytes:  # 9e9 becomes 9000000000.0
            raise too_large(len(text), self._limits)
        return AcceptedEvent(event_id, text, density.surplus)

    def _check_values(self, event: Event[Any, Any]) -> bytes | None:
        """Check the values of an outline, and take its id out of it."""
        event_id = None if event.id is UNSET else _take_id(event)
        if event.action.startswith(RESERVED_ACTION_PREFIX):
            raise EventError(*_RESERVED_ACTION)
        occurred_at = event.occurred_at
        if occurred_at is not UNSET and occurred_at is not None:
            self._check_time(occurred_at)
        source = event.source
        if source and source.ip and not is_ip_address(source.ip):
            raise EventError(*_INVALID_IP)
        return event_id

    def _fill_in_deep(
        self, event: Event[Any, Any], text: bytes, *, exponents: bool, small: bool
    ) -> None:
        """Decode the free-form parts of an event, which may be large or nest deep.

        Args:
            event: its outline.
            text: of the parts.
            exponents: whether there are numbers that take long to read.
            small: whether it is too short to have a key or an integer that is too long.
        """
        limits = self._limits
        many_keys = may_have_many_keys(text, limits)
        long_integer = not small and may_have_long_integer(text, limits)
        long_key = not small and may_have_long_key(text, limits)
        texts = _texts_by_path(event) if many_keys or long_integer or long_key else {}
        if many_keys:
            check_keys(texts, limits)
        if long_integer:
            check_integers(texts, limits)
        decode = partial(_deep_decoder.decode, exponents=exponents)
        _fill_in(event, _decoded(decode, text))
        if long_key:
            for path, value in _free_form(event).items():
                if path in texts and may_have_long_key(texts[path], limits):
                    check_key_lengths(value, path, limits)

    def check_value(self, path: str, text: str) -> None:
        """Check a text for what its type does not say.

        Args:
            path: of the field.
            text: its value, of the right type.

        Raises:
            EventError: it breaks a rule of `id`, `action`, `occurred_at` or `source.ip`.
        """
        if path == "id":
            _read_id(text)
        elif path == "action" and text.startswith(RESERVED_ACTION_PREFIX):
            raise EventError(*_RESERVED_ACTION)
        elif path == "occurred_at":
            self._check_time(text)
        elif path == "source.ip" and text and not is_ip_address(text):
            raise EventError(*_INVALID_IP)

    def _check_time(self, text: str) -> None:
        try:
            moment = convert(text, datetime)
        except msgspec.ValidationError:
            moment = None
        if moment is not None and moment.tzinfo is not None:
            ahead = moment > self._latest
        else:
            try:
                # What is no such time, or lies so late in the year 9999 that msgspec rounds it out.
                ahead = parse_rfc3339(text) > to_ms(self._latest)
            except ValueError as error:
                raise EventError("invalid_time", "occurred_at", f"`occurred_at` {error}.") from None
        if ahead:
            raise EventError(
                "time_in_future",
                "occurred_at",
                "`occurred_at` is more than 24 h in the future. Check the clock and the offset.",
            )


#: Larger events are left to `accept`, whose own steps take few of their microseconds.
_MOST_BYTES: Final = 4 * 1024
#: Events with a faulty part among those of one step, before all others are left to `accept`: the
#: request is likely to be refused before they are read.
_MOST_FAULTY: Final = 3
#: To decode an event by itself takes 2 µs more, and as much again for so many arrays and objects.
OPENINGS_OF_SINGLE: Final = 8


class TooManySlowNumbersError(Exception):
    """A request's events hold too many numbers that take long to read."""


class BulkAcceptor:
    """Validates many events of one bulk request at once.

    It learns from them: once some nested deep, it counts the arrays and objects of all.

    Args:
        limits: the bounds on size and shape.
        latest: the latest time that an event may have.
        small: the size of the largest event that can have no key or integer that is too long.

    Attributes:
        slow_numbers: that were read, and take long.
        single: events that were decoded one by one, because a part of one beside them is faulty.
            One with many arrays and objects counts several times.
    """

    __slots__ = ("_deep", "_latest", "_limits", "_most", "_small", "single", "slow_numbers")

    def __init__(self, *, limits: EventLimits, latest: datetime, small: int) -> None:
        self._limits = limits
        self._latest = latest
        self._small = small
        # A key takes 5 bytes with its value. So no event that is looked at has too many.
        self._most = min(limits.max_event_bytes, _MOST_BYTES, 5 * limits.max_keys) if small else 0
        self._deep = False  # some that nest deeper than most were seen
        self.slow_numbers = 0
        self.single = 0

    def accept_plain(self, raws: Sequence[bytes], *, most_slow_numbers: int) -> PlainEvents:
        """Bring the plain ones of several events into their form of record.

        `EventAcceptor.accept` tells of the others.

        Step by step over all of them, which takes 1.4 µs per event less than `accept` for each; 2.6
        of what remains are decoding and encoding.

        Args:
            raws: the JSON texts of the events.
            most_slow_numbers: how many `slow_numbers` there may be with those of these events.

        Raises:
            TooManySlowNumbersError: there are too many numbers that take long to read.
        """
        events = self._outlines(raws)
        self._leave_out_long(events, raws)
        self._leave_out_values(events)
        ids = _take_ids(events)
        # Last, as it takes the longest.
        surplus = self._fill_in_all(events, raws, most_slow_numbers)
        texts = list(map(_encoder.encode, events.values()))
        most = self._limits.max_event_bytes
        if max(map(len, texts), default=0) > most:  # 9e9 becomes 9000000000.0
            short = {at: text for at, text in zip(events, texts, strict=True) if len(text) <= most}
            events, texts = {at: events[at] for at in short}, list(short.values())
        given = [ids.get(at) for at in events] if ids else None
        return PlainEvents(list(events), texts, given, surplus)

    def surplus(self, event: AcceptedEvent, raw: bytes) -> int:
        """Count the surplus of an event that `accept` took, as of those beside it.

        Args:
            event: what became of it.
            raw: its JSON text.
        """
        if not self._deep or len(raw) > self._small or event.surplus:
            return event.surplus
        return sum(surplus_of_each([raw], [count_openings(raw)]))

    def _outlines(self, raws: Sequence[bytes]) -> _Outlines:
        """Decode events but for their free-form parts, without those that are faulty or large."""
        outlines: _Outlines = {}
        most = self._most
        for position, raw in enumerate(raws):
            if len(raw) <= most:
                try:
                    outlines[position] = _outline_decoder.decode(raw)
                except (ValueError, RecursionError):  # `accept` will say what is wrong
                    continue
        return outlines

    def _leave_out_long(self, events: _Outlines, raws: Sequence[bytes]) -> None:
        """Take out the events that may have a key or an integer that is too long."""
        longer = {at: raws[at] for at in events if len(raws[at]) > self._small}
        # Neither reaches over a line break.
        if longer and self._may_be_long(b"\n".join(longer.values())):
            for at, raw in longer.items():
                if self._may_be_long(raw):
                    del events[at]

    def _may_be_long(self, text: bytes) -> bool:
        return may_have_long_integer(text, self._limits) or may_have_long_key(text, self._limits)

    def _leave_out_values(self, events: _Outlines) -> None:
        """Take out the events with a faulty value, or with a time that only `accept` can read."""
        times = {
            at: time
            for at, event in events.items()
            if (time := event.occurred_at) is not UNSET and time is not None
        }
        if not self._are_plain(list(times.values())):
            for at, time in times.items():
                if not self._are_plain([time]):
                    del events[at]
        actions = {event.action for event in events.values()}
        if reserved := {each for each in actions if each.startswith(RESERVED_ACTION_PREFIX)}:
            for at in [at for at, event in events.items() if event.action in reserved]:
                del events[at]
        addresses = {event.source.ip for event in events.values() if event.source} - _NO_IP
        if faulty := {each for each in addresses if not is_ip_address(each)}:
            for at in [at for at, e in events.items() if e.source and e.source.ip in faulty]:
                del events[at]

    def _are_plain(self, times: Sequence[str]) -> bool:
        try:
            return not times or max(convert(times, _Times)) <= self._latest
        except ValueError:
            return False

    def _fill_in_all(self, events: _Outlines, raws: Sequence[bytes], most_slow_numbers: int) -> int:
        """Decode the free-form parts of events, and take out those that only `accept` can judge.

        Returns:
            The surplus of arrays and objects of those that stay, where it was counted; else 0.

        Raises:
            TooManySlowNumbersError: there are too many numbers that take long to read.
        """
        if self._deep:
            return self._fill_in_deep(events, raws, most_slow_numbers)
        small = {at: event for at, event in events.items() if len(raws[at]) <= self._small}
        parts = _Parts(small.values())
        # Small events that nest less than most have too few arrays and objects to be counted.
        if parts.exponents or not parts.fill_in_shallow():
            self._deep = not parts.exponents
            return self._fill_in_deep(events, raws, most_slow_numbers)
        if len(small) == len(events):
            return 0
        larger = {at: event for at, event in events.items() if at not in small}
        surplus = self._fill_in_deep(larger, raws, most_slow_numbers)
        for at in [at for at in events if at not in small and at not in larger]:
            del events[at]
        return surplus

    def _fill_in_deep(
        self, events: _Outlines, raws: Sequence[bytes], most_slow_numbers: int
    ) -> int:
        """Do as `_fill_in_all`, for events that may be large or nest deep."""
        # Nothing is decoded before all texts have been looked at: what nests deep takes long.
        openings = self._leave_out_unbounded(events, raws)
        surplus = surplus_of_each([raws[at] for at in events], openings)
        parts = _Parts(events.values())
        if parts.exponents:
            self.count_slow_numbers([raws[at] for at in events], most_slow_numbers)
        if parts.fill_in():
            return sum(surplus)
        self.single += sum(1 + number // OPENINGS_OF_SINGLE for number in openings)
        surplus_at = dict(zip(events, surplus, strict=True))
        self._fill_in_each(events, exponents=parts.exponents)
        return sum(surplus_at[at] for at in events)

    def _fill_in_each(self, events: _Outlines, *, exponents: bool) -> None:
        """Decode the free-form parts of events one by one, and take out the faulty events."""
        faulty = 0
        for at, event in list(events.items()):
            if faulty == _MOST_FAULTY:
                del events[at]  # likely faulty, too
                continue
            slow = exponents and has_exponents(_free_text(event))
            try:
                if (part := event.metadata) is not UNSET:
                    event.metadata = _METADATA_DECODERS.single.decode(bytes(part), exponents=slow)
                if (part := event.changes) is not UNSET:
                    event.changes = _CHANGES_DECODERS.single.decode(bytes(part), exponents=slow)
            except (ValueError, RecursionError):
                faulty += 1
                del events[at]

    def _leave_out_unbounded(self, events: _Outlines, raws: Sequence[bytes]) -> list[int]:
        """Take out the events for which only `accept` can tell whether they break a bound.

        It counts in whole events, as `accept` does: a part that is written twice counts twice.

        Returns:
            How many arrays and objects each of the others has at most.
        """
        kept = [raws[at] for at in events]
        openings = openings_of_each(kept)
        exponents = not have_few_exponents(b"\n".join(kept))
        if not exponents and max(openings, default=0) <= self._limits.max_depth:
            return openings
        left: list[int] = []
        for at, raw, number in list(zip(events, kept, openings, strict=True)):
            exact: int | None = number
            if self._may_be_unbounded(raw, events[at], number):
                exact = openings_within_bounds(raw, self._limits)
            if exact is None or (exponents and has_many_exponents(raw)):
                del events[at]
            else:
                left.append(exact)
        return left

    def _may_be_unbounded(self, raw: bytes, event: Event[Any, Any], openings: int) -> bool:
        """Whether an event may nest too deep, or hold too many arrays and objects."""
        deepest = self._limits.max_depth
        if openings <= deepest:
            return False
        # The event itself is a level. What is outside of the parts nests by itself.
        parts = [
            count_openings(bytes(part))
            for part in (event.metadata, event.changes)
            if part is not UNSET
        ]
        return (
            max(parts, default=0) >= deepest
            or openings - sum(parts) > deepest
            or openings > most_openings(len(raw))
        )

    def count_slow_numbers(self, raws: Iterable[bytes], most: int) -> None:
        """Count the numbers of events that are to be decoded, each time that they are.

        Raises:
            TooManySlowNumbersError: there are more than `most`, those before included.
        """
        # At once, which takes a tenth of a call for each. No number reaches over a line break.
        self.slow_numbers += count_slow_numbers(b"\n".join(raws))
        if self.slow_numbers > most:
            raise TooManySlowNumbersError


def _fill_in_shallow(event: Event[Any, Any]) -> bool:
    """Decode the free-form parts of an outline, unless they may nest deep or hold slow numbers.

    Returns:
        False, if the outline is as it was: it may be faulty, which only the other decoder can tell.
    """
    if text := _free_text(event):
        if has_exponents(text):
            return False
        try:
            _fill_in(event, _shallow_decoder.decode(text))
        except (ValueError, RecursionError):
            return False
    return True


def _decode_outline(raw: bytes) -> Event[Any, Any]:
    return _decoded(_outline_decoder.decode, raw)


def _free_text(event: Event[Any, Any]) -> bytes:
    """The JSON text of an outline's free-form parts; empty if it has none."""
    changes, metadata = event.changes, event.metadata
    if changes is UNSET:
        return b"" if metadata is UNSET else b'{"metadata":%b}' % metadata
    if metadata is UNSET:
        return b'{"changes":%b}' % changes
    return b'{"changes":%b,"metadata":%b}' % (changes, metadata)


def free_form_texts(raw: bytes) -> dict[str, bytes]:
    """Return the JSON texts of an event's free-form parts by their path; empty if it is faulty."""
    try:
        return _texts_by_path(_outline_decoder.decode(raw))
    except (ValueError, RecursionError):
        return {}


def _texts_by_path(event: Event[Any, Any]) -> dict[str, bytes]:
    """The JSON texts of an outline's free-form parts; without `changes` that are faulty."""
    texts: dict[str, bytes] = {}
    if event.metadata is not UNSET:
        texts["metadata"] = bytes(event.metadata)
    if event.changes is not UNSET:
        try:
            changes = _changes_outline_decoder.decode(event.changes)
        except (ValueError, RecursionError):  # decoding all of it will say what is wrong
            return texts
        if changes is not None:
            for name in ("before", "after"):
                if (text := getattr(changes, name)) is not UNSET:
                    texts[f"changes.{name}"] = bytes(text)
    return texts


def _fill_in(event: Event[Any, Any], parts: FreeForm[Any]) -> None:
    event.changes, event.metadata = parts.changes, parts.metadata


def decode_event(raw: bytes) -> Event[Any, Any]:
    """Decode and type-check one event's JSON text.

    Raises:
        EventError: the text is no JSON, or no event.
    """
    return _decoded(_decoder.decode, raw)


def _decoded(decode: Callable[[bytes], Decoded], raw: bytes) -> Decoded:
    """Decode a text, or say what is wrong with it.

    Raises:
        EventError: with the code and path of the first fault.
    """
    try:
        return decode(raw)
    except msgspec.ValidationError as error:
        raise _from_validation(str(error)) from None
    except RecursionError:
        raise EventError(
            "too_deep", "", "The objects and arrays of the event are nested too deeply."
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EventError(*json_fault(raw, error)) from None


_LONE_SURROGATE = re.compile(
    rb"\\u(?:[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB]..\\u)[dD][c-fC-F])"
)


_SEARCHED_BYTES: Final = 256 * 1024


def json_fault(raw: bytes, error: Exception) -> tuple[str, str, str]:
    """Code, path and detail for JSON text that msgspec could not read."""
    if isinstance(error, UnicodeDecodeError):
        return "invalid_unicode", "", "The text is not valid UTF-8."
    text = str(error).removeprefix("JSON is malformed: ")
    # Of a first half without a second, msgspec says that the text was truncated; in what it skips,
    # that a hex escape has no end.
    unclear = "truncated" in text or "hex escape" in text
    if "surrogate" in text or (unclear and _has_lone_surrogate(raw)):
        return "invalid_unicode", "", "The text has an escape that is half of a surrogate pair."
    return "invalid_json", "", f"The text is not valid JSON: {text}."


def _has_lone_surrogate(raw: bytes) -> bool:
    """Whether an escape is half of a surrogate pair; of a long text, only its ends are searched.

    A search takes 16 ns per byte.
    """
    if len(raw) > 2 * _SEARCHED_BYTES:
        raw = raw[:_SEARCHED_BYTES] + raw[-_SEARCHED_BYTES:]
    return _LONE_SURROGATE.search(raw.replace(b"\\\\", b"")) is not None


@lru_cache(4096)  # few addresses write most events
def is_ip_address(text: str) -> bool:
    """Whether `text` is an IPv4 address in dotted decimal form or an IPv6 address."""
    return ip_bytes(text) is not None


def ip_bytes(text: str) -> bytes | None:
    """The address as 16 bytes, IPv4 mapped into IPv6 (RFC 4291 §2.5.5.2); None if it is none.

    Of one length, so that a CIDR block is one range of bytes.
    """
    try:
        if ":" in text:
            return socket.inet_pton(socket.AF_INET6, text)
        return b"\0" * 10 + b"\xff\xff" + socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):  # ValueError: a NUL in the text
        return None


def _take_ids(events: _Outlines) -> dict[int, bytes]:
    """Take the ids out of events, and take out the events whose id is faulty.

    Returns:
        Those that are not null, by the position of their event.
    """
    ids: dict[int, bytes] = {}
    for at, event in list(events.items()):
        text = event.id
        if text is UNSET:
            continue
        event.id = UNSET
        if text is not None:
            try:
                ids[at] = parse_id(text)
            except ValueError:
                del events[at]
    return ids


def _take_id(event: Event[Any, Any]) -> bytes | None:
    text = event.id
    event.id = UNSET
    return None if text is UNSET or text is None else _read_id(text)


def _read_id(text: str) -> bytes:
    try:
        return parse_id(text)
    except ValueError as error:
        raise EventError("invalid_id", "id", f"`id` {error}.") from None


def _free_form(event: Event[Any, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if event.metadata:
        values["metadata"] = event.metadata
    if event.changes:
        values["changes.before"] = event.changes.before
        values["changes.after"] = event.changes.after
    return values


# The path holds names of ours alone; a client's name may hold anything, this phrase too.
_AT: Final = " - at `$"
_PATH = re.compile(r"\.?([\w.\[\]]*)`")
_UNKNOWN: Final = "Object contains unknown field `"
_MISSING: Final = "Object missing required field `"
_TYPES = re.compile(r"Expected `([a-z |]+)`, got `([a-z]+)`")
_LENGTH = re.compile(r"Expected `str` of length (<=|>=) (\d+)")
#: msgspec's names of types in the words of JSON (RFC 8259).
_JSON_TYPES: Final[dict[str, str]] = {
    "str": "a string",
    "int": "a number",
    "float": "a number",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
    "null": "null",
}
#: Messages up to here are remembered: few kinds of faults make most of the faulty events.
_SHORT_MESSAGE: Final = 200


def _from_validation(message: str) -> EventError:
    """Turn msgspec's message, which ends with a path, into code, path and detail."""
    return EventError(*read_validation(message))


def read_validation(message: str, parent: str = "") -> EventFault:
    """Turn msgspec's message, which ends with a path, into code, path and detail.

    Args:
        message: of a `msgspec.ValidationError`.
        parent: path of the value that was validated; empty for the event.
    """
    read = _remembered_fault if len(message) <= _SHORT_MESSAGE else _read_fault
    return read(message, parent)


def _read_fault(message: str, parent: str) -> EventFault:
    what, path = message, ""
    before, at, after = message.rpartition(_AT)
    if at and (match := _PATH.fullmatch(after)):
        what, path = before, match[1]
    path = f"{parent}.{path}" if parent and path and path[0] != "[" else parent + path
    if what.startswith(_UNKNOWN):
        return unknown_field(path, what.removeprefix(_UNKNOWN).removesuffix("`"))
    if what.startswith(_MISSING):
        return missing_field(path, what.removeprefix(_MISSING).removesuffix("`"))
    return _fault_of_value(what, path)


_remembered_fault = lru_cache(4096)(_read_fault)


def unknown_field(parent: str, name: str, suggestion: str | None = None) -> EventFault:
    """Return the fault of an object that has a member which is no field.

    Args:
        parent: path of the object; empty for the event.
        name: of the member.
        suggestion: the field that may be meant.
    """
    shown = name[:100]
    advice = (
        f"Did you mean `{suggestion}`?" if suggestion else "Put data of your own into `metadata`."
    )
    return EventFault(
        "unknown_field",
        join_path(parent, shown),
        f"{_subject(parent)} has no field `{shown}`. {advice}",
    )


def missing_field(parent: str, name: str) -> EventFault:
    """Return the fault of an object that lacks a required field."""
    path = join_path(parent, name)
    return EventFault("missing_field", path, f"`{path}` is required.")


def join_path(parent: str, name: str) -> str:
    """Return the path of a member of the object at a path."""
    return f"{parent}.{name}" if parent else name


def _subject(path: str) -> str:
    return f"`{path}`" if path else "The event"


def _fault_of_value(what: str, path: str) -> EventFault:
    subject = _subject(path)
    if match := _LENGTH.match(what):
        bound, number = match[1], int(match[2])
        rule = f"have at most {number:,} characters" if bound == "<=" else "not be empty"
        return EventFault("invalid_length", path, f"{subject} must {rule}.")
    if what.startswith("Invalid enum value"):
        known = OUTCOMES if path == "outcome" else SEVERITIES
        return EventFault("invalid_value", path, f"{subject} must be one of {', '.join(known)}.")
    if what.startswith("Integer value out of range"):  # over 4,300 digits, Python's own bound
        return EventFault(
            "integer_too_long",
            path,
            f"{subject} has an integer of too many digits. Write it as a string.",
        )
    if "out of range" in what:
        return EventFault(
            "number_out_of_range",
            path,
            f"{subject} has a number beyond 64-bit floating point. Write it as a string.",
        )
    if match := _TYPES.match(what):
        expected = " or ".join(_JSON_TYPES.get(each, each) for each in match[1].split(" | "))
        got = _JSON_TYPES.get(match[2], match[2])
        return EventFault("invalid_type", path, f"{subject} must be {expected}, got {got}.")
    return EventFault("invalid_type", path, f"{subject} has the wrong type.")
