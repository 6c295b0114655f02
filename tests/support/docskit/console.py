"""The console blocks of the Markdown pages: what a reader pastes into a terminal."""

import re
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?^```console\n(?P<body>.*?)^```",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """One fenced block.

    Attributes:
        page: that holds it.
        number: on its page, from 1.
        commands: with their continuation lines, without the prompt.
        reason: why no test runs it; None if one does.
    """

    page: Path
    number: int
    commands: tuple[str, ...]
    reason: str | None


def console_blocks(page: Path) -> list[Block]:
    """Return the console blocks of a page, in their order."""
    return [
        Block(page, number, commands_of(found["body"]), found["reason"])
        for number, found in enumerate(_BLOCK.finditer(page.read_text("utf-8")), start=1)
    ]


def commands_of(body: str) -> tuple[str, ...]:
    """Return the commands of a block's text: lines after a prompt, and those that they go on in."""
    parts = re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]
    found = (re.match(r"(?:.*\\\n)*.*", part) for part in parts)
    return tuple(each[0] for each in found if each)
