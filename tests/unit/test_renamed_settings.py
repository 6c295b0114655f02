"""A setting under its old name ends every process; none runs with a default by mistake."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ocelot_common.renamed_settings import RENAMED, renamed_settings

ROOT = Path(__file__).parents[2]
#: Settings of the commits whose data `tests/integration/test_upgrade.py` upgrades.
EARLIER = sorted((ROOT / "tests/data/upgrade").glob("*/env.example"))
PROCESSES = {
    "ocelot_api": [],
    "ocelot_consumer": [],
    "ocelot_indexer": [],
    "ocelot_jobs": [],
    "ocelot_cli": ["tenants", "list"],
    "ocelot_devstack": ["up"],
}


@pytest.mark.parametrize("module", PROCESSES)
def test_each_process_ends_and_says_every_new_name(module: str, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", module, *PROCESSES[module]],
        env=dict.fromkeys(RENAMED, "1"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    for old, new in RENAMED.items():
        assert [line for line in done.stderr.splitlines() if old in line and new in line], old


@pytest.mark.parametrize("old", RENAMED)
def test_each_old_name_is_found_alone(old: str):
    found = renamed_settings({old: "0", RENAMED[old]: "0", "OCELOT_OTHER": "1"})
    assert len(found) == 1
    assert RENAMED[old] in found[0]


def test_an_empty_variable_counts_as_not_set():
    assert renamed_settings(dict.fromkeys(RENAMED, "")) == []


def names_of(example: Path) -> set[str]:
    return {
        line.removeprefix("# ").partition("=")[0]
        for line in example.read_text().splitlines()
        if re.match(r"(# )?[A-Z_]+=", line)
    }


@pytest.mark.parametrize("example", EARLIER, ids=[path.parent.name for path in EARLIER])
def test_each_setting_of_an_earlier_commit_exists_or_is_refused_with_its_new_name(example: Path):
    names = names_of(example)
    gone = names - names_of(ROOT / ".env.example")

    assert len(names) > 50
    assert gone <= set(RENAMED)


def test_new_names_are_settings_and_old_ones_are_not():
    names = names_of(ROOT / ".env.example")
    assert set(RENAMED.values()) <= names
    assert not set(RENAMED) & names
