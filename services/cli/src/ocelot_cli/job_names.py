"""Names of jobs and of their phases for people.

The database, the API and the metrics keep the values that they have always had. Every command
accepts both and shows the names here.
"""

from typing import Final

import typer

from ocelot_common.jobs.model import JobKind
from ocelot_common.jobs.rebuild import RebuildPhase

_KINDS: Final[dict[str, str]] = {
    JobKind.PERIODS: "index-lifecycle",
    JobKind.DRAIN: "dead-letter-collector",
}
_PHASES: Final[dict[str, str]] = {
    RebuildPhase.SETTLING: "waiting for propagation",
    RebuildPhase.MENDING: "repairing",
}

#: Of every kind of job, in the order of `JobKind`.
KIND_NAMES: Final = tuple(_KINDS.get(kind, kind.value) for kind in JobKind)
_STORED: Final = dict(zip(KIND_NAMES, JobKind, strict=True))


def kind_name(kind: str) -> str:
    """Return the name of a stored kind; one of a newer release is returned as it is."""
    return _KINDS.get(kind, kind)


def phase_name(phase: str) -> str:
    """Return the name of a stored phase; one of a newer release is returned as it is."""
    return _PHASES.get(phase, phase)


def parse_kind(text: str) -> JobKind:
    """Return the kind of a name, or of a stored value.

    Raises:
        typer.BadParameter: there is no such kind.
    """
    if text in _STORED:
        return _STORED[text]
    try:
        return JobKind(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not a kind of job. The kinds are {', '.join(KIND_NAMES)}."
        ) from None
