import asyncio
import signal
import stat
import sys
from pathlib import Path

import pytest
from pymongo import AsyncMongoClient

from ocelot_devstack.backends import Backends
from ocelot_devstack.errors import DevstackError
from ocelot_devstack.probes import http_status
from ocelot_devstack.pytest_plugin import MakeInstallation, dev_settings
from ocelot_devstack.queues import open_sqs
from ocelot_devstack.services import ServiceSpec

STUB = (sys.executable, str(Path(__file__).with_name("stub_service.py")), "api")
SERVICES = (ServiceSpec("api", STUB),)


@pytest.mark.opensearch
async def test_the_three_backends_answer_where_they_say(
    backends: Backends, opensearch_url: str
) -> None:
    assert backends.mongodb.version >= "6"
    assert "LocalStack" in backends.sqs.version
    assert await http_status(opensearch_url) == 200


@pytest.mark.opensearch
async def test_a_second_group_of_backends_runs_beside_the_first(
    backends: Backends, opensearch_url: str, tmp_path: Path
) -> None:
    async with Backends(dev_settings(tmp_path), report=lambda _: None) as others:
        theirs = {backend.url for backend in others.all}
        assert theirs.isdisjoint({backend.url for backend in backends.all})
        processes = [backend.process for backend in others.all if backend.process is not None]
        assert others.opensearch is not None
        assert len(processes) == 3 - sum(backend.process is None for backend in backends.all)
        assert all(process.running for process in processes)
    assert not any(process.running for process in processes)
    assert await http_status(opensearch_url) == 200


async def test_backends_that_run_already_are_used_and_left_running(
    backends: Backends, tmp_path: Path
) -> None:
    update = {
        "mongodb_url": backends.mongodb.url,
        "sqs_endpoint_url": backends.sqs.url,
        "opensearch": False,
    }
    lines: list[str] = []
    settings = dev_settings(tmp_path).model_copy(update=update)
    async with Backends(settings, report=lines.append) as borrowed:
        assert borrowed.mongodb.process is None
        assert borrowed.sqs.process is None
    assert any(backends.sqs.url in line for line in lines)
    assert await http_status(f"{backends.sqs.url}/_localstack/health") == 200


async def test_a_named_backend_that_does_not_answer_is_said(tmp_path: Path) -> None:
    update = {
        "mongodb_url": "mongodb://127.0.0.1:1/",
        "sqs_endpoint_url": "http://127.0.0.1:1",
        "opensearch_url": "http://127.0.0.1:1",
    }
    settings = dev_settings(tmp_path).model_copy(update=update)
    with pytest.raises(DevstackError) as refused:
        async with Backends(settings, report=lambda _: None):
            pytest.fail("it cannot start")
    for variable in ("MONGODB_URL", "AWS_ENDPOINT_URL_SQS", "OPENSEARCH_URL"):
        assert f"{variable} is set, but" in str(refused.value)


async def test_installations_share_backends_and_nothing_else(
    make_installation: MakeInstallation,
) -> None:
    one, other = await make_installation(), await make_installation()
    assert one.mongodb_url == other.mongodb_url
    assert one.installation.mongodb_database != other.installation.mongodb_database
    mine, theirs = one.queues.as_dict(), other.queues.as_dict()
    assert set(mine.values()).isdisjoint(theirs.values())
    key = one.installation.signing_key_file
    assert key.read_text() != other.installation.signing_key_file.read_text()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert "BEGIN PRIVATE KEY" in key.read_text()


async def test_queues_keep_messages_for_fourteen_days_and_can_be_ensured_again(
    make_installation: MakeInstallation,
) -> None:
    stack = await make_installation()
    assert await stack.ensure_queues() == stack.queues
    async with open_sqs(stack.sqs_endpoint_url, stack.settings.aws_env()) as sqs:
        for url in stack.queues.as_dict().values():
            answer = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
            assert answer["Attributes"]["MessageRetentionPeriod"] == str(14 * 24 * 3600)
            assert answer["Attributes"]["VisibilityTimeout"] == "60"
            assert ("RedrivePolicy" in answer["Attributes"]) is not url.endswith("-dlq")


async def test_several_instances_of_a_service_can_be_stopped_paused_and_killed(
    make_installation: MakeInstallation,
) -> None:
    stack = await make_installation(services=SERVICES)
    first = await stack.start_service("api")
    second = await stack.start_service("api", extra_env={"EXTRA": "1"})
    await asyncio.gather(first.wait_ready(180), second.wait_ready(180))
    assert first.probes_port != second.probes_port
    assert first.log_path != second.log_path

    first.pause()
    assert await http_status(f"{first.probes_url}/readyz", timeout_sec=0.5) is None
    first.resume()
    assert await http_status(f"{first.probes_url}/readyz") == 200
    await second.kill()
    assert second.returncode == -signal.SIGKILL
    assert await first.stop()
    assert first.returncode == 0


async def test_a_backend_can_be_killed_and_started_again_with_its_data(tmp_path: Path) -> None:
    settings = dev_settings(tmp_path).model_copy(update={"opensearch": False})
    async with Backends(settings, report=lambda _: None) as own:
        mongod = own.mongodb.process
        if mongod is None:
            pytest.skip("MONGODB_URL names one that is not ours to kill")
        client: AsyncMongoClient[dict[str, int]] = AsyncMongoClient(own.mongodb.url)
        async with client:
            await client["kept"]["rows"].insert_one({"n": 1})
            await mongod.kill()
            await mongod.start()
            await mongod.wait_ready(180)
            assert await client["kept"]["rows"].count_documents({}) == 1
