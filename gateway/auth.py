"""Who is calling: from the request's headers alone, before a byte of its body is read."""

from __future__ import annotations

import re
from collections.abc import Iterable

from accounts.errors import InvalidApiKey, KeyInUrl
from accounts.principals import Principal, authenticate, authenticate_cached

#: Where a key may stand. Only the first of these that is present counts.
_BEARER = re.compile(rb"bearer +(\S+) *", re.IGNORECASE)
_PLAIN = (b"x-api-key", b"api-key", b"x-goog-api-key")

#: As Google's clients used to send it.
_KEY_IN_URL = re.compile(rb"(?:^|&)key=")

Headers = Iterable[tuple[bytes, bytes]]


async def principal_of(headers: Headers, query: bytes = b"") -> Principal:
    """The principal whose key the headers hold. One refusal for every key that is no good."""
    if query and _KEY_IN_URL.search(query):
        raise KeyInUrl
    secret = _secret_in(headers)
    return authenticate_cached(secret) or await authenticate(secret)


def _secret_in(headers: Headers) -> str:
    plain = b""
    for name, value in headers:
        if name == b"authorization":
            bearer = _BEARER.fullmatch(value)
            if bearer:
                return _text(bearer[1])
        elif name in _PLAIN and not plain:
            plain = value.strip()
    return _text(plain)


def _text(value: bytes) -> str:
    if not value or not value.isascii():
        raise InvalidApiKey
    return value.decode("ascii")
