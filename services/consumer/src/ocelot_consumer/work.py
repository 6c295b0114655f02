"""One ingest message as the consumer sees it."""

from enum import StrEnum
from typing import NamedTuple

import msgspec

from ocelot_common.envelope import Envelope, unpack, unpacked_size
from ocelot_common.queue.keys import QueueKeys
from ocelot_common.queue.receiver import Received
from ocelot_common.registry.model import Space, Tenant
from ocelot_common.signed_text import Purpose, SignedText
from ocelot_common.versioned import MalformedError
from ocelot_common.worker.refusing import FAULTS, Fault


class Outcome(StrEnum):
    """What becomes of an event (design §6)."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    PERMANENT = "permanent"
    DROPPED = "dropped"
    TRANSIENT = "transient"


class IngestWork(msgspec.Struct, eq=False):
    """A message, and once it is unpacked its envelope, or the reason why it has none.

    Attributes:
        signed: what was authenticated, until it is unpacked.
        size: bytes to which it unpacks.
        sent_at: when it was signed, milliseconds since the epoch; of an authenticated message.
        refused: why it could not be authenticated.
        fault: why an authenticated message holds no envelope.
    """

    message: Received
    signed: SignedText | None = None
    size: int = 0
    envelope: Envelope | None = None
    sent_at: int = 0
    refused: Fault | None = None
    fault: MalformedError | None = None

    @property
    def events(self) -> int:
        """Events in the message."""
        if self.envelope is None:
            return 0
        return sum(len(segment.events) for segment in self.envelope.segments)

    @property
    def units(self) -> int:
        """The weight in a batch: never zero, so that messages without events fill it, too."""
        return max(1, self.events)

    def unpack(self) -> None:
        """Unpack the envelope; a fault is kept for the batch."""
        signed, self.signed = self.signed, None
        if signed is None:
            return
        try:
            self.envelope = unpack(signed)
        except MalformedError as error:
            self.fault = error


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
    internal: bool


def open_message(message: Received, keys: QueueKeys) -> IngestWork:
    """Authenticate a message, which is not unpacked yet; a fault is kept for the batch."""
    try:
        signed = keys.open(message.body, Purpose.INGEST)
    except FAULTS as error:
        return IngestWork(message, refused=error)
    return IngestWork(message, signed, unpacked_size(signed), sent_at=signed.sent_at)
