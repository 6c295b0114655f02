"""docs/mappings.md: its example does what it says, and it names every function and mapping."""

import json
import re
from pathlib import Path

from ocelot_cli.mapping import load_mapping, shipped_mappings
from ocelot_cli.mapping.functions import FUNCTIONS

TEXT = (Path(__file__).parents[4] / "docs/mappings.md").read_text("utf-8")


def test_the_example_gives_the_event_that_is_shown(tmp_path: Path) -> None:
    foreign, expected = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    path = tmp_path / "payroll.yaml"
    path.write_text(re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)[0], "utf-8")
    event = load_mapping(str(path)).apply(json.loads(foreign))
    assert event == json.loads(expected)
    assert list(event) == list(json.loads(expected))


def test_every_function_and_every_shipped_mapping_is_named() -> None:
    for name in FUNCTIONS:
        assert f"`{name}(" in TEXT, name
    for mapping in shipped_mappings():
        assert f"| `{mapping.name}` |" in TEXT
