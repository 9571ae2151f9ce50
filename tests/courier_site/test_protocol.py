"""What a stranger may send before anything is read."""

import asyncio

import pytest
import uvicorn

from courier_site import protocol
from courier_site.protocol import BoundedProtocol

HELLO = b"GET / HTTP/1.1\r\nhost: here\r\n"
END = b"connection: close\r\n\r\n"


async def answer_ok(scope, receive, send):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(len(body)).encode()})


@pytest.fixture
async def send():
    """Sends bytes to a server, and returns its whole answer."""
    config = uvicorn.Config(
        answer_ok, port=0, http=BoundedProtocol, ws="none", lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]

    async def send(*pieces):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.02)
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()

    yield send
    server.should_exit = True
    await running


async def test_a_usual_request_is_answered(send):
    assert (await send(HELLO + END)).startswith(b"HTTP/1.1 200")


async def test_a_request_in_pieces_is_answered(send):
    assert (await send(HELLO[:5], HELLO[5:], END[:3], END[3:])).startswith(b"HTTP/1.1 200")


async def test_a_body_does_not_count_as_head(send):
    body = b"x" * (4 * protocol.MAX_HEAD)
    head = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: %d\r\n" % len(body)

    answer = await send(head + END + body)

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"%d" % len(body) in answer


async def test_one_huge_field_is_refused_while_it_comes(send):
    answer = await send(HELLO + b"x: " + b"a" * (protocol.MAX_HEAD + 1))

    assert answer.startswith(b"HTTP/1.1 431")


async def test_a_large_head_that_is_complete_is_refused(send):
    answer = await send(HELLO + b"x: " + b"a" * (protocol.MAX_HEAD + 1) + b"\r\n" + END)

    assert answer.startswith(b"HTTP/1.1 431")
    assert answer.count(b"HTTP/1.1") == 1


async def test_too_many_fields_are_refused(send):
    fields = b"".join(b"x-%d: 1\r\n" % number for number in range(protocol.MAX_HEADERS))

    assert (await send(HELLO + fields + END)).startswith(b"HTTP/1.1 431")


async def test_a_long_address_is_refused(send):
    request = HELLO.replace(b"/ ", b"/" + b"a" * protocol.MAX_HEAD + b" ") + END

    assert (await send(request)).startswith(b"HTTP/1.1 431")


async def test_nonsense_is_refused(send):
    assert (await send(b"NONSENSE\r\n\r\n")).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("begun", [b"", HELLO], ids=["nothing", "half a head"])
async def test_a_head_that_does_not_come_is_not_waited_for(send, monkeypatch, begun):
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.05)

    assert await send(begun) == b""


async def test_a_slow_answer_is_not_a_slow_head(send, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.05)
    head = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 3\r\n" + END

    answer = await send(head, b"a", b"b", b"", b"", b"", b"c")

    assert answer.startswith(b"HTTP/1.1 200")


async def test_the_second_head_of_a_connection_may_not_be_slow_either(send, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.1)

    answer = await send(HELLO + b"\r\n", HELLO)

    assert answer.count(b"HTTP/1.1 200") == 1


LARGE = 20_000_000


async def answer_much(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x" * LARGE})


@pytest.fixture
async def much(monkeypatch):
    """A server of large answers that is quick to lose patience, and its connections."""
    monkeypatch.setattr(protocol, "STALL_S", 0.1)
    config = uvicorn.Config(
        answer_much,
        port=0,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_keep_alive=60,
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server
    server.should_exit = True
    await running


async def connection_to(server):
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1000)
    writer.write(HELLO + b"\r\n")
    return reader, writer


async def test_a_client_that_does_not_read_is_left(much):
    _, writer = await connection_to(much)

    async with asyncio.timeout(10):
        while not much.server_state.connections:
            await asyncio.sleep(0.01)
        while much.server_state.connections:
            await asyncio.sleep(0.01)
    writer.close()


async def test_a_client_that_reads_slowly_is_waited_for(much):
    reader, writer = await connection_to(much)
    read = 0
    async with asyncio.timeout(30):
        while read < LARGE:
            read += len(await reader.read(400_000))
            await asyncio.sleep(0.005)

    writer.close()
    assert read > LARGE
