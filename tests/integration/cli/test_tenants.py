"""`ocelot tenants` and `ocelot tokens` on a real installation."""

import asyncio
import json
import secrets
from typing import Any

import msgspec
import pytest

from ocelot_common.registry.model import ResourceOwner, Tenant, TenantState
from ocelot_common.registry.store import RegistryStore, RegistryTransaction

EVENT = {"action": "a.b", "actor": {"id": "jane"}}
pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]


@pytest.fixture
def tenant_id() -> str:
    return f"c-{secrets.token_hex(5)}"


async def token(ocelot: Any, tenant_id: str, role: str = "admin", **env: str) -> dict[str, str]:
    made = await ocelot.ok("tokens", "create", "--tenant", tenant_id, "--role", role, **env)
    return {"OCELOT_TOKEN": made.out.strip()}


async def shown(ocelot: Any, tenant_id: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = (await ocelot.ok("tenants", "show", tenant_id, "--json")).events
    assert len(found) == 1
    return found[0]


async def answer_to_a_write(running: Any, env: dict[str, str]) -> Any:
    answer = await running.http.post(
        "/api/v1/logs", json=EVENT, headers={"Authorization": f"Bearer {env['OCELOT_TOKEN']}"}
    )
    return answer.status_code


async def until_status(running: Any, env: dict[str, str], status: int) -> None:
    async with asyncio.timeout(120):
        while True:
            if await answer_to_a_write(running, env) == status:
                return
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("isolation", ["dedicated", "shared"])
async def test_a_tenant_is_made_listed_and_shown(ocelot: Any, tenant_id: str, isolation: str):
    made = await ocelot.ok(
        "tenants", "create", tenant_id, "--isolation", isolation, "--retention-days", "30"
    )
    again = await ocelot.ok("tenants", "create", tenant_id, "--isolation", isolation)

    assert made.err == again.err
    listed = (await ocelot.ok("tenants", "list", "--json")).events
    [entry] = [each for each in listed if each["id"] == tenant_id]
    assert entry["isolation"].lower() == isolation
    assert entry["retention_days"] == 30
    assert entry["uid"] in made.err
    assert tenant_id in (await ocelot.ok("tenants", "list")).out
    found = await shown(ocelot, tenant_id)
    assert found["tenant"] == entry
    assert found["space"]["indices"]
    assert entry["uid"] in (await ocelot.ok("tenants", "show", tenant_id)).out


async def test_indices_are_made_as_the_options_say(ocelot: Any, tenant_id: str):
    await ocelot.ok("tenants", "create", tenant_id, "--period", "Year", "--shards", "2")

    space = (await shown(ocelot, tenant_id))["space"]

    assert (space["period"], space["shards"]) == ("Year", 2)
    assert all(
        entry["index"].startswith(ocelot.env["OCELOT_INDEX_PREFIX"]) for entry in space["indices"]
    )


async def test_making_a_tenant_again_changes_nothing_and_says_so(ocelot: Any, tenant_id: str):
    await ocelot.ok("tenants", "create", tenant_id, "--retention-days", "30", "--period", "Year")
    before = await shown(ocelot, tenant_id)

    await ocelot.ok("tenants", "create", tenant_id)
    await ocelot.ok("tenants", "create", tenant_id, "--retention-days", "30", "--period", "Year")
    other = await ocelot(
        "tenants", "create", tenant_id, "--retention-days", "7", "--period", "Quarter"
    )

    assert other.status == 1
    assert "retention_days 30, period Year" in other.err
    assert (await shown(ocelot, tenant_id))["tenant"] == before["tenant"]


@pytest.mark.parametrize(
    ("args", "status", "told"),
    [
        (["create", "Not_An_Id"], 1, "Not_An_Id"),
        (["create", "shared"], 1, "shared"),
        (["show", "no-such-tenant"], 4, "'no-such-tenant'"),
        (["suspend", "no-such-tenant"], 4, "'no-such-tenant'"),
        (["delete", "no-such-tenant", "--now", "--yes"], 4, "'no-such-tenant'"),
    ],
)
async def test_what_can_not_be_is_one_line(ocelot: Any, args: list[str], status: int, told: str):
    ended = await ocelot("tenants", *args)

    assert ended.status == status
    assert ended.err.startswith("error: ")
    assert told in ended.err
    assert len(ended.err.splitlines()) == 1


async def test_only_its_owner_changes_a_tenant(ocelot: Any, tenant_id: str):
    await ocelot.ok("tenants", "create", tenant_id, "--owner", "ns/name")

    ended = await ocelot("tenants", "suspend", tenant_id)

    assert ended.status == 1
    assert "belongs to 'ns/name'" in ended.err


async def test_a_suspended_tenant_writes_nothing_until_it_is_resumed(
    running: Any, ocelot: Any, tenant_id: str
):
    await ocelot.ok("tenants", "create", tenant_id)
    env = await token(ocelot, tenant_id)
    await until_status(running, env, 202)

    assert "Suspended" in (await ocelot.ok("tenants", "suspend", tenant_id)).err
    await until_status(running, env, 403)
    sent = await ocelot("send", stdin=json.dumps(EVENT).encode(), **env)
    assert sent.status == 5
    assert "error: 403" in sent.err

    assert "Active" in (await ocelot.ok("tenants", "resume", tenant_id)).err
    await until_status(running, env, 202)


async def test_a_deleted_tenant_comes_back_with_uid_data_and_tokens(
    running: Any, ocelot: Any, tenant_id: str
):
    await ocelot.ok("tenants", "create", tenant_id)
    env = await token(ocelot, tenant_id)
    await ocelot.ok("send", stdin=json.dumps(EVENT).encode(), **env)
    uid = (await shown(ocelot, tenant_id))["tenant"]["uid"]

    deleted = await ocelot.ok("tenants", "delete", tenant_id)

    assert f"`ocelot tenants create {tenant_id}`" in deleted.err
    assert (await shown(ocelot, tenant_id))["tenant"]["state"] == "Deleting"
    assert (await ocelot("tenants", "suspend", tenant_id)).status == 1

    await ocelot.ok("tenants", "create", tenant_id)

    found = (await shown(ocelot, tenant_id))["tenant"]
    assert (found["uid"], found["state"], found["purge_after"]) == (uid, "Active", None)
    await until_status(running, env, 202)
    tenant = await running.maker.store.live_tenant(tenant_id)
    stored = await running.until_stored(tenant, 2)
    assert len(stored) >= 2


async def test_an_orphaned_tenant_is_activated_as_its_problem_says(
    running: Any, ocelot: Any, tenant_id: str
):
    await ocelot.ok("tenants", "create", tenant_id, "--owner", "ns/name")
    env = await token(ocelot, tenant_id)
    await until_status(running, env, 202)
    store = RegistryStore(running.database)
    uid = (await shown(ocelot, tenant_id))["tenant"]["uid"]

    async def orphan(transaction: RegistryTransaction) -> None:
        tenant = await transaction.get(Tenant, uid)
        assert tenant is not None
        await transaction.replace(msgspec.structs.replace(tenant, state=TenantState.ORPHANED))

    await store.write(orphan)
    await until_status(running, env, 403)
    assert (await ocelot("tenants", "create", tenant_id)).status == 1
    owner = (await shown(ocelot, tenant_id))["tenant"]["owner"]
    assert "Active" in (await ocelot.ok("tenants", "create", tenant_id, "--owner", owner)).err
    await until_status(running, env, 202)


async def test_a_resource_is_shown_as_the_option_for_the_owner_takes_it(
    running: Any, ocelot: Any, tenant_id: str
):
    await ocelot.ok("tenants", "create", tenant_id)
    uid = (await shown(ocelot, tenant_id))["tenant"]["uid"]
    owner = ResourceOwner(kind="Tenant", cluster="c", namespace="team", name=tenant_id, uid="1")

    async def hand_over(transaction: RegistryTransaction) -> None:
        tenant = await transaction.get(Tenant, uid)
        assert tenant is not None
        await transaction.replace(msgspec.structs.replace(tenant, owner=owner))

    await RegistryStore(running.database).write(hand_over)
    told = (await ocelot.ok("tenants", "show", tenant_id)).out
    [line] = [each for each in told.splitlines() if each.split()[0] == "owner"]
    assert line.split()[1:] == [f"Tenant/c/team/{tenant_id}"]
    await ocelot.ok("tenants", "suspend", tenant_id, "--owner", line.split()[1])


async def test_a_tenant_deleted_now_is_gone_and_the_next_one_of_its_id_is_another(
    running: Any, ocelot: Any, tenant_id: str
):
    await ocelot.ok("tenants", "create", tenant_id)
    env = await token(ocelot, tenant_id)
    await ocelot.ok("send", stdin=json.dumps(EVENT).encode(), **env)
    tenant = await running.maker.store.live_tenant(tenant_id)
    await running.until_stored(tenant, 1)

    wrong = await ocelot("tenants", "delete", tenant_id, "--now", stdin=b"something else\n")
    assert wrong.status == 1
    assert "othing was deleted" in wrong.err
    right = await ocelot.ok(
        "tenants", "delete", tenant_id, "--now", stdin=f"{tenant_id}\n".encode()
    )

    assert right.status == 0
    assert tenant_id in right.err
    assert await running.stored(tenant) == []
    assert (await ocelot("tenants", "show", tenant_id)).status == 4
    everything = (await ocelot.ok("tenants", "list", "--all", "--json")).events
    assert [each["state"] for each in everything if each["uid"] == tenant.uid] == ["Deleted"]

    await ocelot.ok("tenants", "create", tenant_id)

    assert (await shown(ocelot, tenant_id))["tenant"]["uid"] != tenant.uid
    await until_status(running, env, 401)


async def test_a_token_reads_or_writes_as_its_role_says(running: Any, ocelot: Any, tenant_id: str):
    await ocelot.ok("tenants", "create", tenant_id)
    reader = await token(ocelot, tenant_id, "reader")

    await until_status(running, reader, 403)
    assert (await ocelot("search", **reader)).status == 0


async def test_a_command_makes_its_token_where_the_signing_key_is_at_hand(
    ocelot: Any, tenant_id: str
):
    await ocelot.ok("tenants", "create", tenant_id)
    sent = await ocelot.ok(
        "send", "--tenant", tenant_id, stdin=b'{"action":"a","actor":{"id":"u"}}'
    )
    assert "accepted" in sent.err
    found = await ocelot.ok("search", "--tenant", tenant_id, "--json")
    assert len(found.events) <= 1
    unknown = await ocelot("search", "--tenant", f"{tenant_id}-b")
    assert unknown.status == 4
    without = await ocelot("search", "--tenant", tenant_id, OCELOT_SIGNING_KEY_FILE="")
    assert (without.status, "OCELOT_TOKEN" in without.err) == (1, True)


async def test_a_token_for_several_tenants_or_all_needs_the_header(
    running: Any, ocelot: Any, tenant_id: str
):
    other = f"{tenant_id}-b"
    await ocelot.ok("tenants", "create", tenant_id)
    await ocelot.ok("tenants", "create", other)
    both = await ocelot.ok(
        "tokens", "create", "--tenant", tenant_id, "--tenant", other, "--role", "reader"
    )
    every = await ocelot.ok(
        "tokens", "create", "--tenant", "*", "--role", "installation-admin", "--ttl", "15m"
    )

    for made in (both, every):
        headers = {"Authorization": f"Bearer {made.out.strip()}"}
        bare = await running.http.get("/api/v1/logs", headers=headers)
        assert bare.status_code in (400, 401, 403)
    headers = {"Authorization": f"Bearer {both.out.strip()}", "X-Tenant-ID": other}
    assert (await running.http.get("/api/v1/logs", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("args", "status", "told"),
    [
        (["--tenant", "no-such", "--role", "reader"], 4, "'no-such'"),
        (["--tenant", "*", "--role", "installation-admin"], 1, "1 h"),
        (["--tenant", "*", "--role", "king", "--ttl", "1m"], 1, "king"),
        (["--tenant", "*", "--role", "reader", "--ttl", "soon"], 2, "--ttl"),
        (["--tenant", "*", "--scope", "logs:fly", "--ttl", "1m"], 1, "logs:fly"),
        (
            ["--tenant", "*", "--role", "reader", "--ttl", "1m", "--subject", "a\u202eb"],
            1,
            "1,024 characters",
        ),
    ],
)
async def test_a_token_that_can_not_be_is_one_line(
    ocelot: Any, args: list[str], status: int, told: str
):
    ended = await ocelot("tokens", "create", *args)

    assert (ended.status, ended.out) == (status, "")
    assert told in ended.err


@pytest.mark.parametrize("rights", [("--role", "installation-admin"), ("--scope", "tenants:admin")])
async def test_rights_over_the_installation_are_minted_for_all_tenants_only(
    ocelot: Any, tenant_id: str, rights: tuple[str, str]
):
    await ocelot.ok("tenants", "create", tenant_id)

    ended = await ocelot("tokens", "create", "--tenant", tenant_id, *rights)

    assert (ended.status, ended.out) == (1, "")
    assert "tenants:admin" in ended.err


async def test_backends_that_are_away_are_named(ocelot: Any):
    away = "mongodb://127.0.0.1:9/?replicaSet=rs0&serverSelectionTimeoutMS=500"

    ended = await ocelot("tenants", "list", MONGODB_URL=away)

    assert ended.status == 6
    assert f"error: MongoDB at {away} (MONGODB_URL) cannot be used" in ended.err


async def test_display_name_and_retention_are_changed(ocelot: Any, tenant_id: str):
    await ocelot.ok("tenants", "create", tenant_id, "--retention-days", "365")
    named = await ocelot.ok("tenants", "update", tenant_id, "--display-name", "Acme Corp")
    assert "Acme Corp" in named.err
    assert "365 days" in named.err
    shorter = await ocelot.ok("tenants", "update", tenant_id, "--retention-days", "30")
    assert "365 days" in shorter.err
    assert "30 days" in shorter.err
    tenant = (await shown(ocelot, tenant_id))["tenant"]
    assert (tenant["display_name"], tenant["retention_days"]) == ("Acme Corp", 365)
    assert tenant["pending_retention"]["days"] == 30
    longer = await ocelot.ok("tenants", "update", tenant_id, "--no-retention")
    assert "for ever" in longer.err
    tenant = (await shown(ocelot, tenant_id))["tenant"]
    assert (tenant["retention_days"], tenant["pending_retention"]) == (None, None)
    at_once = await ocelot.ok(
        "tenants",
        "update",
        tenant_id,
        "--retention-days",
        "30",
        OCELOT_RETENTION_DELAY_SEC="0",
    )
    assert "30 days" in at_once.err
    assert "365 days" not in at_once.err


@pytest.mark.parametrize(
    "args",
    [[], ["--no-retention", "--retention-days", "1"], ["--retention-days", "0"]],
    ids=["nothing", "both", "no day"],
)
async def test_an_update_says_what_is_to_change(ocelot: Any, tenant_id: str, args: list[str]):
    ended = await ocelot("tenants", "update", tenant_id, *args)
    assert ended.status == 2
