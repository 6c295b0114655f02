"""A Tenant resource from its creation to its deletion."""

import asyncio
import random
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from ocelot_common.registry.model import ResourceOwner, Tenant, TenantState

EXAMPLE = Path(__file__).parents[3] / "examples/tenant.yaml"
WRITER = {"name": "app", "scopes": ["logs:write", "logs:read"], "secretName": "app-token"}
EVENT = {
    "action": "user.login",
    "actor": {"id": "u1", "type": "user"},
    "outcome": "success",
}

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.mongodb,
    pytest.mark.opensearch,
    pytest.mark.timeout(3_600),  # the first test on a machine may wait for Kubernetes to be built
]


@pytest.fixture
def tenant_id() -> str:
    return f"t-{secrets.token_hex(5)}"


async def registered(running: Any, tenant_id: str) -> Tenant:
    """The tenant in the registry."""
    found = await running.maker.store.live_tenant(tenant_id)
    assert found is not None
    return found


async def until_registered(running: Any, tenant_id: str, **wanted: Any) -> Tenant:
    """Wait until the registry has these values of a tenant."""

    async def there() -> Tenant | None:
        found = await registered(running, tenant_id)
        values = {name: getattr(found, name) for name in wanted}
        return found if values == wanted else None

    return await running.eventually(there, what=f"{wanted} in the registry")


def bearer(data: dict[str, str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {data['token']}"}


async def test_the_token_of_a_new_tenant_writes_an_event_and_finds_it(
    running: Any, cluster: Any, operator: Any, tenant_id: str, secret_texts: Any
):
    del operator
    namespace = await cluster.namespace()
    await cluster.create_tenant(
        namespace, tenant_id, displayName="Acme", auth={"clients": [WRITER]}
    )

    status = await cluster.until_reason(namespace, tenant_id, "Reconciled")
    tenant = await registered(running, tenant_id)
    resource = await cluster.tenant(namespace, tenant_id)
    assert (status["tenantId"], status["uid"]) == (tenant_id, tenant.uid)
    assert tenant.display_name == "Acme"
    assert tenant.owner == ResourceOwner(
        kind="Tenant",
        cluster="test-cluster",
        namespace=namespace,
        name=tenant_id,
        uid=resource["metadata"]["uid"],
    )
    data = secret_texts(await cluster.secret(namespace, "app-token"))
    assert (data["tenant"], data["url"]) == (tenant_id, running.api.url)
    assert data["expires"] == status["clients"][0]["expiresAt"]

    async def accepted() -> bool:
        answer = await running.http.post("/api/v1/logs", json=EVENT, headers=bearer(data))
        return answer.status_code == 202

    await running.eventually(accepted, what="an accepted event")

    async def found() -> Any:
        answer = await running.http.get("/api/v1/logs", headers=bearer(data))
        return answer.json()["items"] or None if answer.status_code == 200 else None

    (event,) = await running.eventually(found, what="the event in a search")
    assert event["writer"] == f"app@{tenant_id}"


async def test_the_example_is_a_tenant(running: Any, cluster: Any, operator: Any):
    del operator
    namespace = await cluster.namespace()
    example = yaml.safe_load(EXAMPLE.read_text())
    name = f"t-{secrets.token_hex(5)}"
    await cluster.create_tenant(namespace, name, **example["spec"])

    status = await cluster.until_reason(namespace, name, "Reconciled")
    assert status["retention"] == {"days": 365}
    for client in example["spec"]["auth"]["clients"]:
        assert await cluster.secret(namespace, client["secretName"])


async def test_a_changed_spec_changes_the_tenant(
    running: Any, cluster: Any, operator: Any, tenant_id: str
):
    del operator
    namespace = await cluster.namespace()
    await cluster.create_tenant(namespace, tenant_id, retention={"days": 30})
    await cluster.until_reason(namespace, tenant_id, "Reconciled")
    before = await registered(running, tenant_id)

    await cluster.patch_tenant(namespace, tenant_id, {"displayName": "New name"})
    await until_registered(running, tenant_id, display_name="New name")

    await cluster.patch_tenant(namespace, tenant_id, {"retention": {"days": 60}})
    await until_registered(running, tenant_id, retention_days=60, pending_retention=None)

    await cluster.patch_tenant(namespace, tenant_id, {"retention": None})
    after = await until_registered(running, tenant_id, retention_days=None)
    assert after.uid == before.uid

    async def no_retention() -> bool:
        return "retention" not in (await cluster.tenant(namespace, tenant_id))["status"]

    await running.eventually(no_retention, what="a status without retention")


async def test_a_shorter_retention_is_announced_before_it_takes_effect(
    running: Any, cluster: Any, operator: Any, tenant_id: str
):
    del operator
    namespace = await cluster.namespace()
    await cluster.create_tenant(namespace, tenant_id, retention={"days": 30})
    await cluster.until_reason(namespace, tenant_id, "Reconciled")

    asked_at = datetime.now(UTC)
    await cluster.patch_tenant(namespace, tenant_id, {"retention": {"days": 7}})

    async def status_of() -> Any:
        return (await cluster.tenant(namespace, tenant_id))["status"].get("retention")

    async def announced() -> Any:
        found = await status_of()
        return found if "pendingDays" in found else None

    retention = await running.eventually(announced, what="a pending retention")
    assert (retention["days"], retention["pendingDays"]) == (30, 7)
    assert datetime.fromisoformat(retention["effectiveAt"]) > asked_at

    async def in_force() -> bool:
        return bool(await status_of() == {"days": 7})

    await running.eventually(in_force, what="the shorter retention")


async def test_a_second_tenant_of_an_id_is_refused_and_touches_nothing(
    running: Any, cluster: Any, operator: Any, tenant_id: str, ready_condition: Any
):
    del operator
    first, second = await cluster.namespace(), await cluster.namespace()
    await cluster.create_tenant(first, "first", tenantId=tenant_id, displayName="First")
    await cluster.until_reason(first, "first", "Reconciled")
    before = await registered(running, tenant_id)

    client = {**WRITER, "secretName": "stolen"}
    await cluster.create_tenant(
        second, "second", tenantId=tenant_id, displayName="Second", auth={"clients": [client]}
    )
    status = await cluster.until_reason(second, "second", "TenantIdTaken")

    message = ready_condition(status)["message"]
    assert tenant_id in message
    assert first not in message
    assert "uid" not in status
    assert await cluster.secret(second, "stolen") is None
    assert await registered(running, tenant_id) == before

    await cluster.delete_tenant(first, "first")
    await asyncio.sleep(2)  # two passes over the second one
    await cluster.until_reason(second, "second", "TenantIdTaken")
    assert await registered(running, tenant_id) == before


async def test_a_secret_of_somebody_else_is_not_touched(
    running: Any, cluster: Any, operator: Any, tenant_id: str
):
    """Not even one that has the operator's labels."""
    del operator
    namespace = await cluster.namespace()
    foreign = await cluster.make_secret(namespace, "app-token", stringData={"password": "theirs"})
    other = {"name": "other", "scopes": ["logs:read"], "secretName": "other-token"}
    await cluster.create_tenant(namespace, tenant_id, auth={"clients": [WRITER, other]})

    status = await cluster.until_reason(namespace, tenant_id, "SecretNotOwned")
    assert [each["name"] for each in status["clients"]] == ["other"]
    uid = (await cluster.tenant(namespace, tenant_id))["metadata"]["uid"]
    labels = {"app.kubernetes.io/managed-by": "ocelot-operator", "ocelot.dev/tenant-uid": uid}
    await cluster.patch_secret(namespace, "app-token", {"metadata": {"labels": labels}})
    await cluster.make_secret(namespace, "labelled", metadata={"labels": labels})
    await asyncio.sleep(2)  # two passes
    await cluster.until_reason(namespace, tenant_id, "SecretNotOwned")
    assert (await cluster.secret(namespace, "app-token"))["data"] == foreign["data"]
    assert await cluster.secret(namespace, "labelled")

    await cluster.delete_secret(namespace, "app-token")
    await cluster.until_reason(namespace, tenant_id, "Reconciled")


@pytest.mark.parametrize(
    "patch",
    [
        {"data": {"token": "Zm9yZ2Vk"}},
        {"data": {"url": "aHR0cDovL2V2aWw="}},
        {"data": {"more": "bW9yZQ=="}},
        {"data": {"token": None}, "immutable": True},
        None,
    ],
    ids=["token", "url", "more", "immutable", "deleted"],
)
async def test_a_token_secret_comes_back(
    running: Any, cluster: Any, operator: Any, tenant_id: str, secret_texts: Any, patch: Any
):
    del operator
    namespace = await cluster.namespace()
    await cluster.create_tenant(namespace, tenant_id, auth={"clients": [WRITER]})
    await cluster.until_reason(namespace, tenant_id, "Reconciled")
    before = await cluster.secret(namespace, "app-token")
    version = before["metadata"]["resourceVersion"]

    if patch is None:
        await cluster.delete_secret(namespace, "app-token")
    else:
        await cluster.patch_secret(namespace, "app-token", patch)

    async def whole() -> bool:
        """As before, but for the token, which may be a new one."""
        found = await cluster.secret(namespace, "app-token")
        if found is None or found["metadata"]["resourceVersion"] == version:
            return False
        data = secret_texts(found)
        known = {name: secret_texts(before)[name] for name in ("tenant", "url")}
        return bool(
            data.keys() == secret_texts(before).keys()
            and known.items() <= data.items()
            and data["token"].count(".") == 2
        )

    await running.eventually(whole, what="the token Secret")


async def test_a_client_that_is_removed_loses_its_secret(
    running: Any, cluster: Any, operator: Any, tenant_id: str
):
    del running, operator
    namespace = await cluster.namespace()
    await cluster.create_tenant(namespace, tenant_id, auth={"clients": [WRITER]})
    await cluster.until_reason(namespace, tenant_id, "Reconciled")

    await cluster.patch_tenant(namespace, tenant_id, {"auth": {"clients": []}})

    await cluster.until_no_secret(namespace, "app-token")
    status = await cluster.until_reason(namespace, tenant_id, "Reconciled")
    assert status["clients"] == []


async def test_a_deleted_resource_leaves_the_tenant_and_the_same_one_takes_it_over(
    running: Any, cluster: Any, operator: Any, tenant_id: str
):
    del operator
    namespace = await cluster.namespace()
    await cluster.create_tenant(namespace, tenant_id, auth={"clients": [WRITER]})
    await cluster.until_reason(namespace, tenant_id, "Reconciled")
    before = await registered(running, tenant_id)

    await cluster.delete_tenant(namespace, tenant_id)

    await cluster.until_no_secret(namespace, "app-token")  # by the garbage collector
    after = await registered(running, tenant_id)
    assert (after.uid, after.state) == (before.uid, TenantState.ACTIVE)

    other = await cluster.namespace()
    await cluster.create_tenant(other, tenant_id)
    await cluster.until_reason(other, tenant_id, "TenantIdTaken")

    await cluster.create_tenant(namespace, tenant_id, auth={"clients": [WRITER]})
    status = await cluster.until_reason(namespace, tenant_id, "Reconciled")
    assert status["uid"] == before.uid
    uid = (await cluster.tenant(namespace, tenant_id))["metadata"]["uid"]
    owner = (await registered(running, tenant_id)).owner
    assert isinstance(owner, ResourceOwner)
    assert owner.uid == uid
    await cluster.until_secret(namespace, "app-token")


async def test_a_tenant_of_the_command_line_is_not_taken_over(
    running: Any, cluster: Any, operator: Any, tenant_id: str
):
    del operator
    await running.maker.create(tenant_id)
    made = await registered(running, tenant_id)
    namespace = await cluster.namespace()
    await cluster.create_tenant(namespace, tenant_id, displayName="Mine")

    await cluster.until_reason(namespace, tenant_id, "TenantIdTaken")
    assert await registered(running, tenant_id) == made


async def test_an_operator_that_is_killed_during_creates_finishes_them(
    running: Any, cluster: Any, operator: Any
):
    namespace = await cluster.namespace()
    names = [f"t-{secrets.token_hex(5)}" for _ in range(5)]
    for name in names:
        await cluster.create_tenant(
            namespace, name, auth={"clients": [{**WRITER, "secretName": f"{name}-token"}]}
        )
        await asyncio.sleep(random.uniform(0, 0.5))
        await operator.kill()
        await operator.start()

    for name in names:
        status = await cluster.until_reason(namespace, name, "Reconciled")
        assert await cluster.secret(namespace, f"{name}-token")
        rows = [row for row in await running.maker.store.tenants(tombstones=True) if row.id == name]
        assert [row.uid for row in rows] == [status["uid"]]


async def test_an_operator_that_starts_looks_at_every_tenant(
    running: Any, cluster: Any, operator: Any, tenant_id: str
):
    del running
    namespace = await cluster.namespace()
    await cluster.create_tenant(namespace, tenant_id, auth={"clients": [WRITER]})
    await cluster.until_reason(namespace, tenant_id, "Reconciled")

    await operator.stop()
    await cluster.delete_secret(namespace, "app-token")
    await operator.start()

    await cluster.until_secret(namespace, "app-token")


async def test_a_change_after_a_restart_of_the_api_server_takes_effect(
    running: Any, cluster: Any, operator: Any, control_plane: Any, tenant_id: str
):
    namespace = await cluster.namespace()
    await cluster.create_tenant(namespace, tenant_id)
    await cluster.until_reason(namespace, tenant_id, "Reconciled")
    pid = operator.pid

    await control_plane.apiserver.stop()
    await control_plane.apiserver.start()
    await control_plane.apiserver.wait_ready(180)
    await cluster.patch_tenant(namespace, tenant_id, {"displayName": "After"})

    await until_registered(running, tenant_id, display_name="After")
    await cluster.create_tenant(namespace, f"{tenant_id}-2")
    await cluster.until_reason(namespace, f"{tenant_id}-2", "Reconciled")
    assert operator.running
    assert operator.pid == pid


async def test_a_status_that_was_emptied_comes_back_and_is_written_only_when_it_changes(
    running: Any, cluster: Any, operator: Any, tenant_id: str
):
    del running, operator
    namespace = await cluster.namespace()
    await cluster.create_tenant(namespace, tenant_id, auth={"clients": [WRITER]})
    status = await cluster.until_reason(namespace, tenant_id, "Reconciled")

    path = f"/apis/ocelot.dev/v1alpha1/namespaces/{namespace}/tenants/{tenant_id}/status"
    answer = await cluster.http.patch(
        path, json={"status": None}, headers={"Content-Type": "application/merge-patch+json"}
    )
    assert answer.status_code == 200
    again = await cluster.until_reason(namespace, tenant_id, "Reconciled")
    assert again["clients"] == status["clients"]

    version = (await cluster.tenant(namespace, tenant_id))["metadata"]["resourceVersion"]
    await asyncio.sleep(3)  # three passes
    assert (await cluster.tenant(namespace, tenant_id))["metadata"]["resourceVersion"] == version
