"""Lists facts that vanished from a page between two commits.

A fact is a number with its unit, an RFC, an issue, a setting, or a problem code. Whoever rewrites
a page explains each one, or restores it. Usage: vanished_facts.py FROM TO [PAGE…]
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence

_FACT = re.compile(
    r"RFC \d+(?: §[\d.]+)?"
    r"|(?:issue |#)\d+"
    r"|\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b"  # a setting
    r"|`[a-z]+(?:_[a-z]+)+`"  # a code or field
    r"|(?<![\w.])\d[\d,.]*\d?(?:\s?(?:%|[µnm]?s|min|h|days?|hours?|minutes?|seconds?"
    r"|[KMG]i?B|bytes?|characters?|events?|levels?|times)\b)?"
)


def facts_of(text: str) -> set[str]:
    """Return the facts of a page, in one spelling each."""
    return {re.sub(r"\s+", " ", found).rstrip(".,") for found in _FACT.findall(text)}


def vanished(before: str, after: str) -> list[str]:
    """Return the facts of one text that another does not have."""
    return sorted(facts_of(before) - facts_of(after))


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout  # noqa: S603, S607 - git, with what the caller names


def _pages(first: str, last: str, names: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield the name of each page that changed, and its two texts; one that is gone is empty."""
    there = set(_git("ls-tree", "-r", "--name-only", last).splitlines())
    changed = _git("diff", "--name-only", "--diff-filter=MD", "--no-renames", first, last)
    for name in changed.splitlines():
        if name.endswith(".md") and (not names or name in names):
            yield (
                name,
                _git("show", f"{first}:{name}"),
                _git("show", f"{last}:{name}") if name in there else "",
            )


def main(arguments: Sequence[str]) -> int:
    """List what vanished, page by page.

    Returns:
        1 if something did.
    """
    if len(arguments) < 2:
        sys.stderr.write("usage: vanished_facts.py FROM TO [PAGE…]\n")
        return 2
    first, last, *names = arguments
    status = 0
    for name, before, after in _pages(first, last, names):
        if missing := vanished(before, after):
            status = 1
            sys.stdout.write(f"{name}: {', '.join(missing)}\n")
    return status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
