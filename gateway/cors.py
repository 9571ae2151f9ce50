"""Cross-origin requests from browsers: off, unless origins are configured."""

from __future__ import annotations

from collections.abc import Iterable

from django.conf import settings

from gateway.reply import Header

_EXPOSED = (
    b"x-request-id, x-ratelimit-remaining-requests, x-ratelimit-remaining-tokens, retry-after"
)


def headers_for(request_headers: Iterable[Header]) -> list[Header]:
    """What to add to an answer so that the page that asked may read it; empty if it may not."""
    if not settings.COURIER_CORS_ORIGINS:
        return []
    origin = next((value for name, value in request_headers if name == b"origin"), b"")
    if origin.decode("latin-1") not in settings.COURIER_CORS_ORIGINS:
        return []
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _EXPOSED),
        (b"vary", b"origin"),
    ]


def preflight_headers(request_headers: Iterable[Header]) -> list[Header]:
    """What to add besides when a browser asks whether it may ask; empty if it may not."""
    if not headers_for(request_headers):
        return []
    wanted = [value for name, value in request_headers if name == b"access-control-request-headers"]
    return [
        (b"access-control-allow-methods", b"GET, POST"),
        (b"access-control-allow-headers", wanted[0] if wanted else b"authorization, content-type"),
        (b"access-control-max-age", b"600"),
    ]
