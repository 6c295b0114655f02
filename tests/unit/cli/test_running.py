"""What can go wrong becomes one line."""

import subprocess
from collections.abc import Callable

import httpx
import pytest
import typer
from opensearchpy.exceptions import AuthorizationException, RequestError
from opensearchpy.exceptions import ConnectionError as OpenSearchConnectionError
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError

from ocelot_cli.administration import run_on_backends
from ocelot_cli.console import DENIED, FAILED, NOT_FOUND, UNREACHABLE, WRONG_USAGE
from ocelot_cli.running import NotFoundError, run
from ocelot_common.provisioning.errors import ProvisioningError, TenantNotFoundError
from ocelot_common.provisioning.queue_keys import QueueKeyNotFoundError
from ocelot_common.settings import ProvisioningSettings, read


async def failing(error: Exception) -> None:
    raise error


async def without_settings() -> None:
    read(ProvisioningSettings)


def shown(
    capsys: pytest.CaptureFixture[str], call: Callable[[], object], *, status: int = FAILED
) -> str:
    with pytest.raises(typer.Exit) as caught:
        call()
    assert caught.value.exit_code == status
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (httpx.ConnectError("refused\nmore"), UNREACHABLE, "refused\n"),
        (httpx.ReadTimeout(""), UNREACHABLE, "ReadTimeout\n"),
        (ValueError("no [duration]"), FAILED, "error: no [duration]\n"),
        (FileNotFoundError(2, "No such file", "a.pem"), FAILED, "a.pem"),
        (NotFoundError("there is no job 'x'"), NOT_FOUND, "error: there is no job 'x'\n"),
    ],
)
def test_failures_of_a_command_become_a_line(
    error: Exception, status: int, told: str, capsys: pytest.CaptureFixture[str]
):
    line = shown(capsys, lambda: run(failing(error)), status=status)
    assert told in line
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (ServerSelectionTimeoutError("no primary\nmore"), UNREACHABLE, "MONGODB_URL"),
        (OperationFailure("not authorized", code=13), DENIED, "MONGODB_URL"),
        (OperationFailure("Authentication failed", code=18), DENIED, "MONGODB_URL"),
        (OperationFailure("no such command", code=59), FAILED, "MONGODB_URL"),
        (OpenSearchConnectionError("N/A", "refused", None), UNREACHABLE, "OPENSEARCH_URL"),
        (AuthorizationException(403, "denied", {}), DENIED, "OPENSEARCH_URL"),
        (RequestError(400, "wrong", {}), FAILED, "OPENSEARCH_URL"),
        (TenantNotFoundError("there is no tenant 'x'"), NOT_FOUND, "'x'"),
        (QueueKeyNotFoundError("the registry has no key q1"), NOT_FOUND, "q1"),
        (ProvisioningError("it belongs to 'legal'"), FAILED, "'legal'"),
    ],
)
def test_failures_of_backends_name_the_backend(
    error: Exception, status: int, told: str, capsys: pytest.CaptureFixture[str]
):
    assert told in shown(capsys, lambda: run_on_backends(failing(error)), status=status)


def test_a_backend_is_named_by_its_url_without_the_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("MONGODB_URL", "mongodb://ann:p/w@rd@db.test/?replicaSet=rs0")
    error = ServerSelectionTimeoutError("db.test: refused (configured timeouts: connect 5 s)")

    assert shown(capsys, lambda: run_on_backends(failing(error)), status=UNREACHABLE) == (
        "error: MongoDB at mongodb://…@db.test/?replicaSet=rs0 (MONGODB_URL) cannot be used:"
        " db.test: refused\n"
    )


def test_the_api_is_named_by_its_url(capsys: pytest.CaptureFixture[str]):
    error = httpx.ConnectError("refused", request=httpx.Request("GET", "http://a.test:1/api?q=x"))

    assert (
        shown(capsys, lambda: run(failing(error)), status=UNREACHABLE)
        == "error: The api at http://a.test:1 (OCELOT_API_URL) cannot be reached: refused\n"
    )


def test_settings_that_are_missing_are_named(capsys: pytest.CaptureFixture[str]):
    line = shown(capsys, lambda: run_on_backends(without_settings()), status=WRONG_USAGE)
    assert "MONGODB_URL" in line


def test_an_error_of_a_program_is_not_hidden():
    with pytest.raises(KeyError):
        run(failing(KeyError("a defect")))
    with pytest.raises(subprocess.SubprocessError):
        run_on_backends(failing(subprocess.SubprocessError("a defect")))


def test_a_reader_that_goes_away_is_the_command_lines_business():
    with pytest.raises(BrokenPipeError):
        run(failing(BrokenPipeError(32, "Broken pipe")))


def test_a_verbose_run_shows_the_traceback(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OCELOT_VERBOSE", "1")

    with pytest.raises(ValueError, match="why"):
        run_on_backends(failing(ValueError("why")))
