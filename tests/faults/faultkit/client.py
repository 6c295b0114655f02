"""A client that behaves as docs/architecture.md tells clients to."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, Self

import httpx
import msgspec

from faultkit.events import Batch
from faultkit.ledger import Ledger

BULK: Final = "/api/v1/logs/bulk"
_PAUSE_SEC: Final = 0.2


class Client:
    """Posts a tenant's batches, each until it is acknowledged, and keeps the ledger.

    After a 503, a time-out or a cut connection it repeats: with the ids that it gave or was given,
    or with the same Idempotency-Key, whichever the seed says.

    Attributes:
        answers: requests by what became of them: a status or an error.
        slowest_sec: longest time to an answer.
    """

    def __init__(
        self,
        url: str,
        headers: dict[str, str],
        ledger: Ledger,
        rng: random.Random,
        *,
        timeout_sec: float = 60.0,
        patience_sec: float = 300.0,
    ) -> None:
        self._http = httpx.AsyncClient(
            base_url=url, headers=headers, timeout=timeout_sec, trust_env=False
        )
        self._rng = rng
        self._patience_sec = patience_sec
        self.ledger = ledger
        self.answers: Counter[str] = Counter()
        self.slowest_sec = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def deliver_all(
        self, batches: Iterable[Batch], *, at_once: int = 3, pause_sec: float = 0.0
    ) -> None:
        """Deliver batches, several at a time."""
        source = iter(batches)

        async def work() -> None:
            for batch in source:
                await self.deliver(batch)
                await asyncio.sleep(pause_sec)

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())

    async def deliver(self, batch: Batch) -> None:
        """Send a batch until it is acknowledged, and note its events."""
        deadline = time.monotonic() + self._patience_sec
        bodies, key = batch.bodies, batch.key
        returned: list[str | None] | None = None
        while True:
            answer = await self.post(bodies, key)
            if answer is not None and answer.status_code == 202:
                self._note(batch, answer.json(), returned)
                return
            if answer is not None and answer.status_code == 503:
                problem = answer.json()
                assert "retry-after" in answer.headers, problem
                if problem.get("outcome") == "unknown":
                    ids = problem["ids"]
                    assert returned in (None, ids), "a repeat under the same key got other ids"
                    returned = ids
                    if self._rng.random() < 0.5:  # else: again under the same key
                        bodies, key = _with_ids(batch.bodies, ids), None
            elif answer is not None:
                assert answer.status_code >= 500, answer.text
            assert time.monotonic() < deadline, f"never acknowledged: {self.answers}"
            await asyncio.sleep(_PAUSE_SEC * self._rng.random())

    async def post(self, bodies: list[dict[str, Any]], key: str | None) -> httpx.Response | None:
        """One request; None if no answer came."""
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        began = time.monotonic()
        try:
            answer = await self._http.post(
                BULK, content=msgspec.json.encode(bodies), headers=headers
            )
        except httpx.TransportError as error:
            self.answers[type(error).__name__] += 1
            return None
        self.slowest_sec = max(self.slowest_sec, time.monotonic() - began)
        self.answers[str(answer.status_code)] += 1
        return answer

    def _note(
        self, batch: Batch, answer: dict[str, Any], returned: list[str | None] | None
    ) -> None:
        ids, errors = answer["ids"], {error["index"] for error in answer["errors"]}
        assert returned in (None, ids), "the acknowledged ids are not those returned before"
        for index, text in enumerate(batch.texts):
            own = batch.ids[index]
            if text is None:
                assert index in errors, "an event that is wrong was taken"
                assert ids[index] is None
                if own is not None:
                    self.ledger.refused.add(own)
                continue
            assert index not in errors, answer["errors"]
            assert own in (None, ids[index]), "the client's id does not win"
            self.ledger.acknowledge(ids[index], text)


def _with_ids(bodies: list[dict[str, Any]], ids: list[str | None]) -> list[dict[str, Any]]:
    return [
        {**body, "id": event_id} if event_id else body
        for body, event_id in zip(bodies, ids, strict=True)
    ]
