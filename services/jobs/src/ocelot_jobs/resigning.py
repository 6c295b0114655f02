"""The messages that try a dead letter again."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ocelot_common.dead_letters import Reason, Stage
from ocelot_common.envelope import Envelope, Origin, PackedEvent, Segment
from ocelot_common.ids import derived_id
from ocelot_common.index_message import pack_index_messages
from ocelot_common.queue.resigning import NotResignableError, resigned, sendable
from ocelot_common.queue.sending import Outgoing
from ocelot_common.signed_text import ForgedError, Purpose, QueueKey, SignedText, parse
from ocelot_common.timestamps import now_ms, to_ms
from ocelot_common.versioned import NewerVersionError

_PURPOSES: Final = {Stage.STORE: Purpose.INGEST, Stage.INDEX: Purpose.INDEX}


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
        message = _parsed(letter["content"])
        yield from resigned(message, _PURPOSES[stage], key, authenticated=True)
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
        Origin.INTERNAL if letter.get("internal") is True else Origin.RETRY,
    )
    yield sendable(Envelope(uid, [segment]), key)


def _parsed(text: str) -> SignedText:
    try:
        return parse(text)
    except (ForgedError, NewerVersionError) as error:
        raise NotResignableError(f"its content cannot be read: {error}") from None
