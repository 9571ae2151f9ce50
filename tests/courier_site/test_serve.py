"""How a server lets go of its address."""

import asyncio
import contextlib
import socket
import time

import uvicorn
import uvloop

from courier_site import serve
from courier_site.listener import bound
from courier_site.protocol import BoundedProtocol
from tests.courier_site.raw_requests import GET
from tests.services import free_port


async def application(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


class Late(serve.Server):
    """Is kept from its work for all of the time that it gives to the last connections."""

    async def shutdown(self, sockets=None):
        asyncio.get_running_loop().call_soon(self.be_late, sockets[0].getsockname())
        await super().shutdown(sockets)

    def be_late(self, address):
        self.clients = [socket.create_connection(address, timeout=5) for _ in range(8)]
        for client in self.clients:
            client.sendall(GET + b"\r\n")
        time.sleep(2 * serve.LAST_ACCEPT_S)


def test_r12_r14_a_stop_takes_what_came_while_the_process_was_late(monkeypatch):
    monkeypatch.setenv(serve.LISTENER, "another process holds it, and refuses what is new")
    config = uvicorn.Config(
        application, http=BoundedProtocol, ws="none", lifespan="off", log_config=None
    )
    server = Late(config, 0, lambda: None)

    async def serve_and_stop(listener):
        running = asyncio.ensure_future(server._serve([listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        server.should_exit = True
        await running

    with bound("127.0.0.1", free_port()) as listener:
        uvloop.run(serve_and_stop(listener))

    assert {answer_to(client) for client in server.clients} == {b"HTTP/1.1 200"}


def answer_to(client):
    with contextlib.closing(client), contextlib.suppress(ConnectionError):
        return client.recv(12)
