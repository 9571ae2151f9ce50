"""The outbound guard: where Courier may connect to, and where never."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

#: Schemes of the providers that are built in and open no connection.
BUILT_IN = frozenset({"echo", "chaos"})
NAT64 = ipaddress.ip_network("64:ff9b::/96")
#: The only part of IPv6 that is in public use. What lies outside may wrap a private address.
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
#: Reserved, but public in the tables of Python 3.11; metadata is served from one at a vendor.
RESERVED = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20")))
#: Letters that a host name is made of. A percent sign would be read as one of several others.
HOST_NAME = re.compile(r"[A-Za-z0-9_.-]+")
#: Spellings of an address that only some resolvers accept: 2130706433, 0x7f.1, 0177.0.0.1
ODD_ADDRESS = re.compile(r"^(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*$", re.IGNORECASE)


class ForbiddenUpstream(ValueError):
    """Courier does not connect there. The message says why, for administrators."""


def check_url(url: str) -> None:
    """Raise ForbiddenUpstream unless `url` may be the base URL of a provider.

    Host names are checked again when they resolve (`check_address`): a name that means a
    public address today may mean a private one tomorrow.
    """
    parts = _parsed(url)
    if parts.scheme in BUILT_IN:
        return
    if "?" in url:
        raise ForbiddenUpstream("A base URL has no query, fragment, space or backslash.")
    _check_parts(url, parts)


def check_webhook(url: str) -> None:
    """Raise ForbiddenUpstream unless alerts may be sent to `url`. It may have a query."""
    parts = _parsed(url)
    if parts.scheme != "https" and not settings.COURIER_WEBHOOKS_OVER_HTTP:
        raise ForbiddenUpstream("Enter a URL that starts with https://.")
    _check_parts(url, parts)


def _parsed(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.hostname, parts.port
    except ValueError as error:
        raise ForbiddenUpstream("This is not a valid URL.") from error
    return parts


def _check_parts(url: str, parts: SplitResult) -> None:
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ForbiddenUpstream("Enter a URL that starts with https:// or http://.")
    if parts.username is not None or parts.password is not None:
        raise ForbiddenUpstream("A URL must not hold a user name or a password.")
    if parts.fragment or re.search(r"[\s\x00-\x1f\\]", url):
        raise ForbiddenUpstream("The URL must have no fragment, space or backslash.")
    _check_host(parts.hostname)


def check_address(address: str) -> None:
    """Raise ForbiddenUpstream unless Courier may connect to this IP address."""
    ip = _unwrapped(ipaddress.ip_address(address.partition("%")[0]))
    if _is_public(ip):
        return
    if any(ip in network for network in _allowed(tuple(settings.COURIER_ALLOW_PRIVATE_UPSTREAMS))):
        return
    raise ForbiddenUpstream(
        f"{ip} is a private or reserved address. To allow it, name its network in "
        "COURIER_ALLOW_PRIVATE_UPSTREAMS."
    )


def _is_public(ip: IPv4Address | IPv6Address) -> bool:
    in_use = ip.version == 4 or ip in GLOBAL_UNICAST
    is_reserved = ip.is_multicast or any(ip in network for network in RESERVED)
    return ip.is_global and in_use and not is_reserved


def _check_host(host: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if ODD_ADDRESS.match(host):
            raise ForbiddenUpstream("Write an IP address in its usual form.") from None
        if host.endswith(".") or not HOST_NAME.fullmatch(host):
            raise ForbiddenUpstream(
                "Write the host name in letters, digits, dots and hyphens, without a final dot."
            ) from None
        return
    check_address(host)


def _unwrapped(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address inside an IPv6 one, where there is one."""
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped:
            return ip.ipv4_mapped
        if ip.sixtofour:
            return ip.sixtofour
        if ip in NAT64:
            return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip


@lru_cache(maxsize=8)
def _allowed(networks: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ipaddress.ip_network(network, strict=False) for network in networks)
