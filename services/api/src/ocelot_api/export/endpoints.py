"""`GET /logs/export`."""

from fastapi import APIRouter, Request, Response

from ocelot_api.budget import FairPool
from ocelot_api.export.documentation import OPERATION
from ocelot_api.export.parameters import read_export
from ocelot_api.export.stream import ExportResponse
from ocelot_api.metrics import ApiMetrics
from ocelot_api.search.endpoints import Reading
from ocelot_api.search.mongo_backend import MongoBackend
from ocelot_common.auth.scopes import LOGS_EXPORT
from ocelot_common.registry.model import Home


class Exporting:
    """The export endpoint with what it needs.

    Args:
        reading: knows whose request it is.
        store: holds the events.
        slots: bound the exports under way.
        answers: the budget of answers.
        metrics: counts.
    """

    def __init__(
        self,
        *,
        reading: Reading,
        store: MongoBackend,
        slots: FairPool,
        answers: FairPool,
        metrics: ApiMetrics,
    ) -> None:
        self._reading = reading
        self._store = store
        self._slots = slots
        self._answers = answers
        self._metrics = metrics

    async def export(self, request: Request) -> Response:
        """Export all events that fit."""
        home = await self._present_home(request)
        return ExportResponse(
            read_export(request.query_params, home),
            present_home=lambda: self._present_home(request),
            store=self._store,
            slots=self._slots,
            answers=self._answers,
            metrics=self._metrics,
        )

    async def _present_home(self, request: Request) -> Home:
        """Of the request's token; it is asked again and again while the export lasts."""
        return await self._reading.home(request, LOGS_EXPORT)

    def router(self) -> APIRouter:
        """The route. It must stand before `/logs/{id}`, which would take it for an id."""
        router = APIRouter(prefix="/api/v1", tags=["read"])
        router.get("/logs/export", summary="Export events", openapi_extra=OPERATION)(self.export)
        return router
