"""A form on its way from a client to a provider.

One that is small, or whose model comes behind its file, is taken in to its end first, into
memory and then onto the disk: it can be sent again. Any other is passed on while it comes, as
fast as the provider takes it, and only once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, MutableMapping
from typing import Any

from gateway.dialects.base import Json
from gateway.errors import RequestTimeout, RequestTooLarge
from gateway.form_copy import FormCopy
from gateway.reply import Receive
from gateway.scratch import MOST_IN_MEMORY, Scratch
from lib.errors import CourierError

#: How long a client may pause in the middle of an upload, in seconds.
IDLE_S = 30.0
#: How long an upload may take in all, in seconds.
LONGEST_S = 3600.0


class Incoming:
    """A request's body as it comes. It is counted, and waited for with some patience."""

    def __init__(
        self, receive: Receive, content_type: str, declared: int | None, most: int
    ) -> None:
        self.content_type = content_type
        #: Bytes that there will be at most.
        self.expected = most if declared is None else declared
        self._receive = receive
        self._most = most
        self._size = 0
        self._has_ended = False
        self._is_read = asyncio.Event()
        self._now = asyncio.get_running_loop().time
        self._deadline = self._now() + LONGEST_S

    async def next(self) -> bytes:
        """The next piece; empty at the end. Raises RequestTimeout or RequestTooLarge."""
        while not self._has_ended:
            message = await self._message()
            if message["type"] == "http.disconnect":
                self._is_read.set()
                # Whoever watches for that ends all that is done for this client.
                await asyncio.Event().wait()
            piece: bytes = message.get("body", b"")
            self._size += len(piece)
            if self._size > self._most:
                raise RequestTooLarge(self._most)
            if not message.get("more_body"):
                self._has_ended = True
                self._is_read.set()
            if piece:
                return piece
        return b""

    async def after(self) -> MutableMapping[str, Any]:
        """What the server says once all of the body is read: that the client has left."""
        await self._is_read.wait()
        return await self._receive()

    async def _message(self) -> MutableMapping[str, Any]:
        try:
            async with asyncio.timeout_at(min(self._now() + IDLE_S, self._deadline)):
                return await self._receive()
        except TimeoutError:
            raise RequestTimeout("The request's body stopped coming.") from None


class Upload:
    """One form, and what is known of it."""

    def __init__(
        self, incoming: Incoming, needed: Collection[str], refused: Collection[str]
    ) -> None:
        """Nothing is passed on before the fields `needed` have come; `refused` never are."""
        self._incoming = incoming
        self._needed = needed
        self._copy = FormCopy(incoming.content_type, {*needed, *refused})
        self._kept = Scratch()
        #: Whether the body has been read to its end, beyond that of the form.
        self._is_over = False
        #: Whether something has left that is kept nowhere.
        self.is_spent = False
        #: Why the form could not be read to its end.
        self.fault: CourierError | None = None
        #: Told whether the client is being waited for, whenever something has moved.
        self.on_move: Callable[[bool], None] | None = None

    @property
    def fields(self) -> Json:
        """Texts by name, and files, as far as they have come."""
        return self._copy.fields

    async def take_in(self) -> None:
        """Read until all is here, or what is still to come can be passed on as it comes."""
        while not self._is_over and not self._can_be_passed_on():
            await self._kept.write(await self._next())
        self._copy.is_late = True
        if self._copy.file is not None:
            self._copy.file.expected = self._incoming.expected

    def _can_be_passed_on(self) -> bool:
        is_large = self._kept.size > MOST_IN_MEMORY // 2 and not self._kept.is_on_disk
        is_known = all(name in self.fields for name in self._needed)
        return is_large and is_known and self._copy.file is not None

    def to(self, model: str) -> Outgoing:
        """The form, addressed to a model."""
        return Outgoing(self, self._copy.addressed_to(model), self._copy.boundary)

    @property
    def length(self) -> int | None:
        """Bytes without the field that names the model; None while more may come."""
        return self._kept.size if self._is_over else None

    async def read(self, position: int) -> bytes:
        """What was taken in, from `position` on; empty at its end."""
        return await self._kept.read(position)

    async def pass_on(self) -> bytes:
        """A piece of what was not taken in; empty at its end."""
        piece = b""
        while not piece and not self._is_over:
            self.is_spent = True
            piece = await self._next()
        return piece

    async def _next(self) -> bytes:
        """What the next piece of the body adds to the form that is sent."""
        try:
            piece = await self._incoming.next()
            if not piece:
                self._is_over = True
                self._copy.end()
            return self._copy.add(piece)
        except CourierError as error:
            self.fault = error
            raise

    def moves(self, *, waits_for_client: bool) -> None:
        if self.on_move is not None:
            self.on_move(waits_for_client)

    def close(self) -> None:
        """Forget what was taken in."""
        self._kept.close()


class Outgoing:
    """A form as it is sent: addressed to a model, and else what its client sent."""

    def __init__(self, upload: Upload, first: bytes, boundary: str) -> None:
        self._upload = upload
        self._first = first
        self._position = 0
        #: In bytes; None where nobody knows yet.
        self.length = None if upload.length is None else upload.length + len(first)
        self.content_type = f"multipart/form-data; boundary={boundary}"

    def __aiter__(self) -> Outgoing:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._next()
        self._upload.moves(waits_for_client=False)
        if not piece:
            raise StopAsyncIteration
        return piece

    async def _next(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        piece = await self._upload.read(self._position)
        if piece:
            self._position += len(piece)
            return piece
        self._upload.moves(waits_for_client=True)
        return await self._upload.pass_on()
