"""`ocelot dead-letters` on a real installation."""

import asyncio
import json
import re
import secrets
from datetime import timedelta
from typing import Any

import bson
import msgspec
import pytest
from bson import Decimal128, ObjectId
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument

from ocelot_common.dead_letters import DeadLetter, DeadLetterStore, Reason, Stage
from ocelot_common.envelope import Envelope, Origin, PackedEvent, Segment
from ocelot_common.ids import format_id, new_id
from ocelot_common.mongo import events_of
from ocelot_common.provisioning.tenants import Provisioner
from ocelot_common.queue.sending import Outgoing, send_all
from ocelot_common.signed_text import Purpose, sign
from ocelot_common.stored import build_document
from ocelot_common.timestamps import now_ms
from ocelot_devstack.queues import open_sqs
from queuekit.signing import OTHER_KEY, ingest_text, key_of

TEXT = b'{"action":"doc.read","actor":{"id":"u"}}'

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]


def event(event_id: str, message: str) -> bytes:
    return json.dumps(
        {"id": event_id, "action": "a.b", "actor": {"id": "jane"}, "message": message}
    ).encode()


@pytest.fixture
def letters_of(ocelot: Any) -> Any:
    async def of(tenant: Any) -> list[dict[str, Any]]:
        listed = await ocelot.ok("dead-letters", "list", "--tenant", tenant.id, "--json")
        found: list[dict[str, Any]] = listed.events
        return found

    return of


@pytest.fixture
def until_letter(running: Any) -> Any:
    """Waits for a tenant's letter that was seen so often."""

    async def wait(tenant: Any, attempts: int = 1) -> dict[str, Any]:
        async with asyncio.timeout(180):
            while True:
                async for letter in DeadLetterStore(running.database).find(uid=tenant.uid):
                    if letter["attempts"] >= attempts:
                        return letter
                await asyncio.sleep(0.1)

    return wait


@pytest.fixture
def conflict(running: Any, ocelot: Any, tokens: Any, until_letter: Any) -> Any:
    """Provokes one: an event, then other content under its id."""

    async def provoke(access: Any, event_id: str) -> str:
        await ocelot.ok("send", stdin=event(event_id, "the first"), **tokens(access))
        await running.until_stored(access.tenant, 1)
        await ocelot.ok("send", stdin=event(event_id, "the second"), **tokens(access))
        letter = await until_letter(access.tenant)
        return str(letter["_id"])

    return provoke


async def test_a_conflict_is_listed_shown_and_stored_beside_once_with_an_id_of_its_own(
    running: Any, ocelot: Any, conflict: Any, letters_of: Any, until_drained: Any
):
    access = await running.tenant()
    event_id = format_id(new_id())
    key = await conflict(access, event_id)

    [letter] = await letters_of(access.tenant)
    assert (letter["_id"], letter["stage"], letter["reason"]) == (key, "store", "conflict")
    assert letter["event_id"] == event_id
    table = await ocelot.ok("dead-letters", "list", "--tenant", access.tenant.id)
    assert key[:12] in table.out
    assert access.tenant.id in table.out
    shown = json.loads((await ocelot.ok("dead-letters", "show", key[:12])).out)
    assert json.loads(shown["content"])["message"] == "the second"

    left = await ocelot.ok("dead-letters", "retry", key)
    assert "--new-id" in left.err
    assert left.err.splitlines()[-1].startswith("1 ")
    assert [each["_id"] for each in await letters_of(access.tenant)] == [key]
    assert len(await running.stored(access.tenant)) == 1

    assert "1 sent again" in (await ocelot.ok("dead-letters", "retry", "--new-id", key)).err
    first, second = await running.until_stored(access.tenant, 2)
    beside = second if format_id(first.id) == event_id else first
    assert json.loads(beside.text)["message"] == "the second"
    assert format_id(beside.id)[14] == "8"
    assert await letters_of(access.tenant) == []
    gone = await ocelot("dead-letters", "retry", "--new-id", key)
    assert (gone.status, key in gone.err) == (4, True)

    # The same fault again is the same letter, and its retry the same event.
    assert await conflict(access, event_id) == key
    await ocelot.ok("dead-letters", "retry", "--new-id", "--all", "--tenant", access.tenant.id)
    await until_drained()
    assert {each.id for each in await running.stored(access.tenant)} == {first.id, second.id}
    assert len(await running.until_indexed(access.tenant, 2)) == 2
    assert await letters_of(access.tenant) == []


async def test_a_retry_keeps_the_time_of_arrival(
    running: Any, ocelot: Any, conflict: Any, letters_of: Any
):
    access = await running.tenant()
    key = await conflict(access, format_id(new_id()))
    [letter] = await letters_of(access.tenant)
    await asyncio.sleep(0.05)

    await ocelot.ok("dead-letters", "retry", "--new-id", key)

    stored = await running.until_stored(access.tenant, 2)
    [again] = [each for each in stored if json.loads(each.text)["message"] == "the second"]
    shown = letter["received_at"].replace("+00:00", "Z")
    answer = await running.http.get(f"/api/v1/logs/{format_id(again.id)}", headers=access.reader)
    assert answer.json()["received_at"][:23] == shown[:23]


async def test_discarded_letters_are_gone_and_the_store_is_left_alone(
    running: Any, ocelot: Any, conflict: Any, letters_of: Any
):
    access = await running.tenant()
    key = await conflict(access, format_id(new_id()))

    kept = await ocelot("dead-letters", "discard", key, stdin=b"n\n")
    assert kept.status == 1
    assert len(await letters_of(access.tenant)) == 1
    forgotten = await ocelot.ok("dead-letters", "discard", key[:10], "--yes")

    assert "1 dead letter" in forgotten.err
    assert await letters_of(access.tenant) == []
    assert len(await running.stored(access.tenant)) == 1


async def test_a_hold_keeps_dead_letters_from_discard_and_retry(
    running: Any, ocelot: Any, letters_of: Any
):
    held, other = await running.tenant(), await running.tenant()
    placed = await ocelot.ok("holds", "place", held.tenant.id, "--reason", "case 4711")
    hold_id = placed.err.split()[-3]
    provisioner = Provisioner(running.maker.store, None, retention_delay=timedelta(0))
    await provisioner.update(held.tenant.id, owner="cli", retention_days=30)
    past_retention, present = [
        DeadLetter(
            stage=Stage.STORE,
            reason=Reason.NOT_STORABLE,
            uid=access.tenant.uid,
            event_id=new_id(),
            content=TEXT,
            detail="test",
            received_at=received_at,
        )
        for access, received_at in ((held, 0), (other, now_ms()))
    ]
    await DeadLetterStore(running.database).put([past_retention, present])

    refused = await ocelot("dead-letters", "discard", "--yes", present.key, past_retention.key)
    assert refused.status == 1
    assert f"tenant {held.tenant.id} has a legal hold" in refused.err
    retried = await ocelot.ok("dead-letters", "retry", past_retention.key)
    assert "1 kept: the tenant has a legal hold" in retried.err
    assert len(await letters_of(held.tenant)) == len(await letters_of(other.tenant)) == 1

    await provisioner.update(held.tenant.id, owner="cli", retention_days=None)
    await ocelot.ok("holds", "lift", hold_id)
    discarded = await ocelot.ok("dead-letters", "discard", "--yes", present.key, past_retention.key)
    assert "2 dead letters" in discarded.err
    assert await letters_of(held.tenant) == await letters_of(other.tenant) == []


async def test_a_retry_of_what_the_index_refused_indexes_it_again(
    running: Any, ocelot: Any, letters_of: Any
):
    access = await running.tenant()
    space = await running.space_of(access.tenant)
    # Stored past the queues, so that nothing else indexes it.
    document = build_document(
        access.tenant,
        new_id(),
        b'{"action":"a.b","actor":{"id":"jane"}}',
        received_at=now_ms(),
        writer="test",
        with_attrs=False,
    )
    await events_of(running.database, space.collection).insert_one(document)
    [stored] = await running.stored(access.tenant)
    assert await running.indexed_ids(access.tenant) == []
    refused = DeadLetter(
        stage=Stage.INDEX,
        reason=Reason.NOT_INDEXABLE,
        uid=access.tenant.uid,
        event_id=stored.id,
        content=stored.text,
        detail="a test's",
        received_at=stored.received_at,
    )
    await DeadLetterStore(running.database).put([refused])

    retried = await ocelot.ok("dead-letters", "retry", refused.key)

    assert "1 sent again" in retried.err
    assert await running.until_indexed(access.tenant, 1) == [format_id(stored.id)]
    assert await letters_of(access.tenant) == []
    assert len(await running.stored(access.tenant)) == 1


async def test_an_authenticated_letter_of_no_tenant_comes_back_as_a_letter(
    running: Any, ocelot: Any
):
    content = f"not an envelope {secrets.token_hex(8)}".encode()
    body = sign(content, key_of(running.stack), Purpose.INGEST, sent_at=now_ms())
    garbage = whole_letter(body, Reason.MALFORMED)
    await DeadLetterStore(running.database).put([garbage])

    retried = await ocelot.ok("dead-letters", "retry", garbage.key)

    assert re.search("^1 .*authenticated", retried.err, re.MULTILINE)
    shown = json.loads((await ocelot.ok("dead-letters", "show", garbage.key)).out)
    assert shown["content"] == body
    await ocelot.ok("dead-letters", "discard", garbage.key, "--yes")


async def test_what_was_not_authenticated_is_never_signed(running: Any, ocelot: Any):
    access = await running.tenant()
    segment = Segment("w", now_ms(), "r", "", [PackedEvent(new_id(), TEXT)])
    forged = ingest_text(Envelope(access.tenant.uid, [segment]), OTHER_KEY)
    notice = whole_letter(forged, Reason.UNAUTHENTICATED)
    planted = DeadLetter(
        stage=Stage.STORE,
        reason=Reason.UNAUTHENTICATED,
        uid=access.tenant.uid,
        event_id=new_id(),
        content=TEXT.decode(),
        detail="a test's",
        received_at=now_ms(),
    )
    await DeadLetterStore(running.database).put([notice, planted])

    retried = await ocelot.ok("dead-letters", "retry", notice.key, planted.key)

    assert re.search("^2 .*authenticated", retried.err, re.MULTILINE)
    assert "sent again" not in retried.err
    await running.post_lines(access, [TEXT])  # what comes later is stored
    assert len(await running.until_stored(access.tenant, 1)) == 1
    await ocelot.ok("dead-letters", "discard", notice.key, planted.key, "--yes")


async def test_letters_of_60_days_ago_are_stored_when_they_are_retried(running: Any, ocelot: Any):
    access = await running.tenant()
    old = now_ms() - 60 * 24 * 3_600_000
    single = DeadLetter(
        stage=Stage.STORE,
        reason=Reason.NOT_STORABLE,
        uid=access.tenant.uid,
        event_id=new_id(),
        content=TEXT.decode(),
        detail="a test's",
        received_at=old,
        writer="w",
    )
    ids = [new_id() for _ in range(3)]
    segment = Segment("w", old, "r", "", [PackedEvent(event_id, TEXT) for event_id in ids])
    # By a key that nobody has any more: it was authenticated when it became a letter.
    body = ingest_text(Envelope(access.tenant.uid, [segment]), OTHER_KEY, sent_at=old)
    whole = whole_letter(body, Reason.EXPIRED, uid=access.tenant.uid)
    await DeadLetterStore(running.database).put([single, whole])

    retried = await ocelot.ok("dead-letters", "retry", "--all", "--tenant", access.tenant.id)

    assert "2 sent again" in retried.err
    stored = await running.until_stored(access.tenant, 4)
    assert {each.id for each in stored} == {single.event_id, *ids}
    assert {each.received_at for each in stored} == {old}


@pytest.mark.parametrize("origin", [Origin.INTERNAL, Origin.API])
async def test_only_an_event_of_ocelot_itself_is_retried_with_a_reserved_action(
    running: Any, ocelot: Any, until_letter: Any, origin: Origin
):
    access = await running.tenant()
    event_id = new_id()
    reserved = b'{"action":"ocelot.tenant.delete","actor":{"id":"%s"}}'
    texts = [TEXT, reserved % origin.encode()]  # the second meets the id of the first
    stack = running.stack
    async with open_sqs(stack.sqs_endpoint_url, stack.settings.aws_env()) as sqs:
        for text in texts:
            segment = Segment("w", now_ms(), "r", "", [PackedEvent(event_id, text)], origin)
            body = ingest_text(Envelope(access.tenant.uid, [segment]), key_of(stack))
            await send_all(sqs, stack.queues.ingest, [Outgoing(body, access.tenant.uid)])
            await running.until_stored(access.tenant, 1)
    letter = await until_letter(access.tenant)

    retried = await ocelot.ok("dead-letters", "retry", "--new-id", letter["_id"])

    assert "1 sent again" in retried.err
    if origin is Origin.INTERNAL:
        stored = await running.until_stored(access.tenant, 2)
        assert {each.text.encode() for each in stored} == set(texts)
    else:
        back = await until_letter(access.tenant)
        assert back["reason"] == Reason.NOT_STORABLE
        assert len(await running.stored(access.tenant)) == 1


def whole_letter(body: str, reason: Reason, *, uid: str = "") -> DeadLetter:
    return DeadLetter(
        stage=Stage.STORE,
        reason=reason,
        uid=uid,
        event_id=None,
        content=body,
        detail="a test's",
    )


def unstorable(uid: str) -> DeadLetter:
    """A letter of an event of a tenant."""
    return DeadLetter(
        stage=Stage.STORE,
        reason=Reason.NOT_STORABLE,
        uid=uid,
        event_id=new_id(),
        content="{}",
        detail="a test's",
        received_at=0,
    )


async def test_a_letter_of_a_deleted_tenant_is_dropped(running: Any, ocelot: Any):
    access = await running.tenant()
    await running.maker.provisioner.delete(access.tenant.id, owner="cli", now=True)
    letter = unstorable(access.tenant.uid)
    await DeadLetterStore(running.database).put([letter])

    await ocelot("dead-letters", "retry", letter.key)  # unless jobs removed it first

    assert (await ocelot("dead-letters", "show", letter.key)).status == 4


async def test_a_letter_stays_whose_tenant_the_registry_has_lost(running: Any, ocelot: Any):
    letter = unstorable(secrets.token_hex(8))
    await DeadLetterStore(running.database).put([letter])

    retried = await ocelot("dead-letters", "retry", letter.key)

    assert re.search("^1 .*tenant", retried.err, re.MULTILINE)
    await ocelot.ok("dead-letters", "show", letter.key)


async def test_a_letter_of_another_form_is_left_and_the_others_are_retried(
    running: Any, ocelot: Any
):
    access = await running.tenant()
    letters = DeadLetterStore(running.database)
    broken, whole = unstorable(access.tenant.uid), unstorable(access.tenant.uid)
    await letters.put([broken, whole])
    await running.database["dead_letters"].update_one(
        {"_id": broken.key}, {"$set": {"content": 5}, "$unset": {"writer": ""}}
    )

    retried = await ocelot("dead-letters", "retry", "--all", "--tenant", access.tenant.id)

    assert re.search("^1 .*authenticated", retried.err, re.MULTILINE)
    assert "1 sent" in retried.err


async def test_planted_letters_hide_no_other_letter_and_stop_no_retry(
    running: Any, ocelot: Any, letters_of: Any
):
    access = await running.tenant()
    uid = access.tenant.uid
    letters = DeadLetterStore(running.database)
    whole = msgspec.structs.replace(unstorable(uid), content=TEXT.decode())
    await letters.put([whole])
    good = await running.database["dead_letters"].find_one({"_id": whole.key})
    fields = {**good, "event_id": "x", "event_key": b"", "received_at": good["last_seen"]}
    oddities: list[Any] = [
        5, 10**12, None, [], ["store"], {"a": 1}, float("nan"), ObjectId(), DatetimeMS(2**62),
        Decimal128("NaN"), b"x", {"$ref": "x", "$id": 1, "$db": 5}, "x",
    ]  # fmt: skip
    planted: list[Any] = [
        {**good, "_id": secrets.token_hex(32), name: oddity}
        for name in fields
        if name not in ("_id", "t")
        for oddity in oddities
    ]
    planted += [{**good, "_id": ObjectId()}, {"_id": secrets.token_hex(32), "t": uid}]
    raw = bson.encode({**good, "_id": secrets.token_hex(32), "detail": "MARK"})
    planted.append(RawBSONDocument(raw.replace(b"MARK", b"\xff\xfe\x80x")))
    await running.database["dead_letters"].insert_many(planted)

    listed = await ocelot.ok("dead-letters", "list", "--tenant", access.tenant.id, "--limit", "999")
    assert whole.key[:12] in listed.out
    limited = ("--limit", "999", "--json")
    shown = await ocelot.ok("dead-letters", "list", "--tenant", access.tenant.id, *limited)
    assert len(shown.events) == len(planted) + 1

    retried = await ocelot("dead-letters", "retry", "--all", "--tenant", access.tenant.id)

    assert await letters.get([whole.key]) == [], retried.err
    [event] = await running.until_stored(access.tenant, 1)
    assert event.id == whole.event_id


@pytest.mark.parametrize("attempts", ["many", [1], 1.5, None], ids=str)
async def test_a_letter_that_was_planted_under_a_key_keeps_no_fault_from_being_kept(
    running: Any, attempts: Any
):
    access = await running.tenant()
    letters = DeadLetterStore(running.database)
    letter, other = unstorable(access.tenant.uid), unstorable(access.tenant.uid)
    await running.database["dead_letters"].insert_one({"_id": letter.key, "attempts": attempts})
    await letters.put([letter, other, letter])
    [kept] = await letters.get([letter.key])
    assert (kept["attempts"], kept["reason"], kept["content"]) == (
        2, letter.reason, letter.content
    )  # fmt: skip
    assert len(await letters.get([other.key])) == 1


async def test_a_key_that_names_no_letter_or_several_changes_nothing(running: Any, ocelot: Any):
    letters = [
        DeadLetter(
            stage=Stage.STORE,
            reason=Reason.MALFORMED,
            uid="",
            event_id=None,
            content=f"{n}",
            detail="a test's",
        )
        for n in range(60)
    ]
    store = DeadLetterStore(running.database)
    await store.put(letters)

    results = await asyncio.gather(
        ocelot("dead-letters", "discard", "--yes", ""),
        ocelot("dead-letters", "discard", "--yes", "0"),
        ocelot("dead-letters", "show", "xyz"),
        ocelot("dead-letters", "retry", "0"),
    )

    assert [ended.status for ended in results] == [1, 1, 4, 1]
    told = [ended.err.split("\n")[0] for ended in results]
    assert all(line.startswith("error: ") for line in told)
    named = ["dead-letters list", "'0'", "'xyz'", "'0'"]
    assert all(words in line for words, line in zip(named, told, strict=True))
    assert [await store.remove(letter.key) for letter in letters] == [True] * 60


async def test_a_tenant_that_is_not_there_is_named(ocelot: Any):
    ended = await ocelot("dead-letters", "list", "--tenant", "no-such")

    assert ended.status == 4
    assert "'no-such'" in ended.err
