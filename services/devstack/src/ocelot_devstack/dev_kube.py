"""make dev-kube: a control plane and the operator beside a running make dev."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Final

from ocelot_devstack.commands import run_command
from ocelot_devstack.console import say
from ocelot_devstack.dev_file import read_api_url, read_installation
from ocelot_devstack.errors import DevstackError
from ocelot_devstack.interrupts import interrupts
from ocelot_devstack.kubernetes import ControlPlane
from ocelot_devstack.ports import free_port
from ocelot_devstack.services import ServiceProcess, ServiceSpec, inherited_env
from ocelot_devstack.settings import DevSettings
from ocelot_devstack.state_lock import is_locked, state_lock

#: Of the checkout in which make runs.
_DEFINITION: Final = Path("charts/ocelot/files/crd-tenants.yaml")
_OPERATOR: Final = ServiceSpec("operator", (sys.executable, "-m", "ocelot_operator"))
_NAMESPACE: Final = "ocelot-system"
_READY_SEC: Final = 180.0


async def dev_kube(settings: DevSettings) -> None:
    """Run both until Ctrl-C or SIGTERM.

    Raises:
        DevstackError: no make dev runs, or one of both could not be started, or it runs already.
    """
    if not is_locked(settings.state_dir):
        raise DevstackError(f"`make dev` does not run on {settings.state_dir}. Start it first.")
    installation = read_installation(settings)
    api_url = read_api_url(settings)
    lock = state_lock(settings.state_dir / "kubernetes", "make dev-kube")
    with lock, interrupts() as received:
        async with ControlPlane(
            settings.state_dir, cache_dir=settings.cache_dir, report=say
        ) as plane:
            await _prepare(
                plane,
                {
                    "ocelot-signing-key": {"signing-key.pem": installation.signing_key_file},
                    "ocelot-queue-keys": {"queue-keys": installation.queue_keys_file},
                },
            )
            port = free_port()
            operator = ServiceProcess(
                _OPERATOR,
                label="operator",
                probes_port=port,
                port=None,
                env={
                    **inherited_env(),
                    **installation.service_env(probes_port=port),
                    "KUBECONFIG": str(plane.kubeconfig),
                    "OCELOT_API_URL": api_url,
                    "OCELOT_OPERATOR_INTERVAL_SEC": "5",
                    "OCELOT_OPERATOR_NAMESPACE": _NAMESPACE,
                },
                log_path=settings.make_log_dir() / "operator.log",
            )
            await operator.start()
            try:
                await operator.wait_ready(_READY_SEC)
                say(_text(plane))
                ended = asyncio.create_task(operator.wait())
                stopped = asyncio.create_task(received.first.wait())
                await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if not stopped.done():
                    raise DevstackError(operator.obituary())
                say("Stopping")
            finally:
                await operator.stop()


async def _prepare(plane: ControlPlane, secrets: dict[str, dict[str, Path]]) -> None:
    """Apply the definition of Tenants, and the keys that make dev has made."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}}
    objects: list[object] = [namespace]
    for name, files in secrets.items():
        content = {entry: await asyncio.to_thread(path.read_text) for entry, path in files.items()}
        objects.append(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": _NAMESPACE},
                "stringData": content,
            }
        )
    path = plane.kubeconfig.with_name("objects.json")
    path.touch(mode=0o600)
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    kubectl = [str(plane.kubectl), f"--kubeconfig={plane.kubeconfig}"]
    try:
        for file in (_DEFINITION, path):
            await run_command(
                [*kubectl, "apply", "--server-side", "--force-conflicts", "-f", str(file)],
                what=f"kubectl apply -f {file}",
                cwd=Path(),
            )
    finally:
        path.unlink()
    wait = ["wait", "--for=condition=Established", "crd/tenants.ocelot.dev", "--timeout=60s"]
    await run_command([*kubectl, *wait], what="kubectl wait", cwd=Path())


def _text(plane: ControlPlane) -> str:
    return "\n".join(
        (
            "Ready. Nothing runs in this cluster: it has no node. Ctrl-C stops it.",
            f"  export KUBECONFIG={plane.kubeconfig} PATH={plane.kubectl.parent}:$PATH",
            "  kubectl apply -f examples/tenant.yaml",
            "  kubectl wait --for=condition=Ready tenant/initech",
            "  kubectl get tenants,secrets",
            "  kubectl get secret initech-billing -o jsonpath='{.data.token}' | base64 -d",
        )
    )
