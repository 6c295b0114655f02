"""Behind a proxy that reuses its connections, every client gets the answer to its own request.

An attacker needs no token here: he sends requests whose bodies are requests, or halves of them. A
victim's answer carries the victim's request id, and its status says that its own token was seen.
"""

import asyncio
import json
import secrets
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from badinput.wire import Answer, ClosedError, read_answer
from edgekit.conversation import chunked, head
from edgekit.nginx import Nginx, nginx_before
from ocelot_common.ids import format_id

pytestmark = [
    pytest.mark.mongodb,
    pytest.mark.sqs,
    pytest.mark.opensearch,
    pytest.mark.nginx,
]

#: Requests of victims. Where nginx reads a whole body first, it sends head and body together to a
#: connection that it keeps afterwards; this is the attack that succeeds.
ROUNDS = {"buffered": 1_000, "unbuffered": 200}

#: What the attacker hides in bodies; the blank lines reach the api in a segment behind the head's,
#: and a parser skips them before a request.
_WHOLE = head("GET", "/api/v1/logs", [("X-Request-ID", "smuggled")])
_HALF = b"GET /api/v1/logs HTTP/1.1\r\nHost: x\r\nX-Request-ID: smuggled\r\nX-Rest: "
_FILLER = b"\r\n" * 40_000
BODIES = {
    "a request": _WHOLE,
    "half a request": _HALF,
    "a request behind blank lines": _FILLER + _WHOLE,
    "half a request behind blank lines": _FILLER + _HALF,
}


class Front(NamedTuple):
    """The api behind nginx."""

    running: Any
    access: Any
    nginx: Nginx
    rounds: int

    async def send(self, *pieces: bytes) -> Answer:
        """One request over a connection of its own, in segments."""
        async with asyncio.timeout(120):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.nginx.port)
            for number, piece in enumerate(pieces):
                if number:
                    await asyncio.sleep(0.01)
                writer.write(piece)
            answer = await read_answer(reader)
            writer.close()
            return answer


def attack(kind: str, *, framing: str, upgrade: str = "h2c") -> tuple[bytes, bytes]:
    body = BODIES[kind]
    fields: list[tuple[str, str | int]] = [
        ("X-Request-ID", "attacker"),
        ("Connection", "close, Upgrade"),
        ("Upgrade", upgrade),
    ]
    if framing == "sized":
        fields.append(("Content-Length", len(body)))
    else:
        fields.append(("Transfer-Encoding", "chunked"))
        body = chunked(body)
    return head("POST", "/api/v1/logs/bulk", fields), body


def victim_write(front: Front, action: str, request_id: str = "") -> bytes:
    event = json.dumps({"action": action, "actor": {"id": "u"}}).encode()
    fields: list[tuple[str, str | int]] = [
        ("X-Request-ID", request_id or action),
        ("Connection", "close"),
        *front.access.writer.items(),
        ("Content-Type", "application/json"),
        ("Content-Length", len(event)),
    ]
    return head("POST", "/api/v1/logs", fields) + event


def victim_read(front: Front, request_id: str) -> bytes:
    fields = [("X-Request-ID", request_id), ("Connection", "close")]
    return head("GET", "/api/v1/logs?limit=1", [*fields, *front.access.reader.items()])


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["buffered", "unbuffered"])
async def front(
    request: pytest.FixtureRequest,
    running: Any,
    nginx_program: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    api = next(service for service in running.stack.services if service.spec.name == "api")
    async with nginx_before(
        api.port,
        program=nginx_program,
        folder=tmp_path_factory.mktemp("nginx"),
        request_buffering=request.param == "buffered",
    ) as nginx:
        front = Front(running, await running.tenant(), nginx, ROUNDS[request.param])

        async def written() -> bool:
            return (await front.send(victim_write(front, "warm-up"))).status == 202

        await running.eventually(written, timeout_sec=60, what="a write through nginx")
        yield front


@pytest.mark.timeout(900)
async def test_no_victim_gets_the_answer_to_another_request(front: Front):
    """Attacker and victim take turns on one connection to the api."""
    kinds = [(kind, framing) for kind in BODIES for framing in ("sized", "chunked")]
    seen: Counter[str] = Counter()
    written: dict[str, str] = {}
    for number in range(front.rounds):
        kind, framing = kinds[number % len(kinds)]
        first, body = attack(kind, framing=framing)
        try:
            attacker = await front.send(first, body)
        except ClosedError:
            seen["attacker: no answer"] += 1
        else:
            seen[f"attacker: {attacker.status}"] += 1
        request_id = f"victim-{number}-{secrets.token_hex(3)}"
        action = f"victim.{request_id}"
        if number % 2:
            sent, wanted = victim_write(front, action, request_id), 202
        else:
            sent, wanted = victim_read(front, request_id), 200
        try:
            answer = await front.send(sent)
        except ClosedError:
            seen["victim: no answer"] += 1
            continue
        own = answer.headers.get("x-request-id") == request_id
        seen["victim: own" if own else "victim: another's"] += 1
        seen[f"victim: {answer.status}"] += answer.status != wanted
        if answer.status == 202 and own:
            written[json.loads(answer.body)["id"]] = action
    assert seen["victim: another's"] == 0, seen
    assert seen["victim: own"] == front.rounds, seen
    # A busy SQS is the api's own answer; any other status is not the victim's.
    wrong = {name for name, times in seen.items() if times and name.startswith("victim: ")}
    assert wrong <= {"victim: own", "victim: 503"}, seen
    assert len(written) >= front.rounds // 2 - seen["victim: 503"], seen
    assert len(written) > front.rounds // 3, seen

    async def stored() -> bool:
        found = {format_id(e.id): e.text for e in await front.running.stored(front.access.tenant)}
        return all(
            event_id in found and action in str(found[event_id])
            for event_id, action in written.items()
        )

    await front.running.eventually(stored, timeout_sec=120, what="the victims' writes in MongoDB")


async def test_a_write_that_asks_for_an_upgrade_is_stored(front: Front):
    """As the attacker's requests, but with a token and an event: nginx passes Upgrade on."""
    written = []
    for framing in ("sized", "chunked"):
        for upgrade in ("h2c", "websocket"):
            event = json.dumps({"action": f"nginx.{upgrade}", "actor": {"id": "u"}}).encode()
            size = (
                [("Content-Length", len(event))]
                if framing == "sized"
                else [("Transfer-Encoding", "chunked")]
            )
            body = event if framing == "sized" else chunked(event, (5,))
            sent = head(
                "POST",
                "/api/v1/logs",
                [
                    *front.access.writer.items(),
                    ("Content-Type", "application/json"),
                    ("Connection", "Upgrade"),
                    ("Upgrade", upgrade),
                    *size,
                ],
            )
            answer = await front.send(sent, body)
            assert answer.status == 202, answer
            written.append(json.loads(answer.body)["id"])

    async def stored() -> bool:
        ids = {format_id(event.id) for event in await front.running.stored(front.access.tenant)}
        return ids >= set(written)

    await front.running.eventually(stored, timeout_sec=90, what="the writes in MongoDB")


def test_nginx_saw_no_broken_connection(front: Front):
    assert front.nginx.errors() == []
    assert Path(front.nginx.folder / "access.log").stat().st_size > 0
