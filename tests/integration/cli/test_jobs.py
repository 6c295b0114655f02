"""`ocelot jobs`, `ocelot holds`, and what SQS gave up."""

import asyncio
import json
import re
from typing import Any

import msgspec
import pytest

from ocelot_common.dead_letters import DeadLetter, DeadLetterStore, Reason, Stage
from ocelot_common.envelope import Envelope, PackedEvent, Segment
from ocelot_common.ids import format_id, new_id
from ocelot_common.jobs.model import Job
from ocelot_common.jobs.store import JobStore
from ocelot_common.queue.sending import Outgoing, send_all
from ocelot_common.registry.model import Isolation, Tenant
from ocelot_common.timestamps import now_ms, to_datetime
from ocelot_devstack.queues import open_sqs
from queuekit.signing import index_texts, ingest_text, key_of

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

TEXT = b'{"action":"doc.read","actor":{"id":"u"}}'


async def test_what_sqs_gave_up_becomes_dead_letters_that_can_be_retried(running: Any, ocelot: Any):
    access = await running.tenant()
    uid = access.tenant.uid
    event_id = new_id()
    key = key_of(running.stack)
    segment = Segment("w", now_ms(), "r", "", [PackedEvent(event_id, TEXT)])
    envelope = ingest_text(Envelope(uid, [segment]), key)
    [ids] = index_texts(uid, [event_id], key)
    stack = running.stack
    async with open_sqs(stack.sqs_endpoint_url, stack.settings.aws_env()) as sqs:
        await send_all(sqs, stack.queues.ingest_dlq, [Outgoing(envelope, uid)])
        await send_all(sqs, stack.queues.index_dlq, [Outgoing(ids, uid)])

        async def drained() -> list[dict[str, Any]] | None:
            found = [each async for each in DeadLetterStore(running.database).find(uid=uid)]
            return found if len(found) == 2 else None

        letters = await running.eventually(drained, timeout_sec=300, what="two letters")
    assert {(each["stage"], each["reason"]) for each in letters} == {
        ("store", "exhausted"),
        ("index", "exhausted"),
    }
    assert {each["content"] for each in letters} == {envelope, ids}
    await ocelot.ok("dead-letters", "retry", *[each["_id"] for each in letters])
    assert await running.until_indexed(access.tenant, 1) == [format_id(event_id)]


async def test_a_rebuild_is_asked_for_listed_and_shown(running: Any, ocelot: Any):
    access = await running.tenant(isolation=Isolation.SHARED)
    ids = (await running.post_lines(access, [TEXT, TEXT])).json()["ids"]
    await running.until_indexed(access.tenant, 2)
    asked = await ocelot.ok("jobs", "rebuild", "--tenant", access.tenant.id, "--json")
    job_id = json.loads(asked.out)["id"]

    async def ended() -> dict[str, Any] | None:
        shown = json.loads((await ocelot.ok("jobs", "show", job_id)).out)
        return shown if shown["state"] == "succeeded" else None

    shown = await running.eventually(ended, timeout_sec=300, what="the rebuild")
    assert shown["created_by"] == "cli"
    assert shown["progress"]["total"] == len(ids)
    assert shown["phase"] == ""
    listed = await ocelot.ok("jobs", "list", "--tenant", access.tenant.id)
    assert job_id in listed.out
    assert "2 of 2" in listed.out
    every = (await ocelot.ok("jobs", "list", "--json", "--kind", "index-lifecycle")).events
    assert [(job["kind"], job["every_sec"]) for job in every] == [("periods", 2)]
    standing = await ocelot("jobs", "cancel", every[0]["id"])
    assert (standing.status, "index-lifecycle" in standing.err) == (1, True)
    over = await ocelot("jobs", "cancel", job_id)
    assert (over.status, "succeeded" in over.err) == (1, True)


async def test_a_rebuild_is_waited_for_phase_by_phase(running: Any, ocelot: Any):
    access = await running.tenant()
    await running.post_lines(access, [TEXT] * 3)
    await running.until_indexed(access.tenant, 3)
    waited = await ocelot.ok("jobs", "rebuild", "--tenant", access.tenant.id, "--wait")
    said = waited.err.strip().splitlines()
    assert "ocelot jobs show" in said[0]
    assert "3 of 3 events" in said[-1]
    # A slow machine may miss a phase between two looks, but tells none out of its order.
    steps = [_step(line.partition(",")[0]) for line in said[1:-1]]
    assert steps
    assert steps == sorted(steps)


def _step(phase: str) -> tuple[int, int, int]:
    """The place of a phase in a rebuild: it copies and compares one index after the other."""
    of_an_index = re.fullmatch(r"(copying|comparing)(?: index (\d+) of \d+)?", phase)
    if of_an_index is None:
        return (["waiting for propagation", "", "retiring"].index(phase), 0, 0)
    return (1, int(of_an_index[2] or 1), ["copying", "comparing"].index(of_an_index[1]))


async def test_waiting_for_a_rebuild_that_is_cancelled_ends_with_1(running: Any, ocelot: Any):
    access = await running.tenant()
    waiting = asyncio.create_task(
        ocelot("jobs", "rebuild", "--tenant", access.tenant.id, "--wait", "--json")
    )
    store = JobStore(running.database)

    async def found() -> Job | None:
        return next(iter(await store.find(uid=access.tenant.uid)), None)

    job = await running.eventually(found, what="the job")
    await store.request_cancel(job.id)
    ended = await waiting
    assert ended.status == 1
    assert re.search("^error: .*cancelled", ended.err.strip().splitlines()[-1])
    assert json.loads(ended.out)["state"] == "cancelled"


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (("jobs", "show", "nonsense"), 4, "'nonsense'"),
        (("jobs", "show", ""), 4, "''"),
        (("jobs", "cancel", "nonsense"), 4, "'nonsense'"),
        (("jobs", "rebuild", "--tenant", "nobody"), 4, "'nobody'"),
        (("jobs", "rebuild", "--tenant", "x", "--id", "y"), 2, "--id 'y'"),
        (("jobs", "rebuild", "--tenant", "x", "--received-from", "y"), 2, "--received-from"),
        (("jobs", "list", "--tenant", "nobody"), 4, "'nobody'"),
        (("holds", "place", "nobody", "--reason", "r"), 4, "'nobody'"),
        (("holds", "lift", "nonsense"), 4, "'nonsense'"),
    ],
)
async def test_a_wrong_command_is_one_clear_line(
    ocelot: Any, args: tuple[str, ...], status: int, message: str
):
    ended = await ocelot(*args)
    assert ended.status == status
    assert message in ended.err
    assert len(ended.err.strip().splitlines()) == 1


async def test_holds_are_placed_listed_and_lifted_by_their_owner(running: Any, ocelot: Any):
    access = await running.tenant()
    tenant = access.tenant.id
    await ocelot.ok("holds", "place", tenant, "--reason", "case 4711", "--owner", "legal")
    (hold,) = (await ocelot.ok("holds", "list", "--tenant", tenant, "--json")).events
    assert (hold["tenant"], hold["reason"], hold["owner"]) == (tenant, "case 4711", "legal")
    deleted = await ocelot("tenants", "delete", tenant, "--now", "--yes")
    assert (deleted.status, "legal hold" in deleted.err) == (1, True)
    refused = await ocelot("holds", "lift", hold["id"])
    assert (refused.status, "belongs to 'legal'" in refused.err) == (1, True)
    assert hold["id"] in (await ocelot.ok("holds", "list", "--tenant", tenant)).out
    await ocelot.ok("holds", "lift", hold["id"], "--owner", "legal")
    assert (await ocelot.ok("holds", "list", "--tenant", tenant, "--json")).events == []
    await ocelot.ok("tenants", "delete", tenant, "--now", "--yes")


async def test_a_dead_letter_whose_event_is_past_its_cutoff_is_counted_and_dropped(
    running: Any, ocelot: Any
):
    access = await running.tenant()
    letters = DeadLetterStore(running.database)
    # Past the cutoff, but not for so long that the purge takes the letter first.
    moment = now_ms() - 60_000
    await letters.put(
        [
            DeadLetter(
                stage=Stage.STORE,
                reason=Reason.NOT_STORABLE,
                uid=access.tenant.uid,
                event_id=new_id(),
                content=TEXT.decode(),
                detail="because",
                received_at=moment,
                writer="w",
            )
        ]
    )

    async def work(transaction: Any) -> None:
        present = await transaction.get(Tenant, access.tenant.uid)
        cutoff = to_datetime(moment + 1)
        await transaction.replace(msgspec.structs.replace(present, purged_before=cutoff))

    await running.maker.store.write(work)
    ended = await ocelot.ok("dead-letters", "retry", "--all", "--tenant", access.tenant.id)
    assert "1 dropped" in ended.err
    assert [each async for each in letters.find(uid=access.tenant.uid)] == []
    assert await running.stored(access.tenant) == []
