"""Mappings: declarative YAML that turns events of other systems into Ocelot events."""

from ocelot_cli.mapping.catalog import ShippedMapping, load_mapping, shipped_mappings
from ocelot_cli.mapping.errors import MappingError, UnmappableEvent
from ocelot_cli.mapping.mapping import Mapping

__all__ = [
    "Mapping",
    "MappingError",
    "ShippedMapping",
    "UnmappableEvent",
    "load_mapping",
    "shipped_mappings",
]
