"""Checks of the URLs that settings name, without a look at DNS and without a connection."""

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

_MAX_HOST_CHARS: Final = 253
#: Of a name of DNS, or of a container, which may have `_`. Other letters are written as `xn--…`.
_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_UNSAFE: Final = re.compile(r"[\s\x00-\x1f\x7f]")


def check_base_url(url: str) -> str:
    """Return the URL of an HTTP server, to which its clients append paths.

    Raises:
        ValueError: it has another form. The message has no part of the URL, which may hold a
            password.
    """
    parts = _split(url, "http://HOST:PORT or https://HOST:PORT")
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        raise ValueError("must end after its path, without `?` and `#`")
    return url


def check_sqs_endpoint_url(url: str) -> str:
    """Return the URL of an SQS server.

    Raises:
        ValueError: as `check_base_url`, or its host is none of which AWS's client makes requests.
    """
    check_base_url(url)
    host = urlsplit(url).hostname or ""
    if "_" in host:
        raise ValueError("must have a host of letters, digits, `-` and `.`")
    return url


def check_queue_url(url: str) -> str:
    """Return the URL of a queue.

    Raises:
        ValueError: as `check_base_url`, or it has no path, which names the queue.
    """
    form = "https://HOST/ACCOUNT/QUEUE"
    parts = _split(url, form)
    if not parts.path.strip("/") or parts.query or parts.fragment or url.endswith(("?", "#")):
        raise ValueError(f"must be the URL of a queue, such as {form}")
    return url


def _split(url: str, form: str) -> SplitResult:
    if _UNSAFE.search(url):  # urlsplit drops some of them
        raise ValueError("must have no spaces and no line ends")
    try:
        parts = urlsplit(url)
        valid = (
            parts.scheme in ("http", "https")
            and _is_host(parts.hostname or "")
            and parts.port != 0  # out of range: ValueError
        )
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(f"must be {form}. Percent-encode special characters of user and password")
    if (parts.username is None) != (parts.password is None):
        raise ValueError("must have both user and password, or neither")
    return parts


def _is_host(host: str) -> bool:
    labels = host.removesuffix(".").split(".")
    if ":" in host or labels[-1].isdigit():
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True
    return len(host) <= _MAX_HOST_CHARS and all(_LABEL.fullmatch(label) for label in labels)
