"""Whoever can send to a queue and has no key changes nothing.

Forged messages are sent between honest ones, all at once for each queue. Then each is looked for in
the dead letter queue.
"""

import asyncio
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from ocelot_common.dead_letters import DeadLetterStore, Reason
from ocelot_common.envelope import Envelope, PackedEvent, Segment
from ocelot_common.ids import new_id
from ocelot_common.queue.sending import Outgoing, send_call
from ocelot_common.signed_text import Purpose
from ocelot_common.timestamps import now_ms
from ocelot_devstack.queues import open_sqs
from queuekit.forgery import BULK_LINES, PLANTED, forged_messages
from queuekit.signing import index_texts, ingest_text, key_of

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

TEXT = b'{"action":"doc.read","actor":{"id":"u"}}'
HONEST = 30
#: Of a worker (docs/operations/guarantees.md).
MAX_MEMORY_BYTES = 400 * 1024 * 1024


class Aftermath(NamedTuple):
    """What is found after forged messages were sent between honest ones.

    Attributes:
        forged: by what is wrong with them.
        dead: the `moved` attribute of every message in the dead letter queue, by its text.
        expected: ids of the honest events.
        stored: ids of the tenant's events in MongoDB.
        indexed: ids of the tenant's events in OpenSearch, as text.
        pids: the worker's process ids before and after.
        peak_bytes: the most memory that the worker ever had.
    """

    forged: dict[str, str]
    dead: dict[str, str]
    expected: set[bytes]
    stored: list[bytes]
    indexed: list[str]
    pids: tuple[int, int]
    peak_bytes: int


def names(purpose: Purpose) -> list[str]:
    uid = "0" * 16
    envelope = Envelope(uid, [])
    texts = ingest_text(envelope), index_texts(uid, [bytes(16)])[0]
    honest, other = texts if purpose is Purpose.INGEST else texts[::-1]
    return list(forged_messages(uid, purpose, "k1", honest, other))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ingest(running: Any) -> Aftermath:
    return await aftermath(running, Purpose.INGEST)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def index(running: Any) -> Aftermath:
    return await aftermath(running, Purpose.INDEX)


async def aftermath(running: Any, purpose: Purpose) -> Aftermath:
    access = await running.tenant()
    uid, key = access.tenant.uid, key_of(running.stack)
    service, name = ("consumer", "ingest") if purpose is Purpose.INGEST else ("indexer", "index")
    worker = next(each for each in running.stack.services if each.spec.name == service)
    pid = worker.pid
    events = [PackedEvent(new_id(), TEXT) for _ in range(HONEST)]
    envelopes = [
        ingest_text(Envelope(uid, [Segment("w", now_ms(), "r", "", [event])]), key)
        for event in events
    ]
    ids = index_texts(uid, [event.id for event in events], key)
    honest = (envelopes[0], ids[0]) if purpose is Purpose.INGEST else (ids[0], envelopes[0])
    forged = forged_messages(uid, purpose, key.kid, *honest)
    # The collector would hide messages for a while each time that it looks at them.
    await running.stack.stop_services("jobs")
    try:
        queues = running.stack.queues.as_dict()
        async with open_sqs(
            running.stack.sqs_endpoint_url, running.stack.settings.aws_env()
        ) as sqs:
            if purpose is Purpose.INDEX:
                await send(sqs, queues["ingest"], envelopes)
                mixed = [*forged.values(), *ids, *forged.values()]
            else:
                pairs = zip(forged.values(), [*envelopes, *envelopes], strict=False)
                mixed = [each for pair in pairs for each in pair]
                mixed += list(forged.values())[len(envelopes) * 2 :]
            await send(sqs, queues[name], mixed)
            await running.until_stored(access.tenant, HONEST)
            await running.until_indexed(access.tenant, HONEST)
            dead = await moved(running, sqs, queues[f"{name}_dlq"], set(forged.values()))
            await running.eventually(
                lambda: is_empty(sqs, queues[name]), what=f"an empty {name} queue"
            )
            stored = [event.id for event in await running.stored(access.tenant)]
            indexed = await running.indexed_ids(access.tenant)
            found = Aftermath(
                forged,
                dead,
                {event.id for event in events},
                stored,
                indexed,
                (pid, worker.pid),
                peak_bytes(worker.pid),
            )
            await sqs.purge_queue(QueueUrl=queues[f"{name}_dlq"])
    finally:
        await (await running.stack.start_service("jobs")).wait_ready(180)
    return found


async def send(sqs: Any, url: str, bodies: list[str]) -> None:
    for body in bodies:  # a call each: the largest fills one
        assert await send_call(sqs, url, [Outgoing(body, "test")]) == []


async def is_empty(sqs: Any, url: str) -> bool:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    answer = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)
    return all(answer["Attributes"][name] == "0" for name in names)


async def moved(running: Any, sqs: Any, url: str, wanted: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}

    async def all_there() -> bool:
        answer = await sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], WaitTimeSeconds=1
        )
        for message in answer.get("Messages", []):
            given = message.get("MessageAttributes", {})
            found[message["Body"]] = given.get("moved", {}).get("StringValue", "")
        return wanted <= found.keys()

    await running.eventually(all_there, timeout_sec=300, what="forged messages in the DLQ")
    return found


def peak_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123
        [line] = [line for line in status if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("name", names(Purpose.INGEST))
def test_a_forged_message_of_the_ingest_queue_is_moved(ingest: Aftermath, name: str):
    assert ingest.dead[ingest.forged[name]] == "forged"


@pytest.mark.parametrize("name", names(Purpose.INDEX))
def test_a_forged_message_of_the_index_queue_is_moved(index: Aftermath, name: str):
    assert index.dead[index.forged[name]] == "forged"


@pytest.mark.parametrize("queue", ["ingest", "index"])
def test_around_forged_messages_exactly_the_honest_events_are_stored_and_indexed(
    request: pytest.FixtureRequest, queue: str
):
    found: Aftermath = request.getfixturevalue(queue)
    assert len(found.forged) >= 40
    assert set(found.stored) == found.expected
    assert len(found.stored) == len(found.indexed) == HONEST


@pytest.mark.parametrize("queue", ["ingest", "index"])
def test_forged_messages_end_no_worker_and_cost_little_memory(
    request: pytest.FixtureRequest, queue: str
):
    found: Aftermath = request.getfixturevalue(queue)
    assert found.pids[0] == found.pids[1]
    assert found.peak_bytes < MAX_MEMORY_BYTES


async def test_a_forged_message_becomes_a_notice_and_stays(running: Any):
    access = await running.tenant()
    segment = Segment("w", now_ms(), "r", "", [PackedEvent(new_id(), PLANTED)])
    body = ingest_text(Envelope(access.tenant.uid, [segment]))
    letters = DeadLetterStore(running.database)
    stack = running.stack
    async with open_sqs(stack.sqs_endpoint_url, stack.settings.aws_env()) as sqs:
        await send(sqs, stack.queues.ingest, [body])

        async def noticed() -> dict[str, Any] | None:
            found = [each async for each in letters.find(uid="") if each["content"] == body]
            return found[0] if found else None

        notice = await running.eventually(noticed, what="the notice")
        assert (notice["reason"], notice["t"]) == (Reason.UNAUTHENTICATED, "")
        await asyncio.sleep(5)  # passes of the collector
        [same] = [each async for each in letters.find(uid="") if each["content"] == body]
        assert same["attempts"] == 1
        dead = await moved(running, sqs, stack.queues.ingest_dlq, {body})
        assert dead[body] == "forged"
        await sqs.purge_queue(QueueUrl=stack.queues.ingest_dlq)
    assert await running.stored(access.tenant) == []


async def test_a_key_holder_cannot_plant_lines_of_a_bulk_request(running: Any):
    """Defence in depth: what an api with a defect could send."""
    victim, access = await running.tenant(), await running.tenant()
    [kept] = (await running.post_lines(victim, [TEXT])).json()["ids"]
    await running.until_indexed(victim.tenant, 1)
    space = await running.space_of(victim.tenant)
    lines = BULK_LINES % (space.indices[0].write_aliases[0].encode(), kept.encode())
    good = PackedEvent(new_id(), TEXT)
    segment = Segment("w", now_ms(), "r", "", [PackedEvent(new_id(), lines), good])
    body = ingest_text(Envelope(access.tenant.uid, [segment]), key_of(running.stack))
    stack = running.stack
    async with open_sqs(stack.sqs_endpoint_url, stack.settings.aws_env()) as sqs:
        await send(sqs, stack.queues.ingest, [body])

    assert len(await running.until_indexed(access.tenant, 1)) == 1
    assert [event.id for event in await running.stored(access.tenant)] == [good.id]
    assert await running.indexed_ids(victim.tenant) == [kept]
    [letter] = [
        each async for each in DeadLetterStore(running.database).find(uid=access.tenant.uid)
    ]
    assert (letter["reason"], letter["content"]) == (Reason.NOT_STORABLE, lines.decode())
