"""Which Secrets the operator writes and deletes. The API server is a fake that can refuse."""

import base64
from typing import Any

import pytest

from ocelot_common.auth.keys import new_signing_key
from ocelot_common.registry.model import Isolation, Tenant, TenantState
from ocelot_common.timestamps import EPOCH
from ocelot_operator.kubernetes import (
    ConflictError,
    ExistsError,
    KubernetesError,
    NotFoundError,
    Object,
)
from ocelot_operator.minting import Mint
from ocelot_operator.resource import read_resource
from ocelot_operator.secrets import TokenSecrets, TokenSecretsState

UID = "11111111-2222-3333-4444-555555555555"
INSTALLATION = "ocelot.dev/installation"
UNNAMED = {"app.kubernetes.io/managed-by": "ocelot-operator", "ocelot.dev/tenant-uid": UID}
LABELS = UNNAMED | {INSTALLATION: "ours"}
OWNER = {"apiVersion": "ocelot.dev/v1alpha1", "kind": "Tenant", "name": "acme", "uid": UID}
TENANT = Tenant(
    uid="0123456789abcdef",
    id="acme",
    version=1,
    display_name="Acme",
    owner="cli",
    isolation=Isolation.DEDICATED,
    state=TenantState.ACTIVE,
    space="logs_acme",
    created_at=EPOCH,
)
MINT = Mint(new_signing_key(), issuer="ocelot", audience="ocelot")


class Api:
    """The Secrets of one namespace."""

    def __init__(self) -> None:
        self.kept: dict[str, Object] = {}
        self.refused: set[str] = set()
        self.full: set[str] = set()
        self.undeletable: dict[str, KubernetesError] = {}
        self.writes = 0

    def put(self, name: str, **metadata: Any) -> Object:
        whole = {"namespace": "team", "name": name, "uid": name, "resourceVersion": "1", **metadata}
        self.kept[name] = {"metadata": whole, "data": {"password": "dGhlaXJz"}}
        return self.kept[name]

    async def secrets(self, namespace: str, *, label: str, value: str) -> list[Object]:
        assert namespace == "team"
        return [
            each
            for each in self.kept.values()
            if each["metadata"].get("labels", {}).get(label) == value
        ]

    async def create_secret(self, secret: Object) -> None:
        name = secret["metadata"]["name"]
        if name in self.kept:
            raise ExistsError(409, "AlreadyExists")
        if name in self.full:
            raise ConflictError(409, "Conflict")
        self._write(secret)

    async def replace_secret(self, secret: Object) -> None:
        self._write(secret)

    async def delete_secret(self, secret: Object) -> None:
        name = secret["metadata"]["name"]
        if name in self.undeletable:
            raise self.undeletable[name]
        del self.kept[name]

    def _write(self, secret: Object) -> None:
        self.writes += 1
        metadata = secret["metadata"]
        if metadata["name"] in self.refused:
            raise KubernetesError(403, "Forbidden")
        made = self.put(**{**metadata, "uid": metadata["name"], "resourceVersion": "2"})
        made["data"] = {
            name: base64.b64encode(value.encode()).decode()
            for name, value in secret["stringData"].items()
        }


@pytest.fixture
def api() -> Api:
    return Api()


async def ensure(api: Api, *names: str) -> tuple[list[str], list[str]]:
    """Make a pass with a client for each Secret; the names that were served, and the foreign."""
    state = await make_pass(api, *names)
    assert (state.reserved, state.failed) == ([], {})
    return [each.client.name for each in state.served], state.foreign


async def make_pass(
    api: Api,
    *names: str,
    reserved: list[tuple[str, str]] | None = None,
    installation: str = "ours",
    mint: Mint = MINT,
) -> TokenSecretsState:
    """Make a pass with a client for each Secret."""
    clients = [{"name": name, "scopes": ["logs:read"], "secretName": name} for name in names]
    resource = read_resource(
        {
            "metadata": {"namespace": "team", "name": "acme", "uid": UID},
            "spec": {"auth": {"clients": clients}},
        }
    )
    secrets = TokenSecrets(
        api,  # type: ignore[arg-type]
        api_url=f"http://{installation}",
        installation=installation,
        reserved=reserved or [],
    )
    return await secrets.ensure(resource, TENANT, mint)


async def test_a_good_secret_is_not_written_again(api: Api) -> None:
    assert await ensure(api, "a", "b") == (["a", "b"], [])
    assert await ensure(api, "a", "b") == (["a", "b"], [])
    assert api.writes == 2
    metadata = api.kept["a"]["metadata"]
    assert metadata["labels"] == LABELS
    assert metadata["ownerReferences"][0]["uid"] == UID


FOREIGN: dict[str, dict[str, Any]] = {
    "nothing of the operator": {},
    "its labels alone": {"labels": LABELS},
    "an ownerReference alone": {"ownerReferences": [OWNER]},
    "an ownerReference of an earlier resource": {
        "labels": LABELS,
        "ownerReferences": [OWNER | {"uid": "other"}],
    },
    "another manager": {
        "labels": LABELS | {"app.kubernetes.io/managed-by": "helm"},
        "ownerReferences": [OWNER],
    },
    "another installation": {
        "labels": LABELS | {INSTALLATION: "theirs"},
        "ownerReferences": [OWNER],
    },
}


@pytest.mark.parametrize("metadata", FOREIGN.values(), ids=FOREIGN)
async def test_a_secret_stays_that_has(api: Api, metadata: dict[str, Any]) -> None:
    api.put("a", **metadata)
    api.put("unnamed", **metadata)
    before = dict(api.kept)

    assert await ensure(api, "a", "b") == (["b"], ["a"])

    assert {name: api.kept[name] for name in before} == before


async def test_a_secret_that_cannot_be_written_keeps_no_other_from_being_written(api: Api) -> None:
    await ensure(api, "old")
    api.refused = {"a"}

    state = await make_pass(api, "a", "b")

    assert [each.client.name for each in state.served] == ["b"]
    assert {name: str(error) for name, error in state.failed.items()} == {"a": "403: Forbidden"}
    assert api.kept.keys() == {"b"}


async def test_a_secret_that_a_quota_refuses_is_not_somebody_elses(api: Api) -> None:
    """The API server answers 409 for both."""
    api.full = {"a"}

    state = await make_pass(api, "a", "b")

    assert [each.client.name for each in state.served] == ["b"]
    assert (state.foreign, state.failed.keys()) == ([], {"a"})


async def test_a_secret_that_cannot_be_deleted_keeps_no_other_from_being_deleted(api: Api) -> None:
    await ensure(api, "gone", "changed", "old")
    api.undeletable = {
        "gone": NotFoundError(404, "NotFound"),
        "changed": ConflictError(409, "Conflict"),
    }

    state = await make_pass(api, "b")

    assert [each.client.name for each in state.served] == ["b"]
    assert state.failed.keys() == {"changed"}  # a Secret that does not exist needs no deletion
    assert "old" not in api.kept


async def test_no_client_gets_the_name_of_a_key_secret(api: Api) -> None:
    """Neither while the key Secret is lost, nor one in another namespace is kept back."""
    reserved = [("team", "queue-keys"), ("system", "b")]

    state = await make_pass(api, "queue-keys", "b", reserved=reserved)

    assert ([each.client.name for each in state.served], state.foreign) == (["b"], [])
    assert state.reserved == ["queue-keys"]
    assert api.kept.keys() == {"b"}


@pytest.mark.parametrize("names", [("queue-keys",), ()], ids=["a client", "no client any more"])
async def test_a_key_secret_that_was_restored_over_a_token_secret_stays(
    api: Api, names: tuple[str, ...]
) -> None:
    """`kubectl apply` keeps labels and ownerReferences that the backup does not name."""
    before = api.put("queue-keys", labels=LABELS, ownerReferences=[OWNER])

    await make_pass(api, *names, reserved=[("team", "queue-keys")])

    assert api.kept["queue-keys"] is before


async def test_two_installations_do_not_replace_each_others_tokens(api: Api) -> None:
    """Both know the Tenant, and each has a key that the other one does not know."""
    theirs = Mint(new_signing_key(), issuer="ocelot", audience="ocelot")
    await make_pass(api, "a")
    before = dict(api.kept["a"])

    state = await make_pass(api, "a", installation="theirs", mint=theirs)
    removed = await make_pass(api, installation="theirs", mint=theirs)

    assert (state.served, state.foreign) == ([], ["a"])
    assert (removed.served, removed.foreign) == ([], [])
    assert api.kept["a"] == before
    assert await ensure(api, "a") == (["a"], [])
    assert api.kept["a"] == before


async def test_a_secret_that_names_no_installation_belongs_to_the_first_that_finds_it(
    api: Api,
) -> None:
    """An earlier release wrote no id."""
    await make_pass(api, "a")
    api.kept["a"]["metadata"]["labels"] = UNNAMED

    assert await ensure(api, "a") == (["a"], [])

    assert api.kept["a"]["metadata"]["labels"] == LABELS
    assert (await make_pass(api, "a", installation="theirs")).foreign == ["a"]
