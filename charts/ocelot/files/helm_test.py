"""Write an event through the Service, then wait until a search finds it.

`helm test` runs this. The event goes through api, ingest queue, consumer, MongoDB, index queue,
indexer and OpenSearch. Standard library only: it runs in any image that has Python.

Environment:
    API_URL: of the api. TENANT, TOKEN: with the scopes `logs:write` and `logs:read`.
    SEARCH_BACKEND: opensearch, or mongodb where there is no OpenSearch.
    WAIT_SEC: seconds until the event must be found.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from typing import Any

TIMEOUT_SEC = 10
POLL_SEC = 1.0


def main() -> None:
    """Write and find an event; end with status 1 and the last answer otherwise."""
    deadline = time.monotonic() + float(os.environ["WAIT_SEC"])
    event_id = str(uuid.uuid4())
    event = {
        "id": event_id,
        "action": "helm.test",
        "actor": {"type": "service", "id": "helm"},
        "targets": [{"type": "event", "id": event_id}],
        "outcome": "success",
    }
    # A repeated write with the same id stores one event.
    until(deadline, lambda: call("POST", "/api/v1/logs", event))
    say(f"wrote the event {event_id}")
    until(deadline, lambda: call("GET", f"/api/v1/logs/{event_id}"))
    say("read it by its id")
    found = until(deadline, lambda: search(event_id))
    say(f"found it by a search on {found['backend']}")


def search(event_id: str) -> dict[str, Any]:
    """Search for the event on the backend that the installation has.

    Raises:
        LookupError: it is not found yet, or another backend answered.
    """
    page: dict[str, Any] = call("GET", f"/api/v1/logs?action=helm.test&target.id={event_id}")
    if [event["id"] for event in page["items"]] != [event_id]:
        raise LookupError(f"the search on {page['backend']} does not find the event")
    if page["backend"] != os.environ["SEARCH_BACKEND"]:
        raise LookupError(f"{page['backend']} answered the search")
    return page


def until(deadline: float, attempt: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `attempt` returns, as soon as it raises nothing."""
    while True:
        try:
            return attempt()
        except (OSError, LookupError) as error:
            failure = describe(error)
        if time.monotonic() > deadline:
            sys.exit(f"failed: {failure}")
        time.sleep(POLL_SEC)


def call(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Send a request with the token; return the JSON of its answer."""
    request = urllib.request.Request(  # noqa: S310 - the Service's URL
        os.environ["API_URL"] + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {os.environ['TOKEN']}",
            "Content-Type": "application/json",
            "X-Tenant-ID": os.environ["TENANT"],
        },
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_SEC) as answer:  # noqa: S310
        result: dict[str, Any] = json.load(answer)
        return result


def describe(error: Exception) -> str:
    """Return what failed, with the problem document that the api sent."""
    if isinstance(error, urllib.error.HTTPError):
        return f"{error.url}: {error.code} {error.read(1_000).decode(errors='replace')}"
    return str(error)


def say(line: str) -> None:
    """Print a line for `helm test --logs`."""
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
