"""Writes `.env.example` from the settings classes: every variable, what it means, its default."""

from pathlib import Path
from typing import Any, Final

from pydantic.fields import FieldInfo

from ocelot_api.settings import ApiSettings
from ocelot_common.settings import ProvisioningSettings, Settings, SigningSettings
from ocelot_consumer.settings import ConsumerSettings
from ocelot_indexer.settings import IndexerSettings
from ocelot_jobs.settings import JobsSettings
from ocelot_operator.settings import OperatorSettings

TARGET: Final = Path(__file__).resolve().parent.parent / ".env.example"
PROCESSES: Final[dict[str, type[Settings]]] = {
    "api": ApiSettings,
    "consumer": ConsumerSettings,
    "indexer": IndexerSettings,
    "jobs": JobsSettings,
    "operator": OperatorSettings,
    "cli": ProvisioningSettings,
    "cli, tokens create": SigningSettings,
}
_HEADER: Final = """\
# All settings of Ocelot's processes. Made from the settings classes by `make env-example`.
# A variable that is commented out is optional and shows its default.
"""


def render() -> str:
    """The file's content."""
    fields: dict[str, FieldInfo] = {}
    readers: dict[str, list[str]] = {}
    for process, kind in PROCESSES.items():
        for field in kind.model_fields.values():
            name = field.alias or ""
            fields.setdefault(name, field)
            readers.setdefault(name, []).append(process)
    blocks = [_HEADER]
    for name, field in sorted(fields.items(), key=lambda item: _order(item[0])):
        blocks.append(f"# {field.description} ({', '.join(readers[name])})\n{_line(name, field)}\n")
    return "\n".join(blocks)


def _order(name: str) -> tuple[bool, str]:
    return name.startswith("OCELOT_"), name


def _line(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return f"{name}="
    return f"# {name}={_text(field.default)}"


def _text(default: Any) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return "" if default is None else str(default)


if __name__ == "__main__":
    TARGET.write_text(render())
