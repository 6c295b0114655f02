"""Messages of somebody who may send to a queue, knows the format and has no key."""

import msgspec
import zstandard

from ocelot_common.envelope import Envelope, Origin, PackedEvent, Segment
from ocelot_common.ids import new_id
from ocelot_common.signed_text import Purpose, QueueKey, parse, sign
from ocelot_common.timestamps import now_ms
from ocelot_common.versioned import frame, to_text
from queuekit.signing import OTHER_KEY, index_texts, ingest_text

DAY_MS = 24 * 3_600_000
PLANTED = b'{"action":"planted","actor":{"id":"mallory"}}'
#: A text that would end its document in a `_bulk` request and delete another tenant's.
BULK_LINES = (
    b'{"action":"planted","actor":{"id":"m"},"metadata":\n{"delete":{"_index":"%b","_id":"%b"}}\n}'
)


def forged_messages(
    uid: str, purpose: Purpose, kid: str, honest: str, other_queue: str
) -> dict[str, str]:
    """Texts that no process may act upon, by what is wrong with them.

    Args:
        uid: of the tenant that they are aimed at.
        purpose: of the queue.
        kid: of a key that is in use.
        honest: a message of this queue, signed with that key.
        other_queue: a message of the other queue, signed with that key.
    """
    impostor = QueueKey(kid, OTHER_KEY.secret)
    message = parse(honest)
    parts = honest.split(".", 4)
    now = now_ms()

    def with_part(number: int, value: str) -> str:
        return ".".join([*parts[:number], value, *parts[number + 1 :]])

    found = {
        "prose": "hello",
        "JSON": f'{{"uid":"{uid}","events":[]}}',
        "a blank": " ",
        "the largest message": "x" * 1_048_000,
        "other scripts": "\u6f22\u5b57 \U0001f600",
        "a message cut after its version": "2.",
        "a message without its data": ".".join(parts[:4]),
        "a message without its time": ".".join([*parts[:3], parts[4]]),
        "a message without its MAC": ".".join([*parts[:2], *parts[3:]]),
        "a message without its key id": ".".join([parts[0], *parts[2:]]),
        "a message after a blank": f" {honest}",
        "a message with a line break behind it": f"{honest}\n",
        "two messages in one": honest + honest,
        "a message cut off": honest[:-8],
        "more data": f"{honest}AAAA",
        "other data": with_part(4, to_text(b"other")),
        "no data": with_part(4, ""),
        "data that is not base64": with_part(4, "?"),
        "one bit of the data turned": with_part(4, _turned(message.data)),
        "another time": with_part(3, str(message.sent_at + 1)),
        "a time without end": with_part(3, "9" * 40),
        "a time with a sign": with_part(3, f"+{message.sent_at}"),
        "a MAC of zeros": with_part(2, "0" * 64),
        "a MAC in capitals": with_part(2, message.mac.upper()),
        "half a MAC": with_part(2, message.mac[:32]),
        "an empty MAC": with_part(2, ""),
        "another MAC's end": with_part(2, message.mac[:-2] + _other(message.mac[-2:])),
        "a key id that nobody has": with_part(1, "q000000000000"),
        "a key id of a path": with_part(1, "../../etc/passwd"),
        "an empty key id": with_part(1, ""),
        "version 0": with_part(0, "0"),
        "version 1": with_part(0, "1"),
        "version 02": with_part(0, "02"),
        "a version in other digits": with_part(0, "\u0662"),
        "a message of the other queue": other_queue,
        "another key under its own id": sign(b"x", OTHER_KEY, purpose, sent_at=now),
        "another key under the id in use": sign(b"x", impostor, purpose, sent_at=now),
    }
    return found | (
        _envelopes(uid, impostor, now) if purpose is Purpose.INGEST else _ids(uid, impostor)
    )


def _envelopes(uid: str, key: QueueKey, now: int) -> dict[str, str]:
    def forged(
        text: bytes = PLANTED,
        *,
        writer: str = "admin@acme",
        received_at: int = now,
        origin: Origin = Origin.API,
        of: str = uid,
        number: int = 1,
    ) -> str:
        events = [PackedEvent(new_id(), text)] * number
        segment = Segment(writer, received_at, "r", "", events, origin)
        return ingest_text(Envelope(of, [segment]), key)

    segment = Segment("w", now, "r", "", [PackedEvent(new_id(), PLANTED)])
    framed = frame(1, msgspec.msgpack.encode(Envelope(uid, [segment])))
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(60 * 1024 * 1024))
    return {
        "an event": forged(),
        "an event of another writer": forged(writer="root"),
        "an event of last year": forged(received_at=now - 365 * DAY_MS),
        "an event of next year": forged(received_at=now + 365 * DAY_MS),
        "a retry of last year": forged(received_at=now - 365 * DAY_MS, origin=Origin.RETRY),
        "a reserved action": forged(b'{"action":"ocelot.purge","actor":{"id":"m"}}'),
        "a reserved action, internal": forged(
            b'{"action":"ocelot.purge","actor":{"id":"m"}}', origin=Origin.INTERNAL
        ),
        "lines of a bulk request": forged(BULK_LINES % (b"logs_acme", b"1")),
        "a tenant that there is not": forged(of="f" * 16),
        "very many events": forged(number=150_000, text=b"{}"),
        "what unpacks to 60 MiB": sign(bomb, key, Purpose.INGEST, sent_at=now),
        "what unpacks to 60 MiB, unsigned": to_text(bomb),
        "an envelope of version 1": to_text(zstandard.ZstdCompressor().compress(framed)),
    }


def _ids(uid: str, key: QueueKey) -> dict[str, str]:
    [framed] = [frame(1, msgspec.msgpack.encode([uid, new_id(), []]))]
    many = sign(
        msgspec.msgpack.encode([uid, bytes(16 * 40_000), []]), key, Purpose.INDEX, sent_at=now_ms()
    )
    return {
        "ids": index_texts(uid, [new_id()], key)[0],
        "the same id often": index_texts(uid, [bytes(16)] * 4_000, key)[0],
        "ids of a tenant that there is not": index_texts("f" * 16, [new_id()], key)[0],
        "very many ids": many,
        "ids of version 1": to_text(framed),
    }


def _turned(data: str) -> str:
    return _other(data[0]) + data[1:]


def _other(text: str) -> str:
    return "".join("0" if char != "0" else "1" for char in text)
