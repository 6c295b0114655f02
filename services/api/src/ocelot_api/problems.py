"""Errors that own their HTTP status and code, and become `application/problem+json` (RFC 9457)."""

from typing import Any, Final

import msgspec

MEDIA_TYPE: Final = "application/problem+json"

_TITLES: Final = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    413: "Too large",
    415: "Unsupported media type",
    417: "Expectation failed",
    422: "Not valid",
    429: "Too many requests",
    431: "Request header fields too large",
    500: "Internal error",
    501: "Not implemented",
    503: "Unavailable",
    504: "Timeout",
    505: "HTTP version not supported",
}


class Problem(Exception):  # noqa: N818 - RFC 9457's term
    """What a client is told when its request fails.

    Attributes:
        status: HTTP status.
        code: stable, for programs.
        detail: one sentence for people.
        path: of the field at fault.
        headers: of the response, besides the usual ones.
        members: further members of the document.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        path: str | None = None,
        headers: dict[str, str] | None = None,
        members: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.path = path
        self.headers = headers or {}
        self.members = members or {}

    def document(self, request_id: str) -> bytes:
        """The response's body."""
        body: dict[str, Any] = {
            "type": f"urn:ocelot:problem:{self.code}",
            "title": _TITLES.get(self.status, "Error"),
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        if self.path is not None:
            body["path"] = self.path
        body["request_id"] = request_id
        return msgspec.json.encode(body | self.members)


def bad_request(code: str, detail: str, *, path: str | None = None) -> Problem:
    """A request that is wrong in itself."""
    return Problem(400, code, detail, path=path)


def invalid_parameter(name: str, rule: str) -> Problem:
    """A parameter that breaks a rule.

    Args:
        name: of the parameter; a client may have made it up.
        rule: what the parameter must be, as the rest of a sentence: `must be a number`.
    """
    shown = name[:100]
    return bad_request("invalid_parameter", f"`{shown}` {rule}.", path=shown)


def unknown_parameter(name: str) -> Problem:
    """A parameter that the endpoint does not have."""
    shown = name[:100]
    return bad_request("unknown_parameter", f"The endpoint has no parameter `{shown}`.", path=shown)


def unauthenticated(code: str, detail: str) -> Problem:
    """No token, or none that is taken (RFC 6750 §3)."""
    challenge = 'Bearer realm="ocelot"'
    if code != "token_missing":
        challenge += ', error="invalid_token"'
    return Problem(401, code, detail, headers={"WWW-Authenticate": challenge})


def forbidden(code: str, detail: str) -> Problem:
    """A token that is good, but not for this."""
    return Problem(403, code, detail)


def method_not_allowed(headers: dict[str, str]) -> Problem:
    """A path that has other methods.

    Args:
        headers: of the response, with `Allow`.
    """
    allowed = headers.get("Allow", "")
    return Problem(
        405,
        "method_not_allowed",
        f"The path supports only {allowed or 'other methods'}.",
        headers=headers,
    )


def store_timeout() -> Problem:
    """MongoDB took too long to answer."""
    return Problem(504, "store_timeout", "MongoDB did not answer in time. Repeat the request.")


def search_timeout() -> Problem:
    """A search backend took too long to answer."""
    return Problem(
        504,
        "search_timeout",
        "The search took too long. Narrow it by time or by another filter, or raise"
        " OCELOT_SEARCH_TIMEOUT_SEC.",
    )


def unavailable(
    code: str, detail: str, *, retry_after_sec: int = 1, members: dict[str, Any] | None = None
) -> Problem:
    """Something that the request needs is away for the moment."""
    return Problem(
        503, code, detail, headers={"Retry-After": str(retry_after_sec)}, members=members
    )
