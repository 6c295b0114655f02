"""Sending batches until the api has said what becomes of each event."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import httpx
import msgspec
import zstandard

from ocelot_cli.access import exit_status, fault_text, problem_text
from ocelot_cli.transfer.preparing import Prepared
from ocelot_cli.transfer.repeating import RefusedError, Repeater, require_status


class ItemRefusal(NamedTuple):
    """One event that the api did not take, and why."""

    prepared: Prepared
    reason: str


class Delivered(NamedTuple):
    """What became of a batch."""

    accepted: int
    refused: list[ItemRefusal]


class _ItemError(msgspec.Struct):
    index: int
    code: str
    detail: str
    path: str = ""


class _Answer(msgspec.Struct):
    accepted: int
    errors: list[_ItemError]


_answers = msgspec.json.Decoder(_Answer)


class Delivery:
    """Posts batches to `/logs/bulk`. Every event has an id, so a repeat doubles nothing.

    Args:
        http: a client with base URL and token.
        repeater: repeats a batch while the api is away.
    """

    def __init__(self, http: httpx.AsyncClient, repeater: Repeater) -> None:
        self._http = http
        self._repeater = repeater

    async def deliver(self, batch: Sequence[Prepared]) -> Delivered:
        """Send a batch until it is answered.

        Raises:
            RefusedError: the request is refused as a whole, by its token for example.
            TimeoutError: it was not answered in time; it may have been taken all the same.
        """
        body = await asyncio.to_thread(_packed, batch)
        return _read(await self._repeater.repeat(lambda: self._post(body)), batch)

    async def _post(self, body: bytes) -> httpx.Response:
        answer = await self._http.post(
            "/api/v1/logs/bulk",
            content=body,
            headers={"Content-Type": "application/x-ndjson", "Content-Encoding": "zstd"},
        )
        require_status(answer, 202, 422)
        return answer


def _packed(batch: Sequence[Prepared]) -> bytes:
    text = b"\n".join([prepared.event for prepared in batch])
    return zstandard.ZstdCompressor(level=1).compress(text)


def _read(answer: httpx.Response, batch: Sequence[Prepared]) -> Delivered:
    try:
        body = _answers.decode(answer.content)
    except ValueError:  # a problem with the whole request, or not Ocelot's words at all
        raise RefusedError(problem_text(answer), status=exit_status(answer)) from None
    reasons: dict[int, list[str]] = {}  # an event may have several faults
    for error in body.errors:
        text = fault_text(error.code, error.detail, error.path)
        reasons.setdefault(error.index, []).append(text)
    refused = [ItemRefusal(batch[index], " ".join(each)) for index, each in reasons.items()]
    if body.accepted + len(refused) != len(batch):
        told = body.accepted + len(refused)
        raise RefusedError(
            f"The api answered for {told:,} of {len(batch):,} events, so the result is unknown."
        )
    return Delivered(body.accepted, refused)
