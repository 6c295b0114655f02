"""Whose Secret is whose."""

from typing import Any

import pytest

SYSTEM = "ocelot-system"

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.mongodb,
    pytest.mark.timeout(3_600),
]


def client(secret_name: str) -> dict[str, Any]:
    return {"clients": [{"name": "app", "scopes": ["logs:write"], "secretName": secret_name}]}


async def test_no_tenant_gets_the_name_of_a_key_secret_even_while_that_is_lost(
    cluster: Any, start: Any, names: Any, ready_condition: Any
):
    """It would be overwritten with a token when it is restored from the backup."""
    operator = await start()
    await operator.wait_ready(180)
    key = await cluster.secret(SYSTEM, names.queue)
    await cluster.delete_secret(SYSTEM, names.queue)

    await cluster.create_tenant(SYSTEM, "initech", auth=client(names.queue))

    status = await cluster.until_reason(SYSTEM, "initech", "SecretNotOwned")
    assert "reserved" in ready_condition(status)["message"]
    assert await cluster.secret(SYSTEM, names.queue) is None

    await cluster.make_secret(SYSTEM, names.queue, data=key["data"])
    await cluster.patch_tenant(SYSTEM, "initech", {"auth": {"clients": []}})
    await cluster.until_reason(SYSTEM, "initech", "Reconciled")
    assert (await cluster.secret(SYSTEM, names.queue))["data"] == key["data"]


async def test_the_operators_of_two_installations_do_not_replace_each_others_tokens(
    cluster: Any, start: Any, names: Any, make_installation: Any, ready_condition: Any, until: Any
):
    """Each has its own database and keys, and both watch the whole cluster."""
    first = await start()
    await first.wait_ready(180)
    namespace = await cluster.namespace()
    await cluster.create_tenant(namespace, "initech", auth=client("app-token"))
    await cluster.until_reason(namespace, "initech", "Reconciled")
    before = await cluster.secret(namespace, "app-token")

    second = await start(await make_installation(), names=type(names)(), api_url="http://other")
    await second.wait_ready(180)

    await cluster.until_reason(namespace, "initech", "SecretNotOwned")  # of the second
    await cluster.until_reason(namespace, "initech", "Reconciled")  # of the first, behind it
    after = await cluster.secret(namespace, "app-token")
    assert after["data"] == before["data"]

    await first.stop()
    await cluster.until_reason(namespace, "initech", "SecretNotOwned")
    await cluster.delete_secret(namespace, "app-token")
    await cluster.until_reason(namespace, "initech", "Reconciled")


async def test_a_secret_of_an_earlier_release_gets_the_id_of_the_installation(
    cluster: Any, start: Any, until: Any
):
    operator = await start()
    await operator.wait_ready(180)
    namespace = await cluster.namespace()
    await cluster.create_tenant(namespace, "initech", auth=client("app-token"))
    await cluster.until_reason(namespace, "initech", "Reconciled")
    labels = (await cluster.secret(namespace, "app-token"))["metadata"]["labels"]

    none = {"metadata": {"labels": {"ocelot.dev/installation": None}}}
    await cluster.patch_secret(namespace, "app-token", none)

    async def labelled() -> bool:
        found = await cluster.secret(namespace, "app-token")
        return bool(found["metadata"]["labels"] == labels)

    await until(labelled, what="the label of the installation")
    assert "ocelot.dev/installation" in labels
    await cluster.until_reason(namespace, "initech", "Reconciled")
