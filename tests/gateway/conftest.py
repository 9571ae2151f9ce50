"""A whole Courier in the test's own event loop, and clients for it."""

import asyncio
import contextlib
import itertools
import json
import logging
import socket
import sqlite3
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx
import pytest
import redis
import uvicorn
from django.conf import settings as courier_settings
from django.db import connection

from accounts import admission, budgets, upstream_keys
from accounts.errors import LimitsUnavailable
from accounts.rules import Rules
from courier_site import health
from courier_site.planes import Courier
from courier_site.protocol import BoundedProtocol
from gateway import breaker, failover, keys, retry_budget, throttle
from gateway.window import Window
from registry import revisions, snapshot
from tests import factories
from tests.faults.pairs import Pair
from usage import ingest, recorder
from usage.models import UsageRecord

HELLO = {"role": "user", "content": "Say hello."}
WITHIN_S = 30
#: What must stay silent unless a test says otherwise.
LOGGERS = ("uvicorn.error", "gateway.api", "asyncio", "django.request")


@dataclass
class Reply:
    """An answer, read to its end."""

    status: int
    headers: httpx.Headers
    content: bytes

    @property
    def request_id(self):
        return UUID(self.headers["x-request-id"])

    @property
    def json(self):
        return json.loads(self.content)

    @property
    def error(self):
        return self.json["error"]

    @property
    def code(self):
        return self.error["code"]

    @property
    def data(self):
        """The data of a stream's events, comments left out."""
        lines = self.content.splitlines()
        return [line.removeprefix(b"data: ") for line in lines if line.startswith(b"data: ")]

    @property
    def failure(self):
        """The error that a stream ended with, which must be its last word."""
        return json.loads(self.data[-1])["error"]


class Server(uvicorn.Server):
    """uvicorn, in a loop that it must leave alone."""

    @contextlib.contextmanager
    def capture_signals(self):
        yield


class Hasty:
    """asyncio, for uvicorn: it naps for a tenth of a second before it looks whether it may end."""

    def __getattr__(self, name):
        return getattr(asyncio, name)

    async def sleep(self, delay):
        await asyncio.sleep(delay / 20)


class Running:
    """Courier behind a real server on a free port, and what a test wants to know of it."""

    def __init__(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.application = Courier()
        #: Pieces of answers that were passed on to clients.
        self.passed_on = 0
        self.on_passed_on = lambda: None
        config = uvicorn.Config(
            self._counted,
            http=BoundedProtocol,
            ws="none",
            lifespan="on",
            interface="asgi3",
            timeout_graceful_shutdown=1,
            access_log=False,
            server_header=False,
            log_config=None,
        )
        self.server = Server(config)
        self._serving = asyncio.ensure_future(self.server.serve(sockets=[listener]))
        self.client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}",
            timeout=30,
            trust_env=False,
            # To read whom to trust takes longer than most tests, and here is no TLS.
            verify=False,
            # The server closes what is idle for 5 s, and might while it is used again.
            limits=httpx.Limits(max_connections=100, keepalive_expiry=2),
        )

    async def _counted(self, scope, receive, send):
        async def passed_on(message):
            await send(message)
            if message.get("body"):
                self.passed_on += 1
                self.on_passed_on()

        await self.application(scope, receive, passed_on)

    async def started(self):
        await until(lambda: self.server.started or self._serving.done())
        await until(snapshot.is_loaded)

    async def stop(self):
        """Stop as on SIGTERM. Later calls do nothing."""
        await self.client.aclose()
        self.server.should_exit = True
        await self._serving

    def is_left(self):
        """Whether no client has a connection to it."""
        return not self.server.server_state.connections

    async def make(self, function):
        """Make rows, and wait until they are in force."""
        made = await in_thread(function)
        await in_thread(snapshot.refresh)
        return made

    async def record(self, request_id):
        """The usage record of a request, as soon as it is in the database."""
        return (await _found(UsageRecord.objects.filter(pk=request_id)))[0]

    async def last_record(self):
        """The record of the only request there was."""
        rows = await _found(UsageRecord.objects.all())
        assert len(rows) == 1
        return rows[0]

    async def request(self, method, path, *, key=None, headers=(), content=None):
        sent = {"authorization": f"Bearer {key.secret}"} if key else {}
        response = await self.client.request(
            method, path, headers=sent | dict(headers), content=content
        )
        return Reply(response.status_code, response.headers, response.content)

    async def post(self, path, body, **options):
        return await self.request("POST", path, content=json.dumps(body), **options)


async def _found(query):
    """The rows of a query, as soon as there are any. Fails with what may have kept them away."""
    looks = [time.monotonic()]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WITHIN_S):
            while not (rows := await in_thread(list, query.all())):
                looks.append(time.monotonic())
                await asyncio.sleep(0.02)
            return rows
    gaps = [after - before for before, after in itertools.pairwise([*looks, time.monotonic()])]
    said = f"No record after {len(gaps)} looks, the longest of {max(gaps):.2f} s."
    told = [said, *_told_by_the_recorder(), *_told_by_sqlite(), *_where_threads_are()]
    pytest.fail("\n".join(told))


def _told_by_the_recorder():
    if (kept := recorder._recorder) is None:
        return ["There is no recorder."]
    segments = [
        f"{each.path}: {each.path.stat().st_size if each.path.exists() else 'no'} bytes, "
        f"{each.written} written, {each.shipped} shipped, {each.open_requests} requests open"
        for each in list(kept._spool.segments)
    ]
    shipper = {name: value for name, value in vars(kept._shipper).items() if name != "_own"}
    return [*segments, f"owed: {list(kept._owed)}, shipper: {shipper}"]


def _told_by_sqlite():
    if connection.vendor == "sqlite":
        path = connection.settings_dict["NAME"]
        with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as own:
            try:
                own.execute("BEGIN IMMEDIATE")
                yield "Nobody holds the write lock of the database."
            except sqlite3.OperationalError as error:
                yield f"The write lock of the database cannot be had: {error}."


def _where_threads_are():
    """Those of earlier tests too, if they were left behind. A dead one is not among them."""
    at = sys._current_frames()
    for thread in threading.enumerate():
        stack = traceback.format_stack(at[thread.ident], limit=8) if thread.ident in at else []
        yield f"{thread.name}, {_kernel_on(thread)}, is at\n{''.join(stack)}"


def _kernel_on(thread):
    """Whether it runs, waits or waits for a disk (R, S, D), and in what of Linux's functions."""
    told = Path(f"/proc/self/task/{thread.native_id}")
    with contextlib.suppress(OSError):
        state = (told / "stat").read_text().rpartition(") ")[2][0]
        return f"{state} in {(told / 'wchan').read_text()}"
    return "gone"


async def in_thread(function, *arguments):
    """Call a function that uses the database, on a connection that does not outlive it."""

    def call():
        try:
            return function(*arguments)
        finally:
            connection.close()

    return await asyncio.to_thread(call)


async def until(condition, within_s=WITHIN_S):
    """Wait until `condition` is true, and return what it returned."""
    async with asyncio.timeout(within_s):
        while not (result := condition()):
            await asyncio.sleep(0.005)
    return result


async def known_budgets():
    """Wait until what is spent of each upstream key's budget is known to the store."""
    rules = await in_thread(upstream_keys.every_budget)
    async with asyncio.timeout(WITHIN_S):
        while min((await admission.store().look(Rules((), tuple(rules)))).spent) < 0:
            with contextlib.suppress(LimitsUnavailable):
                await budgets.make_known(rules)


@pytest.fixture(autouse=True)
def _no_wait_between_attempts(monkeypatch):
    monkeypatch.setattr(failover, "FIRST_BACKOFF_S", 0)


@pytest.fixture
def quiet_logs():
    """Errors of the server and of the event loop. None is expected."""
    records = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = records.append
    for name in LOGGERS:
        logging.getLogger(name).addHandler(handler)
    yield records
    for name in LOGGERS:
        logging.getLogger(name).removeHandler(handler)
    assert [record.getMessage() for record in records] == []


@pytest.fixture
def recorded():
    """Changes of rows make revisions. That takes long, and few tests want it."""


@pytest.fixture(autouse=True)
def _no_revisions(request, monkeypatch):
    if "recorded" not in request.fixturenames:
        monkeypatch.setattr(revisions, "_recorders", [])


@pytest.fixture
async def courier(tiny, upstream, key, monkeypatch, quiet_logs):
    """A running Courier that serves the model `tiny` to `key`."""
    monkeypatch.setattr(breaker.breakers, "_states", {})
    monkeypatch.setattr(breaker.breakers, "_not_closed", set())
    monkeypatch.setattr(throttle.throttle, "_windows", {})
    monkeypatch.setattr(throttle.throttle, "_sick", set())
    monkeypatch.setattr(retry_budget.retries, "lately", Window(retry_budget.WINDOW_S))
    monkeypatch.setattr(health, "_is_stopping", False)
    keys.keys.forget()
    monkeypatch.setattr(ingest, "SHIP_EVERY_S", 0.02)
    monkeypatch.setattr(uvicorn.server, "asyncio", Hasty())
    if courier_settings.REDIS_URL:
        redis.Redis.from_url(courier_settings.REDIS_URL).flushdb()
    running = Running()
    upstream.passed_on = lambda: running.passed_on
    await running.started()
    yield running
    await running.stop()


@pytest.fixture
def alpha(transactional_db, upstream):
    """A provider, the scripted upstream, with a key."""
    provider = factories.make_provider("alpha", base_url=upstream.url)
    factories.make_upstream_key(provider)
    return provider


@pytest.fixture
def tiny(alpha):
    """A priced model with one route."""
    model = factories.make_model("tiny", aliases=["small"])
    factories.make_route(model, alpha, upstream_model="alpha-tiny")
    factories.make_price(model, input="0.15", output="0.6")
    return model


@pytest.fixture
def chat(key, courier):
    """Ask for a chat completion of the model `tiny`."""

    async def ask(*, key=key, headers=(), **body):
        body = {"model": "tiny", "messages": [HELLO], **body}
        return await courier.post("/v1/chat/completions", body, key=key, headers=headers)

    return ask


@pytest.fixture
def pair(courier, chaos, key):
    """A model with two routes to the chaos upstream, `sick` and `well`: `await pair.make()`."""
    courier.on_passed_on = chaos.notice
    return Pair(courier, chaos, key)
