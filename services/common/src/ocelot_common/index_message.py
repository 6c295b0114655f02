"""The message on the index queue: which stored events of a tenant to index (design §1, §6).

It carries ids and no content: the indexer indexes what is stored, so the index can only show what
MongoDB holds. Wire form: msgpack `[version, [uid, ids, traceparents]]`, base64.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from ocelot_common.versioned import MalformedError, frame, from_text, to_text, unframe

VERSION: Final = 1
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
    uid: str, ids: Sequence[bytes], traceparents: Sequence[str] = ()
) -> Iterator[str]:
    """The texts of as few SQS messages as hold all `ids`."""
    parents = list(dict.fromkeys(parent for parent in traceparents if parent))[:_MAX_TRACEPARENTS]
    for start in range(0, len(ids), MAX_IDS):
        body = _Body(uid, b"".join(ids[start : start + MAX_IDS]), parents)
        yield to_text(frame(VERSION, _encoder.encode(body)))


def unpack_index_message(text: str) -> IndexMessage:
    """The ids in an SQS message's text.

    Raises:
        MalformedError: no such message; a dead letter.
        NewerVersionError: written by a newer release; it waits.
    """
    raw = unframe(from_text(text), newest=VERSION)
    try:
        body = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedError(str(error)) from None
    if len(body.ids) % _ID_BYTES:
        raise MalformedError("ids that have not 16 bytes each")
    ids = [body.ids[at : at + _ID_BYTES] for at in range(0, len(body.ids), _ID_BYTES)]
    return IndexMessage(body.uid, ids, body.traceparents)
