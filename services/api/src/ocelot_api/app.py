"""The application: clients opened in the order of their need, closed in reverse."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from opensearchpy.exceptions import TransportError
from prometheus_client import CollectorRegistry
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Lifespan

from ocelot_api import openapi
from ocelot_api.authentication import Authenticator
from ocelot_api.budget import FairPool, Refusal
from ocelot_api.client_address import TrustedProxies
from ocelot_api.docs_page.endpoints import docs_router
from ocelot_api.export.endpoints import Exporting
from ocelot_api.ingest.coalescer import Coalescer
from ocelot_api.ingest.endpoints import REGISTRY_GRACE_SEC, Ingest
from ocelot_api.jobs.endpoints import Jobs
from ocelot_api.json_bodies import JsonBodies
from ocelot_api.meta import meta_router
from ocelot_api.metrics import ApiMetrics
from ocelot_api.middleware import (
    FastRoutes,
    RequestMiddleware,
    note_problem,
    request_id_of,
    to_problem,
)
from ocelot_api.problems import (
    MEDIA_TYPE,
    Problem,
    invalid_parameter,
    method_not_allowed,
    unknown_parameter,
)
from ocelot_api.refusals import RefusalLog
from ocelot_api.search.backend import SearchBackend
from ocelot_api.search.endpoints import Reading
from ocelot_api.search.mongo_backend import MongoBackend
from ocelot_api.search.opensearch_backend import OpenSearchBackend
from ocelot_api.search.service import SearchService
from ocelot_api.settings import ApiSettings
from ocelot_common import mongo, opensearch
from ocelot_common.auth.tokens import TokenVerifier
from ocelot_common.build_info import build_info
from ocelot_common.jobs.store import JobStore
from ocelot_common.probes import ProcessReadiness, serve_probes
from ocelot_common.process import tune_garbage_collector
from ocelot_common.queue.client import sending_client
from ocelot_common.queue.keys import KeyFile, NoSigningKeyError, QueueKeys, load_key_file
from ocelot_common.registry.snapshot import RegistrySnapshot
from ocelot_common.registry.store import RegistryStore
from ocelot_common.telemetry.metrics import process_registry
from ocelot_common.telemetry.tracing import configure_tracing

DESCRIPTION = """Multi-tenant audit log. Applications write events; auditors search and export them.

Send a token as `Authorization: Bearer …`. Errors are `application/problem+json` (RFC 9457) with a
stable `code`. After a `503` with `outcome: unknown`, repeat with the ids that it returns.
"""


def create_app(
    settings: ApiSettings,
    *,
    readiness: ProcessReadiness | None = None,
    registry: CollectorRegistry | None = None,
) -> ASGIApp:
    """Return the api as an ASGI application.

    Its lifespan opens and closes all clients and the probes port. The port opens first and closes
    last, so that probes are answered while the process starts and drains.

    Args:
        settings: of the process.
        readiness: what `/readyz` reports; the caller may add causes of its own.
        registry: of the metrics that `/metrics` shows; the caller may add metrics of its own.
    """
    key_file = load_key_file(settings.queue_keys_file)
    provider = configure_tracing(service="api", otlp_endpoint=settings.otlp_endpoint)
    registry = registry or process_registry()
    metrics = ApiMetrics(registry)
    refusals = RefusalLog(TrustedProxies(settings.trusted_proxies))
    ready = readiness or ProcessReadiness()
    routes: FastRoutes

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if provider is not None:
                stack.callback(provider.shutdown)
            probes = serve_probes(
                host=settings.probes_host,
                port=settings.probes_port,
                readiness=ready,
                registry=registry,
                build=build_info("api"),
            )
            await stack.enter_async_context(probes)
            await _open(stack, app, routes, settings, key_file, metrics, ready, refusals)
            tune_garbage_collector()
            yield

    app = _framework(lifespan)
    for kind in (Problem, PyMongoError, TransportError, Exception):
        app.add_exception_handler(kind, _answer_problem)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)
    routes = FastRoutes(app)
    return RequestMiddleware(
        routes, metrics=metrics, tracing=provider is not None, refusals=refusals
    )


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document, for what is made from it: no client is opened."""
    app = _framework()
    addresses = {"mongodb_url": "mongodb://localhost", "sqs_queue_url": "http://localhost/q"}
    addresses["queue_keys_file"] = "queue-keys"  # never read
    settings = ApiSettings.model_validate(addresses)  # reads no environment
    database = mongo.connect(settings.mongodb_url, app_name="ocelot-api")[settings.mongodb_database]
    snapshot = RegistrySnapshot(RegistryStore(database))
    metrics = ApiMetrics(CollectorRegistry())
    _Parts(settings, metrics, database, snapshot).add_routers(app, None)
    return app.openapi()


def _framework(lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    app = FastAPI(
        title="Ocelot",
        version="0.1.0",
        description=DESCRIPTION,
        license_info={"name": "MIT", "identifier": "MIT"},
        lifespan=lifespan,
        docs_url=None,  # FastAPI's page loads its scripts from a CDN
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        redirect_slashes=False,  # FastRoutes answers both spellings of a path
    )
    openapi.install(app)
    return app


async def _open(
    stack: AsyncExitStack,
    app: FastAPI,
    routes: FastRoutes,
    settings: ApiSettings,
    key_file: KeyFile,
    metrics: ApiMetrics,
    readiness: ProcessReadiness,
    refusals: RefusalLog,
) -> None:
    """Open the clients and add the routes that use them."""
    client = mongo.connect(settings.mongodb_url, app_name="ocelot-api", server_selection_sec=2.0)
    stack.push_async_callback(mongo.close, client)
    database = client[settings.mongodb_database]
    snapshot = RegistrySnapshot(RegistryStore(database))
    # SQS and OpenSearch are not asked: their failures are answered request by request.
    readiness.add_check("registry", lambda: _registry_cause(snapshot))
    keys = QueueKeys(key_file, snapshot.queue_key)
    readiness.add_check("queue_keys", lambda: _keys_cause(snapshot, keys))
    await snapshot.start()
    stack.push_async_callback(snapshot.close)
    metrics.registry_age.set_function(lambda: snapshot.unconfirmed_sec)
    index = None
    if settings.opensearch_url:
        search_client = opensearch.connect(
            settings.opensearch_url,
            raw_answers=True,
            bounded=True,
            timeout_sec=settings.search_timeout_sec + 1,
            # No search waits for another's connection, nor does the probe.
            connections=settings.max_searches + 1,
        )
        stack.push_async_callback(search_client.close)
        index = OpenSearchBackend(search_client, timeout_sec=settings.search_timeout_sec)
    sqs = await stack.enter_async_context(
        sending_client(settings, timeout_sec=settings.sqs_timeout_sec)
    )
    coalescer = Coalescer(
        sqs,
        settings.sqs_queue_url,
        keys=keys,
        metrics=metrics,
        linger_sec=settings.linger_sec,
        send_timeout_sec=settings.sqs_timeout_sec,
    )
    await coalescer.start()
    stack.push_async_callback(coalescer.close)

    parts = _Parts(settings, metrics, database, snapshot)
    refusals.tenant_of = parts.authenticator.tenant_of
    metrics.budget_limit_bytes.set(settings.body_budget_bytes)
    metrics.answer_limit_bytes.set(settings.answer_budget_bytes)
    ingest = Ingest(
        authenticator=parts.authenticator,
        snapshot=snapshot,
        coalescer=coalescer,
        budget=parts.budget,
        metrics=metrics,
        settings=settings,
    )
    routes.add("POST", "/api/v1/logs", ingest.post_one, passed_on=("GET", "HEAD"))
    routes.add("POST", "/api/v1/logs/bulk", ingest.post_bulk)
    routes.only("/api/v1/logs/search", "POST")  # is no id
    parts.add_routers(app, index)
    if settings.api_docs:
        app.include_router(docs_router())


def _registry_cause(snapshot: RegistrySnapshot) -> str | None:
    if snapshot.unconfirmed_sec > REGISTRY_GRACE_SEC:
        return snapshot.cause
    return None


def _keys_cause(snapshot: RegistrySnapshot, keys: QueueKeys) -> str | None:
    if _registry_cause(snapshot):
        return None  # which keys are active is not known
    try:
        keys.signing_key()
    except NoSigningKeyError as error:
        return str(error)
    return None


class _Parts:
    """What the framework's endpoints share; making it opens nothing."""

    def __init__(
        self,
        settings: ApiSettings,
        metrics: ApiMetrics,
        database: AsyncDatabase[dict[str, Any]],
        snapshot: RegistrySnapshot,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._database = database
        self._snapshot = snapshot
        verifier = TokenVerifier(
            snapshot.key, issuer=settings.token_issuer, audience=settings.token_audience
        )
        self.authenticator = Authenticator(snapshot, verifier)
        self.budget = FairPool(
            settings.body_budget_bytes,
            Refusal("OCELOT_BODY_BUDGET_BYTES", "bytes of bodies", members={"outcome": "rejected"}),
            metrics.budget_bytes,
        )

    def add_routers(self, app: FastAPI, index: SearchBackend | None) -> None:
        """Have the framework answer every path but those of the writes."""
        settings = self._settings
        store = MongoBackend(self._database, timeout_sec=settings.search_timeout_sec)
        bodies = JsonBodies(self.budget, timeout_sec=settings.body_timeout_sec)
        answers = FairPool(
            settings.answer_budget_bytes,
            Refusal("OCELOT_ANSWER_BUDGET_BYTES", "bytes of answers"),
            self._metrics.answer_bytes,
        )
        searches = FairPool(
            settings.max_searches,
            Refusal("OCELOT_MAX_SEARCHES", "searches"),
            self._metrics.searches_in_flight,
        )
        exports = FairPool(
            settings.max_exports,
            Refusal("OCELOT_MAX_EXPORTS", "exports", "too_many_exports", retry_after_sec=10),
            self._metrics.exports_in_flight,
        )
        reading = Reading(
            authenticator=self.authenticator,
            snapshot=self._snapshot,
            database=self._database,
            service=SearchService(index=index, store=store, slots=searches, metrics=self._metrics),
            bodies=bodies,
            answers=answers,
            timeout_sec=settings.search_timeout_sec,
        )
        exporting = Exporting(
            reading=reading,
            store=store,
            slots=exports,
            answers=answers,
            metrics=self._metrics,
        )
        jobs = Jobs(
            home=reading.home,
            authenticator=self.authenticator,
            jobs=JobStore(self._database),
            bodies=bodies,
            answers=answers,
            timeout_sec=settings.search_timeout_sec,
        )
        app.include_router(jobs.router())
        app.include_router(exporting.router())
        app.include_router(reading.router())
        app.include_router(meta_router(self._snapshot))


async def _answer_problem(request: Request, error: Exception) -> Response:
    problem = to_problem(error)
    note_problem(request.scope, problem)
    body = problem.document(request_id_of(request.scope))
    headers = {"Cache-Control": "no-store", **problem.headers}
    return Response(body, problem.status, headers, MEDIA_TYPE)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    """Starlette's own refusals: no such route, wrong method."""
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers or {})
    if headers.get("Allow") == "GET":
        headers["Allow"] = "GET, HEAD"  # which the middleware answers
    if error.status_code == 405:
        problem = method_not_allowed(headers)
    elif error.status_code == 404:
        problem = Problem(404, "route_not_found", "The service has no such path.", headers=headers)
    else:
        detail = f"The service rejected the request: {error.detail}."
        problem = Problem(error.status_code, "http_error", detail, headers=headers)
    return await _answer_problem(request, problem)


async def _answer_validation_error(request: Request, error: Exception) -> Response:
    """FastAPI's refusals of parameters."""
    if not isinstance(error, RequestValidationError):
        raise error
    fault = error.errors()[0]
    path = str(fault["loc"][-1])[:100]
    if fault["type"] == "extra_forbidden":
        problem = unknown_parameter(path)
    else:
        problem = invalid_parameter(path, f"is invalid: {fault['msg']}")
    return await _answer_problem(request, problem)
