"""Group commit against a handwritten SQS that can hang, refuse and remember."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from hypothesis import given, settings
from hypothesis import strategies as st

from ocelot_api.ingest import coalescer as module
from ocelot_api.ingest.coalescer import (
    CALLS_IN_FLIGHT,
    PROMPT_BYTES,
    Coalescer,
    SendFailedError,
)
from ocelot_api.metrics import ApiMetrics
from ocelot_common.envelope import MAX_ENCODED_BYTES, PackedEvent, Segment
from ocelot_common.ids import new_id
from ocelot_common.queue.client import SEND_TIMEOUT_SEC
from ocelot_common.queue.keys import NoSigningKeyError
from ocelot_common.signed_text import Purpose
from ocelot_common.timestamps import now_ms
from queuekit.signing import KEY, fixed_keys, opened

UIDS = [f"{number:016x}" for number in range(1, 41)]


class FakeSqs:
    """Takes batch calls; `gate` holds them up, `on_call` may refuse or fail one."""

    def __init__(self) -> None:
        self.calls: list[list[dict[str, Any]]] = []
        self.taken: list[dict[str, Any]] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.hang = False
        self.on_call: Callable[[int, list[dict[str, Any]]], list[str]] = lambda *_: []

    async def send_message_batch(self, *, QueueUrl: str, Entries: Any) -> dict[str, Any]:  # noqa: N803
        assert QueueUrl == "queue"
        self.calls.append(Entries)
        number = len(self.calls)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.hang:
                await asyncio.Event().wait()
            await self.gate.wait()
            await asyncio.sleep(0)
            refused = self.on_call(number, Entries)
        finally:
            self.in_flight -= 1
        self.taken += [entry for entry in Entries if entry["Id"] not in refused]
        return {
            "Successful": [{"Id": e["Id"]} for e in Entries if e["Id"] not in refused],
            "Failed": [{"Id": each, "SenderFault": False} for each in refused],
        }

    def envelopes(self) -> list[Any]:
        return [opened(entry["MessageBody"]) for entry in self.taken]

    def events(self) -> Counter[tuple[str, bytes]]:
        return Counter(
            (envelope.uid, event.text)
            for envelope in self.envelopes()
            for segment in envelope.segments
            for event in segment.events
        )


def segment(*texts: bytes) -> Segment:
    return Segment("writer", 1, "request", "", [PackedEvent(new_id(), text) for text in texts])


@asynccontextmanager
async def running(
    sqs: FakeSqs,
    metrics: ApiMetrics,
    *,
    linger_sec: float = 0.002,
    send_timeout_sec: float = 60.0,
) -> AsyncIterator[Coalescer]:
    coalescer = Coalescer(
        sqs,
        "queue",
        keys=fixed_keys(),
        metrics=metrics,
        linger_sec=linger_sec,
        send_timeout_sec=send_timeout_sec,
    )
    await coalescer.start()
    try:
        yield coalescer
    finally:
        await coalescer.close()


@pytest.fixture
def sqs() -> FakeSqs:
    return FakeSqs()


async def started(*coroutines: Any) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(each) for each in coroutines]
    await asyncio.sleep(0)
    return tasks


def assert_within_limits(sqs: FakeSqs) -> None:
    for entries in sqs.calls:
        assert 1 <= len(entries) <= 10
        assert sum(len(entry["MessageBody"]) for entry in entries) <= 1_000 * 1024
        assert len({entry["Id"] for entry in entries}) == len(entries)
    assert sqs.most_in_flight <= CALLS_IN_FLIGHT


async def test_events_of_several_requests_within_the_linger_share_one_envelope(
    sqs: FakeSqs, metrics: ApiMetrics
):
    async with running(sqs, metrics, linger_sec=0.02) as coalescer:
        await asyncio.gather(*(coalescer.submit(UIDS[0], segment(b"%d" % n)) for n in range(20)))
    assert len(sqs.taken) == 1
    assert len(sqs.envelopes()[0].segments) == 20


async def test_a_lone_event_waits_for_no_longer_than_the_linger(sqs: FakeSqs, metrics: ApiMetrics):
    async with running(sqs, metrics, linger_sec=0.05) as coalescer:
        began = time.monotonic()
        await coalescer.submit(UIDS[0], segment(b"one"))
        assert time.monotonic() - began >= 0.045


async def test_segments_arrive_as_they_were_submitted(sqs: FakeSqs, metrics: ApiMetrics):
    given = Segment("sub@x", 17, "r-1", "00-aa-bb-01", [PackedEvent(new_id(), b"{}")])
    async with running(sqs, metrics) as coalescer:
        await coalescer.submit(UIDS[0], given)
    assert sqs.envelopes()[0].segments == [given]


async def test_tenants_share_a_call_but_never_an_envelope(sqs: FakeSqs, metrics: ApiMetrics):
    async with running(sqs, metrics, linger_sec=0.02) as coalescer:
        await asyncio.gather(
            *(coalescer.submit(uid, segment(uid.encode())) for uid in UIDS[:9] for _ in range(3))
        )
    assert len(sqs.calls) == 1
    assert sorted(envelope.uid for envelope in sqs.envelopes()) == UIDS[:9]
    for entry, envelope in zip(sqs.taken, sqs.envelopes(), strict=True):
        assert entry["MessageGroupId"] == envelope.uid
        texts = {event.text for each in envelope.segments for event in each.events}
        assert texts == {envelope.uid.encode()}


async def test_more_than_ten_tenants_need_several_calls(sqs: FakeSqs, metrics: ApiMetrics):
    async with running(sqs, metrics, linger_sec=0.02) as coalescer:
        await asyncio.gather(*(coalescer.submit(uid, segment(b"{}")) for uid in UIDS))
    assert len(sqs.taken) == len(UIDS)
    assert_within_limits(sqs)


async def until(true: Callable[[], bool]) -> None:
    """Wait, on a machine that others use, too."""
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)


async def test_while_calls_are_out_buffers_grow(
    sqs: FakeSqs, metrics: ApiMetrics, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "PATIENCE_SEC", 60)
    async with running(sqs, metrics, linger_sec=0.001) as coalescer:
        sqs.gate.clear()
        first = await started(coalescer.submit(UIDS[0], segment(b"first")))
        await until(lambda: len(sqs.calls) == 1)
        rest = []
        for number in range(30):
            rest += await started(coalescer.submit(UIDS[0], segment(b"%d" % number)))
            await asyncio.sleep(0.001)
        assert len(sqs.calls) == 1
        sqs.gate.set()
        await asyncio.gather(*first, *rest)
    assert len(sqs.taken) == 2
    assert len(sqs.envelopes()[1].segments) == 30


async def test_no_more_than_four_calls_are_in_flight(sqs: FakeSqs, metrics: ApiMetrics):
    async with running(sqs, metrics, linger_sec=0) as coalescer:
        sqs.gate.clear()
        incompressible = random.Random(1).randbytes
        tasks = await started(
            *(coalescer.submit(uid, segment(incompressible(300_000))) for uid in UIDS)
        )
        await until(lambda: sqs.in_flight == CALLS_IN_FLIGHT)
        sqs.gate.set()
        await asyncio.gather(*tasks)
    assert sqs.most_in_flight == CALLS_IN_FLIGHT
    assert_within_limits(sqs)


async def test_one_call_that_hangs_does_not_hold_up_the_events_behind_it(
    sqs: FakeSqs, metrics: ApiMetrics
):
    async with running(sqs, metrics, send_timeout_sec=5) as coalescer:
        sqs.hang = True
        (stuck,) = await started(coalescer.submit(UIDS[0], segment(b"stuck")))
        await until(lambda: len(sqs.calls) == 1)
        sqs.hang = False
        await coalescer.submit(UIDS[0], segment(b"behind"))
        assert not stuck.done()
        with pytest.raises(SendFailedError):
            await stuck
    assert sqs.events() == {(UIDS[0], b"behind"): 1}


async def test_many_events_linger_neither_before_the_first_call_nor_before_the_second(
    sqs: FakeSqs, metrics: ApiMetrics
):
    sqs.gate.clear()
    much = b"x" * PROMPT_BYTES
    async with running(sqs, metrics, linger_sec=60) as coalescer:
        sent = []
        for number in (1, 2):
            sent += await started(coalescer.submit(UIDS[0], segment(much)))
            await until(lambda number=number: len(sqs.calls) == number)
        sent += await started(coalescer.submit(UIDS[0], segment(much)))
        await asyncio.sleep(0.05)
        assert len(sqs.calls) == 2
        sqs.gate.set()
        await asyncio.gather(*sent)
    assert len(sqs.calls) == 3


async def test_an_entry_that_sqs_refuses_for_the_moment_is_sent_again_and_only_it(
    sqs: FakeSqs, metrics: ApiMetrics
):
    sqs.on_call = lambda number, _: ["1"] if number == 1 else []
    async with running(sqs, metrics, linger_sec=0.02) as coalescer:
        await asyncio.gather(*(coalescer.submit(uid, segment(b"{}")) for uid in UIDS[:3]))
    assert [[entry["Id"] for entry in entries] for entries in sqs.calls] == [["0", "1", "2"], ["1"]]
    assert sorted(entry["MessageGroupId"] for entry in sqs.taken) == UIDS[:3]


async def test_an_entry_refused_twice_fails_its_own_request_alone(
    sqs: FakeSqs, metrics: ApiMetrics
):
    sqs.on_call = lambda *_: ["1"]
    async with running(sqs, metrics, linger_sec=0.02) as coalescer:
        results = await asyncio.gather(
            *(coalescer.submit(uid, segment(b"{}")) for uid in UIDS[:3]), return_exceptions=True
        )
    assert [type(result) for result in results] == [type(None), SendFailedError, type(None)]


async def test_a_call_that_fails_fails_all_its_requests_and_the_next_is_sent(
    sqs: FakeSqs, metrics: ApiMetrics
):
    def refuse_first(number: int, _: object) -> list[str]:
        if number == 1:
            raise EndpointConnectionError(endpoint_url="http://sqs")
        return []

    sqs.on_call = refuse_first
    async with running(sqs, metrics) as coalescer:
        failed = await asyncio.gather(
            *(coalescer.submit(uid, segment(b"{}")) for uid in UIDS[:2]), return_exceptions=True
        )
        assert [type(each) for each in failed] == [SendFailedError] * 2
        await coalescer.submit(UIDS[2], segment(b"next"))
    assert sqs.events() == {(UIDS[2], b"next"): 1}


async def test_an_error_nobody_foresaw_fails_the_request_and_not_the_process(
    sqs: FakeSqs, metrics: ApiMetrics
):
    def break_first(number: int, _: object) -> list[str]:
        if number == 1:
            raise KeyError("Failed")
        return []

    sqs.on_call = break_first
    async with running(sqs, metrics, send_timeout_sec=1) as coalescer:
        with pytest.raises(SendFailedError):
            await coalescer.submit(UIDS[0], segment(b"{}"))
        await coalescer.submit(UIDS[0], segment(b"next"))


async def test_an_envelope_that_cannot_be_packed_does_not_end_the_sending(
    sqs: FakeSqs, metrics: ApiMetrics
):
    async with running(sqs, metrics, send_timeout_sec=1) as coalescer:
        unpackable = Segment("w", 2**70, "r", "", [PackedEvent(new_id(), b"{}")])
        with pytest.raises(SendFailedError):
            await coalescer.submit(UIDS[0], unpackable)
        await coalescer.submit(UIDS[0], segment(b"next"))
    assert sqs.events() == {(UIDS[0], b"next"): 1}


async def test_when_every_call_hangs_it_and_what_waits_behind_fail_within_two_seconds(
    sqs: FakeSqs, metrics: ApiMetrics
):
    async with running(sqs, metrics, linger_sec=0, send_timeout_sec=SEND_TIMEOUT_SEC) as coalescer:
        sqs.hang = True
        sent: list[float] = []

        async def submit(uid: str) -> None:
            began = time.monotonic()
            with pytest.raises(SendFailedError):
                await coalescer.submit(uid, segment(b"{}"))
            sent.append(time.monotonic() - began)

        tasks = await started(*(submit(uid) for uid in UIDS[:3]))
        for uid in UIDS[3:]:
            await asyncio.sleep(0.02)
            tasks += await started(submit(uid))
        await asyncio.gather(*tasks)
        assert len(sent) == len(UIDS)
        print(f"answered after {max(sent):.2f} s at most")  # noqa: T201 - in the report of `-rP`
        assert max(sent) < 6 * 2
        assert coalescer._waiting_bytes == 0
        assert not coalescer._waiting
        sqs.hang = False
        await coalescer.submit(UIDS[0], segment(b"after"))
    assert sqs.events() == {(UIDS[0], b"after"): 1}


async def test_an_outage_keeps_no_bytes_of_requests_that_were_answered(
    sqs: FakeSqs, metrics: ApiMetrics
):
    """As an outage of SQS goes on, the buffers of many tenants must not grow past what waits."""
    async with running(sqs, metrics, linger_sec=0, send_timeout_sec=0.5) as coalescer:
        sqs.hang = True
        tasks = await started(
            *(coalescer.submit(f"{number:016x}", segment(b"x" * 1000)) for number in range(500))
        )
        await asyncio.wait(tasks, timeout=60)
        assert all(isinstance(task.exception(), SendFailedError) for task in tasks)
        assert coalescer._waiting_bytes == 0
        assert not coalescer._waiting
        sqs.hang = False


async def test_close_sends_what_waits(sqs: FakeSqs, metrics: ApiMetrics):
    coalescer = Coalescer(sqs, "queue", keys=fixed_keys(), metrics=metrics, linger_sec=3_600)
    await coalescer.start()
    tasks = await started(*(coalescer.submit(uid, segment(b"{}")) for uid in UIDS))
    await asyncio.wait_for(coalescer.close(), 60)
    await asyncio.gather(*tasks)
    assert len(sqs.taken) == len(UIDS)


async def test_close_of_an_idle_coalescer_returns(sqs: FakeSqs, metrics: ApiMetrics):
    async with running(sqs, metrics):
        await asyncio.sleep(0.01)
    assert sqs.calls == []


async def test_a_large_request_is_cut_into_envelopes_of_about_128_kib(
    sqs: FakeSqs, metrics: ApiMetrics
):
    rng = random.Random(2)
    texts = [rng.randbytes(300).hex().encode() for _ in range(5_000)]
    async with running(sqs, metrics) as coalescer:
        for _ in range(5):  # learns how well the events compress
            await coalescer.submit(UIDS[0], segment(*texts))
    sizes = [len(entry["MessageBody"]) for entry in sqs.taken]
    assert max(sizes) <= MAX_ENCODED_BYTES
    last = sizes[-len(sizes) // 5 :]
    assert 64 * 1024 < sorted(last)[len(last) // 2] < 256 * 1024
    assert sqs.events() == Counter({(UIDS[0], text): 5 for text in texts})
    assert_within_limits(sqs)


@pytest.mark.parametrize("events", [1, 3, 60])
async def test_incompressible_events_after_compressible_ones_are_split_below_the_limit(
    sqs: FakeSqs, metrics: ApiMetrics, events: int
):
    rng = random.Random(3)
    async with running(sqs, metrics) as coalescer:
        for _ in range(60):
            await coalescer.submit(UIDS[0], segment(b"a" * 200_000))
        assert coalescer._ratio < 0.05
        texts = [rng.randbytes(60_000) for _ in range(events)]
        segments = [segment(*texts), *(segment(text) for text in texts)]
        await asyncio.gather(*(coalescer.submit(UIDS[1], each) for each in segments))
    assert max(len(entry["MessageBody"]) for entry in sqs.taken) <= MAX_ENCODED_BYTES
    mine = Counter({key: n for key, n in sqs.events().items() if key[0] == UIDS[1]})
    assert mine == Counter({(UIDS[1], text): 2 for text in texts})
    assert_within_limits(sqs)


async def test_a_request_split_in_halves_fails_if_one_of_them_does(
    sqs: FakeSqs, metrics: ApiMetrics
):
    rng = random.Random(4)
    async with running(sqs, metrics) as coalescer:
        for _ in range(60):
            await coalescer.submit(UIDS[0], segment(b"a" * 200_000))
        before = len(sqs.calls)
        sqs.on_call = lambda number, entries: [entries[0]["Id"]] if number <= before + 2 else []
        with pytest.raises(SendFailedError):
            await coalescer.submit(UIDS[1], segment(*(rng.randbytes(60_000) for _ in range(40))))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(UIDS[:12]),
            st.lists(st.sampled_from([1, 30, 500, 40_000]), min_size=1, max_size=30),
            st.booleans(),
            st.sampled_from([0, 0, 0.001, 0.005]),
        ),
        min_size=1,
        max_size=40,
    ),
    st.integers(0, 2**32),
)
async def test_everything_submitted_is_in_exactly_one_envelope(
    make_metrics: Callable[[], ApiMetrics],
    requests: list[tuple[str, list[int], bool, float]],
    seed: int,
):
    sqs, rng = FakeSqs(), random.Random(seed)
    expected: Counter[tuple[str, bytes]] = Counter()
    tasks: list[asyncio.Task[None]] = []
    async with running(sqs, make_metrics(), linger_sec=0.001) as coalescer:
        for number, (uid, sizes, incompressible, pause) in enumerate(requests):
            texts = [
                b"%d.%d:" % (number, index)
                + (rng.randbytes(size) if incompressible else b"x" * size)
                for index, size in enumerate(sizes)
            ]
            expected.update((uid, text) for text in texts)
            tasks += await started(coalescer.submit(uid, segment(*texts)))
            if pause:
                await asyncio.sleep(pause)
        await asyncio.gather(*tasks)
    assert sqs.events() == expected
    assert_within_limits(sqs)
    for entry, envelope in zip(sqs.taken, sqs.envelopes(), strict=True):
        assert entry["MessageGroupId"] == envelope.uid


async def test_without_a_key_nothing_is_handed_over(sqs: FakeSqs, metrics: ApiMetrics):
    coalescer = Coalescer(
        sqs, "queue", keys=fixed_keys(KEY, rows=[]), metrics=metrics, linger_sec=0.002
    )
    await coalescer.start()
    with pytest.raises(NoSigningKeyError):
        await coalescer.submit(UIDS[0], segment(b"{}"))
    await coalescer.close()
    assert sqs.calls == []


async def test_what_waits_is_signed_with_the_key_of_the_moment_when_it_is_sent(
    sqs: FakeSqs, metrics: ApiMetrics
):
    async with running(sqs, metrics) as coalescer:
        await coalescer.submit(UIDS[0], segment(b"{}"))
    [entry] = sqs.taken
    before = now_ms()
    message = fixed_keys().open(entry["MessageBody"], Purpose.INGEST)
    assert message.kid == KEY.kid
    assert before - 60_000 < message.sent_at <= before
