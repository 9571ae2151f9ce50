"""Uploads that are larger than what they may take of memory."""

import asyncio
import tracemalloc

import pytest

from tests import factories
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


@pytest.fixture
async def sink(courier):
    async with Sink(HEARD) as server:

        def rows():
            provider = factories.make_provider(base_url=server.url)
            factories.make_model("ear", provider)

        await courier.make(rows)
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


async def test_the_time_that_an_upload_takes_is_not_the_providers(courier, key, sink):
    def rows():
        provider = factories.make_provider(base_url=sink.url, first_byte_timeout_s=0.5)
        factories.make_model("slow", provider)

    await courier.make(rows)

    async def pieces():
        yield BEFORE.replace(b"ear", b"slow") + PIECE * 16
        for _ in range(4):
            await asyncio.sleep(0.3)
            yield PIECE
        yield AFTER

    response = await courier.client.post(
        "/v1/audio/transcriptions",
        headers={**FORM, "authorization": f"Bearer {key.secret}"},
        content=pieces(),
    )

    assert response.status_code == 200
