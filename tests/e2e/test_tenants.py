"""A Tenant by `kubectl apply`, on a cluster whose operator and api run as pods."""

import secrets
import time
import uuid
from datetime import timedelta
from typing import Any

import pytest

from e2ekit.api import Api
from e2ekit.kubectl import Kubectl
from e2ekit.release import Release
from e2ekit.stores import Stores
from e2ekit.tenants import Account, account_of, apply_tenant, is_ready
from e2ekit.waiting import measured, until

#: Within which a Tenant is ready, and a change of it takes effect.
BOUND_SEC = 5.0
#: The operator's interval in the tests' values, OCELOT_OPERATOR_INTERVAL_SEC.
INTERVAL_SEC = 10.0
#: Of a shorter retention, OCELOT_RETENTION_DELAY_SEC in the tests' values.
DELAY_SEC = 2.0


def event() -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "action": "user.login",
        "actor": {"id": "u1", "type": "user"},
        "outcome": "success",
    }


def test_a_new_tenant_is_ready_and_its_token_writes_an_event_and_finds_it(
    ready: Release, kubectl: Kubectl, api: Api
):
    del ready
    name = f"t-{secrets.token_hex(4)}"
    began = time.monotonic()
    apply_tenant(kubectl, name)
    measured(
        lambda: is_ready(kubectl, name),
        what="kubectl apply until Ready",
        bound_sec=BOUND_SEC,
        began=began,
    )
    account = account_of(kubectl, name)
    written = time.monotonic()
    event_id = api.write(account.token, event())
    until(lambda: event_id in (api.search(account.token) or ()), what="the event in a search")
    print(f"from the first try to write until found: {time.monotonic() - written:.2f} s")


def test_changes_by_kubectl_take_effect_in_the_api(
    account: Account, kubectl: Kubectl, stores: Stores, api: Api
):
    kubectl.patch("tenant", account.id, {"spec": {"displayName": "Another name"}})

    def renamed() -> bool:
        tenant = stores.tenant(account.id)
        return tenant is not None and tenant.display_name == "Another name"

    measured(renamed, what="a changed displayName in the registry", bound_sec=BOUND_SEC)

    kubectl.patch("tenant", account.id, {"spec": {"retention": {"days": 1}}})
    until(lambda: is_ready(kubectl, account.id), what="Ready with a retention of 1 day")
    event_id = api.write(account.token, event())
    until(
        lambda: api.status_of(account.token, event_id) == 200,
        what="the event, younger than a day",
    )
    # The event becomes older instead of waiting for a day.
    stores.make_older(account.id, timedelta(days=2))
    until(
        lambda: api.status_of(account.token, event_id) == 404,
        what="an event older than the retention is not found",
        timeout_sec=60,
    )

    kubectl.patch("tenant", account.id, {"spec": {"retention": {"days": 10}}})
    measured(
        lambda: api.status_of(account.token, event_id) == 200,
        what="a longer retention in the api",
        bound_sec=BOUND_SEC,
    )

    kubectl.patch("tenant", account.id, {"spec": {"retention": {"days": 1}}})
    measured(
        lambda: api.status_of(account.token, event_id) == 404,
        what=f"a shorter retention in the api, after its delay of {DELAY_SEC:g} s",
        bound_sec=DELAY_SEC + BOUND_SEC,
    )


def test_a_deleted_token_secret_comes_back(account: Account, kubectl: Kubectl, api: Api):
    kubectl.run("delete", "secret", account.secret)
    # An interval has up to a tenth more.
    found = measured(
        lambda: kubectl.secret(account.secret),
        what=f"a deleted token Secret, with an interval of {INTERVAL_SEC:g} s",
        bound_sec=1.1 * INTERVAL_SEC + BOUND_SEC,
    )
    assert found["tenant"] == account.id
    api.write(found["token"], event())


@pytest.mark.parametrize("pause_sec", [0.0, 0.3, 1.0])
def test_a_create_goes_on_after_the_operator_is_killed(
    ready: Release, kubectl: Kubectl, stores: Stores, api: Api, pause_sec: float
):
    names = [f"t-{secrets.token_hex(4)}" for _ in range(4)]
    (operator,) = ready.pods("operator")
    for name in names:
        apply_tenant(kubectl, name)
    time.sleep(pause_sec)
    kubectl.run("delete", "pod", operator["metadata"]["name"], "--force", "--grace-period=0")
    begun = [name for name in names if stores.tenant(name) is not None]
    finished = [name for name in names if is_ready(kubectl, name)]
    print(f"killed with {len(finished)} of 4 ready, {len(begun)} in the registry")

    for name in names:
        until(lambda name=name: is_ready(kubectl, name), what=f"Ready of {name}")
        account = account_of(kubectl, name)
        tenant = stores.tenant(name)
        resource = kubectl.get("tenant", name)
        assert tenant is not None
        assert resource is not None
        assert resource["status"]["uid"] == tenant.uid
        api.write(account.token, event())
