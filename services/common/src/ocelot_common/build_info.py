"""The build information of a process, for `/version` and the metric `ocelot_build_info`."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Info


class BuildInfo(NamedTuple):
    """What a process says about its own build.

    Attributes:
        service: `api`, `consumer`, `indexer` or `jobs`.
        version: of the distribution `ocelot-audit-<service>`; `unknown` if it is not installed.
        python: version of the interpreter, such as `3.11.2`.
    """

    service: str
    version: str
    python: str


def build_info(service: str) -> BuildInfo:
    """Read the build information of a service from its installed distribution."""
    try:
        installed = version(f"ocelot-audit-{service}")
    except PackageNotFoundError:  # run from a source tree
        installed = "unknown"
    return BuildInfo(service, installed, platform.python_version())


def export_build_info(build: BuildInfo, registry: CollectorRegistry) -> None:
    """Export the metric `ocelot_build_info`: the value is 1 and the labels hold the information."""
    info = Info(
        "ocelot_build",
        "Service, version and Python version of this process; the value is always 1",
        registry=registry,
    )
    info.info(build._asdict())
