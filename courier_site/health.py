"""Whether this process lives, and whether it is ready. Tells nothing else to anybody."""

from __future__ import annotations

from gateway.reply import Send
from lib.errors import CourierError
from registry import snapshot
from usage import recorder

READY = 200, b'{"status":"ready"}'
NOT_READY = 503, b'{"status":"not ready"}'

_is_stopping = False


def stopping() -> None:
    """Be not ready from now on: the process is about to stop."""
    global _is_stopping  # noqa: PLW0603  # a process stops once
    _is_stopping = True


async def answer(path: str, send: Send, *, serves_api: bool) -> None:
    """Answer /health/live and /health/ready."""
    if path == "/health/live":
        await _send(send, 200, b'{"status":"live"}')
    elif path == "/health/ready":
        ready = not _is_stopping and (not serves_api or _can_serve())
        await _send(send, *(READY if ready else NOT_READY))
    else:
        await _send(send, 404, b'{"status":"unknown"}')


async def greet(send: Send) -> None:
    """Answer HEAD /: agents look whether anybody is at their base URL before they ask it."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def _can_serve() -> bool:
    if not snapshot.is_loaded():
        return False
    try:
        recorder.check_writable()
    except CourierError:
        return False
    return True


async def _send(send: Send, status: int, body: bytes) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"cache-control", b"no-store"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
