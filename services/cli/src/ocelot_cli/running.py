"""Runs a command's coroutine, and turns what can go wrong into one clear line."""

import asyncio
import os
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from ocelot_cli.console import NOT_FOUND, UNREACHABLE, fail
from ocelot_cli.environment import VERBOSE_VARIABLE
from ocelot_common.telemetry.logs import discard_logs

T = TypeVar("T")


class NotFoundError(Exception):
    """The command names something that does not exist; the message says what."""


def verbose() -> bool:
    """Whether the log and tracebacks are wanted."""
    return bool(os.environ.get(VERBOSE_VARIABLE))


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end; failures become one line on stderr and an exit status."""
    if verbose():
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                # Without colours: the guard of stderr cannot tell them from those of others.
                structlog.dev.ConsoleRenderer(colors=False),
            ],
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        )
        return asyncio.run(work)
    discard_logs()
    try:
        return asyncio.run(work)
    except BrokenPipeError:
        raise  # of stdout, and the command line ends it quietly: `ocelot search --json | head`
    except NotFoundError as error:
        fail(str(error), status=NOT_FOUND)
    except (OSError, ValueError) as error:
        if not _is_plain(error):
            raise
        fail(str(error))
    except Exception as error:
        # Only commands that ask the api import its client, which takes a fifth of a second.
        httpx = sys.modules.get("httpx")
        if httpx is None or not isinstance(error, httpx.HTTPError):
            raise
        fail(
            f"{_api(error)} cannot be reached: {first_line(error) or type(error).__name__}",
            status=UNREACHABLE,
        )


def _api(error: Any) -> str:
    """Where a request of httpx went."""
    try:
        url = error.request.url
    except RuntimeError:  # it has none
        return "The api"
    return f"The api at {url.scheme}://{url.netloc.decode()} (OCELOT_API_URL)"


def backend(name: str, variable: str) -> str:
    """A backend with its URL, but for the password in it, and the variable that sets it."""
    url = os.environ.get(variable, "")
    if "@" in url:
        url = f"{url.partition('://')[0]}://…@{url.rpartition('@')[2]}"
    return f"{name} at {url} ({variable})" if url else f"{name} at {variable}"


def first_line(error: Exception) -> str:
    """What an error says first."""
    return (str(error).splitlines() or [""])[0][:300]


def _is_plain(error: Exception) -> bool:
    """Ours, or the operating system's; libraries derive their own errors from these, too."""
    return type(error).__module__ in ("builtins", "socket")
