import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from ocelot_common.queue import held as held_module
from ocelot_common.queue import receiver as receiver_module
from ocelot_common.queue.gate import Gate
from ocelot_common.queue.receiver import Received, Receiver

# `sqs` is the FakeSqs of conftest.py, which no test module can import.
Sqs = Any


def make(sqs: Sqs, gate: Gate | None = None, **changes: Any) -> Receiver:
    arguments: dict[str, Any] = {
        "gate": gate or Gate(), "receivers": 2, "max_buffered_bytes": 64 * 2**20, "wait_sec": 0.05,
    }  # fmt: skip
    return Receiver(sqs, "queue", **(arguments | changes))


@asynccontextmanager
async def collecting(receiver: Receiver) -> AsyncIterator[list[Received]]:
    """What arrives, while the receiver runs; it is stopped at the end."""
    got: list[Received] = []

    async def collect() -> None:
        async for batch in receiver.messages():
            got.extend(batch)

    task = asyncio.create_task(collect())
    try:
        yield got
    finally:
        receiver.stop()
        await asyncio.wait_for(task, 60)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - any condition
            await asyncio.sleep(0.001)


async def quiet(seconds: float = 0.06) -> None:
    await asyncio.sleep(seconds)


async def test_messages_arrive_with_what_sqs_says_of_them(sqs: Sqs) -> None:
    receiver = make(sqs)
    async with collecting(receiver) as got:
        sqs.put("one", "three")
        await until(lambda: len(got) == 2)
        assert receiver.held == 2
        assert receiver.held_bytes == len("onethree")
    assert [(message.body, message.receive_count, message.sent_at) for message in got] == [
        ("one", 1, 1_764_000_000_000),
        ("three", 1, 1_764_000_000_000),
    ]
    (arguments, *_) = sqs.calls_of("receive_message")
    assert arguments["QueueUrl"] == "queue"
    assert arguments["MaxNumberOfMessages"] == 10
    assert arguments["VisibilityTimeout"] == 60
    assert "ApproximateReceiveCount" in arguments["MessageSystemAttributeNames"]


async def test_as_many_polls_are_open_as_there_are_receivers(
    sqs: Sqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_module, "MIN_MESSAGES", 50)
    async with collecting(make(sqs, receivers=5)):
        await until(lambda: sqs.waiting == 5)


async def test_deleted_messages_never_come_again_and_make_room(sqs: Sqs) -> None:
    receiver = make(sqs)
    async with collecting(receiver) as got:
        sqs.put(*(f"message {number}" for number in range(25)))
        await until(lambda: len(got) == 20)
        await receiver.delete(got)
        await until(lambda: len(got) == 25)
        await receiver.delete(got[20:])
        assert (receiver.held, receiver.held_bytes) == (0, 0)
    assert sqs.remaining == 0
    assert len(sqs.calls_of("delete_message_batch")) == 3


async def test_a_message_that_sqs_would_not_delete_comes_again_as_a_repetition(sqs: Sqs) -> None:
    receiver = make(sqs, visibility_sec=3)
    async with collecting(receiver) as got:
        sqs.put("kept", "gone")
        await until(lambda: len(got) == 2)
        sqs.refused = {got[0].receipt}
        await receiver.delete(got[:2])
        await until(lambda: len(got) >= 3)
        assert receiver.held == 1  # the repetition alone
    assert (got[2].body, got[2].receive_count) == (got[0].body, 2)


async def test_released_messages_come_again_at_once(sqs: Sqs) -> None:
    receiver = make(sqs)
    async with collecting(receiver) as got:
        sqs.put("a")
        await until(lambda: got)
        await receiver.release(got[:1])
        await until(lambda: len(got) == 2)
        assert (receiver.held, receiver.held_bytes) == (1, 1)  # the second time alone
    assert [message.receive_count for message in got] == [1, 2]


async def test_a_message_released_with_a_delay_waits_for_it(sqs: Sqs) -> None:
    receiver = make(sqs)
    async with collecting(receiver) as got:
        sqs.put("a")
        await until(lambda: got)
        await receiver.release(got[:1], delay_sec=30)
        await quiet()
        assert len(got) == 1
    (call,) = sqs.calls_of("change_message_visibility_batch")
    assert [entry["VisibilityTimeout"] for entry in call["Entries"]] == [30]


async def test_release_all_gives_back_everything_that_is_held(sqs: Sqs) -> None:
    receiver = make(sqs)
    async with collecting(receiver) as got:
        sqs.put(*(f"message {number}" for number in range(12)))
        await until(lambda: len(got) == 12)
    await receiver.release_all()
    assert receiver.held == 0
    entries = [
        entry
        for call in sqs.calls_of("change_message_visibility_batch")
        for entry in call["Entries"]
    ]
    assert {entry["ReceiptHandle"] for entry in entries} == {message.receipt for message in got}
    assert {entry["VisibilityTimeout"] for entry in entries} == {0}


async def test_a_stop_lets_open_polls_end_and_keeps_what_they_bring(sqs: Sqs) -> None:
    receiver = make(sqs, wait_sec=20)
    async with collecting(receiver) as got:
        await until(lambda: sqs.waiting == 2)
        receiver.stop()
        await quiet(0.02)
        assert sqs.waiting == 2
        sqs.put("late", "later")
        await until(lambda: got)
        sqs.put("latest")
        await until(lambda: len(got) == 3)
    assert len(sqs.calls_of("receive_message")) == 2


async def test_a_stop_ends_polls_that_wait_for_the_gate_or_for_room(sqs: Sqs) -> None:
    gate = Gate()
    gate.hold("store", "away")
    async with collecting(make(sqs, gate)):
        await quiet(0.02)
    receiver = make(sqs, max_buffered_bytes=1)
    async with collecting(receiver) as got:
        sqs.put("a", "b")
        await until(lambda: got)
        await quiet()
    assert len(sqs.calls_of("receive_message")) <= 2 * 3


async def test_nothing_is_received_while_the_gate_is_shut(sqs: Sqs) -> None:
    gate = Gate()
    gate.hold("store", "away")
    sqs.put("a")
    async with collecting(make(sqs, gate)) as got:
        await quiet()
        assert sqs.calls == []
        gate.release("store")
        await until(lambda: got)


async def test_nothing_is_received_without_room_until_room_is_made(sqs: Sqs) -> None:
    receiver = make(sqs, receivers=1, max_buffered_bytes=10)
    sqs.put("0123456789")
    async with collecting(receiver) as got:
        await until(lambda: got)
        sqs.put("next")
        await quiet()
        assert len(sqs.calls_of("receive_message")) == 1
        await receiver.delete(got[:1])
        await until(lambda: len(got) == 2)


async def test_no_more_messages_are_held_than_may_be_with_those_asked_for(sqs: Sqs) -> None:
    receiver = make(sqs, receivers=5)
    asked = 0
    most = 0
    receive = sqs.receive_message

    async def counted(**arguments: Any) -> dict[str, Any]:
        nonlocal asked, most
        asked += arguments["MaxNumberOfMessages"]
        most = max(most, receiver.held + asked)
        try:
            answer: dict[str, Any] = await receive(**arguments)
            return answer
        finally:
            asked -= arguments["MaxNumberOfMessages"]

    sqs.receive_message = counted
    async with collecting(receiver) as got:
        await until(lambda: asked == held_module.MIN_MESSAGES)
        sqs.put(*(f"message {number}" for number in range(7)))
        await until(lambda: len(got) == 7)
        sqs.put(*(f"message {number}" for number in range(50)))
        await until(lambda: len(got) == held_module.MIN_MESSAGES)
        await quiet()
        assert len(got) == most == held_module.MIN_MESSAGES


async def test_what_one_replica_may_not_hold_another_receives(sqs: Sqs) -> None:
    sqs.put(*(f"message {number}" for number in range(30)))
    async with collecting(make(sqs)) as first:
        await until(lambda: len(first) == 20)
        async with collecting(make(sqs)) as second:
            await until(lambda: len(second) == 10)


async def test_a_worker_that_finishes_many_messages_may_hold_more(sqs: Sqs) -> None:
    receiver = make(sqs)
    sqs.put(*(f"message {number}" for number in range(200)))
    async with collecting(receiver) as got:
        await until(lambda: len(got) == 20)
        await receiver.delete(got[:20])
        await until(lambda: len(got) == 40)
        await receiver.delete(got[20:40])
        await until(lambda: receiver.held > 20)


async def test_messages_that_are_released_are_not_finished(sqs: Sqs) -> None:
    receiver = make(sqs)
    sqs.put(*(f"message {number}" for number in range(200)))
    async with collecting(receiver) as got:
        await until(lambda: len(got) == 20)
        await receiver.release(got[:20], delay_sec=60)
        await until(lambda: len(got) == 40)
        await quiet()
        assert receiver.held == 20


async def test_a_receive_under_way_counts_as_the_largest_messages(sqs: Sqs) -> None:
    receiver = make(sqs, max_buffered_bytes=3 * held_module.MAX_MESSAGE_BYTES)

    def asked_for() -> list[int]:
        return [call["MaxNumberOfMessages"] for call in sqs.calls_of("receive_message")]

    async with collecting(receiver) as got:
        await until(lambda: sqs.waiting)
        await quiet()
        assert set(asked_for()) == {3}
        assert sqs.waiting <= 1
        sqs.put("x" * held_module.MAX_MESSAGE_BYTES)
        await until(lambda: got)
        await until(lambda: asked_for()[-1] == 2)


async def test_what_a_message_was_unpacked_to_counts_until_it_is_let_go(sqs: Sqs) -> None:
    mib = 1024 * 1024
    receiver = make(sqs, receivers=1, max_buffered_bytes=20 * mib)
    sqs.put("a", "b")
    async with collecting(receiver) as got:
        await until(lambda: len(got) == 2)
        receiver.unpacked(got[0], 15 * mib)
        assert receiver.held_bytes == 2 + 15 * mib
        assert not receiver.fits(5 * mib)
        await receiver.delete(got[:1])
        assert receiver.held_bytes == 1
        receiver.unpacked(got[0], mib)
        assert receiver.held_bytes == 1, "a message that is not held any more takes no room"


async def test_room_that_goes_while_it_is_looked_at_ends_no_poll(
    sqs: Sqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The average falls with time: a machine that stops in between gives two answers."""
    answers = iter([3, 0, 3, 0, *[3] * 1_000])
    monkeypatch.setattr(held_module.HeldBounds, "to_ask_for", lambda _: next(answers))
    async with collecting(make(sqs, receivers=2)) as got:
        await until(lambda: sqs.waiting == 2)
        sqs.put("a")
        await until(lambda: got)


async def test_a_gate_that_was_shut_while_there_was_no_room_is_heeded(sqs: Sqs) -> None:
    gate = Gate()
    receiver = make(sqs, gate, receivers=3, max_buffered_bytes=1)
    sqs.put("a")
    async with collecting(receiver) as got:
        await until(lambda: got and not sqs.waiting)
        calls = len(sqs.calls_of("receive_message"))
        gate.hold("store", "away")
        await receiver.release(got[:1])
        await quiet()
        assert len(sqs.calls_of("receive_message")) == calls
        assert len(got) == 1


async def test_visibility_is_extended_while_work_lasts(
    sqs: Sqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver_module, "_EXTEND_EVERY_SEC", 0.5)
    receiver = make(sqs, visibility_sec=3)
    async with collecting(receiver) as got:
        sqs.put(*(f"message {number}" for number in range(12)))
        began = time.monotonic()
        await until(lambda: len(got) == 12)
        await quiet(3.5)
        assert len(got) == 12, "a message in work was handed out again"
        before = len(sqs.calls_of("change_message_visibility_batch"))
        turns = (time.monotonic() - began) / 0.5
        await receiver.delete(got)
        await quiet(1.0)
        assert len(sqs.calls_of("change_message_visibility_batch")) == before
    # Two calls per turn, and a turn each 0.5 s and a little, not with every look at the clock.
    assert 2 <= before <= 2 * turns
    extended = sqs.calls_of("change_message_visibility_batch")[0]["Entries"]
    assert {entry["VisibilityTimeout"] for entry in extended} == {3}


async def test_only_an_extension_that_sqs_refused_is_asked_for_again_soon(
    sqs: Sqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver_module, "_EXTEND_EVERY_SEC", 2.0)
    receiver = make(sqs, visibility_sec=60)
    async with collecting(receiver) as got:
        sqs.put("refused", "extended")
        await until(lambda: len(got) == 2)
        sqs.refused = {got[0].receipt}
        await until(lambda: sqs.calls_of("change_message_visibility_batch"))
        sqs.refused = set()
        await until(lambda: len(sqs.calls_of("change_message_visibility_batch")) == 2)
    first, second, *_ = sqs.calls_of("change_message_visibility_batch")
    assert [len(first["Entries"]), len(second["Entries"])] == [2, 1]
    assert second["Entries"][0]["ReceiptHandle"] == got[0].receipt


async def test_a_receive_that_fails_is_repeated(sqs: Sqs) -> None:
    sqs.errors = [
        EndpointConnectionError(endpoint_url="http://queue"),
        ClientError({"Error": {"Code": "ThrottlingException"}}, "ReceiveMessage"),
    ]
    async with collecting(make(sqs)) as got:
        sqs.put("a")
        await until(lambda: got)


async def test_receives_that_keep_failing_are_repeated_ever_less_often(sqs: Sqs) -> None:
    sqs.errors = [TimeoutError() for _ in range(1_000)]
    async with collecting(make(sqs, receivers=1)):
        await quiet(0.3)
        assert len(sqs.calls_of("receive_message")) < 30
        await until(lambda: len(sqs.calls_of("receive_message")) >= 2)


async def test_a_stop_ends_polls_that_pause_after_an_error(sqs: Sqs) -> None:
    sqs.errors = [TimeoutError() for _ in range(1_000)]
    async with collecting(make(sqs)):
        await quiet(0.02)


async def test_an_error_that_nobody_foresaw_ends_the_receiver_instead_of_one_poll(
    sqs: Sqs,
) -> None:
    sqs.errors = [KeyError("Body")]
    receiver = make(sqs, receivers=3)
    with pytest.raises(KeyError, match="Body"):
        await asyncio.wait_for(anext(receiver.messages()), 60)
    assert sqs.waiting == 0


async def test_a_reader_that_leaves_early_leaves_no_poll_behind(sqs: Sqs) -> None:
    receiver = make(sqs)
    sqs.put("a")
    stream = receiver.messages()
    assert [message.body for message in await anext(stream)] == ["a"]
    await stream.aclose()  # type: ignore[attr-defined]
    assert sqs.waiting == 0
    assert receiver.held == 1


async def test_calls_that_fail_while_messages_are_let_go_are_no_errors(sqs: Sqs) -> None:
    receiver = make(sqs)
    async with collecting(receiver) as got:
        sqs.put("a", "b")
        await until(lambda: len(got) == 2)

        async def away(**_: Any) -> None:
            raise EndpointConnectionError(endpoint_url="http://queue")

        sqs.delete_message_batch = sqs.change_message_visibility_batch = away
        await receiver.delete(got[:1])
        await receiver.release(got[1:])
        assert (receiver.held, receiver.held_bytes) == (0, 0)
