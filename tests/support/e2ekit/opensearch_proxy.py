"""OpenSearch behind a pod that can be stopped, on whatever machine OpenSearch itself runs."""

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from e2ekit.kubectl import Kubectl
from e2ekit.waiting import until

_NAME: Final = "opensearch-proxy"
_PORT: Final = 9200
_LABELS: Final = {"app": _NAME}
_PROGRAM: Final = Path(__file__).with_name("forward_tcp.py")


class OpenSearchProxy:
    """A TCP proxy in the cluster, without which the release cannot reach OpenSearch.

    Args:
        kubectl: in the namespace of the release.
        opensearch_url: reached from the pods, `http` only: the proxy has no certificate.
        image: any with Python.

    Attributes:
        url: for pods of the namespace.
    """

    url = f"http://{_NAME}:{_PORT}"

    def __init__(self, kubectl: Kubectl, opensearch_url: str, image: str) -> None:
        self._kubectl = kubectl
        self._upstream = urlsplit(opensearch_url)
        self._image = image
        assert self._upstream.scheme == "http", "OCELOT_E2E_OPENSEARCH_URL is not http"

    def create(self) -> None:
        """Make the proxy, and wait until it forwards."""
        host, port = str(self._upstream.hostname), str(self._upstream.port or 80)
        container = {
            "name": "proxy",
            "image": self._image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["python", "-c", _PROGRAM.read_text(), str(_PORT), host, port],
            "readinessProbe": {"tcpSocket": {"port": _PORT}, "periodSeconds": 1},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            },
        }
        pod = {
            "containers": [container],
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }
        metadata = {"name": _NAME, "namespace": self._kubectl.namespace}
        self._kubectl.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": metadata,
                "spec": {
                    "selector": {"matchLabels": _LABELS},
                    "template": {"metadata": {"labels": _LABELS}, "spec": pod},
                },
            },
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata,
                "spec": {"selector": _LABELS, "ports": [{"port": _PORT}]},
            },
        )
        self._wait_ready()

    def stop(self) -> None:
        """Cut all connections, and let new ones be refused."""
        self._kubectl.run("scale", "deployment", _NAME, "--replicas=0")
        until(
            lambda: not self._kubectl.list("pods", f"app={_NAME}"),
            what="the end of the proxy",
        )

    def start(self) -> None:
        """Forward again."""
        self._kubectl.run("scale", "deployment", _NAME, "--replicas=1")
        self._wait_ready()

    def delete(self) -> None:
        """Remove the proxy."""
        self._kubectl.run("delete", "deployment,service", _NAME, "--ignore-not-found")

    def _wait_ready(self) -> None:
        def ready() -> bool:
            found = self._kubectl.get("deployment", _NAME)
            return found is not None and found["status"].get("readyReplicas") == 1

        until(ready, what="the proxy of OpenSearch")
