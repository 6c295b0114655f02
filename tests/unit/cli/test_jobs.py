"""What `ocelot jobs rebuild --wait` tells of a rebuild of several indices."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from ocelot_cli import following
from ocelot_cli.commands import jobs as module
from ocelot_common.jobs.model import Job, JobKind, JobState
from ocelot_common.jobs.rebuild import RebuildPhase

NOW = datetime.now(UTC)
JOB = Job(
    id="j", kind=JobKind.REBUILD, state=JobState.RUNNING, due_at=NOW, created_by="test",
    created_at=NOW,
)  # fmt: skip
INDEX_1 = {"index": 1, "indices": 2, "total": 5}
INDEX_2 = INDEX_1 | {"index": 2, "done": 5, "compared": 3}


def at(phase: RebuildPhase, progress: dict[str, int]) -> Job:
    return msgspec.structs.replace(JOB, phase=phase.value, progress=progress)


class Snapshots:
    """A store that has the job in one state after the other."""

    def __init__(self, *states: Job) -> None:
        self.states = list(states)

    async def get(self, job_id: str) -> Job:
        assert job_id == JOB.id
        return self.states.pop(0)


async def test_each_index_is_told_with_its_phases_in_their_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(following, "_POLL_SEC", 0)
    store: Any = Snapshots(
        at(RebuildPhase.SETTLING, {}),
        at(RebuildPhase.COMPARING, INDEX_1 | {"compared": 3}),
        at(RebuildPhase.COPYING, INDEX_2 | {"done": 3}),
        at(RebuildPhase.COMPARING, INDEX_2),
        at(RebuildPhase.RETIRING, INDEX_2),
        msgspec.structs.replace(JOB, state=JobState.SUCCEEDED),
    )
    await following.follow(store, JOB, module._progress)
    assert capsys.readouterr().err.splitlines() == [
        "waiting for propagation",
        "comparing index 1 of 2, 3 of 5",
        "copying index 2 of 2, 3 of 5",
        "comparing index 2 of 2, 3 of 5",
        "retiring, 5 of 5",
    ]


@pytest.mark.parametrize(
    ("phase", "progress", "told"),
    [
        (
            RebuildPhase.COPYING,
            {"index": 1, "indices": 1, "done": 2, "total": 3},
            "copying, 2 of 3",
        ),
        (RebuildPhase.COPYING, {"done": 2, "total": 3}, "copying, 2 of 3"),
        (RebuildPhase.MENDING, {"done": 2}, "repairing, 2"),
    ],
    ids=["one index", "a job of an earlier release", "in the existing index"],
)
def test_one_index_is_not_counted(phase: RebuildPhase, progress: dict[str, int], told: str):
    assert module._progress(at(phase, progress)) == told
