from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocelot_common.queue.sending import (
    MAX_CALL_BYTES,
    Outgoing,
    SendError,
    calls_of,
    send_all,
    send_call,
)


class FakeSqs:
    """Takes messages, refusing those that a call's answer names."""

    def __init__(self, *answers: dict[str, bool]) -> None:
        self.answers = list(answers)
        self.calls: list[list[dict[str, Any]]] = []

    async def send_message_batch(self, **arguments: Any) -> dict[str, Any]:
        assert arguments["QueueUrl"] == "queue"
        self.calls.append(arguments["Entries"])
        refused = self.answers.pop(0) if self.answers else {}
        present = {entry["Id"] for entry in arguments["Entries"]}
        assert set(refused) <= present
        failed = [{"Id": name, "SenderFault": fault} for name, fault in refused.items()]
        return {"Failed": failed} if failed else {}


def messages(count: int) -> list[Outgoing]:
    return [Outgoing(f"body {number}", f"group {number}") for number in range(count)]


sizes = st.lists(st.sampled_from([1, 50_000, 131_072, 500_000, MAX_CALL_BYTES]), max_size=40)


@given(sizes)
def test_calls_hold_all_messages_in_order_within_the_limits_of_sqs(lengths: list[int]) -> None:
    sent = [Outgoing("x" * length, str(number)) for number, length in enumerate(lengths)]
    calls = list(calls_of(sent))
    assert [message for call in calls for message in call] == sent
    for call in calls:
        assert 1 <= len(call) <= 10
        assert sum(len(message.body) for message in call) <= MAX_CALL_BYTES
    for call, following in pairwise(calls):
        together = sum(len(message.body) for message in call) + len(following[0].body)
        assert len(call) == 10 or together > MAX_CALL_BYTES, "a call had room"


def test_a_message_over_the_limit_goes_alone() -> None:
    large = Outgoing("x" * (MAX_CALL_BYTES + 1), "a")
    small = Outgoing("x", "b")
    assert list(calls_of([small, large, small])) == [[small], [large], [small]]


async def test_a_call_carries_body_and_group() -> None:
    sqs = FakeSqs()
    assert await send_call(sqs, "queue", messages(2)) == []
    assert sqs.calls == [
        [
            {"Id": "0", "MessageBody": "body 0", "MessageGroupId": "group 0"},
            {"Id": "1", "MessageBody": "body 1", "MessageGroupId": "group 1"},
        ]
    ]


async def test_only_what_failed_is_sent_again_under_its_number() -> None:
    sqs = FakeSqs({"1": False, "3": False}, {"3": False})
    assert await send_call(sqs, "queue", messages(4)) == []
    assert [[entry["Id"] for entry in call] for call in sqs.calls] == [
        ["0", "1", "2", "3"],
        ["1", "3"],
        ["3"],
    ]
    assert sqs.calls[2][0]["MessageBody"] == "body 3"


async def test_what_keeps_failing_is_told() -> None:
    sqs = FakeSqs({"0": False, "2": False}, {"2": False}, {"2": False})
    assert await send_call(sqs, "queue", messages(3)) == [2]
    assert len(sqs.calls) == 3


async def test_what_is_the_senders_fault_is_not_repeated() -> None:
    sqs = FakeSqs({"1": True})
    assert await send_call(sqs, "queue", messages(2)) == [1]
    assert len(sqs.calls) == 1


async def test_a_fault_of_sqs_beside_one_of_the_sender_is_repeated() -> None:
    sqs = FakeSqs({"0": True, "1": False}, {"0": True})
    assert await send_call(sqs, "queue", messages(2)) == [0]
    assert len(sqs.calls) == 2


async def test_any_number_is_sent_in_calls_of_ten() -> None:
    sqs = FakeSqs()
    assert await send_all(sqs, "queue", messages(25)) == 25
    assert [len(call) for call in sqs.calls] == [10, 10, 5]
    assert await send_all(sqs, "queue", []) == 0


async def test_sending_all_fails_if_one_is_not_taken() -> None:
    sqs = FakeSqs({}, *[{"0": False}] * 3)
    with pytest.raises(SendError, match="1 of 5"):
        await send_all(sqs, "queue", messages(15))
