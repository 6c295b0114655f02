import asyncio
import time

import pytest
from botocore.exceptions import ReadTimeoutError

from ocelot_common.queue.client import SqsClient, sending_client, working_client
from ocelot_common.settings import SqsSettings


def settings(endpoint: str) -> SqsSettings:
    return SqsSettings.model_validate(
        {
            "SQS_QUEUE_URL": f"{endpoint}/000000000000/ingest",
            "AWS_ENDPOINT_URL_SQS": endpoint,
            "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }
    )


def config_of(sqs: SqsClient) -> tuple[float, float]:
    return sqs.meta.config.connect_timeout, sqs.meta.config.read_timeout


async def test_a_worker_waits_longer_than_a_long_poll_lasts() -> None:
    async with working_client(settings("http://127.0.0.1:1")) as sqs:
        assert config_of(sqs)[1] > 20
        assert sqs.meta.region_name == "eu-central-1"
        assert sqs.meta.endpoint_url == "http://127.0.0.1:1"


async def test_a_sender_gives_up_on_a_silent_server_in_time_and_sends_once() -> None:
    connections = 0

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    try:
        async with sending_client(settings(endpoint)) as sqs:
            began = time.monotonic()
            with pytest.raises(ReadTimeoutError):
                await sqs.send_message(
                    QueueUrl=f"{endpoint}/000000000000/ingest", MessageBody="hello"
                )
            took = time.monotonic() - began
            print(f"gave up after {took:.2f} s")  # noqa: T201 - in the report of `-rP`
            assert 0.8 < took < 6 * 1.5
    finally:
        server.close()
    assert connections == 1
