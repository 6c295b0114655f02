"""What make dev prints once everything is ready."""

import shlex
from collections.abc import Mapping
from typing import Final

_EVENT: Final = (
    '{"action": "document.update", "actor": {"id": "alice"}, "message": "Hello from make dev"}'
)


def ready_text(
    *, api_url: str, tenants: Mapping[str, Mapping[str, str]], elapsed_sec: float
) -> str:
    """Address of the docs, tokens, two commands that work as pasted, and the ready line."""
    lines = ["", f"Docs  {api_url}/api/v1/docs"]
    for tenant, tokens in tenants.items():
        lines += ["", f"Tokens of {tenant}"]
        lines += [f"  {role:7}{token}" for role, token in tokens.items()]
    acme = tenants.get("acme", {})
    writer, reader = acme.get("writer"), acme.get("reader")
    if writer and reader:
        lines += [
            "",
            "Send an event:",
            shlex.join(
                [
                    *("curl", "-sS", f"{api_url}/api/v1/logs"),
                    *("-H", f"Authorization: Bearer {writer}"),
                    *("-H", "Content-Type: application/json"),
                    *("-d", _EVENT),
                ]
            ),
            "",
            "Find it again:",
            shlex.join(
                [
                    *("curl", "-sS", f"{api_url}/api/v1/logs?q=hello"),
                    *("-H", f"Authorization: Bearer {reader}"),
                ]
            ),
        ]
    lines += ["", f"Ready in {elapsed_sec:.1f} s. Ctrl-C stops everything."]
    return "\n".join(lines)
