"""Stop the operator, then take Ocelot's finalizer off every Tenant.

`helm uninstall` runs this before it deletes anything. The operator of this version sets no
finalizer. If one of another version set it, nobody would remove it after the uninstallation, and
neither the Tenant nor its namespace could be deleted. Nothing else of a Tenant changes, so that a
later installation takes it over.

Standard library only: it runs in any image that has Python.

Environment:
    API_URL: of the Kubernetes API.
    POD_NAMESPACE, DEPLOYMENT: of the operator.
    SELECTOR: labels of the operator's pods.
    CREDENTIALS: folder with `token` and `ca.crt`.
    WAIT_SEC: seconds until the operator's pods must have ended.
"""

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

GROUP = "ocelot.dev"
TENANTS = f"/apis/{GROUP}/v1alpha1/tenants"
PAGE = 10  # a Tenant may have 1.5 MiB
NOT_FOUND = 404
CONFLICT = 409
TIMEOUT_SEC = 30
POLL_SEC = 1.0


class Kubernetes:
    """Requests to the API server as this pod's ServiceAccount."""

    def __init__(self, url: str, credentials: Path) -> None:
        self._url = url
        self._token = (credentials / "token").read_text().strip()
        authority = credentials / "ca.crt"
        self._tls = ssl.create_default_context(cafile=authority) if authority.exists() else None

    def get(self, path: str, **query: Any) -> Any:
        """Return an object or a list."""
        return self._send("GET", f"{path}?{urllib.parse.urlencode(query)}")

    def patch(self, path: str, body: dict[str, Any]) -> Any:
        """Merge `body` into an object (RFC 7386)."""
        return self._send("PATCH", path, body)

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the API server's URL
            self._url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/merge-patch+json",
            },
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_SEC, context=self._tls) as answer:  # noqa: S310
            return json.load(answer)


def stop_operator(
    kubernetes: Kubernetes, namespace: str, deployment: str, selector: str, wait_sec: float
) -> None:
    """Scale the operator to 0 and wait until its pods have ended, so that none adds a finalizer.

    Raises:
        TimeoutError: a pod is still there.
    """
    scale = f"/apis/apps/v1/namespaces/{namespace}/deployments/{deployment}/scale"
    try:
        kubernetes.patch(scale, {"spec": {"replicas": 0}})
    except urllib.error.HTTPError as error:
        if error.code != NOT_FOUND:
            raise
    deadline = time.monotonic() + wait_sec
    pods = f"/api/v1/namespaces/{namespace}/pods"
    # A pod that was evicted stays until its Deployment is deleted, after this program.
    running = "status.phase!=Failed,status.phase!=Succeeded"
    while kubernetes.get(pods, labelSelector=selector, fieldSelector=running)["items"]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"The operator has not ended within {wait_sec:.0f} s.")
        time.sleep(POLL_SEC)


def release_tenants(kubernetes: Kubernetes) -> int:
    """Take the finalizer off all Tenants of the cluster; return how many had it."""
    released = 0
    position = ""
    while True:
        try:
            page = kubernetes.get(TENANTS, limit=PAGE, **{"continue": position})
        except urllib.error.HTTPError as error:
            if error.code == NOT_FOUND:  # there is no CRD
                return released
            raise
        released += sum(release(kubernetes, tenant) for tenant in page["items"])
        position = page["metadata"].get("continue") or ""
        if not position:
            return released


def release(kubernetes: Kubernetes, tenant: dict[str, Any]) -> bool:
    """Take the finalizer off a Tenant, unless it has none; return whether it had."""
    metadata = tenant["metadata"]
    path = f"/apis/{GROUP}/v1alpha1/namespaces/{metadata['namespace']}/tenants/{metadata['name']}"
    while True:
        before = metadata.get("finalizers") or []
        after = [name for name in before if not name.startswith(f"{GROUP}/")]
        if after == before:
            return False
        # With the version, a change in between is a conflict and not overwritten.
        body = {"resourceVersion": metadata["resourceVersion"], "finalizers": after}
        try:
            kubernetes.patch(path, {"metadata": body})
        except urllib.error.HTTPError as error:
            if error.code == NOT_FOUND:
                return True
            if error.code != CONFLICT:
                raise
            try:
                metadata = kubernetes.get(path)["metadata"]
            except urllib.error.HTTPError as gone:
                if gone.code == NOT_FOUND:
                    return True
                raise
        else:
            return True


def main() -> None:
    """Stop the operator and release the Tenants."""
    environ = os.environ
    kubernetes = Kubernetes(environ["API_URL"], Path(environ["CREDENTIALS"]))
    stop_operator(
        kubernetes,
        environ["POD_NAMESPACE"],
        environ["DEPLOYMENT"],
        environ["SELECTOR"],
        float(environ["WAIT_SEC"]),
    )
    released = release_tenants(kubernetes)
    sys.stdout.write(f"Took the finalizer off {released} Tenants.\n")


if __name__ == "__main__":
    main()
