"""`make fuzz`: random requests against a whole Ocelot (design §7, §5).

Fails on an answer of 5xx that is not documented, an error that is no problem document, a connection
that hangs, a process that ends, and an acknowledged event that is not stored with the equal text.
"""

import argparse
import asyncio
import hashlib
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import SystemRandom
from typing import Any, Final, NamedTuple

sys.path[:0] = [
    str(Path(__file__).parents[1] / part) for part in ("fuzz", "data", "integration/api")
]

import generate
import msgspec

from badinput.memory import Peak
from badinput.oddities import oddities
from badinput.tokens import Forge, token_rows
from badinput.wire import Answer, ClosedError
from mutations import Generator, Sending
from ocelot_common import mongo, opensearch
from ocelot_common.event import accept_event
from ocelot_common.event_limits import EventError, EventLimits
from ocelot_common.ids import format_id
from ocelot_common.mongo import events_of
from ocelot_common.reading import read_document
from ocelot_common.registry.model import Isolation, Space, Tenant
from ocelot_common.stored import StoredEvent
from ocelot_common.timestamps import now_ms
from ocelot_devstack.provisioning import TenantMaker, open_tenant_maker
from ocelot_devstack.pytest_plugin import dev_settings
from ocelot_devstack.stack import Stack

CONNECTIONS: Final = 8
PATIENCE_SEC: Final = 60.0
#: What cut or mutated framing may keep the api waiting for, before the client says that it is done.
WILD_PATIENCE_SEC: Final = 2.0
STORE_PATIENCE_SEC: Final = 180.0
TENANTS: Final = (Isolation.DEDICATED, Isolation.DEDICATED, Isolation.SHARED)
#: The codes of 5xx that README and OpenAPI tell of.
DOCUMENTED: Final = frozenset(
    {
        *(
            "queue_unavailable",
            "overloaded",
            "tenant_share",
            "registry_stale",
            "registry_unavailable",
        ),
        *("store_unavailable", "search_unavailable", "search_too_broad", "store_timeout"),
        "search_timeout",
    }
)


class FaultError(Exception):
    """What must not be."""


class Acknowledged(NamedTuple):
    """One event that was taken: which request it was in, and a hash of its content, if known."""

    number: int
    digest: bytes | None


def report(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def digest_of(document: dict[str, Any]) -> bytes:
    """Of an event's content as another JSON reader sees it, without its id."""
    content = {name: value for name, value in document.items() if name != "id"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()


class Fuzzer:
    """Sends requests and judges the answers."""

    def __init__(self, port: int, generator: Generator, known_ids: list[str]) -> None:
        self._port = port
        self._generator = generator
        self._known_ids = known_ids
        self._next = 0
        self.statuses: Counter[str] = Counter()
        self.acknowledged: dict[tuple[int, str], list[Acknowledged]] = defaultdict(list)
        self.faults: list[tuple[Sending, str]] = []

    async def run(self, deadline: float) -> None:
        """Send requests over connections of its own until the time is over."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(self._work(deadline))

    async def _work(self, deadline: float) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while time.monotonic() < deadline and len(self.faults) < 10:
            number, self._next = self._next, self._next + 1
            sending = self._generator.request(number)
            if connection is None or sending.wild:
                if connection is not None:
                    connection[1].close()
                connection = await asyncio.open_connection("127.0.0.1", self._port, limit=2**26)
            try:
                async with asyncio.timeout(PATIENCE_SEC):
                    answer = await exchange(*connection, sending)
                self._judge(number, sending, answer)
            except TimeoutError:
                self._fail(sending, f"{number}: the connection hangs")
            except ClosedError as error:
                self.statuses["closed"] += 1
                if not sending.wild:
                    self._fail(sending, f"{number}: closed without an answer: {error}")
            except FaultError as fault:
                self._fail(sending, f"{number}: {fault}")
            else:
                if not sending.wild and answer.headers.get("connection") != "close":
                    continue
            connection[1].close()
            connection = None

    def _fail(self, sending: Sending, what: str) -> None:
        report(what)
        self.faults.append((sending, what))

    def _judge(self, number: int, sending: Sending, answer: Answer) -> None:
        code = ""
        if "x-request-id" not in answer.headers:
            raise FaultError("no request id")
        if answer.status >= 400 and sending.method != "HEAD":
            code = self._code_of(sending, answer)
        self.statuses[f"{answer.status} {code}".strip()] += 1
        if answer.status >= 500 and sending.method != "HEAD" and code not in DOCUMENTED:
            raise FaultError(f"{answer.status} {code}: {answer.body[:500]!r}")
        if answer.status == 202:
            self._remember(number, sending, json.loads(answer.body))

    @staticmethod
    def _code_of(sending: Sending, answer: Answer) -> str:
        if sending.wild and len(answer.body) != int(answer.headers["content-length"]):
            return ""  # the mutated method may have been HEAD
        if answer.headers.get("content-type") != "application/problem+json":
            raise FaultError(f"{answer.status} is no problem: {answer.body[:200]!r}")
        document = json.loads(answer.body)
        if document["request_id"] != answer.headers["x-request-id"]:
            raise FaultError("another request id")
        if document["status"] != answer.status or not document["detail"]:
            raise FaultError(f"an odd problem: {answer.body[:200]!r}")
        return str(document["code"])

    def _remember(self, number: int, sending: Sending, body: dict[str, Any]) -> None:
        ids = [body["id"]] if "id" in body else body["ids"]
        if sending.plain is None:
            raws = [b""] * len(ids)
        else:
            raws = [sending.plain] if "id" in body else events_in(sending.plain)
        if len(raws) != len(ids):
            raise FaultError(f"{len(ids)} ids for {len(raws)} events")
        for raw, event_id in zip(raws, ids, strict=True):
            if event_id is None:
                continue
            digest = digest_of(json.loads(raw)) if raw else None
            self.acknowledged[sending.tenant, event_id].append(Acknowledged(number, digest))
            if len(self._known_ids) < 100_000:
                self._known_ids.append(event_id)


def events_in(plain: bytes) -> list[bytes]:
    """The events of a bulk body."""
    try:
        document = msgspec.json.decode(plain, type=list[msgspec.Raw] | dict[str, msgspec.Raw])
        if isinstance(document, list):
            return [bytes(raw) for raw in document]
        return [bytes(raw) for raw in msgspec.json.decode(document["logs"], type=list[msgspec.Raw])]
    except (msgspec.MsgspecError, KeyError, UnicodeDecodeError, RecursionError):
        return [line for line in plain.split(b"\n") if line.strip()]


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sending: Sending
) -> Answer:
    """Send one request and read its answer.

    Raises:
        ClosedError: the connection ended before the answer.
    """
    try:
        writer.write(sending.head + sending.body)
        await writer.drain()
        return await read_answer(reader, writer, sending)
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise ClosedError(repr(error)[:200]) from None


async def read_answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sending: Sending
) -> Answer:
    """The next answer but `100 Continue`."""
    status = 100
    while status == 100:
        reading = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
        if sending.wild:
            await asyncio.wait([reading], timeout=WILD_PATIENCE_SEC)
            if not reading.done():
                with suppress(OSError):  # closed in this moment, which `reading` tells
                    writer.write_eof()
        lines = (await reading).decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
    pairs = (line.partition(":") for line in lines[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    size = int(headers["content-length"])
    if sending.method == "HEAD":
        size = 0
    if not sending.wild:
        return Answer(status, headers, await reader.readexactly(size))
    try:
        async with asyncio.timeout(WILD_PATIENCE_SEC):
            return Answer(status, headers, await reader.readexactly(size))
    except (TimeoutError, asyncio.IncompleteReadError):
        return Answer(status, headers, b"")


def valid_events(seed: int) -> Iterator[bytes]:
    """The events from which mutations start."""
    lines = [
        *generate.generate(500, seed),
        *generate.mixed(300, seed),
        *(row.raw(f"odd.{number}") for number, row in enumerate(oddities())),
    ]
    for line in lines:
        raw = line if isinstance(line, bytes) else line.encode()
        try:
            accept_event(raw, now_ms=now_ms(), limits=EventLimits())
        except EventError:
            continue
        if len(raw) < 8_000 or hash(raw) % 4 == 0:  # the largest would take all of the time
            yield raw.replace(b"\n", b" ")


async def check_stored(
    stack: Stack, fuzzer: Fuzzer, maker: TenantMaker, tenants: list[Tenant]
) -> list[str]:
    """What is wrong with what was stored and indexed."""
    faults: list[str] = []
    client = mongo.connect(stack.mongodb_url, app_name="fuzz")
    database = client[stack.installation.mongodb_database]
    for index, tenant in enumerate(tenants):
        space = await maker.store.space(tenant.space)
        assert space is not None
        events = events_of(database, space.collection)
        wanted = {key[1]: acks for key, acks in fuzzer.acknowledged.items() if key[0] == index}
        deadline = time.monotonic() + STORE_PATIENCE_SEC
        number = -1
        while number < len(wanted) and time.monotonic() < deadline:
            number = await events.count_documents({"t": tenant.uid})
            await asyncio.sleep(1)
        stored = {}
        async for document in events.find({"t": tenant.uid}):
            event = read_document(document)
            assert isinstance(event, StoredEvent), event
            stored[format_id(event.id)] = digest_of(json.loads(event.text))
        indexed = await indexed_number(stack, space, tenant, len(stored), deadline)
        if indexed != len(stored):
            faults.append(f"{tenant.id}: {indexed:,} of {len(stored):,} events are indexed")
        letters: dict[str, set[bytes]] = defaultdict(set)
        async for letter in database["dead_letters"].find({"t": tenant.uid}):
            if letter["reason"] != "conflict":
                faults.append(f"dead letter {letter['reason']}: {letter['detail'][:300]}")
            letters[letter["event_id"]].add(digest_of(json.loads(letter["content"])))
        for event_id, acks in wanted.items():
            there = {stored.get(event_id), *letters[event_id]}
            faults += [
                f"{ack.number}: event {event_id} is not stored as it was sent"
                for ack in acks
                if event_id not in stored or ack.digest not in {None, *there}
            ]
        report(
            f"{tenant.id}: {len(stored):,} stored, {len(wanted):,} ids acknowledged,"
            f" {sum(map(len, letters.values())):,} conflicts"
        )
    await client.close()
    return faults


async def indexed_number(
    stack: Stack, space: Space, tenant: Tenant, wanted: int, deadline: float
) -> int:
    """How many events the index holds, once it holds them all or the time is over."""
    if stack.opensearch_url is None:
        return wanted
    client = opensearch.connect(stack.opensearch_url)
    number = -1
    while number != wanted and time.monotonic() < deadline:
        await asyncio.sleep(1)
        names = ",".join(entry.index for entry in space.indices)
        await client.indices.refresh(index=names)
        body = {"query": {"term": {"t": tenant.uid}}}
        number = (await client.count(index=names, body=body))["count"]
    await client.close()
    return number


async def fuzz(arguments: argparse.Namespace, state: Path) -> int:
    """Start everything, send, compare; the number of faults."""
    async with Stack(dev_settings(state), name="fuzz", report=report) as stack:
        async with open_tenant_maker(stack.installation) as maker:
            tenants = [
                await maker.create(f"fuzz-{index}", isolation)
                for index, isolation in enumerate(TENANTS)
            ]
            suspended = await maker.create("fuzz-suspended")
            await maker.provisioner.suspend(suspended.id, owner=suspended.owner)
            await stack.start_services()
            names = ("suspended", "deleting", "revoked", "incarnation", "purged")
            forge = Forge(maker.key, tenants[0], dict.fromkeys(names, suspended))
            known_ids: list[str] = []
            generator = Generator(
                arguments.seed,
                events=list(valid_events(arguments.seed)),
                tokens=[
                    {
                        role: f"Bearer {maker.token(tenant, role)}"
                        for role in ("writer", "reader", "admin")
                    }
                    for tenant in tenants
                ],
                bad_tokens=[row.headers(forge) for row in token_rows()],
                known_ids=known_ids,
            )
            pids = {process.name: process.pid for process in stack.services}
            peaks = {process.name: Peak(process.pid) for process in stack.services}
            api = next(process for process in stack.services if process.spec.name == "api")
            fuzzer = Fuzzer(api.port, generator, known_ids)
            report(f"seed {arguments.seed}: {arguments.minutes:g} minutes")
            await fuzzer.run(time.monotonic() + arguments.minutes * 60)
            faults = await check_stored(stack, fuzzer, maker, tenants)
            for process in stack.services:
                if not process.running or process.pid != pids[process.name]:
                    faults.append(process.obituary())
            for line in faults[:20]:
                report(line)
            for name, peak in peaks.items():
                report(f"{name}: at most {peak.growth / 2**20:,.0f} MiB over its start")
        for number, (sending, what) in enumerate(fuzzer.faults):
            path = Path(tempfile.gettempdir()) / f"ocelot-fuzz-{arguments.seed}-{number}.http"
            path.write_bytes(sending.head + sending.body)
            report(f"{what}; its bytes: {path}")
        await stack.stop_services()
        await stack.remove()
    for status, count in sorted(fuzzer.statuses.items()):
        report(f"{count:>9,}  {status}")
    report(f"{fuzzer.statuses.total():>9,}  requests, {len(fuzzer.faults) + len(faults)} faults")
    return len(fuzzer.faults) + len(faults)


def main() -> None:
    """Parse arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    sys.set_int_max_str_digits(0)  # integers of any length come back as text
    with tempfile.TemporaryDirectory(prefix="ocelot-fuzz-") as folder:
        sys.exit(1 if asyncio.run(fuzz(arguments, Path(folder))) else 0)


if __name__ == "__main__":
    main()
