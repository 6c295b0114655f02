"""`dev.json`: where a running make dev is, for scripts, tests and further workers."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ocelot_devstack.errors import DevstackError
from ocelot_devstack.installation import Installation
from ocelot_devstack.queues import QueueUrls
from ocelot_devstack.settings import DevSettings

_NAME: Final = "dev.json"


def write_dev_file(
    state_dir: Path,
    installation: Installation,
    *,
    api_url: str,
    probes: Mapping[str, str],
    tenants: Mapping[str, Mapping[str, str]],
) -> Path:
    """Write it whole, readable by its owner alone: it holds tokens.

    Args:
        state_dir: folder of the file.
        installation: that runs.
        api_url: where clients connect.
        probes: by service, where `/readyz`, `/metrics` and the other probes answer.
        tenants: their tokens by role.
    """
    content = {
        "api_url": api_url,
        "probes": dict(probes),
        "mongodb_url": installation.mongodb_url,
        "mongodb_database": installation.mongodb_database,
        "sqs_endpoint_url": installation.sqs_endpoint_url,
        "opensearch_url": installation.opensearch_url,
        "queues": installation.queues.as_dict(),
        "signing_key_file": str(installation.signing_key_file),
        "queue_keys_file": str(installation.queue_keys_file),
        "tenants": tenants,
    }
    path = state_dir / _NAME
    unfinished = path.with_suffix(".tmp")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
    unfinished.replace(path)
    return path


def read_installation(settings: DevSettings) -> Installation:
    """The installation of a running make dev.

    Raises:
        DevstackError: there is no such file, or it cannot be understood.
    """
    path = settings.state_dir / _NAME
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        return Installation(
            mongodb_url=content["mongodb_url"],
            mongodb_database=content["mongodb_database"],
            sqs_endpoint_url=content["sqs_endpoint_url"],
            opensearch_url=content["opensearch_url"],
            queues=QueueUrls.from_dict(content["queues"]),
            signing_key_file=Path(content["signing_key_file"]),
            queue_keys_file=Path(content["queue_keys_file"]),
            aws_env=settings.aws_env(),
            log_level=settings.log_level,
        )
    except FileNotFoundError:
        raise DevstackError(
            f"{path} does not exist yet. Wait until `make dev` prints `Ready`."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise DevstackError(f"{path} cannot be read: {error!r}") from None


def read_api_url(settings: DevSettings) -> str:
    """Return where clients of a running make dev connect.

    Raises:
        DevstackError: there is no such file, or it cannot be understood.
    """
    path = settings.state_dir / _NAME
    try:
        return str(json.loads(path.read_text())["api_url"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DevstackError(f"{path} cannot be read: {error!r}") from None


def remove_dev_file(state_dir: Path) -> None:
    """It goes when make dev ends."""
    (state_dir / _NAME).unlink(missing_ok=True)
