"""The address of a request's client, behind proxies too.

`X-Forwarded-For` is believed only as far as trusted proxies wrote it: everybody else can send the
header, too. Each proxy appends the address of its own peer, so the list is read from the right, and
the first address that is not a trusted proxy's is the client's.
"""

from collections.abc import Iterable, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any, Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_NETWORKS: Final = 256
#: Entries of `X-Forwarded-For` that are read; real chains of proxies have two or three.
MAX_HOPS: Final = 32
#: `[` IPv6 address `%` zone `]:` port is shorter.
_MAX_ENTRY_BYTES: Final = 100
UNKNOWN: Final = "unknown"
#: Of an IPv4 address that is mapped into IPv6 (RFC 4291 §2.5.5.2), before the address itself.
_MAPPED_BITS: Final = 96


def parse_networks(given: Any) -> tuple[Network, ...]:
    """Read a comma-separated list of CIDRs; a bare address stands for itself alone.

    Raises:
        ValueError: an entry is wrong, or there are over `MAX_NETWORKS`; the message says which.
    """
    entries: Iterable[Any] = given.split(",") if isinstance(given, str) else given
    texts = [text for entry in entries if (text := str(entry).strip())]
    if len(texts) > MAX_NETWORKS:
        raise ValueError(f"{len(texts)} networks; the limit is {MAX_NETWORKS}")
    return tuple(_network(text) for text in texts)


def _network(text: str) -> Network:
    try:
        return _unmapped(ip_network(text))
    except ValueError:
        pass
    try:
        meant = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"'{text[:100]}' is not a network; write CIDRs such as 10.0.0.0/8, fd00::/8"
        ) from None
    raise ValueError(f"'{text}' is an address within a network; the network is {meant}")


class TrustedProxies:
    """Find the client's address of a request.

    Args:
        networks: of the proxies whose `X-Forwarded-For` is believed.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = networks

    def client_of(self, peer: tuple[str, int] | None, forwarded: bytes) -> str:
        """Return the client's address in its canonical form, or `unknown`.

        Args:
            peer: address and port of the connection's other end; None for a UNIX socket.
            forwarded: the value of `X-Forwarded-For`, repeated headers joined by commas; or empty.

        An IPv4 address that is mapped into IPv6 is returned as IPv4. Ports and zones are left out.
        An entry that is not an address ends the search: the client is then the proxy that passed
        it on.
        """
        client = _address(peer[0]) if peer else None
        if client is None:
            return UNKNOWN
        if not self._trusts(client):
            return str(client)
        for entry in reversed(_last_entries(forwarded)):
            address = _forwarded(entry)
            if address is None:
                break
            client = address
            if not self._trusts(client):
                break
        return str(client)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _unmapped(network: Network) -> Network:
    """Return the IPv4 network that is meant where one is mapped into IPv6, as addresses are."""
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < _MAPPED_BITS:
        return network
    return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))


def _last_entries(header: bytes) -> list[bytes]:
    """Return the non-empty ones of the last `MAX_HOPS` entries."""
    entries = header.rsplit(b",", MAX_HOPS)
    if len(entries) > MAX_HOPS:
        del entries[0]  # the rest of the list, in one piece
    return [entry for each in entries if (entry := each.strip(b" \t"))]


def _forwarded(entry: bytes) -> Address | None:
    """Read `1.2.3.4`, `1.2.3.4:5678`, `2001:db8::1` or `[2001:db8::1]:5678`."""
    if len(entry) > _MAX_ENTRY_BYTES or not entry.isascii():
        return None
    text = entry.decode()
    port = ""
    if text.startswith("["):
        text, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return None
        port = port[1:]
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
    if port and not port.isdigit():
        return None
    return _address(text)


def _address(text: str) -> Address | None:
    try:
        # Without its zone, which may hold any character.
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
