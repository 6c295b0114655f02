"""scripts/vanished_facts.py: numbers, units, RFCs and names that a rewritten page lost."""

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/vanished_facts.py"


@pytest.fixture(scope="module")
def facts() -> Any:
    spec = spec_from_file_location("vanished_facts", SCRIPT)
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("before", "after", "missing"),
    [
        ("A page has 8 MiB.", "A page has 8 MiB at most.", []),
        ("A page has 8 MiB.", "A page has 8 KiB.", ["8 MiB"]),
        ("within 2 s, or 20,000 events", "within 2\ns", ["20,000 events"]),
        ("RFC 9457 and issue 12", "RFC 9458", ["RFC 9457", "issue 12"]),
        (
            "`search_too_broad`, OCELOT_MAX_SEARCHES",
            "",
            ["OCELOT_MAX_SEARCHES", "`search_too_broad`"],
        ),
        ("at 1.5.", "at 1.5", []),
    ],
)
def test_a_fact_that_is_not_there_any_more_is_named(
    facts: Any, before: str, after: str, missing: list[str]
):
    assert facts.vanished(before, after) == missing


def test_pages_of_two_commits_are_compared(tmp_path: Path):
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True)

    git("init", "-q")
    (tmp_path / "kept.md").write_text("30 s\n")
    (tmp_path / "gone.md").write_text("RFC 7519\n")
    git("add", ".")
    git("commit", "-qm", "one")
    (tmp_path / "kept.md").write_text("31 s\n")
    (tmp_path / "gone.md").unlink()
    git("add", ".")
    git("commit", "-qm", "two")

    ended = subprocess.run(
        [sys.executable, SCRIPT, "HEAD~1", "HEAD"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )

    assert ended.stdout.splitlines() == ["gone.md: RFC 7519", "kept.md: 30 s"]
    assert ended.returncode == 1
