"""A server of ours with an application as small as can be."""

import asyncio
import contextlib

import uvicorn

from courier_site.protocol import BoundedProtocol


class Server(uvicorn.Server):
    """uvicorn on a free port, in a loop that it must leave alone."""

    @property
    def port(self):
        return self.servers[0].sockets[0].getsockname()[1]


@contextlib.asynccontextmanager
async def serving(application, **options):
    config = uvicorn.Config(
        application,
        port=0,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        **options,
    )
    server = Server(config)
    running = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server
    server.should_exit = True
    await running


async def until(condition):
    """Wait until `condition` is true."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)
