"""Memory of a process as the kernel counts it, and how much of it the api may take."""

import asyncio
from pathlib import Path
from typing import Final

_MIB: Final = 1024 * 1024
#: The formula in docs/operations/guarantees.md, section "Memory of the api".
_BODY_FACTOR: Final = 3
_ANSWER_FACTOR: Final = 2
_BESIDE_BYTES: Final = 96 * _MIB
CONNECTION_BYTES: Final = 16 * 1024


def allowed_growth(*, bodies: int, answers: int, connections: int) -> int:
    """Return by how many bytes the api may grow beyond what it needs at rest.

    Args:
        bodies: OCELOT_BODY_BUDGET_BYTES.
        answers: OCELOT_RESPONSE_BUDGET_BYTES.
        connections: OCELOT_MAX_CONNECTIONS.
    """
    return (
        _BODY_FACTOR * bodies
        + _ANSWER_FACTOR * answers
        + CONNECTION_BYTES * connections
        + _BESIDE_BYTES
    )


def resident_bytes(pid: int) -> int:
    """Memory that a process has at present."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


def peak_bytes(pid: int) -> int:
    """The most memory that a process ever had, as the kernel counts it."""
    status = Path(f"/proc/{pid}/status").read_text()
    kibibytes = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kibibytes.split()[1]) * 1024


async def growth_of(pid: int, until: asyncio.Event) -> int:
    """By how many bytes a new process grew at most, however seldom this loop has its turn."""
    before = resident_bytes(pid)
    await until.wait()
    return peak_bytes(pid) - before
