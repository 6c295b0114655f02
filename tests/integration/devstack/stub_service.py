"""Stands in for a service: ready at once; with `worker` it deletes what is in the ingest queue.

Run as `stub_service.py (api|worker|idle|broken)`. Writes a line when it ends, so that a
test can see in which order the services ended.
"""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from aiobotocore.session import get_session


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


async def work(stopping: asyncio.Event) -> None:
    async with get_session().create_client("sqs", region_name=os.environ["AWS_REGION"]) as sqs:
        url = os.environ["SQS_QUEUE_URL"]
        while not stopping.is_set():
            got = await sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=1, WaitTimeSeconds=1)
            for message in got.get("Messages", []):
                await asyncio.sleep(0.2)
                await sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


async def main(role: str) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    host, port = os.environ["OCELOT_PROBES_HOST"], int(os.environ["OCELOT_PROBES_PORT"])
    server = await asyncio.start_server(answer, host, port)
    if role == "worker":
        await work(stopping)
    await stopping.wait()
    server.close()


def note_end(role: str) -> None:
    with Path(os.environ["STUB_ENDS"]).open("a") as ends:
        ends.write(f"{role} {time.time()}\n")


if sys.argv[1] == "broken":
    sys.exit("no such table")
asyncio.run(main(sys.argv[1]))
note_end(sys.argv[1])
