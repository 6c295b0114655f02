"""The api's limits: bare ASGI apps that do only what nobody can leave out."""

import asyncio
import base64
import os
from typing import Any

import msgspec
import zstandard

from ocelot_common.event import WholeEvent
from ocelot_common.ids import new_id
from ocelot_common.process import tune_garbage_collector
from ocelot_common.queue.client import sending_client
from ocelot_common.settings import SqsSettings

_decoder = msgspec.json.Decoder(WholeEvent)
_encoder = msgspec.json.Encoder()
_compressor = zstandard.ZstdCompressor(level=1)
#: What goes into one message, before compression: about 128 KiB encoded, as the api's envelopes.
_MESSAGE_RAW_BYTES = 700 * 1024
#: An event travels with its id, which hardly compresses.
_IDS = [new_id() for _ in range(1_000)]


class LimitApp:
    """`/bulk` decodes, encodes, compresses, base64s and sends to SQS; `/single` reads the body."""

    def __init__(self) -> None:
        self._sqs: Any = None
        self._context: Any = None
        self._url = os.environ["SQS_QUEUE_URL"]
        self._texts: list[bytes] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._calls = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        chunks = []
        while True:
            message = await receive()
            chunks.append(message.get("body", b""))
            if not message.get("more_body"):
                break
        body = b"".join(chunks)
        if scope["path"] == "/bulk":
            await self._bulk(body)
        answer = b'{"status":"accepted"}'
        headers = [(b"content-type", b"application/json"), (b"content-length", b"21")]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _bulk(self, body: bytes) -> None:
        texts = [_encoder.encode(_decoder.decode(line)) for line in body.split(b"\n")]
        self._texts += texts
        self._texts += _IDS[: len(texts)]
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        if self._calls == 0:
            asyncio.get_running_loop().call_soon(self._flush)
        await done

    def _flush(self) -> None:
        if self._waiting and self._calls == 0:
            self._calls += 1
            texts, self._texts = self._texts, []
            waiting, self._waiting = self._waiting, []
            self._task = asyncio.create_task(self._send_all(texts, waiting))

    async def _send_all(self, texts: list[bytes], waiting: list[asyncio.Future[None]]) -> None:
        data = b"".join(texts)
        entries = [
            {
                "Id": str(number),
                "MessageBody": base64.b64encode(
                    _compressor.compress(data[start : start + _MESSAGE_RAW_BYTES])
                ).decode(),
                "MessageGroupId": "limit",
            }
            for number, start in enumerate(range(0, len(data), _MESSAGE_RAW_BYTES))
        ]
        for start in range(0, len(entries), 7):
            await self._sqs.send_message_batch(
                QueueUrl=self._url, Entries=entries[start : start + 7]
            )
        for done in waiting:
            done.set_result(None)
        self._calls -= 1
        self._flush()

    async def _lifespan(self, receive: Any, send: Any) -> None:
        await receive()
        self._context = sending_client(SqsSettings())
        self._sqs = await self._context.__aenter__()
        tune_garbage_collector()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._context.__aexit__(None, None, None)
        await send({"type": "lifespan.shutdown.complete"})


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(
        LimitApp(),
        host="127.0.0.1",
        port=int(os.environ["OCELOT_HTTP_PORT"]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="error",
    )
