"""The order of effects, and what happens when one of them fails; with handwritten fakes, since real
backends can't be made to fail between two calls."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from pymongo.errors import AutoReconnect

from ocelot_common.dead_letters import DeadLetter
from ocelot_common.envelope import Envelope, PackedEvent, Segment, pack
from ocelot_common.ids import new_id
from ocelot_common.index_message import unpack_index_message
from ocelot_common.queue.receiver import Received
from ocelot_common.registry.model import Home, Isolation, Space, Tenant, TenantState
from ocelot_common.timestamps import now_ms
from ocelot_common.versioned import frame, to_text
from ocelot_consumer.consumer import Consumer
from ocelot_consumer.metrics import ConsumerMetrics
from ocelot_consumer.storing import StoreResult
from ocelot_consumer.work import Outcome, unpack_message

UID = "0123456789abcdef"
EVENT = PackedEvent(new_id(), b'{"action":"a","actor":{"id":"u"}}')


def tenant(**changes: Any) -> Tenant:
    fields: dict[str, Any] = {
        "uid": UID,
        "id": "acme",
        "version": 1,
        "display_name": "Acme",
        "owner": "cli",
        "isolation": Isolation.DEDICATED,
        "state": TenantState.ACTIVE,
        "space": "logs_acme",
        "created_at": datetime.now(UTC),
    }
    return Tenant(**(fields | changes))


def space(**changes: Any) -> Space:
    fields: dict[str, Any] = {
        "name": "logs_acme",
        "version": 1,
        "key": "k",
        "collection": "logs_acme",
        "search_enabled": True,
        "alias": "logs_acme",
    }
    return Space(**(fields | changes))


def message(*events: PackedEvent, uid: str = UID, receive_count: int = 1) -> Received:
    body = pack(Envelope(uid, [Segment("w", now_ms(), "r", "", list(events))]))
    return Received(f"receipt-{id(body)}", body, receive_count, now_ms(), 0.0)


class Effects:
    """Everything that the consumer does to the world, in order; any of it can fail once."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.fail: dict[str, Exception] = {}
        self.deleted: list[Received] = []
        self.released: list[tuple[Received, int]] = []
        self.letters: list[DeadLetter] = []
        self.sent: list[str] = []
        self.failures_reported: list[Exception] = []
        self.home: Home | None = Home(tenant(), space())
        self.deleted_meanwhile = False
        self.taken_back: list[Any] = []
        self.failing = False

    def _do(self, what: str) -> None:
        self.log.append(what)
        if error := self.fail.pop(what, None):
            raise error

    async def store(self, arrivals: Any) -> StoreResult:
        arrivals = list(arrivals)
        self._do("store")
        result = StoreResult({}, arrivals, [], arrivals)
        result.count(Outcome.STORED, len(arrivals))
        return result

    async def put(self, letters: list[DeadLetter]) -> None:
        self._do("letters")
        self.letters.extend(letters)

    async def send_message_batch(self, *, QueueUrl: str, Entries: Any) -> dict[str, Any]:  # noqa: N803
        self._do("forward")
        self.sent.extend(entry["MessageBody"] for entry in Entries)
        return {}

    async def delete(self, messages: list[Received]) -> None:
        self._do("delete")
        self.deleted.extend(messages)

    async def release(self, messages: list[Received], *, delay_sec: int = 0) -> None:
        self.released.extend((each, delay_sec) for each in messages)

    async def find_home(self, uid: str) -> Home | None:
        self._do("home")
        return self.home if uid == UID else None

    async def confirm(self) -> None:
        if self.deleted_meanwhile and self.home:
            gone = msgspec.structs.replace(self.home.tenant, state=TenantState.DELETED)
            self.home = self.home._replace(tenant=gone)

    def tenant(self, uid: str) -> Tenant | None:
        return self.home.tenant if self.home and uid == UID else None

    async def take_back(self, arrivals: Any) -> None:
        self._do("take back")
        self.taken_back.extend(arrivals)

    def report_failure(self, error: Exception) -> None:
        self.failures_reported.append(error)


@pytest.fixture
def effects() -> Effects:
    return Effects()


@pytest.fixture
def consumer(effects: Effects) -> Consumer:
    fake: Any = effects
    return Consumer(
        receiver=fake,
        store=fake,
        dead_letters=fake,
        snapshot=fake,
        store_monitor=fake,
        sqs=fake,
        index_queue_url="index",
        metrics=ConsumerMetrics(CollectorRegistry()),
        batch_events=100,
        batches_in_flight=2,
    )


async def handle(consumer: Consumer, *messages: Received) -> None:
    await consumer._handle([unpack_message(each) for each in messages])


async def test_a_message_is_deleted_last_after_its_ids_were_forwarded(
    consumer: Consumer, effects: Effects
):
    one = message(EVENT)
    await handle(consumer, one)
    assert effects.log == ["home", "store", "letters", "forward", "delete"]
    assert effects.deleted == [one]
    assert unpack_index_message(effects.sent[0]).ids == [EVENT.id]


async def test_while_the_store_is_failing_what_is_in_hand_is_given_back_untried(
    consumer: Consumer, effects: Effects
):
    one = message(EVENT)
    effects.failing = True
    await handle(consumer, one)
    assert effects.log == []
    assert effects.released == [(one, 2)]
    assert effects.failures_reported == []


@pytest.mark.parametrize("step", ["home", "store", "letters"])
async def test_a_store_that_fails_leaves_the_message_and_stops_receiving(
    consumer: Consumer, effects: Effects, step: str
):
    one = message(EVENT)
    effects.fail[step] = AutoReconnect("away")
    await handle(consumer, one)
    assert effects.deleted == []
    assert effects.released == [(one, 2)]
    assert [str(error) for error in effects.failures_reported] == ["away"]


async def test_an_index_queue_that_fails_leaves_the_message(consumer: Consumer, effects: Effects):
    one = message(EVENT)
    effects.fail["forward"] = ConnectionError("sqs is away")
    await handle(consumer, one)
    assert effects.deleted == []
    assert effects.released == [(one, 2)]
    assert effects.failures_reported == []


@pytest.mark.parametrize(("receives", "delay"), [(1, 2), (2, 4), (3, 8), (6, 60), (500, 60)])
async def test_the_pause_before_a_message_comes_again_doubles_up_to_a_minute(
    consumer: Consumer, effects: Effects, receives: int, delay: int
):
    one = message(EVENT, receive_count=receives)
    effects.fail["store"] = AutoReconnect("away")
    await handle(consumer, one)
    assert effects.released == [(one, delay)]


async def test_an_unknown_tenant_holds_back_only_its_own_message(
    consumer: Consumer, effects: Effects
):
    unknown, known = message(EVENT, uid="f" * 16), message(EVENT)
    await handle(consumer, unknown, known)
    assert effects.deleted == [known]
    assert effects.released == [(unknown, 2)]


async def test_a_message_of_garbage_is_a_letter_and_is_deleted(
    consumer: Consumer, effects: Effects
):
    garbage = Received("r", "garbage", 1, now_ms(), 0.0)
    await handle(consumer, garbage, message(EVENT))
    assert [letter.content for letter in effects.letters] == ["garbage"]
    assert garbage in effects.deleted
    assert len(effects.deleted) == 2


async def test_a_newer_envelope_waits_without_a_letter(consumer: Consumer, effects: Effects):
    import zstandard  # noqa: PLC0415

    body = to_text(zstandard.ZstdCompressor().compress(frame(99, b"\x90")))
    newer = Received("r", body, 1, now_ms(), 0.0)
    await handle(consumer, newer)
    assert effects.letters == []
    assert effects.released == [(newer, 2)]


async def test_a_tombstones_events_are_dropped_and_the_message_deleted(
    consumer: Consumer, effects: Effects
):
    effects.home = Home(tenant(state=TenantState.DELETED), space())
    one = message(EVENT, EVENT)
    await handle(consumer, one)
    assert effects.sent == []
    assert effects.deleted == [one]


async def test_what_was_stored_while_its_tenant_was_deleted_for_good_is_taken_back(
    consumer: Consumer, effects: Effects
):
    one = message(EVENT)
    effects.deleted_meanwhile = True
    await handle(consumer, one)
    assert effects.log == ["home", "store", "take back", "letters", "delete"]
    assert [arrival.id for arrival in effects.taken_back] == [EVENT.id]
    assert consumer._metrics.events.labels("gone")._value.get() == 1
    assert consumer._metrics.events.labels("stored")._value.get() == 0


async def test_what_a_dead_worker_may_have_stored_of_a_deleted_tenant_is_taken_back(
    consumer: Consumer, effects: Effects
):
    effects.home = Home(tenant(state=TenantState.DELETED), space())
    await handle(consumer, message(EVENT, receive_count=2))
    assert [arrival.id for arrival in effects.taken_back] == [EVENT.id]
    assert consumer._metrics.events.labels("gone")._value.get() == 1


async def test_where_search_is_off_nothing_is_forwarded(consumer: Consumer, effects: Effects):
    effects.home = Home(tenant(), space(search_enabled=False))
    await handle(consumer, message(EVENT))
    assert effects.sent == []
    assert len(effects.deleted) == 1


async def test_an_error_that_nobody_foresaw_ends_the_worker_and_deletes_nothing(
    consumer: Consumer, effects: Effects
):
    effects.fail["store"] = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        await handle(consumer, message(EVENT))
    assert effects.deleted == []
