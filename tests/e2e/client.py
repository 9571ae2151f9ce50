"""A client of the API that sees every byte, and may leave as rudely as it likes."""

import asyncio
import contextlib
import json
import socket
import struct
from dataclasses import dataclass, field
from uuid import UUID

from tests.e2e.manifests import KEY

DONE = b"data: [DONE]"


@dataclass
class Reply:
    """What came back, and whether all of it did."""

    status: int = 0
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    #: The body's end was seen: its length, or its last chunk.
    ended: bool = False

    @property
    def request_id(self):
        return UUID(self.headers["x-request-id"]) if "x-request-id" in self.headers else None

    @property
    def is_stream(self):
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def whole(self):
        """Whether a client would call this a complete answer."""
        return self.status == 200 and (DONE in self.body if self.is_stream else self.ended)

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        return self.json["error"]["code"]


class Call:
    """One request on a connection of its own."""

    def __init__(self, courier, *, key=KEY, path="/v1/chat/completions", headers=(), **body):
        self.courier = courier
        self.reply = Reply()
        content = json.dumps({"model": "tiny", "messages": [HELLO], **body}).encode()
        head = [
            f"POST {path} HTTP/1.1",
            "Host: courier.test",
            f"Authorization: Bearer {key}",
            "Content-Type: application/json",
            f"Content-Length: {len(content)}",
            *(f"{name}: {value}" for name, value in dict(headers).items()),
        ]
        self.request = "\r\n".join(head).encode() + b"\r\n\r\n" + content

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.courier.port)
        self.writer.write(self.request)
        return self

    async def __aexit__(self, *exception):
        self.leave()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def leave(self):
        """Close the connection: what is unread makes the kernel send a reset, else a FIN."""
        self.writer.close()

    def reset(self):
        """Close it with a TCP reset."""
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def read_head(self):
        head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.reply.status = int(first.split(" ")[1])
        for line in lines:
            name, _, value = line.partition(": ")
            self.reply.headers[name.lower()] = value
        return self.reply

    async def read_piece(self):
        """The next piece of a body; empty at its end."""
        if "content-length" in self.reply.headers:
            piece = await self.reader.readexactly(int(self.reply.headers["content-length"]))
            self.reply.ended = True
        else:
            size = int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16)
            piece = (await self.reader.readexactly(size + 2))[:-2]
            self.reply.ended = size == 0
        self.reply.body += piece
        return piece

    async def read(self):
        """The whole answer. Raises if it breaks off."""
        await self.read_head()
        await self.read_rest()
        return self.reply

    async def read_rest(self):
        """What is left of the body. Raises EOFError if it breaks off."""
        while not self.reply.ended:
            await self.read_piece()


HELLO = {"role": "user", "content": "Say hello."}
BROKEN = (OSError, asyncio.IncompleteReadError)


async def ask(courier, **options):
    """One request, answered to its end. Raises if the answer breaks off."""
    async with Call(courier, **options) as call:
        return await call.read()


async def try_to_ask(courier, **options):
    """One request; what came of it, even if nothing did."""
    call = Call(courier, **options)
    with contextlib.suppress(*BROKEN):
        async with call:
            await call.read()
    return call.reply


async def ask_patiently(courier, **options):
    """One request, sent again for as long as the machine is too busy for it, as SDKs do."""
    while True:
        call = Call(courier, **options)
        async with call:
            reply = await call.read()
        if reply.status != 503 or reply.code != "overloaded":
            return reply
        await asyncio.sleep(0.5)
