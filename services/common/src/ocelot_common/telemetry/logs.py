"""JSON lines on stderr: static messages, data in fields, never event bodies or tokens.

All but printable ASCII is escaped, so that a line that somebody reads on a terminal cannot drive
it, whatever a client sent.
"""

import logging
import sys
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger


def configure_logs(*, service: str, level: str) -> None:
    """Send structlog's and the standard library's records to stderr as JSON."""

    def add_service(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_service,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=True),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    sys.excepthook = _log_uncaught
    # Their lines are about every call; ours say what matters of it.
    for name in ("botocore", "aiobotocore", "pymongo", "aiohttp.access", "uvicorn"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    # Warns with a traceback of each failed request, which its caller handles.
    logging.getLogger("opensearch").setLevel(logging.ERROR)


def discard_logs() -> None:
    """Print no log lines below CRITICAL, in a command that reports and raises what people need."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Log what ends the process, as a line like the others.

    Python's own traceback would bring text of others to the terminal as it is.
    """
    if issubclass(kind, KeyboardInterrupt):
        return
    get_logger(__name__).critical("process_failed", exc_info=(kind, error, trace))


def get_logger(name: str) -> Any:
    """A structlog logger; typed Any, since structlog's own is a lazy proxy."""
    return structlog.stdlib.get_logger(name)
