"""Uploads that are larger than what they may take of memory."""

import asyncio
import tracemalloc

import pytest

from gateway.attempt import Patience
from tests import factories
from tests.fakes.upstream import error_body
from tests.gateway.conftest import Reply, until
from tests.gateway.servers import Sink
from tests.gateway.test_transcriptions import FORM, HEARD, form

MIB = 1024 * 1024
SIZE = 64 * MIB
PIECE = bytes(range(256)) * 256
BEFORE, AFTER = form(("model", "ear"), ("file", b"?")).split(b"?")
FILE_FIRST = form(("file", b"?"), ("model", "ear")).split(b"?")


class Client:
    """Sends one large form, piece by piece."""

    def __init__(self, before, after):
        self._before = before
        self._after = after
        self.sent = 0

    async def pieces(self):
        yield self._before
        while self.sent < SIZE:
            self.sent += len(PIECE)
            yield PIECE
        yield self._after

    async def post(self, courier, key):
        response = await courier.client.post(
            "/v1/audio/transcriptions",
            headers={**FORM, "authorization": f"Bearer {key.secret}"},
            content=self.pieces(),
        )
        return Reply(response.status_code, response.headers, response.content)


async def serve(courier, sink, **fields):
    def rows():
        provider = factories.make_provider(base_url=sink.url, **fields)
        factories.make_model("ear", provider)

    await courier.make(rows)


@pytest.fixture
async def sink(courier):
    async with Sink(HEARD) as server:
        await serve(courier, server)
        yield server


@pytest.mark.parametrize("order", [(BEFORE, AFTER), FILE_FIRST], ids=["model first", "file first"])
async def test_a_large_upload_takes_little_memory(courier, key, sink, order):
    tracemalloc.start()
    try:
        reply = await Client(*order).post(courier, key)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (reply.status, sink.size > SIZE) == (200, True)
    assert most < 12 * MIB


async def test_no_more_is_taken_of_the_client_than_its_provider_takes(courier, key, sink):
    sink.reads.clear()
    client = Client(BEFORE, AFTER)
    sending = asyncio.ensure_future(client.post(courier, key))
    seen = []

    def stands_still():
        seen.append(client.sent)
        return len(seen) > 100 and len(set(seen[-100:])) == 1

    await until(stands_still)
    assert 0 < client.sent < SIZE // 2

    sink.reads.set()
    assert (await sending).status == 200
    assert client.sent == SIZE


async def test_the_time_that_an_upload_takes_is_not_the_providers(courier, key):
    class Slow(Client):
        async def pieces(self):
            yield self._before + PIECE * 16
            for pause_s in (0.3, 0.3, 0.8):
                await asyncio.sleep(pause_s)
                yield PIECE
            yield self._after

    async with Sink(HEARD) as sink:
        await serve(courier, sink, first_byte_timeout_s=0.5)
        reply = await Slow(BEFORE, AFTER).post(courier, key)

    assert reply.status == 200


async def test_an_upload_that_moves_when_the_time_is_up_is_too_late():
    async def move_at_the_end():
        async with asyncio.timeout(0) as time_left:
            try:
                await asyncio.sleep(10)
            finally:
                Patience(time_left, 1.0).begin_anew(waits_for_client=False)

    with pytest.raises(TimeoutError):
        await move_at_the_end()


async def test_a_provider_that_takes_nothing_more_is_left(courier, key):
    async with Sink(HEARD) as sink:
        await serve(courier, sink, first_byte_timeout_s=1.5)
        sink.reads.clear()
        reply = await Client(BEFORE, AFTER).post(courier, key)

    assert (reply.status, reply.code) == (504, "upstream_timeout")
    assert "only its sender can try again" in reply.error["message"]


async def test_a_provider_may_refuse_before_it_has_read_all(courier, key):
    refusal = error_body("The file is no sound.")
    async with Sink(refusal, status=400, is_early=True) as sink:
        await serve(courier, sink)
        replies = [await Client(BEFORE, AFTER).post(courier, key) for _ in range(2)]

    assert [(reply.status, reply.error["message"][:21]) for reply in replies] == [
        (400, "The file is no sound."),
        (400, "The file is no sound."),
    ]
