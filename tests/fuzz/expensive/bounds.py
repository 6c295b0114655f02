"""What a request may cost, and how near one comes to it."""

from http import HTTPStatus
from typing import Final, NamedTuple, Self

import msgspec

from expensive.meter import Cost, measure
from expensive.service import Answer, Sample, Service

#: A write may cost this and three times the CPU of as many bytes of ordinary events as its body
#: has, unpacked or as sent, whichever are more.
WRITE_SEC: Final = 0.002
#: Each event that is taken counts as at least so many bytes
#: (docs/adr/0024-bytes-of-the-cpu-bound.md).
MIN_EVENT_BYTES: Final = 192
#: Another request may cost this and three times the CPU of its bytes and its answer's.
READ_SEC: Final = 0.010
TIMES: Final = 3
#: No step holds the event loop for longer.
STEP_SEC: Final = 0.050

_EVENT: Final = (
    b'{"action":"document.update","actor":{"id":"user-%06d","type":"user","name":"Jane Doe",'
    b'"email":"jane.doe@example.com","session_id":"s-4711"},"occurred_at":"2026-11-24T12:00:%02d.123Z",'
    b'"targets":[{"type":"document","id":"doc-%08d","name":"Quarterly report"}],'
    b'"outcome":"success","severity":"info","message":"Jane changed the title of the report",'
    b'"source":{"ip":"192.0.2.%d","user_agent":"Mozilla/5.0 (X11; Linux x86_64)","service":"docs"},'
    b'"request_id":"req-%08x","tags":["docs","eu"],'
    b'"metadata":{"plan":"pro","region":"eu-west-1","attempt":1,"flags":["a","b"],'
    b'"nested":{"k":"v","n":12.5}}}'
)


def ordinary(events: int = 1_000) -> Sample:
    """A bulk request of ordinary events."""
    lines = [_EVENT % (n % 1_000_000, n % 60, n, n % 250, n) for n in range(events)]
    body = b"\n".join(lines)
    headers = ((b"content-type", b"application/x-ndjson"),)
    return Sample("POST", "/api/v1/logs/bulk", b"", headers, body, len(body))


class Baseline(NamedTuple):
    """What a byte of ordinary events takes on this machine at this moment."""

    sec_per_byte: float

    @classmethod
    async def measured(cls, service: Service, *, times: int = 9) -> Self:
        """Measure it: the median of so many requests."""
        sample = ordinary()
        request = sample.on_the_wire()
        costs = [(await measure(lambda: service.answer(request))).cpu_sec for _ in range(times)]
        return cls(sorted(costs)[len(costs) // 2] / sample.plain_bytes)


class Rating(NamedTuple):
    """A request's cost and what it may cost.

    Attributes:
        cpu_sec: that it took, of the process.
        bound_sec: that it may take.
        step_sec: its longest step on the event loop.
        status: of its answer.
    """

    cpu_sec: float
    bound_sec: float
    step_sec: float
    status: int

    @property
    def worst(self) -> float:
        """The larger of the two costs in units of its bound."""
        return max(self.cpu_sec / self.bound_sec, self.step_sec / STEP_SEC)

    def __str__(self) -> str:
        return (
            f"{self.worst:5.2f} of the bound: {self.status}, {self.cpu_sec * 1e3:.1f} of"
            f" {self.bound_sec * 1e3:.1f} ms, longest step {self.step_sec * 1e3:.1f} ms"
        )


async def rate(service: Service, sample: Sample, baseline: Baseline) -> Rating:
    """Have one request answered and measure it."""
    cost, answer = await _measured(service, sample)
    return Rating(cost.cpu_sec, _bound_sec(sample, answer, baseline), cost.step_sec, answer.status)


async def rate_in_turns(service: Service, sample: Sample, *, turns: int) -> Rating:
    """Measure a request and ordinary events in turns, and compare the cheapest of each.

    Other work on the machine makes both dearer, by half and more, for moments.
    """
    baselines = []
    costs = []
    for _ in range(turns):
        baselines.append(await Baseline.measured(service, times=1))
        cost, answer = await _measured(service, sample)
        costs.append(cost)
    bound_sec = _bound_sec(sample, answer, min(baselines))
    cpu_sec, step_sec = (min(each) for each in zip(*costs, strict=True))
    return Rating(cpu_sec, bound_sec, step_sec, answer.status)


async def _measured(service: Service, sample: Sample) -> tuple[Cost, Answer]:
    request = sample.on_the_wire()
    answers = []

    async def ask() -> None:
        answers.append(await service.answer(request))

    return await measure(ask), answers[0]


def _bound_sec(sample: Sample, answer: Answer, baseline: Baseline) -> float:
    if sample.method == "POST" and sample.path in ("/api/v1/logs", "/api/v1/logs/bulk"):
        size = max(sample.plain_bytes, len(sample.body), MIN_EVENT_BYTES * _taken(answer))
        size += sample.extra_bytes
        return WRITE_SEC + TIMES * baseline.sec_per_byte * size
    size = sample.plain_bytes + len(answer.body)
    return READ_SEC + TIMES * baseline.sec_per_byte * size


def _taken(answer: Answer) -> int:
    """How many events a write's answer says were taken."""
    if answer.status != HTTPStatus.ACCEPTED:
        return 0
    return int(msgspec.json.decode(answer.body).get("accepted", 1))
