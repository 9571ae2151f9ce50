"""Which address a request comes from: the connection's, or what a trusted proxy says of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from django.conf import settings

Address = IPv4Address | IPv6Address
Networks = tuple[IPv4Network | IPv6Network, ...]

#: How much of an IPv6 address is given to one subscriber.
IPV6_BITS = 64
#: Proxies behind each other that are followed.
MOST_PROXIES = 16


def client_address(scope: Mapping[str, Any]) -> str:
    """The client's address; empty if it has none.

    `X-Forwarded-For` is read from its end, as far as trusted proxies wrote it: whoever is
    named there before may have been made up.
    """
    address = peer = peer_of(scope)
    for told in _told_by_proxies(scope) if is_trusted(peer) else ():
        address = told
        if not is_trusted(told):
            break
    return address


def peer_of(scope: Mapping[str, Any]) -> str:
    """The address at the other end of the connection."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def is_trusted(address: str) -> bool:
    """Whether it is a proxy's that is believed who asks, and whether by HTTPS."""
    return _is_in(address, tuple(settings.COURIER_TRUSTED_PROXIES))


def subscriber_of(address: str) -> str:
    """What is counted as one client: an address, or of IPv6 the network that somebody has."""
    known = _address(address)
    if isinstance(known, IPv6Address):
        return str(ip_network((known, IPV6_BITS), strict=False))
    return address if known is None else str(known)


def _told_by_proxies(scope: Mapping[str, Any]) -> Iterator[str]:
    """What proxies say, the nearest first. Ends at what is no address."""
    told = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
    for each in reversed(told.decode("latin-1").split(",")[-MOST_PROXIES:]):
        address = _address(each.strip())
        if address is None:
            return
        yield str(address)


@lru_cache(maxsize=1024)
def _is_in(address: str, networks: tuple[str, ...]) -> bool:
    known = _address(address)
    return known is not None and any(known in network for network in _networks(networks))


@lru_cache(maxsize=8)
def _networks(networks: tuple[str, ...]) -> Networks:
    return tuple(ip_network(network, strict=False) for network in networks)


def _address(text: str) -> Address | None:
    """The address that a text is, as some write it with a port. None if it is none."""
    bare = text[1:].partition("]")[0] if text.startswith("[") else text
    host = bare.partition(":")[0] if bare.count(":") == 1 else bare
    try:
        address = ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
