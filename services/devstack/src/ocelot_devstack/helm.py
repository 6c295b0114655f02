"""Finds Helm, or builds it from its Go module, for the tests of the chart."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ocelot_devstack.cache import install_once
from ocelot_devstack.commands import run_command
from ocelot_devstack.errors import DevstackError

#: The Go checksum database proves that the module is the published one.
VERSION: Final = "4.2.4"
_PACKAGE: Final = f"helm.sh/helm/v4/cmd/helm@v{VERSION}"


async def find_helm(cache_dir: Path, report: Callable[[str], None]) -> Path:
    """Return the `helm` on the path; otherwise build it, once for all checkouts.

    Args:
        cache_dir: for the program that is built.
        report: is told that the build begins.

    Raises:
        DevstackError: there is neither Helm nor a Go that can build it.
    """
    on_path = shutil.which("helm")
    if on_path is not None:
        return Path(on_path)
    go = shutil.which("go")
    if go is None:
        raise DevstackError(
            "Helm and Go are not on the path. Install Helm, or Go, which builds it."
        )

    async def build(into: Path) -> None:
        report(f"Helm: building {VERSION}, only once; it takes one to ten minutes")
        # The services that tests run meanwhile come first.
        await run_command(
            ["nice", "-n", "19", go, "install", "-trimpath", "-ldflags=-s -w", _PACKAGE],
            what="building Helm",
            cwd=into,
            env={"GOBIN": str(into), "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"},
        )

    return await install_once(cache_dir, f"helm-{VERSION}", build) / "helm"
