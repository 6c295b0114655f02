"""`GET /logs`, `POST /logs/search`, `GET /logs/stats` and `GET /logs/{id}`."""

import asyncio
from typing import Annotated, Any, Final

from bson import Binary
from fastapi import APIRouter, Path, Request, Response
from pymongo.asynchronous.database import AsyncDatabase

from ocelot_api.answers import BudgetedResponse, Produce
from ocelot_api.authentication import Authenticator
from ocelot_api.budget import FairPool, Reservation
from ocelot_api.json_bodies import JsonBodies
from ocelot_api.middleware import headers_of
from ocelot_api.problems import Problem, bad_request, store_timeout, unavailable
from ocelot_api.query_strings import known_parameters
from ocelot_api.search.documentation import READ, SEARCH, SEARCH_BY_TREE, STATS
from ocelot_api.search.parameters import query_of_body, query_of_parameters
from ocelot_api.search.service import SearchService
from ocelot_api.search.stats_parameters import stats_of_parameters
from ocelot_common.auth.scopes import LOGS_READ
from ocelot_common.ids import parse_id
from ocelot_common.mongo import events_of
from ocelot_common.reading import Unreadable, answer_of, read_event, read_projection
from ocelot_common.registry.model import Home
from ocelot_common.registry.snapshot import RegistrySnapshot
from ocelot_common.stored import store_key

Document = dict[str, Any]

#: Held before a backend is asked; it covers the objects that a page is made of.
_FIRST_BYTES: Final = 1024 * 1024
#: The same for one event: the largest is 256 KiB, most are far smaller.
_FIRST_BYTES_OF_EVENT: Final = 64 * 1024
#: A hundred conditions of fifty values hardly take as much.
_MAX_SEARCH_BYTES: Final = 256 * 1024


class Reading:
    """The read endpoints with what they need."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        snapshot: RegistrySnapshot,
        database: AsyncDatabase[Document],
        service: SearchService,
        bodies: JsonBodies,
        answers: FairPool,
        timeout_sec: float,
    ) -> None:
        self._authenticator = authenticator
        self._snapshot = snapshot
        self._database = database
        self._service = service
        self._bodies = bodies
        self._answers = answers
        self._timeout_sec = timeout_sec

    async def home(self, request: Request, scope: str) -> Home:
        """The tenant of a read request, with its space.

        Raises:
            Problem: the token does not allow it, or the registry is unconfirmed for too long.
        """
        if not self._snapshot.fresh:
            raise unavailable(
                "registry_stale",
                "The service could not read the registry for 30 s. Retry after 1 s.",
            )
        principal = await self._authenticator.authenticate(headers_of(request.scope), scope)
        home = self._snapshot.home(principal.tenant.uid)
        if home is None:
            raise unavailable(
                "registry_stale",
                "The service has not read the tenant's storage space yet. Retry after 1 s.",
            )
        return home

    async def search(self, request: Request) -> Response:
        """Find events by parameters."""
        home = await self.home(request, LOGS_READ)
        query = query_of_parameters(request.query_params, home)
        return self._answer(home, lambda held: self._service.search(query, held))

    async def search_by_tree(self, request: Request) -> Response:
        """Find events by a tree of conditions."""
        home = await self.home(request, LOGS_READ)
        known_parameters(request.query_params, ())
        async with self._bodies.body(
            request, uid=home.tenant.uid, max_bytes=_MAX_SEARCH_BYTES
        ) as body:
            query = query_of_body(body, home)
        return self._answer(home, lambda held: self._service.search(query, held))

    async def stats(self, request: Request) -> Response:
        """Count events by time and by value."""
        home = await self.home(request, LOGS_READ)
        query = stats_of_parameters(request.query_params, home)
        return self._answer(home, lambda held: self._service.stats(query, held))

    def _answer(self, home: Home, produce: Produce) -> Response:
        return BudgetedResponse(self._answers, home.tenant.uid, produce, first_bytes=_FIRST_BYTES)

    async def get(
        self,
        request: Request,
        event_id: Annotated[
            str,
            Path(
                alias="id",
                description="UUID of the event.",
                json_schema_extra={"format": "uuid"},
                openapi_examples={"an_event": {"value": "01a20fec-b3b5-72f4-9ef5-80ce43e0fde8"}},
            ),
        ],
    ) -> Response:
        """Read one event from the store; one just accepted may be a 404 for a moment."""
        home = await self.home(request, LOGS_READ)
        known_parameters(request.query_params, ())
        try:
            key = store_key(home.tenant, parse_id(event_id))
        except ValueError as error:
            raise bad_request("invalid_id", f"`id` {error}.", path="id") from None
        return BudgetedResponse(
            self._answers,
            home.tenant.uid,
            lambda held: self._event(home, key, held),
            first_bytes=_FIRST_BYTES_OF_EVENT,
        )

    async def _event(self, home: Home, key: Binary, held: Reservation) -> list[bytes]:
        try:
            async with asyncio.timeout(self._timeout_sec + 1):
                document = await events_of(self._database, home.space.collection).find_one(
                    {"_id": key, "t": home.tenant.uid},
                    read_projection(home.tenant),
                    max_time_ms=int(self._timeout_sec * 1000),
                )
        except TimeoutError:
            raise store_timeout() from None
        stored = read_event(document) if document else None
        if stored is None or (
            stored.received_at is not None and stored.received_at < home.tenant.cutoff_ms()
        ):
            raise Problem(
                404,
                "event_not_found",
                "The tenant has no event of this id. An event that was just accepted can be read"
                " a moment later.",
            )
        if isinstance(stored, Unreadable):
            raise Problem(
                409, "event_unreadable", f"The stored document is not an event: {stored.reason}."
            )
        answer = answer_of(stored, home.tenant.id)
        held.grow(len(answer))
        return [answer]

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(prefix="/api/v1", tags=["read"])
        router.get("/logs", summary="Search events", openapi_extra=SEARCH)(self.search)
        router.post(
            "/logs/search", summary="Search by a tree of conditions", openapi_extra=SEARCH_BY_TREE
        )(self.search_by_tree)
        router.get("/logs/stats", summary="Count events", openapi_extra=STATS)(self.stats)
        router.get("/logs/{id}", summary="Read one event", openapi_extra=READ)(self.get)
        return router
