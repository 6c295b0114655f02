"""Answers leave in small pieces, and count in the budget until they have left."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ocelot_api.answers import PIECE_BYTES, BudgetedResponse
from ocelot_api.budget import FairPool, Reservation
from ocelot_api.problems import Problem

LIMIT = 64 * 1024 * 1024


class Client:
    """An ASGI connection whose client reads when it is told to."""

    def __init__(self) -> None:
        self.scope: dict[str, Any] = {"type": "http", "state": {}}
        self.messages: list[Any] = []
        self.reading = asyncio.Event()
        self.reading.set()

    async def send(self, message: Any) -> None:
        await self.reading.wait()
        self.messages.append(message)

    async def receive(self) -> Any:
        raise AssertionError

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.messages[1:])


def response_of(budget: FairPool, *parts: bytes) -> BudgetedResponse:
    async def produce(held: Reservation) -> list[bytes]:
        held.grow(sum(map(len, parts)))
        return list(parts)

    return BudgetedResponse(budget, "t", produce, first_bytes=1_000, headers={"X-A": "b"})


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (b"{}",),
        (b"x" * PIECE_BYTES,),
        (b"x" * (PIECE_BYTES + 1),),
        (b"a", b"b" * (5 * PIECE_BYTES + 7), b"c"),
        tuple(b"%d" % number for number in range(100_000)),
        (b"1" * (PIECE_BYTES - 1), b"2", b"3" * PIECE_BYTES),
    ],
    ids=lambda parts: f"{len(parts)}-{sum(map(len, parts))}",
)
async def test_a_body_is_sent_in_order_in_small_pieces_and_says_its_length(
    make_pool: Callable[..., FairPool], parts: tuple[bytes, ...]
):
    budget = make_pool(LIMIT)
    client = Client()
    response = response_of(budget, *parts)
    await response(client.scope, client.receive, client.send)
    assert client.body == b"".join(parts)
    start, *rest = client.messages
    headers = dict(start["headers"])
    assert headers[b"content-length"] == b"%d" % len(client.body)
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"x-a"] == b"b"
    assert max(len(message["body"]) for message in rest) < 2 * PIECE_BYTES
    assert [message.get("more_body", False) for message in rest] == [True] * (len(rest) - 1) + [
        False
    ]
    assert len(rest) <= len(client.body) // PIECE_BYTES + 3
    assert budget.used == 0


async def test_what_a_client_has_not_read_counts_until_it_leaves(
    make_pool: Callable[..., FairPool],
):
    budget = make_pool(LIMIT)
    client = Client()
    client.reading.clear()
    size = 20 * PIECE_BYTES
    response = response_of(budget, b"x" * size)
    sending = asyncio.create_task(response(client.scope, client.receive, client.send))
    await asyncio.sleep(0)
    assert budget.used == size
    client.reading.set()
    await asyncio.sleep(0)
    client.reading.clear()
    await asyncio.sleep(0)
    assert budget.used <= size
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    assert budget.used == 0


async def test_it_shrinks_piece_by_piece(make_pool: Callable[..., FairPool]):
    budget = make_pool(LIMIT)
    client = Client()
    seen: list[int] = []

    async def send(message: Any) -> None:
        seen.append(budget.used)
        await client.send(message)

    await response_of(budget, b"x" * (4 * PIECE_BYTES))(client.scope, client.receive, send)
    assert seen == [size * PIECE_BYTES for size in (4, 4, 3, 2, 1)]


async def test_of_a_head_request_nothing_is_sent_but_its_length(
    make_pool: Callable[..., FairPool],
):
    client = Client()
    client.scope["state"]["without_body"] = True
    await response_of(make_pool(LIMIT), b"x" * 10)(client.scope, client.receive, client.send)
    assert dict(client.messages[0]["headers"])[b"content-length"] == b"10"
    assert client.body == b""


async def test_over_the_budget_nothing_is_sent(make_pool: Callable[..., FairPool]):
    budget = make_pool(2 * PIECE_BYTES)
    client = Client()
    with pytest.raises(Problem) as caught:
        await response_of(budget, b"x" * PIECE_BYTES)(client.scope, client.receive, client.send)
    assert (caught.value.status, caught.value.code) == (503, "tenant_share")
    assert client.messages == []
    assert budget.used == 0
