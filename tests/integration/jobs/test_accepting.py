"""The job that accepts messages of a lost key, on queues of its own."""

import os
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import msgspec
import pytest
import pytest_asyncio
import zstandard

from ocelot_common import mongo
from ocelot_common.dead_letters import Stage
from ocelot_common.envelope import Envelope, PackedEvent, Segment
from ocelot_common.ids import new_id
from ocelot_common.jobs.model import Job, JobKind, JobState
from ocelot_common.jobs.store import JobStore
from ocelot_common.provisioning.database import prepare_database
from ocelot_common.provisioning.queue_keys import lose_queue_key, record_queue_key
from ocelot_common.queue.depth import read_depth
from ocelot_common.queue.moving import MAX_MESSAGE_BYTES, Moved, moved_message
from ocelot_common.queue.sending import send_all
from ocelot_common.registry.store import RegistryStore
from ocelot_common.signed_text import Purpose, sign
from ocelot_common.timestamps import now_ms
from ocelot_devstack.queues import open_sqs
from ocelot_jobs.accepting import Accept
from ocelot_jobs.dead_queues import DeadMessage, DeadQueue, delete, receive
from ocelot_jobs.leases import JobFailedError, Lease, TryAgainError, claim
from queuekit.signing import OTHER_KEY, fixed_keys, index_texts, ingest_text

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs]

UID = "0123456789abcdef"
LAST_MS = 253_402_300_799_999


class FailingSqs:
    """SQS that refuses some calls.

    Attributes:
        refusals: by operation, how many calls go through before one is refused as a whole.
    """

    def __init__(self, sqs: Any, **refusals: int) -> None:
        self._sqs = sqs
        self.refusals = refusals

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sqs, name)

    def _refused(self, name: str, entries: Sequence[Any]) -> dict[str, Any] | None:
        left = self.refusals.get(name)
        if left is None:
            return None
        self.refusals[name] = left - 1
        failed = [{"Id": each["Id"], "SenderFault": True, "Code": "No"} for each in entries]
        return {"Failed": failed} if left <= 0 else None

    async def send_message_batch(self, **call: Any) -> Any:
        refused = self._refused("send", call["Entries"])
        return refused or await self._sqs.send_message_batch(**call)

    async def delete_message_batch(self, **call: Any) -> Any:
        refused = self._refused("delete", call["Entries"])
        return refused or await self._sqs.delete_message_batch(**call)


class Place(NamedTuple):
    """Dead letter queues of both kinds, and a registry in which a key is lost."""

    sqs: Any
    queues: list[DeadQueue]
    database: Any

    @property
    def jobs(self) -> JobStore:
        return JobStore(self.database)

    async def send(self, *bodies: str, stage: Stage = Stage.STORE) -> None:
        """Put messages where a worker moves those that do not verify."""
        [queue] = [each for each in self.queues if each.stage is stage]
        moved = [moved_message(body, Moved.FORGED) for body in bodies]
        await send_all(self.sqs, queue.url, moved)

    async def depths(self) -> tuple[int, int]:
        """Messages in the ingest queue and in its dead letter queue."""
        ingest = self.queues[0]
        return (
            (await read_depth(self.sqs, ingest.target_url)).total,
            (await read_depth(self.sqs, ingest.url)).total,
        )

    async def attempt(self, lease: Lease, *, sqs: Any = None, most_messages: int = 1_000) -> None:
        """One attempt at a job."""
        accept = Accept(
            sqs=sqs or self.sqs,
            queues=self.queues,
            keys=fixed_keys(),
            store=RegistryStore(self.database),
            jobs=self.jobs,
            quiet_sec=1.0,
            most_messages=most_messages,
        )
        await accept.run(lease)

    async def begin(self, **spec: Any) -> Lease:
        """A job of which the first attempt begins."""
        made = await self.jobs.create(
            JobKind.ACCEPT,
            created_by="test",
            spec={"kid": OTHER_KEY.kid, "sent_from": None, "sent_to": None, **spec},
        )
        lease = await claim(self.jobs, "test", [JobKind.ACCEPT])
        assert lease is not None
        assert lease.job.id == made.id
        return lease

    async def again(self, lease: Lease) -> Lease:
        """The next attempt at a job."""
        await lease.put_off(0, error="a test's")
        following = await claim(self.jobs, "test", [JobKind.ACCEPT])
        assert following is not None
        assert following.job.id == lease.job.id
        return following

    async def run(self, *, most_messages: int = 1_000, **spec: Any) -> Job:
        """A whole job."""
        lease = await self.begin(**spec)
        await self.attempt(lease, most_messages=most_messages)
        await lease.finish(JobState.SUCCEEDED)
        ended = await self.jobs.get(lease.job.id)
        assert ended is not None
        return ended


@pytest_asyncio.fixture(loop_scope="session")
async def place(installation: Any) -> AsyncIterator[Place]:
    client = mongo.connect(installation.mongodb_url, app_name="tests")
    database = client[installation.installation.mongodb_database]
    await prepare_database(database)
    store = RegistryStore(database)
    await record_queue_key(store, OTHER_KEY)
    await lose_queue_key(store, OTHER_KEY.kid)
    urls = installation.queues
    queues = [
        DeadQueue("ingest", urls.ingest_dlq, urls.ingest, Stage.STORE, Purpose.INGEST),
        DeadQueue("index", urls.index_dlq, urls.index, Stage.INDEX, Purpose.INDEX),
    ]
    async with open_sqs(installation.sqs_endpoint_url, installation.settings.aws_env()) as sqs:
        yield Place(sqs, queues, database)
    await client.close()


def envelope(number: int = 1, *, uid: str = UID, received_at: int | None = None) -> str:
    events = [PackedEvent(new_id(), b'{"action":"a","actor":{"id":"u"}}') for _ in range(number)]
    arrived = now_ms() if received_at is None else received_at
    return ingest_text(Envelope(uid, [Segment("w", arrived, "r", "", events)]), OTHER_KEY)


def numbers(job: Job) -> dict[str, int]:
    return {name: number for name, number in job.progress.items() if number}


async def test_only_what_was_shown_is_accepted_and_the_rest_is_told(place: Place):
    shown, later = [envelope(3) for _ in range(12)], [envelope(5) for _ in range(4)]
    await place.send(*shown)
    await place.send(*index_texts(UID, [new_id()], OTHER_KEY), stage=Stage.INDEX)
    count = await place.run()
    assert numbers(count) == {"messages": 13, "events": 37}
    await place.send(*later)

    accepted = await place.run(count_job=count.id)

    assert numbers(accepted) == {"messages": 13, "events": 37, "further": 4}
    assert await place.depths() == (12, 4)
    following = await place.run()
    assert numbers(following) == {"messages": 4, "events": 20}
    again = await place.run(count_job=count.id)  # what it accepted is not there any more
    assert numbers(again) == {"further": 4, "missing": 13}
    last = await place.run(count_job=following.id)
    assert numbers(last) == {"messages": 4, "events": 20}
    assert await place.depths() == (16, 0)


async def test_a_message_that_was_sent_to_its_queue_again_since_the_count_is_accepted(
    place: Place,
):
    """The collector does that before SQS deletes it. SQS gives it another id."""
    await place.send(*(envelope() for _ in range(8)))
    count = await place.run()
    url = place.queues[0].url
    held: list[DeadMessage] = []
    while len(held) < 8:
        held += await receive(place.sqs, url, hold_sec=600)
    await place.send(*(message.body for message in held))
    await delete(place.sqs, url, held)

    accepted = await place.run(count_job=count.id)

    assert numbers(accepted) == {"messages": 8, "events": 8}
    assert await place.depths() == (8, 0)


async def test_a_copy_of_a_message_is_counted_and_accepted_once(place: Place):
    body = envelope(7)
    await place.send(*[body] * 3)
    count = await place.run()
    assert numbers(count) == {"messages": 1, "events": 7}
    accepted = await place.run(count_job=count.id)
    assert numbers(accepted) == {"messages": 1, "events": 7}
    assert await place.depths() == (1, 0)


@pytest.mark.parametrize("operation", ["send", "delete"])
async def test_the_numbers_are_those_of_all_attempts(place: Place, operation: str):
    await place.send(*(envelope(2) for _ in range(25)))
    count = await place.run()
    lease = await place.begin(count_job=count.id)
    failing = FailingSqs(place.sqs, **{operation: 1})
    with pytest.raises(TryAgainError):
        await place.attempt(lease, sqs=failing)
    assert 0 < lease.job.progress["messages"] < 25

    lease = await place.again(lease)
    await place.attempt(lease)

    # An attempt that stopped between a send and its delete sends nothing twice.
    assert numbers(lease.job) == {"messages": 25, "events": 50}
    assert await place.depths() == (25, 0)


async def test_a_count_of_several_attempts_counts_each_message_once(place: Place):
    await place.send(*(envelope(2) for _ in range(12)))
    lease = await place.begin()
    await place.attempt(lease)
    lease = await place.again(lease)
    await place.attempt(lease)
    assert numbers(lease.job) == {"messages": 12, "events": 24}


async def test_a_job_that_had_to_stop_says_so_and_the_next_one_goes_on(place: Place):
    await place.send(*(envelope() for _ in range(25)))
    events = 0
    for turn in range(6):
        count = await place.run(most_messages=10)
        if not count.progress["messages"]:
            break
        looked_at = count.checkpoint["unread"].get("ingest", 0)
        assert looked_at >= 10 or turn
        accepted = await place.run(most_messages=10, count_job=count.id)
        told = accepted.progress
        assert told["messages"] + told["missing"] == count.progress["messages"]
        events += told["events"]
    assert events == 25
    assert await place.depths() == (25, 0)


async def test_nothing_is_accepted_that_no_job_of_this_key_has_counted(place: Place):
    await place.send(envelope())
    unfinished = await place.jobs.create(JobKind.ACCEPT, created_by="test", spec={})
    await place.jobs.request_cancel(unfinished.id)
    count = await place.run()
    await place.jobs.collection.update_one({"_id": count.id}, {"$set": {"spec.kid": "q-other"}})
    for job_id in ("no-such-job", unfinished.id, count.id):
        lease = await place.begin(count_job=job_id)
        with pytest.raises(JobFailedError, match=f"The job {job_id} "):
            await place.attempt(lease)
        await lease.finish(JobState.FAILED)
    assert await place.depths() == (0, 1)


def grows_when_it_is_signed() -> str:
    """A message that is smaller than those which a release writes: other zstd settings made it."""
    noise = os.urandom(350_000).hex().encode()
    text = b'{"action":"a","actor":{"id":"u"},"message":"%b"}' % noise
    segment = Segment("w", now_ms(), "r", "", [PackedEvent(new_id(), text)] * 3)
    packed = msgspec.msgpack.encode(Envelope(UID, [segment]))
    content = zstandard.ZstdCompressor(level=19).compress(packed)
    body = sign(content, OTHER_KEY, Purpose.INGEST, sent_at=now_ms())
    assert len(body) < MAX_MESSAGE_BYTES
    return body


HOSTILE = {
    "a uid that is no group": (Stage.STORE, envelope(uid="../x y"), 0),
    "no uid": (Stage.STORE, envelope(uid=""), 0),
    "a uid of 100,000 characters": (Stage.STORE, envelope(uid="f" * 100_000), 0),
    "ids of a uid that is no group": (
        Stage.INDEX,
        index_texts("../x y", [new_id()], OTHER_KEY)[0],
        0,
    ),
    "a message that grows past the limit": (Stage.STORE, grows_when_it_is_signed(), 3),
    "an arrival in the year 9999": (Stage.STORE, envelope(received_at=LAST_MS), 0),
    "ids signed in the year 9999": (
        Stage.INDEX,
        index_texts(UID, [new_id()], OTHER_KEY, sent_at=LAST_MS)[0],
        1,
    ),
    "ids signed past the year 9999": (
        Stage.INDEX,
        index_texts(UID, [new_id()], OTHER_KEY, sent_at=LAST_MS + 1)[0],
        0,
    ),
    "garbage under the key": (
        Stage.STORE,
        sign(b"garbage", OTHER_KEY, Purpose.INGEST, sent_at=now_ms()),
        0,
    ),
}


async def test_hostile_messages_do_not_stop_the_others(place: Place):
    honest = [envelope() for _ in range(12)]
    for number, (stage, body, _) in enumerate(HOSTILE.values()):
        await place.send(body, stage=stage)
        await place.send(*honest[number : number + 1])
    await place.send(*honest[len(HOSTILE) :])
    await place.send(*index_texts(UID, [new_id()], OTHER_KEY), stage=Stage.INDEX)

    count = await place.run()
    accepted = await place.run(count_job=count.id)

    assert count.progress["events"] == 13 + sum(events for _, _, events in HOSTILE.values())
    grown = HOSTILE["a message that grows past the limit"][2]
    assert accepted.progress["events"] == count.progress["events"] - grown
    assert accepted.progress["refused"] == count.progress["refused"] + 1
    assert (await place.depths())[0] == 12
