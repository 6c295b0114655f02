"""What the collection of dead letters keeps and forgets, on a real MongoDB."""

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from bson import ObjectId

from ocelot_common import mongo
from ocelot_common.dead_letters import DeadLetter, DeadLetterStore, Reason, Stage
from ocelot_common.ids import new_id

pytestmark = pytest.mark.mongodb

UID = "0123456789abcdef"


@pytest_asyncio.fixture(loop_scope="session")
async def database(mongodb_url: str) -> AsyncIterator[Any]:
    client = mongo.connect(mongodb_url, app_name="tests")
    found = client[f"letters_{secrets.token_hex(4)}"]
    yield found
    await client.drop_database(found.name)
    await client.close()


def letter_of(**more: Any) -> DeadLetter:
    return DeadLetter(
        stage=Stage.STORE,
        reason=Reason.NOT_STORABLE,
        uid=UID,
        event_id=new_id(),
        content='{"action":"a","actor":{"id":"u"}}',
        detail="a test's",
        **more,
    )


async def test_a_letter_keeps_that_ocelot_itself_made_its_event(database: Any):
    letters = DeadLetterStore(database)
    own, foreign, planted = letter_of(internal=True), letter_of(), letter_of()
    await letters.put([own, foreign, planted])
    await letters.put([own])
    await database["dead_letters"].update_one({"_id": planted.key}, {"$set": {"internal": "yes"}})
    found = await letters.get([own.key, foreign.key, planted.key])
    assert {letter["_id"]: letter.get("internal") for letter in found} == {
        own.key: True, foreign.key: None, planted.key: None
    }  # fmt: skip


async def test_a_purge_forgets_no_more_letters_than_its_limit_whatever_their_keys_are(
    database: Any,
):
    letters = DeadLetterStore(database)
    await letters.put([letter_of() for _ in range(3)])
    old = datetime.now(UTC) - timedelta(days=40)
    others = [{"_id": ObjectId(), "t": UID, "first_seen": old} for _ in range(5)]
    await database["dead_letters"].insert_many(others)
    before = datetime.now(UTC) + timedelta(minutes=1)
    forgotten = []
    async with database.client.start_session() as session:
        for _ in range(6):
            async with await session.start_transaction():
                number = await letters.purge(UID, before=before, limit=2, session=session)
            forgotten.append(number)
    assert forgotten == [2, 1, 2, 2, 1, 0]
