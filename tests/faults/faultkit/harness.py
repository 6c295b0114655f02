"""An installation whose services reach every backend through a proxy, and the checks on it."""

import asyncio
import random
import re
import secrets
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
from opensearchpy import AsyncOpenSearch
from pymongo.asynchronous.database import AsyncDatabase

from faultkit.client import Client
from faultkit.events import Batch, batches, shared_ids
from faultkit.ledger import Found, Ledger, Verdict, compare, in_mongodb, in_opensearch
from faultkit.proxy import Proxy
from ocelot_common import mongo, opensearch
from ocelot_common.queue.client import SqsClient
from ocelot_common.queue.depth import Depth, read_depth
from ocelot_common.registry.model import Isolation, Space, Tenant
from ocelot_devstack.backends import Backends
from ocelot_devstack.provisioning import TenantMaker, open_tenant_maker
from ocelot_devstack.pytest_plugin import PATIENT_SQS_ENV, SERVICE_ENV, dev_settings
from ocelot_devstack.queues import open_sqs
from ocelot_devstack.services import SERVICES, ServiceProcess, ServiceSpec
from ocelot_devstack.stack import Stack

#: Of messages in the quick part; SQS's 60 s, as it ships, in the long one.
QUICK_VISIBILITY_SEC: Final = 8
_IMPATIENT: Final = Path(__file__).with_name("impatient.py")
_READY_SEC: Final = 180.0


class Access(NamedTuple):
    """One tenant with its account and headers."""

    tenant: Tenant
    ledger: Ledger
    writer: dict[str, str]
    reader: dict[str, str]
    auditor: dict[str, str]
    admin: dict[str, str]


class Harness:
    """Everything that a test of faults needs.

    Attributes:
        proxies: by backend: `mongodb`, `sqs`, `opensearch`; between them and every service.
        long: whether this is the long part.
        notes: lines for the end of the session.
    """

    def __init__(
        self,
        stack: Stack,
        maker: TenantMaker,
        database: AsyncDatabase[dict[str, Any]],
        search: AsyncOpenSearch,
        sqs: SqsClient,
        proxies: dict[str, Proxy],
        *,
        long: bool,
        notes: list[str],
    ) -> None:
        self.stack = stack
        self.maker = maker
        self.database = database
        self.search = search
        self.sqs = sqs
        self.proxies = proxies
        self.long = long
        self.notes = notes
        self.http = httpx.AsyncClient(timeout=90, trust_env=False)
        self.services: dict[str, ServiceProcess] = {}

    def env(self) -> dict[str, str]:
        """What leads a service through the proxies."""
        at = {name: proxy.address for name, proxy in self.proxies.items()}
        queues = self.stack.queues.as_dict()
        real = self.stack.sqs_endpoint_url.rstrip("/")
        urls = {name: url.replace(real, f"http://{at['sqs']}") for name, url in queues.items()}
        return {
            "MONGODB_URL": f"mongodb://{at['mongodb']}/?directConnection=true",
            "AWS_ENDPOINT_URL_SQS": f"http://{at['sqs']}",
            "SQS_QUEUE_URL": urls["ingest"],
            "SQS_DLQ_URL": urls["ingest_dlq"],
            "SQS_INDEX_QUEUE_URL": urls["index"],
            "SQS_INDEX_DLQ_URL": urls["index_dlq"],
            "OPENSEARCH_URL": f"http://{at['opensearch']}",
        }

    async def start(self, name: str, **env: str) -> ServiceProcess:
        """One more instance of a service, behind the proxies, ready."""
        process = await self.stack.start_service(name, extra_env={**self.env(), **env})
        await process.wait_ready(_READY_SEC)
        return process

    @asynccontextmanager
    async def environment(self, name: str, **env: str) -> AsyncIterator[None]:
        """Run one of the installation's own services with other variables for a while."""
        process = self.services[name]
        before = process.env
        for variables in ({**before, **env}, before):
            await process.stop()
            process.env = variables
            await process.start()
            await process.wait_ready(_READY_SEC)
            if variables is not before:
                yield

    async def start_all(self) -> None:
        """The installation's own api, consumer and indexer."""
        names = [spec.name for spec in SERVICES]
        started = await asyncio.gather(*(self.start(name) for name in names))
        self.services = dict(zip(names, started, strict=True))

    async def restore(self) -> None:
        """End every fault: proxies healed, backends and services running and ready."""
        for proxy in self.proxies.values():
            await proxy.heal()
        for backend in self.stack.backends.all:
            if backend.process is not None:
                backend.process.resume()
                await backend.process.start()
                await backend.process.wait_ready(240)
        for process in self.services.values():
            process.resume()
            await process.start()
        await asyncio.gather(*(p.wait_ready(_READY_SEC) for p in self.services.values()))

    @property
    def api_url(self) -> str:
        """Of the installation's own api."""
        return self.services["api"].url

    async def tenants(self) -> list[Access]:
        """Two Dedicated tenants, the id of one the beginning of the other's, and two Shared."""
        stem = f"acme-{secrets.token_hex(3)}"
        wanted = (
            (stem, Isolation.DEDICATED),
            (f"{stem}-corp", Isolation.DEDICATED),
            (f"{stem}-one", Isolation.SHARED),
            (f"{stem}-two", Isolation.SHARED),
        )
        made = [await self.tenant(name, isolation) for name, isolation in wanted]
        for access in made:
            assert await holds(partial(self._is_known, access), timeout_sec=120)
        return made

    async def _is_known(self, access: Access) -> bool:
        """Whether the api knows a tenant: it can answer its writes while MongoDB is away."""
        url = f"{self.api_url}/api/v1/logs"
        answer = await self.http.get(url, headers=access.writer)
        return answer.status_code == HTTPStatus.FORBIDDEN  # a writer reads nothing

    async def tenant(
        self, tenant_id: str = "", isolation: Isolation = Isolation.DEDICATED
    ) -> Access:
        """One tenant."""
        tenant = await self.maker.create(tenant_id or f"t-{secrets.token_hex(5)}", isolation)
        writer, reader, auditor, admin = (
            {"Authorization": f"Bearer {self.maker.token(tenant, role)}"}
            for role in ("writer", "reader", "auditor", "admin")
        )
        return Access(tenant, Ledger(tenant), writer, reader, auditor, admin)

    async def space_of(self, tenant: Tenant) -> Space:
        """The tenant's space, read now."""
        space = await self.maker.store.space(tenant.space)
        assert space is not None
        return space

    @asynccontextmanager
    async def client(
        self, access: Access, rng: random.Random, **options: float
    ) -> AsyncIterator[Client]:
        """A client of one tenant."""
        async with Client(self.api_url, access.writer, access.ledger, rng, **options) as client:
            yield client

    async def deliver(
        self,
        tenants: Sequence[Access],
        rng: random.Random,
        events: int,
        *,
        over_sec: float = 0.0,
        at_once: int = 2,
        patience_sec: float = 300.0,
    ) -> Counter[str]:
        """Deliver so many events, shared out among tenants that use the same ids; the answers.

        Args:
            tenants: to deliver to.
            rng: the round's.
            events: in all.
            over_sec: spread the requests over so long, or longer where answers take longer.
            at_once: requests of one tenant.
            patience_sec: for one batch.
        """
        ids = shared_ids(rng, events // len(tenants) // 3)
        answers: Counter[str] = Counter()

        async def one(access: Access, own: random.Random) -> None:
            plan: list[Batch] = list(batches(own, access.tenant.id, ids, events // len(tenants)))
            async with self.client(access, own, patience_sec=patience_sec) as client:
                pause_sec = over_sec * at_once / len(plan)
                await client.deliver_all(plan, at_once=at_once, pause_sec=pause_sec)
                answers.update(client.answers)

        async with asyncio.TaskGroup() as group:
            for access in tenants:
                group.create_task(one(access, random.Random(rng.random())))
        return answers

    async def stored_count(self, tenants: Sequence[Access]) -> int:
        """Documents of these tenants in MongoDB."""
        return sum([await self._count_stored(access) for access in tenants])

    async def _count_stored(self, access: Access) -> int:
        space = await self.space_of(access.tenant)
        return await self.database[space.collection].count_documents({"t": access.tenant.uid})

    async def indexed_count(self, tenants: Sequence[Access]) -> int:
        """Documents of these tenants in OpenSearch."""
        number = 0
        for access in tenants:
            space = await self.space_of(access.tenant)
            for entry in space.indices:
                await self.search.indices.refresh(index=entry.index)
                answer = await self.search.count(
                    index=entry.index, body={"query": {"term": {"t": access.tenant.uid}}}
                )
                number += int(re.search(r'"count":(\d+)', answer)[1])  # type: ignore[index]
        return number

    async def settle(self, tenants: Sequence[Access], *, timeout_sec: float = 600) -> None:
        """Wait until everything acknowledged is in both stores and nothing is left in the queues.

        Only then can a message that comes again have doubled something.
        """
        wanted = sum(len(access.ledger.acknowledged) for access in tenants)

        async def in_both() -> bool:
            return (
                await self.stored_count(tenants) >= wanted
                and await self.indexed_count(tenants) >= wanted
            )

        with_context = f"{wanted} events in both stores"
        if not await holds(in_both, timeout_sec=timeout_sec, every_sec=0.5):
            # `verdict` tells which are missing.
            self.notes.append(f"not settled within {timeout_sec:g} s: {with_context}")
            return
        await self.until_idle(timeout_sec=timeout_sec)

    async def until_idle(self, *, timeout_sec: float = 300) -> None:
        """Wait until both queues are empty, messages in hand included."""

        async def idle() -> bool:
            return not any([(await self.depth(queue)).total for queue in ("ingest", "index")])

        if not await holds(idle, timeout_sec=timeout_sec, every_sec=0.5):
            depths = {queue: await self.depth(queue) for queue in ("ingest", "index")}
            raise AssertionError(f"the queues did not run empty: {depths}")

    async def depth(self, queue: str) -> Depth:
        """What waits in a queue."""
        return await read_depth(self.sqs, self.stack.queues.as_dict()[queue])

    async def verdict(self, tenants: Sequence[Access]) -> Verdict:
        """Compare both stores with the ledgers, event by event."""
        verdict = Verdict()
        for access in tenants:
            tenant, ledger = access.tenant, access.ledger
            space = await self.space_of(tenant)
            stored = await in_mongodb(self.database, tenant, space)
            compare(stored, ledger, verdict, store="mongodb")
            indexed: list[Found] = await in_opensearch(self.search, tenant, space)
            compare(indexed, ledger, verdict, store="opensearch")
        verdict.acknowledged //= 2  # counted once a store
        return verdict

    async def check(self, tenants: Sequence[Access], what: str) -> Verdict:
        """Settle, compare, and note the figures: nothing lost, doubled, altered or foreign."""
        await self.settle(tenants)
        verdict = await self.verdict(tenants)
        self.note(f"{what}: {_listed(verdict.figures())}")
        assert verdict.clean, f"{what}: {verdict.figures()} {verdict.samples()}"
        uids = [access.tenant.uid for access in tenants]
        letters = await self.database["dead_letters"].find({"t": {"$in": uids}}).to_list()
        assert letters == []
        return verdict

    def note(self, line: str) -> None:
        """Keep a line for the end of the session, and show it where output is shown."""
        self.notes.append(line)
        print(line)  # noqa: T201 - the figures of a run, in the report of `-rP`

    async def metric(self, service: str | ServiceProcess, name: str, **labels: str) -> float:
        """One sample of a service's metrics; 0 where there is none."""
        process = self.services[service] if isinstance(service, str) else service
        text = (await self.http.get(f"{process.probes_url}/metrics")).text
        wanted = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        pattern = rf"^{name}{re.escape('{' + wanted + '}') if wanted else ''} (\S+)$"
        match = re.search(pattern, text, re.MULTILINE)
        return float(match[1]) if match else 0.0

    async def rebuild(self, access: Access) -> str:
        """Ask for a rebuild of a tenant's whole index; the job's id."""
        answer = await self.http.post(
            f"{self.api_url}/api/v1/logs/index/bulk", json={"all": True}, headers=access.admin
        )
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    async def job(self, access: Access, job_id: str) -> dict[str, Any]:
        """A job of a tenant as it is now."""
        answer = await self.http.get(f"{self.api_url}/api/v1/jobs/{job_id}", headers=access.admin)
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        return job

    async def get(self, access: Access, path: str, **params: str) -> httpx.Response:
        """A read of one tenant."""
        return await self.http.get(f"{self.api_url}{path}", params=params, headers=access.reader)


def _listed(figures: dict[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in figures.items())


async def holds(
    probe: Callable[[], Awaitable[bool]], *, timeout_sec: float, every_sec: float = 0.1
) -> bool:
    """Whether the probe says yes within the time."""
    deadline = time.monotonic() + timeout_sec
    while True:
        if await probe():
            return True
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(every_sec)


def _specs(*, long: bool) -> tuple[ServiceSpec, ...]:
    if long:
        return SERVICES
    # -P: the modules beside the launcher are none of a service.
    launcher = (sys.executable, "-P", str(_IMPATIENT), str(QUICK_VISIBILITY_SEC))
    return tuple(
        replace(spec, argv=(*launcher, spec.argv[-1])) if spec.drains else spec for spec in SERVICES
    )


@asynccontextmanager
async def open_harness(
    backends: Backends, state_dir: Path, *, long: bool, notes: list[str]
) -> AsyncIterator[Harness]:
    """An installation on the session's backends, its services running behind proxies."""
    stack = Stack(
        dev_settings(state_dir),
        backends=backends,
        name=secrets.token_hex(4),
        services=_specs(long=long),
        env=PATIENT_SQS_ENV if long else SERVICE_ENV,
        report=lambda _: None,
    )
    async with AsyncExitStack() as cleanup:
        await cleanup.enter_async_context(stack)
        maker = await cleanup.enter_async_context(open_tenant_maker(stack.installation))
        client = mongo.connect(stack.mongodb_url, app_name="faults")
        cleanup.push_async_callback(client.close)
        assert stack.opensearch_url is not None
        search = opensearch.connect(stack.opensearch_url, raw_answers=True)
        cleanup.push_async_callback(search.close)
        sqs = await cleanup.enter_async_context(
            open_sqs(stack.sqs_endpoint_url, stack.settings.aws_env())
        )
        targets = {
            "mongodb": stack.mongodb_url,
            "sqs": stack.sqs_endpoint_url,
            "opensearch": stack.opensearch_url,
        }
        proxies = {
            name: await cleanup.enter_async_context(Proxy(url)) for name, url in targets.items()
        }
        database = client[stack.installation.mongodb_database]
        harness = Harness(stack, maker, database, search, sqs, proxies, long=long, notes=notes)
        cleanup.push_async_callback(harness.http.aclose)
        cleanup.push_async_callback(stack.remove)
        cleanup.push_async_callback(stack.stop_services)
        await harness.start_all()
        yield harness
        await harness.restore()
