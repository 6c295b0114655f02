"""Options that every command over HTTP has, and what is made of a refusal."""

from typing import Annotated, Any

import httpx
import typer

from ocelot_cli.console import DENIED, FAILED, NOT_FOUND, UNREACHABLE

_MAX_PROBLEM_CHARS = 2_000

ApiUrl = Annotated[
    str | None,
    typer.Option(envvar="OCELOT_API_URL", help="URL of the api: https://HOST.", metavar="URL"),
]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="OCELOT_TOKEN", help="Token for the api.", metavar="TOKEN", show_default=False
    ),
]
TenantOption = Annotated[
    str | None,
    typer.Option(
        "--tenant",
        help="Tenant whose events are sent or read. Required if the token is for several"
        " tenants. If you give no token and the signing key is available, the command creates a"
        " token.",
    ),
]


def http_client(
    access: tuple[str, str], tenant: str | None, timeout: httpx.Timeout
) -> httpx.AsyncClient:
    """A client for the api.

    Args:
        access: URL and token.
        tenant: named to the api, which refuses a token of another tenant. So events never go where
            a forgotten OCELOT_TOKEN says.
        timeout: of each request.
    """
    url, token = access
    headers = {"Authorization": f"Bearer {token}"}
    if tenant is not None:
        headers["X-Tenant-ID"] = tenant
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout)


def exit_status(answer: httpx.Response) -> int:
    """Return the exit status of a command whose request was answered so."""
    if answer.status_code in (401, 403):
        return DENIED
    if answer.status_code == httpx.codes.NOT_FOUND:
        return NOT_FOUND
    return UNREACHABLE if answer.status_code in (502, 503, 504) else FAILED


def fault_text(code: str, detail: str, path: str) -> str:
    """Return one fault in one line; its path, unless the sentence names it already."""
    where = f" ({path})" if path and f"`{path}`" not in detail else ""
    return f"{code}{where}: {detail}"


def problem_text(answer: httpx.Response) -> str:
    """Return a refusal in one line (RFC 9457), cut to what a person reads."""
    try:
        body: dict[str, Any] = answer.json()
        text = fault_text(body["code"], body["detail"], body.get("path") or "")
        return f"{answer.status_code} {text}"[:_MAX_PROBLEM_CHARS]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"The api answered {answer.status_code}: {answer.text[:200]}"
