"""What is wrong with a request is named by a 4xx problem, in bounded memory, and nothing is stored.

The tables are in the package `badinput`. They go over sockets of their own, since no HTTP client
sends all of it; a connection that hangs is a time-out.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio

from badinput.bodies import body_rows, bombs
from badinput.connections import WireRow, wire_rows
from badinput.events import line_rows, single_rows
from badinput.memory import Peak
from badinput.reads import read_rows
from badinput.rows import JSON, LOGS, Row, text
from badinput.sending import accepted
from badinput.tokens import ENDPOINTS, Forge, TokenRow, revoked_at, token_rows
from badinput.wire import Answer, ClosedError, request, talk
from ocelot_common.ids import format_id

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

#: No request takes longer; generous, since only hanging is meant.
PATIENCE_SEC = 180
#: Over what the process held before. Sequential bombs hold one body of 16 MiB, two or three times.
BOMB_GROWTH_BYTES = 96 * 1024 * 1024
#: 76 connections at once, of which each would send up to 10 MiB of head.
HEADS_GROWTH_BYTES = 64 * 1024 * 1024

StartApi = Callable[..., Awaitable[httpx.AsyncClient]]

ROWS = [*single_rows(), *line_rows(), *body_rows(), *read_rows()]
TOKENS = token_rows()
CONNECTIONS = wire_rows()


class Place(NamedTuple):
    """Where the tables are sent."""

    running: Any
    access: Any
    forge: Forge
    port: int
    pid: int
    failures: list[str]

    async def send(self, raw: bytes) -> Answer:
        """One request over a connection of its own."""
        [answer] = await talk(self.port, [raw], timeout_sec=PATIENCE_SEC)
        return answer

    def raw(self, row: Row) -> bytes:
        """A row as bytes."""
        headers: dict[str, str | bytes] = {"Content-Type": JSON, **row.headers}
        headers |= getattr(self.access, row.token)
        return request(row.method, row.url, headers.items(), row.body)

    def with_token(self, raw: bytes) -> bytes:
        """Bytes with the headers of a good token for `@`."""
        token = self.access.admin["Authorization"].encode()
        return raw.replace(b"@", b"Authorization: %b\r\n" % token)

    async def converse(self, row: WireRow) -> list[Answer]:
        """Send a row's bytes; one answer, or more if the connection stays open for them."""
        pieces = [self.with_token(piece) for piece in row.pieces]
        return await talk(
            self.port, pieces, pause_sec=0.02, timeout_sec=PATIENCE_SEC, close_writing=row.eof
        )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def place(running: Any) -> Place:
    access = await running.tenant()
    provisioner = running.maker.provisioner
    others = {}
    for name in ("suspended", "deleting", "revoked", "incarnation", "purged"):
        others[name] = (await running.tenant()).tenant
    owner = access.tenant.owner
    await provisioner.suspend(others["suspended"].id, owner=owner)
    await provisioner.delete(others["deleting"].id, owner=owner)
    await running.set_tenant(others["revoked"], not_before=revoked_at())
    for name in ("incarnation", "purged"):
        await provisioner.delete(others[name].id, owner=owner, now=True)
    again = await running.maker.create(others["incarnation"].id)
    assert again.uid != others["incarnation"].uid
    api = running.api
    forge = Forge(running.maker.key, access.tenant, others)
    made = Place(running, access, forge, api.port, api.pid, await failures(running))
    # The api has surely seen all of it, which may take two seconds; it sees changes in their order.
    last = token_request(made, "GET", LOGS, by_name("deleted for good"))
    deadline = time.monotonic() + 180
    while (await made.send(last)).status != 401:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)
    return made


async def failures(running: Any) -> list[str]:
    """The counters of answers that blame the service."""
    exposition = (await running.http.get(f"{running.api.probes_url}/metrics")).text
    return re.findall(r'^ocelot_api_requests_total{.*status="5\d\d".*$', exposition, re.MULTILINE)


def by_name(name: str) -> TokenRow:
    return next(row for row in TOKENS if row.name == name)


def token_request(place: Place, method: str, url: str, row: TokenRow) -> bytes:
    headers = [("Content-Type", JSON), *row.headers(place.forge)]
    body = b"" if method == "GET" else text() if url == LOGS else b"[%b]" % text()
    return request(method, url, headers, body)


def test_the_tables_are_long_and_their_rows_distinct():
    assert len(ROWS) + len(TOKENS) * len(ENDPOINTS) + len(CONNECTIONS) >= 300
    names = [row.name for row in (*ROWS, *CONNECTIONS)]
    assert len(set(names)) == len(names)
    assert len({(row.method, row.url, str(row.headers), row.body) for row in ROWS}) == len(ROWS)
    assert len({row.name for row in TOKENS}) == len(TOKENS)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
async def test_what_is_wrong_is_named_by_status_code_and_path(place: Place, row: Row):
    problem = (await place.send(place.raw(row))).problem()
    assert problem["status"] == row.status, problem
    if row.inside:
        assert (problem["code"], problem["rejected"]) == ("events_rejected", 1)
        problem, *others = problem["errors"]  # an event may have several faults
        assert {each["index"] for each in others} <= {0}
    assert (problem["code"], problem.get("path")) == (row.code, row.path)


@pytest.mark.parametrize("row", TOKENS, ids=[row.name for row in TOKENS])
async def test_a_token_that_is_not_good_is_refused_everywhere(place: Place, row: TokenRow):
    for method, url in ENDPOINTS:
        answer = await place.send(token_request(place, method, url, row))
        problem = answer.problem()
        assert (problem["status"], problem["code"]) == (row.status, row.code), (method, url)
        if row.status == 401:
            assert answer.headers["www-authenticate"].startswith('Bearer realm="ocelot"')


async def test_bombs_take_no_more_memory_than_bodies(place: Place):
    peak = Peak(place.pid)
    for row in bombs():
        problem = (await place.send(place.raw(row))).problem()
        assert (problem["status"], problem["code"]) == (row.status, row.code), row.name
    assert peak.growth < BOMB_GROWTH_BYTES


@pytest.mark.parametrize("row", CONNECTIONS, ids=[row.name for row in CONNECTIONS])
async def test_bytes_that_are_no_good_http_are_refused_or_the_connection_closed(
    place: Place, row: WireRow
):
    if row.code is None:
        with pytest.raises(ClosedError):
            await place.converse(row)
        return
    [answer] = await place.converse(row)
    problem = answer.problem()
    assert (problem["status"], problem["code"]) == (row.status, row.code)


async def test_large_heads_are_not_held(place: Place):
    peak = Peak(place.pid)
    rows = [row for row in CONNECTIONS if row.status == 431]
    await asyncio.gather(*(place.converse(row) for row in rows * 4))
    assert peak.growth < HEADS_GROWTH_BYTES


async def test_slow_heads_and_silence_end_after_a_bound(place: Place):
    head = place.with_token(b"GET /api/v1/logs HTTP/1.1\r\nHost: x\r\n@")
    dripping = [bytes([byte]) for byte in head + b"a: " + b"x" * 1_000]
    began = time.monotonic()
    once, slowly, silent, blank = await asyncio.gather(
        talk(place.port, [head], timeout_sec=PATIENCE_SEC),
        talk(place.port, dripping, pause_sec=0.1, timeout_sec=PATIENCE_SEC),
        *(
            talk(place.port, pieces, pause_sec=0.5, timeout_sec=PATIENCE_SEC)
            for pieces in ([], [b"\r\n"] * 100)
        ),
        return_exceptions=True,
    )
    for [answer] in (once, slowly):
        assert (answer.status, answer.problem()["code"]) == (408, "head_timeout")
    assert isinstance(silent, ClosedError)
    assert isinstance(blank, ClosedError)
    assert time.monotonic() - began > 5


async def test_slow_bodies_end_after_a_bound(place: Place, start_api: StartApi):
    impatient = await start_api(OCELOT_BODY_TIMEOUT_SEC="1")
    port = impatient.base_url.port
    conversations = []
    for url in (b"/logs", b"/logs/bulk"):
        head = place.with_token(
            b"POST /api/v1%b HTTP/1.1\r\nHost: x\r\n@Content-Length: 90\r\n\r\n" % url
        )
        chunked = head.replace(b"Content-Length: 90", b"Transfer-Encoding: chunked")
        conversations += [
            talk(port, pieces, pause_sec=0.1, timeout_sec=PATIENCE_SEC)
            for pieces in (
                [head],
                [head, *[b" "] * 89],
                [chunked, *[b"1\r\n \r\n"] * 89],
                [chunked, b"0\r\n", *[b"a: b\r\n"] * 89],
                [chunked, b"5;", *[b"x"] * 89],
            )
        ]
    for [answer] in await asyncio.gather(*conversations):
        assert (answer.status, answer.problem()["code"]) == (408, "body_timeout")
        assert answer.headers["connection"] == "close"


async def test_junk_behind_a_request_does_not_answer_for_it(place: Place):
    refused = place.raw(ROWS[0])
    for junk in (b"junk\r\n\r\n", b"\0" * 1_000, b"GET / HTTP/9.9\r\n\r\n"):
        [answer] = await talk(place.port, [refused + junk], timeout_sec=PATIENCE_SEC)
        assert answer.problem()["code"] == ROWS[0].code
        answers = await talk(place.port, [refused, junk], pause_sec=0.3, answers=2)
        assert [each.problem()["code"] for each in answers] == [ROWS[0].code, "invalid_http"]


async def test_no_answer_blamed_the_service(place: Place):
    assert await failures(place.running) == place.failures


async def test_nothing_of_all_that_was_stored(place: Place):
    running, access = place.running, place.access
    marker = await accepted(running.http, text(), access.writer | {"Idempotency-Key": "marker"})
    await running.until_stored(access.tenant, 1)
    await asyncio.sleep(2)
    assert [format_id(event.id) for event in await running.stored(access.tenant)] == [
        marker.json()["id"]
    ]
    letters = running.database["dead_letters"]
    uids = [access.tenant.uid, *(tenant.uid for tenant in place.forge.others.values())]
    assert await letters.count_documents({"t": {"$in": uids}}) == 0
    for tenant in place.forge.others.values():
        if tenant.id not in ("incarnation", "purged"):
            assert await running.stored(tenant) == []
