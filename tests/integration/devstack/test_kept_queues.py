"""What the queues hold when make dev stops is there again when it starts."""

import asyncio
import json
import os
import re
import shutil
import signal
import stat
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import AsyncMongoClient

from ocelot_common.names import DEAD_LETTERS
from ocelot_common.queue.keys import add_key, new_queue_key
from ocelot_devstack.queue_files import message_files
from ocelot_devstack.queues import open_sqs
from ocelot_devstack.settings import DevSettings

NUMBER = 40


async def until(probe: Callable[[], Awaitable[bool]], what: str) -> None:
    """Ask until the answer is yes."""
    deadline = time.monotonic() + 300
    while not await probe():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within 300 s")
        await asyncio.sleep(0.2)


def told(make_dev: Any, *words: str) -> bool:
    """Whether one line has all these words."""
    return any(all(word in line for word in words) for line in make_dev.output.splitlines())


def saved(make_dev: Any) -> list[Path]:
    return message_files(make_dev.state_dir / "queues")


async def bodies_of_dlq(dev: dict[str, Any], number: int) -> list[str]:
    """The texts in the dead letter queue of the ingest queue, once there are so many."""
    found: dict[str, str] = {}
    async with open_sqs(dev["sqs_endpoint_url"], DevSettings().aws_env()) as sqs:
        async with asyncio.timeout(120):
            while len(found) < number:
                answer = await sqs.receive_message(
                    QueueUrl=dev["queues"]["ingest_dlq"], MaxNumberOfMessages=10, WaitTimeSeconds=1
                )
                found |= {each["MessageId"]: each["Body"] for each in answer.get("Messages", [])}
    return sorted(found.values())


async def test_what_is_not_drained_in_time_is_saved_and_sent_at_the_next_start(make_dev: Any):
    make_dev.env["OCELOT_DEV_DRAIN_SEC"] = "1"
    await make_dev.start("idle")
    await make_dev.wait_for("Ready in")
    await make_dev.send("0", "1", "2")
    make_dev.process.send_signal(signal.SIGTERM)
    assert await make_dev.end() == 0
    assert told(make_dev, "Saved", "3 messages", "ingest queue")
    assert not re.search("lost", make_dev.output, re.IGNORECASE)
    [file] = saved(make_dev)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert make_dev.children() == []

    await make_dev.start("idle")
    await make_dev.wait_for("Ready in")
    assert told(make_dev, "Sent", "3 messages", "ingest queue")
    # Nobody signed them, so they are where a consumer moves such messages.
    assert await bodies_of_dlq(make_dev.dev_file(), 3) == ["0", "1", "2"]
    assert saved(make_dev) == []

    # They are invisible to others now, and are saved all the same.
    make_dev.process.send_signal(signal.SIGTERM)
    assert await make_dev.end() == 0
    assert told(make_dev, "Saved", "3 messages", "ingest dead letter queue")
    assert len(saved(make_dev)) == 1


async def test_a_start_that_fails_keeps_what_it_had_sent(make_dev: Any):
    await make_dev.start("idle")
    await make_dev.wait_for("Ready in")
    make_dev.env["OCELOT_DEV_DRAIN_SEC"] = "0"
    await make_dev.send("0")
    make_dev.process.kill()
    await make_dev.process.wait()
    folder = make_dev.state_dir / "queues"
    folder.mkdir()
    line = json.dumps({"body": "kept", "group": "g", "attributes": {"moved": "forged"}})
    # A crash while it was written left the second line unfinished.
    (folder / "ingest_dlq-1.part").write_text(f"{line}\n{line[:-9]}")
    await make_dev.start("broken")
    assert await make_dev.end() == 1
    assert told(make_dev, "Sent", "1 message", "ingest dead letter queue")
    [file] = saved(make_dev)
    assert json.loads(file.read_text()) == json.loads(line)


async def test_a_file_that_is_something_else_is_named_and_stays(make_dev: Any):
    folder = make_dev.state_dir / "queues"
    folder.mkdir(parents=True)
    (folder / "ingest-1.ndjson").write_text("{}\n")
    await make_dev.start("idle")
    assert await make_dev.end() == 1
    assert "ingest-1.ndjson" in make_dev.output
    assert "move it away to start without its messages" in make_dev.output
    assert len(saved(make_dev)) == 1
    assert make_dev.children() == []


class Api:
    """The api of a running make dev."""

    def __init__(self, dev: dict[str, Any], http: httpx.AsyncClient) -> None:
        self._tokens = dev["tenants"]
        self._http = http

    def _headers(self, tenant: str, role: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._tokens[tenant][role]}"}

    async def send(self, tenant: str, number: int) -> list[str]:
        """Have events acknowledged; their ids."""
        event = {"action": "doc.read", "actor": {"id": "u"}, "message": tenant}
        answer = await self._http.post(
            "/api/v1/logs/bulk", json=[event] * number, headers=self._headers(tenant, "writer")
        )
        assert answer.status_code == 202, answer.text
        ids: list[str] = answer.json()["ids"]
        return ids

    async def has(self, tenant: str, ids: list[str]) -> bool:
        """Whether all are stored."""
        for event_id in ids:
            headers = self._headers(tenant, "reader")
            answer = await self._http.get(f"/api/v1/logs/{event_id}", headers=headers)
            if answer.status_code != 200:
                return False
        return True

    async def found(self, tenant: str) -> tuple[str, int, set[str]]:
        """What a search for all events says: which backend, how many, and which."""
        answer = await self._http.get(
            "/api/v1/logs", params={"limit": 1000}, headers=self._headers(tenant, "reader")
        )
        body = answer.json()
        if answer.status_code != 200:
            return "", 0, set()
        return body["backend"], body["total"]["value"], {item["id"] for item in body["items"]}


def pid_of(make_dev: Any, module: str) -> int:
    [pid] = [
        pid
        for pid in make_dev.children()
        if f"-m\0{module}\0".encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return int(pid)


@pytest.mark.opensearch
async def test_events_in_both_queues_are_stored_and_searchable_after_the_next_start(make_dev: Any):
    make_dev.env["OCELOT_DEV_DRAIN_SEC"] = "600"
    await make_dev.start_whole()
    await make_dev.wait_for("Ready in")
    dev = make_dev.dev_file()
    async with httpx.AsyncClient(base_url=dev["api_url"], timeout=120) as http:
        api = Api(dev, http)
        os.kill(pid_of(make_dev, "ocelot_indexer"), signal.SIGSTOP)
        ids = {"acme": await api.send("acme", NUMBER), "globex": []}
        await until(lambda: api.has("acme", ids["acme"]), "stored, and not indexed")
        os.kill(pid_of(make_dev, "ocelot_consumer"), signal.SIGSTOP)
        ids["acme"] += await api.send("acme", NUMBER)
        ids["globex"] += await api.send("globex", NUMBER)
    await make_dev.send("nobody signed this")

    # Workers that are stopped drain nothing; the second signal kills them with what they hold.
    make_dev.process.send_signal(signal.SIGINT)
    await make_dev.wait_for("Stopping")
    await asyncio.sleep(1)
    make_dev.process.send_signal(signal.SIGINT)
    assert await make_dev.end() == 0
    assert told(make_dev, "Saved", "ingest queue")
    assert told(make_dev, "Saved", "index queue")
    assert not re.search("lost", make_dev.output, re.IGNORECASE)

    # The keys rotate; and a start was killed between sending a file and removing it.
    add_key(make_dev.state_dir / "queue-keys", new_queue_key())
    files = saved(make_dev)
    for file in files:
        shutil.copyfile(file, file.with_name(f"{file.stem.rpartition('-')[0]}-1.ndjson"))

    await make_dev.start_whole()
    await make_dev.wait_for("Ready in")
    assert saved(make_dev) == []
    dev = make_dev.dev_file()
    async with httpx.AsyncClient(base_url=dev["api_url"], timeout=120) as http:
        api = Api(dev, http)
        for tenant, expected in ids.items():

            async def is_found(tenant: str = tenant, expected: list[str] = expected) -> bool:
                await asyncio.sleep(0.5)
                return await api.found(tenant) == ("opensearch", len(expected), set(expected))

            await until(is_found, f"every event of {tenant}, once")
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(dev["mongodb_url"])
    async with client:
        letters = client[dev["mongodb_database"]][DEAD_LETTERS]

        async def noticed() -> bool:
            return await letters.count_documents({}) > 0

        await until(noticed, "the notice of what nobody signed")
        found = [(each["reason"], each["content"]) async for each in letters.find()]
    assert found == [("unauthenticated", "nobody signed this")]
    make_dev.process.send_signal(signal.SIGTERM)
    assert await make_dev.end() == 0
    assert not re.search("lost", make_dev.output, re.IGNORECASE)
