"""The write endpoints without backends: what they hold, count and say when SQS does not answer."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from ocelot_api.authentication import Principal
from ocelot_api.budget import EVENT_BYTES, FairPool, Refusal
from ocelot_api.ingest.coalescer import SendFailedError
from ocelot_api.ingest.endpoints import REGISTRY_GRACE_SEC, Ingest
from ocelot_api.metrics import ApiMetrics
from ocelot_api.middleware import FastRoutes, RequestMiddleware
from ocelot_api.settings import ApiSettings
from ocelot_common.envelope import Segment
from ocelot_common.queue.keys import NoSigningKeyError
from ocelot_common.registry.model import Tenant

BUDGET = 1_000_000  # of which one tenant may hold half
EVENT = b'{"action":"a","actor":{"id":"u"}}'
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class World:
    """Everything around the endpoints: a registry, a token, and a way to SQS."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.unconfirmed_sec = 0.0
        self.submitted: list[tuple[str, Segment]] = []
        self.gate: asyncio.Event | None = None
        self.fail = False
        self.no_key = False
        self.ten_submitted = asyncio.Event()

    async def authenticate(self, headers: dict[bytes, bytes], scope: str) -> Principal:
        principal = Principal(self.tenant, "me", frozenset({"logs:write"}))
        principal.require(scope)
        return principal

    async def submit(self, uid: str, segment: Segment) -> None:
        if self.no_key:
            raise NoSigningKeyError("no key is active")
        self.submitted.append((uid, segment))
        if len(self.submitted) == 10:
            self.ten_submitted.set()
        if self.gate:
            await self.gate.wait()
        if self.fail:
            raise SendFailedError("SQS did not take the events")


@pytest.fixture
def world(make_tenant: Callable[..., Tenant]) -> World:
    return World(make_tenant())


@pytest.fixture
def budget(metrics: ApiMetrics) -> FairPool:
    refusal = Refusal("X", "bytes", members={"outcome": "rejected"})
    return FairPool(BUDGET, refusal, metrics.budget_bytes)


@pytest.fixture
async def http(
    world: World, budget: FairPool, metrics: ApiMetrics
) -> AsyncIterator[httpx.AsyncClient]:
    around: Any = world
    settings = ApiSettings(
        mongodb_url="mongodb://x",
        sqs_queue_url="http://x/q",
        queue_keys_file="queue-keys",
        max_bulk_bytes=65_536,
        max_bulk_events=100,
        body_budget_bytes=BUDGET,
    )
    ingest = Ingest(
        authenticator=around,
        snapshot=around,
        coalescer=around,
        budget=budget,
        metrics=metrics,
        settings=settings,
    )

    async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError

    routes = FastRoutes(nothing)
    routes.add("POST", "/logs", ingest.post_one)
    routes.add("POST", "/bulk", ingest.post_bulk)
    app = RequestMiddleware(routes, metrics=metrics, tracing=False)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as made:
        yield made


def counted(metrics: ApiMetrics) -> dict[str, float]:
    samples = (s for family in metrics.events.collect() for s in family.samples)
    return {s.labels["result"]: s.value for s in samples if s.name.endswith("_total") and s.value}


async def test_a_segment_carries_who_when_and_which_request(http: httpx.AsyncClient, world: World):
    headers = {"X-Request-ID": "r-7", "traceparent": TRACE}
    answer = await http.post("/logs", content=EVENT, headers=headers)
    ((uid, segment),) = world.submitted
    assert uid == world.tenant.uid
    assert (segment.writer, segment.request_id, segment.traceparent) == ("me", "r-7", TRACE)
    assert abs(segment.received_at - uuid.UUID(answer.json()["id"]).int // 2**80) < 1_000
    assert [event.text for event in segment.events] == [EVENT]


async def test_without_sqs_one_event_is_503_unknown_with_its_id(
    http: httpx.AsyncClient, world: World, metrics: ApiMetrics
):
    world.fail = True
    answer = await http.post("/logs", content=EVENT)
    assert answer.status_code == 503
    body = answer.json()
    assert (body["code"], body["outcome"]) == ("queue_unavailable", "unknown")
    assert uuid.UUID(body["id"]).bytes == world.submitted[0][1].events[0].id
    assert answer.headers["retry-after"] == "1"
    assert counted(metrics) == {"unknown": 1}


@pytest.mark.parametrize("path", ["/logs", "/bulk"])
async def test_without_a_key_to_sign_with_events_are_503_rejected(
    http: httpx.AsyncClient, world: World, path: str
):
    world.no_key = True
    answer = await http.post(path, content=b"[%b]" % EVENT if path == "/bulk" else EVENT)
    assert answer.status_code == 503
    assert (answer.json()["code"], answer.json()["outcome"]) == ("queue_key_missing", "rejected")


async def test_without_sqs_many_are_503_unknown_with_their_ids_by_position(
    http: httpx.AsyncClient, world: World, metrics: ApiMetrics
):
    world.fail = True
    answer = await http.post("/bulk", content=b"[%b,1,%b]" % (EVENT, EVENT))
    ids = answer.json()["ids"]
    assert ids[1] is None
    sent = [str(uuid.UUID(bytes=event.id)) for event in world.submitted[0][1].events]
    assert [ids[0], ids[2]] == sent
    assert counted(metrics) == {"unknown": 2, "rejected": 1}


async def test_what_was_taken_is_counted_once(http: httpx.AsyncClient, metrics: ApiMetrics):
    await http.post("/bulk", content=b"[%b,1,%b]" % (EVENT, EVENT))
    await http.post("/logs", content=EVENT)
    await http.post("/logs", content=b"{}")
    assert counted(metrics) == {"accepted": 3, "rejected": 2}


async def test_bytes_are_held_until_sqs_has_answered_and_given_back_then(
    http: httpx.AsyncClient, world: World, budget: FairPool
):
    world.gate = asyncio.Event()
    body = b"[" + b",".join([EVENT] * 100) + b"]"
    tasks = [asyncio.create_task(http.post("/bulk", content=body)) for _ in range(10)]
    await world.ten_submitted.wait()
    assert budget.used == 10 * (len(body) + 100 * EVENT_BYTES)
    world.gate.set()
    answers = await asyncio.gather(*tasks)
    assert {answer.status_code for answer in answers} == {202}
    assert budget.used == 0


async def test_texts_that_are_longer_than_their_body_are_held_too(
    http: httpx.AsyncClient, world: World, budget: FairPool
):
    world.gate = asyncio.Event()
    event = EVENT[:-1] + b',"metadata":{"a":[' + b",".join([b"9e9"] * 100) + b"]}}"
    body = b"[" + b",".join([event] * 100) + b"]"
    task = asyncio.create_task(http.post("/bulk", content=body))
    while not world.submitted:  # noqa: ASYNC110 - by the endpoint
        await asyncio.sleep(0.01)
    texts = [each.text for each in world.submitted[0][1].events]
    assert sum(map(len, texts)) > 2 * len(body)
    assert budget.used == sum(map(len, texts)) + 100 * EVENT_BYTES
    world.gate.set()
    assert (await task).status_code == 202


@pytest.mark.parametrize(
    "content", [EVENT, b"{}", b"{", b"", b"[%b]" % EVENT, b"x" * 70_000, b"[1]"], ids=len
)
async def test_however_a_request_ends_its_bytes_are_given_back(
    http: httpx.AsyncClient, world: World, budget: FairPool, content: bytes
):
    for fail in (False, True):
        world.fail = fail
        for url in ("/logs", "/bulk"):
            for encoding in ({}, {"Content-Encoding": "zstd"}):
                await http.post(url, content=content, headers=encoding)
    assert budget.used == 0


async def test_over_the_budget_a_request_is_503_and_nothing_of_it_was_taken(
    http: httpx.AsyncClient, world: World, budget: FairPool
):
    budget.take("another", BUDGET // 2, 0)
    budget.take(world.tenant.uid, BUDGET // 4 - 10_000, 0)
    body = b"[" + EVENT + b" " * 20_000 + b"]"
    answer = await http.post("/bulk", content=body)
    assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
    assert answer.json()["outcome"] == "rejected"
    assert world.submitted == []
    assert (await http.post("/logs", content=EVENT)).status_code == 202


async def test_writes_go_on_for_an_hour_without_the_registry(http: httpx.AsyncClient, world: World):
    world.unconfirmed_sec = REGISTRY_GRACE_SEC - 1
    assert (await http.post("/logs", content=EVENT)).status_code == 202
    world.unconfirmed_sec = REGISTRY_GRACE_SEC + 1
    answer = await http.post("/logs", content=EVENT)
    assert (answer.status_code, answer.json()["code"]) == (503, "registry_stale")
    assert answer.json()["outcome"] == "rejected"


async def test_a_tenants_own_limit_on_an_event_may_be_lower_and_not_higher(
    http: httpx.AsyncClient, world: World, make_tenant: Callable[..., Tenant]
):
    def event(size: int) -> bytes:
        return EVENT[:-1] + b',"message":"' + b"x" * size + b'"}'

    for limit, size, status in (
        (1_000, 1_000, 413),
        (1_000, 900, 202),
        (10**9, 65_536, 413),
        (None, 65_400, 202),
    ):
        world.tenant = make_tenant(max_event_bytes=limit)
        assert (await http.post("/logs", content=event(size))).status_code == status
        answer = await http.post("/bulk", content=b"[%b,%b]" % (EVENT, event(min(size, 60_000))))
        refused = [error["code"] for error in answer.json()["errors"]]
        assert refused == (["event_too_large"] if limit == 1_000 and status == 413 else [])


async def test_every_fault_of_a_single_event_is_named_and_the_event_counted_once(
    http: httpx.AsyncClient, metrics: ApiMetrics
):
    answer = await http.post("/logs", content=b'{"actor":{"id":1},"x":1}')
    body = answer.json()
    assert answer.status_code == 422
    assert (body["code"], body["path"]) == (body["errors"][0]["code"], body["errors"][0]["path"])
    assert {each["path"] for each in body["errors"]} == {"action", "actor.id", "x"}
    assert {each["index"] for each in body["errors"]} == {0}
    assert counted(metrics) == {"rejected": 1}


@pytest.mark.parametrize("url", ["/logs", "/bulk"])
@pytest.mark.parametrize("query", ["x=1", "%00=1", "a" * 5_000, "%ff", "=", "x[]=1", "&&x"])
async def test_an_unknown_parameter_is_400_whatever_its_bytes(
    http: httpx.AsyncClient, url: str, query: str
):
    answer = await http.post(f"{url}?{query}", content=EVENT)
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_parameter")
    assert len(answer.json()["path"]) <= 100


async def test_the_order_of_ids_is_the_order_of_the_request(http: httpx.AsyncClient, world: World):
    events = [EVENT[:-1] + b',"message":"%d"}' % number for number in range(50)]
    events[10] = events[20] = b"{}"
    answer = await http.post(
        "/bulk",
        content=b"\n".join(events),
        headers={"Content-Type": "application/x-ndjson"},
    )
    sent = {
        str(uuid.UUID(bytes=event.id)): json.loads(event.text)["message"]
        for event in world.submitted[0][1].events
    }
    ids = answer.json()["ids"]
    assert [None if event_id is None else sent[event_id] for event_id in ids] == [
        None if number in (10, 20) else str(number) for number in range(50)
    ]


@pytest.mark.parametrize(("good", "status"), [(True, 202), (False, 422)])
async def test_a_long_answer_counts_until_the_client_has_read_it(
    world: World, metrics: ApiMetrics, good: bool, status: int
):
    budget = FairPool(4 * BUDGET, Refusal("X", "bytes"), metrics.budget_bytes)
    around: Any = world
    settings = ApiSettings(
        mongodb_url="mongodb://x",
        sqs_queue_url="http://x/q",
        queue_keys_file="queue-keys",
        max_bulk_bytes=524_288,
        max_bulk_events=1_000,
    )
    ingest = Ingest(
        authenticator=around,
        snapshot=around,
        coalescer=around,
        budget=budget,
        metrics=metrics,
        settings=settings,
    )
    event = b'{"action":"a","actor":{"id":"u"},"id":"%s"}'
    faulty = b'{"a":"' + b"x" * 520 + b'"}'  # so long that none is one too many
    events = [event % str(uuid.uuid4()).encode() if good else faulty for _ in range(900)]
    messages: list[Any] = []
    held: list[int] = []
    left = 0
    bodies = [b"[" + b",".join(events) + b"]"]

    async def receive() -> Any:
        if not bodies:  # the client stays
            await asyncio.Event().wait()
        return {"type": "http.request", "body": bodies.pop()}

    async def send(message: Any) -> None:
        nonlocal left
        messages.append(message)
        if message["type"] == "http.response.start":
            left = int(dict(message["headers"])[b"content-length"])
        else:
            held.append(budget.used)
            assert budget.used >= left, "what is not sent yet does not count"
            left -= len(message["body"])

    scope: Any = {
        "type": "http",
        "headers": [(b"content-type", b"application/json")],
        "query_string": b"",
        "state": {"request_id": "r"},
    }
    await ingest.post_bulk(scope, receive, send)
    assert messages[0]["status"] == status
    assert left == 0
    assert len(held) > 1 or good
    assert budget.used == 0
    body = json.loads(b"".join(message["body"] for message in messages[1:]))
    assert len(body["ids"]) == 900
