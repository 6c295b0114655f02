"""The chart as a Helm release in the tests' namespace."""

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from e2ekit.kubectl import Kubectl, Object
from e2ekit.target import Target
from e2ekit.waiting import until

CHART: Final = Path(__file__).parents[3] / "charts" / "ocelot"
NAME: Final = "ocelot"
_READY_SEC: Final = 600
_HELM_SEC: Final = 600


class Release:
    """A release of the chart.

    Args:
        helm: the program.
        kubectl: in the namespace.
        target: images and backends.
        suffix: of database and index names: every session has its own.
        folder: for the file of values.

    Attributes:
        namespace: in which it is installed.
        database: of the registry and the events.
    """

    def __init__(
        self, helm: str, kubectl: Kubectl, target: Target, *, suffix: str, folder: Path
    ) -> None:
        self._helm = helm
        self._kubectl = kubectl
        self._folder = folder
        self.namespace = kubectl.namespace
        self.database = f"ocelot_{suffix}"
        self._base: Object = {
            "image": {"prefix": target.image, "tag": target.tag},
            "mongodb": {"url": target.mongodb_url, "database": self.database},
            "opensearch": {"url": target.opensearch_url, "indexPrefix": f"{suffix}_"},
            "sqs": {"endpointUrl": target.sqs_endpoint_url},
            "operator": {
                "env": {
                    "OCELOT_OPERATOR_INTERVAL_SEC": "10",
                    "OCELOT_RETENTION_DELAY_SEC": "2",
                }
            },
            "keda": {
                "consumer": {"pollingIntervalSec": 5, "cooldownSec": 10},
                "indexer": {"pollingIntervalSec": 5, "cooldownSec": 10},
            },
        }

    def install(self, values: Mapping[str, Any] | None = None) -> None:
        """Install the chart with the tests' values and these."""
        self._run("install", NAME, str(CHART), *self._values(values or {}))

    def upgrade(self, values: Mapping[str, Any] | None = None) -> None:
        """Upgrade to the tests' values and these; wait until all pods of the new form are ready."""
        self._run("upgrade", NAME, str(CHART), *self._values(values or {}))
        self.wait_ready()

    def rollback(self) -> None:
        """Roll back to the release before."""
        self._run("rollback", NAME)
        self.wait_ready()

    def uninstall(self) -> None:
        """Uninstall, and wait until no pod of the release is left."""
        self._run("uninstall", NAME)
        until(lambda: not self.pods(), what="the end of all pods", timeout_sec=_READY_SEC)

    def pods(self, component: str = "") -> list[Object]:
        """Return the pods of the release, or of one component."""
        selector = f"app.kubernetes.io/instance={NAME}"
        if component:
            selector += f",app.kubernetes.io/component={component}"
        return self._kubectl.list("pods", selector)

    def deployment(self, component: str) -> Object:
        """Return a component's Deployment."""
        found = self._kubectl.get("deployment", f"{NAME}-{component}")
        assert found is not None, f"there is no Deployment of {component}"
        return found

    def replicas(self, component: str) -> int:
        """Return how many replicas a component is asked to have."""
        return int(self.deployment(component)["spec"]["replicas"])

    def ready_replicas(self, component: str) -> int:
        """Return how many replicas of a component are ready."""
        return int(self.deployment(component)["status"].get("readyReplicas", 0))

    def wait_ready(self) -> None:
        """Wait until every Deployment has rolled out: all pods are new and ready."""
        deadline = time.monotonic() + _READY_SEC
        for deployment in self._kubectl.list("deployments", f"app.kubernetes.io/instance={NAME}"):
            name = deployment["metadata"]["name"]
            left = deadline - time.monotonic()
            until(lambda name=name: self._rolled_out(name), what=name, timeout_sec=left)

    def _rolled_out(self, name: str) -> bool:
        found = self._kubectl.get("deployment", name)
        if found is None:
            return False
        status = found["status"]
        wanted = found["spec"]["replicas"]
        return (
            status.get("observedGeneration", 0) >= found["metadata"]["generation"]
            and status.get("updatedReplicas", 0) == wanted
            and status.get("replicas", 0) == wanted
            and status.get("readyReplicas", 0) == wanted
        )

    def _values(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        base, own = self._folder / "base.yaml", self._folder / "own.yaml"
        base.write_text(yaml.safe_dump(self._base))
        own.write_text(yaml.safe_dump(dict(values)))
        return "--values", str(base), "--values", str(own)

    def _run(self, *arguments: str) -> str:
        ran = subprocess.run(
            [self._helm, "--namespace", self.namespace, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=_HELM_SEC,
        )
        assert ran.returncode == 0, f"helm {arguments[0]}: {ran.stdout}{ran.stderr}"
        return ran.stdout
