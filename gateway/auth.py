"""Who is calling: from the request's headers alone, before a byte of its body is read."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

from accounts.errors import IdentityUnavailable, InvalidApiKey, KeyInUrl
from accounts.principals import Principal, authenticate, authenticate_cached, is_strange
from gateway.client_address import client_address, subscriber_of
from gateway.strangers import strangers
from lib.errors import CourierError

logger = logging.getLogger(__name__)

#: Where a key may stand. Only the first of these that is present counts.
_BEARER = re.compile(rb"bearer +(\S+) *", re.IGNORECASE)
_PLAIN = (b"x-api-key", b"api-key", b"x-goog-api-key")

#: As Google's clients used to send it.
_KEY_IN_URL = re.compile(rb"(?:^|&)key=")

Headers = Iterable[tuple[bytes, bytes]]


async def principal_of(scope: Mapping[str, Any]) -> Principal:
    """The principal whose key the headers hold. One refusal for every key that is no good."""
    query = scope.get("query_string")
    if query and _KEY_IN_URL.search(query):
        raise KeyInUrl
    secret = _secret_in(scope["headers"])
    try:
        return authenticate_cached(secret) or await _unknown(secret, scope)
    except CourierError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is, it is no reason to let anyone in
        logger.error("an API key could not be checked: %s", type(error).__name__)  # noqa: TRY400
        raise IdentityUnavailable from None


async def _unknown(secret: str, scope: Mapping[str, Any]) -> Principal:
    """The principal of a key that is not in memory."""
    if not is_strange(secret):
        return await authenticate(secret)
    with strangers.trying(subscriber_of(client_address(scope))):
        return await authenticate(secret)


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
