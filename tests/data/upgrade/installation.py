"""Makes an installation, uses it, and writes what it leaves. `make.py` runs it.

Events of three tenants, a dead letter, a hold, a suspension, a rebuild that ended and one that was
killed while it waited for propagation, a job that waits, messages in the index queue, in the ingest
queue and in a dead letter queue.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from bson import json_util

from ocelot_common import mongo
from ocelot_common.dead_letters import DeadLetter, DeadLetterStore, Reason, Stage
from ocelot_common.holds import HoldStore
from ocelot_common.ids import new_id
from ocelot_common.jobs.model import JobKind
from ocelot_common.jobs.store import JobStore
from ocelot_common.registry.model import Isolation, Tenant
from ocelot_common.timestamps import now_ms
from ocelot_devstack.kept_queues import KeptQueues
from ocelot_devstack.provisioning import TenantMaker, open_tenant_maker
from ocelot_devstack.pytest_plugin import dev_settings
from ocelot_devstack.queues import open_sqs
from ocelot_devstack.stack import Stack

NAME = "upgrade"
QUICK = {
    "OCELOT_SQS_TIMEOUT_SEC": "15",
    "OCELOT_REBUILD_SETTLE_SEC": "3",
    "OCELOT_UPKEEP_EVERY_SEC": "2",
}
#: A rebuild stays in its first phase until it is killed.
SETTLING = {"OCELOT_REBUILD_SETTLE_SEC": "600"}
KEYED = {"action": "order.create", "actor": {"id": "shop"}}
KEY = {"Idempotency-Key": "order-4711"}
LETTER = {"action": "document.read", "actor": {"id": "late"}, "message": "from a letter"}


async def until(probe: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(300):
        while not await probe():  # noqa: ASYNC110 - polls from outside
            await asyncio.sleep(0.2)


class Installation:
    """A running installation and its tenants."""

    def __init__(self, stack: Stack, maker: TenantMaker, database: Any) -> None:
        self.stack = stack
        self.maker = maker
        self.database = database
        self.tenants: dict[str, Tenant] = {}
        self.tokens: dict[str, dict[str, str]] = {}
        api = next(service for service in stack.services if service.spec.name == "api")
        self.http = httpx.AsyncClient(base_url=f"{api.url}/api/v1", timeout=120)
        self._env = {
            **os.environ,
            **stack.installation.service_env(probes_port=0),
            "OCELOT_DEV_JSON": "",
            "OCELOT_INDEX_PREFIX": stack.installation.index_prefix,
        }

    async def create(self, name: str, isolation: Isolation) -> None:
        tenant = self.tenants[name] = await self.maker.create(name, isolation)
        self.tokens[name] = {
            role: self.maker.token(tenant, role, ttl=timedelta(days=36_500))
            for role in ("writer", "reader", "admin")
        }

    async def ocelot(self, *args: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ocelot_cli", *args), env=self._env, stdout=subprocess.PIPE
        )
        printed = (await process.communicate())[0].decode()
        if process.returncode != 0:
            raise SystemExit(f"ocelot {' '.join(args)} failed")
        return printed

    async def get(self, path: str, tenant: str, **params: Any) -> Any:
        bearer = {"Authorization": f"Bearer {self.tokens[tenant]['reader']}"}
        answer = await self.http.get(path, params=params, headers=bearer)
        return answer.raise_for_status().json()

    async def write(self, tenant: str, numbers: range) -> None:
        for n in numbers:
            event = {
                "action": ("document.read", "document.update", "auth.logon")[n % 3],
                "actor": {"id": f"user-{n % 4}", "name": f"User {n % 4}"},
                "targets": [{"type": "document", "id": f"d-{n}"}],
                "outcome": ("success", "denied")[n % 5 == 0],
                "message": f"event {n} of {tenant}",
                "occurred_at": f"2026-{10 + n % 2}-{1 + n % 28:02}T12:00:00Z",
                "metadata": {"order_id": n, "note": None},
            }
            await self.post(tenant, event)

    async def post(self, tenant: str, event: dict[str, Any], **headers: str) -> Any:
        bearer = {"Authorization": f"Bearer {self.tokens[tenant]['writer']}"}
        answer = await self.http.post("/logs", json=event, headers=bearer | headers)
        return answer.raise_for_status().json()

    async def until_searchable(self, tenant: str, number: int) -> None:
        async def searchable() -> bool:
            return len((await self.get("/logs", tenant, limit=1_000))["items"]) == number

        await until(searchable)

    async def until_stored(self, tenant: str, number: int) -> None:
        space = await self.maker.store.space(self.tenants[tenant].space)
        assert space is not None
        events = self.database[space.collection]

        async def stored() -> bool:
            return bool(await events.count_documents({"t": self.tenants[tenant].uid}) == number)

        await until(stored)


async def use(made: Installation) -> None:
    """Write, index, hold, suspend, rebuild, and fail to store an event."""
    for name, isolation, number in (
        ("acme", Isolation.DEDICATED, 30),
        ("globex", Isolation.SHARED, 8),
        ("initech", Isolation.SHARED, 5),
    ):
        await made.create(name, isolation)
        await made.write(name, range(number))
        await made.until_searchable(name, number)
    acme = made.tenants["acme"].uid
    await HoldStore(made.database).place(acme, reason="case 4711", owner="cli")
    await made.ocelot("tenants", "suspend", "initech")
    await made.ocelot("jobs", "rebuild", "--tenant", "globex", "--wait")
    letter = DeadLetter(
        stage=Stage.STORE,
        reason=Reason.NOT_STORABLE,
        uid=acme,
        event_id=new_id(),
        content=json.dumps(LETTER),
        detail="refused by MongoDB",
        received_at=now_ms(),
        writer="admin@acme",
    )
    await DeadLetterStore(made.database).put([letter])


async def answers(made: Installation) -> dict[str, Any]:
    """What the commit answers."""
    keyed = await made.post("acme", KEYED, **KEY)
    await made.until_searchable("acme", 31)
    seen: dict[str, Any] = {"events": {}, "stats": {}, "tokens": made.tokens}
    seen["keyed"] = {"event": KEYED, "headers": KEY, "answer": keyed}
    seen["page"] = await made.get("/logs", "acme", limit=10)
    for name in ("acme", "globex"):
        seen["events"][name] = (await made.get("/logs", name, limit=1_000))["items"]
        seen["stats"][name] = await made.get("/logs/stats", name, group_by="action")
    for group in ("tenants", "holds", "dead-letters"):
        seen[group] = values_of(await made.ocelot(group, "list", "--json"))
    return seen


def values_of(text: str) -> list[Any]:
    """The values that a command printed as JSON: one per line, or an array."""
    decoder = json.JSONDecoder()
    found: list[Any] = []
    while text := text.strip():
        value, end = decoder.raw_decode(text)
        found += value if isinstance(value, list) else [value]
        text = text[end:]
    return found


async def interrupt(made: Installation) -> None:
    """Stop the processes one after the other, in the middle of their work."""
    stack, jobs = made.stack, made.database.jobs
    await stack.stop_services("jobs")
    process = await stack.start_service("jobs", extra_env=SETTLING)
    await process.wait_ready(300)
    await made.ocelot("jobs", "rebuild", "--tenant", "acme")

    async def settling() -> bool:
        return bool(await jobs.count_documents({"phase": "settling"}) == 1)

    await until(settling)
    await process.kill()
    await JobStore(made.database).create(JobKind.RETRY, created_by="fixture", spec={"keys": []})
    await stack.stop_services("indexer")
    await made.write("acme", range(30, 35))
    await made.until_stored("acme", 36)
    await stack.stop_services("consumer")
    await made.write("acme", range(35, 40))
    async with open_sqs(stack.sqs_endpoint_url, stack.settings.aws_env()) as sqs:
        await sqs.send_message(QueueUrl=stack.queues.ingest_dlq, MessageBody="forged")
    await stack.stop_services()


async def mongodb(database: Any) -> Any:
    """What MongoDB holds."""
    dump = {}
    async for found in await database.list_collections():
        collection = database[found["name"]]
        dump[found["name"]] = {
            "options": found["options"],
            "indexes": [dict(each) async for each in await collection.list_indexes()],
            "documents": [each async for each in collection.find()],
        }
    return json.loads(json_util.dumps(dump, json_options=json_util.CANONICAL_JSON_OPTIONS))


async def opensearch(stack: Stack) -> Any:
    """What OpenSearch holds."""
    dump = {}
    assert stack.opensearch_url is not None
    async with httpx.AsyncClient(base_url=stack.opensearch_url, timeout=120) as http:
        pattern = f"/{stack.installation.index_prefix}*"
        await http.post(f"{pattern}/_refresh")
        for name, index in (await http.get(pattern)).raise_for_status().json().items():
            for own in ("creation_date", "provided_name", "uuid", "version"):
                index["settings"]["index"].pop(own, None)
            everything = {"size": 10_000, "version": True, "sort": ["_doc"]}
            found = (await http.post(f"/{name}/_search", json=everything)).json()
            kept = ("_id", "_routing", "_version", "_source")
            index["documents"] = [
                {key: hit[key] for key in kept if key in hit} for hit in found["hits"]["hits"]
            ]
            dump[name] = index
    return dump


def write(path: Path, value: Any) -> None:
    """Write JSON of several lines, so that Git shows what changed."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


async def main(target: Path, state: Path) -> None:
    """Make everything; the state of the backends is in the other folder."""
    stack = Stack(dev_settings(state), name=NAME, env=QUICK)
    async with stack, open_tenant_maker(stack.installation) as maker:
        await stack.start_services(timeout_sec=300)
        async with mongo.connect(stack.mongodb_url, app_name="upgrade") as client:
            made = Installation(stack, maker, client[stack.installation.mongodb_database])
            async with made.http:
                await use(made)
                seen = await answers(made)
                await interrupt(made)
            await KeptQueues(stack, report=lambda _: None).save()
            write(target / "seen.json", seen | {"made_at_ms": now_ms()})
            write(target / "mongodb.json", await mongodb(made.database))
            write(target / "opensearch.json", await opensearch(stack))
    shutil.copytree(state / NAME / "queues", target / "state/queues")
    shutil.copy(state / NAME / "queue-keys", target / "state/queue-keys")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path("state").resolve()))
