"""`ocelot dead-letters discard` beside others that change the same dead letters."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
import structlog
import typer
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import AutoReconnect

from ocelot_cli.commands.dead_letters import discard
from ocelot_common import mongo
from ocelot_common.dead_letters import DeadLetter, DeadLetterStore, Reason, Stage
from ocelot_common.holds import HoldStore
from ocelot_common.ids import new_id
from ocelot_common.provisioning.claiming import TenantSpec
from ocelot_common.provisioning.tenants import Provisioner
from ocelot_common.registry.store import RegistryStore

pytestmark = [pytest.mark.mongodb]

Database = AsyncDatabase[dict[str, Any]]
#: Called with the database and the key of the letter that is deleted next.
Happens = Callable[[Database, str], Awaitable[object]]
Meanwhile = Callable[[Happens], None]


@pytest_asyncio.fixture(loop_scope="session")
async def database(mongodb_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """A database, which the command uses, too."""
    client = mongo.connect(mongodb_url, app_name="tests")
    database = client[f"discard_{secrets.token_hex(4)}"]
    monkeypatch.setenv("MONGODB_URL", mongodb_url)
    monkeypatch.setenv("MONGODB_DATABASE", database.name)
    monkeypatch.delenv("OPENSEARCH_URL", raising=False)
    yield database
    await client.drop_database(database.name)
    await client.close()


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    """Logs as before: the command discards those of its process."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch, database: Database, mongodb_url: str) -> Meanwhile:
    """Have something happen before each letter is deleted."""
    remove = DeadLetterStore.remove

    def install(happens: Happens) -> None:
        async def interrupted(store: DeadLetterStore, key: str, **more: Any) -> bool:
            # The command has an event loop of its own, and a client belongs to one.
            async with mongo.connect(mongodb_url, app_name="others") as client:
                await happens(client[database.name], key)
            return await remove(store, key, **more)

        monkeypatch.setattr(DeadLetterStore, "remove", interrupted)

    return install


async def put(database: Database, *uids: str) -> list[str]:
    """Keep a letter of each tenant; returns their keys."""
    letters = [
        DeadLetter(
            stage=Stage.STORE,
            reason=Reason.NOT_STORABLE,
            uid=uid,
            event_id=new_id(),
            content="{}",
            detail="test",
        )
        for uid in uids
    ]
    await DeadLetterStore(database).put(letters)
    return [letter.key for letter in letters]


async def run(keys: list[str]) -> None:
    await asyncio.to_thread(discard, keys, yes=True)


async def left(database: Database) -> int:
    return await database["dead_letters"].count_documents({})


@pytest.mark.parametrize("known", [False, True], ids=["unknown-tenant", "known-tenant"])
async def test_letters_that_somebody_else_removed_are_not_counted(
    database: Database,
    meanwhile: Meanwhile,
    capsys: pytest.CaptureFixture[str],
    known: bool,
):
    uid = "u"
    if known:
        tenant = await Provisioner(RegistryStore(database), None).create(
            TenantSpec(id="acme", owner="cli", display_name="Acme")
        )
        uid = tenant.uid
    keys = await put(database, uid, uid, uid)

    async def other(at: Database, key: str) -> None:
        if key == keys[1]:
            await at["dead_letters"].delete_one({"_id": key})

    meanwhile(other)
    await run(keys)

    shown = capsys.readouterr().err
    assert "Deleted 2 dead letters." in shown
    assert "Somebody else removed 1 dead letter" in shown
    assert await left(database) == 0


async def test_an_error_after_some_letters_is_told_with_their_number(
    database: Database, meanwhile: Meanwhile, capsys: pytest.CaptureFixture[str]
):
    keys = await put(database, "u", "u", "u")

    async def other(at: Database, key: str) -> None:
        if await left(at) == 1:
            raise AutoReconnect("the connection was closed")

    meanwhile(other)
    with pytest.raises(typer.Exit) as ended:
        await run(keys)

    assert ended.value.exit_code != 0
    shown = capsys.readouterr().err
    assert "the connection was closed" in shown
    assert "Deleted 2 dead letters before the command ended." in shown
    assert await left(database) == 1


async def test_a_hold_that_is_placed_meanwhile_is_told_with_what_was_deleted_before(
    database: Database, meanwhile: Meanwhile, capsys: pytest.CaptureFixture[str]
):
    tenant = await Provisioner(RegistryStore(database), None).create(
        TenantSpec(id="acme", owner="cli", display_name="Acme")
    )
    keys = await put(database, "u", tenant.uid)

    async def other(at: Database, key: str) -> None:
        if key == keys[0]:
            await HoldStore(at).place(tenant.uid, reason="case 4711", owner="cli")

    meanwhile(other)
    with pytest.raises(typer.Exit):
        await run(keys)

    shown = capsys.readouterr().err
    assert "The tenant acme has a legal hold" in shown
    assert "Deleted 1 dead letter before the command ended." in shown
    assert await left(database) == 1
