"""Which addresses of the network the operator may be led to by what stands in a channel's Secret or in DNS."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address


def refusal(address: str, networks: Sequence[str]) -> str:
    """Why nothing is sent to this address; "" when it may be. `networks` (CIDR) are those that the platform team allows
    besides the public ones. A text that is no address is refused: a name would be looked up behind our back."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return f"{address!r} is not an address"
    meant = _embedded(found)
    if any(found in network or meant in network for network in map(_network, networks) if network is not None):
        return ""
    if meant.is_global and not meant.is_multicast:
        return ""
    return f"{found} is not a public address: the platform team may allow its network by allowedNetworks of the channel"


def _network(text: str) -> IPv4Network | IPv6Network | None:
    """What is no network allows nothing."""
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _embedded(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 one stands for, however it does."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)
