"""Validating a request's events and giving them their ids (design §3, §5)."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from ocelot_api.authentication import Principal
from ocelot_common.batching import batched
from ocelot_common.envelope import PackedEvent
from ocelot_common.event import AcceptedEvent, BulkAcceptor, EventAcceptor
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
_PLAIN_EVENTS: Final = 128
#: Decoded together where one of those before is faulty, which takes half of the time of one by one.
_FEW_EVENTS: Final = 16
#: One step's bytes: the slowest take 20 ms.
_STEP_BYTES: Final = 128 * 1024
#: A fault takes up to 40 µs, as much as 1,000 bytes of good events. So a request may hold so many
#: faulty events, and one more per so many bytes: ordinary events never reach this bound.
FREE_FAULTS: Final = 32
BYTES_PER_FAULT: Final = 512
#: A faulty event of so few bytes with so many arrays and objects counts as several, as its nesting
#: has to be looked at before anything else: 100 events of 250 bytes that nest 29 levels took 4 ms,
#: and by their bytes they may take 3.6.
SMALL_BYTES: Final = 1_000
MANY_OPENINGS: Final = 16
FAULTS_OF_DENSE: Final = 3
#: A part has many faults if one of so many of its events is faulty.
_MANY_FAULTS: Final = 16
#: What a request may cost beyond decoding its events once, all together: small events that were
#: decoded in vain, because one beside them was not plain, and those that were read one by one. The
#: unit is to decode the smallest event, 1 µs. Events of 100 bytes and more never reach this bound,
#: unless they nest deep beside faulty ones.
FREE_UNITS: Final = 600
BYTES_PER_UNIT: Final = 40
_UNITS_ONE_BY_ONE: Final = 2
#: Beside a faulty event, what an array or object beyond one per so many bytes adds.
_UNITS_PER_CONTAINER: Final = 1.5
_BYTES_PER_FREE_CONTAINER: Final = 25
#: Of one event. With more, it is refused before it is decoded.
_MOST_CONTAINERS: Final = 32
#: Numbers such as 1e300, of which some take 14 µs each to read, of all events together.
FREE_SLOW_NUMBERS: Final = 64
BYTES_PER_SLOW_NUMBER: Final = 512
#: Arrays and objects beyond one per 10 bytes, which each event may have a few of: the events of a
#: request, together. Each takes 0.1 µs and more.
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
        self._units = 0.0
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
            return self.accepted
        event_id = event.id
        if event_id is not None:
            id_text = format_id(event_id)
        elif self._by_key is None:
            event_id, id_text = new_id_and_text()
        else:
            event_id = self._by_key.next(event.text)
            id_text = format_id(event_id)
        self.accepted.ids.append(id_text)
        self.accepted.events.append(PackedEvent(event_id, event.text))
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
        # Faults are seldom alone, and many are seldom followed by none.
        likely_whole = likely_plain = True
        for part in batched(texts, _PLAIN_EVENTS):
            if self._total_bytes:
                yield
            size = sum(map(len, part))
            self._total_bytes += size
            if likely_whole and self._accept_plain(bulk, part):
                continue
            before = self.accepted.rejected
            for piece in _pieces(part, size):
                if piece is not part:
                    yield
                for few in batched(piece, _FEW_EVENTS):
                    if likely_plain and self._accept_plain(bulk, few):
                        continue
                    before_few = self.accepted.rejected
                    self._accept_each(bulk, few)
                    likely_plain = (self.accepted.rejected - before_few) * _MANY_FAULTS < len(few)
            likely_whole = self.accepted.rejected == before

    def _accept_plain(self, bulk: BulkAcceptor, raws: Sequence[bytes]) -> bool:
        """Accept events that are all plain; else do nothing and return False."""
        plain = bulk.accept_plain(raws, most_slow_numbers=most_slow_numbers(self._total_bytes))
        if plain is None:
            if max(map(len, raws)) <= self._acceptor.small_bytes:
                self._spend(len(raws))
            return False
        self._add_surplus(plain.surplus)
        self.text_bytes += sum(map(len, plain.texts))
        if plain.ids is None:
            ids, id_texts = self._next_ids(plain.texts)
            self.accepted.events.extend(map(PackedEvent, ids, plain.texts))
            self.accepted.ids.extend(id_texts)
        else:
            self._add_all(list(map(AcceptedEvent, plain.ids, plain.texts)))
        return True

    def _spend(self, units: float) -> None:
        """Count what takes longer than decoding all events once, together."""
        self._units += units
        if self._units > FREE_UNITS + self._total_bytes // BYTES_PER_UNIT:
            if self.accepted.errors:
                raise TooManyFaultsError(self.accepted.rejected, self.accepted.errors)
            raise TooDenseError

    def _add_surplus(self, surplus: int) -> None:
        self._surplus += surplus
        if self._surplus > MAX_SURPLUS:
            raise TooDenseError

    def _accept_each(self, bulk: BulkAcceptor, raws: Sequence[bytes]) -> None:
        """Accept events one by one, until the request has more faulty ones than it may have."""
        small = [raw for raw in raws if len(raw) <= self._acceptor.small_bytes]
        self._spend(len(small) * _UNITS_ONE_BY_ONE)
        accept = self._acceptor.accept
        outcomes: list[AcceptedEvent | list[EventFault]] = []
        most_faults = FREE_FAULTS + self._total_bytes // BYTES_PER_FAULT
        left = most_faults - self._weight_of_faults
        for raw in raws:
            if has_exponents(raw):
                bulk.count_slow_numbers([raw], most_slow_numbers(self._total_bytes))
            try:
                event = accept(raw)
            except EventError as error:
                outcomes.append(self._faults.faults(raw, error))
                left -= _weight(raw)
                if left < 0:
                    break
            else:
                outcomes.append(event)
                self._add_surplus(event.surplus)
                self.text_bytes += len(event.text)
        before = self.accepted.rejected
        self._add_all(outcomes)
        self._weight_of_faults = most_faults - left
        if left < 0:
            raise TooManyFaultsError(self.accepted.rejected, self.accepted.errors)
        if self.accepted.rejected > before:
            text = b"".join(small)
            containers = count_openings(text) - len(text) // _BYTES_PER_FREE_CONTAINER
            counted = min(max(0, containers), len(small) * _MOST_CONTAINERS)
            self._spend(counted * _UNITS_PER_CONTAINER)

    def _add_all(self, outcomes: Sequence[AcceptedEvent | list[EventFault]]) -> None:
        # Many ids at once cost half as much as one by one.
        made = self._next_ids(
            [each.text for each in outcomes if type(each) is AcceptedEvent and each.id is None]
        )
        new_ids = zip(*made, strict=True)
        for outcome in outcomes:
            if isinstance(outcome, list):
                self._reject(outcome)
            elif outcome.id is not None:
                self._add_given(outcome.id, outcome.text)
            else:
                event_id, id_text = next(new_ids)
                self.accepted.ids.append(id_text)
                self.accepted.events.append(PackedEvent(event_id, outcome.text))

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
