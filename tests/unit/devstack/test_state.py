import json
import stat
from pathlib import Path

import pytest

from ocelot_devstack.dev_file import read_installation, remove_dev_file, write_dev_file
from ocelot_devstack.errors import DevstackError
from ocelot_devstack.installation import Installation
from ocelot_devstack.queues import QueueUrls
from ocelot_devstack.settings import DevSettings
from ocelot_devstack.state_lock import is_locked, state_lock
from ocelot_devstack.summary import ready_text
from ocelot_devstack.worker import become_worker


def an_installation(settings: DevSettings) -> Installation:
    return Installation(
        mongodb_url="mongodb://127.0.0.1:1/",
        mongodb_database="ocelot",
        sqs_endpoint_url="http://127.0.0.1:2",
        opensearch_url=None,
        queues=QueueUrls("i", "i-dlq", "x", "x-dlq"),
        signing_key_file=Path("signing-key.pem"),
        queue_keys_file=Path("queue-keys"),
        aws_env=settings.aws_env(),
    )


@pytest.mark.parametrize("there_before", [False, True])
def test_the_folder_of_the_logs_is_for_its_owner_alone(
    settings: DevSettings, there_before: bool
) -> None:
    folder = settings.state_dir / "log"
    if there_before:
        folder.mkdir(parents=True, mode=0o755)
        folder.chmod(0o755)
    assert settings.make_log_dir() == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_file_says_where_everything_is_and_only_to_its_owner(settings: DevSettings) -> None:
    settings.state_dir.mkdir()
    tenants = {"acme": {"admin": "a", "writer": "w", "reader": "r"}}
    probes = {"api": "http://x:1", "consumer": "http://x:2"}
    path = write_dev_file(
        settings.state_dir,
        an_installation(settings),
        api_url="http://x",
        probes=probes,
        tenants=tenants,
    )

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()) == {
        "api_url": "http://x",
        "probes": probes,
        "mongodb_url": "mongodb://127.0.0.1:1/",
        "mongodb_database": "ocelot",
        "sqs_endpoint_url": "http://127.0.0.1:2",
        "opensearch_url": None,
        "queues": {"ingest": "i", "ingest_dlq": "i-dlq", "index": "x", "index_dlq": "x-dlq"},
        "signing_key_file": "signing-key.pem",
        "queue_keys_file": "queue-keys",
        "tenants": tenants,
    }
    assert read_installation(settings) == an_installation(settings)
    remove_dev_file(settings.state_dir)
    with pytest.raises(DevstackError, match="dev"):
        read_installation(settings)


def test_opensearch_and_signing_key_reach_no_service_that_must_not_have_them(
    settings: DevSettings,
) -> None:
    env = an_installation(settings).service_env(probes_port=8001)
    assert "OPENSEARCH_URL" not in env
    assert "OCELOT_SIGNING_KEY_FILE" not in env
    assert env["OCELOT_QUEUE_KEYS_FILE"] == "queue-keys"
    assert env["OCELOT_PROBES_PORT"] == "8001"
    assert "OCELOT_HTTP_PORT" not in env, "no client connects to a worker"
    assert env["SQS_QUEUE_URL"] == "i"
    assert env["AWS_ACCESS_KEY_ID"] == "test"


def test_a_second_make_dev_is_refused(settings: DevSettings) -> None:
    assert not is_locked(settings.state_dir)
    with state_lock(settings.state_dir):
        assert is_locked(settings.state_dir)
        refused = pytest.raises(DevstackError, match=r"make dev already runs here \(process \d+")
        with refused, state_lock(settings.state_dir):
            pytest.fail("two at once")
    assert not is_locked(settings.state_dir)


def test_a_worker_without_make_dev_is_refused(settings: DevSettings) -> None:
    with pytest.raises(DevstackError, match=r"make dev\b"):
        become_worker(settings, "consumer")


def test_a_worker_during_the_start_is_told_to_wait(settings: DevSettings) -> None:
    with state_lock(settings.state_dir), pytest.raises(DevstackError, match="prints `Ready`"):
        become_worker(settings, "consumer")


def test_the_last_block_has_docs_tokens_and_two_commands() -> None:
    text = ready_text(
        api_url="http://127.0.0.1:8000",
        tenants={"acme": {"admin": "A", "writer": "W", "reader": "R"}},
        elapsed_sec=12.34,
    )
    assert "http://127.0.0.1:8000/api/v1/docs" in text
    assert "curl -sS http://127.0.0.1:8000/api/v1/logs -H 'Authorization: Bearer W'" in text
    assert (
        "curl -sS 'http://127.0.0.1:8000/api/v1/logs?q=hello' -H 'Authorization: Bearer R'" in text
    )
    assert text.splitlines()[-1].startswith("Ready in 12.3 s")
