"""Pure ASGI middleware: request id, metrics, one access line, and problems for what is raised."""

import re
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from opensearchpy.exceptions import TransportError
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from pymongo.errors import PyMongoError, ServerSelectionTimeoutError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ocelot_api.bodies import ClientGoneError
from ocelot_api.client_address import TrustedProxies
from ocelot_api.metrics import ApiMetrics
from ocelot_api.problems import MEDIA_TYPE, Problem, method_not_allowed, store_timeout, unavailable
from ocelot_api.query_strings import check_number
from ocelot_api.refusals import STATUSES as REFUSED
from ocelot_api.refusals import RefusalLog
from ocelot_common.ids import new_id_text
from ocelot_common.telemetry.logs import get_logger
from ocelot_common.telemetry.tracing import traceparent_of

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
#: Methods that metrics name; clients may invent others.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_TRACEPARENT: Final = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

#: What a request's state says besides: the process is to end; the answer's body is not wanted;
#: a function that ends the connection before the answer does.
DRAINING: Final = "draining"
WITHOUT_BODY: Final = "without_body"
CUT: Final = "cut"

_NO_STORE: Final = (b"cache-control", b"no-store")
_NO_SNIFF: Final = (b"x-content-type-options", b"nosniff")

log = get_logger(__name__)
tracer = trace.get_tracer(__name__)
_propagator = TraceContextTextMapPropagator()


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """A request's headers by their lowercase names; a repeated one is a list (RFC 9110 §5.3).

    So two tokens are none, and two media types are none that is known: proxies and services differ
    in which of two they take. Made once a request, and kept in its state: middleware and endpoint
    both ask.
    """
    state: dict[str, Any] = scope.setdefault("state", {})
    headers: dict[bytes, bytes] | None = state.get("headers")
    if headers is None:
        given = scope["headers"]
        headers = dict(given)
        if len(headers) != len(given):
            headers = _joined(given)
        state["headers"] = headers
    return headers


def _joined(given: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    values: dict[bytes, list[bytes]] = {}
    for name, value in given:
        values.setdefault(name, []).append(value)
    return {name: b", ".join(parts) for name, parts in values.items()}


def request_id_of(scope: Scope) -> str:
    """The id that this request goes by."""
    return str(scope["state"]["request_id"])


def traceparent(scope: Scope) -> str:
    """The W3C trace context of this request: ours, or what came with it; or empty."""
    return str(scope["state"].get("traceparent", ""))


def note_problem(scope: Scope, problem: Problem) -> None:
    """Have a request counted as answered with a problem."""
    scope["state"]["problem"] = problem.code


async def send_problem(send: Send, problem: Problem, request_id: str) -> None:
    """Answer with a problem document."""
    body = problem.document(request_id)
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        *((name.lower().encode(), value.encode()) for name, value in problem.headers.items()),
    ]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class RequestMiddleware:
    """Around everything: what every response and every request has in common.

    Args:
        app: what answers.
        metrics: counts.
        tracing: whether spans are exported; without, only the client's own context is passed on.
        refusals: writes a line for refused requests; None trusts no proxy.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: ApiMetrics,
        tracing: bool,
        refusals: RefusalLog | None = None,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._refusals = refusals or RefusalLog(TrustedProxies(()))
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; lifespan events are passed on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = headers_of(scope)
        given = headers.get(b"x-request-id")
        request_id = given.decode() if given and _REQUEST_ID.fullmatch(given) else new_id_text()
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        parent = headers.get(b"traceparent")
        if parent and _TRACEPARENT.fullmatch(parent):
            state["traceparent"] = parent.decode()
        method = scope["method"]
        exchange = _Exchange(send, request_id.encode(), without_body=method == "HEAD")
        if method == "HEAD":  # RFC 9110 §9.3.2: as GET, without the content
            scope = {**scope, "method": "GET"}
            state[WITHOUT_BODY] = True
        began = time.perf_counter()
        try:
            if query := scope.get("query_string"):
                check_number(query)
            if self._tracing:
                await self._traced(scope, receive, exchange)
            else:
                await self._app(scope, receive, exchange.send)
        except Exception as error:  # noqa: BLE001 - the outermost loop of a request
            await self._answer(error, scope, exchange, request_id)
        finally:
            self._observe(method, scope, exchange.status, time.perf_counter() - began)

    async def _traced(self, scope: Scope, receive: Receive, exchange: "_Exchange") -> None:
        state = scope["state"]
        context = _propagator.extract({"traceparent": state.get("traceparent", "")})
        method = scope["method"]
        with tracer.start_as_current_span(method, context=context, kind=SpanKind.SERVER) as span:
            state["traceparent"] = traceparent_of(span.get_span_context())
            await self._app(scope, receive, exchange.send)
            span.update_name(f"{scope['method']} {_route_name(scope)}")
            span.set_attribute("http.response.status_code", exchange.status)

    async def _answer(
        self, error: Exception, scope: Scope, exchange: "_Exchange", request_id: str
    ) -> None:
        if isinstance(error, ClientGoneError):
            return
        problem = to_problem(error)
        note_problem(scope, problem)
        if problem.status == 500:
            log.error("request_failed", request_id=request_id, path=scope["path"], exc_info=error)
        if exchange.finished:
            return  # the framework has answered with the same problem and raised it again
        if exchange.status:
            # The status is out: a cut connection tells the client that the answer is not whole.
            raise error
        await send_problem(exchange.send, problem, request_id)

    def _observe(self, method: str, scope: Scope, status: int, seconds: float) -> None:
        known = method if method in _METHODS else "other"
        self._metrics.observe_request(known, _route_name(scope), status or 499, seconds)
        problem = scope["state"].get("problem")
        if problem is not None:
            self._metrics.problems.labels(problem).inc()
            if status in REFUSED:
                self._refusals.write(
                    scope.get("client"),
                    headers_of(scope),
                    status=status,
                    code=problem,
                    request_id=request_id_of(scope),
                    route=_route_name(scope),
                )


def _route_name(scope: Scope) -> str:
    """The path's template: names in metrics and spans may not grow with the ids in paths."""
    route = scope.get("route")
    return getattr(route, "path", None) or scope.get("route_name") or "unmatched"


class _Exchange:
    """Adds the headers that every response has, and remembers the response's status.

    No cache may keep an answer that does not allow it: most answers hold events, and a proxy or
    browser would keep them past the token's end (RFC 9111 §5.2.2.5). No browser may guess a type:
    it could run an event's text as a script.
    """

    __slots__ = ("_request_id", "_send", "_without_body", "finished", "status")

    def __init__(self, send: Send, request_id: bytes, *, without_body: bool) -> None:
        self._send = send
        self._request_id = request_id
        self._without_body = without_body
        self.status = 0
        self.finished = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [
                *message.get("headers", ()),
                _NO_SNIFF,
                (b"x-request-id", self._request_id),
            ]
            for name, _ in headers:
                if name == b"cache-control":
                    break
            else:
                headers.append(_NO_STORE)
            message["headers"] = headers
        else:
            self.finished = not message.get("more_body", False)
            if self._without_body:
                message["body"] = b""
        await self._send(message)


def to_problem(error: Exception) -> Problem:
    """What a client is told about an error that nobody else handled."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, PyMongoError | TransportError):
        log.warning("backend_failed", error=repr(error)[:300])
    if isinstance(error, PyMongoError):
        if error.timeout and not isinstance(error, ServerSelectionTimeoutError):
            return store_timeout()
        return unavailable("store_unavailable", "MongoDB cannot be reached. Retry after 1 s.")
    if isinstance(error, TransportError):
        return unavailable("search_unavailable", "OpenSearch cannot be reached. Retry after 1 s.")
    return Problem(
        500, "internal", "The service failed. Its log has the error, with the id of this request."
    )


Endpoint = Callable[[Scope, Receive, Send], Awaitable[None]]


class FastRoutes:
    """Exact routes that bypass the framework: the two write routes, where every µs counts.

    Measured, a request: Starlette's route 75 µs, FastAPI's handling of a body 200 to 300.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._routes: dict[tuple[str, str], Endpoint] = {}
        self._passed_on: dict[str, frozenset[str]] = {}

    def add(
        self, method: str, path: str, endpoint: Endpoint, *, passed_on: Iterable[str] = ()
    ) -> None:
        """Have one method of one path answered by an ASGI endpoint.

        Args:
            method: that it answers.
            path: exactly.
            endpoint: answers.
            passed_on: methods of this path that are the framework's; others are refused here.
        """
        self._routes[method, path] = endpoint
        self._passed_on[path] = frozenset(passed_on)

    def only(self, path: str, *methods: str) -> None:
        """Refuse other methods of a path that the framework would take for a parameter's value."""
        self._passed_on[path] = frozenset(methods)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer by an exact route, or let the framework do it.

        A slash at the end of a path is ignored: many clients and frameworks add one, and a redirect
        would lead from https to http behind an ingress, with the token.
        """
        if scope["type"] == "http":
            # Not a slash that the client has encoded: `%2F` is part of an id.
            if scope["path"].endswith("/") and scope.get("raw_path", b"").endswith(b"/"):
                scope["path"] = scope["path"].removesuffix("/") or "/"
            endpoint = self._routes.get((scope["method"], scope["path"]))
            if endpoint is not None:
                scope["route_name"] = scope["path"]
                await endpoint(scope, receive, send)
                return
            passed_on = self._passed_on.get(scope["path"])
            if passed_on is not None and scope["method"] not in passed_on:
                scope["route_name"] = scope["path"]
                raise self._not_allowed(scope["path"], passed_on)
        await self._app(scope, receive, send)

    def _not_allowed(self, path: str, passed_on: frozenset[str]) -> Problem:
        allowed = sorted(passed_on | {method for method, route in self._routes if route == path})
        return method_not_allowed({"Allow": ", ".join(allowed)})
