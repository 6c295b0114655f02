"""What becomes of messages between two runs of make dev."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocelot_common.envelope import Envelope, Origin, PackedEvent, Segment
from ocelot_common.ids import new_id
from ocelot_common.queue.keys import NoSigningKeyError
from ocelot_common.queue.sending import Outgoing
from ocelot_common.signed_text import Purpose, sign
from ocelot_common.timestamps import now_ms
from ocelot_devstack.errors import DevstackError
from ocelot_devstack.kept_queues import routes
from ocelot_devstack.queue_files import message_files, queue_of, read_messages, write_messages
from queuekit.signing import (
    KEY,
    OTHER_KEY,
    fixed_keys,
    index_texts,
    ingest_text,
    opened,
    opened_index,
)

UID = "0123456789abcdef"
ID = new_id()
MONTH_MS = 30 * 24 * 3_600_000
MESSAGES = [
    Outgoing("a", "g"),
    Outgoing('line\nbreak "\u2028\u6f22', "g", {"moved": "forged"}),
    Outgoing("x" * 1_000_000, "h"),
]


def test_messages_are_read_as_they_were_written_by_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "queues"
    folder.mkdir(mode=0o755)
    path = write_messages(folder, "ingest_dlq", MESSAGES)
    assert list(read_messages(path)) == MESSAGES
    assert queue_of(path) == "ingest_dlq"
    assert message_files(folder) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_files_come_in_the_order_in_which_they_were_written(tmp_path: Path) -> None:
    assert message_files(tmp_path / "missing") == []
    names = ["index", "ingest", "index", "a-b"]
    paths = [write_messages(tmp_path, name, MESSAGES[:1]) for name in names]
    assert message_files(tmp_path) == paths
    assert [queue_of(path) for path in paths] == names


def test_a_file_that_was_not_finished_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    def crash() -> Iterator[Outgoing]:
        yield from MESSAGES[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_messages(tmp_path, "ingest", crash())
    [part] = message_files(tmp_path)
    assert part.suffix == ".part"
    assert list(read_messages(part)) == MESSAGES[:2]
    part.write_bytes(part.read_bytes()[:-4])
    assert list(read_messages(part)) == MESSAGES[:1]


@pytest.mark.parametrize(
    "text",
    ["garbage\n", "[]\n", '{"body": "b"}\n', '{"body": "b", "group": "g", "attributes": {'],
    ids=["no JSON", "an array", "without a group", "cut"],
)
def test_a_file_of_another_form_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ingest-1.ndjson"
    path.write_text(text)
    with pytest.raises(DevstackError, match=r"ingest-1\.ndjson.*move it away"):
        list(read_messages(path))


def envelope(origin: Origin = Origin.API) -> Envelope:
    return Envelope(UID, [Segment("w", 5, "r", "", [PackedEvent(ID, b"{}")], origin)])


@pytest.mark.parametrize("origin", Origin)
def test_an_envelope_that_verifies_is_signed_now_with_the_first_key(origin: Origin) -> None:
    old = ingest_text(envelope(origin), OTHER_KEY, sent_at=now_ms() - MONTH_MS)
    [(name, message)] = routes("ingest", Outgoing(old, UID), fixed_keys(KEY, OTHER_KEY))
    assert (name, message.group) == ("ingest", UID)
    signed = fixed_keys(KEY).open(message.body, Purpose.INGEST)
    assert abs(signed.sent_at - now_ms()) < 60_000
    [segment] = opened(message.body).segments
    assert segment.events == [PackedEvent(ID, b"{}")]
    assert segment.received_at == 5
    # Of an event that arrived long ago, a reader takes no other origin.
    assert segment.origin is (Origin.INTERNAL if origin is Origin.INTERNAL else Origin.RETRY)


def test_ids_that_verify_are_signed_now_with_the_first_key() -> None:
    [old] = index_texts(UID, [ID], OTHER_KEY)
    [(name, message)] = routes("index", Outgoing(old, UID), fixed_keys(KEY, OTHER_KEY))
    assert (name, message.group) == ("index", UID)
    fixed_keys(KEY).open(message.body, Purpose.INDEX)
    assert opened_index(message.body).ids == [ID]


@pytest.mark.parametrize("name", ["ingest", "index"])
@pytest.mark.parametrize(
    ("body", "moved"),
    [
        ("garbage", "forged"),
        ("3.of a newer release", "newer"),
        (ingest_text(envelope(), OTHER_KEY), "forged"),
        (ingest_text(envelope(), KEY._replace(secret=OTHER_KEY.secret)), "forged"),
    ],
    ids=["garbage", "newer", "another key", "a wrong MAC"],
)
def test_what_does_not_verify_is_moved_as_it_is_and_never_signed(
    name: str, body: str, moved: str
) -> None:
    [(target, message)] = routes(name, Outgoing(body, UID), fixed_keys())
    assert target == f"{name}_dlq"
    assert (message.body, message.attributes) == (body, {"moved": moved})


def test_a_message_of_the_other_queue_is_not_signed() -> None:
    [ids] = index_texts(UID, [ID], KEY)
    [(target, message)] = routes("ingest", Outgoing(ids, UID), fixed_keys())
    assert (target, message.body) == ("ingest_dlq", ids)


def test_what_verifies_and_cannot_be_read_goes_back_as_it_is() -> None:
    body = sign(b"garbage", KEY, Purpose.INGEST, sent_at=5)
    message = Outgoing(body, UID)
    assert list(routes("ingest", message, fixed_keys())) == [("ingest", message)]


@pytest.mark.parametrize("name", ["ingest_dlq", "index_dlq"])
def test_what_a_dead_letter_queue_held_goes_back_as_it_is(name: str) -> None:
    message = Outgoing(ingest_text(envelope()), UID, {"moved": "newer"})
    assert list(routes(name, message, fixed_keys())) == [(name, message)]


def test_without_a_key_that_signs_nothing_is_sent() -> None:
    message = Outgoing(ingest_text(envelope()), UID)
    with pytest.raises(NoSigningKeyError):
        list(routes("ingest", message, fixed_keys(KEY, rows=[])))


def test_a_line_is_a_message(tmp_path: Path) -> None:
    path = write_messages(tmp_path, "ingest", MESSAGES)
    lines = path.read_text().split("\n")
    assert lines.pop() == ""
    assert [json.loads(line)["body"] for line in lines] == [each.body for each in MESSAGES]
