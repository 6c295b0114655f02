"""What the operator accepts of a Tenant, beside what the API server's schema refuses."""

from datetime import timedelta
from typing import Any

import pytest

from ocelot_common.registry.model import Isolation, ResourceOwner
from ocelot_operator.resource import InvalidResourceError, read_resource

CLIENT = {"name": "app", "scopes": ["logs:write"], "secretName": "app-token"}


def body(name: str = "acme", **spec: Any) -> dict[str, Any]:
    metadata = {"namespace": "team", "name": name, "uid": "u1", "generation": 3}
    return {"metadata": metadata, "spec": spec}


def test_a_resource_says_what_the_tenant_is_asked_to_be() -> None:
    resource = read_resource(
        body(
            tenantId="acme-eu",
            displayName="Acme",
            retention={"days": 30},
            search={"replicas": 0},
            auth={"clients": [{**CLIENT, "ttl": "90m"}]},
        )
    )
    spec = resource.tenant_spec("c1")
    assert (spec.id, spec.display_name, spec.isolation) == ("acme-eu", "Acme", Isolation.DEDICATED)
    assert (spec.retention_days, spec.replicas) == (30, 0)
    assert spec.owner == ResourceOwner(
        kind="Tenant", cluster="c1", namespace="team", name="acme", uid="u1"
    )
    assert resource.clients[0].lifetime == timedelta(minutes=90)


def test_an_empty_spec_is_a_dedicated_tenant_of_the_resources_name() -> None:
    resource = read_resource(body())
    spec = resource.tenant_spec("c1")
    assert (spec.id, spec.retention_days, spec.replicas) == ("acme", None, None)
    assert resource.clients == []


def test_fields_of_a_newer_version_are_passed_over() -> None:
    assert read_resource(body(quota={"events": 1})).tenant_id == "acme"


INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "a name that is no tenant id": (body("a.b"), "tenant id"),
    "a reserved name": (body("default"), "reserved"),
    "a hostile tenant id": (body(tenantId="x\x1b[2J"), "tenant id"),
    "a tenant id of another type": (body(tenantId=7), "spec.tenantId"),
    "a spec that is a list": (body() | {"spec": []}, "spec"),
    "a display name that reorders text": (body(displayName="a\u202eb"), "displayName"),
    "a long display name": (body(displayName="x" * 257), "displayName"),
    "another isolation": (body(isolation="shared"), "isolation"),
    "no retention at all": (body(retention={"days": 0}), "days"),
    "a retention of half a day": (body(retention={"days": 0.5}), "days"),
    "replicas of a Shared tenant": (body(isolation="Shared", search={"replicas": 1}), "replicas"),
    "another deletion policy": (body(deletionPolicy="Delete"), "deletionPolicy"),
    "too many clients": (
        body(auth={"clients": [CLIENT | {"name": f"c{n}"} for n in range(17)]}),
        "clients",
    ),
    "two clients of a name": (
        body(auth={"clients": [CLIENT, CLIENT | {"secretName": "other"}]}),
        "same name",
    ),
    "two clients of a Secret": (
        body(auth={"clients": [CLIENT, CLIENT | {"name": "other"}]}),
        "same secretName",
    ),
}  # fmt: skip
HOSTILE_CLIENTS: dict[str, dict[str, Any]] = {
    "a scope over the installation": {"scopes": ["tenants:admin"]},
    "a scope to delete": {"scopes": ["logs:delete"]},
    "a scope to administer": {"scopes": ["logs:admin"]},
    "no scope": {"scopes": []},
    "a path as Secret": {"secretName": "../../kube-system/secrets/x"},
    "a Secret's name with a line feed": {"secretName": "app-token\n"},
    "a Secret with two dots in a row": {"secretName": "a..b"},
    "a Secret with a hyphen behind a dot": {"secretName": "a.-b"},
    "a client's name with a space": {"name": "a b"},
    "a client's name with a line feed": {"name": "app\n"},
    "a life of a minute": {"ttl": "1m"},
    "a life of 91 days": {"ttl": "2184h"},
    "a life without unit": {"ttl": "720"},
    "a life that overflows": {"ttl": "9" * 400 + "h"},
}


@pytest.mark.parametrize(("hostile", "told"), INVALID.values(), ids=INVALID)
def test_a_resource_is_refused_with(hostile: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidResourceError, match=told) as refused:
        read_resource(hostile)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("changes", HOSTILE_CLIENTS.values(), ids=HOSTILE_CLIENTS)
def test_a_client_is_refused_with(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidResourceError):
        read_resource(body(auth={"clients": [CLIENT | changes]}))


def test_a_secret_may_have_a_name_with_dots() -> None:
    resource = read_resource(body(auth={"clients": [CLIENT | {"secretName": "a.b-c.0"}]}))
    assert resource.clients[0].secret_name == "a.b-c.0"
