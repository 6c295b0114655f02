"""Everything at once from an empty MongoDB, in a namespace that enforces `restricted`."""

import re
import time
from datetime import datetime
from typing import Any, NamedTuple

from e2ekit.kubectl import Kubectl
from e2ekit.release import Release

REST_SEC = 60
METRIC = re.compile(
    r"(?P<name>container_memory_working_set_bytes|container_cpu_usage_seconds_total)"
    r'{.*namespace="(?P<namespace>[^"]*)",pod="(?P<pod>[^"]*)"} (?P<value>\S+) (?P<ms>\d+)'
)
MEMORY, CPU = "container_memory_working_set_bytes", "container_cpu_usage_seconds_total"


class Sample(NamedTuple):
    """A value at a time, in seconds since the epoch."""

    value: float
    at: float


def test_every_pod_becomes_ready_and_none_restarts(release: Release, kubectl: Kubectl):
    release.wait_ready()
    pods = {pod["metadata"]["name"]: pod for pod in release.pods()}
    assert {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in pods.values()} == {
        *("api", "consumer", "indexer", "jobs", "operator")
    }

    before = usage(kubectl, pods)
    time.sleep(REST_SEC)
    after = usage(kubectl, pods)

    print(f"\n{'pod':32} {'s to Ready':>10} {'MiB':>6} {'millicores':>10}  at rest")
    for name, pod in sorted(pods.items()):
        began, ended = before[name][CPU], after[name][CPU]
        millicores = (ended.value - began.value) / (ended.at - began.at) * 1_000
        memory = after[name][MEMORY].value / 2**20
        print(f"{name:32} {seconds_to_ready(pod):10.0f} {memory:6.0f} {millicores:10.1f}")

    restarts = {pod["metadata"]["name"]: restarts_of(pod) for pod in release.pods()}
    assert restarts == dict.fromkeys(pods, 0)


def usage(kubectl: Kubectl, pods: dict[str, Any]) -> dict[str, dict[str, Sample]]:
    """Return what the kubelets tell of each pod's container: no metrics server is needed."""
    found: dict[str, dict[str, Sample]] = {name: {} for name in pods}
    for node in {pod["spec"]["nodeName"] for pod in pods.values()}:
        text = kubectl.run("get", "--raw", f"/api/v1/nodes/{node}/proxy/metrics/resource")
        for line in text.splitlines():
            match = METRIC.match(line)
            if match and match["namespace"] == kubectl.namespace and match["pod"] in found:
                found[match["pod"]][match["name"]] = Sample(
                    float(match["value"]), int(match["ms"]) / 1_000
                )
    return found


def seconds_to_ready(pod: dict[str, Any]) -> float:
    """Return the seconds from the pod's creation until it was ready, in whole seconds."""
    (ready,) = (each for each in pod["status"]["conditions"] if each["type"] == "Ready")
    began = parsed(pod["metadata"]["creationTimestamp"])
    return (parsed(ready["lastTransitionTime"]) - began).total_seconds()


def restarts_of(pod: dict[str, Any]) -> int:
    return sum(each["restartCount"] for each in pod["status"]["containerStatuses"])


def parsed(text: str) -> datetime:
    return datetime.fromisoformat(text)
