"""What the API server itself refuses, by the schema of the CustomResourceDefinition."""

from typing import Any

import pytest

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(3_600)]

CLIENT = {"name": "app", "scopes": ["logs:write"], "secretName": "app-token"}


def clients(*changes: dict[str, Any]) -> dict[str, Any]:
    return {"auth": {"clients": [CLIENT | each for each in changes]}}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a tenant id in capitals": ({"tenantId": "ACME"}, "spec.tenantId"),
    "a tenant id with control characters": ({"tenantId": "a\x1b[2J"}, "spec.tenantId"),
    "a tenant id of 41 characters": ({"tenantId": "a" * 41}, "spec.tenantId"),
    "a tenant id with a line feed": ({"tenantId": "acme\n"}, "spec.tenantId"),
    "an empty tenant id": ({"tenantId": ""}, "spec.tenantId"),
    "a reserved tenant id": ({"tenantId": "shared"}, "reserved"),
    "a number as tenant id": ({"tenantId": 7}, "spec.tenantId"),
    "control characters in the display name": ({"displayName": "a\x1b[2J"}, "spec.displayName"),
    "a long display name": ({"displayName": "x" * 257}, "spec.displayName"),
    "another isolation": ({"isolation": "None"}, "spec.isolation"),
    "no day of retention": ({"retention": {"days": 0}}, "spec.retention.days"),
    "more days than a century": ({"retention": {"days": 36_501}}, "spec.retention.days"),
    "half a day": ({"retention": {"days": 0.5}}, "spec.retention.days"),
    "six replicas": ({"search": {"replicas": 6}}, "spec.search.replicas"),
    "replicas of a Shared tenant": (
        {"isolation": "Shared", "search": {"replicas": 1}},
        "spec.search.replicas needs spec.isolation Dedicated",
    ),
    "another deletion policy": ({"deletionPolicy": "Delete"}, "spec.deletionPolicy"),
    "a scope over the installation": (clients({"scopes": ["tenants:admin"]}), "scopes"),
    "a scope to delete": (clients({"scopes": ["logs:delete"]}), "scopes"),
    "a scope twice": (clients({"scopes": ["logs:read", "logs:read"]}), "scopes"),
    "no scope": (clients({"scopes": []}), "scopes"),
    "a client without name": ({"auth": {"clients": [{"scopes": ["logs:read"]}]}}, "name"),
    "two clients of a name": (clients({}, {"secretName": "other"}), "clients"),
    "two clients of a Secret": (clients({}, {"name": "other"}), "the same secretName"),
    "a Secret with two dots in a row": (clients({"secretName": "a..b"}), "secretName"),
    "a Secret with a hyphen behind a dot": (clients({"secretName": "a.-b"}), "secretName"),
    "a path as Secret": (clients({"secretName": "../x"}), "secretName"),
    "17 clients": (
        clients(*({"name": f"c{n}", "secretName": f"s{n}"} for n in range(17))),
        "spec.auth.clients",
    ),
    "a megabyte of clients": (
        clients(*({"name": f"c{n}", "secretName": "x" * 200} for n in range(4_000))),
        "spec.auth.clients",
    ),
    "a life of a minute": (clients({"ttl": "1m"}), "10m to 2160h"),
    "a life of 91 days": (clients({"ttl": "2184h"}), "10m to 2160h"),
    "a life without unit": (clients({"ttl": "720"}), "in whole hours or minutes"),
    "a life in days": (clients({"ttl": "30d"}), "in whole hours or minutes"),
    "a life in hours and minutes": (clients({"ttl": "1h30m"}), "in whole hours or minutes"),
}
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "the tenant id": ({"tenantId": "acme-1"}, {"tenantId": "acme-2"}, "spec.tenantId"),
    "the tenant id that is the name": ({}, {"tenantId": "other"}, "spec.tenantId"),
    "the tenant id to the name": ({"tenantId": "acme-1"}, {"tenantId": None}, "spec.tenantId"),
    "the isolation": ({}, {"isolation": "Shared"}, "spec.isolation"),
    "the isolation by leaving it out": (
        {"isolation": "Shared"},
        {"isolation": None},
        "spec.isolation",
    ),
    "the replicas": ({"search": {"replicas": 0}}, {"search": {"replicas": 1}}, "spec.search"),
    "the replicas by leaving them out": ({"search": {"replicas": 0}}, {"search": None}, "replicas"),
    "the replicas that were not set": ({}, {"search": {"replicas": 1}}, "spec.search.replicas"),
}


@pytest.mark.parametrize(("spec", "told"), REFUSED.values(), ids=REFUSED)
async def test_a_tenant_is_refused_with(cluster: Any, spec: dict[str, Any], told: str):
    answer = await cluster.post_tenant("default", "refused", spec)
    assert answer.status_code == 422, answer.text
    assert told in answer.json()["message"]


@pytest.mark.parametrize("name", ["a.b", "a" * 41, "default", "tenants"])
async def test_a_name_that_is_no_tenant_id_needs_one(cluster: Any, name: str):
    refused = await cluster.post_tenant("default", name, {})
    assert refused.status_code == 422, refused.text
    assert "Set spec.tenantId" in refused.json()["message"]

    namespace = await cluster.namespace()
    await cluster.create_tenant(namespace, name, tenantId=f"{namespace}-x")


@pytest.mark.parametrize(("spec", "change", "told"), CHANGES.values(), ids=CHANGES)
async def test_nobody_can_change(
    cluster: Any, spec: dict[str, Any], change: dict[str, Any], told: str
):
    namespace = await cluster.namespace()
    await cluster.create_tenant(namespace, namespace, **spec)
    answer = await cluster.patch_tenant(namespace, namespace, change)
    assert answer.status_code == 422, answer.text
    assert told in answer.json()["message"]


async def test_what_is_left_out_has_defaults(cluster: Any):
    namespace = await cluster.namespace()
    await cluster.create_tenant(namespace, namespace, **clients({}))
    spec = (await cluster.tenant(namespace, namespace))["spec"]
    assert (spec["isolation"], spec["deletionPolicy"]) == ("Dedicated", "Retain")
    assert spec["auth"]["clients"][0]["ttl"] == "720h"
    assert "search" not in spec


async def test_the_columns_are_what_people_look_for(cluster: Any):
    namespace = await cluster.namespace()
    await cluster.create_tenant(namespace, namespace)
    answer = await cluster.http.get(
        f"/apis/ocelot.dev/v1alpha1/namespaces/{namespace}/tenants",
        headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"},
    )
    columns = [each["name"] for each in answer.json()["columnDefinitions"]]
    assert columns == [
        "Name", "Ready", "Reason", "Tenant", "Isolation", "Retention", "UID", "Age",
    ]  # fmt: skip
