"""The connections to upstreams. One client per event loop; every transport error is mapped."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp
import httpx
from django.conf import settings

from gateway import errors
from gateway.local_upstreams import ChaosTransport, EchoTransport
from gateway.providers.base import Addressee, Form, UpstreamRequest
from gateway.unpacking import Unpacking
from registry import network, outbound
from registry.snapshot import Target
from usage.records import Attempt

#: How long a finished answer may take to close, so that its connection can be used again.
LINGER_S = 1.0

_transports: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, httpx.AsyncBaseTransport]] = (
    WeakKeyDictionary()
)
_under_way: ContextVar[Attempt | None] = ContextVar("attempt", default=None)


class Answer:
    """An upstream's answer: status and headers, and a body still to be read.

    Iterating gives the body as the network gives it, unpacked if it came compressed.
    """

    __slots__ = ("_body", "_target", "_unpacking", "headers", "status")

    def __init__(self, response: httpx.Response, target: Addressee) -> None:
        self._target = target
        self._body: Any = response.stream
        self._unpacking: Unpacking | None = None
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers

    def unpack(self, coding: str) -> None:
        """Unpack the body, which says that it is compressed. Raises UpstreamBadResponse."""
        try:
            self._unpacking = Unpacking(coding.strip().lower())
        except ValueError as error:
            raise self._badly_packed() from error

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> bytes:
        if self._unpacking is None:
            return await self._next_piece()
        try:
            return await self._unpacked(self._unpacking)
        except ValueError as error:
            raise self._badly_packed() from error

    async def _unpacked(self, unpacking: Unpacking) -> bytes:
        while not (piece := unpacking.piece()):
            try:
                unpacking.take(await self._next_piece())
            except StopAsyncIteration:
                unpacking.end()
                raise
        return piece

    def _badly_packed(self) -> errors.UpstreamBadResponse:
        return errors.UpstreamBadResponse(
            f"The answer of provider {self._target.provider_name!r} is compressed in a way "
            "that Courier does not unpack."
        )

    async def _next_piece(self) -> bytes:
        try:
            piece: bytes = await self._body.__anext__()
        except StopAsyncIteration:
            raise
        except Exception as error:
            raise _mapped(error, self._target) from error
        return piece

    async def read(self, most: int) -> bytes:
        """The whole body. One larger than `most` bytes is refused."""
        pieces = []
        size = 0
        async for piece in self:
            size += len(piece)
            if size > most:
                raise errors.UpstreamBadResponse(
                    f"The answer of provider {self._target.provider_name!r} is too large."
                )
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def finish(self) -> None:
        """Read the little that may be left, so that the connection can be used again."""
        try:
            with contextlib.suppress(errors.UpstreamError, TimeoutError):
                async with asyncio.timeout(LINGER_S):
                    async for _ in self:
                        pass
        finally:
            await self.close()

    async def close(self) -> None:
        """Close the answer. A body that was not read to its end takes its connection along."""
        with contextlib.suppress(httpx.HTTPError, aiohttp.ClientError, OSError):
            await self._body.aclose()


class Passing(httpx.AsyncByteStream):
    """A body that is sent in pieces."""

    def __init__(self, form: Form) -> None:
        self._form = form

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._form)


def count_for(attempt: Attempt) -> None:
    """Count what this task, and those that it begins, send from now on as this attempt's calls."""
    _under_way.set(attempt)


def _count(message: httpx.Request) -> None:
    attempt = _under_way.get()
    if attempt is not None:
        attempt.calls += message.extensions.get(network.TIMES_SENT, 1)


async def send(request: UpstreamRequest, target: Target) -> Answer:
    """Send `request`; return as soon as the answer's headers are there."""
    try:
        url = _checked_url(request.url, tuple(settings.COURIER_ALLOW_PRIVATE_UPSTREAMS))
    except outbound.ForbiddenUpstream as error:
        raise errors.UpstreamUnreachable(
            f"Provider {target.provider_name!r} is at an address that is not allowed."
        ) from error
    message = httpx.Request(
        "POST",
        url,
        headers=_headers(request),
        # Not `content`: that prepares headers which aiohttp then makes itself.
        stream=_stream(request.body),
        extensions={"timeout": network.limits(target.connect_timeout_s, target.tls_timeout_s)},
    )
    if isinstance(request.body, bytes):
        message.read()
    try:
        response = await _transport_for(url.scheme).handle_async_request(message)
    except Exception as error:
        raise _mapped(error, target) from error
    finally:
        _count(message)
    answer = Answer(response, target)
    coding = answer.headers.get("content-encoding")
    if coding and coding != "identity":
        try:
            answer.unpack(coding)
        except errors.UpstreamError:
            await answer.close()
            raise
    return answer


def _headers(request: UpstreamRequest) -> Mapping[str, str]:
    if isinstance(request.body, bytes) or request.body.length is None:
        return request.headers
    return {**request.headers, "content-length": str(request.body.length)}


def _stream(body: bytes | Form) -> httpx.ByteStream | Passing:
    return httpx.ByteStream(body) if isinstance(body, bytes) else Passing(body)


@lru_cache(maxsize=1024)
def _checked_url(url: str, networks: tuple[str, ...]) -> httpx.URL:
    """`url`, parsed, if it may be called under the networks allowed now."""
    # A base URL has no query; one that is there is the adapter's own.
    outbound.check_url(url.partition("?")[0])
    return httpx.URL(url)


def _transport_for(scheme: str) -> httpx.AsyncBaseTransport:
    loop = asyncio.get_running_loop()
    transports = _transports.get(loop)
    if transports is None:
        engine = network.transport()
        transports = _transports[loop] = {
            "http": engine,
            "https": engine,
            "echo": EchoTransport(),
            "chaos": ChaosTransport(),
        }
    return transports[scheme]


async def close() -> None:
    """Close every connection of this event loop."""
    transports = _transports.pop(asyncio.get_running_loop(), {})
    for transport in set(transports.values()):
        await transport.aclose()


def _mapped(error: BaseException, target: Addressee) -> BaseException:
    """Our error for a transport's. What is not a transport's is returned as it is."""
    if not isinstance(error, httpx.TransportError | aiohttp.ClientError | OSError):
        return error
    name = target.provider_name
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError) or _broke_off_tls(error):
        return errors.UpstreamTlsFailed(f"Provider {name!r} could not be reached safely by TLS.")
    if isinstance(error, asyncio.TimeoutError | httpx.TimeoutException) or _hangs_in_tls(error):
        return errors.UpstreamConnectTimeout(f"Connecting to provider {name!r} took too long.")
    if isinstance(error, aiohttp.ClientPayloadError | httpx.ReadError):
        return errors.UpstreamBrokeOff(f"Provider {name!r} broke off its answer.")
    if isinstance(error, aiohttp.ClientResponseError):
        return errors.UpstreamBadResponse(f"Provider {name!r} did not answer in proper HTTP.")
    return errors.UpstreamUnreachable(f"Provider {name!r} could not be reached.")


def _broke_off_tls(error: BaseException) -> bool:
    """Whether there was a connection, and it ended before it was secured."""
    return isinstance(error, aiohttp.ClientConnectorError) and isinstance(
        error.os_error, ConnectionResetError
    )


def _hangs_in_tls(error: BaseException) -> bool:
    """Whether there was a connection, and securing it took too long."""
    return isinstance(error, aiohttp.ClientConnectorError) and isinstance(
        error.os_error, ConnectionAbortedError
    )
