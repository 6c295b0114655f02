"""Messages that come twice, out of order, again, too early, or from a newer release (design §6)."""

import asyncio
import json
import random
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from faultkit.events import text_of
from faultkit.harness import Access, Harness, holds
from ocelot_common import signed_text
from ocelot_common.envelope import Envelope, PackedEvent, Segment
from ocelot_common.ids import format_id, new_id, parse_id
from ocelot_common.registry.model import Isolation
from ocelot_common.signed_text import QueueKey
from ocelot_common.timestamps import now_ms
from ocelot_devstack.services import ServiceSpec
from queuekit.signing import index_texts, ingest_text, key_of

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]


def event(access: Access, message: str) -> dict[str, Any]:
    return {
        "action": "document.update",
        "actor": {"id": "u"},
        "message": message,
        "metadata": {"of": access.tenant.id},
    }


def packed(access: Access, *messages: str) -> list[PackedEvent]:
    """Events of one tenant, noted as acknowledged."""
    events = [PackedEvent(new_id(), text_of(event(access, message))) for message in messages]
    for each in events:
        access.ledger.acknowledge(format_id(each.id), each.text)
    return events


def envelope(access: Access, *events: PackedEvent) -> Envelope:
    segment = Segment("writer", now_ms(), "req-1", "", list(events))
    return Envelope(access.tenant.uid, [segment])


async def send(faults: Harness, queue: str, messages: Sequence[str | Envelope]) -> None:
    """Send texts as they are, and envelopes as the api signs them."""
    key = key_of(faults.stack)
    bodies = [each if isinstance(each, str) else ingest_text(each, key) for each in messages]
    url = faults.stack.queues.as_dict()[queue]
    for body in bodies:
        await faults.sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId="test")


@pytest.mark.one_round
async def test_messages_that_come_often_and_in_any_order_change_nothing(
    faults: Harness, tenants: list[Access], rng: random.Random, seed: int
):
    bodies = []
    for access in tenants:
        for number in range(10):
            events = packed(access, *(f"{number}-{n}" for n in range(30)))
            bodies.append(envelope(access, *events))
            # Another envelope with some of the same, as after a send of which nothing was heard.
            bodies.append(envelope(access, *rng.sample(events, 7), *packed(access, f"{number}+")))
    once = [body for body in bodies for _ in range(rng.randint(1, 3))]
    rng.shuffle(once)
    await send(faults, "ingest", once)
    await faults.settle(tenants)
    await send(faults, "ingest", rng.sample(bodies, 30))  # again, after all was stored
    index_again = [
        body
        for access in tenants
        for body in index_texts(
            access.tenant.uid,
            [parse_id(i) for i in list(access.ledger.acknowledged)[::2]],
            key_of(faults.stack),
        )
    ]
    await send(faults, "index", index_again * 2)
    await faults.until_idle()
    await faults.check(
        tenants, f"seed {seed}: {len(once) + 30} deliveries of {len(bodies)} messages"
    )


async def test_each_conflicting_event_is_one_letter_with_its_content_and_the_rest_is_found(
    faults: Harness, tenants: list[Access]
):
    conflicts: dict[str, dict[str, Any]] = {}
    for access in tenants:
        first = packed(access, *(f"first {number}" for number in range(20)))
        await send(faults, "ingest", [envelope(access, *first)])
    await faults.settle(tenants)
    for access in tenants:
        taken = [parse_id(i) for i in list(access.ledger.acknowledged)[::4]]
        others = [PackedEvent(i, text_of(event(access, f"other {i.hex()}"))) for i in taken]
        for other in others:
            conflicts[f"{access.tenant.uid}{format_id(other.id)}"] = json.loads(other.text)
        rest = packed(access, *(f"rest {number}" for number in range(20)))
        mixed = [event for pair in zip(others, rest, strict=False) for event in pair]
        body = envelope(access, *mixed, *rest[len(others) :])
        await send(faults, "ingest", [body, body])
    await faults.settle(tenants)
    verdict = await faults.verdict(tenants)
    assert verdict.clean, verdict.samples()
    uids = [access.tenant.uid for access in tenants]
    letters = await faults.database["dead_letters"].find({"t": {"$in": uids}}).to_list()
    found = {letter["t"] + letter["event_id"]: json.loads(letter["content"]) for letter in letters}
    assert found == conflicts
    assert len(letters) == len(conflicts)
    assert {letter["reason"] for letter in letters} == {"conflict"}


async def test_events_of_a_tenant_that_the_consumer_has_not_heard_of_are_stored(faults: Harness):
    """The api knows a new tenant before the consumer does: the registry is asked, not believed."""
    consumer = faults.services["consumer"]
    consumer.pause()
    made = [await faults.tenant(), await faults.tenant()]
    try:
        for access in made:
            await faults.deliver([access], random.Random(access.tenant.id), 200)
        consumer.resume()
        await faults.check(made, "two tenants new to the consumer")
    finally:
        await faults.restore()
        for access in made:
            await faults.maker.provisioner.delete(access.tenant.id, owner="cli", now=True)


# Readers of a version ship one release before its writers, so it reads version 3 and writes 2.
NEXT_RELEASE = """
from ocelot_common import index_message, signed_text
from ocelot_consumer.main import main

def sign(*args, **more):
    signed_text.VERSION = 2
    try:
        return signed_text.sign(*args, **more)
    finally:
        signed_text.VERSION = 3

signed_text.VERSION = 3
index_message.sign = sign
main()
"""


async def test_an_envelope_of_a_newer_release_waits_until_a_consumer_can_read_it(
    faults: Harness, tenants: list[Access]
):
    access = tenants[0]
    spec = ServiceSpec("consumer-next", (sys.executable, "-c", NEXT_RELEASE))
    faults.stack.specs[spec.name] = spec
    made = envelope(access, *packed(access, "from the next release"))
    await send(faults, "ingest", [_of_next_release(made, key_of(faults.stack))])
    before = await faults.metric("consumer", "ocelot_consumer_messages_total", result="released")

    async def released() -> bool:
        name = "ocelot_consumer_messages_total"
        return await faults.metric("consumer", name, result="released") > before

    assert await holds(released, timeout_sec=120)
    await faults.services["consumer"].stop()  # the rollout goes on
    assert (await faults.depth("ingest")).total == 1
    assert await faults.stored_count([access]) == 0
    newer = await faults.start(spec.name)
    await faults.check(tenants, "an envelope of the next release")
    await newer.stop()


def _of_next_release(made: Envelope, key: QueueKey) -> str:
    """A message of version 3, which is version 2 under another number."""
    before = signed_text.VERSION
    signed_text.VERSION = before + 1
    try:
        return ingest_text(made, key)
    finally:
        signed_text.VERSION = before


@pytest.mark.long
async def test_ids_that_come_before_their_events_are_indexed_once_these_are_stored(
    faults: Harness, tenants: list[Access]
):
    access = tenants[0]
    events = packed(access, "one", "two")
    await send(
        faults,
        "index",
        index_texts(access.tenant.uid, [e.id for e in events], key_of(faults.stack)),
    )
    await asyncio.sleep(2)
    await send(faults, "ingest", [envelope(access, *events)])
    await faults.check(tenants, "ids before their events")


async def test_a_tenant_deleted_for_good_under_load_leaves_nothing_and_harms_no_other(
    faults: Harness, tenants: list[Access]
):
    dedicated = await faults.tenant()
    shared = await faults.tenant(isolation=Isolation.SHARED)
    doomed = [dedicated, shared]
    space = await faults.space_of(dedicated.tenant)
    before = await faults.metric("consumer", "ocelot_consumer_events_total", outcome="dropped")
    faults.services["consumer"].pause()
    await faults.deliver([*tenants, *doomed], random.Random(9), 1_200)
    lost = sum(len(access.ledger.acknowledged) for access in doomed)
    for access in doomed:
        await faults.maker.provisioner.delete(access.tenant.id, owner="cli", now=True)
    faults.services["consumer"].resume()
    await faults.check(tenants, "two tenants deleted with their events in the queue")
    dropped = (
        await faults.metric("consumer", "ocelot_consumer_events_total", outcome="dropped") - before
    )
    assert dropped == lost
    assert space.collection not in await faults.database.list_collection_names()
    assert await faults.stored_count([shared]) == 0
