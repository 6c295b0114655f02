"""The chart as Helm renders it."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

CHART: Final = Path(__file__).parents[3] / "charts" / "ocelot"
RELEASE: Final = "shop"
NAMESPACE: Final = "audit"

Object = dict[str, Any]


class Rendered:
    """The objects of a release.

    Attributes:
        objects: in the order of Helm's output.
    """

    def __init__(self, text: str) -> None:
        self.objects: list[Object] = [each for each in yaml.safe_load_all(text) if each]

    def of(self, kind: str) -> dict[str, Object]:
        """The objects of a kind by their names."""
        return {each["metadata"]["name"]: each for each in self.objects if each["kind"] == kind}

    def one(self, kind: str, name: str) -> Object:
        """An object by its name without the prefix of the release."""
        return self.of(kind)[f"{RELEASE}-{name}"]

    def pods(self) -> Iterator[tuple[str, Object, Object]]:
        """Name, labels and spec of each pod that the release runs."""
        for each in self.objects:
            if each["kind"] == "Pod":
                yield each["metadata"]["name"], each["metadata"]["labels"], each["spec"]
            elif each["kind"] in {"Deployment", "Job"}:
                template = each["spec"]["template"]
                yield each["metadata"]["name"], template["metadata"]["labels"], template["spec"]

    def env(self, component: str) -> dict[str, Object]:
        """The environment of a component: each name with the rest of its entry."""
        spec = self.one("Deployment", component)["spec"]["template"]["spec"]
        entries = spec["containers"][0]["env"]
        names = [entry["name"] for entry in entries]
        assert len(names) == len(set(names)), f"{component} has a variable twice: {names}"
        return {entry["name"]: entry for entry in entries}


class Helm:
    """Runs Helm on the chart.

    Attributes:
        chart: folder of the chart.
    """

    def __init__(self, program: str, home: Path, chart: Path = CHART) -> None:
        self.chart = chart
        self._program = program
        self._home = home

    def on(self, chart: Path) -> "Helm":
        """The same for another folder."""
        return Helm(self._program, self._home, chart)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command without a cluster and without the user's settings."""
        env = {"PATH": "/usr/bin:/bin", "HOME": str(self._home)}
        return subprocess.run(
            [self._program, *arguments], capture_output=True, text=True, check=False, env=env
        )

    def render(self, *options: str) -> Rendered:
        """The objects with these options; `--set a=b` and the like."""
        ran = self.run("template", RELEASE, str(self.chart), "--namespace", NAMESPACE, *options)
        assert ran.returncode == 0, ran.stderr
        return Rendered(ran.stdout)

    def refusal(self, *options: str) -> str:
        """What Helm says to options that it refuses."""
        ran = self.run("template", RELEASE, str(self.chart), *options)
        assert ran.returncode != 0, f"{options} were not refused"
        return ran.stderr

    def notes(self, *options: str) -> str:
        """What the user reads after the installation."""
        ran = self.run(
            *("install", RELEASE, str(self.chart), "--namespace", NAMESPACE),
            *("--dry-run=client", *options),
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.partition("NOTES:")[2]


@pytest.fixture(scope="session")
def helm(helm_program: str, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm on the chart of this repository."""
    return Helm(helm_program, tmp_path_factory.mktemp("helm"))


def flags(**values: str) -> tuple[str, ...]:
    """`--set` for each value; `__` in a name stands for a dot."""
    return tuple(
        option
        for name, value in values.items()
        for option in ("--set", f"{name.replace('__', '.')}={value}")
    )


WITHOUT_OPERATOR: Final = flags(
    operator__enabled="false",
    signingKey__existingSecret="own-signing",
    queueKeys__existingSecret="own-queue",
)
#: Combinations of values for which every rule of the rendered objects must hold.
CASES: Final[dict[str, tuple[str, ...]]] = {
    "defaults": (),
    "laptop": ("--values", str(CHART / "values-laptop.yaml")),
    "without operator": WITHOUT_OPERATOR,
    "without operator, own test tenant": (*WITHOUT_OPERATOR, *flags(test__existingSecret="t")),
    "without OpenSearch": flags(opensearch__enabled="false"),
    "without KEDA": flags(keda__enabled="false"),
    "without policies": flags(networkPolicy__enabled="false", podDisruptionBudget__enabled="false"),
    "identity of the platform": flags(
        sqs__existingSecret="", api__serviceAccount__annotations__role="arn:aws:iam::1:role/api"
    ),
    "local backends": flags(
        mongodb__url="mongodb://10.0.0.1/?replicaSet=rs0",
        opensearch__url="http://10.0.0.1:9200",
        sqs__endpointUrl="http://10.0.0.1:4566",
    ),
    "queues by URL": flags(
        **{f"sqs__queues__{name}": f"https://sqs.eu-west-1.amazonaws.com/123456789012/{name}"
           for name in ("ingest", "ingestDlq", "index", "indexDlq")}
    ),
    "ingress": flags(ingress__enabled="true", ingress__host="audit.example.com"),
    "gateway": ("--set-json", 'httpRoute={"enabled":true,"parentRefs":[{"name":"g"}]}'),
    "every option of pods": (
        *flags(
            image__prefix="registry.example.com/ocelot",
            image__tag="1.2.3",
            otlpEndpoint="http://collector:4318",
            opensearch__indexPrefix="shop_",
            operator__clusterId="eu-1",
            fullnameOverride=RELEASE,
        ),
        *("--set", "image.pullSecrets={one,two}"),
        *("--set", "api.trustedProxies={10.0.0.0/8,fd00::/8}"),
        *("--set-string", "api.env.OCELOT_MAX_BULK_BYTES=16777216"),
        *("--set-string", "operator.env.OCELOT_RETENTION_DELAY_SEC=2"),
    ),
}  # fmt: skip


@pytest.fixture(scope="session", params=CASES, ids=lambda case: case.replace(" ", "-"))
def rendered(request: pytest.FixtureRequest, helm: Helm) -> Rendered:
    """The objects of each combination in turn."""
    return helm.render(*CASES[request.param])


@pytest.fixture(scope="session")
def defaults(helm: Helm) -> Rendered:
    """The objects without any value given."""
    return helm.render()


@pytest.fixture(scope="session")
def without_operator() -> tuple[str, ...]:
    """Options of an installation without the operator."""
    return WITHOUT_OPERATOR


@pytest.fixture(scope="session")
def make_flags() -> Callable[..., tuple[str, ...]]:
    """Makes options of values."""
    return flags
