"""A backend away: what is said, and how soon; with apis whose backend is stopped or paused."""

import json
import time
import uuid
from typing import Any

import httpx
import pytest

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

LOGS = "/api/v1/logs"
EVENT = json.dumps({"action": "a", "actor": {"id": "u"}}).encode()
JSON = {"Content-Type": "application/json"}


@pytest.fixture(params=["stopped", "paused"])
def away(request: pytest.FixtureRequest, closed_port: str, black_hole: str) -> str:
    return closed_port if request.param == "stopped" else black_hole


async def test_without_sqs_a_write_is_503_with_its_id_within_two_seconds(
    running: Any, start_api: Any, away: str
):
    access = await running.tenant()
    http = await start_api(AWS_ENDPOINT_URL_SQS=f"http://{away}")
    given = str(uuid.uuid4())
    for body, ids in ((EVENT, None), (EVENT[:-1] + b',"id":"%b"}' % given.encode(), given)):
        began = time.monotonic()
        answer = await http.post(LOGS, content=body, headers=access.writer | JSON)
        assert time.monotonic() - began < 2.3
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (503, "queue_unavailable")
        assert problem["outcome"] == "unknown"
        assert uuid.UUID(problem["id"])
        assert ids in (None, problem["id"])
        assert answer.headers["retry-after"] == "1"
    answer = await http.post(
        f"{LOGS}/bulk", content=b"[%b,{},%b]" % (EVENT, EVENT), headers=access.writer | JSON
    )
    problem = answer.json()
    assert [event_id is None for event_id in problem["ids"]] == [False, True, False]
    assert (await http.get("/readyz")).status_code == 200
    assert (await http.get(LOGS, headers=access.reader)).status_code == 200


async def test_without_opensearch_mongodb_answers_with_every_event(
    running: Any, start_api: Any, away: str
):
    access = await running.tenant()
    http = await start_api(OPENSEARCH_URL=f"http://{away}", OCELOT_SEARCH_TIMEOUT_SEC="1")
    await running.post_lines(access, [EVENT] * 5)
    await running.until_stored(access.tenant, 5)
    times = []
    for _ in range(3):
        began = time.monotonic()
        body = (await http.get(LOGS, headers=access.reader)).json()
        times.append(time.monotonic() - began)
        assert body["backend"] == "mongodb"
        assert body["total"] == {"value": 5, "relation": "eq"}
        assert len(body["items"]) == 5
    assert times[0] < 5, "a second, one of grace, and two for the probe"
    assert max(times[1:]) < 0.5, "only the first waits for what does not answer"
    assert (await http.get("/readyz")).status_code == 200


async def test_without_mongodb_everything_is_503_and_says_why(
    running: Any, start_api: Any, away: str
):
    access = await running.tenant()
    http = await start_api(ready=False, MONGODB_URL=f"mongodb://{away}/?directConnection=true")
    for _ in range(100):
        try:
            assert (await http.get("/healthz")).status_code == 200
            break
        except httpx.TransportError:
            time.sleep(0.1)  # noqa: ASYNC251 - nothing else runs
    began = time.monotonic()
    for method, url, headers in (
        ("POST", LOGS, access.writer),
        ("POST", f"{LOGS}/bulk", access.writer),
        ("GET", LOGS, access.reader),
        ("GET", f"{LOGS}/{uuid.uuid4()}", access.reader),
    ):
        answer = await http.request(method, url, content=b"[]", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (503, "registry_stale")
        assert "retry-after" in answer.headers
        assert answer.headers["x-request-id"]
    assert time.monotonic() - began < 1
    ready = await http.get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["causes"] == {"registry": "the registry has not been read"}
