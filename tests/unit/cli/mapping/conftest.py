"""Loads mappings that a test writes down as text."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from ocelot_cli.mapping import Mapping, load_mapping

Loader = Callable[..., Mapping]


@pytest.fixture
def load(tmp_path: Path) -> Loader:
    """Loads a mapping of the given `event:` block; further top-level keys as text."""

    def load_text(event: str, more: str = "", zone: str | None = None) -> Mapping:
        path = tmp_path / "mine.yaml"
        body = "event:\n" + "".join(
            f"  {line}\n" if line else "\n" for line in dedent(event).strip().splitlines()
        )
        path.write_text(f"name: mine\ndescription: A test.\n{dedent(more)}\n{body}", "utf-8")
        return load_mapping(str(path), zone=zone)

    return load_text
