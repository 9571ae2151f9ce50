"""Speech, end to end."""

import random

import openai
import pytest

from tests import factories
from tests.e2e.client import Call
from tests.fakes.upstream import CUT, HEARD, STALL, Until, error_body, frame
from tests.gateway.conftest import until

RANDOM = random.Random(1)
SOUND = RANDOM.randbytes(5000)
MPEG = {"content-type": "audio/mpeg"}
DELTA = frame({"type": "speech.audio.delta", "audio": "AAAA"})
SAID = frame(
    {
        "type": "speech.audio.done",
        "usage": {"input_tokens": 5, "output_tokens": 70, "total_tokens": 75},
    }
)
BODY = {"model": "voice", "input": "Say this.", "voice": "alloy"}


@pytest.fixture
async def voice(courier, alpha):
    def rows():
        model = factories.make_model("voice", priced=False)
        factories.make_route(model, alpha, upstream_model="alpha-voice")
        factories.make_price(model, input="1", output="2", audio_output="12")

    await courier.make(rows)


@pytest.fixture
def speak(courier, key, voice):
    async def ask(**body):
        return await courier.post("/v1/audio/speech", {**BODY, **body}, key=key)

    return ask


@pytest.fixture
def call(courier, key, voice):
    return Call(courier, key=key.secret, path="/v1/audio/speech", **BODY)


async def test_sound_is_passed_on_byte_by_byte(speak, upstream):
    upstream.will_answer(SOUND[:2000], SOUND[2000:], headers=MPEG)

    reply = await speak(speed=1.5)

    assert (reply.status, reply.content) == (200, SOUND)
    assert reply.headers["content-type"] == "audio/mpeg"
    sent = upstream.requests[0]
    assert (sent.path, sent["model"], sent["speed"]) == ("/v1/audio/speech", "alpha-voice", 1.5)


async def test_sound_is_passed_on_before_it_is_all_there(call, upstream):
    upstream.will_answer(SOUND, STALL, headers=MPEG)

    async with call:
        await call.read_head()
        piece = await call.read_piece()

    assert piece == SOUND[:-1]


@pytest.mark.parametrize("parts", [(SOUND,), (b"short",)], ids=["passed on", "all at once"])
async def test_the_time_until_the_first_sound_is_on_record(speak, courier, upstream, parts):
    upstream.will_answer(*parts, headers=MPEG)

    record = await courier.record((await speak()).request_id)

    assert 0 <= record.first_token_ms <= record.total_ms


async def test_what_was_spoken_is_estimated(speak, courier, upstream):
    upstream.will_answer(SOUND, headers=MPEG)

    record = await courier.record((await speak(input="x" * 900)).request_id)

    assert (record.operation, record.outcome, record.usage_source) == ("speech", "ok", "estimated")
    assert (record.output_tokens, record.audio_output_tokens) == (1250, 1250)
    assert record.cost_nano == record.input_tokens * 1000 + 1250 * 12_000


async def test_sound_that_breaks_off_never_looks_complete(call, courier, upstream):
    upstream.will_answer(SOUND, HEARD, SOUND, CUT, headers=MPEG)

    async with call:
        await call.read_head()
        with pytest.raises(EOFError):
            await call.read_rest()

    assert call.reply.body == (SOUND + SOUND)[: len(call.reply.body)]
    assert (await courier.last_record()).outcome == "stream_interrupted"


async def test_sound_that_stalls_is_ended(call, courier, upstream, alpha):
    alpha.idle_timeout_s = 0.3
    await courier.make(alpha.save)
    upstream.will_answer(SOUND, STALL, headers=MPEG)

    async with call:
        await call.read_head()
        with pytest.raises(EOFError):
            await call.read_rest()

    assert (await courier.last_record()).outcome == "upstream_stalled"


async def test_sound_is_read_on_where_it_is_paid_for_anyway(call, courier, upstream, alpha):
    alpha.on_disconnect = "drain"
    await courier.make(alpha.save)
    upstream.will_answer(SOUND, Until(courier.is_left), SOUND, headers=MPEG)

    async with call:
        await call.read_head()
        await call.read_piece()

    assert (await courier.last_record()).outcome == "client_disconnected"
    assert upstream.departures == []


async def test_the_upstream_of_a_client_that_leaves_is_left(call, courier, upstream):
    upstream.will_answer(SOUND, STALL, headers=MPEG)

    async with call:
        await call.read_head()
        await call.read_piece()

    await until(lambda: upstream.departures)
    assert (await courier.last_record()).outcome == "client_disconnected"


async def test_sound_ends_when_the_process_stops(call, courier, upstream, quiet_logs):
    upstream.will_answer(SOUND, STALL, headers=MPEG)

    async with call:
        await call.read_head()
        await call.read_piece()
        await courier.stop()
        with pytest.raises(EOFError):
            await call.read_piece()

    quiet_logs.clear()
    assert (await courier.last_record()).outcome == "shutting_down"


@pytest.mark.parametrize("content", [b"", b"<html>"])
async def test_what_is_not_sound_is_no_answer(speak, upstream, content):
    upstream.will_answer(content, headers={"content-type": "text/html"} if content else MPEG)

    assert (await speak()).code == "upstream_bad_response"


@pytest.mark.parametrize(
    ("told", "passed"),
    [
        ("audio/L16; rate=24000", "audio/L16; rate=24000"),
        ("Audio/MPEG; a=\u00e9", "audio/mpeg"),
    ],
)
async def test_the_type_of_the_sound_is_passed_on(speak, upstream, told, passed):
    upstream.will_answer(SOUND, headers={"content-type": told})

    assert (await speak()).headers["content-type"] == passed


@pytest.mark.parametrize("told", ["audio/\u00e9", "audio/", ""])
async def test_a_type_that_is_none_is_not_passed_on(speak, upstream, told):
    upstream.will_answer(SOUND, headers={"content-type": told})

    assert (await speak()).code == "upstream_bad_response"


async def test_another_route_is_tried_before_the_first_sound(speak, upstream):
    upstream.will_answer(error_body(), status=503)
    upstream.will_answer(SOUND, headers=MPEG)

    reply = await speak()

    assert (reply.status, reply.headers["x-courier-attempts"]) == (200, "2")


async def test_events_report_what_was_spoken(speak, courier, upstream):
    upstream.will_answer(DELTA, DELTA, SAID)

    reply = await speak(stream_format="sse")

    assert reply.content == DELTA + DELTA + SAID
    record = await courier.record(reply.request_id)
    assert (record.usage_source, record.input_tokens, record.audio_output_tokens) == (
        "provider", 5, 70,
    )  # fmt: skip


async def test_the_sdk_plays_sound(courier, key, voice, upstream):
    upstream.will_answer(SOUND, headers=MPEG)
    client = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{courier.port}/v1", api_key=key.secret)

    async with client:
        sound = await client.audio.speech.create(**BODY)

    assert sound.content == SOUND
