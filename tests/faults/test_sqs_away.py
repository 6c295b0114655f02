"""SQS stopped, silent, or losing its answers: what clients are told, and that repeats are safe."""

import asyncio
import random
import time
import uuid
from typing import Any

import httpx
import msgspec
import pytest

from faultkit.client import BULK
from faultkit.events import text_of
from faultkit.harness import Access, Harness
from faultkit.proxy import Direction

pytestmark = [
    pytest.mark.mongodb,
    pytest.mark.sqs,
    pytest.mark.opensearch,
    pytest.mark.usefixtures("api_as_it_ships"),
]

#: The contract is 2 s; six times as long on a machine that other tests share.
ANSWER_SEC = 6 * 2.0
_RECOVERY_SEC = 120.0


def events_of(access: Access, what: str, number: int) -> list[dict[str, Any]]:
    return [
        {
            "action": "document.update",
            "actor": {"id": "u"},
            "message": f"{what} {index}",
            "metadata": {"of": access.tenant.id},
        }
        for index in range(number)
    ]


async def post(
    faults: Harness, access: Access, bodies: list[dict[str, Any]], key: str | None = None
) -> tuple[httpx.Response, float]:
    headers = {**access.writer, "Content-Type": "application/json"}
    if key:
        headers["Idempotency-Key"] = key
    began = time.monotonic()
    answer = await faults.http.post(
        f"{faults.api_url}{BULK}", content=msgspec.json.encode(bodies), headers=headers
    )
    return answer, time.monotonic() - began


async def acknowledged(faults: Harness, access: Access, bodies: list[dict[str, Any]], **key: str):
    """Repeat a request until it is acknowledged; its ids."""
    deadline = time.monotonic() + _RECOVERY_SEC
    while time.monotonic() < deadline:
        answer, _ = await post(faults, access, bodies, **key)
        if answer.status_code == 202:
            return answer.json()["ids"]
        assert answer.status_code == 503, answer.text
        await asyncio.sleep(0.2)
    pytest.fail("the api did not recover")


def note(access: Access, ids: list[str], bodies: list[dict[str, Any]]) -> None:
    for event_id, event in zip(ids, bodies, strict=True):
        access.ledger.acknowledge(event_id, text_of(event))


def stop_sqs(faults: Harness, how: str) -> None:
    """Have SQS answer nothing, in one of three ways."""
    proxy = faults.proxies["sqs"]
    process = faults.stack.backends.sqs.process
    if how == "silent":
        proxy.blackhole()
    elif how == "answers_lost":
        proxy.blackhole(Direction.TO_CLIENT)
    elif process is None:
        pytest.skip("somebody else's SQS can't be stopped")
    else:
        process.pause()


@pytest.mark.parametrize(
    "how",
    [
        "stopped",
        pytest.param("silent", marks=pytest.mark.long),
        pytest.param("answers_lost", marks=pytest.mark.long),
    ],
)
async def test_a_write_without_sqs_is_unknown_within_two_seconds_and_safe_to_repeat(
    faults: Harness, tenants: list[Access], how: str
):
    access = tenants[0]
    before = events_of(access, "before", 3)
    note(access, await acknowledged(faults, access, before, key="k0"), before)
    stop_sqs(faults, how)
    sent: list[tuple[list[dict[str, Any]], dict[str, str]]] = [
        (events_of(access, "key", 20), {"key": "k1"}),
        (events_of(access, "returned", 20), {}),
        ([{"id": str(uuid.uuid4()), **e} for e in events_of(access, "own", 20)], {}),
    ]
    answers = await asyncio.gather(*(post(faults, access, bodies, **key) for bodies, key in sent))
    for answer, seconds in answers:
        assert answer.status_code == 503, answer.text
        assert answer.json()["outcome"] == "unknown"
        assert int(answer.headers["retry-after"]) >= 1
        assert len(answer.json()["ids"]) == 20
        assert seconds < ANSWER_SEC
    slowest = max(seconds for _, seconds in answers)
    faults.note(f"SQS {how}: 503 after {slowest:.2f} s at most; the contract is 2 s")
    # A second time under the same key: the same ids.
    again, _ = await post(faults, access, sent[0][0], key="k1")
    assert again.json()["ids"] == answers[0][0].json()["ids"]

    process = faults.stack.backends.sqs.process
    if process is not None:
        process.resume()
    await faults.proxies["sqs"].heal()
    for (bodies, key), (unknown, _) in zip(sent, answers, strict=True):
        ids = unknown.json()["ids"]
        repeat = bodies if key else [{**b, "id": i} for b, i in zip(bodies, ids, strict=True)]
        assert await acknowledged(faults, access, repeat, **key) == ids
        note(access, ids, bodies)

    verdict = await faults.check(tenants, f"SQS {how}")
    assert verdict.acknowledged == 63


@pytest.mark.long
@pytest.mark.one_round
async def test_sends_whose_answers_vanish_are_stored_once(
    faults: Harness, tenants: list[Access], rng: random.Random, seed: int
):
    """Every send arrives, some answers do not: the proof that repeats meet their first copies."""
    proxy = faults.proxies["sqs"]
    load = asyncio.create_task(
        faults.deliver(tenants, rng, 4_000 if faults.long else 1_000, over_sec=6)
    )
    for _ in range(2):
        await asyncio.sleep(rng.uniform(0.3, 1.0))
        proxy.blackhole(Direction.TO_CLIENT)
        await asyncio.sleep(rng.uniform(1.7, 2.5))
        proxy.cut()
        await proxy.heal()
    answers = await load
    assert answers["503"], "the fault met no request"
    await faults.check(tenants, f"seed {seed}: SQS's answers lost twice; answers {dict(answers)}")
