"""One ingest message as the consumer sees it."""

from enum import StrEnum
from typing import NamedTuple

import msgspec

from ocelot_common.envelope import Envelope, unpack
from ocelot_common.queue.receiver import Received
from ocelot_common.registry.model import Space, Tenant
from ocelot_common.versioned import MalformedError, NewerVersionError


class Outcome(StrEnum):
    """What becomes of an event (design §6)."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    PERMANENT = "permanent"
    GONE = "gone"
    TRANSIENT = "transient"


class IngestWork(msgspec.Struct, eq=False):
    """A message with its envelope, or with the reason why it has none."""

    message: Received
    envelope: Envelope | None = None
    fault: MalformedError | NewerVersionError | None = None

    @property
    def units(self) -> int:
        """Events in the message."""
        if self.envelope is None:
            return 0
        return sum(len(segment.events) for segment in self.envelope.segments)


class Arrival(NamedTuple):
    """One event on its way into the store."""

    tenant: Tenant
    space: Space
    id: bytes
    text: bytes
    received_at: int
    writer: str
    request_id: str
    redelivered: bool


def unpack_message(message: Received) -> IngestWork:
    """Open a message's envelope; a fault is kept, to be seen to with its batch."""
    try:
        return IngestWork(message, envelope=unpack(message.body))
    except (MalformedError, NewerVersionError) as error:
        return IngestWork(message, fault=error)
