"""What can go wrong becomes one line."""

import subprocess
from collections.abc import Callable

import httpx
import pytest
import typer
from pymongo.errors import ServerSelectionTimeoutError

from ocelot_cli.administration import run_on_backends
from ocelot_cli.running import run
from ocelot_common.provisioning.errors import TenantNotFoundError
from ocelot_common.settings import ProvisioningSettings, read


async def failing(error: Exception) -> None:
    raise error


async def without_settings() -> None:
    read(ProvisioningSettings)


def shown(capsys: pytest.CaptureFixture[str], call: Callable[[], object]) -> str:
    with pytest.raises(typer.Exit) as caught:
        call()
    assert caught.value.exit_code == 1
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (httpx.ConnectError("refused\nmore"), "error: the api can't be reached: refused\n"),
        (httpx.ReadTimeout(""), "error: the api can't be reached: ReadTimeout\n"),
        (ValueError("no [duration]"), "error: no [duration]\n"),
        (FileNotFoundError(2, "No such file", "a.pem"), "a.pem"),
    ],
)
def test_failures_of_a_command_become_a_line(
    error: Exception, told: str, capsys: pytest.CaptureFixture[str]
):
    assert told in shown(capsys, lambda: run(failing(error)))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            ServerSelectionTimeoutError("no primary\nmore"),
            "MongoDB at MONGODB_URL can't be used: no",
        ),
        (TenantNotFoundError("there is no tenant 'x'"), "error: there is no tenant 'x'\n"),
    ],
)
def test_failures_of_backends_name_the_backend(
    error: Exception, told: str, capsys: pytest.CaptureFixture[str]
):
    assert told in shown(capsys, lambda: run_on_backends(failing(error)))


def test_a_backend_is_named_by_its_url_without_the_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("MONGODB_URL", "mongodb://ann:p/w@rd@db.test/?replicaSet=rs0")
    error = ServerSelectionTimeoutError("db.test: refused (configured timeouts: connect 5 s)")

    assert shown(capsys, lambda: run_on_backends(failing(error))) == (
        "error: MongoDB at mongodb://…@db.test/?replicaSet=rs0 (MONGODB_URL) can't be used:"
        " db.test: refused\n"
    )


def test_the_api_is_named_by_its_url(capsys: pytest.CaptureFixture[str]):
    error = httpx.ConnectError("refused", request=httpx.Request("GET", "http://a.test:1/api?q=x"))

    assert (
        shown(capsys, lambda: run(failing(error)))
        == "error: the api at http://a.test:1 (OCELOT_API_URL) can't be reached: refused\n"
    )


def test_settings_that_are_missing_are_named(capsys: pytest.CaptureFixture[str]):
    assert "set MONGODB_URL (" in shown(capsys, lambda: run_on_backends(without_settings()))


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
