"""What a stranger may send before anything is read."""

import asyncio
import contextlib
from uuid import UUID

import pytest

from courier_site import heads, protocol
from courier_site.connections import Connections
from gateway.shedding import A_TURN, Load
from tests.courier_site.servers import serving, until
from tests.fakes.upstream import Pause
from tests.faults.raw import Talk, talk

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
async def server():
    async with serving(answer_ok) as server:
        yield server


@pytest.fixture
def send(server):
    """Sends bytes to a server, and returns its whole answer."""

    async def send(*pieces):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
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

    return send


async def test_a_usual_request_is_answered(send):
    assert (await send(HELLO + END)).startswith(b"HTTP/1.1 200")


async def test_a_request_in_pieces_is_answered(send):
    assert (await send(HELLO[:5], HELLO[5:], END[:3], END[3:])).startswith(b"HTTP/1.1 200")


async def test_a_body_does_not_count_as_head(send):
    body = b"x" * (4 * heads.MAX_HEAD)
    head = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: %d\r\n" % len(body)

    answer = await send(head + END + body)

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"%d" % len(body) in answer


async def test_one_huge_field_is_refused_while_it_comes(send):
    answer = await send(HELLO + b"x: " + b"a" * (heads.MAX_HEAD + 1))

    assert answer.startswith(b"HTTP/1.1 431")


async def test_a_large_head_that_is_complete_is_refused(send):
    answer = await send(HELLO + b"x: " + b"a" * (heads.MAX_HEAD + 1) + b"\r\n" + END)

    assert answer.startswith(b"HTTP/1.1 431")
    assert answer.count(b"HTTP/1.1") == 1


async def test_too_many_fields_are_refused(send):
    fields = b"".join(b"x-%d: 1\r\n" % number for number in range(heads.MAX_HEADERS))

    assert (await send(HELLO + fields + END)).startswith(b"HTTP/1.1 431")


async def test_a_long_address_is_refused(send):
    request = HELLO.replace(b"/ ", b"/" + b"a" * heads.MAX_HEAD + b" ") + END

    assert (await send(request)).startswith(b"HTTP/1.1 414")


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
    monkeypatch.setattr(protocol, "STALL_S", 0.5)
    async with serving(answer_much, timeout_keep_alive=60) as server:
        yield server


async def connection_to(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1000)
    writer.write(HELLO + b"\r\n")
    return reader, writer


async def test_a_client_that_does_not_read_is_left(much):
    _, writer = await connection_to(much)

    async with asyncio.timeout(30):
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


async def answer_at_once(scope, receive, send):
    """As a gate does that refuses a request by its head."""
    await send({"type": "http.response.start", "status": 401, "headers": []})
    await send({"type": "http.response.body", "body": b"no"})


@pytest.fixture
async def gate():
    async with serving(answer_at_once) as server:
        yield server


UNWANTED = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 5\r\n\r\n"


@pytest.mark.parametrize("drip", [b"", b"abc"])
async def test_s02_a_body_that_nobody_wants_keeps_no_connection(gate, monkeypatch, drip):
    monkeypatch.setattr(protocol, "LINGER_S", 0.1)

    async with Talk(gate.port) as connection:
        await connection.send(UNWANTED)
        reply = await connection.read_reply()
        for byte in drip:
            await connection.send(Pause(0.05))
            await connection.send(bytes([byte]))
        await connection.closed_within(30)

    assert reply.status == 401


async def test_a_body_that_nobody_wants_is_read_so_that_its_sender_sees_the_answer(gate):
    body = UNWANTED.replace(b"5", b"3000000") + b"x" * 3_000_000

    replies = await talk(gate.port, body + UNWANTED + b"abcde", answers=2, quiet_s=0.1)

    assert [reply.status for reply in replies] == [401, 401]
    assert not replies.was_closed


async def test_a_connection_is_not_kept_for_who_does_not_want_it(gate):
    request = UNWANTED.replace(b"5\r\n", b"5\r\nconnection: close\r\n") + b"abcde"

    assert (await talk(gate.port, request, quiet_s=None)).was_closed


@pytest.fixture
def places(monkeypatch):
    """The count of connections, with room for two and nobody counted."""
    fresh = Connections()
    fresh.most = 2
    monkeypatch.setattr(protocol, "connections", fresh)
    monkeypatch.setattr("courier_site.connections.RESERVE", 1)
    return fresh


API = b"POST /v1/chat/completions HTTP/1.1\r\nhost: here\r\ncontent-length: 2\r\n\r\n{}"
HEALTH = b"GET /health/live HTTP/1.1\r\nhost: here\r\n\r\n"


async def test_s46_beyond_the_connections_that_there_may_be_new_ones_are_told_and_closed(
    server, places
):
    async with Talk(server.port), Talk(server.port), Talk(server.port):
        await until(lambda: places.open == 3)
        replies = await talk(server.port, quiet_s=None)

    assert ([reply.status for reply in replies], replies.was_closed) == ([503], True)
    assert replies[0].header("retry-after") == "1"
    await until(lambda: places.open == 0)


async def test_s46_the_last_connections_are_for_health(server, places):
    async with Talk(server.port), Talk(server.port), Talk(server.port) as last:
        await until(lambda: places.open == 3)
        await last.send(API)
        refused = await last.read_reply()
        await last.send(HEALTH)
        served = await last.read_reply()

    assert (refused.status, refused.code, served.status) == (503, "overloaded", 200)


async def test_s46_an_address_may_have_so_many_connections(server, places, settings):
    settings.COURIER_TRUSTED_PROXIES = []
    places.most, places.most_per_address = 0, 1
    async with Talk(server.port):
        await until(lambda: places.open == 1)
        replies = await talk(server.port)

    assert [reply.status for reply in replies] == [503]
    await until(lambda: places.open == 0)
    assert not places._of


async def test_s46_a_proxy_may_have_any_number_of_connections(server, places, settings):
    settings.COURIER_TRUSTED_PROXIES = ["127.0.0.0/8"]
    places.most, places.most_per_address = 0, 1
    async with Talk(server.port):
        (reply,) = await talk(server.port, HEALTH, quiet_s=0.05)

    assert reply.status == 200


async def test_r35_a_request_counts_until_it_is_answered_or_its_client_is_gone(server, monkeypatch):
    light = Load()
    monkeypatch.setattr(protocol, "load", light)
    async with Talk(server.port) as connection:
        for _ in range(3):
            await connection.send(API)
            await connection.read_reply()
        assert light.open == 0

        await connection.send(API.removesuffix(b"}"))
        await until(lambda: light.open == 1)
    await until(lambda: light.open == 0)


@pytest.fixture
def overloaded(monkeypatch):
    """A load under which everything is turned away that may be."""
    heavy = Load()
    heavy.room = 0
    monkeypatch.setattr(protocol, "load", heavy)
    return heavy


async def test_r35_under_too_much_load_a_request_is_told_when_to_come_back(server, overloaded):
    (reply,) = await talk(server.port, API, quiet_s=0.05)

    assert (reply.status, reply.code) == (503, "overloaded")
    assert 1 <= int(reply.header("retry-after")) <= 3
    assert UUID(reply.header("x-request-id")).version == 7
    assert overloaded.turned_away == 1


@pytest.mark.parametrize("body", [b"{}", b"x" * 200_000])
async def test_r35_the_connection_of_who_was_turned_away_can_be_used_again(
    server, overloaded, body
):
    request = API.replace(b"2\r\n\r\n{}", b"%d\r\n\r\n" % len(body)) + body
    async with Talk(server.port) as connection:
        await connection.send(request)
        first = await connection.read_reply()
        overloaded.room = 1
        await connection.send(request)
        second = await connection.read_reply()

    assert (first.status, second.status, second.body) == (503, 200, b"%d" % len(body))


async def test_r35_more_requests_than_one_turn_begins_are_all_answered(server):
    many = 3 * A_TURN
    async with contextlib.AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(Talk(server.port)) for _ in range(many)]
        for each in crowd:
            await each.send(API)
        answers = [await each.read_reply() for each in crowd]

    assert [answer.status for answer in answers] == [200] * many


@pytest.fixture
def standstill(monkeypatch):
    """A load in which no turn ever ends: who is not urgent waits."""
    stuck = Load()
    stuck._begun = A_TURN
    monkeypatch.setattr(protocol, "load", stuck)
    return stuck


async def test_r35_what_is_urgent_does_not_wait_in_line(server, standstill, settings):
    settings.COURIER_ROLE = "all"
    async with Talk(server.port) as waits:
        await waits.send(API)
        await until(lambda: standstill.waiting == 1)
        for path in (b"/health/live", b"/metrics", b"/admin/"):
            (reply,) = await talk(server.port, HEALTH.replace(b"/health/live", path), quiet_s=0.05)
            assert reply.status == 200


@pytest.mark.parametrize("path", [b"/%76%31/models", b"//v1/models", b"/v1/../admin/"])
async def test_s45_no_spelling_of_a_path_gets_around_the_line(server, standstill, path, settings):
    settings.COURIER_ROLE = "all"
    async with Talk(server.port) as waits:
        await waits.send(HEALTH.replace(b"/health/live", path))
        await until(lambda: standstill.waiting == 1)


async def test_r35_who_leaves_while_waiting_is_served_no_more(server, standstill):
    async with Talk(server.port) as leaves:
        await leaves.send(API)
        await until(lambda: standstill.waiting == 1)
    await until(lambda: standstill.open == 0)
    standstill._next_turn()

    assert not server.server_state.tasks
    assert standstill.waiting == 0


async def test_r35_health_and_the_admin_are_served_under_any_load(server, overloaded, settings):
    settings.COURIER_ROLE = "all"
    for path in (b"/health/live", b"/metrics", b"/admin/"):
        (reply,) = await talk(server.port, HEALTH.replace(b"/health/live", path), quiet_s=0.05)
        assert reply.status == 200


@pytest.mark.parametrize("path", [b"/%76%31/models", b"//v1/models", b"/v1/../admin/"])
async def test_s45_no_spelling_of_a_path_gets_around_that(server, overloaded, path):
    (reply,) = await talk(server.port, HEALTH.replace(b"/health/live", path), quiet_s=0.05)

    assert reply.status == 503


async def test_s46_so_many_requests_are_served_at_once_and_no_more(server, settings):
    settings.COURIER_MAX_OPEN_REQUESTS = 1
    begun = API.removesuffix(b"}")
    async with Talk(server.port) as slow:
        await slow.send(begun)
        await until(lambda: server.server_state.tasks)
        (refused,) = await talk(server.port, API, quiet_s=0.05)
        await slow.send(b"}")
        served = await slow.read_reply()

    assert (refused.status, served.status) == (503, 200)
