"""Messages that are sent again: the same events or ids, signed anew.

A message's MAC covers the time of its signing, and a reader refuses one that was signed too long
ago. So a message that waited outside of SQS is not sent as it was.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from ocelot_common.envelope import Envelope, Origin, pack, unpack
from ocelot_common.index_message import pack_index_messages, unpack_index_message
from ocelot_common.queue.moving import MAX_MESSAGE_BYTES
from ocelot_common.queue.sending import Outgoing
from ocelot_common.signed_text import Purpose, QueueKey, SignedText
from ocelot_common.timestamps import now_ms
from ocelot_common.versioned import MalformedError

#: Group of a message that does not tell its tenant.
_NO_TENANT: Final = "dead-letter"


class NotResignableError(Exception):
    """There is nothing that may be signed; the message says why."""


def resigned(
    message: SignedText, purpose: Purpose, key: QueueKey, *, authenticated: bool
) -> Iterator[Outgoing]:
    """Yield a message again, signed with another key; its events get the origin `retry`.

    Args:
        message: whose content the caller has decided to sign.
        purpose: of its queue.
        key: that signs.
        authenticated: whether its MAC was right. Then events that Ocelot itself made keep the
            origin `internal`. Otherwise they lose it, because anybody can name it.

    Raises:
        NotResignableError: the content cannot be read, or is too large.
    """
    try:
        if purpose is Purpose.INDEX:
            ids = unpack_index_message(message)
            for body in pack_index_messages(
                ids.uid, ids.ids, key, sent_at=now_ms(), traceparents=ids.traceparents
            ):
                yield Outgoing(body, ids.uid or _NO_TENANT)
            return
        envelope = unpack(message)
    except MalformedError as error:
        raise NotResignableError(f"its content cannot be read: {error}") from None
    segments = [
        segment
        if authenticated and segment.origin is Origin.INTERNAL
        else msgspec.structs.replace(segment, origin=Origin.RETRY)
        for segment in envelope.segments
    ]
    yield sendable(Envelope(envelope.uid, segments), key)


def sendable(envelope: Envelope, key: QueueKey) -> Outgoing:
    """Return the message of an envelope, signed now.

    Raises:
        NotResignableError: SQS would refuse its size.
    """
    message = Outgoing(pack(envelope, key, sent_at=now_ms()), envelope.uid or _NO_TENANT)
    if message.size > MAX_MESSAGE_BYTES:
        raise NotResignableError(f"its message is {message.size:,} bytes; SQS accepts 1 MiB")
    return message
