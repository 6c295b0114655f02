"""What `ocelot dead-letters accept` tells of its jobs."""

from datetime import UTC, datetime
from typing import Any

import pytest

from ocelot_cli.commands.dead_letters import outcome_lines
from ocelot_common.jobs.model import Job, JobKind

NOW = datetime.now(UTC)
UNREAD = {"unread": {"ingest": 100_000}}
STOPPED = "100,000 messages of the ingest dead letter queue"
JOBS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a count": (
        {"progress": {"messages": 16, "events": 20_000}},
        ["16 messages with 20,000 events"],
    ),
    "a count of nothing": ({"progress": {"messages": 0, "refused": 0}}, []),
    "a count that had to stop": (
        {"progress": {"messages": 1, "events": 1, "refused": 2}, "checkpoint": UNREAD},
        [
            "1 message with 1 event",
            "2 messages",
            STOPPED,
        ],
    ),
    "a count that had to stop before it found anything": ({"checkpoint": UNREAD}, [STOPPED]),
    "an acceptance": (
        {
            "spec": {"count_job": "j"},
            "progress": {"messages": 3, "events": 5, "further": 1, "missing": 2},
        },
        [
            "ccepted 3 messages with 5 events",
            "1 ",
            "2 messages",
        ],
    ),
    "an acceptance of nothing": (
        {"spec": {"count_job": "j"}},
        ["ccepted 0 messages with 0 events"],
    ),
}


@pytest.mark.parametrize(("fields", "lines"), JOBS.values(), ids=JOBS)
def test_each_thing_is_one_line(fields: dict[str, Any], lines: list[str]) -> None:
    job = Job(id="j", kind=JobKind.ACCEPT, due_at=NOW, created_by="test", created_at=NOW, **fields)
    told = list(outcome_lines(job))
    assert len(told) == len(lines)
    assert all(words in line for words, line in zip(lines, told, strict=True))
