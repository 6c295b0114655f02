"""A release of the chart on the cluster of the current context, one for the session."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2ekit.api import Api
from e2ekit.kubectl import Kubectl
from e2ekit.release import NAME, Release
from e2ekit.stores import Stores
from e2ekit.target import Target
from e2ekit.tenants import Account, account_of, apply_tenant, is_ready
from e2ekit.waiting import until


@pytest.fixture(scope="session")
def target() -> Target:
    try:
        return Target.from_env()
    except ValueError as error:
        pytest.exit(str(error), returncode=4)


@pytest.fixture(scope="session")
def kubectl(target: Target) -> Iterator[Kubectl]:
    """kubectl in a new namespace that enforces the profile `restricted`."""
    made = Kubectl(target.namespace)
    if made.get("namespace", target.namespace) is not None:
        pytest.exit(f"The namespace {target.namespace} exists. Delete it first.", returncode=4)
    made.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": target.namespace,
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "ocelot-aws", "namespace": target.namespace},
            "stringData": {
                name: os.environ.get(name, "test")
                for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
            },
        },
    )
    yield made
    made.run("delete", "crd", "tenants.ocelot.dev", "--ignore-not-found")
    made.delete_namespace()


@pytest.fixture(scope="session")
def release(
    target: Target,
    kubectl: Kubectl,
    helm_program: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Release]:
    """The chart, installed from an empty database and not waited for."""
    suffix = f"e2e{secrets.token_hex(4)}"
    folder = tmp_path_factory.mktemp("release")
    made = Release(helm_program, kubectl, target, suffix=suffix, folder=folder)
    try:
        made.install()
        yield made
    finally:
        _keep_logs(kubectl, folder)
        made.uninstall()
        Stores(target, made.database).drop()


@pytest.fixture
def ready(release: Release) -> Release:
    """The release with all pods ready."""
    release.wait_ready()
    return release


@pytest.fixture(scope="session")
def stores(target: Target, release: Release) -> Stores:
    return Stores(target, release.database)


@pytest.fixture
def api(kubectl: Kubectl) -> Iterator[Api]:
    """The api through its Service."""
    made = Api(kubectl, f"{NAME}-api")
    yield made
    made.close()


@pytest.fixture
def account(ready: Release, kubectl: Kubectl) -> Account:
    """A new tenant."""
    del ready
    name = f"t-{secrets.token_hex(4)}"
    apply_tenant(kubectl, name)
    until(lambda: is_ready(kubectl, name), what=f"Ready of {name}", timeout_sec=120)
    return account_of(kubectl, name)


def _keep_logs(kubectl: Kubectl, folder: Path) -> None:
    """Write the present state, and the logs of all pods, to a file."""
    path = folder / "cluster.txt"
    with path.open("w") as file:
        for command in (
            ["get", "all,tenants,scaledobjects,events", "--output=wide"],
            ["describe", "pods"],
            ["logs", f"--selector=app.kubernetes.io/instance={NAME}", "--prefix", "--tail=2000"],
        ):
            file.write(f"--- kubectl {' '.join(command)}\n")
            try:
                file.write(kubectl.run(*command, check=False))
            except subprocess.TimeoutExpired:
                file.write("no answer\n")
    print(f"\nstate and logs: {path}")
