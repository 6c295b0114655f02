"""An operator with its shipped rights, on a real API server, beside a running Ocelot."""

import asyncio
import base64
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import yaml

from ocelot_devstack.installation import Installation
from ocelot_devstack.kubernetes import ControlPlane
from ocelot_devstack.ports import free_port
from ocelot_devstack.services import ServiceProcess, ServiceSpec, inherited_env

Object = dict[str, Any]

FILES = Path(__file__).parents[3] / "charts/ocelot/files"
SYSTEM = "ocelot-system"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
TENANTS = "/apis/ocelot.dev/v1alpha1/namespaces/{namespace}/tenants"
SECRETS = "/api/v1/namespaces/{namespace}/secrets"
CLUSTER_ID = "test-cluster"


class Cluster:
    """The API server as an administrator of the cluster sees it."""

    def __init__(self, http: httpx.AsyncClient, until: Callable[..., Awaitable[Any]]) -> None:
        self.http = http
        self._until = until

    async def make(self, path: str, body: Object) -> Object:
        """Create an object."""
        answer = await self.http.post(path, json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def namespace(self) -> str:
        """Make a namespace of a random name."""
        name = f"team-{secrets.token_hex(4)}"
        await self.make("/api/v1/namespaces", {"metadata": {"name": name}})
        return name

    async def post_tenant(self, namespace: str, name: str, spec: Object) -> httpx.Response:
        """Ask for a Tenant, which the API server may refuse."""
        body = {
            "apiVersion": "ocelot.dev/v1alpha1",
            "kind": "Tenant",
            "metadata": {"name": name},
            "spec": spec,
        }
        return await self.http.post(TENANTS.format(namespace=namespace), json=body)

    async def create_tenant(self, namespace: str, name: str, **spec: Any) -> None:
        """Create a Tenant."""
        answer = await self.post_tenant(namespace, name, spec)
        assert answer.status_code == 201, answer.text

    async def tenant(self, namespace: str, name: str) -> Object:
        """Read a Tenant."""
        answer = await self.http.get(f"{TENANTS.format(namespace=namespace)}/{name}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def patch_tenant(self, namespace: str, name: str, spec: Object) -> httpx.Response:
        """Change a Tenant's spec by a merge patch."""
        return await self.http.patch(
            f"{TENANTS.format(namespace=namespace)}/{name}",
            json={"spec": spec},
            headers={"Content-Type": "application/merge-patch+json"},
        )

    async def delete_tenant(self, namespace: str, name: str) -> None:
        """Delete a Tenant, and wait until it is gone."""
        path = f"{TENANTS.format(namespace=namespace)}/{name}"
        answer = await self.http.delete(path)
        assert answer.status_code == 200, answer.text

        async def gone() -> bool:
            return (await self.http.get(path)).status_code == 404

        await self._until(gone, what=f"the end of the Tenant {name}")

    async def until_reason(self, namespace: str, name: str, reason: str) -> Object:
        """Wait until a Tenant's present spec has a reason; returns the status."""

        async def there() -> Object | None:
            found = await self.tenant(namespace, name)
            status = found.get("status", {})
            ready = condition(status)
            if status.get("observedGeneration") != found["metadata"]["generation"]:
                return None
            return dict(status) if ready.get("reason") == reason else None

        return dict(await self._until(there, what=f"{reason} of the Tenant {name}"))

    async def secret(self, namespace: str, name: str) -> Object | None:
        """Read a Secret; None if it does not exist."""
        answer = await self.http.get(f"{SECRETS.format(namespace=namespace)}/{name}")
        return None if answer.status_code == 404 else dict(answer.json())

    async def make_secret(self, namespace: str, name: str, **more: Any) -> Object:
        """Create a Secret."""
        body = {"metadata": {"name": name, **more.pop("metadata", {})}, **more}
        return await self.make(SECRETS.format(namespace=namespace), body)

    async def patch_secret(self, namespace: str, name: str, patch: Object) -> None:
        """Change a Secret by a merge patch."""
        answer = await self.http.patch(
            f"{SECRETS.format(namespace=namespace)}/{name}",
            json=patch,
            headers={"Content-Type": "application/merge-patch+json"},
        )
        assert answer.status_code == 200, answer.text

    async def delete_secret(self, namespace: str, name: str) -> None:
        """Delete a Secret."""
        answer = await self.http.delete(f"{SECRETS.format(namespace=namespace)}/{name}")
        assert answer.status_code == 200, answer.text

    async def until_secret(
        self, namespace: str, name: str, *, unlike: Object | None = None
    ) -> Object:
        """Wait for a Secret of another uid or version than one that was read before."""
        before = unlike["metadata"]["resourceVersion"] if unlike else None

        async def there() -> Object | None:
            found = await self.secret(namespace, name)
            if found is None or found["metadata"]["resourceVersion"] == before:
                return None
            return found

        return dict(await self._until(there, what=f"the Secret {name}"))

    async def until_no_secret(self, namespace: str, name: str) -> None:
        """Wait until a Secret does not exist."""

        async def gone() -> bool:
            return await self.secret(namespace, name) is None

        await self._until(gone, what=f"the end of the Secret {name}")


class Names:
    """Secrets of an installation of the test's own."""

    def __init__(self) -> None:
        suffix = secrets.token_hex(4)
        self.signing = f"signing-{suffix}"
        self.queue = f"queue-{suffix}"
        self.admin = f"admin-{suffix}"

    @property
    def env(self) -> dict[str, str]:
        return {
            "OCELOT_SIGNING_KEY_SECRET": self.signing,
            "OCELOT_QUEUE_KEYS_SECRET": self.queue,
            "OCELOT_ADMIN_TOKEN_SECRET": self.admin,
        }


def condition(status: Object) -> Object:
    """Return the condition Ready of a status, or an empty one."""
    found = (each for each in status.get("conditions", []) if each["type"] == "Ready")
    return next(found, {})


def texts(secret: Object) -> dict[str, str]:
    """Return a Secret's data as text."""
    return {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}


@pytest.fixture(scope="session")
def ready_condition() -> Callable[[Object], Object]:
    return condition


@pytest.fixture(scope="session")
def secret_texts() -> Callable[[Object], dict[str, str]]:
    return texts


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cluster(
    control_plane: ControlPlane, until: Callable[..., Awaitable[Any]]
) -> AsyncIterator[Cluster]:
    """The API server with the chart's CustomResourceDefinition and the operator's rights."""
    async with control_plane.http() as http:
        made = Cluster(http, until)
        definition = yaml.safe_load((FILES / "crd-tenants.yaml").read_text())
        await made.make("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        await made.make("/api/v1/namespaces", {"metadata": {"name": SYSTEM}})
        await made.make(
            f"/api/v1/namespaces/{SYSTEM}/serviceaccounts", {"metadata": {"name": "operator"}}
        )
        for path, kind, file in (
            (RBAC, "ClusterRole", "rbac-operator-rules.yaml"),
            (f"{RBAC}/namespaces/{SYSTEM}", "Role", "rbac-operator-namespace-rules.yaml"),
        ):
            rules = yaml.safe_load((FILES / file).read_text())
            metadata = {"name": "operator"}
            await made.make(f"{path}/{kind.lower()}s", {"metadata": metadata, "rules": rules})
            await made.make(
                f"{path}/{kind.lower()}bindings",
                {
                    "metadata": metadata,
                    "roleRef": {
                        "apiGroup": "rbac.authorization.k8s.io",
                        "kind": kind,
                        "name": "operator",
                    },
                    "subjects": [
                        {"kind": "ServiceAccount", "name": "operator", "namespace": SYSTEM}
                    ],
                },
            )

        async def served() -> bool:
            return (await http.get(TENANTS.format(namespace=SYSTEM))).status_code == 200

        await until(served, what="the kind Tenant")
        yield made


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def no_tenants_left(cluster: Cluster) -> AsyncIterator[None]:
    """No operator of a later test works on the Tenants of this one."""
    yield
    answer = await cluster.http.get("/apis/ocelot.dev/v1alpha1/tenants")
    for each in answer.json()["items"]:
        await cluster.delete_tenant(each["metadata"]["namespace"], each["metadata"]["name"])


OperatorMaker = Callable[..., Awaitable[ServiceProcess]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def make_operator(
    cluster: Cluster, control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[OperatorMaker]:
    """A function that makes an operator of an installation, not started yet."""
    kubeconfig = await control_plane.write_kubeconfig_of(SYSTEM, "operator")
    made: list[ServiceProcess] = []

    async def make(installation: Installation, *, api_url: str, **env: str) -> ServiceProcess:
        port = free_port()
        operator = ServiceProcess(
            ServiceSpec("operator", (sys.executable, "-m", "ocelot_operator")),
            label="operator",
            probes_port=port,
            port=None,
            env={
                **inherited_env(),
                **installation.service_env(probes_port=port),
                "KUBECONFIG": str(kubeconfig),
                "OCELOT_API_URL": api_url,
                "OCELOT_CLUSTER_ID": CLUSTER_ID,
                "OCELOT_INDEX_PREFIX": installation.index_prefix,
                "OCELOT_OPERATOR_INTERVAL_SEC": "1",
                "OCELOT_OPERATOR_NAMESPACE": SYSTEM,
                "OCELOT_RETENTION_DELAY_SEC": "3",
                **env,
            },
            log_path=tmp_path_factory.mktemp("operator") / "operator.log",
        )
        made.append(operator)
        return operator

    yield make
    for operator in made:
        await operator.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def operator(
    running: Any, cluster: Cluster, make_operator: OperatorMaker
) -> AsyncIterator[ServiceProcess]:
    """An operator of the session's installation, whose keys are in Secrets that exist."""
    installation = running.stack.installation
    for name, entry, path in (
        ("ocelot-signing-key", "signing-key.pem", installation.signing_key_file),
        ("ocelot-queue-keys", "queue-keys", installation.queue_keys_file),
    ):
        content = await asyncio.to_thread(path.read_text)
        await cluster.make_secret(SYSTEM, name, stringData={entry: content})
    made = await make_operator(installation, api_url=running.api.url)
    await made.start()
    await made.wait_ready(180)
    yield made


@pytest.fixture
def names() -> Names:
    return Names()


@pytest_asyncio.fixture(loop_scope="session")
async def start(
    make_operator: OperatorMaker, installation: Any, names: Names
) -> AsyncIterator[OperatorMaker]:
    """A function that starts an operator of the test's own installation, or of another.

    The end of the test stops it.
    """
    started: list[ServiceProcess] = []

    async def start_one(
        stack: Any = installation, *, names: Names = names, api_url: str = "http://api", **env: str
    ) -> ServiceProcess:
        operator = await make_operator(stack.installation, api_url=api_url, **names.env, **env)
        started.append(operator)
        await operator.start()
        return operator

    yield start_one
    for operator in started:
        await operator.stop()
