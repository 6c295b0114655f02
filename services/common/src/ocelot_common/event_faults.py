"""Find every fault of an event that was rejected.

msgspec reports the first fault only. Clients that see all faults correct their code once, so a
rejected event is read a second time, field by field. That is slower, so its cost is bounded: a
request's rejected events are read again while they have no more bytes together than the largest
event may have, few values are read one by one, and few misspelt names are compared with the names
of fields.
"""

from collections.abc import Iterator
from difflib import get_close_matches
from functools import reduce
from operator import or_
from types import UnionType
from typing import Any, Final, NamedTuple, Union, get_args, get_origin

import msgspec
from msgspec import Raw, Struct, UnsetType

from ocelot_common.event import (
    EventAcceptor,
    WholeEvent,
    free_form_texts,
    join_path,
    missing_field,
    read_validation,
    unknown_field,
)
from ocelot_common.event_limits import EventError, EventFault

#: The faults of one event that are reported.
MAX_FAULTS: Final = 10
#: Reading an event again counts as so many bytes at least.
_LEAST_BYTES: Final = 2_000
#: Names in one request that are compared with those of fields, which takes 0.1 ms each.
_MAX_SUGGESTIONS: Final = 10
_MAX_NAME_CHARS: Final = 32
#: Values in one request that are read again one by one, which takes 2 µs each.
_MAX_VALUES: Final = 300
#: difflib's ratio from which a name counts as misspelt.
_SIMILAR: Final = 0.75


class _Field(NamedTuple):
    """How one field is read.

    Attributes:
        required: whether it must be present.
        decoder: of its value; members of an object and items of an array are left as their texts.
        members: the fields of its object.
        item: how each item of its array is read.
    """

    required: bool
    decoder: msgspec.json.Decoder[Any]
    members: "dict[str, _Field] | None" = None
    item: "_Field | None" = None


def _field(kind: Any, *, required: bool) -> _Field:
    """Return how a value of a type of the event is read: level by level."""
    members: dict[str, _Field] | None = None
    item: _Field | None = None
    choices: list[Any] = []
    for choice in get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,):
        origin = get_origin(choice) or choice
        if choice is UnsetType:
            continue
        if choice is Any:
            choices.append(Raw)
        elif isinstance(origin, type) and issubclass(origin, Struct):
            members = {
                each.encode_name: _field(each.type, required=each.required)
                for each in msgspec.structs.fields(choice)
            }
            choices.append(dict[str, Raw])
        elif origin is dict:
            choices.append(dict[str, Raw])
        elif origin is list:
            item = _field(get_args(choice)[0], required=True)
            choices.append(list[Raw])
        else:
            choices.append(choice)
    decoder = msgspec.json.Decoder(reduce(or_, choices))
    return _Field(required, decoder, members, item)


_EVENT: Final = _field(WholeEvent, required=True)


class FaultFinder:
    """Finds the faults of the rejected events of one request.

    Args:
        acceptor: rejected them.
    """

    def __init__(self, acceptor: EventAcceptor) -> None:
        self._acceptor = acceptor
        self._bytes_left = acceptor.max_event_bytes
        self._places = acceptor.place_finder()
        self._suggestions_left = _MAX_SUGGESTIONS
        self._values_left = _MAX_VALUES

    def faults(self, raw: bytes, first: EventError) -> list[EventFault]:
        """Return the faults of an event, at most `MAX_FAULTS`; the one that is known comes first.

        Args:
            raw: the event's JSON text.
            first: why it was rejected. This fault alone is returned if it is one of the event as a
                whole, and once the request's events may not be read again.
        """
        known = self._located(EventFault.of(first), raw)
        if not known.path or self._bytes_left <= 0:
            return [known]
        self._bytes_left -= max(len(raw), _LEAST_BYTES)
        found = {known[:2]: known}  # a fault inside `changes` or `metadata` is not found again
        for fault in self._of_value(raw, "", _EVENT):
            found[fault[:2]] = fault
            if len(found) == MAX_FAULTS:
                break
        return list(found.values())

    def _located(self, known: EventFault, raw: bytes) -> EventFault:
        """Tell where in `changes` or `metadata` a fault stands that is known by its part."""
        find = {
            "integer_too_long": self._places.long_integer,
            "key_too_long": self._places.long_key,
        }.get(known.code)
        if find is None:
            return known
        text = free_form_texts(raw).get(known.path)
        return known if text is None else known._replace(path=known.path + find(text))

    def _of_members(
        self, members: dict[str, Raw], path: str, fields: dict[str, _Field]
    ) -> Iterator[EventFault]:
        for name, field in fields.items():
            value = members.get(name)
            if value is not None:
                yield from self._of_value(bytes(value), join_path(path, name), field)
            elif field.required:
                yield missing_field(path, name)
        for name in members:
            if name not in fields:
                yield unknown_field(path, name, self._suggest(name, fields))

    def _of_value(self, raw: bytes, path: str, field: _Field) -> Iterator[EventFault]:
        self._values_left -= 1
        try:
            value = field.decoder.decode(raw)
        except msgspec.ValidationError as error:
            yield read_validation(str(error), path)
            return
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return  # the text is not valid JSON behind the first fault
        if type(value) is str:
            try:
                self._acceptor.check_value(path, value)
            except EventError as error:
                yield EventFault.of(error)
        elif field.item is not None and type(value) is list:
            for index, item in enumerate(value):
                if self._values_left <= 0:
                    return
                yield from self._of_value(bytes(item), f"{path}[{index}]", field.item)
        elif field.members is not None and type(value) is dict:
            yield from self._of_members(value, path, field.members)

    def _suggest(self, name: str, fields: dict[str, _Field]) -> str | None:
        if self._suggestions_left == 0 or len(name) > _MAX_NAME_CHARS:
            return None
        self._suggestions_left -= 1
        similar = get_close_matches(name, fields, n=1, cutoff=_SIMILAR)
        return similar[0] if similar else None
