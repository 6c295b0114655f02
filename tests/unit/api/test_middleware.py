"""What every response has in common, whatever the application does."""

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from opensearchpy.exceptions import ConnectionError as OpenSearchConnectionError
from pymongo.errors import (
    AutoReconnect,
    ExecutionTimeout,
    NetworkTimeout,
    OperationFailure,
    ServerSelectionTimeoutError,
)
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from ocelot_api.bodies import ClientGoneError
from ocelot_api.client_address import TrustedProxies, parse_networks
from ocelot_api.metrics import ApiMetrics
from ocelot_api.middleware import (
    FastRoutes,
    RequestMiddleware,
    headers_of,
    request_id_of,
    traceparent,
)
from ocelot_api.problems import Problem, unavailable
from ocelot_api.refusals import RefusalLog

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class App:
    """Answers 200 with what it knows of the request, or raises `error`, before or amid it."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.amid: Exception | None = None
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if self.error:
            raise self.error
        known = {"request_id": request_id_of(scope), "traceparent": traceparent(scope)}
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
        if self.amid:
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            raise self.amid
        await send({"type": "http.response.body", "body": json.dumps(known).encode()})


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
async def client(app: App, metrics: ApiMetrics) -> AsyncIterator[httpx.AsyncClient]:
    wrapped = RequestMiddleware(FastRoutes(app), metrics=metrics, tracing=False)
    transport = httpx.ASGITransport(wrapped)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as made:
        yield made


@pytest.mark.parametrize("given", ["abc", "A.b_c:d/e+f=g@h-1", "x" * 128])
async def test_a_clients_request_id_is_kept(client: httpx.AsyncClient, given: str):
    answer = await client.get("/", headers={"X-Request-ID": given})
    assert answer.headers["x-request-id"] == given
    assert answer.json()["request_id"] == given


@pytest.mark.parametrize(
    "given",
    [b"", b"x" * 129, b"a b", b"a\tb", b"\xc3\xa9", b"\xff", b'"', b"<script>", b"a;b", b"{}"],
)
async def test_a_request_id_that_could_do_harm_is_replaced(client: httpx.AsyncClient, given: bytes):
    answer = await client.get("/", headers={"X-Request-ID": given})
    assert uuid.UUID(answer.headers["x-request-id"]).version == 7
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("given", [b"a\nb", b"a\r\nSet-Cookie: x", b"a\n"])
async def test_a_line_break_in_a_request_id_never_reaches_a_header(
    app: App, metrics: ApiMetrics, given: bytes
):
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": [(b"x-request-id", given)],
    }
    await RequestMiddleware(app, metrics=metrics, tracing=False)(scope, None, send)  # type: ignore[arg-type]
    values = dict(sent[0]["headers"])
    assert b"\n" not in values[b"x-request-id"]
    assert given not in values.values()


async def test_a_trace_context_is_passed_on_if_it_is_one(client: httpx.AsyncClient):
    answer = await client.get("/", headers={"traceparent": TRACE})
    assert answer.json()["traceparent"] == TRACE
    for bad in ("", "nonsense", TRACE + "\x7f", TRACE.upper(), "é"):
        answer = await client.get("/", headers={"traceparent": bad.encode()})
        assert answer.json()["traceparent"] == ""


async def test_the_applications_own_headers_stay(client: httpx.AsyncClient):
    assert (await client.get("/")).headers["a"] == "b"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Problem(422, "missing_field", "d", path="x"), 422, "missing_field"),
        (unavailable("overloaded", "d"), 503, "overloaded"),
        (ServerSelectionTimeoutError("no primary"), 503, "store_unavailable"),
        (AutoReconnect("closed"), 503, "store_unavailable"),
        (OperationFailure("secret"), 503, "store_unavailable"),
        (NetworkTimeout("slow"), 504, "store_timeout"),
        (ExecutionTimeout("slow"), 504, "store_timeout"),
        (OpenSearchConnectionError("N/A", "secret", Exception()), 503, "search_unavailable"),
        (ValueError("secret"), 500, "internal"),
        (KeyError("secret"), 500, "internal"),
        (RecursionError("secret"), 500, "internal"),
        (UnicodeDecodeError("utf-8", b"secret", 0, 1, "secret"), 500, "internal"),
    ],
    ids=repr,
)
async def test_whatever_is_raised_becomes_a_problem_and_leaks_nothing(
    client: httpx.AsyncClient, app: App, error: Exception, status: int, code: str
):
    app.error = error
    answer = await client.get("/", headers={"X-Request-ID": "r-1"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == "r-1"
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert (body["status"], body["code"], body["request_id"]) == (status, code, "r-1")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert ("retry-after" in answer.headers) is (status == 503)


async def test_an_answer_that_breaks_off_is_not_patched_up(client: httpx.AsyncClient, app: App):
    app.amid = ValueError("broke")
    with pytest.raises(ValueError, match="broke"):
        await client.get("/")


async def test_a_client_that_has_gone_is_counted_and_not_answered(
    app: App, metrics: ApiMetrics, client: httpx.AsyncClient
):
    app.error = ClientGoneError()
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {"type": "http", "method": "POST", "path": "/", "headers": []}
    await RequestMiddleware(app, metrics=metrics, tracing=False)(scope, None, send)  # type: ignore[arg-type]
    assert sent == []
    assert counted(metrics) == {('method="POST"', 'route="unmatched"', 'status="499"')}


def counted(metrics: ApiMetrics) -> set[tuple[str, ...]]:
    labels = set()
    for family in metrics.requests.collect():
        for sample in family.samples:
            if sample.name.endswith("_total"):
                labels.add(tuple(f'{k}="{v}"' for k, v in sorted(sample.labels.items())))
    return labels


async def test_problems_are_counted_by_their_code(
    client: httpx.AsyncClient, app: App, metrics: ApiMetrics
):
    app.error = Problem(503, "overloaded", "too much")
    for _ in range(2):
        await client.get("/x")
    assert metrics.problems.labels("overloaded")._value.get() == 2


async def test_invented_methods_and_paths_add_no_labels(
    client: httpx.AsyncClient, metrics: ApiMetrics
):
    for number in range(30):
        await client.request(f"M{number}", f"/path/{number}")
    assert counted(metrics) == {('method="other"', 'route="unmatched"', 'status="200"')}


async def test_head_is_get_without_content(
    client: httpx.AsyncClient, app: App, metrics: ApiMetrics
):
    answer = await client.head("/")
    assert answer.status_code == 200
    assert answer.content == b""
    assert app.scopes[-1]["method"] == "GET"
    app.error = Problem(404, "x", "y")
    answer = await client.head("/")
    assert (answer.status_code, answer.content) == (404, b"")
    assert all('method="HEAD"' in labels for labels in counted(metrics))


class TestFastRoutes:
    @pytest.fixture
    async def client(self, app: App, metrics: ApiMetrics) -> AsyncIterator[httpx.AsyncClient]:
        routes = FastRoutes(app)

        async def write(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 202, "headers": []})
            await send({"type": "http.response.body", "body": b"{}"})

        routes.add("POST", "/logs", write, passed_on=("GET", "HEAD"))
        routes.add("POST", "/logs/bulk", write)
        wrapped = RequestMiddleware(routes, metrics=metrics, tracing=False)
        transport = httpx.ASGITransport(wrapped)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as made:
            yield made

    async def test_an_exact_path_and_method_bypass_the_framework(
        self, client: httpx.AsyncClient, app: App
    ):
        assert (await client.post("/logs")).status_code == 202
        assert (await client.post("/logs/bulk")).status_code == 202
        assert app.scopes == []

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/logs"),
            ("HEAD", "/logs"),
            ("POST", "/logs//"),
            ("GET", "/logs/x"),
            ("GET", "/"),
        ],
    )
    async def test_anything_else_is_the_frameworks(
        self, client: httpx.AsyncClient, method: str, path: str
    ):
        assert (await client.request(method, path)).status_code == 200

    @pytest.mark.parametrize("path", ["/logs/", "/logs/bulk/"])
    async def test_a_slash_at_the_end_is_ignored(
        self, client: httpx.AsyncClient, app: App, path: str
    ):
        assert (await client.post(path)).status_code == 202
        assert (await client.put(path)).status_code == 405
        assert app.scopes == []
        assert (await client.get("/other/?x=1")).status_code == 200
        assert (await client.get("/other%2F")).status_code == 200
        assert [scope["path"] for scope in app.scopes] == ["/other", "/other/"]

    @pytest.mark.parametrize(
        ("method", "path", "allow"),
        [
            ("GET", "/logs/bulk", "POST"),
            ("HEAD", "/logs/bulk", "POST"),
            ("OPTIONS", "/logs/bulk", "POST"),
            ("PUT", "/logs", "GET, HEAD, POST"),
            ("DELETE", "/logs", "GET, HEAD, POST"),
        ],
    )
    async def test_another_method_of_the_path_is_405_and_told_which_are_allowed(
        self, client: httpx.AsyncClient, metrics: ApiMetrics, method: str, path: str, allow: str
    ):
        answer = await client.request(method, path)
        assert answer.status_code == 405
        assert answer.headers["allow"] == allow
        assert answer.headers["x-request-id"]
        assert f'route="{path}"' in next(iter(counted(metrics)))


async def test_requests_are_timed_by_route(client: httpx.AsyncClient, metrics: ApiMetrics):
    await client.get("/")
    samples = {s.name: s.value for f in metrics.request_seconds.collect() for s in f.samples}
    assert samples["ocelot_api_request_seconds_count"] == 1


async def test_what_is_not_http_is_passed_on(app: App, metrics: ApiMetrics):
    seen: list[str] = []

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    middleware = RequestMiddleware(FastRoutes(other), metrics=metrics, tracing=False)
    for kind in ("lifespan", "websocket"):
        await middleware({"type": kind}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan", "websocket"]


def test_a_header_that_is_given_twice_is_a_list_and_so_no_token():
    given = [(b"a", b"1"), (b"authorization", b"Bearer x"), (b"authorization", b"Bearer y")]
    headers = headers_of({"headers": given})
    assert headers == {b"a": b"1", b"authorization": b"Bearer x, Bearer y"}
    assert headers_of({"headers": given[:2]}) == {b"a": b"1", b"authorization": b"Bearer x"}


class TestStoring:
    """No cache keeps an answer, and no browser guesses its type."""

    async def answer(self, metrics: ApiMetrics, *headers: tuple[bytes, bytes]) -> httpx.Headers:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
            await send({"type": "http.response.body", "body": b""})

        transport = httpx.ASGITransport(RequestMiddleware(app, metrics=metrics, tracing=False))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return (await client.get("/")).headers

    async def test_no_answer_may_be_kept(self, metrics: ApiMetrics):
        headers = await self.answer(metrics, (b"content-type", b"application/json"))
        assert headers.get_list("cache-control") == ["no-store"]
        assert headers.get_list("x-content-type-options") == ["nosniff"]

    async def test_an_answer_that_says_how_long_it_may_be_kept_is_left_alone(
        self, metrics: ApiMetrics
    ):
        headers = await self.answer(metrics, (b"cache-control", b"max-age=60"))
        assert headers.get_list("cache-control") == ["max-age=60"]
        assert headers.get_list("x-content-type-options") == ["nosniff"]

    async def test_problems_may_not_be_kept(self, client: httpx.AsyncClient, app: App):
        app.error = unavailable("overloaded", "full")
        headers = (await client.get("/")).headers
        assert headers.get_list("cache-control") == ["no-store"]
        assert headers.get_list("x-content-type-options") == ["nosniff"]


class TestRefusals:
    """One line with the client's address for each 401, 403, 429 and 503."""

    @pytest.fixture
    async def behind_proxy(self, app: App, metrics: ApiMetrics) -> AsyncIterator[httpx.AsyncClient]:
        refusals = RefusalLog(TrustedProxies(parse_networks("10.0.0.0/8")))
        refusals.tenant_of = lambda headers: headers[b"x-tenant-id"].decode()
        wrapped = RequestMiddleware(
            FastRoutes(app), metrics=metrics, tracing=False, refusals=refusals
        )
        transport = httpx.ASGITransport(wrapped, client=("10.0.0.1", 1))
        headers = [
            ("X-Forwarded-For", "1.1.1.1"),
            ("X-Forwarded-For", "203.0.113.7, 10.0.0.2"),
            ("X-Request-ID", "r-1"),
            ("X-Tenant-ID", "acme"),
            ("Authorization", "Bearer s3cret"),
        ]
        async with httpx.AsyncClient(
            transport=transport, base_url="http://test", headers=headers
        ) as made:
            yield made

    @pytest.mark.parametrize("status", [401, 403, 429, 503])
    async def test_a_refusal_is_one_line(
        self, behind_proxy: httpx.AsyncClient, app: App, status: int
    ):
        app.error = Problem(status, "some_code", "detail")
        with capture_logs() as lines:
            await behind_proxy.get("/secret-path?token=s3cret")
        assert lines == [
            {
                "event": "request_refused",
                "log_level": "warning",
                "client": "203.0.113.7",
                "status": status,
                "code": "some_code",
                "request_id": "r-1",
                "route": "unmatched",
                "tenant": "acme",
            }
        ]

    @pytest.mark.parametrize("status", [400, 404, 408, 413, 422, 504])
    async def test_other_problems_write_none(
        self, behind_proxy: httpx.AsyncClient, app: App, status: int
    ):
        app.error = Problem(status, "some_code", "detail")
        with capture_logs() as lines:
            await behind_proxy.get("/")
        assert lines == []

    async def test_an_answer_writes_none(self, behind_proxy: httpx.AsyncClient):
        with capture_logs() as lines:
            await behind_proxy.get("/")
        assert lines == []

    async def test_a_backends_failure_is_a_refusal_too(
        self, behind_proxy: httpx.AsyncClient, app: App
    ):
        app.error = AutoReconnect("away")
        with capture_logs() as lines:
            await behind_proxy.get("/")
        assert [(line["event"], line.get("client")) for line in lines] == [
            ("backend_failed", None),
            ("request_refused", "203.0.113.7"),
        ]
