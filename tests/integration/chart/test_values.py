"""What the values change, and which values are refused."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

pytestmark = [pytest.mark.helm, pytest.mark.timeout(3600)]  # Helm may have to be built

Flags = Callable[..., tuple[str, ...]]
COMPONENTS: Final = ("api", "consumer", "indexer", "jobs", "operator")
ACCOUNT: Final = ("--set-string", "sqs.accountId=123456789012")
AWS_KEYS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def secret_of(rendered: Any, component: str, name: str) -> str:
    return str(rendered.env(component)[name]["valueFrom"]["secretKeyRef"]["name"])


def test_the_chart_is_linted_without_a_warning(helm: Any):
    ran = helm.run("lint", "--strict", str(helm.chart))

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "[WARNING]" not in ran.stdout


def test_the_laptop_values_are_linted(helm: Any):
    values = str(helm.chart / "values-laptop.yaml")
    ran = helm.run("lint", "--strict", str(helm.chart), "--values", values)

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_schema_has_the_values_of_the_file_and_no_others(helm: Any):
    values = yaml.safe_load((helm.chart / "values.yaml").read_text())
    schema = yaml.safe_load((helm.chart / "values.schema.json").read_text())

    def compare(values: dict[str, Any], schema: dict[str, Any], path: str) -> None:
        if "properties" not in schema:
            return  # a map of the user's own names
        names = schema["properties"].keys() - ({"global"} if path == "values" else set())
        assert values.keys() == names, path
        for name, value in values.items():
            if isinstance(value, dict):
                compare(value, schema["properties"][name], f"{path}.{name}")

    compare(values, schema, "values")


def test_an_umbrella_chart_may_give_global_values(helm: Any, make_flags: Flags):
    assert helm.render(*make_flags(global__team="audit")).objects


def test_by_default_there_are_two_apis_and_keda_owns_the_replicas_of_the_workers(defaults: Any):
    replicas = {
        name: each["spec"].get("replicas") for name, each in defaults.of("Deployment").items()
    }

    assert replicas == {
        "shop-api": 2,
        "shop-consumer": None,
        "shop-indexer": None,
        "shop-jobs": 1,
        "shop-operator": 1,
    }
    assert defaults.of("ScaledObject").keys() == {"shop-consumer", "shop-indexer"}
    assert defaults.of("PodDisruptionBudget").keys() >= {"shop-api", "shop-consumer"}
    assert defaults.of("NetworkPolicy").keys() == {f"shop-{name}" for name in COMPONENTS}


def test_without_keda_the_values_give_the_replicas(helm: Any, make_flags: Flags):
    rendered = helm.render(
        *make_flags(keda__enabled="false", consumer__replicas="3", indexer__replicas="4")
    )

    assert rendered.one("Deployment", "consumer")["spec"]["replicas"] == 3
    assert rendered.one("Deployment", "indexer")["spec"]["replicas"] == 4
    assert not rendered.of("ScaledObject")
    assert not rendered.of("TriggerAuthentication")


@pytest.mark.parametrize(
    ("worker", "queue"), [("consumer", "SQS_QUEUE_URL"), ("indexer", "SQS_INDEX_QUEUE_URL")]
)
def test_keda_looks_at_the_queue_that_the_worker_reads(
    helm: Any, make_flags: Flags, worker: str, queue: str
):
    rendered = helm.render(
        *make_flags(
            sqs__endpointUrl="http://sqs:4566/",
            sqs__region="eu-west-1",
            **{f"keda__{worker}__minReplicas": "0", f"keda__{worker}__maxReplicas": "4"},
        ),
        *ACCOUNT,
    )
    spec = rendered.one("ScaledObject", worker)["spec"]
    (trigger,) = spec["triggers"]

    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (0, 4)
    assert trigger["type"] == "aws-sqs-queue"
    # KEDA takes texts only, and reads account and queue from the path.
    assert trigger["metadata"] == {
        "queueURL": rendered.env(worker)[queue]["value"],
        "awsRegion": "eu-west-1",
        "awsEndpoint": "http://sqs:4566/",
        # A message of the index queue holds up to 4,000 events, one of the ingest queue up to 600.
        "queueLength": {"consumer": "100", "indexer": "10"}[worker],
        "scaleOnInFlight": "true",
    }
    name = {"consumer": "ocelot-ingest", "indexer": "ocelot-index"}[worker]
    assert trigger["metadata"]["queueURL"] == f"http://sqs:4566/123456789012/{name}"


def test_keda_has_the_keys_of_its_secret_or_the_identity_of_its_pod(
    helm: Any, defaults: Any, make_flags: Flags
):
    def spec(rendered: Any) -> Any:
        return rendered.one("TriggerAuthentication", "sqs")["spec"]

    def named(secret: str) -> list[dict[str, str]]:
        return [
            {"parameter": "awsAccessKeyID", "name": secret, "key": "AWS_ACCESS_KEY_ID"},
            {"parameter": "awsSecretAccessKey", "name": secret, "key": "AWS_SECRET_ACCESS_KEY"},
        ]

    own = helm.render(*make_flags(keda__existingSecret="keda"))
    identity = helm.render(*make_flags(sqs__existingSecret=""))

    assert spec(defaults) == {"secretTargetRef": named("ocelot-aws")}
    assert spec(own) == {"secretTargetRef": named("keda")}
    assert spec(identity) == {"podIdentity": {"provider": "aws"}}
    assert not identity.env("consumer").keys() & set(AWS_KEYS)


@pytest.mark.parametrize(
    ("component", "backend"),
    [
        (component, backend)
        for component in COMPONENTS
        for backend in ("mongodb", "opensearch", "sqs")
        if (component, backend) != ("operator", "sqs")
    ],
)
def test_a_component_has_the_common_secret_unless_it_has_its_own(
    helm: Any, defaults: Any, make_flags: Flags, component: str, backend: str
):
    names = {"mongodb": ("MONGODB_URL",), "opensearch": ("OPENSEARCH_URL",), "sqs": AWS_KEYS}
    common = {"mongodb": "ocelot-mongodb", "opensearch": "ocelot-opensearch", "sqs": "ocelot-aws"}
    own = helm.render(*make_flags(**{f"{component}__secrets__{backend}": "own"}))

    for name in names[backend]:
        assert secret_of(defaults, component, name) == common[backend]
        assert secret_of(own, component, name) == "own"
        others = [each for each in COMPONENTS if each != component and name in own.env(each)]
        assert {secret_of(own, each, name) for each in others} == {common[backend]}


def test_the_operator_and_the_workers_name_the_same_key_secrets(helm: Any, make_flags: Flags):
    def names(rendered: Any) -> tuple[str, str, str, str, str]:
        operator = rendered.env("operator")
        pod = rendered.one("Deployment", "api")["spec"]["template"]["spec"]
        return (
            pod["volumes"][0]["secret"]["secretName"],
            operator["OCELOT_QUEUE_KEYS_SECRET"]["value"],
            operator["OCELOT_CREATE_QUEUE_KEYS"]["value"],
            operator["OCELOT_SIGNING_KEY_SECRET"]["value"],
            operator["OCELOT_CREATE_SIGNING_KEY"]["value"],
        )

    made = helm.render()
    queue = helm.render(*make_flags(queueKeys__existingSecret="q"))
    signing = helm.render(*make_flags(signingKey__existingSecret="s"))

    assert names(made) == ("shop-queue-keys", "shop-queue-keys", "true", "shop-signing-key", "true")
    assert names(queue) == ("q", "q", "false", "shop-signing-key", "true")
    assert names(signing) == ("shop-queue-keys", "shop-queue-keys", "true", "s", "false")


def test_without_the_operator_nothing_of_it_is_installed(
    helm: Any, without_operator: tuple[str, ...]
):
    rendered = helm.render(*without_operator)

    assert not [each for each in rendered.objects if "operator" in each["metadata"]["name"]]
    assert not rendered.of("ClusterRole")
    assert not rendered.of("Job")
    # There is no tenant to test with.
    assert not rendered.of("Pod")


def test_without_opensearch_there_is_no_indexer_and_nobody_fills_its_queue(
    helm: Any, make_flags: Flags
):
    rendered = helm.render(*make_flags(opensearch__enabled="false"))

    assert not [each for each in rendered.objects if "indexer" in each["metadata"]["name"]]
    for component in ("api", "consumer", "jobs", "operator"):
        names = rendered.env(component)
        assert not [name for name in names if name.startswith(("OPENSEARCH_", "SQS_INDEX_"))]


@pytest.mark.parametrize("case", ["ingress", "gateway"])
def test_only_the_two_public_paths_are_published(helm: Any, make_flags: Flags, case: str):
    if case == "ingress":
        rendered = helm.render(
            *make_flags(
                ingress__enabled="true",
                ingress__host="audit.example.com",
                ingress__tlsSecret="tls",
                ingress__className="nginx",
            )
        )
        (ingress,) = rendered.of("Ingress").values()
        (rule,) = ingress["spec"]["rules"]
        paths = [each["path"] for each in rule["http"]["paths"]]
        services = {each["backend"]["service"]["name"] for each in rule["http"]["paths"]}
        assert rule["host"] == "audit.example.com"
        assert ingress["spec"]["tls"] == [{"hosts": ["audit.example.com"], "secretName": "tls"}]
        assert ingress["spec"]["ingressClassName"] == "nginx"
    else:
        rendered = helm.render(
            *("--set-json", 'httpRoute={"enabled":true,"parentRefs":[{"name":"g"}]}'),
            *("--set", "httpRoute.hostnames={audit.example.com}"),
        )
        (route,) = rendered.of("HTTPRoute").values()
        (rule,) = route["spec"]["rules"]
        paths = [each["path"]["value"] for each in rule["matches"]]
        services = {each["name"] for each in rule["backendRefs"]}
        assert route["spec"]["parentRefs"] == [{"name": "g"}]
        assert route["spec"]["hostnames"] == ["audit.example.com"]
    assert paths == ["/api", "/.well-known"]
    assert services == rendered.of("Service").keys()


def test_policies_open_the_public_port_of_the_api_and_probes_to_pods(helm: Any, defaults: Any):
    def ports(rendered: Any, component: str) -> dict[str, Any]:
        spec = rendered.one("NetworkPolicy", component)["spec"]
        assert spec["policyTypes"] == ["Ingress"]
        return {rule["ports"][0]["port"]: rule.get("from") for rule in spec["ingress"]}

    pods = [{"namespaceSelector": {}}]
    chosen = [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]
    named = helm.render(
        "--set-json",
        'networkPolicy.metricsFrom=[{"namespaceSelector":{"matchLabels":{"name":"monitoring"}}}]',
        "--set-json",
        'networkPolicy.apiFrom=[{"podSelector":{}}]',
    )

    assert ports(defaults, "api") == {"http": None, "probes": pods}
    assert ports(defaults, "consumer") == {"probes": pods}
    assert ports(named, "consumer") == {"probes": chosen}
    opened, test = ports(named, "api")["http"]
    assert opened == {"podSelector": {}}
    # `helm test` asks the api, whoever else may.
    (labels,) = [labels for name, labels, _ in named.pods() if name == "shop-test"]
    assert test["podSelector"]["matchLabels"].items() <= labels.items()


def test_numbers_in_the_environment_stay_as_they_are_written(helm: Any):
    rendered = helm.render("--set-string", "api.env.OCELOT_BODY_BUDGET_BYTES=100663296")

    assert rendered.env("api")["OCELOT_BODY_BUDGET_BYTES"]["value"] == "100663296"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--set operator.enabled=false", "set signingKey.existingSecret and queueKeys."),
        (
            "--set operator.enabled=false,signingKey.existingSecret=s",
            "set signingKey.existingSecret and queueKeys.",
        ),
        ("--set mongodb.existingSecret=", "mongodb has neither url nor existingSecret"),
        ("--set opensearch.existingSecret=", "opensearch has neither url nor existingSecret"),
        ("--set api.shutdownDelaySec=21", "at least api.shutdownDelaySec + 25, which is 46"),
        ("--set api.terminationGracePeriodSec=29", "api.terminationGracePeriodSec is too short"),
        ("--set consumer.drainTimeoutSec=40", "consumer.terminationGracePeriodSec must be greater"),
        ("--set indexer.terminationGracePeriodSec=25", "indexer.terminationGracePeriodSec must be"),
        ("--set jobs.drainTimeoutSec=60", "jobs.terminationGracePeriodSec must be greater"),
        ("--set keda.indexer.minReplicas=11", "keda.indexer.maxReplicas is less than"),
        ("--set test.tenantId=Helm", "/test/tenantId"),
        ("--set ingress.enabled=true", "ingress.host is empty"),
        ("--set httpRoute.enabled=true", "httpRoute.parentRefs is empty"),
        ("--set mongodb.url=mongodb://me:secret@host", "/mongodb/url"),
        ("--set mongodb.url=host:27017", "/mongodb/url"),
        ("--set mongodb.uri=mongodb://host", "additional properties 'uri' not allowed"),
        ("--set opensearch.url=https://me:secret@host", "/opensearch/url"),
        ("--set opensearch.enabled=no-thanks", "/opensearch/enabled"),
        ("--set opensearch.indexPrefix=Shop", "/opensearch/indexPrefix"),
        ("--set-string sqs.accountId=1234", "/sqs/accountId"),
        ("--set sqs.accountId=123456789012", "/sqs/accountId': got number, want string"),
        ("--set sqs.queues.ingest=a/b", "/sqs/queues/ingest"),
        ("--set sqs.endpointUrl=sqs:4566", "/sqs/endpointUrl"),
        ("--set api.replicas=-1", "/api/replicas"),
        ("--set api.replicas=two", "/api/replicas"),
        ("--set api.env.OCELOT_MAX_BULK_BYTES=16777216", "/api/env/OCELOT_MAX_BULK_BYTES"),
        ("--set-string api.env.max-bulk=1", "invalid propertyName 'max-bulk'"),
        ("--set api.service.type=Public", "/api/service/type"),
        ("--set api.service.port=0", "/api/service/port"),
        ("--set consumer.secrets.mongo=x", "additional properties 'mongo' not allowed"),
        ("--set keda.consumer.queueLength=0", "/keda/consumer/queueLength"),
        ("--set keda.minReplicas=1", "additional properties 'minReplicas' not allowed"),
        ("--set logLevel=TRACE", "/logLevel"),
        ("--set image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("--set fullnameOverride=Shop", "/fullnameOverride"),
        ("--set fullnameOverride=1shop", "/fullnameOverride"),
        ("--set signingKey.existingSecret=a..b", "/signingKey/existingSecret"),
        ("--set mongodb.existingSecret=a-.b", "/mongodb/existingSecret"),
        ("--set image.pullSecrets={a.-b}", "/image/pullSecrets/0"),
        ("--set operator.apiUrl=audit.example.com", "/operator/apiUrl"),
        ("--set-string operator.env.OCELOT_API_URL=x", "operator.env.OCELOT_API_URL: the chart"),
        ("--set-string consumer.env.LOG_LEVEL=DEBUG", "consumer.env.LOG_LEVEL: the chart sets"),
        ("--set-string jobs.env.OCELOT_DRAIN_TIMEOUT_SEC=9", "OCELOT_DRAIN_TIMEOUT_SEC: the chart"),
        ("--set-string api.env.MONGODB_URL=x", "api.env.MONGODB_URL: the chart sets"),
        ("--set-string indexer.env.OPENSEARCH_URL=x", "indexer.env.OPENSEARCH_URL: the chart sets"),
        ("--set worker.replicas=1", "additional properties 'worker' not allowed"),
    ],
)  # fmt: skip
def test_wrong_values_are_refused_with_what_to_change(helm: Any, options: str, message: str):
    assert message in helm.refusal(*options.split())


def test_names_of_the_longest_release_fit(helm: Any):
    ran = helm.run("template", "r" * 53, str(helm.chart))

    assert ran.returncode == 0, ran.stderr
    objects = [each["metadata"] for each in yaml.safe_load_all(ran.stdout) if each]
    # Names of roles may be longer.
    assert max(len(each["name"]) for each in objects if "namespace" in each) <= 63


@pytest.mark.parametrize("release", ["1prod", "a.b"])
def test_a_release_whose_name_no_service_can_have_is_refused(helm: Any, release: str):
    ran = helm.run("template", release, str(helm.chart))
    assert ran.returncode != 0
    assert "fullnameOverride" in ran.stderr

    ran = helm.run("template", release, str(helm.chart), "--set", "fullnameOverride=shop")
    assert ran.returncode == 0, ran.stderr


def test_names_that_look_like_numbers_stay_texts(helm: Any):
    secrets = ("mongodb", "opensearch", "sqs", "signingKey", "queueKeys")
    ran = helm.run(
        *("template", "123", str(helm.chart), "--namespace", "1e3"),
        *("--set", "fullnameOverride=shop", "--set-string", "test.tenantId=123"),
        *(each for name in secrets for each in ("--set-string", f"{name}.existingSecret=12")),
    )
    assert ran.returncode == 0, ran.stderr
    for each in yaml.safe_load_all(ran.stdout):
        for path, value in leaves(each):
            if path[-1] in TEXTS or path[-2:-1] in (
                ("labels",),
                ("matchLabels",),
                ("annotations",),
            ):
                assert isinstance(value, str), (each["kind"], path, value)


#: Fields that are texts wherever they stand.
TEXTS = {"name", "namespace", "secretName", "key", "value", "tenantId", "image"}


def leaves(each: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each value of an object that is no object or list, with the names that lead to it."""
    if isinstance(each, dict):
        for name, value in each.items():
            yield from leaves(value, (*path, name))
    elif isinstance(each, list):
        for value in each:
            yield from leaves(value, path)
    else:
        yield path, each


def test_two_releases_never_share_a_cluster_role(helm: Any):
    roles = []
    for namespace, release in (("a-b", "c"), ("a", "b-c")):
        ran = helm.run("template", release, str(helm.chart), "--namespace", namespace)
        assert ran.returncode == 0, ran.stderr
        objects = [each for each in yaml.safe_load_all(ran.stdout) if each]
        roles.append(
            {e["metadata"]["name"] for e in objects if e["kind"].startswith("ClusterRole")}
        )
    assert roles[0] & roles[1] == set()


def test_token_secrets_have_the_url_that_the_values_give(helm: Any, defaults: Any):
    given = helm.render("--set", "operator.apiUrl=https://audit.example.com")

    assert given.env("operator")["OCELOT_API_URL"]["value"] == "https://audit.example.com"
    assert defaults.env("operator")["OCELOT_API_URL"]["value"] == "http://shop-api.audit.svc:80"


@pytest.fixture
def with_operator_files(helm: Any, tmp_path: Path) -> Any:
    """The chart with files of the operator in it, whatever the repository has."""
    copied = tmp_path / "ocelot"
    for path in helm.chart.rglob("*"):
        if path.is_file() and not path.name.startswith(("crd-", "rbac-")):
            target = copied / path.relative_to(helm.chart)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    files = copied / "files"
    (files / "crd-tenants.yaml").write_text(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n"
        "metadata:\n  name: tenants.ocelot.dev\n  annotations: {own: kept}\n"
        "spec:\n  group: ocelot.dev\n"
    )
    rule = "- apiGroups: [{}]\n  resources: [{}]\n  verbs: [get]\n"
    (files / "rbac-operator-rules.yaml").write_text(rule.format("ocelot.dev", "tenants"))
    (files / "rbac-operator-namespace-rules.yaml").write_text(rule.format('""', "secrets"))
    return helm.on(copied)


def test_the_crd_is_kept_when_the_release_is_uninstalled(
    with_operator_files: Any, make_flags: Flags
):
    (crd,) = with_operator_files.render().of("CustomResourceDefinition").values()
    without = with_operator_files.render(*make_flags(crds__enabled="false"))

    assert crd["metadata"]["annotations"] == {"own": "kept", "helm.sh/resource-policy": "keep"}
    assert crd["spec"] == {"group": "ocelot.dev"}
    assert not without.of("CustomResourceDefinition")


def test_the_operator_has_the_rules_of_its_files_and_no_others(with_operator_files: Any):
    rendered = with_operator_files.render()
    role = rendered.of("ClusterRole")["audit:shop-operator"]

    assert role["rules"] == [
        {"apiGroups": ["ocelot.dev"], "resources": ["tenants"], "verbs": ["get"]}
    ]
    assert rendered.one("Role", "operator")["rules"] == [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
    ]
    bindings = {**rendered.of("ClusterRoleBinding"), **rendered.of("RoleBinding")}
    for name in ("audit:shop-operator", "shop-operator"):
        assert bindings[name]["subjects"] == [
            {"kind": "ServiceAccount", "name": "shop-operator", "namespace": "audit"}
        ]


def test_a_chart_without_the_operators_files_renders(helm: Any, with_operator_files: Any):
    for path in (with_operator_files.chart / "files").glob("*.yaml"):
        path.unlink()
    rendered = with_operator_files.render()

    assert not rendered.of("CustomResourceDefinition")
    assert "audit:shop-operator" not in rendered.of("ClusterRole")


def blocks_of(notes: str) -> list[dict[str, Any]]:
    return [yaml.safe_load(text) for text in re.findall(r"<<END\n(.*?)\nEND\n", notes, re.DOTALL)]


def test_the_notes_have_the_first_tenant_and_the_first_event(helm: Any):
    notes = helm.notes(*ACCOUNT)
    (tenant,) = blocks_of(notes)

    assert tenant["kind"] == "Tenant"
    assert tenant["metadata"] == {"namespace": "audit", "name": "acme"}
    assert "get secret acme-first" in notes
    assert "curl -sS http://127.0.0.1:8000/api/v1/logs " in notes
    assert "port-forward service/shop-api 8000:80 &\nsleep" in notes, "curl would be refused"
    waits = re.findall(r"^kubectl .* wait .*$", notes, re.MULTILINE)
    assert len(waits) == 2
    assert all(" --timeout 5m" in wait for wait in waits), "images may have to be pulled"
    assert "shop-admin-token" in notes
    assert "WARNING" not in notes


def test_the_notes_warn_of_queues_in_no_account(helm: Any):
    assert "WARNING: sqs.accountId is not set." in helm.notes()


def test_without_the_operator_the_notes_have_a_pod_of_the_command(
    helm: Any, without_operator: tuple[str, ...]
):
    notes = helm.notes(*without_operator)
    (pod,) = blocks_of(notes)
    (container,) = pod["spec"]["containers"]
    secrets = {volume["secret"]["secretName"] for volume in pod["spec"]["volumes"]}

    assert secrets == {"own-signing", "own-queue"}
    assert container["image"] == "localhost/ocelot-cli:0.1.0"
    env = {entry["name"]: entry for entry in container["env"]}
    assert env["MONGODB_URL"]["valueFrom"]["secretKeyRef"]["name"] == "ocelot-mongodb"
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert env["OCELOT_SIGNING_KEY_FILE"]["value"].rpartition("/")[0] in mounted
    for command in ("queue-keys record", "tenants create acme", "tokens create --tenant acme"):
        assert f"exec shop-cli -- ocelot {command}" in notes
    assert "wait --for=condition=Ready pod/shop-cli --timeout 5m" in notes
