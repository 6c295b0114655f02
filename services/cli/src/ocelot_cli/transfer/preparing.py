"""From a line to an event with an id that follows from the line (design §5).

A file that is sent again gives the same ids, so it doubles nothing. Equal lines are different
events, told apart by their ordinal.
"""

from typing import Any, Final, NamedTuple, Protocol

import msgspec

from ocelot_cli.mapping import Mapping, UnmappableEvent
from ocelot_cli.transfer.lines import Line
from ocelot_common.ids import Ordinals, derived_id, format_id

#: Stands for the mapping in the ids of lines that are Ocelot events already.
SEND: Final = "send"
_DOMAIN: Final = "ocelot/line"


class Prepared(NamedTuple):
    """A line with the event made of it, ready to be sent."""

    line: Line
    event: bytes


class UnusableLineError(Exception):
    """No event can be made of a line; the message says why."""


class Preparer(Protocol):
    """Makes events of one file's lines."""

    def prepare(self, line: Line) -> Prepared:
        """The event of a line.

        Raises:
            UnusableLineError: there is none in it.
        """
        ...


class _Identified(msgspec.Struct):
    id: Any = None


_identified = msgspec.json.Decoder(_Identified)
_object = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.Encoder().encode


class EventPreparer:
    """Lines that are Ocelot events: they go as they are, with an id where they have none."""

    def __init__(self) -> None:
        self._ordinals = Ordinals()

    def prepare(self, line: Line) -> Prepared:
        """The line, with `id` as its last key if it has none: the last one counts."""
        raw = line.raw.strip()
        given = _decoded(_identified, raw)
        if given.id is not None:
            return Prepared(line, raw)
        event_id = line_id(SEND, None, line.raw, self._ordinals)
        separator = b"" if not raw[1:-1].strip() else b","
        return Prepared(line, raw[:-1] + separator + b'"id":"' + event_id.encode() + b'"}')


class MappingPreparer:
    """Lines that are foreign events, by a mapping."""

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping
        self._ordinals = Ordinals()

    def prepare(self, line: Line) -> Prepared:
        """The mapped event, the whole foreign one in its metadata."""
        foreign = _decoded(_object, line.raw)
        try:
            natural_id = self._mapping.natural_id(foreign)
            event = self._mapping.apply(foreign)
        except UnmappableEvent as error:
            raise UnusableLineError(error.reason) from None
        event["id"] = line_id(self._mapping.name, natural_id, line.raw, self._ordinals)
        return Prepared(line, _encode(event))


def line_id(mapping: str, natural_id: str | None, raw: bytes, ordinals: Ordinals) -> str:
    """The id of a line's event: of mapping, natural id, line, and ordinal among equal lines."""
    ordinal = b"%d" % ordinals.next(raw)
    natural = (natural_id or "").encode()
    return format_id(derived_id(_DOMAIN, mapping.encode(), natural, raw, ordinal))


def _decoded(decoder: msgspec.json.Decoder[Any], raw: bytes) -> Any:
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        # Of a number beyond all bounds it says so; the kind of the whole is all else we ask for.
        text = str(error)
        reason = "The line is not a JSON object." if text.startswith("Expected `object`") else text
        raise UnusableLineError(reason) from None
    except RecursionError:
        raise UnusableLineError(
            "The objects and arrays of the line are nested too deeply."
        ) from None
    except UnicodeDecodeError:
        raise UnusableLineError("The line is not valid UTF-8.") from None
    except ValueError as error:  # msgspec's own, or Python's of a number of too many digits
        reason = str(error).removeprefix("JSON is malformed: ").removesuffix(".")
        raise UnusableLineError(f"The line is not valid JSON: {reason}.") from None
