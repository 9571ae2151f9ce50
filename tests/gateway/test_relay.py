"""Streams that are silent, stall, or outlive their server."""

import asyncio
import json
import time

import pytest

from accounts.keys import revoke_key
from courier_site import protocol
from gateway import relay
from gateway.dialects.openai_chat import ChatWatch, openai_chat
from gateway.reply import Reply
from tests import factories
from tests.e2e.client import Call
from tests.fakes.upstream import (
    DONE,
    HEARD,
    HELLO,
    OPENING,
    STALL,
    STOP,
    STREAM,
    USAGE,
    Gate,
    Pause,
    Until,
    chunk,
    error_body,
)
from tests.gateway.conftest import HELLO as SAY_HELLO
from tests.gateway.conftest import WITHIN_S, until

UNASKED = b"".join(part for part in STREAM if part != USAGE)


@pytest.fixture(autouse=True)
def _quick_pulse(monkeypatch):
    monkeypatch.setattr(relay, "PULSE_S", 0.02)


@pytest.fixture
def _chatty(settings):
    settings.COURIER_KEEP_ALIVE_S = 0.1


@pytest.fixture
def hasty(courier, upstream):
    """Make a model `hasty` whose provider has these time-outs."""

    async def make(**fields):
        def rows():
            provider = factories.make_provider(base_url=upstream.url, **fields)
            factories.make_model("hasty", provider, max_attempts=1)

        await courier.make(rows)

    return make


@pytest.mark.usefixtures("_chatty")
async def test_a_silence_is_broken_by_comments(chat, upstream):
    upstream.will_answer(OPENING, HELLO, HEARD, HEARD, STOP, DONE)

    reply = await chat(stream=True)

    assert openai_chat.keep_alive in reply.content
    assert reply.content.replace(openai_chat.keep_alive, b"") == OPENING + HELLO + STOP + DONE


@pytest.mark.usefixtures("_chatty")
async def test_a_silence_before_the_first_output_is_broken_too(chat, upstream, courier):
    upstream.will_answer(*STREAM, after=HEARD)

    reply = await chat(stream=True)

    assert reply.content.startswith(openai_chat.keep_alive)
    assert reply.content.replace(openai_chat.keep_alive, b"") == UNASKED
    assert reply.headers["x-courier-model-served"] == "tiny"
    assert (await courier.record(reply.request_id)).outcome == "ok"


@pytest.mark.usefixtures("_chatty")
async def test_a_failure_after_comments_is_told_inside_the_stream(chat, upstream, courier):
    upstream.always(error_body("Secret words."), status=500, after=HEARD)

    reply = await chat(stream=True)

    assert (reply.status, reply.failure["code"]) == (200, "upstream_unavailable")
    assert b"[DONE]" not in reply.content
    assert b"Secret words" not in reply.content
    assert (await courier.record(reply.request_id)).outcome == "upstream_unavailable"


@pytest.mark.usefixtures("_chatty")
async def test_another_route_may_answer_after_comments(chat, upstream):
    upstream.will_answer(error_body(), status=500, after=HEARD)

    reply = await chat(stream=True)

    assert reply.content.replace(openai_chat.keep_alive, b"") == UNASKED


@pytest.mark.usefixtures("_chatty")
async def test_whole_answers_have_no_comments(chat, upstream):
    upstream.will_answer(b'{"choices": []}', delay=0.4)

    assert (await chat()).content == b'{"choices": []}'


async def test_a_stream_that_goes_silent_is_ended(chat, upstream, courier, hasty):
    await hasty(idle_timeout_s=0.3)
    upstream.will_answer(OPENING, HELLO, STALL)

    reply = await chat(model="hasty", stream=True)

    assert reply.failure["code"] == "upstream_stalled"
    assert DONE not in reply.content
    await until(lambda: upstream.departures)
    record = await courier.record(reply.request_id)
    assert (record.outcome, record.end_reason) == ("upstream_stalled", "timeout")
    assert (record.usage_source, record.output_tokens) == ("estimated", 1)


class Watched:
    """Something that the pulse looks at, which notes when."""

    def __init__(self):
        self.looks = []

    def beat(self, now):
        self.looks.append(now)


@pytest.fixture
async def watched():
    """Watched by a pulse of its own."""
    watched, pulse = Watched(), relay.Pulse()
    pulse.watched.add(watched)
    running = asyncio.create_task(pulse.run())
    yield watched
    running.cancel()


async def test_f54_after_a_standstill_what_came_is_read_before_a_stream_counts_as_silent(
    watched, monkeypatch
):
    """Loops look at their timers first when they were stopped while they waited."""
    monkeypatch.setattr(relay, "PULSE_S", 0.25)
    await until(lambda: watched.looks)
    watched.looks.clear()

    time.sleep(3 * relay.LATE_S)
    goes_on_at = asyncio.get_running_loop().time()
    await until(lambda: watched.looks)

    assert watched.looks[0] >= goes_on_at + relay.PULSE_S


async def test_f54_who_is_late_each_time_looks_all_the_same(watched, monkeypatch):
    monkeypatch.setattr(relay, "LATE_S", -1)

    await until(lambda: len(watched.looks) > 2)


async def test_a_stream_that_never_ends_is_ended(chat, upstream, courier, hasty):
    await hasty(total_timeout_s=1.5)
    drip = [part for _ in range(100) for part in (HELLO, Pause(0.05))]
    upstream.will_answer(*drip)

    reply = await chat(model="hasty", stream=True)

    assert reply.failure["code"] == "upstream_stalled"
    assert (await courier.record(reply.request_id)).end_reason == "timeout"


async def test_a_whole_answer_that_never_ends_is_given_up(chat, upstream, courier, hasty):
    await hasty(total_timeout_s=0.3)
    upstream.will_answer(b'{"choices":', b" ", STALL)

    reply = await chat(model="hasty")

    assert (reply.status, reply.code) == (504, "upstream_timeout")
    assert (await courier.record(reply.request_id)).end_reason == "timeout"


async def test_r11_a_client_that_does_not_read_is_left(upstream, courier, key, monkeypatch):
    monkeypatch.setattr(relay, "WRITE_STALL_S", 0.3)
    monkeypatch.setattr(protocol, "STALL_S", 1.0)
    upstream.will_answer(OPENING, *[chunk("x" * 60_000)] * 1000, DONE)
    call = Call(courier, key=key.secret, stream=True)
    async with call:
        call.writer.transport.pause_reading()
        record = await courier.last_record()
        await until(lambda: upstream.departures)
        await until(lambda: not courier.server.server_state.connections)

    assert (record.outcome, record.end_reason) == ("client_stalled", "client_gone")


async def test_progress_of_a_long_stream_is_noted(chat, upstream, monkeypatch):
    monkeypatch.setattr(relay, "LONG_STREAM_S", 0.1)
    monkeypatch.setattr(relay, "PROGRESS_S", 0.05)
    noted = []
    monkeypatch.setattr(relay.recorder, "progress", lambda *told: noted.append(told))
    all_is_noted = Until(lambda: any(tokens == 10 for _, tokens, _ in noted))
    upstream.will_answer(OPENING, chunk("x" * 40), all_is_noted, STOP, DONE)

    reply = await chat(stream=True)

    assert {request_id for request_id, _, _ in noted} == {reply.request_id}
    assert [one.upstream_model for one in noted[0][2]] == ["alpha-tiny"]


async def test_a_stream_that_cannot_be_looked_at_harms_no_other(chat, upstream, hasty, monkeypatch):
    await hasty(idle_timeout_s=0.4)

    class Broken:
        def beat(self, now):
            raise ZeroDivisionError

    broken = Broken()
    relay.pulse.watched.add(broken)
    upstream.will_answer(OPENING, HELLO, STALL)

    reply = await chat(model="hasty", stream=True)

    assert reply.failure["code"] == "upstream_stalled"
    assert broken not in relay.pulse.watched


async def test_a_stop_is_told_inside_open_streams(courier, upstream, key, quiet_logs):
    upstream.will_answer(OPENING, HELLO, STALL)
    call = Call(courier, key=key.secret, stream=True)
    async with call:
        await call.read_head()
        await call.read_piece()
        stopping = asyncio.ensure_future(courier.stop())
        while not call.reply.ended:
            await call.read_piece()
        await stopping

    quiet_logs.clear()
    assert b'"code":"shutting_down"' in call.reply.body
    assert DONE not in call.reply.body
    record = await courier.last_record()
    assert (record.outcome, record.end_reason) == ("shutting_down", "interrupted")
    assert (record.usage_source, record.output_tokens) == ("estimated", 1)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_stop_is_told_to_those_who_wait(courier, upstream, key, quiet_logs, stream):
    upstream.will_not_answer()
    call = Call(courier, key=key.secret, stream=stream)
    async with call:
        await until(lambda: upstream.busy_connections)
        stopping = asyncio.ensure_future(courier.stop())
        reply = await call.read()
        await stopping

    quiet_logs.clear()
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "shutting_down", "1")
    record = await courier.last_record()
    assert (record.end_reason, record.status) == ("interrupted", 503)


async def test_a_stream_that_ends_in_time_is_not_touched_by_a_stop(courier, upstream, key):
    courier.server.config.timeout_graceful_shutdown = WITHIN_S
    stops = Until(lambda: courier.server.should_exit)
    upstream.will_answer(OPENING, HELLO, stops, STOP, DONE)
    call = Call(courier, key=key.secret, stream=True)
    async with call:
        await call.read_head()
        stopping = asyncio.ensure_future(courier.stop())
        while not call.reply.ended:
            await call.read_piece()
        await stopping

    assert call.reply.body == OPENING + HELLO + STOP + DONE
    assert (await courier.last_record()).outcome == "ok"


async def test_a_stop_ends_what_is_read_on_without_a_client(courier, upstream, key, hasty):
    await hasty(on_disconnect="drain")
    upstream.will_answer(OPENING, HELLO, STALL)
    call = Call(courier, key=key.secret, model="hasty", stream=True)
    async with call:
        await call.read_head()
        await call.read_piece()
    await until(lambda: relay.pulse.draining)

    await courier.stop()

    assert (await courier.last_record()).outcome == "client_disconnected"


class Server:
    """An ASGI server whose client leaves while the message of this number is sent."""

    def __init__(self, body, fails_at):
        self.body = body
        self.fails_at = fails_at
        self.sent = 0

    async def receive(self):
        if self.body is None:
            await asyncio.Event().wait()
        body, self.body = self.body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message):
        self.sent += 1
        if self.sent >= self.fails_at:
            raise BrokenPipeError

    def has_sent(self, messages):
        return lambda: self.sent >= messages


def asked_of(model):
    return json.dumps({"model": model, "messages": [SAY_HELLO], "stream": True}).encode()


def scope_of(key):
    return {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "query_string": b"",
        "headers": [(b"x-api-key", key.secret.encode())],
    }


@pytest.mark.parametrize("fails_at", [1, 2, 3])
async def test_a_server_that_cannot_send_says_that_the_client_has_left(
    courier, upstream, key, fails_at
):
    server = Server(asked_of("tiny"), fails_at)
    upstream.will_answer(OPENING, HELLO, Until(server.has_sent(2)), HELLO, STALL)

    await courier.application(scope_of(key), server.receive, server.send)

    await until(lambda: upstream.departures)
    assert (await courier.last_record()).outcome == "client_disconnected"
    assert server.sent == fails_at


async def test_what_is_read_on_for_nobody_is_read_by_nobody_else(courier, upstream, key, hasty):
    await hasty(on_disconnect="drain", idle_timeout_s=60, total_timeout_s=60)
    server = Server(asked_of("hasty"), fails_at=3)
    passed_on, failed = Until(server.has_sent(2)), Until(server.has_sent(3))
    upstream.will_answer(OPENING, HELLO, passed_on, HELLO, failed, STOP, USAGE, DONE)

    await courier.application(scope_of(key), server.receive, server.send)

    assert (await courier.last_record()).usage_source == "provider"
    assert upstream.departures == []


async def test_a_bug_in_the_middle_is_told_and_recorded(
    chat, upstream, courier, monkeypatch, quiet_logs
):
    see = ChatWatch.see

    def broken(self, frames):
        if b"boom" in frames:
            raise RuntimeError("the secret plan")
        return see(self, frames)

    monkeypatch.setattr(ChatWatch, "see", broken)
    upstream.will_answer(OPENING, HELLO, HEARD, chunk("boom"), STALL)

    reply = await chat(stream=True)

    assert quiet_logs.pop().getMessage().startswith("Exception in ASGI application")
    assert reply.failure["code"] == "internal_error"
    assert b"secret plan" not in reply.content
    record = await courier.record(reply.request_id)
    assert (record.outcome, record.end_reason) == ("internal_error", "interrupted")
    await until(lambda: upstream.departures)


async def test_a_stop_and_a_departure_at_once_are_recorded_once(courier, upstream, key):
    upstream.will_answer(OPENING, HELLO, STALL)
    front_door = courier.application._front_door
    call = Call(courier, key=key.secret, stream=True)
    async with call:
        await call.read_head()
        await call.read_piece()
        for _ in range(3):
            for task in front_door.open:
                task.cancel()
            front_door.shut_down()
        call.reset()
        await until(lambda: not front_door.open)

    await until(lambda: upstream.departures)
    assert (await courier.last_record()).outcome in {"shutting_down", "client_disconnected"}


async def test_a_stop_is_told_to_those_whose_body_is_still_on_its_way(courier, key, quiet_logs):
    call = Call(courier, key=key.secret)
    call.request = call.request[:-5]
    async with call:
        await until(lambda: courier.application._front_door.open)
        stopping = asyncio.ensure_future(courier.stop())
        reply = await call.read()
        await stopping

    quiet_logs.clear()
    assert (reply.status, reply.code) == (503, "shutting_down")


class Sent(list):
    """A client that takes everything."""

    async def send(self, message):
        self.append(message)


async def test_no_comment_follows_the_end():
    sent = Sent()
    reply = Reply(sent.send, [])
    await reply.send_whole(200, [], b"{}")

    await reply.keep_alive((), openai_chat.keep_alive)

    assert len(sent) == 2


async def test_r30_the_open_streams_of_a_revoked_key_are_cut(chat, courier, upstream, key):
    upstream.will_answer(OPENING, HELLO, STALL)
    streaming = asyncio.ensure_future(chat(stream=True))
    await until(lambda: upstream.requests)
    await asyncio.sleep(0.1)

    await courier.make(lambda: revoke_key(key))
    reply = await streaming

    assert reply.failure["code"] == "invalid_api_key"
    assert b"[DONE]" not in reply.content
    record = await courier.record(reply.request_id)
    assert (record.outcome, record.end_reason) == ("invalid_api_key", "refused")
    await until(lambda: not upstream.busy_connections)


async def test_r30_the_open_streams_of_other_keys_go_on(chat, courier, upstream, team):
    other = await courier.make(lambda: factories.make_key(team))
    assert (await chat(key=other)).status == 200
    is_revoked = Gate()
    upstream.will_answer(OPENING, HELLO, is_revoked, STOP, DONE)
    streaming = asyncio.ensure_future(chat(stream=True))
    await until(lambda: len(upstream.requests) == 2)

    await courier.make(lambda: revoke_key(other))
    is_revoked.open()

    assert (await streaming).data[-1] == b"[DONE]"
