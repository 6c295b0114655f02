"""Clients that ask for much and read slowly, or not at all: nobody else notices."""

import asyncio
import json
from collections import Counter
from contextlib import suppress

import httpx
import pytest

from faultkit.client import BULK
from faultkit.harness import Access, Harness, holds
from faultkit.large import LARGE_NUMBER, large_events, post_events
from faultkit.memory import allowed_growth, growth_of
from faultkit.readers import UnreadAnswer
from ocelot_devstack.services import ServiceProcess

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

LOGS = "/api/v1/logs"
STATS = "/api/v1/logs/stats"
EXPORT = "/api/v1/logs/export"
_MIB = 1024 * 1024
PAGE_BYTES = 8 * _MIB
USED = "ocelot_api_answer_budget_used_bytes"


async def check_served(faults: Harness, api: ServiceProcess, access: Access) -> None:
    """A tenant is answered as if nobody else was there, by OpenSearch."""
    answer = await faults.http.get(f"{api.url}{LOGS}", headers=access.reader)
    assert answer.status_code == 200, answer.text
    assert answer.json()["backend"] == "opensearch"
    assert answer.json()["total"]["value"] >= 20
    answer = await faults.http.get(
        f"{api.url}{STATS}", params={"group_by": "action"}, headers=access.reader
    )
    assert answer.status_code == 200, answer.text
    answer = await faults.http.get(f"{api.url}{EXPORT}", headers=access.auditor)
    assert answer.status_code == 200, answer.text
    assert json.loads(answer.content.splitlines()[-1])["export"]["complete"]
    event = {"action": "small", "actor": {"id": "u"}, "id": "00000000-0000-4000-8000-000000000001"}
    answer = await faults.http.post(f"{api.url}{LOGS}", json=event, headers=access.writer)
    assert answer.status_code == 202, answer.text
    assert await faults.metric(api, "ocelot_api_search_index_unavailable") == 0


@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", ["opensearch", "mongodb"])
async def test_unread_answers_stay_within_their_budget_and_others_are_served(
    faults: Harness, large: Access, small: Access, backend: str
):
    budget = 64 * _MIB
    env = {"OCELOT_SEARCH_TIMEOUT_SEC": "60"}  # it is the memory that counts
    if backend == "mongodb":
        env["OPENSEARCH_URL"] = ""
    api = await faults.start("api", OCELOT_ANSWER_BUDGET_BYTES=str(budget), **env)
    stop = asyncio.Event()
    growth = asyncio.create_task(growth_of(api.pid, stop))
    statuses: Counter[int] = Counter()
    unread: list[UnreadAnswer] = []
    for _ in range(10):
        asked = await asyncio.gather(
            *(UnreadAnswer.get(api, LOGS, large.reader, limit="1000") for _ in range(6))
        )
        statuses.update(answer.status for answer in asked)
        unread += asked
    used = await faults.metric(api, USED)
    if backend == "opensearch":
        await check_served(faults, api, small)
    else:
        answer = await faults.http.get(f"{api.url}{LOGS}", headers=small.reader)
        assert answer.status_code == 200, answer.text
    stop.set()
    faults.note(
        f"60 unread answers of limit=1000 by {backend}: {dict(statuses)}; "
        f"{used / _MIB:.0f} MiB of a budget of {budget // _MIB} held; "
        f"api grew by {await growth / _MIB:.0f} MiB"
    )
    assert set(statuses) == {200, 503}, "the budget was never used up"
    assert used <= budget / 2, "one tenant has more than half"
    assert await growth <= allowed_growth(bodies=0, answers=budget, connections=0)
    for answer in unread:
        answer.close()

    async def given_back() -> bool:
        return await faults.metric(api, USED) == 0

    assert await holds(given_back, timeout_sec=60)
    await api.stop()


@pytest.mark.parametrize("backend", ["opensearch", "mongodb"])
@pytest.mark.parametrize("fields", ["", "id,action"])
async def test_pages_end_at_their_bytes_and_together_give_every_event_once(
    faults: Harness, large: Access, backend: str, fields: str
):
    """On OpenSearch, a thousand of these events are an answer that is too large to be read."""
    env = {} if backend == "opensearch" else {"OPENSEARCH_URL": ""}
    api = await faults.start("api", OCELOT_SEARCH_TIMEOUT_SEC="60", **env)
    params = {"limit": "1000"} | ({"fields": fields} if fields else {})
    ids: list[str] = []
    sizes = []
    while True:
        answer = await faults.http.get(f"{api.url}{LOGS}", params=params, headers=large.reader)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body["backend"] == backend
        assert body["items"]
        ids += [item["id"] for item in body["items"]]
        sizes.append(len(answer.content))
        if body["next_cursor"] is None:
            break
        params["cursor"] = body["next_cursor"]
    await api.stop()
    assert len(ids) == len(set(ids)) == LARGE_NUMBER
    assert max(sizes) <= PAGE_BYTES + 1_000
    if not fields:
        assert min(sizes[:-1]) > PAGE_BYTES - 65_536
    assert len(sizes) <= 8


@pytest.mark.parametrize("number", [4, 8])
async def test_slow_exports_of_one_tenant_leave_slots_for_others(
    faults: Harness, large: Access, small: Access, number: int
):
    api = await faults.start("api")
    exports = [await UnreadAnswer.get(api, EXPORT, large.auditor) for _ in range(number)]
    assert Counter(each.status for each in exports) == Counter({200: 4, 503: number - 4})
    for refused in exports[4:]:
        answer = await asyncio.wait_for(refused.rest(), 30) if refused.status == 503 else b""
        assert b'"code":"tenant_share"' in answer
        assert b"retry-after: " in answer.lower()
    await check_served(faults, api, small)
    for each in exports:
        each.close()
    await api.stop()


async def test_a_search_that_hangs_is_that_tenants_alone(
    faults: Harness, large: Access, small: Access
):
    """OpenSearch does not answer what concerns one tenant's indices, and answers all else."""
    space = await faults.space_of(large.tenant)
    marks = tuple(entry.index.encode() for entry in space.indices)
    opensearch = faults.env()["OPENSEARCH_URL"]
    hung = 0
    over = asyncio.Event()

    async def answer_one(
        upstream: httpx.AsyncClient, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        nonlocal hung
        head = await reader.readuntil(b"\r\n\r\n")
        line, *fields = head.decode().split("\r\n")
        method, target, _ = line.split(" ")
        headers = dict(field.lower().split(": ", 1) for field in fields if field)
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if any(mark in target.encode() for mark in marks):
            hung += 1
            await over.wait()
        json_type = {"content-type": "application/json"}
        answer = await upstream.request(method, target, content=body, headers=json_type)
        head = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % (answer.status_code, len(answer.content)) + answer.content)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with httpx.AsyncClient(base_url=opensearch, trust_env=False) as upstream:
            with suppress(asyncio.IncompleteReadError):
                while not over.is_set():
                    await answer_one(upstream, reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    api = await faults.start(
        "api", OPENSEARCH_URL=f"http://{host}:{port}", OCELOT_SEARCH_TIMEOUT_SEC="5"
    )
    stop = asyncio.Event()

    async def others() -> int:
        served = 0
        while not stop.is_set():
            await check_served(faults, api, small)
            served += 1
        return served

    served = asyncio.create_task(others())
    answers = await asyncio.gather(
        *(
            faults.http.get(f"{api.url}{path}", headers=large.reader)
            for _ in range(10)
            for path in (LOGS, STATS)
        )
    )
    stop.set()
    assert await served
    codes = Counter((answer.status_code, answer.json().get("code")) for answer in answers)
    assert codes == Counter({(504, "search_timeout"): 20})
    assert hung == 20
    await check_served(faults, api, small)
    await api.stop()
    over.set()
    server.close()


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_the_api_stays_within_its_memory_with_both_budgets_full(
    faults: Harness, large: Access, small: Access
):
    """Bodies that SQS swallows, answers that nobody reads, statistics and exports together."""
    bodies, answers = 96 * _MIB, 64 * _MIB
    second = await faults.tenant()
    await post_events(faults, second, large_events(2, 300))
    api = await faults.start(
        "api",
        OCELOT_ANSWER_BUDGET_BYTES=str(answers),
        OCELOT_BODY_BUDGET_BYTES=str(bodies),
        OCELOT_SEARCH_TIMEOUT_SEC="60",
    )
    faults.proxies["sqs"].blackhole()
    body = json.dumps(
        [
            {"action": "a", "actor": {"id": f"u{number}"}, "metadata": {"x": "y" * 13_000}}
            for number in range(1_000)
        ]
    ).encode()
    stop = asyncio.Event()
    peaks: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    unread: list[UnreadAnswer] = []

    async def write(access: Access) -> None:
        headers = {**access.writer, "Content-Type": "application/json"}
        async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
            while not stop.is_set():
                answer = await http.post(f"{api.url}{BULK}", content=body, headers=headers)
                codes[f"write {answer.status_code} {answer.json().get('code')}"] += 1

    async def read(access: Access, path: str, headers: dict[str, str], **params: str) -> None:
        while not stop.is_set():
            answer = await UnreadAnswer.get(api, path, headers, **params)
            codes[f"{path} {answer.status}"] += 1
            unread.append(answer)
            await asyncio.sleep(0.2 if answer.status == 200 else 0.5)

    async def watch() -> None:
        while not stop.is_set():
            for name in (USED, "ocelot_api_body_budget_used_bytes"):
                peaks[name] = max(peaks[name], int(await faults.metric(api, name)))
            await asyncio.sleep(0.2)

    growth = asyncio.create_task(growth_of(api.pid, stop))
    pressing = [asyncio.create_task(watch())]
    for access in (large, second, small):
        pressing += [asyncio.create_task(write(access)) for _ in range(bodies // len(body) + 1)]
    for access in (large, second):
        pressing += [
            asyncio.create_task(read(access, LOGS, access.reader, limit="1000")),
            asyncio.create_task(read(access, LOGS, access.reader, limit="1000", q="u1")),
            asyncio.create_task(read(access, STATS, access.reader, group_by="metadata.blob")),
            asyncio.create_task(read(access, EXPORT, access.auditor)),
        ]
    await asyncio.sleep(30)
    stop.set()
    await asyncio.gather(*pressing)
    faults.proxies["sqs"].cut()
    grew = await growth
    faults.note(
        f"budgets of {bodies // _MIB} MiB for bodies and {answers // _MIB} for answers, of which "
        f"{[size // _MIB for size in peaks.values()]} were used at most: api grew by "
        f"{grew / _MIB:.0f} MiB; {dict(codes)}"
    )
    for answer in unread:
        answer.close()
    await api.stop()
    await faults.maker.provisioner.delete(second.tenant.id, owner="cli", now=True)
    assert grew <= allowed_growth(bodies=bodies, answers=answers, connections=0)
