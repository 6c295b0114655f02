"""`examples/`: every line becomes a valid event, for every shipped mapping."""

from pathlib import Path

import msgspec
import pytest

from ocelot_cli.mapping import load_mapping
from ocelot_cli.mapping.catalog import shipped_mappings
from ocelot_common.event import accept_event
from ocelot_common.event_limits import EventLimits

EXAMPLES = Path(__file__).parents[4] / "examples"
NOW_MS = 1_795_000_000_000


def lines_of(mapping: str) -> list[bytes]:
    return (EXAMPLES / f"{mapping}.ndjson").read_bytes().splitlines()


def test_every_shipped_mapping_has_examples_and_the_readme_names_them():
    names = {path.stem for path in EXAMPLES.glob("*.ndjson")}
    readme = (EXAMPLES / "README.md").read_text()

    assert names == {mapping.name for mapping in shipped_mappings()}
    assert all(f"`{name}.ndjson`" in readme for name in names)


@pytest.mark.parametrize("mapping", [mapping.name for mapping in shipped_mappings()])
def test_twenty_to_fifty_events_are_mapped_and_valid(mapping: str):
    loaded = load_mapping(mapping)
    lines = lines_of(mapping)

    assert 20 <= len(lines) <= 50
    for line in lines:
        foreign = msgspec.json.decode(line)
        event = loaded.apply(foreign)
        accept_event(msgspec.json.encode(event), now_ms=NOW_MS, limits=EventLimits())
        assert event["metadata"] is foreign
