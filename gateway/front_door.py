"""The API plane's ASGI application: Django's requests and URLs behind a gate of its own.

It checks the key before it reads the body, bounds the body while reading, and cancels a
request whose client has left. Nothing on this plane is synchronous, so it does without
Django's handler: its middleware, its thread per request, and its request signals.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, MutableMapping
from functools import partial
from io import BytesIO
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import Http404
from django.http.response import HttpResponseBase
from django.urls import ResolverMatch, resolve

from accounts.principals import Principal
from gateway import auth, cors, errors, idempotency, idempotency_errors, sse
from gateway.hosts import check_host
from gateway.idempotency import Asked, First
from gateway.memory import Body
from gateway.question import Caller
from gateway.refusal import Refusal, refusal
from gateway.relay import Relay, pulse
from gateway.reply import Header, Receive, Reply, Send, Whole
from gateway.shedding import load, retry_after
from gateway.upload import Incoming, Upload
from lib.errors import CourierError
from lib.ids import uuid7

Scope = MutableMapping[str, Any]

#: How long a client may take to send its body, and may pause in between, in seconds. Who keeps
#: sending so many bytes a second has a slow line, and is no attacker.
BODY_TIMEOUT_S = 30.0
BODY_IDLE_S = 10.0
SLOWEST_LINE = 32 * 1024
_SESSION = re.compile(rb"[\x21-\x7e]{1,128}")
_CLIENT_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
#: Of paths that name no model, what serves them: there are only so many.
_views: dict[str, ResolverMatch] = {}
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


class ClientGone(Exception):
    """The client closed its connection; there is nobody to answer."""


class GatewayRequest(ASGIRequest):
    """A request that has passed the gate."""

    principal: Principal
    caller: Caller
    raw: bytes
    #: Of a form, which is not read before it is known what for.
    incoming: Incoming | None = None
    upload: Upload | None = None
    #: Of a request with an Idempotency-Key.
    asked: Asked | None = None


class FrontDoor:
    """Serves `/v1`."""

    def __init__(self) -> None:
        #: Requests being served, so that none is forgotten at shutdown.
        self.open: set[asyncio.Task[Any]] = set()
        self.repeats = idempotency.Repeats()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]  # runs in one
        self.open.add(task)
        try:
            await self._serve(scope, receive, send)
        except ClientGone:
            pass
        finally:
            self.open.discard(task)

    def shut_down(self) -> None:
        """End what is still being served because the process is about to stop."""
        streaming = pulse.end_all()
        for task in self.open - streaming:
            task.cancel()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = uuid7()
        extra = [(b"x-request-id", str(request_id).encode()), *cors.headers_for(scope["headers"])]
        reply = Reply(send, extra, partial(_break_off, scope))
        caller = caller_of(request_id, scope["headers"], reply, _came_at(scope, reply))
        if scope["method"] == "OPTIONS" and settings.COURIER_CORS_ORIGINS:
            await caller.reply.send_whole(204, cors.preflight_headers(scope["headers"]), b"")
            return
        try:
            request = await _pass_the_gate(scope, receive, caller)
        except CourierError as error:
            await _send(refusal(error, scope["path"], caller), caller.reply)
        else:
            if request.asked is None:
                await self._answer(request, receive)
            else:
                await self._answer_once(request, request.asked, receive)

    async def _answer_once(self, request: GatewayRequest, asked: Asked, receive: Receive) -> None:
        """Answer, unless the same was asked before with the same Idempotency-Key."""
        reply = request.caller.reply
        departure = Departure(receive, reply)
        try:
            first = await self._first_or_repeated(asked, reply)
        except CourierError as error:
            await _send(refusal(error, request.path, request.caller), reply)
            return
        except asyncio.CancelledError:
            if reply.client_is_gone:
                raise ClientGone from None
            _go_on_after_cancel()
            await _send(refusal(errors.ShuttingDown(), request.path, request.caller), reply)
            return
        finally:
            departure.stop_watching()
        if first is not None:
            async with self.repeats.recording(first, reply):
                await self._answer(request, receive)

    async def _first_or_repeated(self, asked: Asked, reply: Reply) -> First | None:
        """The request's own turn; None if it was given another's answer."""
        found = await self.repeats.join(asked)
        if isinstance(found, First):
            return found
        if not await found.play(reply):
            raise idempotency_errors.OutcomeNotKept
        return None

    async def _answer(self, request: GatewayRequest, receive: Receive) -> None:
        """Answer; but the moment the client leaves, cancel whatever is being done for it."""
        incoming = request.incoming
        departure = Departure(
            incoming.after if incoming else receive, request.caller.reply, self.repeats.may_go_on
        )
        try:
            response = await self._response_to(request)
            if isinstance(response, Relay):
                await response.relay()
            else:
                await _send(response, request.caller.reply)
        except asyncio.CancelledError:
            if request.caller.reply.client_is_gone:
                raise ClientGone from None
            raise
        finally:
            departure.stop_watching()
            if request.upload is not None:
                request.upload.close()
        if isinstance(response, Relay):
            with contextlib.suppress(asyncio.CancelledError):  # the answer is out
                await response.finish()

    async def _response_to(self, request: GatewayRequest) -> HttpResponseBase:
        try:
            view = view_at(request.path_info)
            response: HttpResponseBase = await view.func(request, **view.kwargs)
        except Http404:
            unknown = errors.UnknownUrl(f"Unknown request URL: {request.method} {request.path}.")
            return refusal(unknown, request.path, request.caller)
        except asyncio.CancelledError:
            if request.caller.reply.client_is_gone:
                raise
            # Only the server's own stopping cancels a request whose client is still there.
            _go_on_after_cancel()
            return refusal(errors.ShuttingDown(), request.path, request.caller)
        if response.status_code == 405:
            wrong = errors.MethodNotAllowed(f"{request.method} is not allowed here.")
            wrong.headers["allow"] = response.headers.get("allow", "")
            return refusal(wrong, request.path, request.caller)
        return response


def view_at(path: str) -> ResolverMatch:
    """What serves this path. Raises Http404."""
    match = _views.get(path)
    if match is None:
        match = resolve(path, "gateway.urls")
        if not match.kwargs:
            _views[path] = match
    return match


class Departure:
    """Watches for the client's leaving, and then cancels the task that serves it."""

    __slots__ = ("_may_go_on", "_reply", "_serving", "_watcher")

    def __init__(
        self, receive: Receive, reply: Reply, may_go_on: Callable[[], bool] = bool
    ) -> None:
        self._reply = reply
        #: Whether an answer that is recorded may go on for nobody.
        self._may_go_on = may_go_on
        self._serving = asyncio.current_task()
        self._watcher = asyncio.ensure_future(self._watch(receive))

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        tape = self._reply.tape
        if tape is None:
            self._leave()
        elif self._may_go_on():
            tape.is_detached = True
        elif tape.listeners:
            tape.is_detached, tape.on_deserted = True, self._leave
        else:
            self._leave()

    def _leave(self) -> None:
        self._reply.client_is_gone = True
        if self._serving is not None:
            self._serving.cancel()

    def stop_watching(self) -> None:
        # The server also reports the end of an answer as a disconnect. Nothing is awaited
        # between the last byte and this call, so that report comes too late to cancel.
        self._watcher.cancel()
        # The watcher's traceback will refer to this object. Without a way back to the watcher
        # they are no cycle, and leave nothing to the garbage collector.
        del self._watcher


async def _pass_the_gate(scope: Scope, receive: Receive, caller: Caller) -> GatewayRequest:
    """The request, once its key is known to be good and its body is there."""
    check_host(scope["headers"])
    try:
        principal = await auth.principal_of(scope)
        incoming = _form(scope, receive)
        raw = b"" if incoming else await _body(scope, receive)
    except asyncio.CancelledError:
        _go_on_after_cancel()
        raise errors.ShuttingDown from None
    request = GatewayRequest(scope, BytesIO())
    request.principal, request.caller, request.raw = principal, caller, raw
    request.incoming = incoming
    request.asked = _asked(request)
    return request


def _asked(request: GatewayRequest) -> Asked | None:
    """What is compared with what was asked before, of a request with an Idempotency-Key."""
    key = request.caller.idempotency_key
    if key is None or request.method != "POST" or settings.COURIER_IDEMPOTENCY == idempotency.OFF:
        return None
    if request.incoming is not None:
        raise idempotency_errors.IdempotencyNotSupported
    key_id, scope = request.principal.key_id, request.scope
    query = scope.get("query_string", b"")
    return Asked(key_id, idempotency.key_of(key), request.path, query, request.raw)


def _go_on_after_cancel() -> None:
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


def caller_of(request_id: UUID, headers: list[Header], reply: Reply, received_at: float) -> Caller:
    """Marks of a request. The client's own are recorded if they are well-formed, never used."""
    client_id = trace_id = tags = session = b""
    key = None
    for name, value in headers:
        if name == b"x-request-id" and _CLIENT_ID.fullmatch(value):
            client_id = value
        elif name == b"traceparent":
            trace = _TRACEPARENT.fullmatch(value)
            trace_id = trace[1] if trace else b""
        elif name == b"x-courier-tags":
            tags = value
        elif name == b"x-courier-session" and _SESSION.fullmatch(value):
            session = value
        elif name == idempotency.HEADER:
            key = value if key is None else b""
    return Caller(
        request_id,
        received_at,
        reply,
        client_id.decode(),
        trace_id.decode(),
        tags.decode("latin-1"),
        session.decode(),
        key,
    )


def _came_at(scope: Scope, reply: Reply) -> float:
    """When a request was there, on the event loop's clock: before it waited in line to begin."""
    came_at: float = scope.get("extensions", {}).get("courier.came_at", reply.written_at)
    return came_at


def _break_off(scope: Scope) -> None:
    """Have the server close the connection under an answer that is not complete."""
    way = scope.get("extensions", {}).get("courier.break_off", lambda: None)()
    if way is not None:
        way()


def _form(scope: Scope, receive: Receive) -> Incoming | None:
    """The request's body if it is a form, for reading it as it comes."""
    for name, value in scope["headers"]:
        if name == b"content-type" and value[:19].lower() == b"multipart/form-data":
            most = settings.COURIER_MAX_UPLOAD
            declared = _declared_length(scope, most)
            return Incoming(receive, value.decode("latin-1"), declared, most)
    return None


def _declared_length(scope: Scope, most: int) -> int | None:
    """What the request says of its body's length. Refused if it is known to be too large."""
    declared = None
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            declared = int(value)
            if declared > most:
                raise errors.RequestTooLarge(most)
        if name == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}:
            raise errors.UnsupportedEncoding("Send the body without compression.")
    return declared


async def _body(scope: Scope, receive: Receive) -> bytes:
    """The request's body, refused as soon as it is known to be too large."""
    most = settings.COURIER_MAX_BODY
    declared = _declared_length(scope, most)
    body = Body(load.memory)
    if declared and not body.may_come(declared):
        raise _overloaded()
    try:
        async with asyncio.timeout(BODY_IDLE_S) as patience:
            return await _read_body(receive, most, patience, body)
    except TimeoutError as error:
        raise errors.RequestTimeout("The request's body did not arrive in time.") from error
    finally:
        body.end()


def _overloaded() -> errors.Overloaded:
    load.turned_away += 1
    return errors.Overloaded(retry_after())


async def _read_body(receive: Receive, most: int, patience: asyncio.Timeout, body: Body) -> bytes:
    now = asyncio.get_running_loop().time
    deadline = now() + BODY_TIMEOUT_S
    pieces = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > most:
            raise errors.RequestTooLarge(most)
        if not body.may_go_on(size):
            raise _overloaded()
        if not message.get("more_body"):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        patience.reschedule(min(now() + BODY_IDLE_S, deadline + size / SLOWEST_LINE))


async def _send(response: HttpResponseBase, reply: Reply) -> None:
    content: bytes = response.content  # type: ignore[attr-defined]  # whole, not streaming
    if reply.has_begun:
        # A stream that had to begin before it had an answer can only tell of failure inside.
        inside = response.frame if isinstance(response, Refusal) else sse.frame_of(content)
        await reply.write(inside, more=False)
        return
    told = response.told if isinstance(response, Whole) else response.headers
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in told.items()
    ]
    await reply.send_whole(response.status_code, headers, content)
