"""One log line for every request that is refused for who sends it or for want of capacity.

Whoever watches for password guessing, a scanner or a client without back-off needs the client's
address; nothing else does. Therefore it is looked up for these answers only.
"""

from collections.abc import Callable
from typing import Final

from ocelot_api.client_address import TrustedProxies
from ocelot_common.telemetry.logs import get_logger

#: Answers that are logged.
STATUSES: Final = frozenset({401, 403, 429, 503})

log = get_logger(__name__)


class RefusalLog:
    """Write the line `request_refused`: client, status, code, request id, route and tenant.

    Every field is bounded: the address is canonical, the route is a template and the request id has
    at most 128 characters. Tokens and paths are not written.

    Args:
        proxies: find the client's address.

    Attributes:
        tenant_of: returns the tenant's id for a request's headers, or None if it is not known.
    """

    def __init__(self, proxies: TrustedProxies) -> None:
        self._proxies = proxies
        self.tenant_of: Callable[[dict[bytes, bytes]], str | None] = lambda _: None

    def write(
        self,
        peer: tuple[str, int] | None,
        headers: dict[bytes, bytes],
        *,
        status: int,
        code: str | None,
        request_id: str,
        route: str,
    ) -> None:
        """Write the line; for the answers in `STATUSES`.

        Args:
            peer: address and port of the connection's other end.
            headers: of the request by their lowercase names, repeated ones joined by commas.
            status: of the answer.
            code: of the problem document.
            request_id: that the answer carries.
            route: the path's template.
        """
        log.warning(
            "request_refused",
            client=self._proxies.client_of(peer, headers.get(b"x-forwarded-for", b"")),
            status=status,
            code=code,
            request_id=request_id,
            route=route,
            tenant=self.tenant_of(headers),
        )
