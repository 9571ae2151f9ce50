"""What stands before the admin: bodies have bounds, and only proxies say who asks and how.

Django itself spools a body of any size to the disk before it looks at anything.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.conf import settings

from courier_site import patience
from gateway.client_address import is_trusted, peer_of
from gateway.front_door import BODY_IDLE_S, BODY_TIMEOUT_S, Scope
from gateway.reply import Receive, Send

logger = logging.getLogger(__name__)

#: What only proxies say.
FORWARDED = (b"forwarded", b"x-forwarded-", b"x-real-ip")
TOO_LARGE = 413, b"The request is too large.\n"
TOO_SLOW = 408, b"The request did not arrive in time.\n"
GONE = {"type": "http.disconnect"}
#: A stranger who claims to be a proxy must not fill a disk.
TELL_EVERY_S = 60.0

Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Claims:
    """Tells of those whose word is ignored, now and then."""

    def __init__(self) -> None:
        self._told_at = -TELL_EVERY_S

    def ignore(self, peer: str) -> None:
        now = time.monotonic()
        if now - self._told_at >= TELL_EVERY_S:
            self._told_at = now
            logger.info(
                "%s is no trusted proxy (COURIER_TRUSTED_PROXIES); its word is ignored", peer
            )


claims = Claims()


async def serve(admin: Application, scope: Scope, receive: Receive, send: Send) -> None:
    """Let the admin answer, if the request can be read."""
    _forget_claims(scope)
    body = Body(receive, settings.COURIER_MAX_BODY)
    with patience.bounded():
        await admin(scope, body.receive, send)
    if body.fault:
        await _answer(send, *body.fault)


class Body:
    """A request's body as it comes. To who reads it, its sender has left where it has a fault."""

    def __init__(self, receive: Receive, most: int) -> None:
        self.fault: tuple[int, bytes] | None = None
        self._receive = receive
        self._left = most
        self._is_over = False
        self._deadline = asyncio.get_running_loop().time() + BODY_TIMEOUT_S

    async def receive(self) -> MutableMapping[str, Any]:
        if self._is_over:
            return await self._receive()
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(min(now + BODY_IDLE_S, self._deadline)):
                message = await self._receive()
        except TimeoutError:
            return self._break_off(TOO_SLOW)
        self._left -= len(message.get("body", b""))
        self._is_over = not message.get("more_body")
        return self._break_off(TOO_LARGE) if self._left < 0 else message

    def _break_off(self, fault: tuple[int, bytes]) -> MutableMapping[str, Any]:
        self.fault, self._is_over = fault, True
        return dict(GONE)


def _forget_claims(scope: Scope) -> None:
    """Take out what only a proxy may say, unless one says it."""
    claimed = [name for name, _ in scope["headers"] if name.startswith(FORWARDED)]
    peer = peer_of(scope) if claimed else ""
    if claimed and not is_trusted(peer):
        claims.ignore(peer)
        scope["headers"] = [each for each in scope["headers"] if each[0] not in claimed]


async def _answer(send: Send, status: int, text: bytes) -> None:
    headers = [
        (b"content-type", b"text/plain"),
        (b"content-length", str(len(text)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
