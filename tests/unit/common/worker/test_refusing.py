"""What becomes of messages that are not authenticated; SQS and MongoDB are fakes that can fail."""

from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from prometheus_client import CollectorRegistry, Counter
from pymongo.errors import AutoReconnect

from ocelot_common.queue.gate import Gate
from ocelot_common.queue.keys import QueueKeys, UnknownKeyError
from ocelot_common.queue.moving import MAX_MESSAGE_BYTES
from ocelot_common.queue.receiver import Received
from ocelot_common.registry.model import QueueKeyRow, QueueKeyState
from ocelot_common.signed_text import ForgedError
from ocelot_common.versioned import NewerVersionError
from ocelot_common.worker.key_monitor import KeyMonitor
from ocelot_common.worker.refusing import MAX_NEWER_RELEASES, Fault, Refused, RefusedMessages
from queuekit.signing import KEY, OTHER_KEY, FixedFile, row


class World:
    """A queue, its dead letter queue and the registry."""

    def __init__(self) -> None:
        self.rows: dict[str, QueueKeyRow] = {KEY.kid: row(KEY)}
        self.unread: dict[str, QueueKeyRow] = {}
        self.file = FixedFile(KEY)
        self.registry_error: Exception | None = None
        self.sqs_error: Exception | None = None
        self.refuse: set[str] = set()
        self.sent: list[dict[str, Any]] = []
        self.deleted: list[Received] = []
        self.released: list[tuple[Received, int]] = []
        self.uses: list[Any] = []
        self.fresh = True

    def queue_key(self, kid: str) -> QueueKeyRow | None:
        return self.rows.get(kid)

    async def confirm(self) -> None:
        if self.registry_error:
            raise self.registry_error
        self.rows |= self.unread

    async def send_message_batch(self, *, QueueUrl: str, Entries: Any) -> dict[str, Any]:  # noqa: N803
        assert QueueUrl == "dlq"
        if self.sqs_error:
            raise self.sqs_error
        failed = [each for each in Entries if each["MessageBody"] in self.refuse]
        self.sent += [each for each in Entries if each not in failed]
        return {"Failed": [{"Id": each["Id"], "SenderFault": True} for each in failed]}

    async def delete(self, messages: list[Received]) -> None:
        self.deleted += messages

    async def release(self, messages: list[Received], *, delay_sec: int = 0) -> None:
        self.released += [(each, delay_sec) for each in messages]

    async def bulk_write(self, writes: list[Any], **_: Any) -> None:
        self.uses += writes

    def __getitem__(self, name: str) -> "World":
        return self


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def monitor(world: World, gate: Gate) -> KeyMonitor:
    fake: Any = world
    file: Any = world.file
    return KeyMonitor(QueueKeys(file, world.queue_key), fake, gate, fake)


@pytest.fixture
def refusing(world: World, monitor: KeyMonitor) -> RefusedMessages:
    fake: Any = world
    counter = Counter("messages", "By result", ["result"], registry=CollectorRegistry())
    return RefusedMessages(
        receiver=fake, sqs=fake, dlq_url="dlq", snapshot=fake, keys=monitor, counter=counter
    )


def refused(fault: Fault, body: str = "body", *, receives: int = 1) -> Refused:
    return Refused(Received(f"receipt-{body}", body, receives, 0, 0.0), fault)


def attributes(sent: dict[str, Any]) -> dict[str, str]:
    given = sent.get("MessageAttributes", {})
    return {name: value["StringValue"] for name, value in given.items()}


async def test_a_forged_message_is_sent_to_the_dead_letter_queue_and_then_deleted(
    world: World, refusing: RefusedMessages, gate: Gate
) -> None:
    one = refused(ForgedError("wrong"))
    await refusing.settle([one])
    assert [(each["MessageBody"], attributes(each)) for each in world.sent] == [
        ("body", {"moved": "forged"})
    ]
    assert world.deleted == [one.message]
    assert world.released == []
    assert gate.is_open


@pytest.mark.parametrize(
    "error", [EndpointConnectionError(endpoint_url="x"), TimeoutError(), ConnectionError()]
)
async def test_what_cannot_be_sent_is_not_deleted(
    world: World, refusing: RefusedMessages, error: Exception
) -> None:
    one = refused(ForgedError("wrong"), receives=2)
    world.sqs_error = error
    await refusing.settle([one])
    assert (world.deleted, world.released) == ([], [(one.message, 4)])


async def test_a_message_that_sqs_refuses_holds_no_other_back(
    world: World, refusing: RefusedMessages
) -> None:
    bad, good = refused(ForgedError("x"), "bad"), refused(ForgedError("x"), "good")
    world.refuse = {"bad"}
    await refusing.settle([bad, good])
    assert (world.deleted, world.released) == ([good.message], [(bad.message, 2)])


@pytest.mark.parametrize("char", ["x", "\u20ac"])
async def test_a_message_of_the_largest_size_is_moved_without_its_attribute(
    world: World, refusing: RefusedMessages, char: str
) -> None:
    body = char * (MAX_MESSAGE_BYTES // len(char.encode()))
    small = refused(ForgedError("x"), "small")
    await refusing.settle([refused(ForgedError("x"), body), small])
    assert [attributes(each) for each in world.sent] == [{}, {"moved": "forged"}]
    assert len(world.deleted) == 2


@pytest.mark.parametrize("receives", [1, MAX_NEWER_RELEASES])
async def test_a_newer_version_is_released(
    world: World, refusing: RefusedMessages, receives: int
) -> None:
    await refusing.settle([refused(NewerVersionError("3"), receives=receives)])
    assert (world.sent, len(world.released)) == ([], 1)


async def test_a_newer_version_that_nobody_reads_is_moved(
    world: World, refusing: RefusedMessages
) -> None:
    await refusing.settle([refused(NewerVersionError("3"), receives=MAX_NEWER_RELEASES + 1)])
    assert [attributes(each) for each in world.sent] == [{"moved": "newer"}]
    assert len(world.deleted) == 1


async def test_a_key_that_the_registry_does_not_know_is_a_forgery(
    world: World, refusing: RefusedMessages, gate: Gate
) -> None:
    await refusing.settle([refused(UnknownKeyError("k9"))])
    assert [attributes(each) for each in world.sent] == [{"moved": "forged"}]
    assert gate.is_open


@pytest.mark.parametrize("state", [QueueKeyState.RETIRED, QueueKeyState.LOST])
async def test_nobody_waits_for_a_key_that_is(
    world: World, refusing: RefusedMessages, gate: Gate, state: QueueKeyState
) -> None:
    world.rows[OTHER_KEY.kid] = row(OTHER_KEY, state)
    await refusing.settle([refused(UnknownKeyError(OTHER_KEY.kid))])
    assert len(world.deleted) == 1
    assert gate.is_open


async def test_a_key_that_the_registry_knows_is_awaited_and_its_messages_released_at_once(
    world: World, refusing: RefusedMessages, gate: Gate
) -> None:
    world.unread[OTHER_KEY.kid] = row(OTHER_KEY)  # younger than the snapshot
    mine, forged = refused(UnknownKeyError(OTHER_KEY.kid)), refused(UnknownKeyError("k9"), "k9")
    await refusing.settle([mine, forged])
    assert world.released == [(mine.message, 0)]
    assert world.deleted == [forged.message]
    assert list(gate.causes) == ["queue_key_missing"]
    assert OTHER_KEY.kid in gate.causes["queue_key_missing"]


async def test_while_the_registry_is_away_nothing_is_called_a_forgery(
    world: World, refusing: RefusedMessages, gate: Gate
) -> None:
    one = refused(UnknownKeyError("k9"))
    world.registry_error = AutoReconnect("away")
    await refusing.settle([one])
    assert (world.sent, world.released) == ([], [(one.message, 2)])
    assert gate.is_open


@pytest.mark.parametrize("ended_by", ["file", QueueKeyState.LOST, QueueKeyState.RETIRED])
async def test_the_wait_for_a_key_ends_with(
    world: World, monitor: KeyMonitor, gate: Gate, ended_by: str
) -> None:
    world.rows[OTHER_KEY.kid] = row(OTHER_KEY)
    assert monitor.is_awaited(OTHER_KEY.kid)
    monitor._check()
    assert not gate.is_open
    if ended_by == "file":
        world.file.keys = (KEY, OTHER_KEY)
    else:
        world.rows[OTHER_KEY.kid] = row(OTHER_KEY, QueueKeyState(ended_by))
    monitor._check()
    assert gate.is_open


async def test_a_worker_without_an_active_key_is_held_until_it_has_one(
    world: World, monitor: KeyMonitor, gate: Gate
) -> None:
    world.rows.clear()
    monitor._check()
    assert list(gate.causes) == ["queue_keys"]
    world.rows[KEY.kid] = row(KEY)
    monitor._check()
    assert gate.is_open


async def test_the_use_of_keys_is_recorded_once(world: World, monitor: KeyMonitor) -> None:
    monitor._keys._used = {KEY.kid: (0, 86_400_000)}
    await monitor.record_use()
    await monitor.record_use()
    [write] = world.uses
    assert write._filter == {"_id": KEY.kid}
    assert {name: str(next(iter(value.values()))) for name, value in write._doc.items()} == {
        "$min": "1970-01-01 00:00:00+00:00",
        "$max": "1970-01-02 00:00:00+00:00",
    }
