"""The Markdown files of the repository stand alone: their links lead somewhere, and into it."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from docskit.console import commands_of, console_blocks
from docskit.paragraphs import paragraphs
from prosekit.patterns import PATTERNS

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    if (ROOT / name).exists()
)
#: Decisions keep their words, and so do the entries of the changelog.
PROSE = [page for page in PAGES if page.name != "CHANGELOG.md" and page.parent != ROOT / "docs/adr"]
DECISIONS = sorted((ROOT / "docs/adr").glob("[0-9]*.md"))
_FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
#: A number after a setting in seconds or bytes, without its unit.
_WITHOUT_UNIT = re.compile(
    r"`[\w.-]*(?:_SEC|_BYTES|Sec|Bytes|-sec|-bytes)`(?:,| \()"
    r" ?(?:default )?\d[\d,]*[):]"
)
#: Documents and folders that a clone does not have.
_OUTSIDE = re.compile(
    r"\bdesign(?:\.md)? §|design-next|\.\./shared|\bshared/|/work/", re.IGNORECASE
)


def links_of(text: str) -> list[str]:
    return _LINK.findall(_FENCED.sub("", text))


@cache
def anchors_of(page: Path) -> frozenset[str]:
    """The anchors that GitHub gives to a page's headings."""
    seen: dict[str, int] = {}
    anchors = set()
    for heading in re.findall(r"^#{1,6} (.+)$", _FENCED.sub("", page.read_text()), re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", heading.lower().strip()).replace(" ", "-")
        number = seen.get(words, 0)
        seen[words] = number + 1
        anchors.add(f"{words}-{number}" if number else words)
    return frozenset(anchors)


def faults_of(page: Path, root: Path = ROOT) -> list[str]:
    faults = []
    for link in links_of(page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        inside = target.is_relative_to(root) and target.exists()
        if not inside or (anchor and anchor not in anchors_of(target)):
            faults.append(link)
    return faults


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


def test_the_repository_has_pages():
    assert {"README.md", "docs/architecture.md", "docs/design/README.md"} <= set(names(PAGES))


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_relative_link_leads_to_a_file_and_a_heading_of_the_repository(page: Path):
    assert faults_of(page) == []


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_no_page_refers_to_what_a_clone_does_not_have(page: Path):
    assert [line for line in page.read_text().splitlines() if _OUTSIDE.search(line)] == []


def test_a_link_to_a_missing_file_or_heading_is_found(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("# One\n\n[a](#one) [b](#two) [c](none.md) [d](https://example.com)\n")

    assert faults_of(page, tmp_path) == ["#two", "none.md"]


@pytest.mark.parametrize("page", DECISIONS, ids=names(DECISIONS))
def test_a_decision_states_its_status_and_date(page: Path):
    lines = page.read_text().splitlines()

    assert re.match(r"# \d{4}: ", lines[0])
    assert re.match(r"\*\*Status\.\*\* (Accepted|Proposed|Replaced), \d{4}-\d\d-\d\d\b", lines[2])


def test_the_index_of_the_documentation_leads_to_every_page():
    folder = ROOT / "docs"
    linked = {
        (folder / link.partition("#")[0]).resolve()
        for link in links_of((folder / "README.md").read_text())
    }
    # Decisions and design pages have indexes of their own.
    pages = {*folder.glob("*.md"), *folder.glob("operations/*.md"), *folder.glob("*/README.md")}

    assert pages - linked == {folder / "README.md"}


@pytest.mark.parametrize("name", ["adr", "design"])
def test_an_index_of_a_folder_leads_to_each_of_its_pages(name: str):
    folder = ROOT / "docs" / name
    linked = {link.partition("#")[0] for link in links_of((folder / "README.md").read_text())}

    assert {page.name for page in folder.glob("*.md")} - linked == {"README.md"}


@pytest.mark.parametrize("page", PROSE, ids=names(PROSE))
def test_no_sentence_of_a_page_is_caught_by_the_patterns_of_prose(page: Path):
    caught = [
        f"{match[0]!r} in {line!r}: say: {pattern.instead}"
        for line in paragraphs(page)
        for pattern in PATTERNS
        if (match := re.search(pattern.regex, line, re.IGNORECASE))
    ]
    assert not caught, "\n".join(caught)


@pytest.mark.parametrize("page", PROSE, ids=names(PROSE))
def test_a_default_in_seconds_or_bytes_has_its_unit(page: Path):
    assert [line for line in page.read_text().splitlines() if _WITHOUT_UNIT.search(line)] == []


@pytest.mark.parametrize(
    "text",
    [
        "every `OCELOT_PURGE_INTERVAL_SEC` (3600), one job per tenant",
        "(`--wait-sec`, 3,600)",
        "after `cooldownSec` (default 300)",
        "takes effect after `OCELOT_RETENTION_DELAY_SEC` (86,400: one day)",
    ],
)
def test_a_default_without_its_unit_is_found(text: str):
    assert _WITHOUT_UNIT.search(text)


def test_nine_of_ten_console_blocks_run_in_a_test_and_the_others_say_why_not(
    capsys: pytest.CaptureFixture[str],
):
    blocks = [block for page in PAGES for block in console_blocks(page)]
    run = [block for block in blocks if block.reason is None]

    # `tests/integration/cli/test_console_blocks.py` and `test_tutorial.py` run them.
    share = len(run) / len(blocks)
    with capsys.disabled():
        sys.stdout.write(
            f"\nconsole blocks: {len(blocks)}, of which {len(run)} run ({share:.0%})\n"
        )
    assert all(block.commands for block in blocks), "a block without a prompt is not a console"
    assert len(run) >= 0.9 * len(blocks)


def test_paragraphs_items_and_cells_are_read_without_code(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One\n\ntwo\nlines `at once` [link](at/once.md)\n\n- item\n- item 2\n\n"
        "| a | b |\n|---|---|\n| c | d |\n\n<!-- at once -->\n```sh\nat once\n```\n"
    )

    lines = ["# One", "two lines ` ` [link]` `", "item", "item 2", *"abcd"]
    assert [line.removeprefix("- ") for line in paragraphs(page)] == lines


def test_a_block_is_read_with_its_commands_and_its_reason(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- not run: why -->\n```console\n$ a \\\n  b\nprinted\n$ c\n```\n```console\n$ d\n```\n"
    )

    first, second = console_blocks(page)

    assert (first.commands, first.reason) == (("a \\\n  b", "c"), "why")
    assert (second.commands, second.reason, second.number) == (("d",), None, 2)
    assert commands_of("no prompt\n") == ()
