"""What becomes of events and messages that are not as usual (design §6)."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from ocelot_common.dead_letters import DeadLetterStore, Reason
from ocelot_common.envelope import Envelope, PackedEvent, Segment
from ocelot_common.ids import derived_id, format_id, new_id
from ocelot_common.names import new_uid, write_alias
from ocelot_common.registry.model import Isolation, Tenant
from ocelot_common.registry.store import RegistryTransaction
from ocelot_common.signed_text import Purpose, sign
from ocelot_common.stored import store_key
from ocelot_common.timestamps import now_ms
from ocelot_devstack.queues import open_sqs
from queuekit.signing import index_texts, ingest_text, key_of

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]


def text(message: str = "hello") -> bytes:
    return msgspec.json.encode(
        {"action": "document.update", "actor": {"id": "u"}, "message": message}
    )


def envelope(uid: str, *events: PackedEvent, received_at: int | None = None) -> Envelope:
    segment = Segment("writer", received_at or now_ms(), "req-1", "", list(events))
    return Envelope(uid, [segment])


async def send(running: Any, queue: str, *messages: str | Envelope) -> list[str]:
    """Send texts as they are, and envelopes as the api signs them; return the texts."""
    key = key_of(running.stack)
    bodies = [each if isinstance(each, str) else ingest_text(each, key) for each in messages]
    stack = running.stack
    url = getattr(stack.queues, queue)
    async with open_sqs(stack.sqs_endpoint_url, stack.settings.aws_env()) as sqs:
        for body in bodies:
            await sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId="test")
    return bodies


async def letters_of(running: Any, query: dict[str, Any], number: int = 1) -> list[dict[str, Any]]:
    for _ in range(1_800):
        letters = await running.database["dead_letters"].find(query).to_list()
        if len(letters) >= number:
            return letters
        await asyncio.sleep(0.1)
    pytest.fail(f"{number} dead letters of {query} never came")


def metric(exposition: str, name: str, **labels: str) -> float:
    wanted = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    match = re.search(rf"^{name}\{{{wanted}\}} (\S+)$", exposition, re.MULTILINE)
    return float(match[1]) if match else 0.0


async def outcomes(running: Any, service: str) -> dict[str, float]:
    url = next(s.probes_url for s in running.stack.services if s.spec.name == service)
    exposition = (await running.http.get(f"{url}/metrics")).text
    kinds = (
        "stored",
        "duplicate",
        "conflict",
        "permanent",
        "dropped",
        "transient",
        "indexed",
        "missing",
    )
    return {
        kind: metric(exposition, f"ocelot_{service}_events_total", outcome=kind) for kind in kinds
    }


async def until_counted(
    running: Any, service: str, before: dict[str, float], kind: str, number: int
) -> None:
    for _ in range(1_800):
        if (await outcomes(running, service))[kind] >= before[kind] + number:
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"{service} never counted {number} of {kind}")


async def test_a_message_delivered_three_times_is_stored_and_indexed_once(running: Any):
    access = await running.tenant()
    events = [PackedEvent(new_id(), text(str(number))) for number in range(50)]
    body = envelope(access.tenant.uid, *events)
    before = await outcomes(running, "consumer")

    await send(running, "ingest", body, body)
    await running.until_stored(access.tenant, 50)
    await send(running, "ingest", body)
    await until_counted(running, "consumer", before, "duplicate", 100)

    stored = await running.stored(access.tenant)
    assert sorted(event.id for event in stored) == sorted(event.id for event in events)
    indexed = await running.until_indexed(access.tenant, 50)
    assert len(indexed) == 50
    assert await running.database["dead_letters"].count_documents({"t": access.tenant.uid}) == 0


async def test_a_message_that_holds_no_envelope_is_one_letter_and_its_neighbours_are_stored(
    running: Any,
):
    access = await running.tenant()
    content = f"not an envelope {new_uid()}".encode()
    garbage = sign(content, key_of(running.stack), Purpose.INGEST, sent_at=now_ms())
    good = envelope(access.tenant.uid, PackedEvent(new_id(), text()))

    await send(running, "ingest", garbage, good, garbage)

    await running.until_stored(access.tenant, 1)
    [letter] = await letters_of(running, {"content": garbage})
    for _ in range(600):
        if letter["attempts"] == 2:
            break
        await asyncio.sleep(0.1)
        [letter] = await letters_of(running, {"content": garbage})
    assert (letter["stage"], letter["reason"], letter["attempts"]) == ("store", "malformed", 2)


async def test_an_event_that_is_none_is_a_letter_and_the_rest_of_its_envelope_is_stored(
    running: Any,
):
    access = await running.tenant()
    bad = PackedEvent(new_id(), b'{"actor":{"id":"u"},"message":"no action"}')
    good = PackedEvent(new_id(), text())

    await send(running, "ingest", envelope(access.tenant.uid, bad, good))

    [stored] = await running.until_stored(access.tenant, 1)
    assert stored.id == good.id
    [letter] = await letters_of(running, {"t": access.tenant.uid})
    assert letter["reason"] == "not_storable"
    assert letter["event_id"] == format_id(bad.id)
    assert letter["content"].encode() == bad.text


POISON = {
    "a key of the actor with NUL": b'{"action":"a","actor":{"id":"u","a\\u0000b":"c"}}',
    "a key of a target with NUL": b'{"action":"a","actor":{"id":"u"},"targets":[{"\\u0000":"c"}]}',
    "a text of 17 MB": b'{"action":"a","actor":{"id":"u"},"message":"%b"}' % (b"x" * 17_000_000),
    "a text whose fields double it": b'{"action":"%b","actor":{"id":"u"}}' % (b"x" * 9_000_000),
}


@pytest.mark.parametrize("bad", POISON.values(), ids=POISON)
async def test_what_no_document_can_hold_is_a_letter_and_ends_no_consumer(running: Any, bad: bytes):
    """Of a foreign writer on the queue: the api takes none of it."""
    access = await running.tenant()
    consumer = next(each for each in running.stack.services if each.spec.name == "consumer")
    pid = consumer.pid
    poison = PackedEvent(new_id(), bad)
    good = [PackedEvent(new_id(), text(str(number))) for number in range(20)]

    await send(running, "ingest", envelope(access.tenant.uid, *good[:10], poison, *good[10:]))

    stored = await running.until_stored(access.tenant, 20)
    assert sorted(event.id for event in stored) == sorted(event.id for event in good)
    [letter] = await letters_of(running, {"t": access.tenant.uid})
    assert (letter["reason"], letter["event_id"]) == ("not_storable", format_id(poison.id))
    assert letter["content"] == bad.decode()[:4_000_000]
    assert len(await running.until_indexed(access.tenant, 20)) == 20
    assert (consumer.running, consumer.pid) == (True, pid)


@pytest.mark.parametrize("received_at", [253_402_300_800_000, 2**63, 2**64 - 1, -1])
async def test_a_time_that_cannot_be_is_a_letter_and_ends_no_consumer(
    running: Any, received_at: int
):
    access = await running.tenant()
    bad = envelope(access.tenant.uid, PackedEvent(new_id(), text()), received_at=received_at)
    good = envelope(access.tenant.uid, PackedEvent(new_id(), text()))
    body, _ = await send(running, "ingest", bad, good)
    [letter] = await letters_of(running, {"content": body})
    assert letter["reason"] == "malformed"
    assert len(await running.until_stored(access.tenant, 1)) == 1


@pytest.mark.parametrize(
    "text_of_it",
    [None, 5, ["x"], "x" * 2_000_000, "other"],
    ids=["none", "number", "array", "long", "other"],
)
async def test_an_event_whose_id_has_a_document_of_another_form_is_a_conflict(
    running: Any, text_of_it: Any
):
    access = await running.tenant()
    space = await running.space_of(access.tenant)
    taken, free = new_id(), new_id()
    planted = {"_id": store_key(access.tenant, taken), "t": access.tenant.uid, "event": text_of_it}
    await running.database[space.collection].insert_one(planted)
    for event_id in (taken, free):
        line = {"id": format_id(event_id), "action": "a", "actor": {"id": "u"}}
        await running.post_lines(access, [json.dumps(line).encode()])
    assert [event.id for event in await running.until_stored(access.tenant, 1)] == [free]

    async def kept() -> Any:
        found = DeadLetterStore(running.database).find(uid=access.tenant.uid)
        return {letter["reason"] async for letter in found} or None

    reasons = await running.eventually(kept, what="the letter")
    assert Reason.CONFLICT in reasons


async def test_an_envelope_of_a_newer_release_waits_and_is_no_letter(running: Any):
    before = await outcomes(running, "consumer")
    newer = f"3.{new_uid()}.whatever it says"

    await send(running, "ingest", newer)

    for _ in range(600):
        exposition = await consumer_metrics(running)
        if metric(exposition, "ocelot_consumer_messages_total", result="released") > 0:
            break
        await asyncio.sleep(0.1)
    else:
        pytest.fail("the message was not released")
    assert await running.database["dead_letters"].count_documents({"content": newer}) == 0
    assert (await outcomes(running, "consumer"))["permanent"] == before["permanent"]


async def consumer_metrics(running: Any) -> str:
    url = next(s.probes_url for s in running.stack.services if s.spec.name == "consumer")
    return str((await running.http.get(f"{url}/metrics")).text)


async def test_events_of_a_tenant_that_the_registry_learns_of_later_are_stored(running: Any):
    uid = new_uid()
    event = PackedEvent(new_id(), text("early"))
    before = await outcomes(running, "consumer")
    await send(running, "ingest", envelope(uid, event))
    await until_counted(running, "consumer", before, "transient", 1)

    host = await running.tenant()
    late = msgspec.structs.replace(host.tenant, uid=uid, id=f"late-{uid}")

    async def insert(transaction: RegistryTransaction) -> None:
        await transaction.insert(late)

    await running.maker.store.write(insert)

    [stored] = await running.until_stored(late, 1)
    assert stored.id == event.id


@pytest.mark.parametrize("isolation", list(Isolation))
async def test_events_of_a_tombstone_are_dropped_and_counted(running: Any, isolation: Isolation):
    access = await running.tenant(isolation=isolation)
    await running.maker.provisioner.delete(access.tenant.id, owner="cli", now=True)
    await asyncio.sleep(3)  # the consumer reads the registry once a second
    before = await outcomes(running, "consumer")

    events = [PackedEvent(new_id(), text(str(number))) for number in range(7)]
    await send(running, "ingest", envelope(access.tenant.uid, *events))

    await until_counted(running, "consumer", before, "dropped", 7)
    assert await running.stored(access.tenant) == []


async def test_events_older_than_the_cutoff_are_dropped_by_consumer_and_indexer(running: Any):
    access = await running.tenant()
    old = now_ms() - 300_000  # and so short a time past the cutoff that no purge takes it
    await send(
        running,
        "ingest",
        envelope(access.tenant.uid, PackedEvent(new_id(), text("kept")), received_at=old),
    )
    await running.until_indexed(access.tenant, 1)
    await set_purged_before(running, access.tenant, datetime.now(UTC) - timedelta(minutes=2))
    before = await outcomes(running, "consumer")
    index_before = await outcomes(running, "indexer")

    late = PackedEvent(new_id(), text("too late"))
    await send(running, "ingest", envelope(access.tenant.uid, late, received_at=old))
    [first] = await running.stored(access.tenant)
    await send(running, "index", *index_texts(access.tenant.uid, [first.id], key_of(running.stack)))

    await until_counted(running, "consumer", before, "dropped", 1)
    await until_counted(running, "indexer", index_before, "dropped", 1)
    assert len(await running.stored(access.tenant)) == 1
    hidden = await running.http.get(f"/api/v1/logs/{format_id(first.id)}", headers=access.reader)
    assert hidden.status_code == 404
    searched = await running.http.get("/api/v1/logs", headers=access.reader)
    assert searched.json()["total"]["value"] == 0


async def set_purged_before(running: Any, tenant: Tenant, moment: datetime) -> None:
    async def work(transaction: RegistryTransaction) -> None:
        row = await transaction.get(Tenant, tenant.uid)
        assert row is not None
        await transaction.replace(msgspec.structs.replace(row, purged_before=moment))

    await running.maker.store.write(work)
    await asyncio.sleep(5)  # every process reads the registry once a second


async def test_an_id_that_is_not_stored_is_given_back_and_not_indexed(running: Any):
    access = await running.tenant()
    await running.post_lines(access, [text()])
    [stored] = await running.until_stored(access.tenant, 1)
    ghost = derived_id("ghost", access.tenant.uid.encode())

    await send(
        running, "index", *index_texts(access.tenant.uid, [ghost, stored.id], key_of(running.stack))
    )

    assert await running.until_indexed(access.tenant, 1) == [format_id(stored.id)]
    assert await running.database["dead_letters"].count_documents({"t": access.tenant.uid}) == 0


@pytest.mark.usefixtures("jobs_stopped")
async def test_what_opensearch_refuses_is_a_letter_and_the_rest_is_searchable(running: Any):
    access = await running.tenant()
    space = await running.space_of(access.tenant)
    entry = space.range_at(datetime.now(UTC))
    await running.post_lines(access, [text()])
    await running.until_indexed(access.tenant, 1)  # the indexer knows the index by now
    # An index with a mapping that some events do not fit takes the place of ours in one step. The
    # jobs would find ours missing.
    hostile = f"{entry.index}_hostile"
    await running.search.indices.create(
        index=hostile,
        body={
            "mappings": {
                "dynamic": False,
                "properties": {
                    "id": {"type": "keyword"},
                    "t": {"type": "keyword"},
                    "action": {"type": "integer"},
                },
            },
        },
    )
    names = (entry.index, write_alias(entry.index))
    await running.search.indices.update_aliases(
        body={
            "actions": [
                {"remove_index": {"index": entry.index}},
                *({"add": {"index": hostile, "alias": name}} for name in names),
            ]
        }
    )
    lines = [
        msgspec.json.encode({"action": action, "actor": {"id": "u"}})
        for action in ("17", "not.a.number", "18")
    ]
    posted = await running.post_lines(access, lines)
    ids = posted.json()["ids"]

    [letter] = await letters_of(running, {"t": access.tenant.uid})
    assert (letter["stage"], letter["reason"]) == ("index", "not_indexable")
    assert letter["event_id"] == ids[1]
    assert json.loads(letter["content"]) == json.loads(lines[1])
    assert sorted(await running.until_indexed(access.tenant, 2)) == sorted([ids[0], ids[2]])
    assert len(await running.stored(access.tenant)) == 4


async def test_an_index_of_somebody_elses_where_ours_was_ends_no_indexer(running: Any):
    access = await running.tenant()
    entry = (await running.space_of(access.tenant)).range_at(datetime.now(UTC))
    foreign = f"{entry.index}_foreign"
    await running.search.indices.create(index=foreign)
    await running.search.indices.update_aliases(
        body={
            "actions": [
                {"remove_index": {"index": entry.index}},
                {"add": {"index": foreign, "alias": entry.alias}},
            ]
        }
    )
    await running.post_lines(access, [text()])
    await running.until_stored(access.tenant, 1)
    await asyncio.sleep(3)  # the indexer finds the index to be none of ours
    other = await running.tenant()
    await running.post_lines(other, [text()])
    await running.until_indexed(other.tenant, 1)
    # Once it is gone, ours is made again.
    await running.search.indices.delete(index=foreign)

    async def made_again() -> bool:
        ranges = (await running.space_of(access.tenant)).indices
        there = [await running.search.indices.exists(index=each.index) for each in ranges]
        return all(there)

    await running.eventually(made_again, what="the index")
    await running.until_indexed(access.tenant, 1)


@pytest.mark.usefixtures("jobs_stopped")
async def test_an_index_deleted_behind_the_services_back_is_made_again_and_marked(running: Any):
    access = await running.tenant()
    await running.post_lines(access, [text("before")])
    await running.until_indexed(access.tenant, 1)
    space = await running.space_of(access.tenant)
    entry = space.range_at(datetime.now(UTC))
    await running.search.indices.delete(index=entry.index)

    missing = await running.http.get("/api/v1/logs", headers=access.reader)
    assert missing.json()["total"]["value"] == 1
    assert missing.json()["backend"] == "mongodb"
    await running.post_lines(access, [text("after")])
    await running.until_stored(access.tenant, 2)
    for _ in range(1_200):
        again = (await running.space_of(access.tenant)).range_at(datetime.now(UTC))
        if again.index != entry.index and again.building:
            break
        await asyncio.sleep(0.1)
    else:
        pytest.fail("the index was not made again")

    for _ in range(10):
        answer = await running.http.get("/api/v1/logs", headers=access.reader)
        assert answer.json()["total"]["value"] == 2
        assert answer.json()["backend"] == "mongodb"
        await asyncio.sleep(0.2)
