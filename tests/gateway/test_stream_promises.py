"""What is promised of every stream, in every format: R10, R11, R15, R16, R17."""

import asyncio
import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import relay, sse
from gateway.dialects.openai_chat import openai_chat
from tests import factories
from tests.e2e.client import Call
from tests.fakes.upstream import CUT, DONE, HEARD, HELLO, OPENING, STALL, STOP, STREAM, Pause, chunk
from tests.fakes.upstream import completion as whole_completion
from tests.faults.figures import figure
from tests.faults.upstream import Again, chunked, head
from tests.gateway.conftest import WITHIN_S, in_thread, until
from tests.soak import trials
from usage.models import UsageRecord

SAY_HELLO = [{"role": "user", "content": "Say hello."}]
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}]}
GEMINI_AT = "/v1beta/models/tiny:streamGenerateContent"
#: By the client's format: where and what it asks, its keep-alive, and what only a success has.
FORMATS = {
    "chat": (
        "/v1/chat/completions",
        {"messages": SAY_HELLO, "stream": True},
        rb": keep-alive\n\n",
        rb'\[DONE\]|"finish_reason": ?"',
    ),
    "completions": (
        "/v1/completions",
        {"prompt": "Say hello.", "stream": True},
        rb": keep-alive\n\n",
        rb'\[DONE\]|"finish_reason": ?"',
    ),
    "messages": (
        "/v1/messages",
        {"messages": SAY_HELLO, "max_tokens": 99, "stream": True},
        rb"event: ping\n",
        rb'message_stop|"stop_reason": ?"',
    ),
    "responses": (
        "/v1/responses",
        {"input": "Say hello.", "stream": True},
        rb": keep-alive\n\n",
        rb"response\.completed|response\.incomplete",
    ),
    "gemini": (f"{GEMINI_AT}?alt=sse", GEMINI, rb"\n{3,}data:", rb'"finishReason": ?"'),
    "gemini-array": (GEMINI_AT, GEMINI, rb"\}\n+,", rb'"finishReason": ?"'),
}
RECORDED = b"".join(STREAM)
#: Up to here the upstream has not said that it has finished.
FINISHED_AT = RECORDED.index(STOP) + len(STOP)


@pytest.fixture(autouse=True)
def _quick_pulse(monkeypatch):
    monkeypatch.setattr(relay, "PULSE_S", 0.02)


@pytest.fixture(params=FORMATS)
def form(request):
    return FORMATS[request.param]


@pytest.fixture
def ask(courier, key):
    async def ask(form):
        path, body, *_ = form
        return await courier.post(path, {"model": "tiny", **body}, key=key)

    return ask


async def test_r11_every_kind_of_stream_is_kept_alive(ask, upstream, form, settings):
    settings.COURIER_KEEP_ALIVE_S = 0.1
    upstream.will_answer(OPENING, HELLO, *[HEARD] * 5, HELLO, STOP, DONE)

    reply = await ask(form)

    _, _, sign, ending = form
    # In the silence between the two words, not while the first is waited for.
    silence = reply.content.partition(b"Hello")[2].partition(b"Hello")[0]
    assert re.search(sign, silence)
    assert re.search(ending, reply.content)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("end", [(CUT,), ()], ids=["cut", "ended"])
async def test_r15_a_stream_that_is_cut_anywhere_is_no_success(ask, upstream, form, courier, end):
    *_, ending = form
    cuts = range(1, FINISHED_AT, trials(97, 1))
    for cut in cuts:
        upstream.always(RECORDED[:cut], *end, headers={"content-type": "text/event-stream"})
        reply = await ask(form)

        assert not re.search(ending, reply.content), (cut, reply.content)
        assert b"error" in reply.content, (cut, reply.content)
        assert (await courier.record(reply.request_id)).outcome != "ok", cut
    figure("R15", f"0 of {len(cuts)} cuts shown as success", "0")


async def test_r15_a_stream_without_its_end_marker_gets_none_from_us(ask, upstream):
    upstream.always(RECORDED[: -len(DONE)], CUT)

    reply = await ask(FORMATS["chat"])

    assert reply.failure["code"] == "stream_interrupted"
    assert b"[DONE]" not in reply.content


words = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30)
ends = st.sampled_from(["\n", "\r\n", "\r"])


@st.composite
def an_event(draw):
    """One event as a server may write it: any line end, comments, fields that say nothing here."""
    end = draw(ends)
    lines = draw(st.lists(words.map(lambda text: f": {text}"), max_size=2))
    text = draw(words) * draw(st.sampled_from([1, 1, 1, 400]))
    data = chunk(text).decode().removeprefix("data: ").strip()
    space = draw(st.sampled_from(["", " "]))
    if draw(st.booleans()):
        left, comma, right = data.partition(",")
        lines += [f"data:{space}{left}{comma}", f"data:{space}{right}"]
    else:
        lines += [f"data:{space}{data}"]
    lines += draw(st.lists(st.sampled_from(["event: message", "id: 7", "retry: 3000"]), max_size=1))
    return (end.join(lines) + end + end).encode()


@settings(max_examples=trials(60, 5000))
@given(st.lists(an_event(), min_size=1, max_size=6), st.lists(st.integers(1, 40), min_size=1))
def test_r16_what_comes_out_is_what_went_in(events, sizes):
    sent, seen = b"".join(events), []
    framer, watch = sse.Framer(), openai_chat.watch({})
    for piece in in_pieces(sent, sizes):
        frames = framer.feed(piece)
        seen.append(watch.see(frames) if frames else b"")

    assert b"".join(seen) + framer.rest == sent


def in_pieces(data, sizes):
    """The data in pieces of these sizes, again and again."""
    at = 0
    for size in itertools.cycle(sizes):
        if at >= len(data):
            return
        yield data[at : at + size]
        at += size


async def test_r16_a_line_of_nearly_a_mebibyte_passes(ask, upstream):
    large = chunk("x" * (sse.LONGEST_FRAME - 1000))
    cut = len(large) // 2
    upstream.will_answer(OPENING, HELLO, large[:cut], large[cut:], STOP, DONE)

    assert (await ask(FORMATS["chat"])).content == OPENING + HELLO + large + STOP + DONE


def waits_for_its_client():
    """Whether a stream is under way, and its client does not read what is written."""
    return any(
        isinstance(each, relay.Relay) and each.reply.is_writing for each in relay.pulse.watched
    )


async def test_r17_an_upstream_is_not_read_faster_than_its_client_reads(courier, chaos, key, team):
    def rows():
        provider = factories.make_provider("endless", base_url=chaos.url)
        factories.make_model("endless", provider)

    await courier.make(rows)
    flood = chunked(chunk("x" * 60_000))
    chaos.always("endless", head(kind="text/event-stream"), Again(flood))
    call = Call(courier, key=key.secret, model="endless", stream=True)
    async with call:
        call.writer.transport.pause_reading()
        await until(lambda: chaos.requests("endless"))
        await until(waits_for_its_client)
        call.reset()
    await until(lambda: chaos.answers("endless"))

    (answer,) = chaos.answers("endless")
    assert answer.how == "left"
    assert answer.bytes < 32 * 1024 * 1024


@pytest.mark.parametrize("stream", [True, False])
async def test_r10_a_slot_is_free_at_once_when_its_client_leaves(
    courier, upstream, key, chat, stream
):
    await courier.make(lambda: factories.make_limit(key=key, metric="concurrency", amount=1))
    upstream.will_answer(*((OPENING, HELLO, STALL) if stream else (Pause(30),)))
    call = Call(courier, key=key.secret, stream=stream)
    async with call:
        await until(lambda: upstream.busy_connections)
    await until(lambda: upstream.departures)

    upstream.will_answer(whole_completion())
    assert (await chat()).status == 200
    assert ("client_disconnected", 499) in await records(courier, 2)


async def records(courier, count):
    """Outcome and status of each request, once so many are on record."""
    async with asyncio.timeout(WITHIN_S):
        while len(rows := await in_thread(outcomes)) < count:
            await asyncio.sleep(0.02)
    return rows


def outcomes():
    return list(UsageRecord.objects.values_list("outcome", "status"))
