"""The most that a process held, see proc(5)."""

import re
from pathlib import Path


class Peak:
    """Of a process's resident memory, from now on."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._status.with_name("clear_refs").write_text("5")  # forgets the peak so far
        self._before = self._held()

    @property
    def growth(self) -> int:
        """Bytes, over what it held at the start."""
        return self._held() - self._before

    def _held(self) -> int:
        match = re.search(r"VmHWM:\s+(\d+) kB", self._status.read_text())
        assert match is not None
        return int(match[1]) * 1024
