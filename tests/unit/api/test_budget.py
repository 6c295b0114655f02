"""Pools that tenants share."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocelot_api.budget import FairPool
from ocelot_api.problems import Problem

MakePool = Callable[..., FairPool]


def refused(take: Callable[[], object]) -> str:
    with pytest.raises(Problem) as caught:
        take()
    assert caught.value.status == 503
    assert caught.value.headers["Retry-After"]
    return caught.value.code


@pytest.mark.parametrize(("limit", "share"), [(4, 2), (5, 3), (8, 4), (1, 1)])
def test_a_tenant_holds_at_most_half_rounded_up_though_nobody_else_is_there(
    make_pool: MakePool, limit: int, share: int
):
    pool = make_pool(limit)
    slots = [pool.slot("a") for _ in range(share)]
    assert refused(lambda: pool.slot("a")) == "tenant_share"
    slots.pop().shrink(1)
    pool.slot("a")
    assert pool.used == share


def test_the_last_quarter_goes_only_to_tenants_that_hold_nothing_else(make_pool: MakePool):
    pool = make_pool(8, code="too_many_exports")
    for uid in "aaaabb":
        pool.slot(uid)
    assert refused(lambda: pool.slot("b")) == "too_many_exports"
    pool.slot("c")
    assert refused(lambda: pool.slot("c")) == "too_many_exports"
    pool.slot("d")
    assert refused(lambda: pool.slot("e")) == "too_many_exports"
    assert pool.used == 8


def test_a_tenants_only_request_grows_into_the_last_quarter(make_pool: MakePool):
    pool = make_pool(1_000)
    pool.reservation("a").grow(500)
    pool.reservation("b").grow(200)
    body = pool.reservation("c")
    body.check(200)
    for _ in range(4):
        body.grow(50)
    second = pool.reservation("c")
    assert refused(lambda: second.grow(1)) == "overloaded"
    assert refused(lambda: second.check(1)) == "overloaded"
    assert refused(lambda: body.grow(101)) == "overloaded"


def test_a_refusal_takes_nothing_and_says_what_to_do(make_pool: MakePool):
    pool = make_pool(100, members={"outcome": "rejected"})
    with pool.reservation("a") as held:
        held.grow(30)
        with pytest.raises(Problem) as caught:
            held.grow(21)
        assert held.size == 30
        assert caught.value.members == {"outcome": "rejected"}
        for part in ("30", "21", "50", "OCELOT_LIMIT"):
            assert part in caught.value.detail
    assert (pool.used, pool.tenants) == (0, 0)


async def test_a_cancelled_request_gives_everything_back(make_pool: MakePool):
    pool = make_pool(100)

    async def request() -> None:
        with pool.slot("a") as slot, pool.reservation("b") as held:
            slot.grow(10)
            held.grow(20)
            await asyncio.Event().wait()

    task = asyncio.create_task(request())
    await asyncio.sleep(0)
    assert (pool.used, pool.tenants) == (31, 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (pool.used, pool.tenants) == (0, 0)


STEPS = st.lists(st.tuples(st.integers(0, 9), st.integers(-60, 60)), min_size=1, max_size=200)


@given(st.integers(1, 200), STEPS)
def test_whatever_happens_no_bound_is_exceeded_and_the_sum_is_right(
    make_pool: MakePool, limit: int, steps: list[tuple[int, int]]
):
    """Ten requests of four tenants grow, shrink and end in any order."""
    pool = make_pool(limit)
    requests = [pool.reservation(f"tenant-{number % 4}") for number in range(10)]
    for number, units in steps:
        request = requests[number]
        before = pool.used
        if units <= 0:
            request.shrink(-units)
        else:
            others = sum(r.size for r in requests[number % 4 :: 4]) - request.size
            try:
                request.grow(units)
            except Problem:
                assert pool.used == before
            else:
                assert pool.used <= limit - limit // 4 or others == 0
        held = Counter[int]()
        for index, each in enumerate(requests):
            held[index % 4] += each.size
        assert pool.used == held.total() <= limit
        assert max(held.values()) <= -(-limit // 2)
        assert pool.tenants == sum(1 for size in held.values() if size)
    for request in requests:
        with request:
            pass
    assert (pool.used, pool.tenants) == (0, 0)
