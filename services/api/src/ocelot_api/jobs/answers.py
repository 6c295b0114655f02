"""A job as clients see it."""

from typing import Any

import msgspec

from ocelot_common.jobs.model import Job


def job_answer(job: Job) -> dict[str, Any]:
    """The job's state, progress and errors; of many ids, their number."""
    spec = {name: value for name, value in job.spec.items() if name != "space"}
    if isinstance(spec.get("ids"), list):
        spec["ids"] = len(spec["ids"])
    return {
        "id": job.id,
        "kind": job.kind,
        "state": job.state.value,
        "recurring": job.every_sec is not None,
        "cancel_requested": job.cancel_requested,
        "spec": spec,
        "phase": job.phase,
        "progress": job.progress,
        "errors": job.errors,
        "created_by": job.created_by,
        "created_at": job.created_at,
        "due_at": job.due_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
    }


def encode(answer: Any) -> bytes:
    """JSON of an answer."""
    return msgspec.json.encode(answer)
