"""The consumer's limit: raw inserts of prebuilt documents, while the same bytes pass through SQS.

Driven over its pipes: builds, prints `ready`, waits for `COLLECTION IN_FLIGHT`, works, prints the
seconds that it took; again and again.
"""

import asyncio
import os
import sys
import time

import bson
import uvloop
from bson.raw_bson import RawBSONDocument

from ocelot_common import mongo
from ocelot_common.batching import batched
from ocelot_common.envelope import unpack
from ocelot_common.mongo import events_of
from ocelot_common.process import tune_garbage_collector
from ocelot_common.queue.client import working_client
from ocelot_common.registry.store import RegistryStore
from ocelot_common.settings import SqsSettings
from ocelot_common.signed_text import parse
from ocelot_common.stored import build_document

BATCH = 4_000


async def main() -> None:
    uid, bodies_file = sys.argv[1:]
    settings = SqsSettings()
    client = mongo.connect(os.environ["MONGODB_URL"], app_name="limit")
    database = client[os.environ["MONGODB_DATABASE"]]
    tenant = await RegistryStore(database).tenant(uid)
    assert tenant is not None
    with open(bodies_file) as file:  # noqa: PTH123 - before the clock runs
        bodies = file.read().split("\n")
    documents = [
        RawBSONDocument(
            bson.encode(
                build_document(
                    tenant,
                    event.id,
                    event.text,
                    received_at=segment.received_at,
                    writer=segment.writer,
                    with_attrs=False,
                )
            )
        )
        for body in bodies
        for segment in unpack(parse(body)).segments
        for event in segment.events
    ]
    async with working_client(settings) as sqs:
        tune_garbage_collector()
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            name, in_flight = line.split()
            collection = events_of(database, name)
            places = asyncio.Semaphore(int(in_flight))

            async def insert(part: tuple[RawBSONDocument, ...]) -> None:
                async with places:
                    await collection.insert_many(part, ordered=False)

            left = len(bodies)

            async def pass_through() -> None:
                nonlocal left
                while left > 0:
                    answer = await sqs.receive_message(
                        QueueUrl=settings.sqs_queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=1
                    )
                    received = answer.get("Messages", [])
                    if not received:
                        continue
                    await sqs.delete_message_batch(
                        QueueUrl=settings.sqs_queue_url,
                        Entries=[
                            {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                            for number, message in enumerate(received)
                        ],
                    )
                    left -= len(received)

            began = time.perf_counter()
            await asyncio.gather(
                *(insert(part) for part in batched(documents, BATCH)),
                *(pass_through() for _ in range(4)),
            )
            print(time.perf_counter() - began, flush=True)


uvloop.run(main())
