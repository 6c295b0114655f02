"""Sending what is good."""

import httpx

from badinput.rows import JSON, LOGS


async def accepted(http: httpx.AsyncClient, raw: bytes, headers: dict[str, str]) -> httpx.Response:
    """Send an event until it is taken: on a busy machine SQS may be late."""
    for _ in range(20):
        answer = await http.post(LOGS, content=raw, headers=headers | {"Content-Type": JSON})
        if answer.status_code != 503:
            break
    assert answer.status_code == 202, (raw[:500], answer.text[:500])
    return answer
