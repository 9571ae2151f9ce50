"""Each phase of a call has a limit of its own, and ends soon after it."""

import asyncio
import contextlib
import socket
import time

import pytest

from gateway import errors, relay, upstream
from gateway.providers.base import UpstreamRequest
from registry.models import Provider
from tests import factories
from tests.fakes.upstream import HELLO, OPENING, STALL, STREAM, Pause, chunk, completion
from tests.faults.figures import figure
from tests.gateway.conftest import WITHIN_S
from tests.gateway.targets import make_target

#: Seconds over a limit at which something is surely wrong, on a busy machine too.
SOON_S = 15.0


@contextlib.contextmanager
def full_listener():
    """The port of one that lets nobody in any more: connecting takes for ever."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@contextlib.contextmanager
def silent_listener():
    """The port of one that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


async def failure_of(url, **limits):
    """How a request to `url` fails, and after how many seconds."""
    target = make_target(base_url=url, **limits)
    began_at = time.monotonic()
    with pytest.raises(errors.UpstreamError) as raised:
        await upstream.send(UpstreamRequest(url, {}, b"{}"), target)
    await upstream.close()
    return raised.value, time.monotonic() - began_at


async def test_r25_connecting_ends_at_its_own_limit():
    with full_listener() as port:
        error, took = await failure_of(
            f"http://127.0.0.1:{port}/v1", connect_timeout_s=0.2, tls_timeout_s=60.0
        )

    assert isinstance(error, errors.UpstreamConnectTimeout)
    assert 0.2 <= took < 0.2 + SOON_S
    figure("R25", f"connect: {(took - 0.2) * 1000:.0f} ms late", "<= 500 ms")


async def test_r25_securing_the_connection_ends_at_its_own_limit():
    with silent_listener() as port:
        error, took = await failure_of(
            f"https://127.0.0.1:{port}/v1", connect_timeout_s=0.1, tls_timeout_s=0.4
        )

    assert isinstance(error, errors.UpstreamConnectTimeout)
    assert 0.4 <= took < 0.4 + SOON_S
    figure("R25", f"TLS: {(took - 0.4) * 1000:.0f} ms late", "<= 500 ms")


def test_r25_the_limits_of_a_new_provider_are_those_that_are_promised():
    provider = Provider()

    limits = (
        *(provider.connect_timeout_s, provider.tls_timeout_s, provider.first_byte_timeout_s),
        *(provider.idle_timeout_s, provider.total_timeout_s, relay.WRITE_STALL_S),
    )
    assert limits == (3, 5, 60, 60, 600, 30)


@pytest.fixture
def hasty(courier, upstream):
    """A model whose provider has short limits."""

    async def make(**limits):
        def rows():
            provider = factories.make_provider(base_url=upstream.url, **limits)
            factories.make_model("hasty", provider, max_attempts=1)

        await courier.make(rows)

    return make


def endless(upstream):
    upstream.will_answer(OPENING, HELLO, *[Pause(0.05), chunk(" on")] * 1000)


PHASES = {
    "first byte": ("first_byte_timeout_s", lambda up: up.will_not_answer(STALL)),
    "between events": ("idle_timeout_s", lambda up: up.will_answer(OPENING, HELLO, STALL)),
    "whole answer": ("total_timeout_s", endless),
}


@pytest.mark.parametrize("phase", PHASES)
async def test_r25_a_stream_ends_at_the_limit_of_its_phase(chat, hasty, courier, upstream, phase):
    field, script = PHASES[phase]
    await hasty(**{field: 0.5})
    script(upstream)

    began_at = time.monotonic()
    reply = await chat(model="hasty", stream=True)
    took = time.monotonic() - began_at

    failure = reply.failure if reply.status == 200 else reply.error
    assert failure["code"] in {"upstream_timeout", "upstream_stalled"}
    assert 0.5 <= took < 0.5 + SOON_S
    assert (await courier.record(reply.request_id)).end_reason == "timeout"
    figure("R25", f"{phase}: {(took - 0.5) * 1000:.0f} ms late", "<= 500 ms")


async def test_r25_a_whole_answer_ends_at_the_limit_counted_from_its_beginning(
    chat, hasty, upstream
):
    await hasty(total_timeout_s=0.6)
    upstream.will_answer(b"{", *[Pause(0.05), b" "] * 1000, delay=0.4)

    began_at = time.monotonic()
    reply = await chat(model="hasty")

    assert reply.code == "upstream_timeout"
    assert time.monotonic() - began_at < 0.4 + 0.6 + SOON_S


SPEECH = {"model": "hasty", "input": "Say hello.", "voice": "alloy"}


@pytest.mark.parametrize(
    ("limit", "script"),
    [
        ("first_byte_timeout_s", lambda up: up.will_not_answer(STALL)),
        (
            "total_timeout_s",
            lambda up: up.will_answer(STALL, headers={"content-type": "audio/mpeg"}),
        ),
    ],
    ids=["first byte", "head alone"],
)
async def test_r25_sound_that_does_not_come_ends_at_the_limit_of_its_phase(
    courier, key, hasty, upstream, limit, script
):
    await hasty(**{limit: 0.5})
    script(upstream)

    async with asyncio.timeout(0.5 + SOON_S):
        reply = await courier.post("/v1/audio/speech", SPEECH, key=key)

    assert (reply.status, reply.code) == (504, "upstream_timeout")


async def test_r25_a_provider_that_is_allowed_more_time_than_all_attempts_gets_it(
    chat, hasty, settings, upstream
):
    settings.COURIER_FIRST_BYTE_DEADLINE_S = 0.2
    await hasty(first_byte_timeout_s=20)
    upstream.will_answer(completion(), delay=0.5)

    assert (await chat(model="hasty")).status == 200


@pytest.fixture
def two_routes(courier, upstream):
    """A model whose two providers have such limits, and may both be asked."""

    async def make(**limits):
        def rows():
            names = ("first", "second")
            both = [
                factories.make_provider(name, base_url=upstream.url, **limits) for name in names
            ]
            factories.make_model("pair", *both)

        await courier.make(rows)

    return make


async def test_r25_who_was_too_slow_takes_no_time_from_the_next(chat, two_routes, upstream):
    await two_routes(first_byte_timeout_s=1.5)
    upstream.will_not_answer(STALL)

    reply = await chat(model="pair")

    assert (reply.status, reply.headers["x-courier-attempts"]) == (200, "2")


@pytest.mark.parametrize(("stream", "attempts"), [(False, "1"), (True, "2")])
async def test_r25_time_for_another_attempt_is_kept_back_of_streams_only(
    chat, two_routes, settings, upstream, stream, attempts
):
    settings.COURIER_FIRST_BYTE_DEADLINE_S = 4
    await two_routes(first_byte_timeout_s=4)
    upstream.will_answer(*(STREAM if stream else (completion(),)), delay=2.5)

    reply = await chat(model="pair", stream=stream)

    assert (reply.status, reply.headers["x-courier-attempts"]) == (200, attempts)


async def test_r25_nothing_outlives_its_request(chat, hasty, upstream):
    await hasty(first_byte_timeout_s=0.2)
    upstream.will_not_answer(STALL)

    await chat(model="hasty")

    async with asyncio.timeout(WITHIN_S):
        while upstream.busy_connections:
            await asyncio.sleep(0.02)
