"""The dead-letter collector, one pass at a time, on queues of its own."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from ocelot_common.dead_letters import DeadLetter, DeadLetterStore, Reason, Stage
from ocelot_common.envelope import Envelope, PackedEvent, Segment
from ocelot_common.ids import new_id
from ocelot_common.jobs.model import JobKind
from ocelot_common.jobs.store import JobStore
from ocelot_common.queue.depth import read_depth
from ocelot_common.queue.moving import MAX_MESSAGE_BYTES, Moved, moved_message
from ocelot_common.queue.sending import Outgoing, send_all
from ocelot_common.signed_text import Purpose, sign
from ocelot_common.timestamps import now_ms
from ocelot_devstack.queues import open_sqs
from ocelot_jobs import drain as module
from ocelot_jobs.dead_queues import FIRST_SENT, DeadQueue, receive
from ocelot_jobs.drain import Drain
from ocelot_jobs.metrics import JobsMetrics
from queuekit.signing import KEY, OTHER_KEY, fixed_keys, ingest_text

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs]

UID = "0123456789abcdef"
DAY_MS = 24 * 3_600_000


class NoLease:
    """A lease of which nothing is asked."""

    async def save(self, **_: Any) -> None:
        pass


class Place(NamedTuple):
    """A queue, its dead letter queue, and a database."""

    sqs: Any
    queue: DeadQueue
    database: Any

    @property
    def letters(self) -> DeadLetterStore:
        return DeadLetterStore(self.database)

    def drain(self, *keys: Any, renew_after_ms: int = module.RENEW_AFTER_MS) -> Drain:
        return Drain(
            sqs=self.sqs,
            queues=[self.queue],
            keys=fixed_keys(*keys),
            dead_letters=self.letters,
            jobs=JobStore(self.database),
            metrics=JobsMetrics(CollectorRegistry()),
            renew_after_ms=renew_after_ms,
        )

    async def one_pass(self, drain: Drain) -> None:
        lease: Any = NoLease()
        await drain.run(lease)

    async def send(self, *messages: Outgoing) -> None:
        await send_all(self.sqs, self.queue.url, messages)

    async def found(self) -> list[dict[str, Any]]:
        return [letter async for letter in self.letters.find()]

    async def depths(self) -> tuple[int, int]:
        """Messages in the queue and in its dead letter queue."""
        return (
            (await read_depth(self.sqs, self.queue.target_url)).total,
            (await read_depth(self.sqs, self.queue.url)).total,
        )


@pytest_asyncio.fixture(loop_scope="session")
async def place(installation: Any) -> AsyncIterator[Place]:
    from ocelot_common import mongo  # noqa: PLC0415

    client = mongo.connect(installation.mongodb_url, app_name="tests")
    queue = DeadQueue(
        "ingest",
        installation.queues.ingest_dlq,
        installation.queues.ingest,
        Stage.STORE,
        Purpose.INGEST,
    )
    async with open_sqs(installation.sqs_endpoint_url, installation.settings.aws_env()) as sqs:
        yield Place(sqs, queue, client[installation.installation.mongodb_database])
    await client.close()


def envelope(key: Any = KEY) -> str:
    event = PackedEvent(new_id(), b'{"action":"a","actor":{"id":"u"}}')
    return ingest_text(Envelope(UID, [Segment("w", now_ms(), "r", "", [event])]), key)


async def test_a_moved_message_that_verifies_by_now_goes_back_unchanged(place: Place):
    bodies = [envelope() for _ in range(12)]
    await place.send(*(moved_message(body, Moved.FORGED) for body in bodies))
    await place.send(moved_message(bodies[0], Moved.NEWER))
    await place.one_pass(place.drain())
    assert await place.depths() == (13, 0)
    received = []
    while got := await receive(place.sqs, place.queue.target_url, hold_sec=60):
        received += got
    assert {each.body for each in received} == set(bodies)
    assert {each.group for each in received} == {UID}
    assert await place.found() == []


async def test_a_message_that_sqs_gave_up_becomes_a_letter_and_is_not_sent_back(place: Place):
    body = envelope()
    await place.send(Outgoing(body, UID))
    await place.one_pass(place.drain())
    assert await place.depths() == (0, 0)
    [letter] = await place.found()
    assert (letter["reason"], letter["t"], letter["content"]) == (Reason.EXHAUSTED, UID, body)


async def test_an_authenticated_message_of_garbage_becomes_a_letter_of_no_tenant(place: Place):
    body = sign(b"garbage", KEY, Purpose.INGEST, sent_at=now_ms())
    await place.send(Outgoing(body, UID))
    await place.one_pass(place.drain())
    [letter] = await place.found()
    assert (letter["reason"], letter["t"]) == (Reason.EXHAUSTED, "")


@pytest.mark.parametrize(
    "body",
    ["garbage", "x" * 100_000, "3.of a newer release", envelope(OTHER_KEY)],
    ids=["garbage", "long", "newer", "another key"],
)
@pytest.mark.parametrize("moved", [True, False], ids=["moved", "given up by SQS"])
async def test_what_does_not_verify_stays_whole_and_is_noticed_once(
    place: Place, body: str, moved: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "HOLD_SEC", 0)
    monkeypatch.setattr(module, "_PASS_MESSAGES", 3)  # the same message three times
    await place.send(moved_message(body, Moved.FORGED) if moved else Outgoing(body, "t"))
    drain = place.drain()
    await place.one_pass(drain)
    await place.one_pass(drain)
    assert await place.depths() == (0, 1)
    [message] = await receive(place.sqs, place.queue.url, hold_sec=60)
    assert message.body == body
    [notice] = await place.found()
    assert (notice["reason"], notice["t"]) == (Reason.UNAUTHENTICATED, "")
    assert (notice["content"], notice["attempts"]) == (body[: 16 * 1024], 1)
    assert message.id in notice["detail"]
    assert drain.oldest_age_sec("ingest") > 0


async def test_notices_are_bounded_and_every_message_stays(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "_NOTICES_PER_DAY", 25)
    await place.send(*(Outgoing(f"garbage {number}", "t") for number in range(60)))
    await place.one_pass(place.drain())
    assert len(await place.found()) == 25
    assert await place.depths() == (0, 60)


async def test_notices_of_yesterday_do_not_count(place: Place):
    def notice(number: int) -> DeadLetter:
        return DeadLetter(
            stage=Stage.STORE,
            reason=Reason.UNAUTHENTICATED,
            uid="",
            event_id=None,
            content=f"{number}",
            detail="a test's",
        )

    notices = [notice(number) for number in range(6)]
    assert await place.letters.put_notices(notices[:2], most_per_day=3) == 2
    assert await place.letters.put_notices(notices[:4], most_per_day=3) == 1
    assert await place.letters.put_notices(notices, most_per_day=3) == 0
    await place.database["dead_letters"].update_many(
        {}, [{"$set": {"first_seen": {"$subtract": ["$first_seen", DAY_MS]}}}]
    )
    assert await place.letters.put_notices(notices, most_per_day=3) == 3


async def test_a_message_that_would_expire_is_sent_to_the_same_queue_again(place: Place):
    body, large = envelope(OTHER_KEY), "x" * MAX_MESSAGE_BYTES
    await place.send(moved_message(body, Moved.FORGED))
    await place.send(moved_message(large, Moved.FORGED))
    before = {
        message.body: message
        for _ in range(2)
        for message in await receive(place.sqs, place.queue.url, hold_sec=0)
    }
    await asyncio.sleep(5)
    # What is sent again is younger, so that the pass sends it again once only.
    await place.one_pass(place.drain(renew_after_ms=5_000))
    assert await place.depths() == (0, 2)
    after = {}
    while len(after) < 2:
        for message in await receive(place.sqs, place.queue.url, hold_sec=0):
            after[message.body] = message
    assert after[body].id != before[body].id
    assert after[body].attributes["moved"] == "forged"
    assert int(after[body].attributes[FIRST_SENT]) == before[body].sent_at
    assert after[body].first_sent_at == before[body].sent_at
    assert set(after) == {body, large}


@pytest.mark.parametrize("age_days", [0, 8.9])
async def test_a_younger_message_is_left_where_it_is(place: Place, age_days: float):
    await place.send(moved_message("garbage", Moved.FORGED))
    [before] = await receive(place.sqs, place.queue.url, hold_sec=0)
    renew_after_ms = int(module.RENEW_AFTER_MS - age_days * DAY_MS)
    await place.one_pass(place.drain(renew_after_ms=renew_after_ms))

    async def same() -> Any:
        return await receive(place.sqs, place.queue.url, hold_sec=60, wait_sec=20)

    found = await same() or await same()
    assert [message.id for message in found] == [before.id]


async def test_while_messages_are_being_accepted_the_collector_leaves_them(place: Place):
    await place.send(moved_message(envelope(), Moved.FORGED))
    await JobStore(place.database).create(JobKind.ACCEPT, created_by="test", spec={})
    await place.one_pass(place.drain())
    assert await place.depths() == (0, 1)
