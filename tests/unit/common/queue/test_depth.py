from typing import Any

from ocelot_common.queue.depth import Depth, read_depth


class FakeSqs:
    async def get_queue_attributes(self, **arguments: Any) -> dict[str, Any]:
        known = {
            "ApproximateNumberOfMessages": "3",
            "ApproximateNumberOfMessagesNotVisible": "20",
            "ApproximateNumberOfMessagesDelayed": "100",
            "VisibilityTimeout": "60",
        }
        assert arguments["QueueUrl"] == "queue"
        return {"Attributes": {name: known[name] for name in arguments["AttributeNames"]}}


async def test_a_depth_counts_messages_of_every_state() -> None:
    depth = await read_depth(FakeSqs(), "queue")
    assert depth == Depth(visible=3, in_flight=20, delayed=100)
    assert depth.total == 123
