"""All parts of a release have one version: that of the newest section of the changelog."""

import re
import tomllib
from pathlib import Path

import pytest

from ocelot_api.app import openapi_document

ROOT = Path(__file__).parents[2]
PROJECTS = [
    ROOT / "pyproject.toml",
    ROOT / "operator/pyproject.toml",
    *sorted(ROOT.glob("services/*/pyproject.toml")),
]


def newest_version() -> str:
    found = re.search(r"^## (\d+\.\d+\.\d+)\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert found
    return found[1]


@pytest.mark.parametrize("path", PROJECTS, ids=[str(path.relative_to(ROOT)) for path in PROJECTS])
def test_a_distribution_has_the_version_of_the_newest_section_of_the_changelog(path: Path):
    assert tomllib.loads(path.read_text())["project"]["version"] == newest_version()


def test_the_openapi_document_has_the_version_of_the_newest_section_of_the_changelog():
    assert openapi_document()["info"]["version"] == newest_version()
