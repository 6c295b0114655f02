"""Queue keys on a running installation: rotated, late, missing, lost, retired.

Whatever happens to keys, every acknowledged event is stored in the end.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest
import pytest_asyncio

from ocelot_common.batching import batched
from ocelot_common.dead_letters import DeadLetterStore
from ocelot_common.envelope import Envelope, PackedEvent, Segment
from ocelot_common.ids import new_id
from ocelot_common.names import QUEUE_KEY_USE
from ocelot_common.provisioning.queue_keys import record_queue_key
from ocelot_common.queue.keys import KeyFile, add_key, fingerprint, key_line, new_queue_key
from ocelot_common.queue.sending import Outgoing, send_all
from ocelot_common.registry.model import QueueKeyRow
from ocelot_common.registry.store import RegistryTransaction
from ocelot_common.signed_text import QueueKey
from ocelot_common.timestamps import now_ms
from ocelot_devstack.queues import open_sqs
from queuekit.signing import ingest_text, key_of, row

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

TEXT = b'{"action":"doc.read","actor":{"id":"u"}}'


@pytest.fixture
def key_file(running: Any) -> Path:
    path: Path = running.stack.installation.queue_keys_file
    return path


@pytest_asyncio.fixture(loop_scope="session")
async def sqs(running: Any) -> AsyncIterator[Any]:
    stack = running.stack
    async with open_sqs(stack.sqs_endpoint_url, stack.settings.aws_env()) as client:
        yield client


@pytest.fixture
def worker_with(running: Any) -> Callable[..., AbstractAsyncContextManager[Any]]:
    """Runs a worker with another key file in place of the installation's own."""

    @asynccontextmanager
    async def run(name: str, keys: Path) -> AsyncIterator[Any]:
        await running.stack.stop_services(name)
        env = {"OCELOT_QUEUE_KEYS_FILE": str(keys)}
        process = await running.stack.start_service(name, extra_env=env)
        try:
            await process.wait_ready(180)
            yield process
        finally:
            await running.stack.stop_services(name)
            await (await running.stack.start_service(name)).wait_ready(180)

    return run


async def causes(running: Any, process: Any) -> dict[str, str]:
    answer = await running.http.get(f"{process.probes_url}/readyz")
    found: dict[str, str] = answer.json()["causes"]
    return found


def signed(uid: str, key: QueueKey, number: int, *, text: bytes = TEXT) -> tuple[str, set[bytes]]:
    events = [PackedEvent(new_id(), text) for _ in range(number)]
    envelope = Envelope(uid, [Segment("w", now_ms(), "r", "", events)])
    return ingest_text(envelope, key), {event.id for event in events}


async def until_these(running: Any, access: Any, wanted: set[bytes]) -> None:
    async def there() -> bool:
        return wanted == {event.id for event in await running.stored(access.tenant)}

    await running.eventually(there, timeout_sec=400, what=f"{len(wanted)} stored events")


async def test_a_rotation_under_load_loses_nothing(running: Any, ocelot: Any, key_file: Path):
    access = await running.tenant()
    accepted: list[str] = []
    rotated = asyncio.Event()

    async def write() -> None:
        after = 0
        while after < 20:
            after += rotated.is_set()
            answer = await running.post_lines(access, [TEXT] * 5)
            accepted.extend(answer.json()["ids"])

    writing = asyncio.create_task(write())
    old = KeyFile(key_file).keys
    told = await ocelot.ok("queue-keys", "new", str(key_file))
    new = KeyFile(key_file).keys[0]
    rotated.set()
    await writing

    assert new not in old
    assert new.kid in told.err
    assert KeyFile(key_file).keys == (new, *old)
    stored = await running.until_stored(access.tenant, len(accepted))
    assert len(stored) == len(accepted) == len(set(accepted))
    assert len(await running.until_indexed(access.tenant, len(accepted))) == len(accepted)

    async def signs() -> bool:
        """Whether messages of the new key have been verified."""
        await running.post_lines(access, [TEXT])
        uses = await running.database[QUEUE_KEY_USE].find_one({"_id": new.kid})
        return uses is not None

    await running.eventually(signs, what="a message of the new key")
    listed = (await ocelot.ok("queue-keys", "list", "--json")).events
    assert {each["kid"]: each["state"] for each in listed} | {new.kid: "Active"} == {
        each["kid"]: each["state"] for each in listed
    }
    assert new.secret.hex() not in json.dumps(listed)
    assert new.kid in (await ocelot.ok("queue-keys", "list")).out


@pytest.mark.parametrize("service", ["consumer", "indexer"])
async def test_a_worker_with_an_old_key_file_waits_until_it_is_new(
    running: Any,
    ocelot: Any,
    key_file: Path,
    tmp_path: Path,
    worker_with: Callable[..., AbstractAsyncContextManager[Any]],
    service: str,
):
    access = await running.tenant()
    old = tmp_path / "old-keys"
    copyfile(key_file, old)
    async with worker_with(service, old) as worker:
        await ocelot.ok("queue-keys", "new", str(key_file))
        accepted: list[str] = []

        async def waits() -> bool:
            answer = await running.post_lines(access, [TEXT])
            accepted.extend(answer.json()["ids"])
            return "queue_key_missing" in await causes(running, worker)

        await running.eventually(waits, what="a worker that is not ready")
        accepted.extend((await running.post_lines(access, [TEXT] * 10)).json()["ids"])
        copyfile(key_file, old)
        assert len(await running.until_indexed(access.tenant, len(accepted))) == len(accepted)

        async def ready() -> bool:
            return await causes(running, worker) == {}

        await running.eventually(ready, what="a worker that is ready again")
    assert len(await running.stored(access.tenant)) == len(accepted)


async def test_messages_of_a_key_that_is_recorded_too_late_come_back(
    running: Any, sqs: Any, key_file: Path
):
    """A key that is missing until its messages have been moved as forged."""
    access = await running.tenant()
    key = new_queue_key()
    sent: set[bytes] = set()
    for _ in range(12):
        body, ids = signed(access.tenant.uid, key, 3)
        sent |= ids
        await send_all(sqs, running.stack.queues.ingest, [Outgoing(body, "t")])
    letters = DeadLetterStore(running.database)

    async def moved() -> bool:
        found = [each async for each in letters.find(uid="")]
        return sum(f".{key.kid}." in each["content"] for each in found) == 12

    await running.eventually(moved, what="a notice of each message")
    assert await running.stored(access.tenant) == []
    add_key(key_file, key)
    await record_queue_key(running.maker.store, key)

    await until_these(running, access, sent)
    assert len(await running.until_indexed(access.tenant, len(sent))) == len(sent)
    assert len(await running.stored(access.tenant)) == len(sent)


async def test_events_of_a_key_that_is_lost_for_good_are_stored_when_they_are_accepted(
    running: Any, ocelot: Any, sqs: Any
):
    access = await running.tenant()
    uid = access.tenant.uid
    key = new_queue_key()
    await record_queue_key(running.maker.store, key)
    sent: set[bytes] = set()
    messages: list[Outgoing] = []
    for part in batched(range(20_000), 1_250):
        body, ids = signed(uid, key, len(part), text=TEXT[:-1] + b',"message":"%d"}' % part[0])
        sent |= ids
        messages.append(Outgoing(body, uid))
    early = now_ms()
    await send_all(sqs, running.stack.queues.ingest, messages)
    consumer = next(
        each for each in running.stack.services if each.spec.name == "consumer" and each.running
    )

    async def waits() -> bool:
        return "queue_key_missing" in await causes(running, consumer)

    await running.eventually(waits, what="a consumer that is not ready")
    refused = await ocelot("dead-letters", "accept", "--kid", key.kid, "--yes")
    assert (refused.status, "is not recorded as lost" in refused.err) == (1, True)
    await ocelot.ok("queue-keys", "lost", key.kid, "--yes")

    async def ready() -> bool:
        return await causes(running, consumer) == {}

    await running.eventually(ready, what="a consumer that is ready")
    honest = (await running.post_lines(access, [TEXT])).json()["ids"]
    assert len(await running.until_stored(access.tenant, 1)) == len(honest)

    none = await ocelot.ok(
        "dead-letters", "accept", "--kid", key.kid, "--sent-to", "2020-01-01T00:00:00Z", "--yes"
    )
    assert f"no messages of the key {key.kid}" in none.err
    since = datetime.fromtimestamp(early / 1000, UTC) - timedelta(hours=1)
    declined = await ocelot(
        "dead-letters",
        "accept",
        "--kid",
        key.kid,
        "--sent-from",
        since.strftime("%Y-%m-%dT%H:%M:%SZ"),
        stdin=b"n\n",
    )
    assert declined.status == 1
    assert "16 messages with 20,000 events" in declined.err
    assert access.tenant.id in declined.out
    assert len(await running.stored(access.tenant)) == 1

    accepted = await ocelot.ok("dead-letters", "accept", "--kid", key.kid, "--yes")

    assert "ccepted 16 messages with 20,000 events" in accepted.err
    stored = await running.until_stored(access.tenant, 20_001)
    assert sent < {event.id for event in stored}
    assert len(stored) == 20_001
    assert len(await running.until_indexed(access.tenant, 20_001)) == 20_001


async def test_a_key_is_retired_only_when_nothing_of_it_can_wait_any_more(
    running: Any, ocelot: Any
):
    store, uses = running.maker.store, running.database[QUEUE_KEY_USE]
    now = datetime.now(UTC)
    key, successor = new_queue_key(), key_of(running.stack)
    await record_queue_key(store, key)

    async def retired(text: str) -> None:
        ended = await ocelot("queue-keys", "retire", key.kid)
        assert (ended.status, text in ended.err) == (1, True), ended.err

    await retired("t can be retired 15 days later")  # made just now

    async def age(transaction: RegistryTransaction) -> None:
        old = now - timedelta(days=40)
        await transaction.replace(row(key, version=transaction.version, created_at=old))

    await store.write(age)
    await uses.replace_one(
        {"_id": key.kid}, {"last_sent_at": now - timedelta(days=14)}, upsert=True
    )
    await retired("t can be retired 15 days later")
    await uses.replace_one({"_id": key.kid}, {"last_sent_at": now - timedelta(days=16)})
    firsts = {each["_id"]: each async for each in uses.find({"_id": {"$ne": key.kid}})}
    await retired("o other key has signed for 15 days")
    old = {"first_sent_at": now - timedelta(days=16), "last_sent_at": now}
    await uses.replace_one({"_id": successor.kid}, old, upsert=True)
    await ocelot.ok("queue-keys", "retire", key.kid)
    if successor.kid in firsts:
        await uses.replace_one({"_id": successor.kid}, firsts[successor.kid])

    [found] = [each for each in await store.since(QueueKeyRow, 0) if each.kid == key.kid]
    assert found.state == "Retired"


async def test_keys_of_a_file_that_something_else_made_are_recorded_once_and_never_shown(
    running: Any, ocelot: Any, tmp_path: Path
):
    store = running.maker.store
    known, *made = [new_queue_key() for _ in range(3)]
    await record_queue_key(store, known)
    file = tmp_path / "queue-keys"
    lines = [key_line(key) for key in (made[0], known, made[1])]
    file.write_text("# of a Secret\n" + "\n".join(lines))  # without an end of line
    before = file.read_bytes()

    first = await ocelot.ok("queue-keys", "record", str(file))
    second = await ocelot.ok("queue-keys", "record", str(file))

    assert "ecorded 2 of 3 keys" in first.err
    assert [key.kid in first.err for key in (*made, known)] == [True, True, False]
    assert "ecorded 0 of 3 keys" in second.err
    for key in (*made, known):
        recorded = await store.queue_key(key.kid)
        assert (recorded.sha256, recorded.state) == (fingerprint(key), "Active")
        told = first.out + first.err + second.out + second.err
        assert key_line(key).partition(":")[2] not in told
        assert fingerprint(key) not in told
    assert file.read_bytes() == before


async def test_a_key_that_was_lost_or_retired_stays_that_when_its_file_is_recorded(
    running: Any, ocelot: Any, tmp_path: Path
):
    store, key, other = running.maker.store, new_queue_key(), new_queue_key()
    file = tmp_path / "queue-keys"
    file.write_text("".join(f"{key_line(each)}\n" for each in (key, other)))
    await record_queue_key(store, key)
    await ocelot.ok("queue-keys", "lost", key.kid, "--yes")
    assert "ecorded 1 of 2 keys" in (await ocelot.ok("queue-keys", "record", str(file))).err
    assert (await store.queue_key(key.kid)).state == "Lost"


async def test_nothing_of_a_file_is_recorded_that_has_another_key_under_a_known_id(
    running: Any, ocelot: Any, tmp_path: Path
):
    store, known, fresh = running.maker.store, new_queue_key(), new_queue_key()
    await record_queue_key(store, known)
    file = tmp_path / "queue-keys"
    impostor = QueueKey(known.kid, bytes(32))
    file.write_text(f"{key_line(fresh)}\n{key_line(impostor)}\n")
    ended = await ocelot("queue-keys", "record", str(file))
    assert (ended.status, f"key id {known.kid} belongs to another key" in ended.err) == (
        1,
        True,
    )
    assert await store.queue_key(fresh.kid) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"", "`ocelot queue-keys new`"),
        (b"\xffkey", "is not UTF-8"),
        (b"q:c2VjcmV0", "is not base64 of 32"),
    ],
    ids=["missing", "empty", "not UTF-8", "a short key"],
)
async def test_a_file_without_keys_is_one_clear_line(
    ocelot: Any, tmp_path: Path, content: bytes | None, reason: str
):
    file = tmp_path / "queue-keys"
    if content is not None:
        file.write_bytes(content)
    ended = await ocelot("queue-keys", "record", str(file))
    assert (ended.status, reason in ended.err) == (1, True), ended.err
    assert "c2VjcmV0" not in ended.err


@pytest.mark.parametrize("command", ["retire", "lost"])
async def test_a_key_that_there_is_not_is_named(ocelot: Any, command: str):
    more = ["--yes"] if command == "lost" else []
    ended = await ocelot("queue-keys", command, "q-none", *more)
    assert (ended.status, "q-none" in ended.err) == (4, True)


async def test_a_key_id_is_never_given_to_another_key(running: Any):
    key = new_queue_key()
    await record_queue_key(running.maker.store, key)
    await record_queue_key(running.maker.store, key)  # safe to repeat
    with pytest.raises(Exception, match="belongs to another key"):
        await record_queue_key(running.maker.store, QueueKey(key.kid, bytes(32)))
