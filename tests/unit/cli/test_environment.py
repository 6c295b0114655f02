"""A running `make dev` completes the environment, and is never mixed with another installation."""

import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer

from ocelot_cli.environment import api_access, find_dev_stack, use_dev_backends

CONTENT: dict[str, Any] = {
    "api_url": "http://127.0.0.1:8000",
    "mongodb_url": "mongodb://dev/?replicaSet=rs0",
    "mongodb_database": "ocelot",
    "opensearch_url": None,
    "sqs_endpoint_url": "http://127.0.0.1:4566",
    "queues": {"ingest": "in", "ingest_dlq": "in-dlq", "index": "ix", "index_dlq": "ix-dlq"},
    "signing_key_file": "/dev/key.pem",
    "tenants": {"acme": {"writer": "w-token", "reader": "r-token"}},
}


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    """A make dev that runs two folders above."""
    path = tmp_path / ".ocelot" / "dev.json"
    path.parent.mkdir()
    path.write_text(json.dumps(CONTENT))
    below = tmp_path / "here" / "and" / "below"
    below.mkdir(parents=True)
    os.chdir(below)
    return path


def refusal(capsys: pytest.CaptureFixture[str], call: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(typer.Exit) as caught:
        call()
    return caught.value.exit_code, capsys.readouterr().err


def test_a_running_make_dev_is_found_in_a_folder_above(dev: Path):
    stack = find_dev_stack()

    assert stack is not None
    assert stack.path == dev
    assert stack.token("acme", "writer") == "w-token"
    assert stack.token("acme", "admin") is None
    assert stack.token("nobody", "writer") is None


def test_the_nearest_one_is_taken(dev: Path):
    nearer = Path.cwd() / ".ocelot" / "dev.json"
    nearer.parent.mkdir()
    nearer.write_text("{}")

    stack = find_dev_stack()

    assert stack is not None
    assert stack.path == nearer != dev


def test_without_one_there_is_none():
    assert find_dev_stack() is None


def test_an_empty_variable_turns_it_off(dev: Path):
    assert dev.exists()
    assert find_dev_stack({"OCELOT_DEV_JSON": ""}) is None


def test_the_variable_names_another_one(tmp_path: Path):
    path = tmp_path / "other.json"
    path.write_text(json.dumps(CONTENT))

    stack = find_dev_stack({"OCELOT_DEV_JSON": str(path)})

    assert stack is not None
    assert stack.api_url == "http://127.0.0.1:8000"


def test_a_file_that_is_named_and_missing_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    gone = str(tmp_path / "gone.json")

    status, shown = refusal(capsys, lambda: find_dev_stack({"OCELOT_DEV_JSON": gone}))

    assert status == 1
    assert "(from OCELOT_DEV_JSON) does not exist" in shown


@pytest.mark.parametrize("content", ["{", "[]", '"x"', "\x00"])
def test_a_file_of_something_else_is_an_error_that_names_it(
    dev: Path, content: str, capsys: pytest.CaptureFixture[str]
):
    dev.write_text(content)

    status, shown = refusal(capsys, find_dev_stack)

    assert status == 1
    assert str(dev) in shown


def test_its_backends_fill_an_environment_that_names_none(dev: Path):
    assert dev.exists()
    environ: dict[str, str] = {}

    use_dev_backends(environ)

    assert environ == {
        "MONGODB_URL": "mongodb://dev/?replicaSet=rs0",
        "MONGODB_DATABASE": "ocelot",
        "AWS_ENDPOINT_URL_SQS": "http://127.0.0.1:4566",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "SQS_QUEUE_URL": "in",
        "SQS_DLQ_URL": "in-dlq",
        "SQS_INDEX_QUEUE_URL": "ix",
        "SQS_INDEX_DLQ_URL": "ix-dlq",
        "OCELOT_SIGNING_KEY_FILE": "/dev/key.pem",
    }


@pytest.mark.parametrize(
    "name", ["MONGODB_URL", "OPENSEARCH_URL", "SQS_QUEUE_URL", "AWS_ENDPOINT_URL_SQS"]
)
def test_an_environment_that_names_a_backend_is_left_alone(dev: Path, name: str):
    assert dev.exists()
    environ = {name: "mine"}

    use_dev_backends(environ)

    assert environ == {name: "mine"}


def test_region_and_keys_of_another_place_do_not_reach_its_backends(dev: Path):
    assert dev.exists()
    environ = {
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "AKIA1",
        "MONGODB_DATABASE": "production",
    }

    use_dev_backends(environ)

    assert environ["AWS_REGION"] == "us-east-1"
    assert environ["AWS_ACCESS_KEY_ID"] == environ["AWS_SECRET_ACCESS_KEY"] == "test"
    assert environ["MONGODB_DATABASE"] == "ocelot"


def test_a_signing_key_of_ones_own_stays(dev: Path):
    assert dev.exists()
    environ = {"OCELOT_SIGNING_KEY_FILE": "mine.pem"}

    use_dev_backends(environ)

    assert environ["OCELOT_SIGNING_KEY_FILE"] == "mine.pem"


def access(**given: str | None) -> tuple[str, str]:
    values: dict[str, str | None] = {"api_url": None, "token": None, "tenant": None} | given
    return api_access(
        api_url=values["api_url"], token=values["token"], tenant=values["tenant"], role="writer"
    )


def test_url_and_token_that_are_given_are_taken(dev: Path):
    assert dev.exists()

    assert access(api_url="https://a.test/", token=" tok\n") == ("https://a.test", "tok")


def test_a_tenant_of_make_dev_brings_its_token_and_api(dev: Path):
    assert dev.exists()

    assert access(tenant="acme") == ("http://127.0.0.1:8000", "w-token")
    assert access(tenant="acme", api_url="http://127.0.0.1:8000/")[1] == "w-token"


def test_a_token_of_make_dev_never_goes_to_another_api(
    dev: Path, capsys: pytest.CaptureFixture[str]
):
    assert dev.exists()

    status, shown = refusal(capsys, lambda: access(tenant="acme", api_url="https://a.test"))

    assert status == 1
    assert "token" in shown


@pytest.fixture
def minted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], str]]:
    """Tenants and role of each token that was minted."""
    asked: list[tuple[list[str], str]] = []

    async def mint(ids: list[str], *, role: str, ttl: timedelta) -> str:
        assert ttl <= timedelta(hours=1)
        asked.append((ids, role))
        return "minted"

    monkeypatch.setattr("ocelot_cli.minting.mint", mint)
    return asked


def test_a_tenant_of_make_dev_without_a_ready_made_token_gets_one(
    dev: Path, minted: list[tuple[list[str], str]]
):
    assert dev.exists()

    assert access(tenant="nobody") == ("http://127.0.0.1:8000", "minted")
    assert minted == [(["nobody"], "writer")]


def test_a_token_is_minted_where_key_and_registry_are_at_hand(
    monkeypatch: pytest.MonkeyPatch, minted: list[tuple[list[str], str]]
):
    monkeypatch.setenv("OCELOT_SIGNING_KEY_FILE", "key.pem")
    monkeypatch.setenv("MONGODB_URL", "mongodb://a.test/")

    assert access(tenant="acme", api_url="https://a.test") == ("https://a.test", "minted")
    assert access(tenant="acme", api_url="https://a.test", token="mine")[1] == "mine"
    assert len(minted) == 1


@pytest.mark.parametrize("missing", ["OCELOT_SIGNING_KEY_FILE", "MONGODB_URL"])
def test_no_token_is_minted_without_key_or_registry(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    minted: list[tuple[list[str], str]],
    missing: str,
):
    monkeypatch.setenv("OCELOT_SIGNING_KEY_FILE", "key.pem")
    monkeypatch.setenv("MONGODB_URL", "mongodb://a.test/")
    monkeypatch.delenv(missing)

    status, shown = refusal(capsys, lambda: access(tenant="acme", api_url="https://a.test"))

    assert (status, minted) == (1, [])
    assert "OCELOT_TOKEN" in shown


def test_make_devs_key_mints_nothing_for_another_api(
    dev: Path, capsys: pytest.CaptureFixture[str], minted: list[tuple[list[str], str]]
):
    assert dev.exists()

    status, _ = refusal(capsys, lambda: access(tenant="nobody", api_url="https://a.test"))

    assert (status, minted) == (1, [])


@pytest.mark.parametrize(
    ("given", "status", "told"),
    [
        ({}, 1, "OCELOT_API_URL"),
        ({"token": "t"}, 1, "OCELOT_API_URL"),
        ({"api_url": "https://a.test"}, 1, "OCELOT_TOKEN"),
        ({"api_url": "a.test:8000", "token": "t"}, 2, "--api-url"),
        ({"api_url": "https://a.test:port", "token": "t"}, 2, "OCELOT_API_URL"),
        ({"api_url": "https://a.test\n", "token": "t"}, 2, "OCELOT_API_URL"),
        ({"api_url": "https://a.test?x=1", "token": "t"}, 2, "OCELOT_API_URL"),
        ({"api_url": "https://a.test", "token": "t\nX: y"}, 2, "characters"),
        ({"api_url": "https://a.test", "token": "tök"}, 2, "characters"),
    ],
)
def test_what_is_missing_or_wrong_is_said(
    given: dict[str, str], status: int, told: str, capsys: pytest.CaptureFixture[str]
):
    got, shown = refusal(capsys, lambda: access(**given))

    assert got == status
    assert told in shown
