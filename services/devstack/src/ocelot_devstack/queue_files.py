"""Files with messages of a queue, one JSON object per line.

A file appears whole or not at all: it is written under another name, forced to the disk and then
renamed. The part that a crash left is read as far as it goes, because each line is a message of its
own, and a message that is sent twice is stored once.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from ocelot_common.queue.sending import Outgoing
from ocelot_devstack.errors import DevstackError

_WHOLE: Final = ".ndjson"
_PART: Final = ".part"


def write_messages(folder: Path, queue: str, messages: Iterable[Outgoing]) -> Path:
    """Write messages of a queue to a new file; they are on the disk when this returns.

    Only the owner can read the folder and the file: the messages hold events.

    Args:
        folder: made if it is missing.
        queue: its name, for `queue_of`.
        messages: in any number.

    Raises:
        OSError: they cannot be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    part = folder / f"{queue}-{time.time_ns()}{_PART}"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        for message in messages:
            json.dump(message._asdict(), file)
            file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    whole = part.with_suffix(_WHOLE)
    part.rename(whole)
    _sync_folder(folder)
    _sync_folder(folder.parent)
    return whole


def message_files(folder: Path) -> list[Path]:
    """Return the files of a folder, oldest first; those that a crash left unfinished, too."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.suffix in (_WHOLE, _PART)]
    return sorted(found, key=lambda path: path.stem.rpartition("-")[2])


def queue_of(path: Path) -> str:
    """Return the name of the queue whose messages a file holds."""
    return path.stem.rpartition("-")[0]


def read_messages(path: Path) -> Iterator[Outgoing]:
    """Yield the messages of a file.

    Raises:
        DevstackError: it cannot be read, or holds something else.
    """
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                if path.suffix == _PART and not line.endswith("\n"):
                    return  # the crash came in the middle of it
                fields = json.loads(line)
                yield Outgoing(fields["body"], fields["group"], fields["attributes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DevstackError(
            f"{path} has messages of the last run and cannot be read: {error!r}. Repair the"
            " file, or move it away to start without its messages."
        ) from None


def _sync_folder(folder: Path) -> None:
    """Force the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
