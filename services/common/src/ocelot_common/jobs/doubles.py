"""Ends live jobs that share a key.

Processes that started together on an empty MongoDB could queue a recurring job twice before the
unique index on keys existed. The index can't be built while such doubles live.
"""

from typing import Any

from pymongo import ASCENDING
from pymongo.asynchronous.collection import AsyncCollection

from ocelot_common.jobs.model import JobState

Document = dict[str, Any]


async def end_doubles(jobs: AsyncCollection[Document]) -> int:
    """Keep the oldest live job of each key and end the others; safe to repeat.

    A job without a checkpoint that nobody works on ends at once. Any other job loses its key and
    its recurrence, and is asked to stop: its owner, or the next one, leaves things whole.

    The oldest is kept whoever asks, so that two processes that repair at once keep the same one.

    Args:
        jobs: the collection, with majority reads and writes.

    Returns:
        The number of jobs that were ended or asked to stop.
    """
    doubles = await jobs.aggregate(
        [
            {"$match": {"live": True, "key": {"$type": "string"}}},
            {"$sort": {"_id": ASCENDING}},
            {"$group": {"_id": "$key", "ids": {"$push": "$_id"}}},
            {"$match": {"ids.1": {"$exists": True}}},
        ]
    )
    ended = 0
    async for double in doubles:
        for job_id in double["ids"][1:]:
            await _end(jobs, job_id)
            ended += 1
    return ended


async def _end(jobs: AsyncCollection[Document], job_id: str) -> None:
    live: Document = {"_id": job_id, "live": True}
    untouched = {**live, "state": JobState.QUEUED.value, "checkpoint": {}}
    ended: Document = {"state": JobState.CANCELLED.value, "live": False, "finished_at": "$$NOW"}
    stopping: Document = {
        "key": None,
        "every_sec": None,
        "cancel_requested": True,
        "due_at": "$$NOW",
    }
    result = await jobs.update_one(untouched, [{"$set": ended}])
    if not result.modified_count:
        await jobs.update_one(live, [{"$set": stopping}])
