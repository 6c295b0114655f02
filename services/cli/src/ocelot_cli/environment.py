"""Where the command works: the environment, completed by a running `make dev`."""

import json
import os
from collections.abc import MutableMapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from ocelot_cli.console import WRONG_USAGE, fail, note
from ocelot_common.http_url import check_base_url
from ocelot_common.names import TENANT_ID

_DEV_JSON: Final = Path(".ocelot") / "dev.json"
_SIGNING_KEY: Final = "OCELOT_SIGNING_KEY_FILE"
DEV_JSON_VARIABLE: Final = "OCELOT_DEV_JSON"
#: Longer exports go on with --resume.
_MINTED_TTL: Final = timedelta(hours=1)
VERBOSE_VARIABLE: Final = "OCELOT_VERBOSE"
#: Where one of these is set, the others are the user's too: never a mixture of two installations.
_BACKENDS: Final = ("MONGODB_URL", "OPENSEARCH_URL", "SQS_QUEUE_URL", "AWS_ENDPOINT_URL_SQS")


class DevStack:
    """What `make dev` wrote of itself."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.path = path
        self._content = content

    def token(self, tenant: str, role: str) -> str | None:
        """The ready-made token of a demo tenant."""
        token = self._content.get("tenants", {}).get(tenant, {}).get(role)
        return str(token) if token else None

    def variables(self) -> dict[str, str]:
        """Its backends as the settings' variables."""
        queues = self._content["queues"]
        named = {
            "MONGODB_URL": self._content["mongodb_url"],
            "MONGODB_DATABASE": self._content["mongodb_database"],
            "OPENSEARCH_URL": self._content["opensearch_url"],
            "AWS_ENDPOINT_URL_SQS": self._content["sqs_endpoint_url"],
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "SQS_QUEUE_URL": queues["ingest"],
            "SQS_DLQ_URL": queues["ingest_dlq"],
            "SQS_INDEX_QUEUE_URL": queues["index"],
            "SQS_INDEX_DLQ_URL": queues["index_dlq"],
            _SIGNING_KEY: self._content["signing_key_file"],
        }
        return {name: value for name, value in named.items() if value}

    @property
    def api_url(self) -> str:
        """Where its api answers."""
        return str(self._content["api_url"])


def find_dev_stack(environ: MutableMapping[str, str] = os.environ) -> DevStack | None:
    """The running `make dev` of this folder or one above it, if there is one."""
    named = environ.get(DEV_JSON_VARIABLE)
    if named == "":
        return None
    here = Path.cwd()
    candidates = (
        [Path(named)] if named else [folder / _DEV_JSON for folder in (here, *here.parents)]
    )
    for path in candidates:
        try:
            return DevStack(path, _object(path.read_text()))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            fail(f"{path}: {error}")
    if named:
        fail(f"{named} (from {DEV_JSON_VARIABLE}) does not exist")
    return None


def _object(text: str) -> dict[str, Any]:
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("it was not written by `make dev`")
    return content


def use_dev_backends(environ: MutableMapping[str, str] = os.environ) -> None:
    """Fill in the backends of a running `make dev`, unless the environment names any."""
    if any(environ.get(name) for name in _BACKENDS):
        return
    stack = find_dev_stack(environ)
    if stack is None:
        return
    note(f"Using the backends of `make dev` ({stack.path}).")
    variables = stack.variables()
    # A key for tokens may be one's own; region, keys and database of elsewhere fit nothing here.
    if environ.get(_SIGNING_KEY):
        del variables[_SIGNING_KEY]
    environ.update(variables)


def _can_mint(stack: DevStack | None, environ: MutableMapping[str, str] = os.environ) -> bool:
    """Whether the private key and the registry of the installation are at hand."""
    own = environ.get(_SIGNING_KEY) and environ.get("MONGODB_URL")
    return bool(own) or (stack is not None and not any(environ.get(name) for name in _BACKENDS))


def _mint(tenant: str, role: str) -> str:
    # They import the clients of the backends, which takes a second.
    from ocelot_cli.administration import run_on_backends  # noqa: PLC0415
    from ocelot_cli.minting import mint  # noqa: PLC0415

    use_dev_backends()
    return run_on_backends(mint([tenant], role=role, ttl=_MINTED_TTL))


def api_access(
    *, api_url: str | None, token: str | None, tenant: str | None, role: str
) -> tuple[str, str]:
    """URL and token for HTTP: as given, else those of a running `make dev`.

    Where no token is given, one is minted if the private key is at hand: with `make dev`, or by
    OCELOT_SIGNING_KEY_FILE and MONGODB_URL. It is valid for an hour and never printed.

    Args:
        api_url: from option or environment.
        token: the same.
        tenant: whose token to use, where none is given.
        role: of that token.
    """
    if tenant is not None and not TENANT_ID.fullmatch(tenant):
        fail(f"--tenant must be a tenant id, got {tenant!r}.", status=WRONG_USAGE)
    stack = None if api_url and token else find_dev_stack()
    if stack is not None and api_url and api_url.rstrip("/") != stack.api_url.rstrip("/"):
        stack = None  # another api gets none of its tokens
    if stack is not None and not token and tenant:
        token = stack.token(tenant, role)
    if stack is not None and not api_url:
        api_url = stack.api_url
        note(f"Using the api of `make dev` at {api_url}.")
    if not api_url:
        fail("The URL of the api is needed. Give --api-url or set OCELOT_API_URL.")
    try:
        check_base_url(api_url)
    except ValueError as error:
        fail(f"--api-url (OCELOT_API_URL) {error}.", status=WRONG_USAGE)
    if not token and tenant and _can_mint(stack):
        token = _mint(tenant, role)
    if not token:
        fail(
            "A token is needed. Give --token, set OCELOT_TOKEN, or give --tenant where"
            " OCELOT_SIGNING_KEY_FILE and MONGODB_URL are set or `make dev` runs."
        )
    token = token.strip()
    if not token.isascii() or not token.isprintable():
        fail("The token must have printable ASCII characters only.", status=WRONG_USAGE)
    return api_url.rstrip("/"), token
