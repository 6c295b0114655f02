"""One make dev, and one make dev-kube, at a time on a state directory."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ocelot_devstack.errors import DevstackError

_NAME: Final = "lock"


@contextmanager
def state_lock(state_dir: Path, command: str = "make dev") -> Iterator[None]:
    """Hold the directory; the kernel lets go of it when this process ends, however it ends.

    Args:
        state_dir: made if it does not exist.
        command: that holds it, for the error.

    Raises:
        DevstackError: another process holds it.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    with (state_dir / _NAME).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise DevstackError(
                f"{command} already runs here (process {lock.read().strip() or 'unknown'}, "
                f"state in {state_dir}). Use it, or stop it with Ctrl-C. To run a second one, set "
                "OCELOT_DEV_STATE_DIR and the ports."
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def is_locked(state_dir: Path) -> bool:
    """True while a make dev runs on the directory."""
    try:
        with (state_dir / _NAME).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
