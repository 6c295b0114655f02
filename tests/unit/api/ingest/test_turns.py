import asyncio

import pytest

from ocelot_api.bodies import ClientGoneError
from ocelot_api.ingest.turns import Turns


async def never() -> dict[str, str]:
    await asyncio.Event().wait()
    return {}


async def until_idle() -> None:
    for _ in range(100):
        await asyncio.sleep(0)


async def test_tenants_take_turns_and_so_do_the_requests_of_each():
    turns = Turns()
    order: list[str] = []

    async def work(uid: str, name: str) -> None:
        with turns.request(uid, never) as turn:
            for _ in range(2):
                await turn()
                order.append(name)

    names = ("a1", "a2", "a3", "b1")
    await asyncio.gather(*(work(name[0], name) for name in names))
    assert order == ["a1", "b1", "a2", "b1", "a3", "a1", "a2", "a3"]


async def test_one_request_has_its_turn_in_a_pass_of_the_event_loop():
    turns = Turns()
    passes = 0
    at: list[int] = []

    async def count() -> None:
        nonlocal passes
        while True:
            passes += 1
            await asyncio.sleep(0)

    async def work(uid: str) -> None:
        with turns.request(uid, never) as turn:
            for _ in range(3):
                await turn()
                at.append(passes)

    counting = asyncio.create_task(count())
    await asyncio.gather(*(work(uid) for uid in "aaabbc"))
    counting.cancel()
    assert len(set(at)) == len(at) == 18


async def test_a_request_that_is_cancelled_holds_up_nobody():
    turns = Turns()

    async def work() -> None:
        with turns.request("a", never) as turn:
            await turn()

    first, second = asyncio.create_task(work()), asyncio.create_task(work())
    await asyncio.sleep(0)
    first.cancel()
    async with asyncio.timeout(20):
        await second
    assert first.cancelled()


async def test_a_request_whose_client_has_gone_ends():
    turns = Turns()
    closed = asyncio.Event()

    async def receive() -> dict[str, str]:
        await closed.wait()
        return {"type": "http.disconnect"}

    with turns.request("a", receive) as turn:
        await turn()
        closed.set()
        await until_idle()
        with pytest.raises(ClientGoneError):
            await turn()


async def test_nothing_waits_for_a_disconnect_behind_the_last_turn():
    before = asyncio.all_tasks()
    with Turns().request("a", never) as turn:
        await turn()
    await until_idle()
    assert asyncio.all_tasks() == before
