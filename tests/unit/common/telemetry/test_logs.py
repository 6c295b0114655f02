import json
import subprocess
import sys
from typing import Any

import pytest

PROGRAM = """
import logging, structlog
from ocelot_common.telemetry.logs import configure_logs, get_logger

configure_logs(service="consumer", level={level!r})
log = get_logger("ocelot_test")
structlog.contextvars.bind_contextvars(request_id="r-1")
log.debug("quiet")
log.info("batch_stored", events=3, text="two\\nlines")
log.info("odd", raw=b"\\xff", error=KeyError("x"), items={{1}}, half="\\ud800", none=None)
log.info("100 % of %s")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
logging.getLogger("elsewhere").warning("from %s", "elsewhere")
logging.getLogger("botocore").info("every call")
logging.getLogger("uvicorn").error("refused")
"""


def lines_at(level: str) -> list[dict[str, Any]]:
    """What a process with these logs writes; logging is the process's own, so it needs one."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(level=level)],
        capture_output=True, check=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.stdout == ""
    return [json.loads(line) for line in ended.stderr.splitlines()]


@pytest.fixture(scope="module")
def lines() -> dict[str, dict[str, Any]]:
    return {line["event"]: line for line in lines_at("INFO")}


def test_every_record_is_one_line_of_json_with_its_origin(lines: dict[str, dict[str, Any]]) -> None:
    assert list(lines) == [
        "batch_stored", "odd", "100 % of %s", "failed", "from elsewhere", "refused",
    ]  # fmt: skip
    for line in lines.values():
        assert line["service"] == "consumer"
        assert line["timestamp"].endswith("Z")
        assert line["request_id"] == "r-1"


def test_data_goes_in_fields(lines: dict[str, dict[str, Any]]) -> None:
    line = lines["batch_stored"]
    assert (line["events"], line["text"]) == (3, "two\nlines")
    assert (line["level"], line["logger"]) == ("info", "ocelot_test")


def test_a_value_that_json_does_not_know_is_shown_and_loses_no_record(
    lines: dict[str, dict[str, Any]],
) -> None:
    line = lines["odd"]
    assert (line["raw"], line["error"]) == (repr(b"\xff"), "KeyError('x')")
    assert (line["items"], line["half"], line["none"]) == ("{1}", "\ud800", None)


def test_an_exception_carries_its_traceback(lines: dict[str, dict[str, Any]]) -> None:
    assert "ZeroDivisionError: division by zero" in lines["failed"]["exception"]
    assert lines["failed"]["level"] == "error"


def test_records_of_libraries_are_alike(lines: dict[str, dict[str, Any]]) -> None:
    line = lines["from elsewhere"]
    assert (line["level"], line["logger"]) == ("warning", "elsewhere")


HOSTILE = "\x1b]0;t\x07\x7f\x9b2J\u202e\u2028\u200b\U000e0041\nforged"


def test_nothing_that_a_client_sent_drives_a_terminal_not_even_in_the_last_traceback() -> None:
    program = f"""
import logging
from ocelot_common.telemetry.logs import configure_logs, get_logger

configure_logs(service="api", level="INFO")
get_logger("x").info("refused", detail={HOSTILE!a}, **{{{HOSTILE!a}: 1}})
logging.getLogger("library").warning("from %s", {HOSTILE!a})
raise ValueError({HOSTILE!a})
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=False, text=True, timeout=60
    )
    assert ended.returncode == 1
    assert ended.stderr.isascii()
    assert all(line.isprintable() for line in ended.stderr.splitlines())
    refused, library, failed = map(json.loads, ended.stderr.splitlines())
    assert refused["detail"] == HOSTILE
    assert library["event"] == f"from {HOSTILE}"
    assert failed["event"] == "process_failed"
    assert HOSTILE in failed["exception"]


def test_the_level_holds_for_all() -> None:
    assert [line["event"] for line in lines_at("ERROR")] == ["failed", "refused"]
