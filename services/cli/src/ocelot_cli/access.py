"""Options that every command over HTTP has, and what is made of a refusal."""

from typing import Annotated, Any

import httpx
import typer

ApiUrl = Annotated[
    str | None,
    typer.Option(envvar="OCELOT_API_URL", help="Where the api is: https://HOST.", metavar="URL"),
]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="OCELOT_TOKEN", help="The token to use.", metavar="TOKEN", show_default=False
    ),
]
TenantOption = Annotated[
    str | None,
    typer.Option("--tenant", help="Take the ready-made token of this tenant of make dev."),
]


def problem_text(answer: httpx.Response) -> str:
    """A refusal in one line (RFC 9457)."""
    try:
        body: dict[str, Any] = answer.json()
        where = f" ({body['path']})" if body.get("path") else ""
        return f"{answer.status_code} {body['code']}: {body['detail']}{where}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"the api answered {answer.status_code}: {answer.text[:200]}"
