"""Upgrade, rollback, uninstall and install again keep keys, tenants and tokens."""

import uuid
from typing import Any

from e2ekit.api import Api
from e2ekit.kubectl import Kubectl
from e2ekit.release import NAME, Release
from e2ekit.stores import Stores
from e2ekit.tenants import Account, is_ready
from e2ekit.waiting import until


def test_keys_tenants_and_tokens_outlive_upgrade_rollback_and_a_new_installation(
    account: Account, release: Release, kubectl: Kubectl, stores: Stores, api: Api
):
    keys = keys_of(kubectl)
    uid = uid_of(stores, account)
    events = [api.write(account.token, event())]

    def check(step: str) -> None:
        assert keys_of(kubectl) == keys, step
        assert uid_of(stores, account) == uid, step
        until(lambda: is_ready(kubectl, account.id), what=f"Ready after the {step}")
        events.append(api.write(account.token, event()))
        until(
            lambda: set(events) == set(api.search(account.token) or ()),
            what=f"all events in a search after the {step}",
        )

    release.upgrade({"logLevel": "DEBUG", "api": {"replicas": 3}})
    assert release.ready_replicas("api") == 3
    check("upgrade")

    release.rollback()
    assert release.ready_replicas("api") == 2
    check("rollback")

    release.uninstall()
    api.close()
    assert keys_of(kubectl) == keys
    resource = kubectl.get("tenant", account.id)
    assert resource is not None
    assert "finalizers" not in resource["metadata"]
    assert kubectl.secret(account.secret) is not None

    release.install()
    release.wait_ready()
    check("new installation")


def keys_of(kubectl: Kubectl) -> list[dict[str, str] | None]:
    """The Secrets of both keys."""
    found = [kubectl.secret(f"{NAME}-signing-key"), kubectl.secret(f"{NAME}-queue-keys")]
    assert all(found)
    return found


def uid_of(stores: Stores, account: Account) -> str:
    tenant = stores.tenant(account.id)
    assert tenant is not None
    return tenant.uid


def event() -> dict[str, Any]:
    return {"id": str(uuid.uuid4()), "action": "user.login", "actor": {"id": "u1"}}
