"""`ocelot tenants` and `ocelot tokens` on a real installation."""

import asyncio
import json
import secrets
from typing import Any

import pytest

EVENT = {"action": "a.b", "actor": {"id": "jane"}}
pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]


@pytest.fixture
def tenant_id() -> str:
    return f"c-{secrets.token_hex(5)}"


async def token(ocelot: Any, tenant_id: str, role: str = "admin", **env: str) -> dict[str, str]:
    made = await ocelot.ok("tokens", "create", "--tenant", tenant_id, "--role", role, **env)
    return {"OCELOT_TOKEN": made.out.strip()}


async def shown(ocelot: Any, tenant_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (await ocelot.ok("tenants", "show", tenant_id, "--json")).out
    )
    return found


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
    listed = json.loads((await ocelot.ok("tenants", "list", "--json")).out)
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
    assert "stays as it was: retention_days 30, period Year" in other.err
    assert (await shown(ocelot, tenant_id))["tenant"] == before["tenant"]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["create", "Not_An_Id"], "Not_An_Id"),
        (["create", "shared"], "shared"),
        (["show", "no-such-tenant"], "there is no tenant 'no-such-tenant'"),
        (["suspend", "no-such-tenant"], "there is no tenant 'no-such-tenant'"),
        (["delete", "no-such-tenant", "--now", "--yes"], "there is no tenant 'no-such-tenant'"),
    ],
)
async def test_what_can_not_be_is_one_line(ocelot: Any, args: list[str], told: str):
    ended = await ocelot("tenants", *args)

    assert ended.status == 1
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
    assert sent.status == 1
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

    assert f"`ocelot tenants create {tenant_id}` brings it back" in deleted.err
    assert (await shown(ocelot, tenant_id))["tenant"]["state"] == "Deleting"
    assert (await ocelot("tenants", "suspend", tenant_id)).status == 1

    await ocelot.ok("tenants", "create", tenant_id)

    found = (await shown(ocelot, tenant_id))["tenant"]
    assert (found["uid"], found["state"], found["purge_after"]) == (uid, "Active", None)
    await until_status(running, env, 202)
    tenant = await running.maker.store.live_tenant(tenant_id)
    stored = await running.until_stored(tenant, 2)
    assert len(stored) >= 2


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
    assert "nothing was deleted" in wrong.err
    right = await ocelot.ok(
        "tenants", "delete", tenant_id, "--now", stdin=f"{tenant_id}\n".encode()
    )

    assert f"{tenant_id} and its events are gone" in right.err
    assert await running.stored(tenant) == []
    assert (await ocelot("tenants", "show", tenant_id)).status == 1
    everything = json.loads((await ocelot.ok("tenants", "list", "--all", "--json")).out)
    assert [each["state"] for each in everything if each["uid"] == tenant.uid] == ["Deleted"]

    await ocelot.ok("tenants", "create", tenant_id)

    assert (await shown(ocelot, tenant_id))["tenant"]["uid"] != tenant.uid
    await until_status(running, env, 401)


async def test_a_token_reads_or_writes_as_its_role_says(running: Any, ocelot: Any, tenant_id: str):
    await ocelot.ok("tenants", "create", tenant_id)
    reader = await token(ocelot, tenant_id, "reader")

    await until_status(running, reader, 403)
    assert (await ocelot("search", **reader)).status == 0


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
    ("args", "told"),
    [
        (["--tenant", "no-such", "--role", "reader"], "there is no tenant 'no-such'"),
        (["--tenant", "*", "--role", "installation-admin"], "an hour at most"),
        (["--tenant", "*", "--role", "king", "--ttl", "1m"], "is no role"),
        (["--tenant", "*", "--role", "reader", "--ttl", "soon"], "is no duration"),
        (["--tenant", "*", "--scope", "logs:fly", "--ttl", "1m"], "no such scope"),
        (
            ["--tenant", "*", "--role", "reader", "--ttl", "1m", "--subject", "a\u202eb"],
            "a subject has 1 to 1,024 characters",
        ),
    ],
)
async def test_a_token_that_can_not_be_is_one_line(ocelot: Any, args: list[str], told: str):
    ended = await ocelot("tokens", "create", *args)

    assert (ended.status, ended.out) == (1, "")
    assert told in ended.err


@pytest.mark.parametrize("rights", [("--role", "installation-admin"), ("--scope", "tenants:admin")])
async def test_rights_over_the_installation_are_minted_for_all_tenants_only(
    ocelot: Any, tenant_id: str, rights: tuple[str, str]
):
    await ocelot.ok("tenants", "create", tenant_id)

    ended = await ocelot("tokens", "create", "--tenant", tenant_id, *rights)

    assert (ended.status, ended.out) == (1, "")
    assert "error: the scope tenants:admin is for the whole installation" in ended.err


async def test_backends_that_are_away_are_named(ocelot: Any):
    away = "mongodb://127.0.0.1:9/?replicaSet=rs0&serverSelectionTimeoutMS=500"

    ended = await ocelot("tenants", "list", MONGODB_URL=away)

    assert ended.status == 1
    assert f"error: MongoDB at {away} (MONGODB_URL) can't be used" in ended.err
