"""The engine of all connections out: httpx's interface on aiohttp, to checked addresses only."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any
from weakref import WeakSet

import aiohappyeyeballs
import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from yarl import URL

from registry import outbound

#: Idle connections are closed before most servers' own 60 s, so that a reused one is alive.
KEEP_ALIVE_S = 45
#: Name resolution and waiting for a connection may take so much beside connecting and TLS.
POOL_GRACE_S = 2.0
#: Names looked up at the same time. One that hangs holds a thread until the system gives it up;
#: these are nobody else's.
LOOK_UPS = ThreadPoolExecutor(16, "look-up")


#: An extension of a request that was sent more than once: how often.
TIMES_SENT = "times_sent"


class NoAnswer(Exception):
    """Nothing came back. Says why, and quotes neither an address nor the other side."""


class GuardedResolver(AbstractResolver):
    """Resolves names, and drops every address that Courier may not connect to.

    The connection is made to the very addresses that were checked, so that a name cannot
    mean one thing when it is checked and another when it is used.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_line.get().look_up_s):
            found = await loop.run_in_executor(LOOK_UPS, _look_up, host, port, family)
        allowed = [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=kind,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, address in found
            if _is_allowed(address)
        ]
        if not allowed:
            raise OSError(f"{host} resolves to forbidden addresses only.")
        return allowed

    async def close(self) -> None:
        """There is nothing to close."""


def _look_up(host: str, port: int, family: int) -> list[tuple[socket.AddressFamily, str]]:
    """What the system knows of a name, in the order in which it wants to be tried."""
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [(kind, str(address[0])) for kind, _, _, _, address in found]


def _is_allowed(address: str) -> bool:
    try:
        outbound.check_address(address)
    except outbound.ForbiddenUpstream:
        return False
    return True


#: Where another limit holds.
NO_LIMIT = aiohttp.ClientTimeout(total=None)


@dataclass(slots=True)
class Line:
    """The connection of one request: what is wanted of it, and what it turned out to be."""

    must_be_fresh: bool = False
    was_used_before: bool = False
    #: Seconds that looking up its host may take, and securing it.
    look_up_s: float = 5.0
    tls_s: float = 5.0


_line: ContextVar[Line] = ContextVar("line")


class Connector(aiohttp.TCPConnector):
    """Gives out connections on which nothing has come since they were last used.

    What a server sends unasked would be read as the answer to the next request, which is
    somebody else's.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._used: WeakSet[Any] = WeakSet()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        line = _line.get()
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            line.was_used_before = protocol in self._used
            if not line.was_used_before:
                self._used.add(protocol)
                return connection
            if not line.must_be_fresh and protocol is not None and not protocol.should_close:
                return connection
            connection.close()

    async def _wrap_create_connection(
        self,
        *args: Any,
        addr_infos: Any,
        req: aiohttp.ClientRequest,
        timeout: aiohttp.ClientTimeout,
        client_error: type[Exception] = aiohttp.ClientConnectorError,
        **options: Any,
    ) -> tuple[asyncio.Transport, Any]:
        """The engine's own, but that connecting and securing have a limit each, not one together.

        It is none of the engine's interface: `tests/gateway/test_time_limits.py` watches over it.
        """
        try:
            async with asyncio.timeout(timeout.sock_connect):
                options["sock"] = await aiohappyeyeballs.start_connection(
                    addr_infos=addr_infos,
                    happy_eyeballs_delay=self._happy_eyeballs_delay,
                    interleave=self._interleave,
                    loop=self._loop,
                )
        except TimeoutError:
            raise
        except OSError as error:
            raise client_error(req.connection_key, error) from error
        if options.get("ssl"):
            options["ssl_handshake_timeout"] = _line.get().tls_s
        return await self._wrap_existing_connection(
            *args,
            req=req,
            timeout=NO_LIMIT,
            client_error=client_error,
            **options,
        )


class Network(httpx.AsyncBaseTransport):
    """httpx's interface on aiohttp's engine (decision 4)."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it, on a fresh connection if one that was used before turns out to be dead.

        A server closes what is idle without asking, and a request may be on its way then. That
        it was sent again stands in its extensions.
        """
        told = request.extensions["timeout"]
        line = Line(look_up_s=told["connect"] + POOL_GRACE_S, tls_s=told["tls"])
        _line.set(line)
        try:
            return await self._answered(request)
        except aiohttp.ClientConnectionError as error:
            if not line.was_used_before or _has_begun(error) or not _can_be_sent_again(request):
                raise
        line.must_be_fresh = True
        request.extensions[TIMES_SENT] = 2
        return await self._answered(request)

    async def _answered(self, request: httpx.Request) -> httpx.Response:
        limits = request.extensions["timeout"]
        answer = await self._session.request(
            request.method,
            _engine_url(str(request.url)),
            headers=[(name.decode(), value.decode()) for name, value in request.headers.raw],
            data=_body(request),
            allow_redirects=False,
            timeout=_engine_limits(limits["connect"], limits["pool"]),
        )
        return httpx.Response(answer.status, headers=answer.raw_headers, stream=NetworkBody(answer))

    async def aclose(self) -> None:
        await self._session.close()


class NetworkBody(httpx.AsyncByteStream):
    """A body as the network gives it. Whoever was cancelled while reading may read on.

    It is a class with `__anext__`, for an async generator that is left before its end costs
    a task to clean up.
    """

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self._read = answer.content.readany

    def __aiter__(self) -> NetworkBody:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._read()
        if not piece:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        self._answer.release()


def _body(request: httpx.Request) -> bytes | AsyncIterable[bytes]:
    """The request's body: all of it, or as it comes."""
    stream = request.stream
    if isinstance(stream, httpx.AsyncByteStream) and not isinstance(stream, httpx.ByteStream):
        return stream
    return request.content


def _can_be_sent_again(request: httpx.Request) -> bool:
    return isinstance(_body(request), bytes)


def _has_begun(error: aiohttp.ClientConnectionError) -> bool:
    """Whether something of an answer had come."""
    return isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str)


@lru_cache(maxsize=1024)
def _engine_url(url: str) -> URL:
    return URL(url, encoded=True)


def limits(connect_s: float, tls_s: float) -> dict[str, float]:
    """The limits of a request, until its connection is there and safe."""
    return {"connect": connect_s, "tls": tls_s, "pool": connect_s + tls_s + POOL_GRACE_S}


@lru_cache(maxsize=256)
def _engine_limits(connect_s: float, pool_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(connect=pool_s, sock_connect=connect_s)


@cache
def trust() -> ssl.SSLContext:
    """Whose certificates are believed, read once: that holds up the event loop for 20 ms."""
    return ssl.create_default_context()


def transport() -> Network:
    """A new engine, with connections of its own. It belongs to the running event loop.

    It follows no redirect, keeps no cookie and asks no proxy of the environment.
    """
    connector = Connector(
        limit=0,
        keepalive_timeout=KEEP_ALIVE_S,
        resolver=GuardedResolver(),
        ttl_dns_cache=10,
        ssl=trust(),
    )
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        timeout=aiohttp.ClientTimeout(total=None),
        # What is read ahead of a client that does not read: twice as much, and one read.
        read_bufsize=16 * 1024,
        max_line_size=32 * 1024,
        max_field_size=32 * 1024,
    )
    return Network(session)


async def post(
    url: str, headers: Mapping[str, str], body: bytes, connect_s: float, answer_s: float
) -> int:
    """Send one message on a connection of its own; return the status. Raises NoAnswer.

    `answer_s` is for all of it: resolving, connecting, and waiting for the status. The
    answer's body is not read. Whether `url` may be called is checked by the caller, and its
    addresses here.
    """
    request = httpx.Request(
        "POST",
        url,
        headers=headers,
        # Not `content`: that prepares headers which the engine then makes itself.
        stream=httpx.ByteStream(body),
        extensions={"timeout": limits(connect_s, connect_s)},
    )
    request.read()
    try:
        async with asyncio.timeout(answer_s), transport() as engine:
            answer = await engine.handle_async_request(request)
            await answer.aclose()
    except (httpx.TransportError, aiohttp.ClientError, OSError) as error:
        raise NoAnswer(_why(error)) from error
    return answer.status_code


def _why(error: Exception) -> str:
    match error:
        case TimeoutError():
            return "It took too long to answer."
        case ssl.SSLError() | aiohttp.ClientSSLError():
            return "It could not be reached safely by TLS."
        case aiohttp.ClientResponseError():
            return "It did not answer in proper HTTP."
    return "It could not be reached, or its address is not allowed."
