"""Tens of thousands of forged messages beside honest events, on two consumers."""

import asyncio
import random
from collections.abc import Iterator

import httpx
import pytest

from faultkit.harness import Access, Harness, holds
from ocelot_common.envelope import Envelope, PackedEvent, Segment
from ocelot_common.ids import new_id
from ocelot_common.queue.moving import send_each
from ocelot_common.queue.sending import Outgoing
from ocelot_common.signed_text import QueueKey
from ocelot_common.timestamps import now_ms
from queuekit.signing import OTHER_KEY, ingest_text, key_of

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

MONGODB_LATE = '{"status": "unavailable", "causes": {"mongodb": "TimeoutError: "}}'
PLANTED = b'{"action":"planted","actor":{"id":"mallory"}}'


def forged(uid: str, kid: str, number: int) -> Iterator[Outgoing]:
    """Messages under the key in use, under a key that nobody has, and of no form at all."""
    keys = [QueueKey(kid, OTHER_KEY.secret), OTHER_KEY]
    segment = Segment("admin", now_ms(), "r", "", [PackedEvent(new_id(), PLANTED)])
    for count in range(number):
        if count % 3 == 2:
            yield Outgoing(f"garbage {count}", "forged")
            continue
        segment.events = [PackedEvent(new_id(), PLANTED)]
        yield Outgoing(ingest_text(Envelope(uid, [segment]), keys[count % 3]), "forged")


@pytest.mark.one_round  # two minutes on a quiet machine; the seed changes honest events only
async def test_forged_messages_neither_stop_a_worker_nor_hold_honest_events_back(
    faults: Harness, tenants: list[Access], rng: random.Random, seed: int
):
    messages, events = (50_000, 5_000) if faults.long else (2_000, 500)
    dlq = faults.stack.queues.ingest_dlq
    second = await faults.start("consumer")
    consumers = [faults.services["consumer"], second]
    probes: list[str] = []
    watching = asyncio.create_task(watch(faults, [c.probes_url for c in consumers], probes))
    try:
        kid = key_of(faults.stack).kid
        planted = list(forged(tenants[0].tenant.uid, kid, messages))
        sent, _ = await asyncio.gather(
            send_each(faults.sqs, faults.stack.queues.ingest, planted),
            faults.deliver(tenants, rng, events),
        )
        assert all(sent)
        await faults.check(tenants, f"seed {seed}: {messages} forged messages")

        async def all_moved() -> bool:
            return (await faults.depth("ingest_dlq")).total >= messages

        assert await holds(all_moved, timeout_sec=600, every_sec=1.0)
        # Nothing starts a process again here.
        assert [consumer.returncode for consumer in consumers] == [None, None]
        assert not watching.done(), "the probes were asked until the end"
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await second.stop()
        await faults.sqs.purge_queue(QueueUrl=dlq)
    assert len(probes) >= 2
    # The quick form runs beside other tests, and a busy machine may let MongoDB answer late.
    late = {probe for probe in probes if probe == MONGODB_LATE and not faults.long}
    assert set(probes) - late == {"ready"}


async def watch(faults: Harness, urls: list[str], probes: list[str]) -> None:
    """Note what every probe of every consumer says; one without an answer is not ready, either."""
    while True:
        for url in urls:
            try:
                answer = await faults.http.get(f"{url}/readyz")
            except httpx.HTTPError as error:
                probes.append(repr(error))
            else:
                probes.append("ready" if answer.status_code == 200 else answer.text)
        await asyncio.sleep(0.2)
