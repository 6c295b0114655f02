"""One more worker against a running make dev, in the foreground."""

import os
from collections.abc import Sequence
from typing import NoReturn

from ocelot_devstack.dev_file import read_installation
from ocelot_devstack.errors import DevstackError
from ocelot_devstack.ports import free_port
from ocelot_devstack.services import SERVICES, ServiceSpec, inherited_env
from ocelot_devstack.settings import DevSettings
from ocelot_devstack.state_lock import is_locked


def become_worker(
    settings: DevSettings, name: str, *, services: Sequence[ServiceSpec] = SERVICES
) -> NoReturn:
    """Turn this process into the service, so that signals and output are its own.

    Raises:
        DevstackError: no make dev runs, or it has no place for that service.
    """
    spec = next((spec for spec in services if spec.name == name), None)
    if spec is None:
        raise DevstackError(f"The service {name} does not exist.")
    if not is_locked(settings.state_dir):
        raise DevstackError(f"`make dev` does not run on {settings.state_dir}. Start it first.")
    installation = read_installation(settings)
    if spec.needs_opensearch and installation.opensearch_url is None:
        raise DevstackError(f"{name} needs OpenSearch, which the running `make dev` does not have.")
    env = {**inherited_env(), **installation.service_env(probes_port=free_port())}
    os.execve(spec.argv[0], spec.argv, env)  # noqa: S606 - our own program, no shell wanted
