"""Repeating a request while the api is away."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import httpx
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_delay,
    wait_random_exponential,
)

from ocelot_cli.access import exit_status, problem_text
from ocelot_cli.console import FAILED, UNREACHABLE, sentence

#: What the api may answer differently a moment later.
_RETRYABLE: Final = frozenset({408, 429, 500, 502, 503, 504})
_MAX_PAUSE_SEC: Final = 30.0

T = TypeVar("T")


class RefusedError(Exception):
    """The api refuses the whole request, and will again.

    Attributes:
        status: the exit status of the command.
    """

    def __init__(self, text: str, *, status: int = FAILED) -> None:
        super().__init__(text)
        self.status = status


class UnavailableError(Exception):
    """The api did not do it now; a moment later it may.

    Attributes:
        retry_after_sec: when it may be asked again at the earliest.
    """

    def __init__(self, text: str, retry_after_sec: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after_sec = retry_after_sec


def require_status(answer: httpx.Response, *expected: int) -> None:
    """Refuse other answers, whose body must have been read.

    Raises:
        UnavailableError: it may be another one a moment later.
        RefusedError: it may not.
    """
    if answer.status_code in _RETRYABLE:
        raise UnavailableError(problem_text(answer), _retry_after(answer))
    if answer.status_code not in expected:
        raise RefusedError(problem_text(answer), status=exit_status(answer))


def failure_status(error: Exception) -> int:
    """Return the exit status of a command that a request has failed."""
    if isinstance(error, RefusedError):
        return error.status
    return UNREACHABLE if isinstance(error, TimeoutError | httpx.TransportError) else FAILED


class Repeater:
    """Repeats with growing pauses, and gives up in the end.

    Args:
        api: its address, for messages.
        patience_sec: how long one piece of work is repeated.
        report: is told of each pause.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        api: httpx.URL,
        *,
        patience_sec: float,
        report: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._api = api
        self._patience_sec = patience_sec
        self._report = report
        self._sleep = sleep

    async def repeat(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it until it is done.

        Raises:
            RefusedError: the api refuses it.
            TimeoutError: the api is away for too long; it may have been done all the same.
        """
        attempts = AsyncRetrying(
            retry=retry_if_exception(_passes),
            wait=_pause,
            sleep=self._sleep,
            stop=stop_after_delay(self._patience_sec),
            before_sleep=self._before_sleep,
            reraise=True,
        )

        async def attempt() -> T:  # tenacity knows a coroutine function by its definition
            return await work()

        try:
            return await attempts(attempt)
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
            raise RefusedError(f"The request cannot be sent: {error}") from None
        except (UnavailableError, httpx.RequestError) as error:
            raise TimeoutError(
                f"The api at {self._api} was unavailable for {self._patience_sec:.0f} s:"
                f" {str(error) or repr(error)}"
            ) from None

    def _before_sleep(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        pause = state.next_action.sleep if state.next_action else 0
        self._report(f"{sentence(str(error) or type(error).__name__)} Repeating in {pause:.1f} s.")


def _passes(error: BaseException) -> bool:
    """Whether a repeat may end otherwise; a wrong URL or token stays wrong."""
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return False
    return isinstance(error, UnavailableError | httpx.TransportError | httpx.DecodingError)


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    least = error.retry_after_sec if isinstance(error, UnavailableError) else 0.0
    return max(least, wait_random_exponential(multiplier=0.5, max=_MAX_PAUSE_SEC)(state))


def _retry_after(answer: httpx.Response) -> float:
    text: str = answer.headers.get("Retry-After", "")
    # Ocelot gives seconds; the form with a date is for others.
    return min(float(text), _MAX_PAUSE_SEC) if text.isdecimal() else 0.0
