"""Which plane answers, and whether it is ready."""

import asyncio

import pytest

from courier_site import health
from courier_site.planes import Courier
from registry import snapshot
from usage import recorder
from usage.errors import SpoolUnavailable


def disk_full():
    raise SpoolUnavailable


async def get(application, path, kind="http", method="GET"):
    """What an application answers, called as a server calls it."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "method": method, "path": path, "headers": [], "query_string": b""}
    await application(scope, asyncio.Event().wait, send)
    return sent


async def test_a_running_courier_lives_and_is_ready(courier):
    live = await courier.request("GET", "/health/live")
    ready = await courier.request("GET", "/health/ready")

    assert (live.status, live.content) == (200, b'{"status":"live"}')
    assert (ready.status, ready.content) == (200, b'{"status":"ready"}')
    assert ready.headers["cache-control"] == "no-store"


async def test_there_is_no_other_health(courier):
    assert (await courier.request("GET", "/health/x")).status == 404


async def test_without_a_configuration_it_lives_but_is_not_ready(courier, monkeypatch):
    monkeypatch.setattr(snapshot, "is_loaded", lambda: False)

    assert (await courier.request("GET", "/health/live")).status == 200
    assert (await courier.request("GET", "/health/ready")).status == 503


async def test_where_usage_cannot_be_written_it_is_not_ready(courier, monkeypatch):
    monkeypatch.setattr(recorder, "check_writable", disk_full)

    assert (await courier.request("GET", "/health/ready")).status == 503


async def test_once_it_stops_it_is_not_ready(courier):
    health.stopping()

    assert (await courier.request("GET", "/health/ready")).status == 503


async def test_nothing_is_served_that_cannot_be_written_down(chat, courier, upstream, monkeypatch):
    monkeypatch.setattr(recorder, "check_writable", disk_full)

    reply = await chat()

    assert (reply.status, reply.code) == (503, "usage_log_unavailable")
    assert upstream.requests == []


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_cannot_be_written_down_is_not_completed(
    chat, monkeypatch, stream, upstream
):
    def broken(record):
        raise SpoolUnavailable

    monkeypatch.setattr(recorder, "close_request", broken)

    reply = await chat(stream=stream)

    assert b"usage_log_unavailable" in reply.content
    assert b"[DONE]" not in reply.content


async def test_the_gateway_alone_answers_every_path(settings):
    settings.COURIER_ROLE = "gateway"

    start, _ = await get(Courier(), "/admin/")

    assert start["status"] == 401


async def test_the_admin_alone_serves_no_api(settings):
    settings.COURIER_ROLE = "admin"
    application = Courier()

    start, _ = await get(application, "/health/ready")

    assert start["status"] == 200
    assert application._front_door is None


async def test_both_are_served_by_one(courier):
    reply = await courier.request("GET", "/admin/login/")

    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")


async def test_websockets_are_closed(courier):
    assert await get(courier.application, "/v1/x", "websocket") == [
        {"type": "websocket.close", "code": 1000}
    ]


async def test_a_start_that_fails_is_told_to_the_server(monkeypatch, caplog):
    def broken():
        raise OSError("the secret path")

    monkeypatch.setattr(recorder, "start", broken)

    (failed,) = await live(Courier())

    assert failed == {"type": "lifespan.startup.failed", "message": "OSError"}


async def live(application):
    sent = []

    async def receive():
        return {"type": "lifespan.startup"}

    async def send(message):
        sent.append(message)

    await application({"type": "lifespan"}, receive, send)
    return sent


@pytest.mark.parametrize("role", ["all", "gateway"])
async def test_an_agent_that_looks_for_somebody_at_its_base_url_finds_somebody(settings, role):
    settings.COURIER_ROLE = role

    start, body = await get(Courier(), "/", method="HEAD")

    assert (start["status"], body["body"]) == (200, b"")


async def test_only_looking_is_greeted(settings):
    settings.COURIER_ROLE = "gateway"

    start, *_ = await get(Courier(), "/")

    assert start["status"] == 401
