"""The job that sends dead letters again, on queues of its own."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from ocelot_common import mongo
from ocelot_common.dead_letters import DeadLetter, DeadLetterStore, Reason, Stage
from ocelot_common.holds import HoldStore
from ocelot_common.ids import new_id
from ocelot_common.jobs.model import Job, JobKind
from ocelot_common.provisioning.database import prepare_database
from ocelot_common.provisioning.tenants import Provisioner
from ocelot_common.queue.depth import read_depth
from ocelot_common.registry.store import RegistryStore
from ocelot_common.timestamps import now_ms
from ocelot_devstack.provisioning import open_tenant_maker
from ocelot_devstack.queues import open_sqs
from ocelot_jobs.leases import JobFailedError
from ocelot_jobs.retry import Retry
from queuekit.signing import fixed_keys

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs]


class NoLease:
    """A lease that keeps what it is given."""

    def __init__(self, spec: dict[str, Any]) -> None:
        now: Any = None
        self.job = Job(
            id="j", kind=JobKind.RETRY, spec=spec, due_at=now, created_by="test", created_at=now
        )
        self.progress: dict[str, int] = {}

    async def save(self, *, progress: dict[str, int]) -> None:
        self.progress = dict(progress)


class RefusedAtOnce:
    """SQS in front of a consumer that has met the same fault again before its sender goes on."""

    def __init__(self, sqs: Any, letters: DeadLetterStore, letter: DeadLetter) -> None:
        self._sqs = sqs
        self._letters = letters
        self._letter = letter

    async def send_message_batch(self, **call: Any) -> Any:
        answer = await self._sqs.send_message_batch(**call)
        await self._letters.put([self._letter])
        return answer


@pytest_asyncio.fixture(loop_scope="session")
async def database(installation: Any) -> AsyncIterator[Any]:
    client = mongo.connect(installation.mongodb_url, app_name="tests")
    found = client[installation.installation.mongodb_database]
    await prepare_database(found)
    yield found
    await client.close()


def letter_of(uid: str, **more: Any) -> DeadLetter:
    return DeadLetter(
        stage=Stage.STORE,
        reason=Reason.NOT_STORABLE,
        uid=uid,
        event_id=new_id(),
        content='{"action":"a","actor":{"id":"u"}}',
        detail="a test's",
        received_at=now_ms(),
        **more,
    )


@pytest.mark.parametrize(
    ("attempts", "after_one_more"), [(1, 2), (7, 8), ("many", 1), (1.5, 1), (None, 1)], ids=str
)
async def test_a_letter_stays_that_failed_again_before_it_was_removed(
    installation: Any, database: Any, attempts: Any, after_one_more: int
):
    """Whatever counts its attempts: somebody else may have changed it."""
    async with open_tenant_maker(installation.installation) as maker:
        tenant = await maker.create("acme")
    letters = DeadLetterStore(database)
    refused, mended = letter_of(tenant.uid), letter_of(tenant.uid)
    await letters.put([refused, mended])
    await database["dead_letters"].update_many({}, {"$set": {"attempts": attempts}})
    lease: Any = NoLease({"keys": [refused.key, mended.key]})
    async with open_sqs(installation.sqs_endpoint_url, installation.settings.aws_env()) as sqs:
        retry = Retry(
            sqs=RefusedAtOnce(sqs, letters, refused),
            queue_urls={Stage.STORE: installation.queues.ingest},
            keys=fixed_keys(),
            dead_letters=letters,
            store=RegistryStore(database),
            holds=HoldStore(database),
        )
        await retry.run(lease)
        assert (await read_depth(sqs, installation.queues.ingest)).total == 2
    assert lease.progress["sent"] == 2
    [left] = [letter async for letter in letters.find()]
    assert (left["_id"], left["attempts"]) == (refused.key, after_one_more)


class RemovedByOthers(DeadLetterStore):
    """Dead letters of which somebody else removes one after it was read."""

    def __init__(self, database: Any, key: str) -> None:
        super().__init__(database)
        self._database = database
        self._key = key

    async def get(self, keys: Sequence[str]) -> list[dict[str, Any]]:
        found = await super().get(keys)
        await self._database["dead_letters"].delete_one({"_id": self._key})
        return found


async def past_retention(database: Any, tenant: Any) -> DeadLetter:
    """Return a letter of an event past its tenant's retention."""
    provisioner = Provisioner(RegistryStore(database), None, retention_delay=timedelta(0))
    await provisioner.update(tenant.id, owner=tenant.owner, retention_days=30)
    return replace(letter_of(tenant.uid), received_at=0)


async def test_a_letter_that_somebody_else_removed_is_not_counted_as_dropped(
    installation: Any, database: Any
):
    async with open_tenant_maker(installation.installation) as maker:
        tenant = await maker.create("acme-removed")
    old = await past_retention(database, tenant)
    others = [replace(old, event_id=new_id()) for _ in range(2)]
    await DeadLetterStore(database).put([old, *others])
    lease: Any = NoLease({"keys": [letter.key for letter in (old, *others)]})
    await Retry(
        sqs=None,
        queue_urls={},
        keys=fixed_keys(),
        dead_letters=RemovedByOthers(database, old.key),
        store=RegistryStore(database),
        holds=HoldStore(database),
    ).run(lease)
    assert lease.progress["dropped"] == 2


async def test_what_was_dropped_before_an_error_is_counted(installation: Any, database: Any):
    async with open_tenant_maker(installation.installation) as maker:
        tenant = await maker.create("acme-error")
    old, present = await past_retention(database, tenant), letter_of(tenant.uid)
    letters = DeadLetterStore(database)
    await letters.put([old, present])
    lease: Any = NoLease({"keys": [old.key, present.key]})
    retry = Retry(
        sqs=None,
        queue_urls={},  # the letter that is present cannot be sent
        keys=fixed_keys(),
        dead_letters=letters,
        store=RegistryStore(database),
        holds=HoldStore(database),
    )
    with pytest.raises(JobFailedError):
        await retry.run(lease)
    assert lease.progress["dropped"] == 1
    lease.progress = {}
    with pytest.raises(JobFailedError):
        await retry.run(lease)
    assert lease.progress == {}, "an attempt that gets no further is saved as one that does"
