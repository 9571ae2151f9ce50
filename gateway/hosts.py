"""Whether a request was meant for this server: the names in COURIER_ALLOWED_HOSTS."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from gateway.errors import HostNotAllowed
from gateway.reply import Header


def check_host(headers: Iterable[Header]) -> None:
    """Raises HostNotAllowed unless the one `Host` is a name of this server's."""
    allowed = settings.ALLOWED_HOSTS
    if "*" in allowed:
        return
    host = next((value for name, value in headers if name == b"host"), b"")
    if not _is_allowed(host, tuple(allowed)):
        raise HostNotAllowed


@lru_cache(maxsize=256)
def _is_allowed(host: bytes, allowed: tuple[str, ...]) -> bool:
    domain, _ = split_domain_port(host.decode("latin-1").lower())
    return bool(domain) and validate_host(domain, allowed)
