"""One question to an HTTP server on this machine."""

from typing import Any

import httpx


async def http_status(url: str, timeout_sec: float = 1.0) -> int | None:
    """Status of a GET, None if nothing answered."""
    response = await _get(url, timeout_sec)
    return None if response is None else response.status_code


async def http_json(url: str, timeout_sec: float = 2.0) -> dict[str, Any] | None:
    """Body of a GET that answered 200 with a JSON object, else None."""
    response = await _get(url, timeout_sec)
    if response is None or response.status_code != httpx.codes.OK:
        return None
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


async def _get(url: str, timeout_sec: float) -> httpx.Response | None:
    # No proxies for what is here; loading the certificates would cost more than the request.
    verify = url.startswith("https:")
    async with httpx.AsyncClient(trust_env=False, verify=verify, timeout=timeout_sec) as client:
        try:
            return await client.get(url)
        except (httpx.HTTPError, OSError):
            return None
