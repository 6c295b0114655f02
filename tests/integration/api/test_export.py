"""An export is exactly what is stored, in order, in every form; and says so where it is not."""

import asyncio
import csv
import gzip
import hashlib
import io
import json
import random
import re
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx
import msgspec
import pytest
import pytest_asyncio
import zstandard
from prometheus_client import CollectorRegistry, Gauge
from starlette.datastructures import QueryParams

from ocelot_api.budget import FairPool, Refusal
from ocelot_api.export.parameters import read_export
from ocelot_api.export.stream import EXPORT_BYTES, ExportResponse
from ocelot_api.metrics import ApiMetrics
from ocelot_api.middleware import DRAINING
from ocelot_api.problems import Problem, unauthenticated, unavailable
from ocelot_api.search.mongo_backend import MongoBackend
from ocelot_api.search.query import SearchQuery, Sort
from ocelot_common.ids import format_id
from ocelot_common.registry.model import Home, Isolation
from ocelot_common.stored import StoredEvent, answer_json
from ocelot_common.timestamps import parse_rfc3339

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

EXPORT = "/api/v1/logs/export"
LOGS = "/api/v1/logs"
#: Over four stretches of an export: more than the api holds for a client that does not read.
NUMBER = 4_300


def made_lines() -> list[bytes]:
    """Many at one instant; large enough together that no socket's buffers hold them."""
    rng = random.Random(3)
    events = []
    for number in range(NUMBER):
        event: dict[str, Any] = {
            "action": f"document.{('read', 'update', 'delete')[number % 3]}",
            "actor": {"id": f"user-{number % 7}", "type": "user"},
            "occurred_at": f"2026-01-01T00:00:{rng.randrange(40):02d}Z",
            "message": f"event {number} {'even' if number % 2 == 0 else 'odd'} " + "x" * 2_000,
            "metadata": {"n": number, "f": 1.0, "big": 10**25, "plan": rng.choice(["pro", "free"])},
        }
        events.append(json.dumps(event).encode())
    return events


class Data(NamedTuple):
    """A tenant's stored events, in the order of an export."""

    access: Any
    auditor: dict[str, str]
    home: Home
    events: list[StoredEvent]

    def answers(self, events: list[StoredEvent] | None = None) -> list[bytes]:
        chosen = self.events if events is None else events
        return [answer_json(event, self.access.tenant.id) for event in chosen]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def data(running: Any, home_of: Any) -> Data:
    access = await running.tenant()
    lines = made_lines()
    await running.post_lines(access, lines)
    stranger = await running.tenant()
    await running.post_lines(stranger, lines[:50])
    events = await running.until_stored(access.tenant, NUMBER)
    events.sort(key=lambda event: (event.occurred_at, event.id))
    auditor = running.bearer(access.tenant, "auditor")
    return Data(access, auditor, await home_of(access.tenant), events)


def split(content: bytes) -> tuple[list[bytes], dict[str, Any]]:
    """The lines of events, and the trailer; its number and hash must be right."""
    *lines, last = content.splitlines(keepends=True)
    trailer: dict[str, Any] = json.loads(last)["export"]
    assert trailer["events"] == len(lines)
    assert trailer["sha256"] == hashlib.sha256(b"".join(lines)).hexdigest()
    return [line.removesuffix(b"\n") for line in lines], trailer


async def export(http: httpx.AsyncClient, data: Data, **params: Any) -> httpx.Response:
    answer = await http.get(EXPORT, params=params, headers=data.auditor)
    assert answer.status_code == 200, answer.text
    return answer


class TestForms:
    async def test_lines_are_the_stored_events_in_order_and_a_trailer(
        self, running: Any, data: Data
    ):
        answer = await export(running.http, data)
        lines, trailer = split(answer.content)
        assert lines == data.answers()
        assert trailer["complete"] is True
        assert trailer["next_cursor"] is None
        headers = answer.headers
        assert headers["content-type"] == "application/x-ndjson"
        name = f"{data.access.tenant.id}-audit-log.ndjson"
        assert headers["content-disposition"] == f'attachment; filename="{name}"'
        assert headers["vary"] == "Accept-Encoding"

    async def test_json_is_an_array_of_them(self, running: Any, data: Data):
        answer = await export(running.http, data, format="json")
        assert answer.headers["content-type"] == "application/json"
        items = msgspec.json.decode(answer.content, type=list[msgspec.Raw])
        assert [bytes(item) for item in items] == data.answers()
        none = await export(running.http, data, format="json", action="none")
        assert none.json() == []

    async def test_csv_is_a_table_with_a_header(self, running: Any, data: Data):
        answer = await export(
            running.http, data, format="csv", columns="id,actor.id,metadata.big,metadata.f,changes"
        )
        assert answer.headers["content-type"].startswith("text/csv")
        assert answer.content.count(b"\r\n") == NUMBER + 1
        header, *rows = csv.reader(io.StringIO(answer.text, newline=""))
        assert header == ["id", "actor.id", "metadata.big", "metadata.f", "changes"]
        assert rows == [
            [format_id(e.id), json.loads(e.text)["actor"]["id"], str(10**25), "1.0", ""]
            for e in data.events
        ]

    @pytest.mark.parametrize(
        ("encoding", "unpack"),
        [
            ("gzip", gzip.decompress),
            ("zstd", lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body)),
            ("identity", bytes),
        ],
    )
    async def test_packed_or_not_it_is_the_same(
        self, running: Any, data: Data, encoding: str, unpack: Callable[[bytes], bytes]
    ):
        headers = {**data.auditor, "Accept-Encoding": encoding}
        async with running.http.stream("GET", EXPORT, headers=headers) as answer:
            raw = b"".join([chunk async for chunk in answer.aiter_raw()])
        assert answer.headers.get("content-encoding", "identity") == encoding
        lines, _ = split(unpack(raw))
        assert lines == data.answers()

    async def test_fields_leave_out_the_rest(self, running: Any, data: Data):
        answer = await export(running.http, data, fields="metadata.f", limit=3)
        lines, _ = split(answer.content)
        assert lines == [
            b'{"id":"%b","metadata":{"f":1.0}}' % format_id(event.id).encode()
            for event in data.events[:3]
        ]

    async def test_head_answers_without_an_export(self, running: Any, data: Data):
        answer = await running.http.head(EXPORT, headers=data.auditor)
        assert (answer.status_code, answer.content) == (200, b"")
        assert "content-disposition" in answer.headers


FILTERS: list[tuple[dict[str, Any], Callable[[dict[str, Any]], bool]]] = [
    ({"action": "document.read"}, lambda e: e["action"] == "document.read"),
    ({"actor.id": ["user-1", "user-2"]}, lambda e: e["actor"]["id"] in ("user-1", "user-2")),
    ({"from": "2026-01-01T00:00:30Z"}, lambda e: e["occurred_at"] >= "2026-01-01T00:00:30Z"),
    ({"q": "even"}, lambda e: " even " in e["message"]),
    ({"q": "odd", "action": "*.update"}, lambda e: False),
    ({"metadata.plan": "pro"}, lambda e: e["metadata"]["plan"] == "pro"),
    ({"q": "event -odd", "actor.id": "user-3"},
     lambda e: " even " in e["message"] and e["actor"]["id"] == "user-3"),
]  # fmt: skip


@pytest.mark.parametrize(("params", "holds"), FILTERS, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("sort", [Sort.OCCURRED_ASC, Sort.OCCURRED_DESC])
async def test_filters_of_every_kind_find_what_is_stored(
    running: Any,
    data: Data,
    params: dict[str, Any],
    holds: Callable[[dict[str, Any]], bool],
    sort: Sort,
):
    wanted = [event for event in data.events if holds(json.loads(event.text))]
    if sort.descending:
        wanted.reverse()
    lines, trailer = split((await export(running.http, data, sort=sort, **params)).content)
    assert lines == data.answers(wanted)
    assert trailer["complete"]


@pytest.mark.parametrize("sort", Sort)
@pytest.mark.parametrize("params", [{}, {"q": "even"}], ids=["exact", "inexact"])
async def test_an_export_goes_on_behind_an_event_or_a_cursor_without_gap_or_double(
    running: Any, data: Data, sort: Sort, params: dict[str, str]
):
    whole, _ = split((await export(running.http, data, sort=sort, **params)).content)
    for follow in ("after", "cursor"):
        seen: list[bytes] = []
        more: dict[str, str] = {}
        for _ in range(20):
            answer = await export(running.http, data, sort=sort, limit=713, **params, **more)
            lines, trailer = split(answer.content)
            seen += lines
            assert len(lines) <= 713
            assert trailer["complete"]
            if trailer["next_cursor"] is None:
                break
            last = {"after": json.loads(lines[-1])["id"], "cursor": trailer["next_cursor"]}
            more = {follow: last[follow]}
        assert seen == whole


async def test_a_cursor_of_a_search_is_one_of_an_export(
    running: Any, mongo_only: httpx.AsyncClient, data: Data
):
    params = {"sort": "occurred_at", "limit": "10"}
    page = (await mongo_only.get(LOGS, params=params, headers=data.access.reader)).json()
    lines, _ = split((await export(running.http, data, cursor=page["next_cursor"])).content)
    assert lines == data.answers()[10:]


async def test_shared_tenants_get_their_own_events_alone(running: Any):
    tenants = [await running.tenant(isolation=Isolation.SHARED) for _ in range(2)]
    for number, access in enumerate(tenants):
        line = json.dumps({"action": "a", "actor": {"id": f"of-{number}"}, "message": "word"})
        await running.post_lines(access, [line.encode()] * 20)
    for number, access in enumerate(tenants):
        await running.until_stored(access.tenant, 20)
        for params in ({}, {"q": "word"}):
            answer = await running.http.get(EXPORT, params=params, headers=access.admin)
            lines, _ = split(answer.content)
            assert [json.loads(line)["actor"]["id"] for line in lines] == [f"of-{number}"] * 20
    strange = format_id((await running.stored(tenants[0].tenant))[0].id)
    answer = await running.http.get(EXPORT, params={"after": strange}, headers=tenants[1].admin)
    assert (answer.status_code, answer.json()["path"]) == (400, "after")


class TestBound:
    async def test_it_is_told_before_the_events_and_behind_them(self, running: Any, data: Data):
        before = time.time()
        answer = await export(running.http, data)
        _, trailer = split(answer.content)
        for name in ("stored_until", "complete_until"):
            assert answer.headers[f"Ocelot-{name.replace('_', '-')}"] == trailer[name]
        assert int(trailer["stored_until"]) >= max(event.seq for event in data.events)
        # MongoDB says every ten seconds that it is alive, and here its clock is ours.
        whole = parse_rfc3339(trailer["complete_until"]) / 1_000
        assert before - 180 < whole < time.time() - 14

    async def test_within_one_it_is_the_same_whatever_is_stored_meanwhile(self, running: Any):
        access = await running.tenant()
        line = json.dumps({"action": "a", "actor": {"id": "u"}, "message": "word"}).encode()
        await running.post_lines(access, [line] * 5)
        await running.until_stored(access.tenant, 5)
        first = await running.http.get(EXPORT, headers=access.admin)
        lines, trailer = split(first.content)
        assert len(lines) == 5
        await running.post_lines(access, [line] * 3)
        await running.until_stored(access.tenant, 8)
        for params in ({}, {"q": "word"}, {"sort": "-received_at", "action": "a"}):
            bound = {**params, "stored_until": trailer["stored_until"]}
            again = await running.http.get(EXPORT, params=bound, headers=access.admin)
            assert sorted(split(again.content)[0]) == sorted(lines)
            assert again.headers["Ocelot-Stored-Until"] == trailer["stored_until"]
            later = await running.http.get(EXPORT, params=params, headers=access.admin)
            assert len(split(later.content)[0]) == 8

    @pytest.mark.parametrize(
        ("until", "number"),
        [
            ("2026-01-01T00:00:00Z", 0),
            ("1", 0),
            ("2999-01-01T00:00:00+01:00", NUMBER),
            ("99999999999999999999", NUMBER),
        ],
    )
    async def test_it_may_be_a_time_and_does_not_reach_beyond_the_beginning(
        self, running: Any, data: Data, until: str, number: int
    ):
        answer = await export(running.http, data, stored_until=until, fields="id")
        lines, trailer = split(answer.content)
        assert len(lines) == number
        assert int(trailer["stored_until"]) >> 32 <= time.time()
        assert parse_rfc3339(trailer["complete_until"]) / 1_000 <= time.time()


@pytest.mark.parametrize(
    ("query", "code", "path"),
    [
        ("format=xml", "invalid_parameter", "format"),
        ("format=csv&format=json", "invalid_parameter", "format"),
        ("format=", "invalid_parameter", "format"),
        ("columns=id", "invalid_parameter", "columns"),
        ("format=csv&columns=nothing", "invalid_parameter", "columns"),
        ("format=csv&columns=", "invalid_parameter", "columns"),
        ("format=csv&fields=id", "invalid_parameter", "fields"),
        ("fields=nothing", "invalid_parameter", "fields"),
        ("after=1", "invalid_parameter", "after"),
        ("after=01a20fec-b3b5-72f4-9ef5-80ce43e0fde8", "invalid_parameter", "after"),
        ("after=01a20fec-b3b5-72f4-9ef5-80ce43e0fde8&cursor=x", "invalid_parameter", "after"),
        ("cursor=x", "invalid_cursor", "cursor"),
        ("limit=0", "invalid_parameter", "limit"),
        ("limit=-1", "invalid_parameter", "limit"),
        ("limit=9999999999999", "invalid_parameter", "limit"),
        ("limit=1&limit=2", "invalid_parameter", "limit"),
        ("sort=action", "invalid_parameter", "sort"),
        ("q=%22", "invalid_parameter", "q"),
        ("from=yesterday", "invalid_parameter", "from"),
        ("nothing=1", "unknown_parameter", "nothing"),
        ("stored_until=then", "invalid_parameter", "stored_until"),
        ("stored_until=-1", "invalid_parameter", "stored_until"),
        ("stored_until=1969-12-31T00:00:00Z", "invalid_parameter", "stored_until"),
        ("stored_until=2026-01-01T00:00:00", "invalid_parameter", "stored_until"),
        ("stored_until=1&stored_until=2", "invalid_parameter", "stored_until"),
    ],
)
async def test_what_is_wrong_in_the_parameters_is_a_400_that_names_it(
    running: Any, data: Data, query: str, code: str, path: str
):
    answer = await running.http.get(f"{EXPORT}?{query}", headers=data.auditor)
    assert answer.status_code == 400
    assert (answer.json()["code"], answer.json()["path"]) == (code, path)


class SlowReader:
    """A client that takes an answer in small pieces, when it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def get(cls, http: httpx.AsyncClient, headers: dict[str, str], **params: str) -> Any:
        link = socket.socket()
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        link.setblocking(False)
        url = http.base_url
        await asyncio.get_running_loop().sock_connect(link, (url.host, url.port))
        made = cls(*await asyncio.open_connection(sock=link, limit=16_384))
        lines = [f"GET {EXPORT}?{urlencode(params)} HTTP/1.1", "Host: x", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        made.writer.write("\r\n".join([*lines, "", ""]).encode())
        head = await made.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        return made

    async def rest(self) -> bytes:
        content = await asyncio.wait_for(self.reader.read(-1), 180)
        self.writer.close()
        return content


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own_api(running: Any) -> AsyncIterator[Any]:
    """An api that nobody else asks, with four exports at once, two for each tenant."""
    process = await running.stack.start_service("api", extra_env={"OCELOT_MAX_EXPORTS": "4"})
    await process.wait_ready(180)
    yield process
    await process.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def http(own_api: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=own_api.url, timeout=120) as client:
        yield client


async def until_answered(http: httpx.AsyncClient, data: Data, status: int) -> httpx.Response:
    for _ in range(600):
        answer = await http.get(EXPORT, params={"limit": 1}, headers=data.auditor)
        if answer.status_code == status:
            break
        await asyncio.sleep(0.1)
    assert answer.status_code == status
    return answer


class TestInterrupted:
    """By clients that do not read until something has happened."""

    async def test_exports_beyond_a_tenants_share_are_refused_until_a_client_leaves(
        self, http: httpx.AsyncClient, data: Data, running: Any, own_api: Any
    ):
        clients = [await SlowReader.get(http, data.auditor) for _ in range(2)]
        answer = await http.get(EXPORT, headers=data.auditor)
        assert (answer.status_code, answer.json()["code"]) == (503, "tenant_share")
        assert int(answer.headers["retry-after"]) > 0
        for _ in range(3):
            other = await running.tenant()
            answer = await http.get(EXPORT, headers=running.bearer(other.tenant, "auditor"))
            assert answer.status_code == 200, answer.text
        for client in clients:
            client.writer.transport.abort()
        await until_answered(http, data, 200)
        ended: dict[str, str] = {}
        for _ in range(600):  # an export is counted when its answer has left
            metrics = (await http.get(f"{own_api.probes_url}/metrics")).text
            ended = dict(re.findall(r'\nocelot_api_exports_total{result="(\w+)"} (\S+)', metrics))
            if float(ended["complete"]) >= 4:
                break
            await asyncio.sleep(0.1)
        assert float(ended["complete"]) == 4
        assert float(ended["disconnected"]) >= 1

    @pytest.mark.parametrize("forms", [("ndjson", "json"), ("csv",)])
    async def test_a_tenant_that_is_suspended_gets_no_more_and_is_told(
        self,
        running: Any,
        http: httpx.AsyncClient,
        own_api: Any,
        data: Data,
        forms: tuple[str, ...],
    ):
        provisioner = running.maker.provisioner
        tenant_id = data.access.tenant.id
        await until_answered(http, data, 200)
        clients = [await SlowReader.get(http, data.auditor, format=form) for form in forms]
        await provisioner.suspend(tenant_id, owner="cli")
        try:
            answer = await until_answered(http, data, 403)
            assert answer.json()["code"] == "tenant_suspended"
            contents = [await client.rest() for client in clients]
        finally:
            await provisioner.resume(tenant_id, owner="cli")
            await until_answered(http, data, 200)
            await until_answered(running.http, data, 200)
        for form, content in zip(forms, contents, strict=True):
            if form == "ndjson":
                assert b'"complete":false' in content
                assert b'"code":"tenant_suspended"' in content
            # Without the last chunk it is not whole.
            assert content.endswith(b"0\r\n\r\n") == (form == "ndjson")
        log = own_api.log_path.read_text()
        assert log.count('"code":"tenant_suspended"') + log.count('"code": "tenant_suspended"') >= 1
        assert "Traceback" not in log
        assert "ASGI" not in log

    async def test_an_export_in_flight_ends_whole_after_sigterm(
        self, own_api: Any, http: httpx.AsyncClient, data: Data
    ):
        client = await SlowReader.get(http, data.auditor)
        ended, content = await asyncio.gather(own_api.stop(25), client.rest())
        assert ended, "it had to be killed"
        assert b'"complete":true' in content
        assert content.endswith(b"0\r\n\r\n")


class Scripted:
    """The store, that fails when it is told to."""

    def __init__(self, real: MongoBackend) -> None:
        self.real = real
        self.failures: list[Exception | None] = []
        self.asked = 0

    async def follow(self, query: SearchQuery, **how: Any) -> Any:
        self.asked += 1
        failure = self.failures.pop(0) if self.failures else None
        if failure:
            raise failure
        return await self.real.follow(query, **how)

    async def look_ahead(self, query: SearchQuery, span: int) -> Any:
        return await self.real.look_ahead(query, span)

    async def is_whole(self, query: SearchQuery, **how: Any) -> bool:
        return await self.real.is_whole(query, **how)

    async def find_position(self, query: SearchQuery, event_id: bytes) -> Any:
        return await self.real.find_position(query, event_id)

    async def newest_seq(self) -> int:
        return await self.real.newest_seq()


class Exchange:
    """An ASGI connection, with something to do after each piece."""

    def __init__(self) -> None:
        self.scope: dict[str, Any] = {"headers": [], "state": {}}
        self.messages: list[dict[str, Any]] = []
        self.left = asyncio.Event()
        self.after_piece: Callable[[], None] = lambda: None

    async def send(self, message: Any) -> None:
        self.messages.append(message)
        if message.get("more_body"):
            self.after_piece()
            await asyncio.sleep(0)

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    @property
    def content(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)

    @property
    def whole(self) -> bool:
        return not self.messages[-1].get("more_body", False)


def make_pool(limit: int) -> FairPool:
    return FairPool(limit, Refusal("X", "x"), Gauge("x", "x", registry=CollectorRegistry()))


class Stage:
    """One export at a time, in this process, on a scripted store."""

    def __init__(self, data: Data, store: MongoBackend) -> None:
        self.home = data.home
        self.store = Scripted(store)
        self.metrics = ApiMetrics(CollectorRegistry())
        self.slots = make_pool(2)
        self.answers = make_pool(2 * EXPORT_BYTES)
        self.refusal: Problem | None = None

    async def present_home(self) -> Home:
        if self.refusal:
            raise self.refusal
        return self.home

    async def run(self, exchange: Exchange, **params: str) -> Exchange:
        store: Any = self.store
        response = ExportResponse(
            read_export(QueryParams(params), self.home),
            present_home=self.present_home,
            store=store,
            slots=self.slots,
            answers=self.answers,
            metrics=self.metrics,
        )
        await response(exchange.scope, exchange.receive, exchange.send)
        return exchange

    def ended(self, result: str) -> float:
        return float(self.metrics.exports.labels(result)._value.get())


@pytest.fixture
def stage(data: Data, both: Any) -> Stage:
    return Stage(data, both.mongodb)


class TestFailures:
    async def test_before_the_first_page_a_failure_is_a_problem_and_takes_no_slot(
        self, stage: Stage
    ):
        for _ in range(3):
            stage.store.failures = [unavailable("store_unavailable", "away")]
            exchange = Exchange()
            with pytest.raises(Problem, match="away"):
                await stage.run(exchange)
            assert exchange.messages == []

    async def test_lines_end_with_why_and_where_to_go_on(self, stage: Stage, data: Data):
        stage.store.failures = [None, None, unavailable("store_unavailable", "away")]
        exchange = await stage.run(Exchange())
        lines, trailer = split(exchange.content)
        assert exchange.whole
        assert (trailer["complete"], trailer["code"]) == (False, "store_unavailable")
        assert 1_000 < len(lines) < NUMBER
        assert lines == data.answers()[: len(lines)]
        rest, trailer = split((await stage.run(Exchange(), cursor=trailer["next_cursor"])).content)
        assert lines + rest == data.answers()
        assert trailer["complete"]

    @pytest.mark.parametrize("form", ["json", "csv"])
    async def test_other_forms_have_no_end(self, stage: Stage, form: str):
        stage.store.failures = [None, unavailable("store_unavailable", "away")]
        exchange = await stage.run(Exchange(), format=form)
        assert not exchange.whole
        assert stage.ended("incomplete") == 1

    async def test_words_are_compared_in_more_events_than_a_search_may_scan(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("ocelot_api.search.mongo_backend.MAX_SCANNED", 100)
        monkeypatch.setattr("ocelot_api.search.mongo_backend._STRETCH_BYTES", 1_000)
        lines, _ = split((await stage.run(Exchange(), q="2299")).content)
        assert len(lines) == 1

    async def test_where_few_events_fit_queries_end_before_they_take_too_long(
        self, stage: Stage, data: Data, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("ocelot_api.export.walk._SPAN", 300)
        for sort in Sort:
            for params, number in (({}, NUMBER), ({"actor.id": "user-3"}, 614)):
                stage.store.failures = [Problem(504, "search_timeout", "x")]
                stage.store.asked = 0
                lines, trailer = split((await stage.run(Exchange(), sort=sort, **params)).content)
                whole = await stage.run(Exchange(), sort=sort, **params)
                assert lines == split(whole.content)[0]
                assert (len(lines), trailer["complete"]) == (number, True)
                assert stage.store.asked > 8

    async def test_a_client_that_waits_while_nothing_fits_is_sent_spaces(
        self, stage: Stage, data: Data, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("ocelot_api.export.stream._PAUSE_SEC", 0)
        wanted = [event for event in data.events if b" 2299 " in event.text.encode()]
        at = data.events.index(wanted[0]) // 1_000
        lines, trailer = split((await stage.run(Exchange(), q="2299")).content)
        assert lines == [b" " * at + data.answers(wanted)[0]]
        assert trailer["complete"]
        content = (await stage.run(Exchange(), q="2299", format="json")).content
        assert content.count(b" ") >= 2
        assert [item["id"] for item in json.loads(content)] == [format_id(wanted[0].id)]
        table = (await stage.run(Exchange(), q="2299", format="csv", columns="id")).content
        assert table == b"id\r\n%b\r\n" % format_id(wanted[0].id).encode()

    async def test_a_client_that_leaves_ends_it_and_the_query_that_runs(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ):
        asked, ended = asyncio.Event(), asyncio.Event()

        async def never(query: SearchQuery, **how: Any) -> Any:
            asked.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        monkeypatch.setattr(stage.store, "follow", never)
        exchange = Exchange()
        run = asyncio.create_task(stage.run(exchange))
        await asked.wait()
        exchange.left.set()
        await run
        assert ended.is_set()
        assert exchange.messages == []

        stage.store = Scripted(stage.store.real)
        exchange = Exchange()
        exchange.after_piece = exchange.left.set
        await stage.run(exchange)
        assert not exchange.whole
        assert stage.ended("disconnected") == 1

    async def test_a_process_that_is_to_end_lets_go_of_it(
        self, stage: Stage, data: Data, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("ocelot_api.export.stream._DRAIN_SEC", 0)
        exchange = Exchange()
        exchange.after_piece = lambda: exchange.scope["state"].update({DRAINING: True})
        lines, trailer = split((await stage.run(exchange)).content)
        assert (trailer["complete"], trailer["code"]) == (False, "shutting_down")
        assert lines == data.answers()[:1_000]

    async def test_a_token_that_expires_meanwhile_ends_it(self, stage: Stage, data: Data):
        exchange = Exchange()

        def expire() -> None:
            stage.refusal = unauthenticated("token_expired", "the token has expired")

        exchange.after_piece = expire
        lines, trailer = split((await stage.run(exchange)).content)
        assert (trailer["complete"], trailer["code"]) == (False, "token_expired")
        assert lines == data.answers()[: len(lines)]
        assert len(lines) < NUMBER

    async def test_a_tenant_that_is_made_again_is_another(self, stage: Stage):
        exchange = Exchange()

        def replace() -> None:
            tenant = msgspec.structs.replace(stage.home.tenant, uid="f" * 16)
            stage.home = Home(tenant, stage.home.space)

        exchange.after_piece = replace
        lines, trailer = split((await stage.run(exchange)).content)
        assert (trailer["complete"], trailer["code"]) == (False, "tenant_unknown")
        assert len(lines) < NUMBER

    async def test_the_cutoff_moves_during_an_export(self, stage: Stage):
        exchange = Exchange()

        def purge() -> None:
            tenant = msgspec.structs.replace(stage.home.tenant, retention_days=0)
            stage.home = Home(tenant, stage.home.space)

        exchange.after_piece = purge
        lines, trailer = split((await stage.run(exchange)).content)
        # A stretch is asked for while the one before is sent.
        assert 1_000 < len(lines) < NUMBER
        assert trailer["complete"]
