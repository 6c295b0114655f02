"""Finds mappings: those that Ocelot brings, and the user's own files."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ocelot_cli.mapping.errors import MappingError
from ocelot_cli.mapping.mapping import Mapping
from ocelot_cli.mapping.times import parse_zone
from ocelot_cli.mapping.yaml_source import MappingSource

_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, kw_only=True)
class ShippedMapping:
    """One mapping that Ocelot brings.

    Attributes:
        name: for `load_mapping`.
        description: one sentence.
        text: its YAML, to begin one's own with.
    """

    name: str
    description: str
    text: str


def shipped_mappings() -> list[ShippedMapping]:
    """All shipped mappings by name."""
    mappings = []
    for file in resources.files(__package__).joinpath("definitions").iterdir():
        if file.name.endswith(_SUFFIXES):
            text = file.read_text(encoding="utf-8")
            spec = MappingSource(file.name, text).spec
            mappings.append(ShippedMapping(name=spec.name, description=spec.description, text=text))
    return sorted(mappings, key=lambda mapping: mapping.name)


def load_mapping(name_or_path: str, *, zone: str | None = None) -> Mapping:
    """A shipped mapping by its name, or the mapping in a file.

    Args:
        name_or_path: a shipped name such as `cloudtrail`; whatever holds a slash or ends with
            .yaml or .yml is a file.
        zone: the zone of times that have none (`Europe/Berlin`, `UTC`, `+02:00`), instead of the
            one that the mapping names.

    Raises:
        MappingError: there is no such mapping, or it is faulty.
    """
    if zone is not None:
        try:
            parse_zone(zone)
        except ValueError as error:
            raise MappingError(name_or_path, "", str(error)) from None
    if "/" in name_or_path or name_or_path.endswith(_SUFFIXES):
        return Mapping(MappingSource(name_or_path, _read(name_or_path)), zone)
    resource = resources.files(__package__).joinpath("definitions", f"{name_or_path}.yaml")
    if not resource.is_file():
        known = ", ".join(mapping.name for mapping in shipped_mappings())
        raise MappingError(
            name_or_path,
            "",
            f"No shipped mapping has this name. The shipped mappings are {known}. "
            "The name of a mapping file must end with .yaml.",
        )
    text = resource.read_text(encoding="utf-8")
    return Mapping(MappingSource(f"{name_or_path}.yaml", text), zone)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise MappingError(path, "", f"The file cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise MappingError(path, "", "The file is not valid UTF-8.") from None
