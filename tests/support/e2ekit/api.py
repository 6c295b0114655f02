"""The api through a port-forward to its Service."""

from collections.abc import Iterable
from typing import Any

import httpx

from e2ekit.kubectl import Kubectl
from e2ekit.waiting import until


class Api:
    """Requests to the api; a port-forward that ended with its pod is opened again.

    Args:
        kubectl: in the namespace.
        service: name of the Service.
    """

    def __init__(self, kubectl: Kubectl, service: str) -> None:
        self._kubectl = kubectl
        self._service = service
        self._forward: Any = None
        self._http: httpx.Client | None = None

    def request(self, method: str, path: str, token: str, **options: Any) -> httpx.Response | None:
        """Send a request; None if no pod answered."""
        try:
            if self._http is None:
                self._forward = self._kubectl.forward(f"service/{self._service}", "80")
                url = self._forward.__enter__()
                self._http = httpx.Client(base_url=url, trust_env=False, timeout=60)
            headers = {"Authorization": f"Bearer {token}", **options.pop("headers", {})}
            return self._http.request(method, path, headers=headers, **options)
        except (httpx.TransportError, AssertionError):
            self.close()
            return None

    def write(self, token: str, event: dict[str, Any]) -> str:
        """Write an event, again until it is accepted; its id. `event` has an id."""

        def accepted() -> bool:
            answer = self.request("POST", "/api/v1/logs", token, json=event)
            return answer is not None and answer.status_code == 202

        until(accepted, what="an accepted event", timeout_sec=120)
        return str(event["id"])

    def write_lines(self, token: str, lines: Iterable[bytes]) -> None:
        """Write events with ids as one bulk request, again until it is accepted."""
        content = b"\n".join(lines)

        def accepted() -> bool:
            answer = self.request(
                *("POST", "/api/v1/logs/bulk", token),
                content=content,
                headers={"Content-Type": "application/x-ndjson"},
            )
            assert answer is None or answer.status_code in {202, 429, 503}, answer.text
            return answer is not None and answer.status_code == 202

        until(accepted, what="an accepted bulk request", timeout_sec=120)

    def search(self, token: str, query: str = "") -> list[str] | None:
        """Return the ids that a search finds; None if it was not answered with 200."""
        answer = self.request("GET", f"/api/v1/logs?{query}", token)
        if answer is None or answer.status_code != 200:
            return None
        return [event["id"] for event in answer.json()["items"]]

    def status_of(self, token: str, event_id: str) -> int | None:
        """Return the status of a read by id."""
        answer = self.request("GET", f"/api/v1/logs/{event_id}", token)
        return None if answer is None else answer.status_code

    def close(self) -> None:
        """End the port-forward."""
        if self._http is not None:
            self._http.close()
            self._http = None
        if self._forward is not None:
            self._forward.__exit__(None, None, None)
            self._forward = None
