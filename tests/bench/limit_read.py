"""The export's limit: the same documents read from MongoDB in the same order, and left as they are.

Driven over its pipes: prints `ready`, waits for `COLLECTION UID`, reads everything, prints the
seconds that it took; again and again.
"""

import asyncio
import os
import sys
import time

import uvloop
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

from ocelot_common import mongo
from ocelot_common.mongo import events_of
from ocelot_common.process import tune_garbage_collector

BATCH = 4_000
#: What a reader needs, as MongoDB gives it for the least: its values are not looked at.
FIELDS = dict.fromkeys(("event", "received_at", "occurred_at", "seq", "writer", "rev", "t", "v"), 1)


async def main() -> None:
    client = mongo.connect(os.environ["MONGODB_URL"], app_name="limit")
    database = client[os.environ["MONGODB_DATABASE"]]
    tune_garbage_collector()
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        name, uid = line.split()
        collection = events_of(database, name).with_options(
            codec_options=CodecOptions(document_class=RawBSONDocument)
        )
        began = time.perf_counter()
        cursor = collection.find({"t": uid}, FIELDS).batch_size(BATCH)
        cursor = cursor.sort([("occurred_at", 1), ("_id", 1)])
        while await cursor.to_list(BATCH):
            pass
        print(time.perf_counter() - began, flush=True)


uvloop.run(main())
