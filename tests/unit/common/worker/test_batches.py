import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from ocelot_common.queue.receiver import Received
from ocelot_common.worker.batches import BatchCancelledError, BatchRunner


class Work:
    """A message's name, weight and size, as `message` writes them into its body."""

    def __init__(self, received: Received) -> None:
        self.name, units, size = received.body.split(":")
        self.message = received
        self.size = int(size)
        self.is_unpacked = False
        self._units = int(units)

    @property
    def units(self) -> int:
        assert self.is_unpacked
        return self._units

    def unpack(self) -> None:
        self.is_unpacked = True


def message(name: str, units: int = 1, size: int = 1) -> Received:
    body = f"{name}:{units}:{size}"
    return Received(receipt=name, body=body, receive_count=1, sent_at=0, visible_at=0)


class Memory:
    """Room for so many bytes, which handlers give back.

    Attributes:
        counted: names of the messages that were unpacked, in order.
    """

    def __init__(self, size: float = float("inf")) -> None:
        self.free = size
        self.counted: list[str] = []

    def fits(self, size: int) -> bool:
        return size <= self.free

    def unpacked(self, message: Received, size: int) -> None:
        of_message = int(message.body.split(":")[2])
        assert size > of_message, "the objects of its events count, too"
        self.free -= of_message
        self.counted.append(message.receipt)


class Source:
    """Messages as the receiver gives them."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[list[Received] | None] = asyncio.Queue()

    def give(self, *messages: Received) -> None:
        self._queue.put_nowait(list(messages))

    def end(self) -> None:
        self._queue.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[list[Received]]:
        while (batch := await self._queue.get()) is not None:
            yield batch


class Handler:
    """Takes batches; each waits until it is let go."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()
        self.batches: list[list[str]] = []
        self.running = 0
        self.most = 0
        self.go = asyncio.Event()

    async def __call__(self, batch: list[Work]) -> None:
        self.batches.append([work.name for work in batch])
        self.running += 1
        self.most = max(self.most, self.running)
        await self.go.wait()
        self.memory.free += sum(work.size for work in batch)
        self.running -= 1


def runner(handle: Callable[[list[Work]], Awaitable[None]], **changes: Any) -> BatchRunner[Work]:
    arguments: dict[str, Any] = {
        "open_message": Work, "handle": handle, "room": getattr(handle, "memory", Memory()),
        "max_units": 10, "linger_sec": 0.0, "in_flight": 2,
    }  # fmt: skip
    return BatchRunner(**(arguments | changes))


async def settle() -> None:
    await asyncio.sleep(0.02)
    for _ in range(100):  # what the timers began, on a machine that gave this process no time
        await asyncio.sleep(0)


async def run(batches: BatchRunner[Work], source: Source) -> "asyncio.Task[None]":
    task = asyncio.create_task(batches.run(aiter(source)))
    await settle()
    return task


async def finish(task: "asyncio.Task[None]", source: Source, handle: Handler) -> None:
    source.end()
    handle.go.set()
    await asyncio.wait_for(task, 60)


async def test_a_full_batch_starts_without_waiting() -> None:
    handle, source = Handler(), Source()
    task = await run(runner(handle, max_units=3, linger_sec=3_600), source)
    source.give(message("a"), message("b"))
    await settle()
    assert handle.batches == []
    source.give(message("c"))
    await settle()
    assert handle.batches == [["a", "b", "c"]]
    await finish(task, source, handle)


async def test_a_batch_that_is_not_full_starts_when_its_oldest_work_has_waited() -> None:
    handle, source = Handler(), Source()
    task = await run(runner(handle, linger_sec=0.05), source)
    began = time.monotonic()
    source.give(message("a"))
    while not handle.batches:  # noqa: ASYNC110 - nothing tells of a batch
        await asyncio.sleep(0.001)
    assert time.monotonic() - began >= 0.045
    await finish(task, source, handle)


async def test_while_all_places_are_taken_a_batch_grows() -> None:
    handle, source = Handler(), Source()
    task = await run(runner(handle), source)
    for name in "abcde":
        source.give(message(name))
        await settle()
    assert handle.batches == [["a"], ["b"]]
    await finish(task, source, handle)
    assert handle.batches == [["a"], ["b"], ["c", "d", "e"]]
    assert handle.most == 2


async def test_a_full_batch_without_a_place_takes_nothing_more() -> None:
    """What is not taken is room that the receiver does not have."""
    handle, source = Handler(), Source()
    task = await run(runner(handle, max_units=2, in_flight=1), source)
    for name in "abcdefgh":
        source.give(message(name))
    await settle()
    assert source._queue.qsize() >= 3
    await finish(task, source, handle)
    assert sorted(name for batch in handle.batches for name in batch) == list("abcdefgh")


async def test_no_batch_is_over_its_weight_unless_one_work_is() -> None:
    handle, source = Handler(), Source()
    handle.go.set()
    task = await run(runner(handle, max_units=10, in_flight=1), source)
    source.give(*(message(name, units) for name, units in
                  (("a", 6), ("b", 4), ("c", 5), ("d", 6), ("e", 50), ("f", 1))))  # fmt: skip
    await finish(task, source, handle)
    assert handle.batches == [["a", "b"], ["c"], ["d"], ["e"], ["f"]]


async def test_no_batch_is_over_its_bytes_unless_one_work_is() -> None:
    handle, source = Handler(), Source()
    handle.go.set()
    task = await run(runner(handle, max_bytes=100, in_flight=1), source)
    source.give(*(message(name, size=size) for name, size in
                  (("a", 60), ("b", 40), ("c", 50), ("d", 51), ("e", 500), ("f", 1))))  # fmt: skip
    await finish(task, source, handle)
    assert handle.batches == [["a", "b"], ["c"], ["d"], ["e"], ["f"]]


async def test_a_batch_starts_without_waiting_once_its_bytes_are_full() -> None:
    handle, source = Handler(), Source()
    task = await run(runner(handle, max_bytes=100, linger_sec=3_600), source)
    source.give(message("a", size=60))
    await settle()
    assert handle.batches == []
    source.give(message("b", size=40))
    await settle()
    assert handle.batches == [["a", "b"]]
    source.give(message("c", size=90))
    await settle()
    assert handle.batches == [["a", "b"]], "bytes that left in a batch count no longer"
    await finish(task, source, handle)


async def test_a_batch_that_is_full_of_bytes_without_a_place_takes_nothing_more() -> None:
    handle, source = Handler(), Source()
    task = await run(runner(handle, max_bytes=100, in_flight=1), source)
    for name in "abcdefgh":
        source.give(message(name, size=50))
    await settle()
    assert source._queue.qsize() >= 3
    await finish(task, source, handle)


async def test_messages_stay_packed_in_order_until_there_is_room_for_them() -> None:
    handle, source = Handler(Memory(100)), Source()
    task = await run(runner(handle, linger_sec=3_600, in_flight=1), source)
    source.give(message("a", size=70), message("b", size=70), message("c", size=1))
    source.give(message("d", size=1))
    await settle()
    assert handle.memory.counted == ["a"]
    assert handle.batches == [["a"]], "waiting makes no room"
    await finish(task, source, handle)
    assert handle.memory.counted == ["a", "b", "c", "d"]
    assert [name for batch in handle.batches for name in batch] == ["a", "b", "c", "d"]


async def test_a_message_that_exceeds_the_memory_alone_is_handled_alone() -> None:
    handle, source = Handler(Memory(100)), Source()
    task = await run(runner(handle), source)
    source.give(message("a", size=50), message("b", size=500), message("c", size=50))
    await settle()
    assert handle.memory.counted == ["a"]
    await finish(task, source, handle)
    assert handle.batches == [["a"], ["b"], ["c"]]


async def test_what_a_batch_left_over_counts_towards_the_next() -> None:
    handle, source = Handler(), Source()
    handle.go.set()
    task = await run(runner(handle, max_units=10, linger_sec=3_600, in_flight=1), source)
    source.give(message("a", 6), message("b", 4), message("c", 5), message("d", 6))
    await settle()
    assert handle.batches == [["a", "b"], ["c"]]
    source.give(message("e", 4))
    await settle()
    assert handle.batches == [["a", "b"], ["c"], ["d", "e"]]
    await finish(task, source, handle)


async def test_what_waits_is_handled_when_the_messages_end() -> None:
    handle, source = Handler(), Source()
    task = await run(runner(handle, linger_sec=3_600), source)
    source.give(message("a"))
    await finish(task, source, handle)
    assert handle.batches == [["a"]]


async def test_the_end_waits_for_what_was_begun() -> None:
    handle, source = Handler(), Source()
    task = await run(runner(handle), source)
    source.give(message("a"))
    source.end()
    await settle()
    assert handle.running == 1
    assert not task.done()
    await finish(task, source, handle)
    assert handle.running == 0


async def test_no_messages_is_no_work() -> None:
    handle, source = Handler(), Source()
    await finish(await run(runner(handle), source), source, handle)
    assert handle.batches == []


async def test_an_error_that_nobody_foresaw_ends_the_run_even_if_nothing_more_arrives() -> None:
    async def broken(_: list[Work]) -> None:
        raise KeyError("x")

    source = Source()
    batches = runner(broken)
    source.give(message("a"))
    with pytest.raises(KeyError):
        await asyncio.wait_for(batches.run(aiter(source)), 60)


async def test_a_batch_that_a_library_cancels_ends_the_run() -> None:
    """Its messages would be held until the process ends, and nobody would see them again."""

    async def cancelled(_: list[Work]) -> None:
        raise asyncio.CancelledError

    source = Source()
    batches = runner(cancelled)
    source.give(message("a"))
    with pytest.raises(BatchCancelledError):
        await asyncio.wait_for(batches.run(aiter(source)), 60)


async def test_an_error_in_the_last_batch_is_raised() -> None:
    async def broken(_: list[Work]) -> None:
        await asyncio.sleep(0.01)
        raise KeyError("x")

    source = Source()
    batches = runner(broken, linger_sec=3_600)
    source.give(message("a"))
    source.end()
    with pytest.raises(KeyError):
        await asyncio.wait_for(batches.run(aiter(source)), 60)


async def test_a_cancelled_run_leaves_no_batch_running() -> None:
    source, handler = Source(), Handler()
    ended: list[str] = []

    async def handle(batch: list[Work]) -> None:
        try:
            await handler(batch)
        finally:
            ended.append(batch[0].name)

    batches = runner(handle, max_units=1)
    work = await run(batches, source)
    source.give(message("a"), message("b"))
    await settle()
    assert handler.running == 2
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert sorted(ended) == ["a", "b"]
