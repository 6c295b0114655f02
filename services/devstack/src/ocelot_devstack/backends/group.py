"""The three backends together."""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Self

from ocelot_devstack.backends.backend import Backend
from ocelot_devstack.backends.mongodb import MongoDB
from ocelot_devstack.backends.opensearch import OpenSearch, OpenSearchMissingError
from ocelot_devstack.backends.sqs import Sqs
from ocelot_devstack.console import Report, say
from ocelot_devstack.errors import DevstackError
from ocelot_devstack.settings import DevSettings


class Backends:
    """MongoDB, SQS and, where the machine can run it, OpenSearch; an async context manager.

    Attributes:
        mongodb: always there.
        sqs: always there.
        opensearch: None where it cannot run.
        opensearch_problem: why opensearch is None.
    """

    def __init__(self, settings: DevSettings, *, report: Report = say) -> None:
        self.settings = settings
        self.report = report
        self.mongodb = MongoDB(settings, report)
        self.sqs = Sqs(settings, report)
        self.opensearch: OpenSearch | None = OpenSearch(settings, report)
        self.opensearch_problem: str | None = None

    @property
    def all(self) -> tuple[Backend, ...]:
        """Those that are there."""
        there = (self.mongodb, self.sqs, self.opensearch)
        return tuple(backend for backend in there if backend is not None)

    async def __aenter__(self) -> Self:
        """Start all three side by side.

        Raises:
            DevstackError: one could not be started; those that could are stopped again.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop(timeout_sec=5)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop what was started here."""
        await self.stop()

    async def stop(self, timeout_sec: float | None = None) -> None:
        """Stop what was started here, side by side; those that somebody else runs stay."""
        await asyncio.gather(*(backend.stop(timeout_sec) for backend in self.all))

    async def _start(self) -> None:
        await _all_or_problems(*(backend.borrow() for backend in self.all))
        await _all_or_problems(self.mongodb.start(), self.sqs.start(), self._start_opensearch())

    async def _start_opensearch(self) -> None:
        if self.opensearch is None:
            return
        try:
            await self.opensearch.start()
        except OpenSearchMissingError as error:
            self.opensearch = None
            self.opensearch_problem = str(error)
            self.report(f"OpenSearch: not started, searches run on MongoDB. Reason: {error}")


async def _all_or_problems(*steps: Coroutine[None, None, None]) -> None:
    """Run all to their end, and raise what went wrong in any of them as one error."""
    async with asyncio.TaskGroup() as group:
        done = [group.create_task(_problem(step)) for step in steps]
    problems = [problem for task in done if (problem := task.result()) is not None]
    if problems:
        raise DevstackError("\n".join(problems))


async def _problem(step: Coroutine[None, None, None]) -> str | None:
    try:
        await step
    except DevstackError as error:
        return str(error)
    return None
