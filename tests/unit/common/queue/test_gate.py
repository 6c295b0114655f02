import asyncio

import pytest
from prometheus_client import CollectorRegistry, Gauge

from ocelot_common.queue.gate import Gate


async def test_a_gate_is_open_until_it_is_held() -> None:
    gate = Gate()
    assert gate.is_open
    await asyncio.wait_for(gate.wait_open(), 60)


async def test_a_gate_opens_with_the_last_of_its_causes() -> None:
    gate = Gate()
    gate.hold("store", "away")
    gate.hold("registry", "old")
    waiter = asyncio.create_task(gate.wait_open())
    gate.release("store")
    await asyncio.sleep(0.01)
    assert not waiter.done()
    assert not gate.is_open
    gate.release("registry")
    await asyncio.wait_for(waiter, 60)
    assert gate.is_open


async def test_a_cause_holds_once_with_its_last_reason() -> None:
    gate = Gate()
    gate.hold("store", "away")
    gate.hold("store", "refuses")
    assert gate.causes == {"store": "refuses"}
    gate.release("store")
    assert gate.is_open


async def test_releasing_what_does_not_hold_changes_nothing() -> None:
    gate = Gate()
    gate.hold("store", "away")
    gate.release("registry")
    assert gate.causes == {"store": "away"}
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(gate.wait_open(), 0.01)


def test_the_causes_that_are_told_are_a_copy() -> None:
    gate = Gate()
    gate.causes["store"] = "away"
    assert gate.is_open


def test_the_gauge_shows_what_holds_it_shut():
    registry = CollectorRegistry()
    gate = Gate(Gauge("held", "held", ["cause"], registry=registry))
    gate.hold("mongodb", "no primary")
    assert registry.get_sample_value("held", {"cause": "mongodb"}) == 1
    gate.release("mongodb")
    assert registry.get_sample_value("held", {"cause": "mongodb"}) == 0
