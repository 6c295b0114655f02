"""Which events an export is made of, and up to when none is missing (docs/adr/0016)."""

from typing import NamedTuple

from ocelot_common.sequence import closed_seq, ms_of
from ocelot_common.timestamps import format_rfc3339


class Bound(NamedTuple):
    """A set of events that is the same however long the export takes.

    Attributes:
        stored_until: the last `seq` in it.
        closed: up to this `seq`, no event is missing; beyond, one may become visible later.
    """

    stored_until: int
    closed: int

    @property
    def complete_until(self) -> str:
        """RFC 3339, by MongoDB's clock: everything that was stored before it is there."""
        return format_rfc3339(ms_of(self.closed))


def bound_of(stored_until: int | None, newest: int) -> Bound:
    """The bound of an export that begins now.

    Args:
        stored_until: what the client asks for, a `seq`.
        newest: the largest `seq` that may be visible now.
    """
    until = newest if stored_until is None else min(stored_until, newest)
    return Bound(until, min(until, closed_seq(newest)))
