"""One index message as the indexer sees it, and what becomes of its events."""

from enum import StrEnum

import msgspec

from ocelot_common.bulk import Candidate
from ocelot_common.index_message import IndexMessage, unpack_index_message
from ocelot_common.queue.receiver import Received
from ocelot_common.versioned import MalformedError, NewerVersionError


class Outcome(StrEnum):
    """What becomes of an event in the index."""

    INDEXED = "indexed"
    PERMANENT = "permanent"
    GONE = "gone"
    MISSING = "missing"
    TRANSIENT = "transient"


class IndexWork(msgspec.Struct, eq=False):
    """A message with its ids, or with the reason why it has none.

    Attributes:
        wait_sec: set when the message must come again: after so many seconds.
    """

    message: Received
    body: IndexMessage | None = None
    fault: MalformedError | NewerVersionError | None = None
    wait_sec: int | None = None

    @property
    def units(self) -> int:
        """Ids in the message."""
        return len(self.body.ids) if self.body else 0

    def come_again(self, seconds: int) -> None:
        """Leave the message in the queue, for `seconds` at least."""
        self.wait_sec = max(seconds, self.wait_sec or 0)


class AskedFor(Candidate, kw_only=True):
    """A candidate with the message that asked for it."""

    work: IndexWork


def unpack_message(message: Received) -> IndexWork:
    """Open a message; a fault is kept, to be seen to with its batch."""
    try:
        return IndexWork(message, body=unpack_index_message(message.body))
    except (MalformedError, NewerVersionError) as error:
        return IndexWork(message, fault=error)
