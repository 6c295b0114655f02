"""What an operator tells while it cannot work."""

from typing import Any

import httpx
import pytest

from ocelot_devstack.ports import free_port

SYSTEM = "ocelot-system"
ROLE = "/apis/rbac.authorization.k8s.io/v1/clusterroles/operator"

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.mongodb,
    pytest.mark.timeout(3_600),
]


async def causes(operator: Any) -> str:
    """Why the operator is not ready; empty if it is, or does not answer."""
    async with httpx.AsyncClient() as http:
        try:
            answer = await http.get(f"{operator.probes_url}/readyz")
        except httpx.HTTPError:
            return ""
    return "" if answer.status_code == 200 else answer.text


async def test_it_is_not_ready_without_permission_to_watch_tenants(
    cluster: Any, start: Any, until: Any
):
    role = (await cluster.http.get(ROLE)).json()
    kept = [rule for rule in role["rules"] if "tenants" not in rule["resources"]]
    patch = {"Content-Type": "application/merge-patch+json"}
    await cluster.http.patch(ROLE, json={"rules": kept}, headers=patch)
    try:
        operator = await start()

        async def told() -> bool:
            return "403: Forbidden" in await causes(operator)

        await until(told, what="the missing permission on the probe")
        pid = operator.pid
    finally:
        await cluster.http.patch(ROLE, json={"rules": role["rules"]}, headers=patch)

    await operator.wait_ready(180)
    assert operator.pid == pid

    await cluster.http.patch(ROLE, json={"rules": kept}, headers=patch)
    try:
        await until(told, what="the permission that was taken away")
    finally:
        await cluster.http.patch(ROLE, json={"rules": role["rules"]}, headers=patch)
    await operator.wait_ready(180)
    assert operator.pid == pid


async def test_tenants_have_a_condition_while_a_key_secret_is_missing(
    cluster: Any, start: Any, names: Any
):
    operator = await start(OCELOT_CREATE_QUEUE_KEYS="false")
    namespace = await cluster.namespace()
    await cluster.create_tenant(namespace, "initech")

    await cluster.until_reason(namespace, "initech", "SigningKeyMissing")

    await cluster.make_secret(SYSTEM, names.queue, stringData={"queue-keys": f"q1:{'A' * 43}="})
    await cluster.until_reason(namespace, "initech", "Reconciled")
    await operator.wait_ready(180)


async def test_tenants_have_a_condition_while_mongodb_is_away(cluster: Any, start: Any):
    await start(MONGODB_URL=f"mongodb://127.0.0.1:{free_port()}/?replicaSet=rs0")
    namespace = await cluster.namespace()
    await cluster.create_tenant(namespace, "initech")

    await cluster.until_reason(namespace, "initech", "StoreUnavailable")
