import asyncio
from collections.abc import Callable
from typing import Any

import pytest


class FakeSqs:
    """One queue in memory, with SQS's visibility and receive counts on the loop's clock.

    Attributes:
        calls: name and arguments of every call.
        errors: raised by the next receives, one each.
        refused: receipts whose entries fail in batch calls.
        waiting: receives that are open now.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.errors: list[Exception] = []
        self.refused: set[str] = set()
        self.waiting = 0
        self._visible: list[dict[str, Any]] = []
        self._hidden: dict[str, tuple[float, dict[str, Any]]] = {}
        self._receipts = 0

    def calls_of(self, name: str) -> list[dict[str, Any]]:
        return [arguments for called, arguments in self.calls if called == name]

    @property
    def remaining(self) -> int:
        return len(self._visible) + len(self._hidden)

    def put(self, *bodies: str) -> None:
        self._visible += [{"Body": body, "count": 0} for body in bodies]

    async def receive_message(self, **arguments: Any) -> dict[str, Any]:
        self.calls.append(("receive_message", arguments))
        if self.errors:
            raise self.errors.pop(0)
        self.waiting += 1
        try:
            async with asyncio.timeout(arguments["WaitTimeSeconds"]):
                while not self._appeared():  # noqa: ASYNC110 - time makes messages visible
                    await asyncio.sleep(0.002)
            messages = self._visible[: arguments["MaxNumberOfMessages"]]
            del self._visible[: len(messages)]
        except TimeoutError:
            return {}
        finally:
            self.waiting -= 1
        until = asyncio.get_running_loop().time() + arguments["VisibilityTimeout"]
        return {"Messages": [self._hand_out(message, until) for message in messages]}

    async def delete_message_batch(self, **arguments: Any) -> dict[str, Any]:
        return self._each("delete_message_batch", arguments, lambda receipt, _: (
            self._hidden.pop(receipt, None)
        ))  # fmt: skip

    async def change_message_visibility_batch(self, **arguments: Any) -> dict[str, Any]:
        now = asyncio.get_running_loop().time()

        def change(receipt: str, entry: dict[str, Any]) -> None:
            if receipt in self._hidden:
                until = now + entry["VisibilityTimeout"]
                self._hidden[receipt] = (until, self._hidden[receipt][1])

        return self._each("change_message_visibility_batch", arguments, change)

    def _each(
        self,
        name: str,
        arguments: dict[str, Any],
        work: Callable[[str, dict[str, Any]], object],
    ) -> dict[str, Any]:
        entries = arguments["Entries"]
        assert arguments["QueueUrl"] == "queue"
        assert 1 <= len(entries) <= 10, "SQS takes one to ten entries"
        assert len({entry["Id"] for entry in entries}) == len(entries)
        self.calls.append((name, arguments))
        failed = []
        for entry in entries:
            if entry["ReceiptHandle"] in self.refused:
                failed.append({"Id": entry["Id"], "Code": "InternalError"})
            else:
                work(entry["ReceiptHandle"], entry)
        return {"Failed": failed} if failed else {}

    def _appeared(self) -> bool:
        now = asyncio.get_running_loop().time()
        for receipt in [receipt for receipt, (until, _) in self._hidden.items() if until <= now]:
            self._visible.append(self._hidden.pop(receipt)[1])
        return bool(self._visible)

    def _hand_out(self, message: dict[str, Any], until: float) -> dict[str, Any]:
        self._receipts += 1
        message["count"] += 1
        receipt = f"receipt-{self._receipts}"
        self._hidden[receipt] = (until, message)
        return {
            "MessageId": str(self._receipts),
            "ReceiptHandle": receipt,
            "Body": message["Body"],
            "Attributes": {
                "ApproximateReceiveCount": str(message["count"]),
                "SentTimestamp": "1764000000000",
            },
        }


@pytest.fixture
def sqs() -> FakeSqs:
    return FakeSqs()
