"""Whether the head of a request is small, and means the same to whoever reads it. Pure.

The parser refuses most of what RFC 9112 calls ambiguous; this is what it lets through.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

MAX_HEAD = 32 * 1024
MAX_HEADERS = 100
MAX_URL = 8 * 1024

#: A name has 253 characters at most, and may be followed by a port.
_HOST = re.compile(rb"[A-Za-z0-9._:\[\]-]{0,259}")
_VERSIONS = frozenset({"1.1", "1.0"})

Names = tuple[bytes, ...]


def answer_of(status: bytes) -> bytes:
    """A whole answer without a body, after which the connection is closed."""
    return b"HTTP/1.1 %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status


BAD_REQUEST = answer_of(b"400 Bad Request")
URL_TOO_LONG = answer_of(b"414 URI Too Long")
TOO_MANY = answer_of(b"503 Service Unavailable\r\nretry-after: 1")
TOO_LARGE = answer_of(b"431 Request Header Fields Too Large")


def refused(version: str, url: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bytes | None:
    """How a head is answered that is too large, or ambiguous; None if it is neither."""
    if len(url) > MAX_URL:
        return URL_TOO_LONG
    if len(headers) > MAX_HEADERS:
        return TOO_LARGE
    if version not in _VERSIONS or not _is_plain(url):
        return BAD_REQUEST
    if not headers:
        return BAD_REQUEST if version == "1.1" else None
    names, values = zip(*headers, strict=True)
    if not _name_one_host(version, names, values) or not _end_plainly(version, names, values):
        return BAD_REQUEST
    size = len(url) + len(b"".join(names)) + len(b"".join(values))
    return TOO_LARGE if size > MAX_HEAD else None


def _name_one_host(version: str, names: Names, values: Names) -> bool:
    if b"host" not in names:
        # Some that only look whether anybody is there speak 1.0 and know no host.
        return version == "1.0"
    return names.count(b"host") == 1 and bool(_HOST.fullmatch(values[names.index(b"host")]))


def _end_plainly(version: str, names: Names, values: Names) -> bool:
    """Whether they say in one way where the body ends."""
    if b"transfer-encoding" not in names:
        return True
    return version != "1.0" and values[names.index(b"transfer-encoding")].lower() == b"chunked"


def _is_plain(url: bytes) -> bool:
    """Whether it is a path of this server's: no other server's URL, and without a fragment."""
    return (url[:1] == b"/" or url == b"*") and b"#" not in url


def without_underscores(headers: list[tuple[bytes, bytes]]) -> None:
    """Take out fields that CGI's names cannot tell from others: X_Real_IP from X-Real-IP."""
    if b"_" in b"".join([name for name, _ in headers]):
        headers[:] = [(name, value) for name, value in headers if b"_" not in name]
