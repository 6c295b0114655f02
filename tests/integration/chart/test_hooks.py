"""The programs that Helm's hooks run."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest

from ocelot_common.ids import format_id

FILES: Final = Path(__file__).parents[3] / "charts" / "ocelot" / "files"
FINALIZER: Final = "ocelot.dev/tenant"
OTHER: Final = "example.com/other"


def run(
    program: str, env: dict[str, str], *, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program as the pod does: its text as an argument, and nothing else of this project."""
    text = (FILES / program).read_text()
    return subprocess.run(
        [sys.executable, "-I", "-c", text],
        env={"PATH": os.defpath, **env},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


class Cluster(ThreadingHTTPServer):
    """As much of the Kubernetes API as the hook needs, with conflicts.

    Attributes:
        tenants: metadata of each Tenant by name, or None if there is no CRD.
        pods: number of looks at the operator's pods for which one is still there.
        conflicts: number of patches that another change precedes.
        log: method and path of each request.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.tenants: dict[str, dict[str, Any]] | None = {}
        self.operator: dict[str, Any] | None = {"replicas": 1}
        self.pods = 2
        self.conflicts = 0
        self.page = 500
        self.log: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, name: str, finalizers: list[str]) -> None:
        assert self.tenants is not None
        metadata = {"namespace": "shop", "name": name, "resourceVersion": "1", "labels": {"a": "b"}}
        self.tenants[name] = metadata | ({"finalizers": finalizers} if finalizers else {})

    def finalizers(self) -> dict[str, list[str]]:
        assert self.tenants is not None
        return {name: tenant.get("finalizers", []) for name, tenant in self.tenants.items()}


class Handler(BaseHTTPRequestHandler):
    server: Cluster

    def log_message(self, *_: Any) -> None:
        pass

    def reply(self, status: int, body: Any) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        cluster = self.server
        cluster.log.append(f"GET {url.path}")
        if self.headers["Authorization"] != "Bearer the-token":
            self.reply(401, {})
        elif url.path == "/api/v1/namespaces/audit/pods":
            assert query["labelSelector"] == ["app.kubernetes.io/component=operator"]
            # An evicted pod stays after its Deployment is scaled to 0.
            assert query["fieldSelector"] == ["status.phase!=Failed,status.phase!=Succeeded"]
            cluster.pods -= 1
            self.reply(200, {"items": [{}] if cluster.pods >= 0 else [], "metadata": {}})
        elif cluster.tenants is None:
            self.reply(404, {})
        elif url.path == "/apis/ocelot.dev/v1alpha1/tenants":
            start = int(query.get("continue", ["0"])[0])
            names = list(cluster.tenants)[start : start + cluster.page]
            more = str(start + cluster.page) if start + cluster.page < len(cluster.tenants) else ""
            items = [{"metadata": cluster.tenants[name]} for name in names]
            self.reply(200, {"items": items, "metadata": {"continue": more}})
        elif (name := url.path.rpartition("/")[2]) in cluster.tenants:
            self.reply(200, {"metadata": cluster.tenants[name]})
        else:
            self.reply(404, {})

    def do_PATCH(self) -> None:
        cluster = self.server
        cluster.log.append(f"PATCH {self.path}")
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["Content-Type"] == "application/merge-patch+json"
        if self.path.endswith("/deployments/shop-operator/scale"):
            if cluster.operator is not None:
                cluster.operator.update(body["spec"])
            self.reply(404 if cluster.operator is None else 200, {})
            return
        assert cluster.tenants is not None
        tenant = cluster.tenants[self.path.rpartition("/")[2]]
        if cluster.conflicts:
            cluster.conflicts -= 1
            # Somebody else was faster, and added a finalizer.
            tenant["resourceVersion"] += "1"
            tenant["finalizers"] = [*tenant["finalizers"], OTHER]
        if body["metadata"].pop("resourceVersion") != tenant["resourceVersion"]:
            self.reply(409, {})
            return
        assert body.keys() == {"metadata"}
        tenant.update(body["metadata"])
        tenant["resourceVersion"] += "1"
        self.reply(200, {"metadata": tenant})


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    server = Cluster()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def environment(cluster: Cluster, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "token").write_text("the-token\n")
    return {
        "API_URL": cluster.url,
        "CREDENTIALS": str(tmp_path),
        "POD_NAMESPACE": "audit",
        "DEPLOYMENT": "shop-operator",
        "SELECTOR": "app.kubernetes.io/component=operator",
        "WAIT_SEC": "60",
    }


def test_the_operator_is_stopped_before_its_finalizer_is_taken_off(
    cluster: Cluster, environment: dict[str, str]
):
    cluster.add("acme", [FINALIZER])
    cluster.add("globex", [OTHER, FINALIZER])
    cluster.add("initech", [OTHER])
    cluster.add("umbrella", [])

    ran = run("release_tenants.py", environment)

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "Took the finalizer off 2 Tenants.\n"
    assert cluster.operator == {"replicas": 0}
    assert cluster.finalizers() == {
        "acme": [], "globex": [OTHER], "initech": [OTHER], "umbrella": []
    }  # fmt: skip
    assert cluster.tenants is not None
    assert {tenant["labels"]["a"] for tenant in cluster.tenants.values()} == {"b"}
    looked = [line for line in cluster.log if line == "GET /api/v1/namespaces/audit/pods"]
    assert len(looked) == 3
    assert cluster.log.index("GET /apis/ocelot.dev/v1alpha1/tenants") > cluster.log.index(looked[0])
    # Those without it are not even touched.
    assert not [line for line in cluster.log if "PATCH" in line and "initech" in line]


def test_a_change_in_between_is_not_overwritten(cluster: Cluster, environment: dict[str, str]):
    cluster.add("acme", [FINALIZER])
    cluster.conflicts = 2

    ran = run("release_tenants.py", environment)

    assert ran.returncode == 0, ran.stderr
    assert cluster.finalizers() == {"acme": [OTHER, OTHER]}


def test_all_pages_of_tenants_are_read(cluster: Cluster, environment: dict[str, str]):
    cluster.page = 2
    for number in range(5):
        cluster.add(f"t{number}", [FINALIZER])

    ran = run("release_tenants.py", environment)

    assert ran.stdout == "Took the finalizer off 5 Tenants.\n", ran.stderr
    assert set(map(tuple, cluster.finalizers().values())) == {()}


def test_an_operator_that_does_not_end_fails_the_hook(
    cluster: Cluster, environment: dict[str, str]
):
    cluster.add("acme", [FINALIZER])
    cluster.pods = 1_000

    ran = run("release_tenants.py", environment | {"WAIT_SEC": "1"})

    assert ran.returncode == 1
    assert "The operator has not ended within 1 s." in ran.stderr
    assert cluster.finalizers() == {"acme": [FINALIZER]}


def test_without_operator_and_crd_there_is_nothing_to_do(
    cluster: Cluster, environment: dict[str, str]
):
    cluster.tenants = None
    cluster.operator = None
    cluster.pods = 0

    ran = run("release_tenants.py", environment)

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "Took the finalizer off 0 Tenants.\n"


def test_a_refused_request_fails_the_hook(
    cluster: Cluster, environment: dict[str, str], tmp_path: Path
):
    (tmp_path / "token").write_text("another")

    ran = run("release_tenants.py", environment)

    assert ran.returncode == 1
    assert "HTTP Error 401" in ran.stderr


@pytest.mark.mongodb
@pytest.mark.sqs
@pytest.mark.opensearch
async def test_the_test_of_a_release_writes_an_event_and_finds_it(running: Any):
    access = await running.tenant()
    env = {
        "API_URL": running.api.url,
        "TENANT": access.tenant.id,
        "TOKEN": access.admin["Authorization"].removeprefix("Bearer "),
        "SEARCH_BACKEND": "opensearch",
        "WAIT_SEC": "180",
    }

    ran = run("helm_test.py", env)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "found it by a search on opensearch" in ran.stdout
    (event,) = await running.stored(access.tenant)
    assert f"wrote the event {format_id(event.id)}" in ran.stdout


@pytest.mark.mongodb
@pytest.mark.sqs
async def test_the_test_of_a_release_fails_with_what_the_api_said(running: Any):
    access = await running.tenant()
    env = {
        "API_URL": running.api.url,
        "TENANT": access.tenant.id,
        "TOKEN": access.reader["Authorization"].removeprefix("Bearer "),
        "SEARCH_BACKEND": "opensearch",
        "WAIT_SEC": "1",
    }

    ran = run("helm_test.py", env)

    assert ran.returncode == 1
    assert "403" in ran.stderr
    assert "logs:write" in ran.stderr


@pytest.mark.helm
@pytest.mark.timeout(3600)  # Helm may have to be built
def test_the_hooks_run_the_programs_as_they_are_written(defaults: Any):
    (hook,) = defaults.one("Job", "pre-delete")["spec"]["template"]["spec"]["containers"]
    (test,) = defaults.one("Pod", "test")["spec"]["containers"]
    env = {entry["name"]: entry.get("value") for entry in hook["env"]}

    for container, program in ((hook, "release_tenants.py"), (test, "helm_test.py")):
        (text,) = container["args"]
        assert text.strip() == (FILES / program).read_text().strip()
        assert "$(" not in text, "Kubernetes would replace it"
    assert env["DEPLOYMENT"] == "shop-operator"
    operator = defaults.one("Deployment", "operator")
    labels = operator["spec"]["selector"]["matchLabels"]
    assert dict(each.split("=") for each in env["SELECTOR"].split(",")) == labels
    grace = operator["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert float(env["WAIT_SEC"]) > grace
    deadline = defaults.one("Job", "pre-delete")["spec"]["activeDeadlineSeconds"]
    assert deadline > float(env["WAIT_SEC"])


@pytest.mark.helm
@pytest.mark.timeout(3600)
def test_the_test_waits_for_the_secret_of_its_tenant(defaults: Any, helm: Any):
    def secrets_of(rendered: Any) -> set[str]:
        (container,) = rendered.one("Pod", "test")["spec"]["containers"]
        references = [entry.get("valueFrom", {}) for entry in container["env"]]
        return {each["secretKeyRef"]["name"] for each in references if each}

    tenant = defaults.one("Tenant", "test")
    own = helm.render("--set", "test.existingSecret=own")

    (client,) = tenant["spec"]["auth"]["clients"]
    assert {client["secretName"]} == secrets_of(defaults)
    assert set(client["scopes"]) == {"logs:write", "logs:read"}
    assert tenant["spec"]["deletionPolicy"] == "Retain"
    assert secrets_of(own) == {"own"}
    assert not own.of("Tenant")
