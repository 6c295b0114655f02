import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from pymongo.errors import AutoReconnect

from ocelot_common.registry.mark import NotPreparedError
from ocelot_common.registry.model import QueueKeyRow, Space, Tenant, TenantState, VerificationKey
from ocelot_common.registry.snapshot import STALE_SEC, RegistrySnapshot
from ocelot_common.registry.store import AnyRow, RegistryStore
from queuekit.signing import KEY, row

Make = Callable[..., Tenant]
UID = "0123456789abcdef"


class FakeStore:
    """The registry: rows with the versions of their writes.

    Attributes:
        asked: the version of each read of one kind.
        confirmed: how often the version was asked for.
        asked_for_mark: how often the mark of a prepared MongoDB was asked for.
        error: what every call raises.
        error_of: the kind whose read fails.
        written_after: what others write as soon as a kind has been read.
        hold: reads wait for it.
    """

    def __init__(self) -> None:
        self.rows: list[AnyRow] = []
        self.current = 0
        self.asked: list[int] = []
        self.confirmed = 0
        self.asked_for_mark = 0
        self.error: Exception | None = None
        self.error_of: type | None = None
        self.written_after: dict[type, list[AnyRow]] = {}
        self.hold: asyncio.Event | None = None

    def put(self, *rows: AnyRow) -> None:
        self.rows += rows
        self.current = max(row.version for row in self.rows)

    async def require_prepared(self) -> None:
        self.asked_for_mark += 1
        if self.error:
            raise self.error

    async def version(self) -> int:
        if self.error:
            raise self.error
        if self.hold:
            await self.hold.wait()
        self.confirmed += 1
        return self.current

    async def since(self, kind: type, version: int) -> list[Any]:
        self.asked.append(version)
        if kind is self.error_of:
            raise AutoReconnect("away")
        found = [row for row in self.rows if type(row) is kind and row.version > version]
        if written := self.written_after.pop(kind, None):
            self.put(*written)
        return found


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def snapshot(store: FakeStore, clock: Clock) -> RegistrySnapshot:
    return RegistrySnapshot(cast("RegistryStore", store), poll_sec=3_600, clock=clock)


def space(version: int = 1, name: str = "logs_acme") -> Space:
    return Space(
        name=name, version=version, key="k", collection=name, search_enabled=True, alias=name
    )


def queue_key(version: int = 1) -> QueueKeyRow:
    return row(KEY, version=version, created_at=datetime(2026, 11, 24, tzinfo=UTC))


def key(version: int = 1) -> VerificationKey:
    return VerificationKey(
        kid="k", version=version, alg="ES256", jwk={}, published_at=datetime(2026, 1, 1, tzinfo=UTC)
    )


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - any condition
            await asyncio.sleep(0.001)


async def test_a_snapshot_is_not_fresh_before_its_first_read(snapshot: RegistrySnapshot) -> None:
    assert not snapshot.fresh
    assert snapshot.unconfirmed_sec == float("inf")


async def test_nothing_is_read_before_mongodb_has_been_prepared(
    store: FakeStore, make_tenant: Make
) -> None:
    snapshot = RegistrySnapshot(cast("RegistryStore", store), poll_sec=0.01)
    store.put(make_tenant(version=2), space(2))
    store.error = NotPreparedError("not prepared")
    with pytest.raises(NotPreparedError):
        await snapshot.confirm()
    await snapshot.start()
    await until(lambda: "not prepared" in snapshot.cause)
    assert (store.asked, store.confirmed, snapshot.fresh) == ([], 0, False)
    store.error = None
    await asyncio.wait_for(snapshot.wait_fresh(), 60)
    asked = store.asked_for_mark
    await until(lambda: store.confirmed > 3)
    await snapshot.close()
    assert snapshot.live_tenant("acme") is not None
    assert store.asked_for_mark == asked, "it is asked for until it is seen, and not again"


async def test_a_read_brings_tenants_spaces_and_keys(
    snapshot: RegistrySnapshot, store: FakeStore, make_tenant: Make
) -> None:
    store.put(make_tenant(version=2), space(2), key(3))
    await snapshot.confirm()
    assert snapshot.version == 3
    assert snapshot.tenant(UID) == snapshot.live_tenant("acme") == make_tenant(version=2)
    assert snapshot.home(UID) == (make_tenant(version=2), space(2))
    assert snapshot.space("logs_acme") == space(2)
    assert snapshot.spaces() == [space(2)]
    assert snapshot.key("k") == key(3)
    assert snapshot.published_keys() == [key(3)]
    for absent in (
        snapshot.tenant("f" * 16), snapshot.live_tenant("beta"), snapshot.home("f" * 16),
        snapshot.space("logs_beta"), snapshot.key("other"),
    ):  # fmt: skip
        assert absent is None


async def test_a_tenant_without_its_space_has_no_home(
    snapshot: RegistrySnapshot, store: FakeStore, make_tenant: Make
) -> None:
    store.put(make_tenant())
    await snapshot.confirm()
    assert snapshot.tenant(UID) is not None
    assert snapshot.home(UID) is None


async def test_only_what_is_new_is_read_again(
    snapshot: RegistrySnapshot, store: FakeStore, clock: Clock, make_tenant: Make
) -> None:
    store.put(make_tenant(version=5))
    await snapshot.confirm()
    store.put(make_tenant(version=6))
    clock.now += 1
    await snapshot.confirm()
    assert store.asked == [0, 0, 0, 0, 5, 5, 5, 5]


async def test_where_nothing_is_new_the_version_alone_is_read_and_confirms(
    snapshot: RegistrySnapshot, store: FakeStore, clock: Clock, make_tenant: Make
) -> None:
    store.put(make_tenant(version=5))
    await snapshot.confirm()
    clock.now += 1
    await snapshot.confirm()
    assert len(store.asked) == 4
    assert snapshot.unconfirmed_sec == 0


async def test_an_empty_registry_is_read_once(
    snapshot: RegistrySnapshot, store: FakeStore, clock: Clock
) -> None:
    for _ in range(2):
        await snapshot.confirm()
        clock.now += 1
    assert snapshot.fresh
    assert store.asked == [0, 0, 0, 0]


async def test_what_is_written_during_a_read_is_read_again(
    snapshot: RegistrySnapshot, store: FakeStore, clock: Clock, make_tenant: Make
) -> None:
    """Rows may be newer than the version that was read before them; nothing below it is missed."""
    store.put(make_tenant(version=5))
    store.current = 4
    await snapshot.confirm()
    assert snapshot.version == 4
    assert snapshot.tenant(UID) is not None
    store.current = 5
    clock.now += 1
    await snapshot.confirm()
    assert store.asked[-1] == 4


@pytest.mark.parametrize("kind", [VerificationKey, QueueKeyRow, Tenant, Space])
async def test_a_tenant_made_during_a_read_is_there_with_its_space_or_not_yet(
    snapshot: RegistrySnapshot, store: FakeStore, clock: Clock, make_tenant: Make, kind: type
) -> None:
    store.written_after[kind] = [make_tenant(version=2), space(2), key(2), queue_key(2)]
    await snapshot.confirm()
    assert snapshot.tenant(UID) is None or snapshot.home(UID) is not None
    clock.now += 1
    await snapshot.confirm()
    assert snapshot.home(UID) == (make_tenant(version=2), space(2))
    assert snapshot.key("k") == key(2)
    assert snapshot.queue_key(KEY.kid) == queue_key(2)


async def test_neither_a_row_nor_the_version_ever_goes_back(
    snapshot: RegistrySnapshot, store: FakeStore, clock: Clock, make_tenant: Make
) -> None:
    store.put(make_tenant(version=5, display_name="new"), space(5), key(5), queue_key(5))
    await snapshot.confirm()
    store.rows = [make_tenant(version=4, display_name="old"), space(4), key(4), queue_key(4)]
    store.current = 4
    clock.now += 1
    snapshot._version = 0
    await snapshot.confirm()
    assert snapshot.spaces() == [space(5)]
    assert snapshot.published_keys() == [key(5)]
    assert snapshot.queue_key(KEY.kid) == queue_key(5)
    assert snapshot.live_tenant("acme") == make_tenant(version=5, display_name="new")


@pytest.mark.parametrize("order", [1, -1], ids=["old first", "new first"])
async def test_a_later_incarnation_takes_the_id_whatever_the_order_of_reading(
    snapshot: RegistrySnapshot, store: FakeStore, make_tenant: Make, order: int
) -> None:
    old = make_tenant(version=7, state=TenantState.DELETED)
    new = make_tenant(version=8, uid="f" * 16)
    store.put(*[old, new][::order])
    await snapshot.confirm()
    assert snapshot.live_tenant("acme") == new
    assert snapshot.tenant(UID) == old


async def test_a_deleted_tenant_leaves_its_id_and_stays_as_a_tombstone(
    snapshot: RegistrySnapshot, store: FakeStore, clock: Clock, make_tenant: Make
) -> None:
    store.put(make_tenant(version=1))
    await snapshot.confirm()
    store.put(make_tenant(version=2, state=TenantState.DELETED))
    clock.now += 1
    await snapshot.confirm()
    assert snapshot.live_tenant("acme") is None
    tombstone = snapshot.tenant(UID)
    assert tombstone is not None
    assert tombstone.state is TenantState.DELETED


async def test_a_snapshot_is_fresh_for_30_s_from_the_beginning_of_a_read(
    snapshot: RegistrySnapshot, store: FakeStore, clock: Clock
) -> None:
    store.hold = asyncio.Event()
    reading = asyncio.create_task(snapshot.confirm())
    await asyncio.sleep(0)
    clock.now += 10
    store.hold.set()
    await reading
    assert snapshot.unconfirmed_sec == 10
    clock.now += STALE_SEC - 10 - 0.001
    assert snapshot.fresh
    clock.now += 0.001
    assert not snapshot.fresh


async def test_a_read_that_fails_confirms_nothing(
    snapshot: RegistrySnapshot, store: FakeStore, clock: Clock
) -> None:
    await snapshot.confirm()
    clock.now += 5
    store.error = AutoReconnect("away")
    with pytest.raises(AutoReconnect):
        await snapshot.confirm()
    assert snapshot.unconfirmed_sec == 5


@pytest.mark.parametrize("kind", [VerificationKey, QueueKeyRow, Tenant, Space])
async def test_a_read_that_fails_in_its_middle_changes_nothing(
    snapshot: RegistrySnapshot, store: FakeStore, clock: Clock, make_tenant: Make, kind: type
) -> None:
    store.put(make_tenant(version=1), space(1), key(1), queue_key(1))
    await snapshot.confirm()
    store.rows = []
    store.put(make_tenant(version=2, state=TenantState.DELETED), space(2), key(2), queue_key(2))
    clock.now += 1
    store.error_of = kind
    with pytest.raises(AutoReconnect):
        await snapshot.confirm()
    assert snapshot.version == 1
    assert snapshot.live_tenant("acme") == make_tenant(version=1)
    assert (snapshot.spaces(), snapshot.published_keys()) == ([space(1)], [key(1)])
    assert snapshot.queue_key(KEY.kid) == queue_key(1)
    store.error_of = None
    await snapshot.confirm()
    assert snapshot.live_tenant("acme") is None
    assert (snapshot.spaces(), snapshot.published_keys()) == ([space(2)], [key(2)])
    assert snapshot.queue_key(KEY.kid) == queue_key(2)


async def test_callers_that_ask_at_once_share_the_reads_that_answer_them(
    snapshot: RegistrySnapshot, store: FakeStore
) -> None:
    store.hold = asyncio.Event()
    callers = [asyncio.create_task(snapshot.confirm()) for _ in range(10)]
    await asyncio.sleep(0)
    store.hold.set()
    await asyncio.gather(*callers)
    assert store.confirmed <= 2


async def test_a_read_that_began_before_a_question_does_not_answer_it(
    snapshot: RegistrySnapshot, store: FakeStore, clock: Clock
) -> None:
    store.hold = asyncio.Event()
    first = asyncio.create_task(snapshot.confirm())
    await asyncio.sleep(0)
    clock.now += 1
    second = asyncio.create_task(snapshot.confirm())
    await asyncio.sleep(0)
    store.hold.set()
    await asyncio.gather(first, second)
    assert store.confirmed == 2


async def test_an_unknown_tenant_is_asked_for_before_it_is_called_unknown(
    snapshot: RegistrySnapshot, store: FakeStore, clock: Clock, make_tenant: Make
) -> None:
    await snapshot.confirm()
    store.put(make_tenant(version=2), space(2))
    clock.now += 1
    assert await snapshot.find_home(UID) == (make_tenant(version=2), space(2))
    reads = store.confirmed
    clock.now += 1
    assert await snapshot.find_home(UID) is not None
    assert store.confirmed == reads, "a known tenant needs no read"
    assert await snapshot.find_home("f" * 16) is None
    assert store.confirmed == reads + 1


async def test_an_unknown_tenant_is_an_error_while_the_registry_is_away(
    snapshot: RegistrySnapshot, store: FakeStore
) -> None:
    store.error = AutoReconnect("away")
    with pytest.raises(AutoReconnect):
        await snapshot.find_home(UID)


async def test_the_poll_reads_at_once_and_sees_each_change(
    store: FakeStore, make_tenant: Make
) -> None:
    snapshot = RegistrySnapshot(cast("RegistryStore", store), poll_sec=0.01)
    await snapshot.start()
    await asyncio.wait_for(snapshot.wait_fresh(), 60)
    store.put(make_tenant(version=4))
    await until(lambda: snapshot.live_tenant("acme"))
    await snapshot.close()


@pytest.mark.parametrize("error", [AutoReconnect("away"), KeyError("what nobody foresaw")])
async def test_the_poll_goes_on_through_errors(store: FakeStore, error: Exception) -> None:
    snapshot = RegistrySnapshot(cast("RegistryStore", store), poll_sec=0.01)
    store.error = error
    await snapshot.start()
    await asyncio.sleep(0.05)
    assert not snapshot.fresh
    store.error = None
    await asyncio.wait_for(snapshot.wait_fresh(), 60)
    assert snapshot.fresh
    await asyncio.wait_for(snapshot.close(), 60)
