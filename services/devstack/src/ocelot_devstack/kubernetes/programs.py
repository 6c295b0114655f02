"""The control plane's programs: from KUBEBUILDER_ASSETS, or built once from their Go modules."""

import asyncio
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ocelot_devstack.cache import install_once
from ocelot_devstack.commands import run_command
from ocelot_devstack.console import Report
from ocelot_devstack.errors import DevstackError

KUBERNETES_VERSION: Final = "1.36.4"
ETCD_VERSION: Final = "3.6.14"

#: The convention of envtest: a folder with the programs.
ASSETS: Final = "KUBEBUILDER_ASSETS"

_PACKAGES: Final = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
}
_MODULE: Final = Path(__file__).with_name("module")
_NAME: Final = f"kubernetes-{KUBERNETES_VERSION}-etcd-{ETCD_VERSION}"


class KubernetesMissingError(DevstackError):
    """This machine cannot run a control plane."""


async def find_programs(cache_dir: Path, *, report: Report) -> Mapping[str, Path]:
    """Return the path of each program by its name; builds those that KUBEBUILDER_ASSETS lacks.

    Raises:
        KubernetesMissingError: they cannot be built.
    """
    assets = os.environ.get(ASSETS, "")
    given = {name: Path(assets) / name for name in _PACKAGES} if assets else {}
    given = {name: path for name, path in given.items() if path.is_file()}
    if given.keys() == _PACKAGES.keys():
        return given
    built = await install_once(cache_dir, _NAME, lambda into: _build(into, report=report))
    return {name: given.get(name, built / name) for name in _PACKAGES}


async def _build(into: Path, *, report: Report) -> None:
    """Build in a copy of the wrapper module, whose go.sum pins every source by its checksum.

    A wrapper is needed because Kubernetes' own `replace` directives forbid `go install`.
    """
    go = shutil.which("go")
    if go is None:
        raise KubernetesMissingError(f"Go 1.26 or later was not found. Set {ASSETS} instead.")
    report(
        f"Kubernetes: building {KUBERNETES_VERSION} and etcd {ETCD_VERSION} from Go modules, only"
        " once; this takes 6 minutes on two quiet cores"
    )
    module = into / "module"
    await asyncio.to_thread(shutil.copytree, _MODULE, module)
    version = "k8s.io/component-base/version"
    _, minor, _ = KUBERNETES_VERSION.split(".")
    flags = [
        "-s -w",
        f"-X {version}.gitVersion=v{KUBERNETES_VERSION}",
        f"-X {version}.gitMajor=1",
        f"-X {version}.gitMinor={minor}",
    ]
    env = {
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly",
        "GOWORK": "off",
    }
    for name, package in _PACKAGES.items():
        command = [go, "build", "-trimpath", "-ldflags", " ".join(flags)]
        try:
            await run_command(
                [*command, "-o", str(into / name), package],
                what=f"building {name}",
                cwd=module,
                env=env,
            )
        except DevstackError as error:
            raise KubernetesMissingError(str(error)) from None
    await asyncio.to_thread(shutil.rmtree, module)
