"""A request that asks for an upgrade is answered as HTTP/1.1, and its body is no other request.

The api offers no other protocol, so it ignores `Upgrade` (RFC 9110 §7.8). A parser that takes the
bytes behind such a head for the other protocol drops the body, or reads it as the next request of
the connection. Behind a proxy that reuses connections, the answer to that request goes to another
client. Every conversation here ends with a request that closes the connection, so an answer too
many is seen.
"""

import asyncio
import json
import secrets
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from badinput.wire import Answer, read_answer
from edgekit.conversation import Conversation, chunked, converse, head
from ocelot_common.ids import format_id

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

#: A moment in which the server has surely read what came before it, on a machine that is not idle.
SEGMENT_SEC = 0.02
#: Connections at once.
#: Below the searches that one tenant may have in flight (32).
AT_ONCE = 24
SETTINGS = ("HTTP2-Settings", "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA")

Fields = tuple[tuple[str, str], ...]

UPGRADES: dict[str, Fields] = {
    "h2c": (("Connection", "Upgrade"), ("Upgrade", "h2c")),
    "h2c with settings": (
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Upgrade", "h2c"),
        SETTINGS,
    ),
    "websocket": (
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ),
    "TLS": (("Connection", "Upgrade"), ("Upgrade", "TLS/1.2, HTTP/1.1")),
    "anything": (("Connection", "Upgrade"), ("Upgrade", "anything/9 (with a comment)")),
    "small letters": (("connection", "upgrade"), ("upgrade", "h2c")),
    "capitals": (("CONNECTION", "UPGRADE"), ("UPGRADE", "H2C")),
    "keep-alive first": (("Connection", "keep-alive, Upgrade"), ("Upgrade", "h2c")),
    "keep-alive last": (("Connection", "Upgrade,keep-alive"), ("Upgrade", "websocket")),
    "blanks": (("Connection", "\t Upgrade \t,  , x"), ("Upgrade", "  h2c ")),
    "several Connection headers": (
        ("Connection", "keep-alive"),
        ("Upgrade", "h2c"),
        ("Connection", "Upgrade"),
        ("Connection", "HTTP2-Settings"),
        SETTINGS,
    ),
    "several Upgrade headers": (
        ("Connection", "Upgrade"),
        ("Upgrade", "h2c"),
        ("Upgrade", "websocket"),
    ),
    "Connection alone": (("Connection", "Upgrade"),),
    "Upgrade alone": (("Upgrade", "h2c"),),
    "an empty Upgrade": (("Connection", "Upgrade"), ("Upgrade", "")),
    "behind the size": (("X-First", "1"), ("Upgrade", "h2c"), ("Connection", "Upgrade")),
}
FRAMINGS = ("sized", "chunked")


class Edge(NamedTuple):
    """The api under attack."""

    running: Any
    access: Any
    port: int

    def post(
        self,
        body: bytes,
        *,
        upgrade: Fields,
        framing: str,
        request_id: str,
        token: bool = True,
        target: str = "/api/v1/logs",
        media_type: str = "application/json",
    ) -> tuple[bytes, bytes]:
        """The head and the body of a write that asks for an upgrade."""
        fields = [("Content-Type", media_type), ("X-Request-ID", request_id)]
        if token:
            fields += self.access.writer.items()
        if framing == "sized":
            fields.append(("Content-Length", str(len(body))))
        else:
            fields.append(("Transfer-Encoding", "chunked"))
            body = chunked(body, (7,))
        return head("POST", target, [*fields, *upgrade]), body

    def smuggled(self) -> bytes:
        """A whole request that an attacker hides in a body."""
        fields = [("X-Request-ID", "smuggled"), *self.access.reader.items()]
        return head("GET", "/api/v1/logs", fields)

    def victim(self, request_id: str = "victim") -> bytes:
        """The next request on the connection, which is answered and then closes it."""
        fields = [("X-Request-ID", request_id), ("Connection", "close")]
        return head("GET", "/api/v1/logs?limit=1", [*fields, *self.access.reader.items()])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def edge(running: Any) -> Edge:
    api = next(service for service in running.stack.services if service.spec.name == "api")
    return Edge(running, await running.tenant(), api.port)


def event() -> tuple[dict[str, Any], bytes]:
    made = {"action": f"upgrade.{secrets.token_hex(8)}", "actor": {"id": "user-17"}}
    return made, json.dumps(made).encode()


async def at_once(check: Callable[[Any], Coroutine[Any, Any, None]], cases: Iterable[Any]) -> None:
    """Check cases, a few at a time; the first failure ends all."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(case: Any) -> None:
        async with free:
            await check(case)

    async with asyncio.TaskGroup() as group:
        for case in cases:
            group.create_task(one(case))


def assert_answered(conversation: Conversation, *ids: str) -> None:
    """Exactly these requests were answered, in this order, and the connection was closed."""
    assert conversation.ids == list(ids), conversation
    assert conversation.closed
    assert conversation.answers[-1].status == 200


@pytest.mark.parametrize("name", UPGRADES)
async def test_a_write_that_asks_for_an_upgrade_is_stored_with_its_body(edge: Edge, name: str):
    written: dict[str, dict[str, Any]] = {}

    async def write(framing: str, *, later: bool) -> None:
        made, body = event()
        request_id = f"write-{secrets.token_hex(4)}"
        first, rest = edge.post(
            body, upgrade=UPGRADES[name], framing=framing, request_id=request_id
        )
        pieces = [first, rest, edge.victim()] if later else [first + rest + edge.victim()]
        conversation = await converse(edge.port, pieces, pause_sec=SEGMENT_SEC)
        assert_answered(conversation, request_id, "victim")
        answer = conversation.answers[0]
        assert answer.status == 202, answer
        written[json.loads(answer.body)["id"]] = made

    await asyncio.gather(
        *(write(framing, later=later) for framing in FRAMINGS for later in (False, True))
    )
    assert len(written) == 4

    async def stored() -> bool:
        found = {
            format_id(each.id): each.text for each in await edge.running.stored(edge.access.tenant)
        }
        return all(
            made["action"] in str(found[event_id]) if event_id in found else False
            for event_id, made in written.items()
        )

    await edge.running.eventually(stored, timeout_sec=90, what="the writes in MongoDB")


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("name", ["h2c", "websocket", "several Connection headers"])
async def test_a_body_that_is_a_request_is_not_answered_wherever_the_segments_end(
    edge: Edge, name: str, framing: str
):
    first, body = edge.post(
        edge.smuggled(), upgrade=UPGRADES[name], framing=framing, request_id="attacker"
    )
    whole = first + body + edge.victim()
    # Every position around and inside the body and the next request's line; each fifth of the
    # heads, whose other positions differ in nothing.
    near = range(len(first) - 8, len(first) + len(body) + 30)
    cuts = sorted({*range(1, len(whole), 5), *near})

    async def check(cut: int) -> None:
        pieces = [whole[:cut], whole[cut:]]
        conversation = await converse(edge.port, pieces, pause_sec=SEGMENT_SEC)
        assert conversation.ids == ["attacker", "victim"], (cut, conversation)
        assert conversation.statuses == [400, 200], (cut, conversation)
        assert conversation.closed

    await at_once(check, cuts)


async def test_a_body_that_comes_byte_by_byte_is_no_request(edge: Edge):
    made, body = event()
    for framing in FRAMINGS:
        first, rest = edge.post(
            body, upgrade=UPGRADES["h2c"], framing=framing, request_id="attacker"
        )
        pieces = [first, *(bytes([byte]) for byte in rest), edge.victim()]
        conversation = await converse(edge.port, pieces, pause_sec=0.002)
        assert_answered(conversation, "attacker", "victim")
        assert conversation.statuses == [202, 200], made


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_an_attacker_without_a_token_gets_no_second_answer(edge: Edge, framing: str):
    """Its request is answered before its body is there."""
    first, body = edge.post(
        edge.smuggled(),
        upgrade=UPGRADES["h2c"],
        framing=framing,
        request_id="attacker",
        token=False,
    )
    segmented = [
        [first + body + edge.victim()],
        [first, body + edge.victim()],
        [first, body, edge.victim()],
        [first, body[:20], body[20:], edge.victim()],
    ]

    async def check(pieces: list[bytes]) -> None:
        conversation = await converse(edge.port, pieces, pause_sec=0.1)
        # A server may also close behind a request whose body it has not read.
        assert conversation.ids in (["attacker"], ["attacker", "victim"]), conversation
        assert conversation.statuses in ([401], [401, 200])
        assert conversation.closed

    await at_once(check, segmented)


async def test_half_a_request_in_a_body_does_not_swallow_the_next_client_s(edge: Edge):
    """The usual attack through a proxy: a head that ends within a header takes the next line."""
    prefix = b"GET /api/v1/logs HTTP/1.1\r\nHost: x\r\nX-Request-ID: smuggled\r\nX-Rest: "
    for framing in FRAMINGS:
        for filler in (b"", b"\r\n" * 2_000):
            first, body = edge.post(
                filler + prefix,
                upgrade=UPGRADES["h2c"],
                framing=framing,
                request_id="attacker",
            )
            for pieces in ([first + body + edge.victim()], [first, body, edge.victim()]):
                conversation = await converse(edge.port, pieces, pause_sec=0.1)
                assert_answered(conversation, "attacker", "victim")


@pytest.mark.parametrize("name", UPGRADES)
async def test_an_upgrade_without_a_body_leaves_the_next_request_alone(edge: Edge, name: str):
    fields = [("X-Request-ID", "first"), *edge.access.reader.items(), *UPGRADES[name]]
    for size in ([], [("Content-Length", "0")]):
        first = head("GET", "/api/v1/logs?limit=1", [*fields, *size])
        for pieces in (
            [first + edge.victim()],
            [first, edge.victim()],
            [first[:-1], first[-1:] + edge.victim()],
            [first + first.replace(b"ID: first", b"ID: second") + edge.victim()],
        ):
            conversation = await converse(edge.port, pieces, pause_sec=SEGMENT_SEC)
            wanted = (
                ["first", "victim"]
                if b"second" not in pieces[0]
                else [
                    "first",
                    "second",
                    "victim",
                ]
            )
            assert_answered(conversation, *wanted)


async def test_upgrades_one_behind_the_other_are_all_stored(edge: Edge):
    """Whatever takes the parser's place after an upgrade is good for the next one too."""
    pieces, ids = [], []
    for number, (name, framing) in enumerate(
        (name, framing) for name in UPGRADES for framing in FRAMINGS
    ):
        _, body = event()
        ids.append(f"write-{number}")
        pieces.append(
            b"".join(edge.post(body, upgrade=UPGRADES[name], framing=framing, request_id=ids[-1]))
        )
    for sent in ([b"".join([*pieces, edge.victim()])], [*pieces, edge.victim()]):
        conversation = await converse(edge.port, sent, pause_sec=SEGMENT_SEC)
        assert_answered(conversation, *ids, "victim")
        assert conversation.statuses == [202] * len(pieces) + [200]


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_a_large_bulk_that_asks_for_an_upgrade_is_stored_whole(edge: Edge, framing: str):
    access = await edge.running.tenant()
    here = edge._replace(access=access)
    lines = [event()[1] for _ in range(3_000)]
    first, body = here.post(
        b"\n".join(lines),
        upgrade=UPGRADES["h2c with settings"],
        framing=framing,
        request_id="bulk",
        target="/api/v1/logs/bulk",
        media_type="application/x-ndjson",
    )
    conversation = await converse(edge.port, [first + body, here.victim()], pause_sec=SEGMENT_SEC)
    assert_answered(conversation, "bulk", "victim")
    assert conversation.answers[0].status == 202, conversation.answers[0].body[:300]
    await edge.running.until_stored(access.tenant, len(lines))


async def test_the_bounds_of_a_body_hold_behind_an_upgrade(edge: Edge):
    """As for any other request: too many bytes, no size for a chunk."""
    upgrade = UPGRADES["h2c"]
    token = edge.access.writer.items()
    sized = head("POST", "/api/v1/logs", [*token, *upgrade, ("Content-Length", 131_073)])
    answer = (await converse(edge.port, [sized])).answers[0]
    assert (answer.status, answer.problem()["code"]) == (413, "body_too_large")
    fields = [*token, *upgrade, ("Transfer-Encoding", "chunked")]
    for chunks in (b"zz\r\n", b"f" * 17 + b"\r\n", b"0x2\r\nab\r\n0\r\n\r\n"):
        sent = [head("POST", "/api/v1/logs", fields), chunks]
        answer = (await converse(edge.port, sent, pause_sec=SEGMENT_SEC)).answers[0]
        assert (answer.status, answer.problem()["code"]) == (400, "invalid_http")


async def test_a_client_that_asks_first_is_told_to_send_its_body(edge: Edge):
    """`Expect: 100-continue` beside an upgrade."""
    _, body = event()
    first, rest = edge.post(
        body,
        upgrade=(*UPGRADES["h2c"], ("Expect", "100-continue")),
        framing="sized",
        request_id="asks",
    )
    async with asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        writer.write(first)
        assert (await read_answer(reader)).status == 100
        writer.write(rest + edge.victim())
        answers: list[Answer] = [await read_answer(reader) for _ in range(2)]
        assert [answer.status for answer in answers] == [202, 200]
        assert await reader.read() == b""
        writer.close()


async def test_an_upgrade_in_http_1_0_is_ignored(edge: Edge):
    _, body = event()
    fields = [
        *edge.access.writer.items(),
        ("Content-Type", "application/json"),
        ("X-Request-ID", "old"),
        ("Content-Length", len(body)),
        ("Connection", "keep-alive, Upgrade"),
        ("Upgrade", "h2c"),
    ]
    first = head("POST", "/api/v1/logs", fields, version="HTTP/1.0")
    for pieces in ([first + body + edge.victim()], [first, body, edge.victim()]):
        conversation = await converse(edge.port, pieces, pause_sec=SEGMENT_SEC)
        assert conversation.ids in (["old"], ["old", "victim"])  # keep-alive is the server's choice
        assert conversation.answers[0].status == 202
        assert conversation.closed


@pytest.mark.parametrize("target", ["example.com:443", "/api/v1/logs", "http://ocelot/api/v1/logs"])
async def test_connect_is_refused_and_nothing_behind_it_is_answered(edge: Edge, target: str):
    for fields in ((), (("Content-Length", "0"),), UPGRADES["h2c"]):
        first = head("CONNECT", target, [*edge.access.admin.items(), *fields])
        for pieces in ([first + edge.victim()], [first, edge.victim()]):
            conversation = await converse(edge.port, pieces, pause_sec=SEGMENT_SEC)
            assert conversation.closed
            [answer] = conversation.answers
            assert answer.status in {400, 405, 501}
            assert answer.problem()
