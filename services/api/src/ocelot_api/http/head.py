"""The head of a request: the rules of RFC 9112 that the parser leaves to its user.

A proxy in front may read an ambiguous head in another way. Where the two disagree on a request's
end, an attacker's bytes become another client's request (request smuggling), so everything
ambiguous is refused and its connection closed.
"""

import re
from collections.abc import Iterable
from typing import Final

import httptools

from ocelot_api.http.bounds import MAX_HEAD_BYTES, MAX_HEADERS
from ocelot_api.problems import Problem, bad_request

Headers = list[tuple[bytes, bytes]]

#: Headers that decide about framing and routing, and are therefore looked at one by one.
FRAMING_HEADERS: Final = frozenset({b"host", b"transfer-encoding", b"expect"})
#: A name or address and a port (RFC 3986 §3.2.2); empty for a target without authority.
_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]{0,5})?"
)
#: Methods of RTSP and ICE, which the parser knows, too.
_FOREIGN_METHODS: Final = frozenset(
    {
        b"ANNOUNCE",
        b"DESCRIBE",
        b"FLUSH",
        b"GET_PARAMETER",
        b"PAUSE",
        b"PLAY",
        b"RECORD",
        b"REDIRECT",
        b"SETUP",
        b"SET_PARAMETER",
        b"SOURCE",
        b"TEARDOWN",
    }
)


class HeadError(Exception):
    """End the parsing of a request; raised inside the parser's callbacks.

    Attributes:
        problem: what the client is told.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


def check_head(method: bytes, version: str, framing: Headers) -> None:
    """Refuse a head that another server might read differently.

    Args:
        method: of the request.
        version: of HTTP, `1.1`.
        framing: its headers among `FRAMING_HEADERS`, names in lowercase.

    Raises:
        HeadError: 400, 417, 501 or 505.
    """
    if version not in ("1.1", "1.0"):
        raise HeadError(_unsupported_version(version))
    if method == b"CONNECT":
        raise HeadError(
            bad_request("invalid_http", "The service is not a proxy. It does not support CONNECT.")
        )
    if method in _FOREIGN_METHODS:
        raise HeadError(
            bad_request("invalid_http", "The service supports GET, HEAD and POST only.")
        )
    values: dict[bytes, list[bytes]] = {}
    for name, value in framing:
        values.setdefault(name, []).append(value)
    _check_host(values.get(b"host", []), version)
    if codings := values.get(b"transfer-encoding"):
        _check_codings(codings, version)
    for expected in values.get(b"expect", ()):
        if version == "1.1" and expected.strip().lower() != b"100-continue":
            raise HeadError(
                Problem(
                    417,
                    "unsupported_expectation",
                    "The service supports only the expectation `100-continue`. Remove the"
                    " Expect header.",
                )
            )


def _unsupported_version(version: str) -> Problem:
    if version == "0.9":  # no version at all
        return bad_request("invalid_http", "The request line must end with HTTP/1.1 or HTTP/1.0.")
    return Problem(
        505,
        "unsupported_version",
        f"The service does not support HTTP/{version}. Send HTTP/1.1 or HTTP/1.0.",
    )


def _check_host(hosts: list[bytes], version: str) -> None:
    """RFC 9112 §3.2."""
    if len(hosts) > 1:
        raise HeadError(bad_request("invalid_host", "The request must have only one Host header."))
    if not hosts:
        if version == "1.1":
            raise HeadError(
                bad_request("invalid_host", "An HTTP/1.1 request must have a Host header.")
            )
        return
    if not _HOST.fullmatch(hosts[0].strip(b" \t")):
        raise HeadError(
            bad_request("invalid_host", "The Host header must be HOST or HOST:PORT, as in the URL.")
        )


def _check_codings(codings: list[bytes], version: str) -> None:
    """RFC 9112 §6.1 and §6.3."""
    if version != "1.1":
        raise HeadError(
            bad_request(
                "invalid_http",
                "An HTTP/1.0 request must not have a Transfer-Encoding header. Send HTTP/1.1.",
            )
        )
    names = [name.strip(b" \t").lower() for name in b",".join(codings).split(b",")]
    if names == [b"chunked"]:
        return
    if names[-1] == b"chunked":
        raise HeadError(
            Problem(
                501,
                "unsupported_transfer_coding",
                "The service supports only the transfer coding `chunked`.",
            )
        )
    raise HeadError(bad_request("invalid_http", "The last transfer coding must be `chunked`."))


def split_target(target: bytes) -> tuple[str, bytes]:
    """Return path and query of a request's target (RFC 9112 §3.2).

    Raises:
        httptools.HttpParserInvalidURLError: it is no URL.
        UnicodeDecodeError: its path is not ASCII.
    """
    if target.startswith(b"/"):
        path, _, query = target.partition(b"#")[0].partition(b"?")
    elif target == b"*":
        path, query = target, b""
    else:
        url = httptools.parse_url(target)
        path, query = url.path or b"/", url.query or b""
    return path.decode("ascii"), query


def head_bytes(target: bytes, headers: Headers) -> int:
    """Return the size of a head, up to a few bytes."""
    return len(target) + sum(len(name) + len(value) + 4 for name, value in headers)


def head_too_large() -> Problem:
    """Describe a head over its bounds."""
    return Problem(
        431,
        "head_too_large",
        f"The request line and headers are too large. The limits are {MAX_HEAD_BYTES:,} bytes in"
        f" all and {MAX_HEADERS} headers.",
    )


def framing_of(headers: Iterable[tuple[bytes, bytes]], *, keep_alive: bool) -> bytes:
    """Return a head without a target that frames a body as these headers do."""
    lines = [b"POST / HTTP/1.1", b"host: x"]
    if not keep_alive:
        lines.append(b"connection: close")
    for name, value in headers:
        if name in (b"content-length", b"transfer-encoding"):
            lines.append(name + b": " + value)
    return b"\r\n".join((*lines, b"", b""))
