"""Validating a request's events and giving them their ids (design §3, §5)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from ocelot_api.authentication import Principal
from ocelot_common.batching import batched
from ocelot_common.envelope import PackedEvent
from ocelot_common.event import AcceptedEvent, BulkAcceptor, EventAcceptor, PlainEvents
from ocelot_common.event_faults import FaultFinder
from ocelot_common.event_limits import (
    EventError,
    EventFault,
    count_openings,
    count_slow_numbers,
    has_exponents,
)
from ocelot_common.ids import IdsByKey, format_id, format_ids, new_id_and_text, new_ids_and_texts

#: Decoded together; decoded events take ten times the bytes of their texts.
_EVENTS_OF_STEP: Final = 128
#: One step's bytes: the slowest take 20 ms.
_STEP_BYTES: Final = 128 * 1024
#: A fault takes up to 40 µs, as much as 1,000 bytes of good events. So a request may hold so many
#: faulty events, and one more per so many bytes: ordinary events never reach this bound.
FREE_FAULTS: Final = 32
BYTES_PER_FAULT: Final = 512
#: A faulty event of up to `SMALL_BYTES` with more arrays and objects than these counts as several,
#: as its nesting has to be looked at first: 100 events of 370 bytes that nest 29 levels, each with
#: a fault in `changes`, took 4.9 ms, and by their bytes they may take 3.4.
SMALL_BYTES: Final = 1_000
MANY_OPENINGS: Final = 16
FAULTS_OF_DENSE: Final = 12
#: Events that may be decoded one by one, because `metadata` or `changes` of one beside them is
#: faulty: in a request, and one more per so many bytes (see `BulkAcceptor.single`).
FREE_SINGLE: Final = 300
BYTES_PER_SINGLE: Final = 256
#: Numbers such as 1e300, of which some take 14 µs each to read, of all events together.
FREE_SLOW_NUMBERS: Final = 64
BYTES_PER_SLOW_NUMBER: Final = 512
#: The surplus (see `Density`) of arrays and objects of all events of a request together. Each takes
#: 0.1 µs and more.
MAX_SURPLUS: Final = 1_024


class ItemError(msgspec.Struct):
    """One fault of an event that was rejected. An event may have several."""

    index: int
    code: str
    path: str
    detail: str


class Accepted(NamedTuple):
    """What became of a request's events.

    Attributes:
        events: the valid ones, in the order of the request.
        ids: of every event by position; None where it was rejected.
        errors: of the rejected ones, in the order of the request; one has at least one.
    """

    events: list[PackedEvent]
    ids: list[str | None]
    errors: list[ItemError]

    @property
    def rejected(self) -> int:
        """The number of rejected events."""
        return len(self.ids) - len(self.events)


class TooManyFaultsError(Exception):
    """A request holds so many faulty events that naming the others would cost too much.

    Attributes:
        rejected: the number of faulty events until then.
        errors: of these events.
    """

    def __init__(self, rejected: int, errors: list[ItemError]) -> None:
        super().__init__(f"{rejected} invalid events")
        self.rejected = rejected
        self.errors = errors


class TooDenseError(Exception):
    """A request's events hold too many arrays and objects for their bytes."""


class Accepting:
    """Validates a request's events step by step and assigns the ids that are missing.

    Args:
        principal: whose they are.
        acceptor: of the tenant's bounds.
        key: the request's `Idempotency-Key`; without, an event without id gets a UUIDv7.

    Attributes:
        accepted: what became of the events until now.
        text_bytes: of the texts of record of a bulk request's events until now.
    """

    def __init__(self, *, principal: Principal, acceptor: EventAcceptor, key: str | None) -> None:
        self.accepted = Accepted([], [], [])
        self._acceptor = acceptor
        self._faults = FaultFinder(acceptor)
        self._by_key: IdsByKey | None = None
        if key is not None:
            self._by_key = IdsByKey(principal.tenant.uid, principal.subject, key)
        self._texts: dict[bytes, bytes] = {}  # by the ids that clients gave
        self._surplus = 0
        self._weight_of_faults = 0
        self._total_bytes = 0
        self.text_bytes = 0

    def one(self, raw: bytes) -> Accepted:
        """Validate the only event of a request."""
        size = len(raw)
        if size > self._acceptor.small_bytes and has_exponents(raw):
            most = most_slow_numbers(size)
            if count_slow_numbers(raw) > most:
                detail = (
                    f"The event has too many numbers such as 1e300. The limit for {size:,} bytes is"
                    f" {most:,}. Write them without an exponent or as strings."
                )
                self._reject([EventFault("too_many_exponents", "", detail)])
                return self.accepted
        try:
            event = self._acceptor.accept(raw)
        except EventError as error:
            self._reject(self._faults.faults(raw, error))
        else:
            self._add(event)
        return self.accepted

    def steps(self, raws: Sequence[bytes | msgspec.Raw]) -> Iterator[None]:
        """Validate JSON texts, some at a step. Between two steps, others may have their turn.

        msgspec keeps the GIL, so a thread would not help: 16 MiB of arrays take half a second.

        Raises:
            TooManyFaultsError: nothing of the request may be stored.
            TooDenseError: the same.
            TooManySlowNumbersError: the same.
        """
        if len(raws) == 1:
            self.one(bytes(raws[0]))
            return
        bulk = self._acceptor.bulk()
        # Copies of the parts of a body are made as they are needed.
        texts: Iterable[bytes] = map(bytes, raws)
        for part in batched(texts, _EVENTS_OF_STEP):
            size = sum(map(len, part))
            is_first = self._total_bytes == 0
            self._total_bytes += size
            for piece in _pieces(part, size):
                if not is_first:
                    yield
                is_first = False
                self._accept_several(bulk, piece)

    def _accept_several(self, bulk: BulkAcceptor, raws: Sequence[bytes]) -> None:
        plain = bulk.accept_plain(raws, most_slow_numbers=most_slow_numbers(self._total_bytes))
        self._add_surplus(plain.surplus)
        self.text_bytes += sum(map(len, plain.texts))
        add = self._adding_with_ids(plain) if plain.ids else self._adding_without_ids(plain)
        too_many_single = bulk.single > FREE_SINGLE + self._total_bytes // BYTES_PER_SINGLE
        done = 0
        if len(plain.texts) < len(raws):
            others = sorted(set(range(len(raws))).difference(plain.positions))
            for number, position in enumerate(others):
                before = position - number
                add(done, before)
                done = before
                self._accept_other(bulk, raws[position])
                if too_many_single and self.accepted.errors:
                    raise TooManyFaultsError(self.accepted.rejected, self.accepted.errors)
        add(done, len(plain.texts))

    def _accept_other(self, bulk: BulkAcceptor, raw: bytes) -> None:
        """Accept an event that is not plain, unless the request has too many faulty ones."""
        if has_exponents(raw):
            bulk.count_slow_numbers([raw], most_slow_numbers(self._total_bytes))
        try:
            event = self._acceptor.accept(raw)
        except EventError as error:
            self._reject(self._faults.faults(raw, error))
            self._weight_of_faults += _weight(raw)
            if self._weight_of_faults > FREE_FAULTS + self._total_bytes // BYTES_PER_FAULT:
                raise TooManyFaultsError(self.accepted.rejected, self.accepted.errors) from None
        else:
            self._add_surplus(bulk.surplus(event, raw))
            self.text_bytes += len(event.text)
            self._add(event)

    def _add_surplus(self, surplus: int) -> None:
        self._surplus += surplus
        if self._surplus > MAX_SURPLUS:
            raise TooDenseError

    def _add(self, event: AcceptedEvent) -> None:
        event_id = event.id
        if event_id is not None:
            self._add_given(event_id, event.text)
            return
        if self._by_key is None:
            event_id, id_text = new_id_and_text()
        else:
            event_id = self._by_key.next(event.text)
            id_text = format_id(event_id)
        self.accepted.ids.append(id_text)
        self.accepted.events.append(PackedEvent(event_id, event.text))

    def _adding_with_ids(self, plain: PlainEvents) -> Callable[[int, int], None]:
        """Return what adds a range of events, of which some have ids of their client."""
        accepted = list(map(AcceptedEvent, plain.ids or (), plain.texts))

        def add(begin: int, end: int) -> None:
            for event in accepted[begin:end]:
                self._add(event)

        return add

    def _adding_without_ids(self, plain: PlainEvents) -> Callable[[int, int], None]:
        """Return what adds a range of events without ids: many at once cost half as much."""
        ids, id_texts = self._next_ids(plain.texts)
        packed = list(map(PackedEvent, ids, plain.texts))

        def add(begin: int, end: int) -> None:
            self.accepted.events.extend(packed[begin:end])
            self.accepted.ids.extend(id_texts[begin:end])

        return add

    def _next_ids(self, texts: Sequence[bytes]) -> tuple[list[bytes], list[str]]:
        """Ids of events that have none, and their forms for people."""
        if self._by_key is None:
            return new_ids_and_texts(len(texts))
        ids = self._by_key.next_ids(texts)
        return ids, format_ids(ids)

    def _reject(self, faults: Sequence[EventFault]) -> None:
        _, ids, errors = self.accepted
        errors.extend(ItemError(len(ids), *fault) for fault in faults)
        ids.append(None)

    def _add_given(self, event_id: bytes, text: bytes) -> None:
        """Add an event with an id of its client, unless another one has it."""
        events, ids, errors = self.accepted
        if self._texts.setdefault(event_id, text) != text:
            errors.append(_duplicate(len(ids)))
            ids.append(None)
            return
        ids.append(format_id(event_id))
        events.append(PackedEvent(event_id, text))


def most_slow_numbers(size: int) -> int:
    """Return how many numbers that take long to read so many bytes of events may hold."""
    return FREE_SLOW_NUMBERS + size // BYTES_PER_SLOW_NUMBER


def _weight(raw: bytes) -> int:
    """Return as how many faulty events one counts."""
    dense = len(raw) <= SMALL_BYTES and count_openings(raw) > MANY_OPENINGS
    return FAULTS_OF_DENSE if dense else 1


def _pieces(part: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    """A part of large events in pieces of about a step's bytes."""
    if size <= _STEP_BYTES:
        yield part
        return
    piece: list[bytes] = []
    size = 0
    for raw in part:
        if piece and size + len(raw) > _STEP_BYTES:
            yield piece
            piece, size = [], 0
        piece.append(raw)
        size += len(raw)
    yield piece


def _duplicate(index: int) -> ItemError:
    return ItemError(
        index, "duplicate_id", "id", "Another event of this request has the same `id`."
    )
