"""`POST /logs/index/bulk`, `GET /jobs` and `GET /jobs/{id}`."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Path, Request, Response
from pymongo.errors import ExecutionTimeout

from ocelot_api.answers import BudgetedResponse
from ocelot_api.authentication import Authenticator
from ocelot_api.budget import FairPool, Reservation
from ocelot_api.jobs.answers import encode, job_answer
from ocelot_api.jobs.documentation import DEFAULT_LIMIT, JOB_ID, LIST, MAX_LIMIT, REBUILD, SHOW
from ocelot_api.jobs.requests import read_rebuild
from ocelot_api.json_bodies import JsonBodies
from ocelot_api.middleware import headers_of
from ocelot_api.problems import Problem, bad_request, invalid_parameter, store_timeout
from ocelot_api.query_strings import known_parameters, whole_number
from ocelot_common.auth.scopes import LOGS_ADMIN
from ocelot_common.ids import format_id, parse_id
from ocelot_common.jobs.model import JobKind, JobState
from ocelot_common.jobs.rebuild import request_rebuild_of_tenant
from ocelot_common.jobs.store import JobExistsError, JobStore
from ocelot_common.registry.model import Home

T = TypeVar("T")

_JSON: Final = "application/json"
_PATH: Final = "/api/v1/jobs"
#: Ten thousand ids take half of it.
_MAX_BODY_BYTES: Final = 1024 * 1024
#: What a job of a page holds, as an object and as JSON; its ids are left out.
_JOB_BYTES: Final = 8 * 1024
_OPTIONS: Final = ("kind", "state", "limit", "cursor")


class Jobs:
    """The endpoints of jobs.

    Args:
        home: the tenant of a read request that needs a scope.
        authenticator: tells who asks.
        jobs: the store.
        bodies: reads them.
        answers: the budget of answers.
        timeout_sec: what the store may take.
    """

    def __init__(
        self,
        *,
        home: Callable[[Request, str], Awaitable[Home]],
        authenticator: Authenticator,
        jobs: JobStore,
        bodies: JsonBodies,
        answers: FairPool,
        timeout_sec: float,
    ) -> None:
        self._home = home
        self._authenticator = authenticator
        self._jobs = jobs
        self._bodies = bodies
        self._answers = answers
        self._timeout_sec = timeout_sec

    async def rebuild(self, request: Request) -> Response:
        """Queue a rebuild of the tenant's search index."""
        home = await self._home(request, LOGS_ADMIN)
        known_parameters(request.query_params, ())
        principal = await self._authenticator.authenticate(headers_of(request.scope), LOGS_ADMIN)
        async with self._bodies.body(
            request, uid=home.tenant.uid, max_bytes=_MAX_BODY_BYTES
        ) as body:
            wanted = read_rebuild(body)
        if not home.space.search_enabled:
            raise Problem(
                409,
                "search_not_enabled",
                "The tenant has no search index to rebuild. Its searches run on MongoDB.",
            )
        try:
            job = await self._in_time(
                request_rebuild_of_tenant(
                    self._jobs,
                    home,
                    created_by=principal.subject,
                    ids=wanted.ids,
                    received_from=wanted.received_from,
                    received_to=wanted.received_to,
                )
            )
        except JobExistsError as error:
            # Not another tenant's: keys name the tenant or its own space.
            raise Problem(
                409,
                "job_exists",
                f"The rebuild {error.job.id} is still running. Wait until it has ended.",
                members={"job_id": error.job.id},
            ) from None
        location = {"Location": f"{_PATH}/{job.id}"}
        return Response(encode(job_answer(job)), 202, headers=location, media_type=_JSON)

    async def list(self, request: Request) -> Response:
        """List the tenant's jobs."""
        home = await self._home(request, LOGS_ADMIN)
        given = known_parameters(request.query_params, _OPTIONS, repeatable=("kind", "state"))
        limit = _limit(given.get("limit", [str(DEFAULT_LIMIT)])[0])
        kinds = _known("kind", given.get("kind", []), list(JobKind))
        states = _known("state", given.get("state", []), list(JobState))
        before = _job_id("cursor", given["cursor"][0]) if "cursor" in given else None

        async def produce(held: Reservation) -> list[bytes]:
            found = await self._in_time(
                self._jobs.find(
                    uid=home.tenant.uid,
                    kinds=kinds,
                    states=states,
                    before=before,
                    limit=limit + 1,
                    count_ids=True,
                )
            )
            page = found[:limit]
            cursor = page[-1].id if len(found) > limit else None
            answer = encode({"items": [job_answer(job) for job in page], "next_cursor": cursor})
            held.grow(max(0, len(answer) - held.size))
            return [answer]

        return BudgetedResponse(
            self._answers, home.tenant.uid, produce, first_bytes=_JOB_BYTES * (limit + 1)
        )

    async def show(
        self,
        request: Request,
        job_id: Annotated[
            str,
            Path(
                alias="id",
                description="UUID of the job.",
                json_schema_extra={"format": "uuid"},
                openapi_examples={"a_job": {"value": JOB_ID}},
            ),
        ],
    ) -> Response:
        """Show one of the tenant's jobs."""
        home = await self._home(request, LOGS_ADMIN)
        known_parameters(request.query_params, ())
        key = _job_id("id", job_id)
        job = await self._in_time(self._jobs.get(key, uid=home.tenant.uid))
        if job is None:
            raise Problem(404, "job_not_found", f"The tenant has no job {key}.")
        return Response(encode(job_answer(job)), media_type=_JSON)

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(prefix="/api/v1", tags=["jobs"])
        router.post(
            "/logs/index/bulk",
            status_code=202,
            summary="Rebuild the search index",
            openapi_extra=REBUILD,
        )(self.rebuild)
        router.get("/jobs", summary="List jobs", openapi_extra=LIST)(self.list)
        router.get("/jobs/{id}", summary="Show a job", openapi_extra=SHOW)(self.show)
        return router

    async def _in_time(self, asked: Coroutine[Any, Any, T]) -> T:
        try:
            async with asyncio.timeout(self._timeout_sec):
                return await asked
        except (TimeoutError, ExecutionTimeout):
            raise store_timeout() from None


def _limit(text: str) -> int:
    limit = whole_number(text) or 0
    if not 1 <= limit <= MAX_LIMIT:
        raise invalid_parameter("limit", f"must be a number from 1 to {MAX_LIMIT}")
    return limit


def _known(name: str, given: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    for value in given:
        if value not in known:
            raise invalid_parameter(name, f"must be one of {', '.join(known)}")
    return given


def _job_id(name: str, text: str) -> str:
    try:
        return format_id(parse_id(text))
    except ValueError as error:
        code = "invalid_cursor" if name == "cursor" else "invalid_id"
        raise bad_request(code, f"`{name}` {error}.", path=name) from None
