"""Downloads that every checkout and every test session on the machine shares."""

import asyncio
import fcntl
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

_LOCK_POLL_SEC: Final = 0.2


async def install_once(
    cache_dir: Path, name: str, install: Callable[[Path], Awaitable[None]]
) -> Path:
    """The directory `cache_dir/name`, filled by `install` if it is not there yet.

    It appears whole or not at all: `install` fills a directory beside it, which is then renamed,
    and parallel callers, other processes included, wait for the first.

    Args:
        cache_dir: made if missing.
        name: names the content and its version.
        install: fills the empty directory that it is given.
    """
    target = cache_dir / name
    if target.is_dir():
        return target
    await asyncio.to_thread(cache_dir.mkdir, parents=True, exist_ok=True)
    async with _file_lock(cache_dir / f"{name}.lock"):
        if target.is_dir():
            return target
        unfinished = await asyncio.to_thread(_empty_directory, cache_dir, f".{name}-")
        try:
            await install(unfinished)
            await asyncio.to_thread(unfinished.rename, target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return target


def _empty_directory(parent: Path, prefix: str) -> Path:
    for abandoned in parent.glob(f"{prefix}*"):  # by a killed process: we hold the lock
        shutil.rmtree(abandoned, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=prefix, dir=parent))


@asynccontextmanager
async def _file_lock(path: Path) -> AsyncIterator[None]:
    with path.open("ab") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await asyncio.sleep(_LOCK_POLL_SEC)
            else:
                break
        yield
