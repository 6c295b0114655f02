"""Rules that hold for every object of the chart, whatever values are given."""

import json
import os
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import kubernetes_validate
import pytest
from pydantic import ValidationError

pytestmark = [pytest.mark.helm, pytest.mark.timeout(3600)]  # Helm may have to be built

#: Whose schema Kubernetes does not have.
CUSTOM: Final = {"ScaledObject", "TriggerAuthentication", "HTTPRoute", "Tenant"}
#: The oldest that the chart admits, and the newest.
KUBERNETES: Final = ("1.29", "1.37")
SETTINGS: Final = {
    "api": "ApiSettings",
    "consumer": "ConsumerSettings",
    "indexer": "IndexerSettings",
    "jobs": "JobsSettings",
    "operator": "OperatorSettings",
}
#: What a Secret's key stands for when a process reads its settings.
SECRETS: Final = {
    "MONGODB_URL": "mongodb://user:password@host/?replicaSet=rs0",
    "OPENSEARCH_URL": "https://user:password@host",
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
}
MIB: Final = 1024 * 1024


@cache  # most objects are the same in every case, and a schema is slow to read
def validate(text: str, version: str) -> None:
    kubernetes_validate.validate(json.loads(text), version, strict=True)


def components(rendered: Any) -> list[str]:
    return [name.partition("-")[2] for name in rendered.of("Deployment")]


def settings_of(component: str, rendered: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The settings that the process reads in the pod."""
    if find_spec(f"ocelot_{component}") is None:
        return None
    kind = getattr(import_module(f"ocelot_{component}.settings"), SETTINGS[component])
    env = {
        name: entry["value"] if "value" in entry else SECRETS[name]
        for name, entry in rendered.env(component).items()
    }
    known = {field.alias for field in kind.model_fields.values()}
    assert env.keys() <= known, f"{component} does not read {env.keys() - known}"
    for name in list(os.environ):
        if name in known:
            monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    try:
        return kind()
    except ValidationError as error:
        pytest.fail(f"{component}: {error}")


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_knows_every_field(rendered: Any, version: str):
    for each in rendered.objects:
        if each["kind"] not in CUSTOM:
            validate(json.dumps(each), version)


def test_names_fit_and_all_objects_are_in_the_namespace_of_the_release(rendered: Any):
    for each in rendered.objects:
        metadata = each["metadata"]
        cluster_wide = each["kind"] in {
            "ClusterRole",
            "ClusterRoleBinding",
            "CustomResourceDefinition",
        }
        if not cluster_wide:
            assert metadata["namespace"] == "audit", each
            assert len(metadata["name"]) <= 63


def test_every_pod_meets_the_restricted_profile(rendered: Any):
    pods = list(rendered.pods())
    assert len(pods) >= 4
    for name, _, spec in pods:
        pod = spec["securityContext"]
        assert pod["runAsNonRoot"] is True, name
        assert pod["runAsUser"] > 0, name
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not any(spec.get(shared) for shared in ("hostNetwork", "hostPID", "hostIPC")), name
        assert all(volume.keys() == {"name", "secret"} for volume in spec.get("volumes", [])), name
        assert "initContainers" not in spec, name
        for container in spec["containers"]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["readOnlyRootFilesystem"] is True, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
            assert own.keys() == {
                "allowPrivilegeEscalation",
                "readOnlyRootFilesystem",
                "capabilities",
            }, name
            assert not any("hostPort" in port for port in container.get("ports", [])), name


def test_only_pods_that_ask_kubernetes_have_its_token(rendered: Any):
    with_token = {name for name, _, spec in rendered.pods() if spec["automountServiceAccountToken"]}

    assert with_token <= {"shop-operator", "shop-pre-delete"}
    for account in rendered.of("ServiceAccount").values():
        assert account["automountServiceAccountToken"] is False


def test_every_process_can_read_its_settings(rendered: Any, monkeypatch: pytest.MonkeyPatch):
    read = [settings_of(each, rendered, monkeypatch) for each in components(rendered)]

    assert len([each for each in read if each]) >= 3


def test_ports_and_probes_are_those_that_the_process_opens(
    rendered: Any, monkeypatch: pytest.MonkeyPatch
):
    for component in components(rendered):
        settings = settings_of(component, rendered, monkeypatch)
        if settings is None:
            continue
        spec = rendered.one("Deployment", component)["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        opened = {"probes": settings.probes_port}
        if component == "api":
            opened["http"] = settings.http_port
        assert {each["name"]: each["containerPort"] for each in container["ports"]} == opened
        paths = {
            "startupProbe": "/healthz",
            "readinessProbe": "/readyz",
            "livenessProbe": "/healthz",
        }
        for probe, path in paths.items():
            assert container[probe]["httpGet"] == {"path": path, "port": "probes"}


def test_pods_have_longer_than_their_drain(rendered: Any, monkeypatch: pytest.MonkeyPatch):
    from ocelot_api.http.server import GRACE_SEC  # noqa: PLC0415

    for component in components(rendered):
        settings = settings_of(component, rendered, monkeypatch)
        spec = rendered.one("Deployment", component)["spec"]["template"]["spec"]
        grace = spec["terminationGracePeriodSeconds"]
        if component == "api":
            assert settings.shutdown_delay_sec >= 5
            assert grace > settings.shutdown_delay_sec + GRACE_SEC
        elif component != "operator":
            assert grace > settings.drain_timeout_sec


def test_memory_limits_are_above_what_the_processes_may_take(
    rendered: Any, monkeypatch: pytest.MonkeyPatch
):
    # docs/operations/guarantees.md has both numbers.
    for component in components(rendered):
        spec = rendered.one("Deployment", component)["spec"]["template"]["spec"]
        resources = spec["containers"][0]["resources"]
        assert "cpu" not in resources["limits"], "a limit on CPU delays what is near its deadline"
        limit = int(resources["limits"]["memory"].removesuffix("Mi")) * MIB
        if component == "api":
            api = settings_of(component, rendered, monkeypatch)
            budgets = 3 * api.body_budget_bytes + 2 * api.answer_budget_bytes
            assert limit >= 150 * MIB + budgets + api.max_connections * 16 * 1024 + 96 * MIB
        else:
            assert limit >= 400 * MIB


def test_mounted_key_files_are_those_of_the_settings(
    rendered: Any, monkeypatch: pytest.MonkeyPatch
):
    for component in components(rendered):
        if component == "operator":
            continue  # it reads them through the API
        settings = settings_of(component, rendered, monkeypatch)
        spec = rendered.one("Deployment", component)["spec"]["template"]["spec"]
        (mount,) = spec["containers"][0]["volumeMounts"]
        (volume,) = spec["volumes"]
        assert volume["name"] == mount["name"]
        assert str(settings.queue_keys_file) == f"{mount['mountPath']}/queue-keys"
        # The kubelet tells of a Secret without this entry.
        assert volume["secret"]["items"] == [{"key": "queue-keys", "path": "queue-keys"}]
        # The group of the process may read it, and others may not.
        assert volume["secret"]["defaultMode"] == 0o440
        assert spec["securityContext"]["fsGroup"] == spec["securityContext"]["runAsGroup"]


def test_selectors_match_the_pods_of_one_component(rendered: Any):
    labels = {name: labels for name, labels, _ in rendered.pods()}
    selectors = [
        (each, each["spec"]["selector"]["matchLabels"])
        for kind in ("Deployment", "PodDisruptionBudget")
        for each in rendered.of(kind).values()
    ]
    selectors += [
        (each, each["spec"]["podSelector"]["matchLabels"])
        for each in rendered.of("NetworkPolicy").values()
    ]
    selectors += [(each, each["spec"]["selector"]) for each in rendered.of("Service").values()]
    assert len(selectors) >= 5
    for each, selector in selectors:
        matched = {name for name, given in labels.items() if selector.items() <= given.items()}
        assert matched == {each["metadata"]["name"]}


def test_nothing_but_the_public_port_is_reachable_through_the_service(rendered: Any):
    (service,) = rendered.of("Service").values()

    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]


def test_every_reference_leads_to_an_object_of_the_release(rendered: Any):
    accounts = rendered.of("ServiceAccount")
    for name, _, spec in rendered.pods():
        if "serviceAccountName" in spec:
            assert spec["serviceAccountName"] in accounts, name
    for kind in ("RoleBinding", "ClusterRoleBinding"):
        for each in rendered.of(kind).values():
            assert each["roleRef"]["name"] in rendered.of(each["roleRef"]["kind"])
            assert [subject["name"] in accounts for subject in each["subjects"]] == [True]
    for each in rendered.of("ScaledObject").values():
        assert each["spec"]["scaleTargetRef"]["name"] in rendered.of("Deployment")
        (trigger,) = each["spec"]["triggers"]
        assert trigger["authenticationRef"]["name"] in rendered.of("TriggerAuthentication")


def test_no_credential_stands_in_an_object(rendered: Any):
    assert not rendered.of("Secret")
    assert not rendered.of("ConfigMap")
    for component in components(rendered):
        env = rendered.env(component)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            assert "value" not in env.get(name, {})
        for name in ("MONGODB_URL", "OPENSEARCH_URL"):
            assert "@" not in env.get(name, {}).get("value", "")
