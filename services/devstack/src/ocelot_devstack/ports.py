"""Which ports are taken, and free ones for tests."""

import random
import socket
from collections.abc import Iterable
from typing import Final

from ocelot_devstack.errors import DevstackError
from ocelot_devstack.settings import MAX_OPENSEARCH_PORT, DevSettings, port_setting

LOOPBACK: Final = "127.0.0.1"
# Below the range from which systems take the ports of outgoing connections.
_FREE_PORTS: Final = range(15000, 30000)
_FREE_OPENSEARCH_PORTS: Final = range(5100, MAX_OPENSEARCH_PORT + 1)
_ATTEMPTS: Final = 200
# What this process was given: a port is chosen some time before anything listens on it.
_given: Final[set[int]] = set()


def is_free(port: int) -> bool:
    """True if nothing listens on the port, on the loopback address or on all of them."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_port(among: range = _FREE_PORTS) -> int:
    """A port that nothing listens on now, another one each time.

    Random, so that two test sessions that look at the same time hardly meet.

    Raises:
        DevstackError: every port tried was taken.
    """
    chooser = random.SystemRandom()
    for _ in range(_ATTEMPTS):
        port = chooser.choice(among)
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise DevstackError(f"No port between {among.start} and {among.stop - 1} is free.")


def free_opensearch_port() -> int:
    """As free_port, within what the OpenSearch runner accepts."""
    return free_port(_FREE_OPENSEARCH_PORTS)


def check_ports(settings: DevSettings, names: Iterable[str]) -> None:
    """Look at all configured ports before anything starts.

    Args:
        settings: with the ports.
        names: of the services' ports, as `DevSettings.port_of` takes them.

    Raises:
        DevstackError: naming every port that is taken, and the setting that moves it.
    """
    backends = {
        "mongodb": settings.mongodb_url is None,
        "sqs": settings.sqs_endpoint_url is None,
        "opensearch": settings.opensearch_url is None and settings.opensearch,
    }
    names = [*names, *(name for name, own in backends.items() if own)]
    problems: list[str] = []
    seen: dict[int, str] = {}
    for name in names:
        port = settings.port_of(name)
        if port == 0:
            continue
        if port in seen:
            problems.append(
                f"Port {port} is set for both {seen[port]} and {name}. "
                f"Change {port_setting(seen[port])} or {port_setting(name)}."
            )
        elif not is_free(port):
            problems.append(
                f"Port {port} ({name}) is in use. Set {port_setting(name)} to a free port."
            )
        seen.setdefault(port, name)
    if problems:
        raise DevstackError("\n".join(problems))
