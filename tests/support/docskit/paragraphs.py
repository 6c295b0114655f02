"""The prose of the Markdown pages: paragraphs, list items and cells, without code."""

import re
from pathlib import Path

_FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
#: Code, comments and the targets of links are not prose.
_NOT_PROSE = re.compile(r"<!--.*?-->|`[^`]*`|(?<=\])\([^)]*\)", re.DOTALL)
_BETWEEN = re.compile(r"\n\s*\n|\n\s*(?=[-*] |\d+\. )|\n?\|")


def paragraphs(page: Path) -> list[str]:
    """Return the paragraphs of a page, each in one line; code is replaced by `` ` ` ``."""
    text = _NOT_PROSE.sub("` `", _FENCED.sub("", page.read_text("utf-8")))
    lines = (" ".join(part.split()) for part in _BETWEEN.split(text))
    return [line for line in lines if re.search(r"\w", line)]
