"""Sending batches until the api has said what becomes of each event."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

import httpx
import msgspec
import zstandard
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_delay,
    wait_random_exponential,
)

from ocelot_cli.access import problem_text
from ocelot_cli.transfer.preparing import Prepared

#: What the api may answer differently a moment later.
_RETRYABLE: Final = frozenset({408, 429, 500, 502, 503, 504})
_ANSWERED: Final = frozenset({202, 422})
_MAX_PAUSE_SEC: Final = 30.0


class RefusedError(Exception):
    """The api refuses the whole request, and will again."""


class _UnavailableError(Exception):
    def __init__(self, text: str, retry_after_sec: float) -> None:
        super().__init__(text)
        self.retry_after_sec = retry_after_sec


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
        patience_sec: how long one batch is repeated before the command gives up.
        report: is told of each pause.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        patience_sec: float,
        report: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http = http
        self._sleep = sleep
        self._patience_sec = patience_sec
        self._report = report

    async def deliver(self, batch: Sequence[Prepared]) -> Delivered:
        """Send a batch until it is answered.

        Raises:
            RefusedError: the request is refused as a whole, by its token for example.
            TimeoutError: it was not answered in time; it may have been taken all the same.
        """
        body = await asyncio.to_thread(_packed, batch)
        attempts = AsyncRetrying(
            retry=retry_if_exception(_passes),
            wait=_pause,
            sleep=self._sleep,
            stop=stop_after_delay(self._patience_sec),
            before_sleep=self._before_sleep,
            reraise=True,
        )
        try:
            return _read(await attempts(self._post, body), batch)
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
            raise RefusedError(f"the request can't be made: {error}") from None
        except (_UnavailableError, httpx.TransportError) as error:
            raise TimeoutError(
                f"the api at {self._http.base_url} took nothing for {self._patience_sec:.0f} s:"
                f" {str(error) or repr(error)}"
            ) from None

    async def _post(self, body: bytes) -> httpx.Response:
        answer = await self._http.post(
            "/api/v1/logs/bulk",
            content=body,
            headers={"Content-Type": "application/x-ndjson", "Content-Encoding": "zstd"},
        )
        if answer.status_code in _RETRYABLE:
            raise _UnavailableError(problem_text(answer), _retry_after(answer))
        if answer.status_code not in _ANSWERED:
            raise RefusedError(problem_text(answer))
        return answer

    def _before_sleep(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        pause = state.next_action.sleep if state.next_action else 0
        self._report(f"{str(error) or type(error).__name__}; again in {pause:.1f} s")


def _passes(error: BaseException) -> bool:
    """Whether a repeat may end otherwise; a wrong URL or token stays wrong."""
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return False
    return isinstance(error, _UnavailableError | httpx.TransportError)


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    least = error.retry_after_sec if isinstance(error, _UnavailableError) else 0.0
    return max(least, wait_random_exponential(multiplier=0.5, max=_MAX_PAUSE_SEC)(state))


def _retry_after(answer: httpx.Response) -> float:
    text: str = answer.headers.get("Retry-After", "")
    # Ocelot gives seconds; the form with a date is for others.
    return min(float(text), _MAX_PAUSE_SEC) if text.isdecimal() else 0.0


def _packed(batch: Sequence[Prepared]) -> bytes:
    text = b"\n".join([prepared.event for prepared in batch])
    return zstandard.ZstdCompressor(level=1).compress(text)


def _read(answer: httpx.Response, batch: Sequence[Prepared]) -> Delivered:
    try:
        body = _answers.decode(answer.content)
    except ValueError:  # a problem with the whole request, or not Ocelot's words at all
        raise RefusedError(problem_text(answer)) from None
    refused = [
        ItemRefusal(
            batch[error.index],
            f"{error.code}: {error.detail}" + (f" ({error.path})" if error.path else ""),
        )
        for error in body.errors
    ]
    if body.accepted + len(refused) != len(batch):
        told = body.accepted + len(refused)
        raise RefusedError(f"the api answered for {told} events of {len(batch)}")
    return Delivered(body.accepted, refused)
