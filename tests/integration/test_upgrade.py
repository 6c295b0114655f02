"""What an earlier commit left in MongoDB, SQS, OpenSearch and tokens works with this one.

`tests/data/upgrade/make.py` made it, by running that commit. docs/operations/upgrading.md has the
table of what is checked here.
"""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import jwt
import pytest
import pytest_asyncio
from bson import json_util
from opensearchpy import AsyncOpenSearch
from pymongo.asynchronous.database import AsyncDatabase

from ocelot_common import mongo, opensearch
from ocelot_common.auth.tokens import EVERY_TENANT, mint_token
from ocelot_common.settings import TokenSettings
from ocelot_devstack.backends import Backends
from ocelot_devstack.kept_queues import KeptQueues
from ocelot_devstack.provisioning import TenantMaker, open_tenant_maker
from ocelot_devstack.pytest_plugin import SERVICE_ENV, dev_settings
from ocelot_devstack.stack import Stack

LEFT = Path(__file__).parents[1] / "data/upgrade/8fe0322"
#: Of the installation; the names of its indices begin with it.
NAME = "upgrade"
SEEN = json.loads((LEFT / "seen.json").read_text())
MADE_AT = datetime.fromtimestamp(SEEN["made_at_ms"] / 1000, UTC)
pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

Object = dict[str, Any]


class Ended(NamedTuple):
    """A command that has ended."""

    status: int
    out: str
    err: str

    def lines(self) -> list[Any]:
        """What it printed as NDJSON."""
        return [json.loads(line) for line in self.out.splitlines()]


class Upgraded:
    """The installation, with the processes of this commit."""

    def __init__(self, stack: Stack, maker: TenantMaker, database: AsyncDatabase[Object]) -> None:
        self.maker = maker
        self.database = database
        self._stack = stack
        api = next(service for service in stack.services if service.spec.name == "api")
        self.http = httpx.AsyncClient(base_url=f"{api.url}/api/v1", timeout=120)
        installation = stack.installation
        self._env = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            **installation.service_env(probes_port=0),
            "OCELOT_API_URL": api.url,
            "OCELOT_DEV_JSON": "",
            "OCELOT_INDEX_PREFIX": installation.index_prefix,
            "OCELOT_SIGNING_KEY_FILE": str(installation.signing_key_file),
        }

    async def ocelot(self, *args: str) -> Ended:
        """Run a command as an administrator."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ocelot_cli", *args),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._env,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())

    async def get(self, path: str, tenant: str, role: str = "reader", **params: Any) -> Any:
        """Ask the api with a token of the earlier commit."""
        bearer = {"Authorization": f"Bearer {SEEN['tokens'][tenant][role]}"}
        return await self.http.get(path, params=params, headers=bearer)

    async def events(self, tenant: str) -> dict[str, Object]:
        """All events that a search finds, by id."""
        answer = await self.get("/logs", tenant, limit=1_000)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert page["backend"] == "opensearch"
        return {event["id"]: event for event in page["items"]}

    async def job(self, kind: str, uid: str = "") -> Object:
        """The one job of a kind, and of a tenant."""
        found = [each async for each in self.database.jobs.find({"kind": kind, "t": uid})]
        assert len(found) == 1
        return found[0]


def uid_of(tenant: str) -> str:
    return next(str(each["uid"]) for each in SEEN["tenants"] if each["id"] == tenant)


async def load_mongodb(database: AsyncDatabase[Object]) -> None:
    """Put back collections, indexes and documents. Jobs are as old as if they had just been left:
    those that ended are forgotten after 90 days."""
    passed = datetime.now(UTC) - MADE_AT
    for name, dump in json_util.loads((LEFT / "mongodb.json").read_text()).items():
        collection = await database.create_collection(name, **dump["options"])
        for index in dump["indexes"]:
            keys = list(index.pop("key").items())
            if index["name"] != "_id_":
                del index["v"]
                await collection.create_index(keys, **index)
        documents = dump["documents"]
        if name == "jobs":
            documents = [later(document, passed) for document in documents]
        if documents:
            await collection.insert_many(documents)


def later(document: Object, passed: timedelta) -> Object:
    return {
        name: value + passed if isinstance(value, datetime) else value
        for name, value in document.items()
    }


async def load_opensearch(search: AsyncOpenSearch) -> None:
    for name, dump in json.loads((LEFT / "opensearch.json").read_text()).items():
        documents = dump.pop("documents")
        await search.indices.create(index=name, body=dump)
        for document in documents:
            await search.index(
                index=name,
                id=document["_id"],
                body=document["_source"],
                version=document["_version"],
                version_type="external",
                **({"routing": document["_routing"]} if "_routing" in document else {}),
            )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def upgraded(
    backends: Backends, opensearch_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Upgraded]:
    if backends.sqs.process is None:
        pytest.skip("messages are sent again to an SQS of our own alone")
    folder = tmp_path_factory.mktemp("upgrade")
    shutil.copytree(LEFT / "state", folder / NAME)
    stack = Stack(
        dev_settings(folder), backends=backends, name=NAME, env=SERVICE_ENV, report=lambda _: None
    )
    async with stack:
        client = mongo.connect(stack.mongodb_url, app_name="tests")
        database = client[stack.installation.mongodb_database]
        try:
            await load_mongodb(database)
            async with opensearch.connect(opensearch_url) as search:
                await load_opensearch(search)
            async with open_tenant_maker(stack.installation) as maker:
                await KeptQueues(stack, report=lambda _: None).restore()
                await stack.start_services(timeout_sec=300)
                running = Upgraded(stack, maker, database)
                async with running.http:
                    yield running
        finally:
            await stack.stop_services()
            await stack.remove()
            await client.close()


async def test_what_was_searchable_is_found_unchanged_with_tokens_of_before(upgraded: Upgraded):
    for tenant in ("acme", "globex"):
        found = await upgraded.events(tenant)
        for event in SEEN["events"][tenant]:
            assert found[event["id"]] == event


async def test_statistics_are_those_of_before(upgraded: Upgraded):
    answer = await upgraded.get("/logs/stats", "globex", group_by="action")

    assert answer.json() == SEEN["stats"]["globex"]


async def test_a_search_goes_on_from_a_cursor_of_before(upgraded: Upgraded):
    before = [event["id"] for event in SEEN["page"]["items"]]
    rest = {event["id"] for event in SEEN["events"]["acme"]} - set(before)

    answer = await upgraded.get("/logs", "acme", limit=1_000, cursor=SEEN["page"]["next_cursor"])

    found = {event["id"] for event in answer.json()["items"]}
    assert rest <= found
    assert not found & set(before)


async def test_a_write_that_is_repeated_with_its_idempotency_key_stores_no_second_event(
    upgraded: Upgraded, until: Any
):
    keyed = SEEN["keyed"]
    bearer = {"Authorization": f"Bearer {SEEN['tokens']['acme']['writer']}"}

    repeated = await upgraded.http.post(
        "/logs", json=keyed["event"], headers=bearer | keyed["headers"]
    )
    other = await upgraded.http.post("/logs", json=keyed["event"], headers=bearer)

    assert (repeated.status_code, repeated.json()["id"]) == (202, keyed["answer"]["id"])

    async def later_one() -> bool:
        return other.json()["id"] in await upgraded.events("acme")

    await until(later_one, what="an event that was written after the repeated one")
    ids = [
        each["id"]
        for each in (await upgraded.events("acme")).values()
        if each["action"] == keyed["event"]["action"]
    ]
    assert sorted(ids) == sorted([keyed["answer"]["id"], other.json()["id"]])


async def test_messages_that_waited_in_the_queues_are_stored_and_indexed(
    upgraded: Upgraded, until: Any
):
    async def all_there() -> bool:
        found = [each.get("message") for each in (await upgraded.events("acme")).values()]
        return all(found.count(f"event {n} of acme") == 1 for n in range(40))

    await until(all_there, what="each event once, those that waited in the queues among them")


async def test_tenants_and_holds_are_as_before(upgraded: Upgraded):
    tenants = await upgraded.ocelot("tenants", "list", "--json")
    holds = await upgraded.ocelot("holds", "list", "--json")

    for shown, before in ((tenants.lines(), SEEN["tenants"]), (holds.lines(), SEEN["holds"])):
        assert len(shown) == len(before)
        # A later version may show further members.
        assert [each | was for each, was in zip(shown, before, strict=True)] == shown


async def test_a_suspended_tenant_stays_suspended(upgraded: Upgraded):
    answer = await upgraded.get("/logs", "initech")

    assert (answer.status_code, answer.json()["code"]) == (403, "tenant_suspended")


async def test_a_rebuild_that_was_killed_in_its_first_phase_goes_on(upgraded: Upgraded, until: Any):
    before = next(
        job
        for job in json_util.loads((LEFT / "mongodb.json").read_text())["jobs"]["documents"]
        if job["phase"] == "settling"
    )

    async def ended() -> Object | None:
        job = await upgraded.job("rebuild", uid_of("acme"))
        return job if not job["live"] else None

    job = await until(ended, timeout_sec=300, what="the rebuild")
    assert (job["_id"], job["state"], job["errors"]) == (before["_id"], "succeeded", [])
    assert job["epoch"] > before["epoch"]
    assert len(await upgraded.events("acme")) >= len(SEEN["events"]["acme"])


async def test_jobs_that_waited_run_and_recurring_ones_are_not_doubled(
    upgraded: Upgraded, until: Any
):
    async def ran() -> bool:
        retry = await upgraded.database.jobs.find_one({"created_by": "fixture"})
        assert retry is not None
        return bool(retry["state"] == "succeeded")

    await until(ran, what="the job that waited")
    for kind in ("periods", "drain", "sweep"):
        assert (await upgraded.job(kind))["live"]
    shown = await upgraded.ocelot("jobs", "list", "--kind", "index-lifecycle", "--json")
    assert [job["kind"] for job in shown.lines()] == ["periods"]


async def test_a_message_that_nobody_can_authenticate_becomes_a_dead_letter(
    upgraded: Upgraded, until: Any
):
    async def collected() -> Object | None:
        return await upgraded.database.dead_letters.find_one({"reason": "unauthenticated"})

    letter = await until(collected, what="the dead letter of the forged message")
    assert letter["content"] == "forged"


async def test_a_dead_letter_of_before_is_listed_and_can_be_retried(upgraded: Upgraded, until: Any):
    (letter,) = SEEN["dead-letters"]
    listed = await upgraded.ocelot("dead-letters", "list", "--tenant", "acme", "--json")
    assert letter in listed.lines()

    retried = await upgraded.ocelot("dead-letters", "retry", letter["_id"])
    assert retried.status == 0, retried.err

    async def stored() -> Object | None:
        return (await upgraded.events("acme")).get(letter["event_id"])

    event = await until(stored, what="the event of the dead letter")
    assert event["message"] == "from a letter"
    left = await upgraded.ocelot("dead-letters", "list", "--tenant", "acme", "--json")
    assert letter["_id"] not in [each["_id"] for each in left.lines()]


@pytest.mark.parametrize(("role", "status"), [("operator", 200), ("installer", 403)])
async def test_a_token_with_the_role_of_before_is_accepted(
    upgraded: Upgraded, role: str, status: int
):
    defaults = TokenSettings()
    key = upgraded.maker.key
    token = mint_token(
        key,
        subject="ops",
        tenants=EVERY_TENANT,
        role="installation-admin",
        ttl=timedelta(minutes=30),
        issuer=defaults.token_issuer,
        audience=defaults.token_audience,
    )
    claims = jwt.decode(token, options={"verify_signature": False})
    headers = jwt.get_unverified_header(token)
    signed = jwt.encode(claims | {"role": role}, key.private, "ES256", headers)

    answer = await upgraded.http.get(
        "/logs", headers={"Authorization": f"Bearer {signed}", "X-Tenant-ID": "acme"}
    )

    assert answer.status_code == status, answer.text
