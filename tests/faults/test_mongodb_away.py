"""MongoDB away, silent or killed: nothing is received meanwhile, and nothing is lost."""

import asyncio
import random
import time

import pytest

from faultkit.harness import Access, Harness, holds

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

#: A message may be in hand when the store goes, and be received once more by a poll that was open.
MAX_RECEIVES = 4
RELEASED = "ocelot_consumer_messages_total"


@pytest.mark.parametrize("how", ["stopped", pytest.param("silent", marks=pytest.mark.long)])
async def test_while_mongodb_is_away_the_consumer_receives_nothing_and_writes_go_on(
    faults: Harness, tenants: list[Access], how: str
):
    proxy = faults.proxies["mongodb"]
    away_sec = 60 if faults.long else 12
    rng = random.Random(how)
    events = 8_000 if faults.long else 1_000
    load = asyncio.create_task(faults.deliver(tenants, rng, events, over_sec=4))
    await asyncio.sleep(1.0)
    if how == "stopped":
        await proxy.refuse()
    else:
        proxy.blackhole()
    began = time.monotonic()

    async def holds_back() -> bool:
        return await faults.metric("consumer", "ocelot_consumer_receiving") == 0.0

    assert await holds(holds_back, timeout_sec=120)

    async def all_given_back() -> bool:
        return (await faults.depth("ingest")).in_flight == 0

    # Polls that were open end, and what is in hand is given back once a first batch has failed.
    assert await holds(all_given_back, timeout_sec=240)
    released = await faults.metric("consumer", RELEASED, result="released")
    answers = await load + await faults.deliver(tenants, rng, events)
    assert set(answers) == {"202"}, "a write needs no MongoDB"
    await asyncio.sleep(max(0.0, began + away_sec - time.monotonic()))
    assert await faults.metric("consumer", RELEASED, result="released") == released
    assert await holds_back()
    counts = await receive_counts(faults)
    assert len(counts) > 8, "nothing waited"
    assert max(counts) <= MAX_RECEIVES

    await proxy.heal()
    await faults.check(
        tenants,
        f"MongoDB {how} for {away_sec} s: {len(counts)} messages waited,"
        f" none received more than {max(counts) - 1} times",
    )


async def receive_counts(faults: Harness) -> list[int]:
    """How often the waiting messages were handed out, this time included."""
    counts: dict[str, int] = {}
    for _ in range(60):
        answer = await faults.sqs.receive_message(
            QueueUrl=faults.stack.queues.ingest,
            MaxNumberOfMessages=10,
            VisibilityTimeout=5,  # not the same ones again
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        messages = answer.get("Messages", [])
        if not messages:
            break
        for message in messages:
            count = int(message["Attributes"]["ApproximateReceiveCount"])
            counts.setdefault(message["MessageId"], count)
    return list(counts.values())


@pytest.mark.one_round
async def test_the_primary_killed_during_inserts_loses_and_doubles_nothing(
    faults: Harness, tenants: list[Access], rng: random.Random, seed: int
):
    process = faults.stack.backends.mongodb.process
    if process is None:
        pytest.skip("somebody else's MongoDB can't be killed")
    events = 20_000 if faults.long else 2_000
    load = asyncio.create_task(
        faults.deliver(tenants, rng, events, over_sec=20 if faults.long else 6)
    )
    kills = 0
    for _ in range(4 if faults.long else 2):
        await asyncio.sleep(rng.uniform(0.5, 3.0))
        await process.kill()
        kills += 1
        await asyncio.sleep(rng.uniform(0.0, 1.5))
        await process.start()
        await process.wait_ready(240)
    answers = await load
    await faults.check(
        tenants, f"seed {seed}: mongod killed {kills} times; answers {dict(answers)}"
    )
