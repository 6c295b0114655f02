"""A batch is sent until the api has said what becomes of each event."""

from typing import Any

import httpx
import pytest

from ocelot_cli.transfer.repeating import RefusedError


def problem(status: int, code: str = "some_code", **headers: str) -> httpx.Response:
    body = {"status": status, "code": code, "detail": "Why it is so.", "title": "x"}
    return httpx.Response(status, json=body, headers=headers)


async def test_a_batch_is_posted_as_one_packed_body_with_a_line_an_event(
    scene: Any, batch: Any, events_of: Any
):
    at = scene()

    delivered = await at.delivery.deliver(batch(3))

    [request] = at.api.requests
    assert (delivered.accepted, delivered.refused) == (3, [])
    assert events_of(request) == [b'{"id":"0"}', b'{"id":"1"}', b'{"id":"2"}']
    assert request.url.path == "/api/v1/logs/bulk"
    assert request.headers["Content-Type"] == "application/x-ndjson"
    assert request.headers["Content-Encoding"] == "zstd"


async def test_a_503_is_repeated_with_the_same_body_after_the_time_it_asks_for(
    scene: Any, batch: Any
):
    at = scene(problem(503, **{"Retry-After": "7"}))

    delivered = await at.delivery.deliver(batch(2))

    first, second = at.api.requests
    assert delivered.accepted == 2
    assert first.content == second.content
    assert len(at.pauses) == 1
    assert 7 <= at.pauses[0] <= 30
    [report] = at.reports
    assert report.startswith("503 some_code: Why it is so.")
    assert f"{at.pauses[0]:.1f} s" in report


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_what_may_be_answered_differently_later_is_repeated(
    scene: Any, batch: Any, status: int
):
    at = scene(problem(status), problem(status))

    assert (await at.delivery.deliver(batch(1))).accepted == 1
    assert len(at.api.requests) == 3
    assert len(at.pauses) == 2


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout(""),
        httpx.WriteError("reset"),
        httpx.RemoteProtocolError("cut"),
        httpx.PoolTimeout(""),
    ],
)
async def test_a_connection_that_fails_is_repeated_with_the_same_body(
    scene: Any, batch: Any, error: Exception
):
    at = scene(error)

    assert (await at.delivery.deliver(batch(2))).accepted == 2
    assert at.api.requests[0].content == at.api.requests[1].content
    assert len(at.pauses) == 1
    assert (str(error) or type(error).__name__) in at.reports[0]


@pytest.mark.parametrize("value", ["Wed, 21 Oct 2026 07:28:00 GMT", "nan", "-5", ""])
async def test_a_retry_after_that_is_no_number_of_seconds_is_passed_over(
    scene: Any, batch: Any, value: str
):
    at = scene(problem(503, **{"Retry-After": value}))

    await at.delivery.deliver(batch(1))

    assert 0 <= at.pauses[0] <= 30


async def test_a_retry_after_of_hours_is_cut_to_half_a_minute(scene: Any, batch: Any):
    at = scene(problem(503, **{"Retry-After": "86400"}))

    await at.delivery.deliver(batch(1))

    assert at.pauses == [30]


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 413, 415])
async def test_what_will_be_refused_again_is_refused_at_once(scene: Any, batch: Any, status: int):
    at = scene(problem(status, "its_code"))

    with pytest.raises(RefusedError, match=f"{status} its_code: Why it is so"):
        await at.delivery.deliver(batch(1))

    assert len(at.api.requests) == 1
    assert at.pauses == []


@pytest.mark.parametrize(
    "error", [httpx.UnsupportedProtocol("no http"), httpx.LocalProtocolError("bad header")]
)
async def test_a_request_that_can_not_be_made_is_refused_at_once(
    scene: Any, batch: Any, error: Exception
):
    at = scene(error)

    with pytest.raises(RefusedError, match=str(error)):
        await at.delivery.deliver(batch(1))

    assert len(at.api.requests) == 1


async def test_a_422_names_the_lines_that_were_refused_and_counts_the_others(
    scene: Any, batch: Any
):
    errors = [
        {"index": 0, "code": "missing_field", "path": "actor", "detail": "It is required."},
        {"index": 2, "code": "invalid_json", "path": "", "detail": "Not JSON."},
    ]
    body = {"accepted": 1, "rejected": 2, "ids": [None, "x", None], "errors": errors}
    at = scene(httpx.Response(422, json=body))

    delivered = await at.delivery.deliver(batch(3))

    assert delivered.accepted == 1
    first, second = delivered.refused
    assert (first.prepared.line.number, second.prepared.line.number) == (1, 3)
    assert all(part in first.reason for part in ("missing_field", "It is required.", "(actor)"))
    assert second.reason == "invalid_json: Not JSON."


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(422, json={"code": "x", "detail": "of the whole", "status": 422}),
        httpx.Response(422, text="<html>"),
        httpx.Response(202, text="<html>Welcome</html>"),
        httpx.Response(202, json=[]),
        httpx.Response(202, json={"accepted": 1, "errors": []}),
        httpx.Response(202, json={"accepted": 5, "errors": []}),
    ],
)
async def test_an_answer_that_does_not_account_for_the_batch_is_refused(
    scene: Any, batch: Any, answer: httpx.Response
):
    with pytest.raises(RefusedError):
        await scene(answer).delivery.deliver(batch(2))


async def test_patience_ends_with_a_timeout_that_names_the_last_reason(scene: Any, batch: Any):
    at = scene(*[problem(503, "overloaded")] * 1_000, patience_sec=2)

    with pytest.raises(TimeoutError, match="for 2 s: 503 overloaded"):
        await at.delivery.deliver(batch(1))

    assert len(at.api.requests) >= 2
