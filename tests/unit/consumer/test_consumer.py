"""The order of effects, and what happens when one of them fails; with handwritten fakes, since real
backends can't be made to fail between two calls."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from pymongo.errors import AutoReconnect

from ocelot_common.dead_letters import DeadLetter, Reason
from ocelot_common.envelope import Envelope, Origin, PackedEvent, Segment
from ocelot_common.ids import new_id
from ocelot_common.queue.keys import QueueKeys
from ocelot_common.queue.receiver import Received
from ocelot_common.registry.model import Home, Isolation, Space, Tenant, TenantState
from ocelot_common.signed_text import Purpose, sign
from ocelot_common.timestamps import now_ms
from ocelot_consumer.consumer import Consumer
from ocelot_consumer.metrics import ConsumerMetrics
from ocelot_consumer.storing import StoreResult
from ocelot_consumer.work import IngestWork, Outcome, open_message
from queuekit.signing import KEY, OTHER_KEY, fixed_keys, ingest_text, opened_index

UID = "0123456789abcdef"
EVENT = PackedEvent(new_id(), b'{"action":"a","actor":{"id":"u"}}')
ENVELOPE = Envelope(UID, [Segment("w", now_ms(), "r", "", [EVENT])])


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
    body = ingest_text(Envelope(uid, [Segment("w", now_ms(), "r", "", list(events))]))
    return Received(f"receipt-{id(body)}", body, receive_count, now_ms(), 0.0)


def opened(received: Received) -> IngestWork:
    work = open_message(received, fixed_keys())
    work.unpack()
    return work


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
        self.refused: list[Any] = []

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

    async def settle(self, refused: Any) -> None:
        self.refused.extend(refused)

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
    return consumer_of(effects, fixed_keys())


def consumer_of(fake: Any, keys: QueueKeys) -> Consumer:
    return Consumer(
        receiver=fake,
        store=fake,
        dead_letters=fake,
        snapshot=fake,
        store_monitor=fake,
        sqs=fake,
        keys=keys,
        refused=fake,
        index_queue_url="index",
        metrics=ConsumerMetrics(CollectorRegistry()),
        batch_events=100,
        batches_in_flight=2,
    )


async def handle(consumer: Consumer, *messages: Received) -> None:
    await consumer._handle([opened(each) for each in messages])


async def test_a_message_is_deleted_last_after_its_ids_were_forwarded(
    consumer: Consumer, effects: Effects
):
    one = message(EVENT)
    await handle(consumer, one)
    assert effects.log == ["home", "store", "letters", "forward", "delete"]
    assert effects.deleted == [one]
    assert opened_index(effects.sent[0]).ids == [EVENT.id]


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


async def test_an_authenticated_message_of_garbage_is_a_letter_and_is_deleted(
    consumer: Consumer, effects: Effects
):
    body = sign(b"garbage", KEY, Purpose.INGEST, sent_at=now_ms())
    garbage = Received("r", body, 1, now_ms(), 0.0)
    await handle(consumer, garbage, message(EVENT))
    assert [(letter.reason, letter.content) for letter in effects.letters] == [
        (Reason.MALFORMED, body)
    ]
    assert garbage in effects.deleted
    assert len(effects.deleted) == 2


@pytest.mark.parametrize("body", ["garbage", "3.k1.newer", ingest_text(ENVELOPE, OTHER_KEY)])
async def test_what_is_not_authenticated_is_left_to_others_and_holds_nothing_back(
    consumer: Consumer, effects: Effects, body: str
):
    stranger, honest = Received("r", body, 1, now_ms(), 0.0), message(EVENT)
    await handle(consumer, stranger, honest)
    assert [each.message for each in effects.refused] == [stranger]
    assert (effects.letters, effects.deleted) == ([], [honest])


def timed(*, received_ago: int = 0, sent_ago: int = 0, origin: Origin = Origin.API) -> Received:
    """A message with times so many milliseconds ago."""
    now = now_ms()
    segment = Segment("w", now - received_ago, "r", "", [EVENT], origin)
    body = ingest_text(Envelope(UID, [segment]), sent_at=now - sent_ago)
    return Received("r", body, 1, now, 0.0)


HOUR = 3_600_000
DAY = 24 * HOUR
STORED = {
    "now": timed(),
    "signed a minute after its arrival": timed(received_ago=60_000),
    "14 days old": timed(received_ago=14 * DAY, sent_ago=14 * DAY),
    "a retry of 60 days ago": timed(received_ago=60 * DAY, origin=Origin.RETRY),
    # It may be retried, and keeps its origin then.
    "an internal event of 60 days ago": timed(received_ago=60 * DAY, origin=Origin.INTERNAL),
    "4 seconds ahead": timed(received_ago=-4_000, sent_ago=-4_000),
}
REFUSED = {
    "signed 16 days ago": (timed(received_ago=16 * DAY, sent_ago=16 * DAY), Reason.EXPIRED),
    "a retry signed 16 days ago": (timed(sent_ago=16 * DAY, origin=Origin.RETRY), Reason.EXPIRED),
    "received 2 hours before": (timed(received_ago=2 * HOUR), Reason.MALFORMED),
    "received 6 minutes after": (timed(sent_ago=6 * 60_000), Reason.MALFORMED),
    "a retry received 6 minutes after": (
        timed(sent_ago=6 * 60_000, origin=Origin.RETRY),
        Reason.MALFORMED,
    ),
    "2 hours ahead": (timed(received_ago=-2 * HOUR, sent_ago=-2 * HOUR), Reason.MALFORMED),
}


@pytest.mark.parametrize("one", STORED.values(), ids=STORED)
async def test_a_message_is_stored_whose_times_are_those_of(
    consumer: Consumer, effects: Effects, one: Received
):
    await handle(consumer, one)
    assert (effects.letters, effects.deleted, len(effects.sent)) == ([], [one], 1)


@pytest.mark.parametrize(("one", "reason"), REFUSED.values(), ids=REFUSED)
async def test_a_message_is_one_letter_whose_times_are_those_of(
    consumer: Consumer, effects: Effects, one: Received, reason: Reason
):
    await handle(consumer, one)
    [letter] = effects.letters
    assert (letter.reason, letter.uid, letter.content) == (reason, UID, one.body)
    assert (effects.deleted, effects.sent) == ([one], [])


async def test_a_message_that_is_ahead_waits_until_it_is_due(consumer: Consumer, effects: Effects):
    one = timed(received_ago=-10 * 60_000, sent_ago=-10 * 60_000)
    await handle(consumer, one)
    [(released, delay_sec)] = effects.released
    assert released is one
    assert 500 < delay_sec <= 600
    assert (effects.letters, effects.deleted) == ([], [])
    assert consumer._metrics.messages.labels("ahead")._value.get() == 1


async def test_times_of_a_deleted_tenant_make_no_letter(consumer: Consumer, effects: Effects):
    effects.home = Home(tenant(state=TenantState.DELETED), space())
    one = timed(received_ago=16 * DAY, sent_ago=16 * DAY)
    await handle(consumer, one)
    assert (effects.letters, effects.deleted) == ([], [one])


async def test_without_a_key_to_sign_with_the_message_is_left(effects: Effects):
    fake: Any = effects
    consumer = consumer_of(fake, fixed_keys(KEY, rows=[]))
    one = message(EVENT)
    await consumer._handle([opened(one)])
    assert (effects.deleted, effects.released) == ([], [(one, 2)])


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
    assert consumer._metrics.events.labels("dropped")._value.get() == 1
    assert consumer._metrics.events.labels("stored")._value.get() == 0


async def test_what_a_dead_worker_may_have_stored_of_a_deleted_tenant_is_taken_back(
    consumer: Consumer, effects: Effects
):
    effects.home = Home(tenant(state=TenantState.DELETED), space())
    await handle(consumer, message(EVENT, receive_count=2))
    assert [arrival.id for arrival in effects.taken_back] == [EVENT.id]
    assert consumer._metrics.events.labels("dropped")._value.get() == 1


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
