"""Which paths are the API's, which health's and which the admin's. Pure."""

from __future__ import annotations

from urllib.parse import unquote

#: What the API plane answers where both planes are served at one address.
API = ("/v1/", "/v1beta/", "/v2/")
DOUBLED = tuple(f"/{path}" for path in API)
HEALTH = "/health/"
METRICS = "/metrics"


def corrected(path: str) -> str:
    """The path; one that clients joined with a slash too many is put right."""
    return path[1:] if path.startswith(DOUBLED) else path


def of_url(url: bytes) -> str:
    """The path of a URL as it came, decoded once, as the server decodes it."""
    path = url.partition(b"?")[0].decode("ascii", "replace")
    return corrected(unquote(path) if "%" in path else path)


def is_urgent(path: str, *, serves_admin: bool) -> bool:
    """Whether it is answered under any load: health, metrics, and the admin's pages."""
    if path.startswith(HEALTH) or path == METRICS:
        return True
    return serves_admin and not path.startswith(API)
