"""Which plane answers a request, and what runs beside them while the process lives."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any

from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.urls import resolve

from accounts import admission
from courier_site import admin_gate, health, paths
from courier_site.metrics import Metrics
from gateway import key_keeper, outages, upstream
from gateway.front_door import FrontDoor, Scope
from gateway.relay import pulse
from gateway.reply import Receive, Send
from gateway.shedding import load
from lib import tokenizer
from registry import snapshot
from usage import budget_keeper, recorder

logger = logging.getLogger(__name__)

#: How long requests may take to end after they were told to, in seconds.
LAST_WORDS_S = 3.0
#: How long a start waits for the configuration, in seconds. A server without one says so itself.
CONFIGURED_WITHIN_S = 5.0


class Courier:
    """Serves what `settings.COURIER_ROLE` names: `all`, `gateway` or `admin`."""

    def __init__(self) -> None:
        self._serves_api = settings.COURIER_ROLE in {"all", "gateway"}
        self._front_door = FrontDoor() if self._serves_api else None
        self._admin = ASGIHandler() if settings.COURIER_ROLE in {"all", "admin"} else None
        self._metrics = Metrics()
        self._beside: list[asyncio.Task[Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        scope["path"] = path = paths.corrected(scope.get("path", ""))
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
        elif path.startswith(paths.HEALTH):
            await health.answer(path, send, serves_api=self._serves_api)
        elif path == paths.METRICS and self._serves_api:
            await self._metrics.answer(scope, send)
        elif path == "/" and scope["method"] == "HEAD" and self._serves_api:
            await health.greet(send)
        elif self._front_door and (path.startswith(paths.API) or self._admin is None):
            await self._front_door(scope, receive, send)
        elif self._admin:
            await admin_gate.serve(self._admin, scope, receive, send)  # type: ignore[arg-type]  # stubs say dict

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._start()
        except Exception as error:
            logger.exception("Courier could not start")
            await send({"type": "lifespan.startup.failed", "message": type(error).__name__})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _start(self) -> None:
        if not self._serves_api:
            return
        # Imports the endpoints and compiles their URLs now, not during the first request.
        resolve("/v1/models", "gateway.urls")
        await asyncio.to_thread(tokenizer.load)
        recorder.start()
        budget_keeper.start()
        await admission.start()
        self._run(snapshot.watch())
        self._run(outages.watch())
        self._run(budget_keeper.watch())
        self._run(key_keeper.watch())
        self._run(pulse.run())
        self._run(load.watch())
        await _configured()

    async def _stop(self) -> None:
        """After the server's grace time: end and settle what is still open."""
        health.stopping()
        if self._front_door:
            await self._end_open_requests(self._front_door)
            await self._front_door.repeats.close()
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        # The admin calls upstreams too, when somebody sends a test request.
        await upstream.close()
        if self._serves_api:
            await admission.stop()
            await asyncio.to_thread(recorder.stop)

    async def _end_open_requests(self, front_door: FrontDoor) -> None:
        front_door.shut_down()
        left = front_door.open | pulse.draining
        if left:
            logger.info("ending %d open requests", len(left))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS_S):
                    await asyncio.gather(*left, return_exceptions=True)

    def _run(self, work: Coroutine[Any, Any, Any]) -> None:
        self._beside.append(asyncio.ensure_future(work))


async def _configured() -> None:
    """Wait for the configuration, for connections are accepted from then on; not for ever."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CONFIGURED_WITHIN_S):
            while not snapshot.is_loaded():  # noqa: ASYNC110  # a thread loads it
                await asyncio.sleep(0.01)
