"""A page of a search, made of the events that a backend finds."""

from typing import Final, NamedTuple

from ocelot_api.budget import Reservation
from ocelot_api.search.fields import pick
from ocelot_api.search.query import Position, SearchQuery, Total, position_of
from ocelot_common.reading import Stored, answer_of
from ocelot_common.stored import StoredEvent

#: A page ends here though `limit` is not reached: a thousand of the largest events are 256 MiB.
MAX_PAGE_BYTES: Final = 8 * 1024 * 1024
#: What an item holds beside its JSON, in objects.
ITEM_BYTES: Final = 300


class Item(NamedTuple):
    """One document of a page.

    Attributes:
        position: where it stands in the query's order.
        json: as answered.
        is_event: whether it is an event, and not a document that cannot be read as one.
    """

    position: Position
    json: bytes
    is_event: bool = True

    @property
    def id(self) -> bytes:
        """The event's id, 16 bytes."""
        return self.position.event_id


class Page(NamedTuple):
    """One page of a search; `more` if others follow."""

    items: list[Item]
    more: bool
    total: Total


class Stretch(NamedTuple):
    """What lies behind a position, a part of it; without a total.

    Attributes:
        items: what matches, in order; there may be none though others follow.
        end: where the next part begins; None if nothing is left.
        displaced: whether documents without a place in the order were met. They are no items.
    """

    items: list[Item]
    end: Position | None
    displaced: bool = False


class PageBuilder:
    """Turns events into items until the page is full, and counts what they hold.

    Only the items' JSON is kept: the text of an event that has a character beyond U+FFFF takes
    four bytes per character in memory.

    Args:
        query: bounds the page by `limit`, and says which `fields` are wanted.
        held: grows with the items.
    """

    def __init__(self, query: SearchQuery, held: Reservation) -> None:
        self._query = query
        self._tenant_id = query.home.tenant.id
        self._held = held
        self._items: list[Item] = []
        self._bytes = 0

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._items)

    def add(self, stored: Stored) -> bool:
        """Add the next document that has a place in the query's order.

        Returns:
            Whether it was added. If not, the page is full, and at least this one follows it.

        Raises:
            Problem: 503, the budget is used up.
        """
        if len(self._items) >= self._query.limit:
            return False
        position = position_of(self._query.sort, stored)
        if position is None:
            return True
        answer = answer_of(stored, self._tenant_id)
        if self._query.fields and isinstance(stored, StoredEvent):
            answer = pick(answer, self._query.fields)
        size = self._bytes + len(answer)
        if size > MAX_PAGE_BYTES and self._items:
            return False
        self._held.grow(len(answer) + ITEM_BYTES)
        self._bytes = size
        self._items.append(Item(position, answer))
        return True

    def page(self, total: Total, *, more: bool) -> Page:
        """Return the page."""
        return Page(self._items, more, total)
