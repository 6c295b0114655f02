"""The strings that users see, collected from the code: each with the place where it stands."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import typer
import yaml
from prometheus_client import CollectorRegistry

from ocelot_api.app import openapi_document
from ocelot_api.http.metrics import EdgeMetrics
from ocelot_api.metrics import ApiMetrics
from ocelot_api.problem_codes import MEANINGS
from ocelot_api.settings import ApiSettings
from ocelot_cli.main import app
from ocelot_common.settings import ProvisioningSettings, SigningSettings
from ocelot_consumer.metrics import ConsumerMetrics
from ocelot_consumer.settings import ConsumerSettings
from ocelot_indexer.metrics import IndexerMetrics
from ocelot_indexer.settings import IndexerSettings
from ocelot_jobs.metrics import JobsMetrics
from ocelot_jobs.settings import JobsSettings
from ocelot_operator.metrics import OperatorMetrics
from ocelot_operator.settings import OperatorSettings

Strings = Iterator[tuple[str, str]]

_SERVICES: Final = Path(__file__).parents[3] / "services"
_CHART: Final = Path(__file__).parents[3] / "charts/ocelot"
_SETTINGS: Final = (
    ApiSettings,
    ConsumerSettings,
    IndexerSettings,
    JobsSettings,
    OperatorSettings,
    ProvisioningSettings,
    SigningSettings,
)
_METRICS: Final = (
    ApiMetrics,
    EdgeMetrics,
    ConsumerMetrics,
    IndexerMetrics,
    JobsMetrics,
    OperatorMetrics,
)
#: Functions and exceptions whose texts are printed by a command or sent to a client.
_TOLD: Final = frozenset(
    {"say", "note", "complain", "fail", "prompt", "confirm", "report", "_report"}
    | {"Problem", "bad_request", "unauthenticated", "forbidden", "unavailable", "_tree_fault"}
    | {"invalid_parameter", "EventError", "EventFault", "TokenError", "ProvisioningError"}
    | {"TenantNotFoundError", "HeldError", "OwnerError", "QueueKeyError", "QueueKeyNotFoundError"}
    | {"NotFoundError", "RefusedError", "UnavailableError", "UnusableFileError", "MappingError"}
    | {"UnusableLineError", "UnreadableError", "JobFailedError", "TryAgainError"}
    | {"DevstackError", "OpenSearchMissingError", "ForgedError", "MalformedError"}
    | {"NewerVersionError", "ExpiredError", "TimesError", "NotResignableError", "NoIndexError"}
    | {"SearchUnavailableError", "SendError", "SendFailedError", "HeadError", "ExpressionError"}
    | {"TextQueryError", "BusyError", "IndexGoneError", "_StartOverError", "_refuse"}
)
#: Of the parts whose exceptions become lines and details.
_RAISING: Final = ("api", "cli", "common", "consumer", "devstack", "indexer", "jobs")


def helps() -> Strings:
    """Help of the command, its groups, their commands, arguments and options."""
    yield from _helps(typer.main.get_command(app), "ocelot")


def _helps(command: Any, path: str) -> Strings:
    yield path, command.help or ""
    for parameter in command.params:
        yield f"{path} {parameter.opts[-1]}", getattr(parameter, "help", None) or ""
    if hasattr(command, "list_commands"):
        context = typer.Context(command)
        for name in command.list_commands(context):
            yield from _helps(command.get_command(context, name), f"{path} {name}")


def settings() -> Strings:
    """Descriptions of settings."""
    for kind in _SETTINGS:
        for field in kind.model_fields.values():
            yield str(field.alias), field.description or ""


def metrics() -> Strings:
    """Help of metrics."""
    for kind in _METRICS:
        registry = CollectorRegistry()
        kind(registry)
        for family in registry.collect():
            yield family.name, family.documentation


def problems() -> Strings:
    """Examples of details by code."""
    yield from MEANINGS.items()


def openapi() -> Strings:
    """Descriptions and summaries of the OpenAPI document."""
    yield from _described(openapi_document(), "")


def _described(part: Any, path: str) -> Strings:
    if isinstance(part, dict):
        for name, inner in part.items():
            if name in ("description", "summary") and isinstance(inner, str):
                yield f"{path}/{name}", inner
            elif name not in ("example", "examples"):
                yield from _described(inner, f"{path}/{name}")
    elif isinstance(part, list):
        for index, inner in enumerate(part):
            yield from _described(inner, f"{path}/{index}")


def chart() -> Strings:
    """Descriptions of the Tenant resource, comments on the chart's values, and Helm's notes."""
    definition = _CHART / "files/crd-tenants.yaml"
    yield from _described(yaml.safe_load(definition.read_text()), definition.name)
    for values in sorted(_CHART.glob("values*.yaml")):
        for comment in re.findall(r"(?:^ *# .*\n)+", values.read_text(), re.MULTILINE):
            yield values.name, " ".join(comment.replace("#", " ").split())
    notes = _CHART / "templates/NOTES.txt"
    yield from ((notes.name, line.strip()) for line in notes.read_text().splitlines())


def lines() -> Strings:
    """Lines that commands print, and details of problems, as they stand in the source."""
    for member in _RAISING:
        for path in sorted((_SERVICES / member).glob("src/**/*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and _name(node.func) in _TOLD:
                    place = f"{path.relative_to(_SERVICES)}:{node.lineno}"
                    for text in _texts([*node.args, *(each.value for each in node.keywords)]):
                        yield place, text


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _texts(nodes: Iterable[ast.expr]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
            yield "".join(map(str, parts))
