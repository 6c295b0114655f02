"""`GET /logs` and `GET /logs/{id}`."""

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request, Response
from pymongo.asynchronous.database import AsyncDatabase

from ocelot_api.authentication import Authenticator
from ocelot_api.middleware import headers_of
from ocelot_api.problems import Problem, bad_request, unavailable
from ocelot_api.search.parameters import Parameters, refuse_repeated, to_query
from ocelot_api.search.service import SearchService
from ocelot_common.auth.scopes import LOGS_READ
from ocelot_common.ids import parse_id
from ocelot_common.mongo import events_of
from ocelot_common.registry.model import Home
from ocelot_common.registry.snapshot import RegistrySnapshot
from ocelot_common.stored import READ_PROJECTION, answer_json, read_document, store_key

Document = dict[str, Any]

_JSON: Final = "application/json"


class Reading:
    """The read endpoints with what they need."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        snapshot: RegistrySnapshot,
        database: AsyncDatabase[Document],
        service: SearchService,
        timeout_sec: float,
    ) -> None:
        self._authenticator = authenticator
        self._snapshot = snapshot
        self._database = database
        self._service = service
        self._timeout_sec = timeout_sec

    async def home(self, request: Request, scope: str) -> Home:
        """The tenant of a read request, with its space.

        Raises:
            Problem: the token does not allow it, or the registry is unconfirmed for too long.
        """
        if not self._snapshot.fresh:
            raise unavailable("registry_stale", "the registry has not been read for 30 s")
        principal = await self._authenticator.authenticate(headers_of(request.scope), scope)
        home = self._snapshot.home(principal.tenant.uid)
        if home is None:
            raise unavailable("registry_stale", "the tenant's space is not known yet")
        return home

    async def search(self, request: Request, parameters: Parameters) -> Response:
        """Find events, the latest first unless told otherwise.

        The answer names the `backend`: OpenSearch, or MongoDB where the index is left out, away or
        being built. `total.relation` is `gte` where more match than were counted.
        """
        home = await self.home(request, LOGS_READ)
        refuse_repeated(request.query_params)
        body = await self._service.search(to_query(parameters, home))
        return Response(body, media_type=_JSON)

    async def get(
        self,
        request: Request,
        event_id: Annotated[str, Path(alias="id", description="The event's UUID")],
    ) -> Response:
        """Read one event from the store; one just accepted may be a 404 for a moment."""
        home = await self.home(request, LOGS_READ)
        try:
            key = store_key(home.tenant, parse_id(event_id))
        except ValueError as error:
            raise bad_request("invalid_id", str(error), path="id") from None
        try:
            async with asyncio.timeout(self._timeout_sec + 1):
                document = await events_of(self._database, home.space.collection).find_one(
                    {"_id": key, "t": home.tenant.uid},
                    READ_PROJECTION,
                    max_time_ms=int(self._timeout_sec * 1000),
                )
        except TimeoutError:
            raise Problem(504, "store_timeout", "the store did not answer in time") from None
        stored = read_document(document) if document else None
        if stored is None or stored.received_at < home.tenant.cutoff_ms():
            raise Problem(404, "event_not_found", "no such event is stored")
        return Response(answer_json(stored, home.tenant.id), media_type=_JSON)

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(prefix="/api/v1", tags=["read"])
        router.get("/logs", summary="Search events")(self.search)
        router.get("/logs/{id}", summary="Read one event")(self.get)
        return router
