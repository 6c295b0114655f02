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
