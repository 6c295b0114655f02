"""The message on the index queue: which stored events of a tenant to index (design §1, §6).

It carries ids and no content: the indexer indexes what is stored, so the index can only show what
MongoDB holds. Wire form: msgpack `[uid, ids, traceparents]`, signed (signed_text.py).
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from ocelot_common.signed_text import Purpose, QueueKey, SignedText, sign
from ocelot_common.versioned import MalformedError

#: 85 KiB of base64: a dozen fit a batch call of 1 MiB, and a redelivery stays small.
MAX_IDS: Final = 4_000
_ID_BYTES: Final = 16
_MAX_TRACEPARENTS: Final = 16


class _Body(msgspec.Struct, array_like=True, gc=False):
    uid: str
    ids: bytes
    traceparents: list[str]


class IndexMessage(msgspec.Struct, frozen=True, gc=False):
    """Ids, 16 bytes each, of stored events of the tenant `uid`."""

    uid: str
    ids: list[bytes]
    traceparents: list[str]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Body)


def pack_index_messages(
    uid: str,
    ids: Sequence[bytes],
    key: QueueKey,
    *,
    sent_at: int,
    traceparents: Sequence[str] = (),
) -> Iterator[str]:
    """Yield the texts of as few SQS messages as hold all `ids`.

    Args:
        uid: of the tenant.
        ids: 16 bytes each.
        key: that signs the messages.
        sent_at: now, in milliseconds since the epoch.
        traceparents: W3C trace contexts; the first 16 are sent.
    """
    parents = list(dict.fromkeys(parent for parent in traceparents if parent))[:_MAX_TRACEPARENTS]
    for start in range(0, len(ids), MAX_IDS):
        body = _Body(uid, b"".join(ids[start : start + MAX_IDS]), parents)
        yield sign(_encoder.encode(body), key, Purpose.INDEX, sent_at=sent_at)


def unpack_index_message(message: SignedText) -> IndexMessage:
    """Return the ids in an authenticated message.

    Raises:
        MalformedError: it holds no ids, or more than any release writes.
    """
    try:
        body = _decoder.decode(message.content())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(str(error)) from None
    if len(body.ids) % _ID_BYTES:
        raise MalformedError(f"an id does not have {_ID_BYTES} bytes")
    if len(body.ids) > MAX_IDS * _ID_BYTES:
        raise MalformedError(f"the message has more than {MAX_IDS:,} ids")
    ids = [body.ids[at : at + _ID_BYTES] for at in range(0, len(body.ids), _ID_BYTES)]
    return IndexMessage(body.uid, ids, body.traceparents[:_MAX_TRACEPARENTS])
