"""One index message as the indexer sees it, and what becomes of its events."""

from enum import StrEnum

import msgspec

from ocelot_common.bulk import Candidate
from ocelot_common.index_message import IndexMessage, unpack_index_message
from ocelot_common.queue.keys import QueueKeys
from ocelot_common.queue.receiver import Received
from ocelot_common.signed_text import Purpose, SignedText
from ocelot_common.versioned import MalformedError
from ocelot_common.worker.refusing import FAULTS, Fault


class Outcome(StrEnum):
    """What becomes of an event in the index."""

    INDEXED = "indexed"
    PERMANENT = "permanent"
    DROPPED = "dropped"
    MISSING = "missing"
    TRANSIENT = "transient"


class IndexWork(msgspec.Struct, eq=False):
    """A message, and once it is unpacked its ids, or the reason why it has none.

    Attributes:
        signed: what was authenticated, until it is unpacked.
        refused: why it could not be authenticated.
        fault: why an authenticated message holds no ids.
        wait_sec: set when the message must come again: after so many seconds.
    """

    message: Received
    signed: SignedText | None = None
    body: IndexMessage | None = None
    refused: Fault | None = None
    fault: MalformedError | None = None
    wait_sec: int | None = None

    @property
    def size(self) -> int:
        """Bytes to which the message unpacks, at most: it is base64 of ids."""
        return len(self.message.body)

    @property
    def events(self) -> int:
        """Ids in the message."""
        return len(self.body.ids) if self.body else 0

    @property
    def units(self) -> int:
        """The weight in a batch: never zero, so that messages without ids fill it, too."""
        return max(1, self.events)

    def unpack(self) -> None:
        """Unpack the ids; a fault is kept for the batch."""
        signed, self.signed = self.signed, None
        if signed is None:
            return
        try:
            self.body = unpack_index_message(signed)
        except MalformedError as error:
            self.fault = error

    def come_again(self, seconds: int) -> None:
        """Leave the message in the queue, for `seconds` at least."""
        self.wait_sec = max(seconds, self.wait_sec or 0)


class AskedFor(Candidate, kw_only=True):
    """A candidate with the message that asked for it."""

    work: IndexWork


def open_message(message: Received, keys: QueueKeys) -> IndexWork:
    """Authenticate a message, which is not unpacked yet; a fault is kept for the batch."""
    try:
        return IndexWork(message, keys.open(message.body, Purpose.INDEX))
    except FAULTS as error:
        return IndexWork(message, refused=error)
