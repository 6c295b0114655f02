"""The indexer's limit: raw prebuilt `_bulk` requests. Driven over its pipes: limit_store.py."""

import asyncio
import os
import sys
import time

import uvloop
from opensearchpy.exceptions import TransportError

from ocelot_common import mongo, opensearch
from ocelot_common.mongo import events_of
from ocelot_common.process import tune_garbage_collector
from ocelot_common.reading import read_document, read_projection
from ocelot_common.registry.store import RegistryStore
from ocelot_common.search_document import build_search_document, document_id
from ocelot_common.stored import StoredEvent

BULK_BYTES = 6 * 1024 * 1024
IN_FLIGHT = 3


TOO_MANY_REQUESTS = 429


async def main() -> None:
    uid, alias = sys.argv[1:]
    client = mongo.connect(os.environ["MONGODB_URL"], app_name="limit")
    database = client[os.environ["MONGODB_DATABASE"]]
    tenant = await RegistryStore(database).tenant(uid)
    assert tenant is not None
    bodies: list[bytes] = []
    lines: list[bytes] = []
    size = 0
    async for document in events_of(database, tenant.space).find({}, read_projection(tenant)):
        stored = read_document(document)
        assert isinstance(stored, StoredEvent)
        name = document_id(tenant, stored.id)
        line = (
            (
                f'{{"index":{{"_index":"{alias}","_id":"{name}","version":1,'
                f'"version_type":"external"}}}}\n'
            ).encode()
            + build_search_document(stored)
            + b"\n"
        )
        lines.append(line)
        size += len(line)
        if size >= BULK_BYTES:
            bodies.append(b"".join(lines))
            lines, size = [], 0
    if lines:
        bodies.append(b"".join(lines))
    search = opensearch.connect(os.environ["OPENSEARCH_URL"], raw_answers=True)
    tune_garbage_collector()
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        places = asyncio.Semaphore(IN_FLIGHT)

        async def send(body: bytes) -> None:
            async with places:
                while True:
                    try:
                        answer = await search.bulk(
                            body=body, params={"require_alias": "true", "filter_path": "errors"}
                        )
                    except TransportError as error:
                        if error.status_code != TOO_MANY_REQUESTS:
                            raise
                        await asyncio.sleep(0.1)  # its memory is full for a moment
                    else:
                        break
                assert answer == '{"errors":false}', answer[:200]

        began = time.perf_counter()
        await asyncio.gather(*(send(body) for body in bodies))
        print(time.perf_counter() - began, flush=True)


uvloop.run(main())
