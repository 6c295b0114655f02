"""Messages that are sent again: the same events, signed anew."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from ocelot_common.dead_letters import Reason, Stage
from ocelot_common.envelope import Envelope, Origin, PackedEvent, Segment, pack, unpack
from ocelot_common.ids import derived_id
from ocelot_common.index_message import pack_index_messages, unpack_index_message
from ocelot_common.queue.moving import MAX_MESSAGE_BYTES
from ocelot_common.queue.sending import Outgoing
from ocelot_common.signed_text import ForgedError, QueueKey, SignedText, parse
from ocelot_common.timestamps import now_ms, to_ms
from ocelot_common.versioned import MalformedError, NewerVersionError

#: Group of a message that does not tell its tenant.
_NO_TENANT: Final = "dead-letter"


class NotResignableError(Exception):
    """A letter holds nothing that may be signed; the message says why."""


def messages_of_letter(
    letter: Mapping[str, Any], key: QueueKey, *, new_id: bool
) -> Iterator[Outgoing]:
    """Yield the messages that try a dead letter's events again.

    Args:
        letter: its document.
        key: that signs.
        new_id: give a conflict's event an id of its own, always the same one.

    Raises:
        NotResignableError: its content was never authenticated, cannot be read, or is too large.
    """
    if letter["reason"] == Reason.UNAUTHENTICATED:
        raise NotResignableError("its content was not authenticated")
    stage = Stage(letter["stage"])
    event_key = letter.get("event_key")
    if event_key is None:
        # Only what was authenticated became such a letter, by a key that may be retired by now.
        yield from resigned(_parsed(letter["content"]), stage, key)
        return
    uid = letter["t"]
    if stage is Stage.INDEX:
        for body in pack_index_messages(uid, [bytes(event_key)], key, sent_at=now_ms()):
            yield Outgoing(body, uid)
        return
    event_id = bytes(event_key)
    if letter["reason"] == Reason.CONFLICT and new_id:
        event_id = derived_id("ocelot/dead-letter", letter["_id"].encode())
    received = letter.get("received_at")
    segment = Segment(
        letter["writer"],
        to_ms(received) if received else now_ms(),
        letter["request_id"],
        "",
        [PackedEvent(event_id, letter["content"].encode())],
        Origin.RETRY,
    )
    yield _sendable(pack(Envelope(uid, [segment]), key, sent_at=now_ms()), uid)


def resigned(message: SignedText, stage: Stage, key: QueueKey) -> Iterator[Outgoing]:
    """Yield a message again, signed with another key; its events get the origin `retry`.

    The caller knows that its content may be signed.

    Raises:
        NotResignableError: the content cannot be read, or is too large.
    """
    try:
        if stage is Stage.INDEX:
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
        msgspec.structs.replace(segment, origin=Origin.RETRY) for segment in envelope.segments
    ]
    body = pack(Envelope(envelope.uid, segments), key, sent_at=now_ms())
    yield _sendable(body, envelope.uid or _NO_TENANT)


def _sendable(body: str, group: str) -> Outgoing:
    message = Outgoing(body, group)
    if message.size > MAX_MESSAGE_BYTES:
        raise NotResignableError(f"its message has {message.size:,} bytes; SQS takes 1 MiB")
    return message


def _parsed(text: str) -> SignedText:
    try:
        return parse(text)
    except (ForgedError, NewerVersionError) as error:
        raise NotResignableError(f"its content cannot be read: {error}") from None
