"""Transcriptions and translations, end to end: forms with a file in them."""

import asyncio
import json
import random

import openai
import pytest

from gateway import upload
from gateway.form_copy import FormCopy
from registry.models import Route, ServedModel
from tests import factories
from tests.e2e.client import Call
from tests.fakes.upstream import CUT, RESET, STALL, error_body, frame
from tests.gateway.conftest import until

RANDOM = random.Random(1)
SOUND = RANDOM.randbytes(32_000)
#: Larger than what is kept in memory.
LARGE = RANDOM.randbytes(3_000_000)
TEXT = {"content-type": "text/plain; charset=utf-8"}
HEARD = json.dumps({"text": "Hello.", "usage": {"type": "duration", "seconds": 90}}).encode()
TOKENS = {
    "type": "tokens",
    "input_tokens": 14,
    "input_token_details": {"text_tokens": 0, "audio_tokens": 14},
    "output_tokens": 45,
    "total_tokens": 59,
}
DELTA = frame({"type": "transcript.text.delta", "delta": "Hello"})
DONE = frame({"type": "transcript.text.done", "text": "Hello.", "usage": TOKENS})


def form(*parts):
    """A form of these pairs of name and value; a file is bytes."""
    written = []
    for name, value in parts:
        head = f'--b\r\nContent-Disposition: form-data; name="{name}"'
        if isinstance(value, bytes):
            head += '; filename="speech.wav"\r\nContent-Type: audio/wav'
        value = value if isinstance(value, bytes) else value.encode()
        written.append(f"{head}\r\n\r\n".encode() + value + b"\r\n")
    return b"".join(written) + b"--b--\r\n"


FORM = {"content-type": "multipart/form-data; boundary=b"}
MODEL = ("model", "ear")


def received(request):
    """What arrived at the upstream: the fields, and the file's content."""
    content_type = request.headers["content-type"]
    copy = FormCopy(content_type, ())
    written = copy.add(request.body)
    copy.end()
    file = copy.fields.pop("file")
    end = written.rindex(b"\r\n--" + copy.boundary.encode())
    rest = written[: end + 2]
    start = rest.index(b'filename="') and rest.index(b"\r\n\r\n", rest.index(b'filename="')) + 4
    return copy.fields, file, rest[start : start + file.size]


@pytest.fixture
async def ear(courier, alpha):
    def rows():
        model = factories.make_model("ear", priced=False)
        factories.make_route(model, alpha, upstream_model="alpha-ear")
        factories.make_price(model, input="2", output="10", audio_input="6")

    await courier.make(rows)


@pytest.fixture
def hear(courier, key, ear):
    async def ask(*parts, path="transcriptions", content=None, headers=FORM):
        content = form(*parts) if content is None else content
        path = f"/v1/audio/{path}"
        return await courier.request("POST", path, key=key, headers=headers, content=content)

    return ask


@pytest.fixture
def call(courier, key, ear):
    """A request whose body is up to the test."""

    def make(content, length):
        asking = Call(courier, key=key.secret, path="/v1/audio/transcriptions")
        head = asking.request.partition(b"\r\n\r\n")[0].decode()
        lines = [line for line in head.split("\r\n") if not line.startswith("Content-")]
        lines += [f"Content-Type: {FORM['content-type']}", f"Content-Length: {length}"]
        asking.request = "\r\n".join(lines).encode() + b"\r\n\r\n" + content
        return asking

    return make


async def test_a_form_is_passed_on(hear, upstream):
    upstream.will_answer(HEARD)

    reply = await hear(MODEL, ("language", "de"), ("include[]", "logprobs"), ("file", SOUND))

    assert (reply.status, reply.content) == (200, HEARD)
    assert upstream.requests[0].path == "/v1/audio/transcriptions"
    fields, file, content = received(upstream.requests[0])
    assert fields == {"model": "alpha-ear", "language": "de", "include[]": "logprobs"}
    assert (file.name, content == SOUND) == ("speech.wav", True)


async def test_translations_have_a_path_of_their_own(hear, upstream):
    upstream.will_answer(b'{"text": "Hello."}')

    assert (await hear(MODEL, ("file", SOUND), path="translations")).status == 200
    assert upstream.requests[0].path == "/v1/audio/translations"


@pytest.mark.parametrize(
    "parts", [(MODEL, ("file", LARGE)), (("file", LARGE), MODEL), (("file", SOUND), MODEL)]
)
async def test_every_byte_arrives_in_whichever_order(hear, upstream, parts):
    upstream.will_answer(HEARD)

    assert (await hear(*parts)).status == 200
    fields, _, content = received(upstream.requests[0])
    assert fields == {"model": "alpha-ear"}
    assert content == dict(parts)["file"]


async def test_a_form_that_is_known_is_sent_with_its_length(hear, upstream):
    upstream.will_answer(HEARD)

    await hear(("file", LARGE), MODEL)

    assert int(upstream.requests[0].headers["content-length"]) == len(upstream.requests[0].body)


async def test_minutes_are_charged_as_tokens(hear, courier, upstream):
    upstream.will_answer(HEARD)

    record = await courier.record((await hear(MODEL, ("file", SOUND))).request_id)

    assert (record.operation, record.usage_source) == ("transcriptions", "provider")
    assert (record.audio_input_tokens, record.output_tokens) == (1500, 0)
    assert record.cost_nano == 9_000_000  # 0.006 dollars a minute


async def test_tokens_are_charged_by_class(hear, courier, upstream):
    upstream.will_answer(json.dumps({"text": "Hello.", "usage": TOKENS}).encode())

    record = await courier.record((await hear(MODEL, ("file", SOUND))).request_id)

    assert (record.input_tokens, record.audio_input_tokens, record.output_tokens) == (14, 14, 45)
    assert record.cost_nano == 14 * 6000 + 45 * 10_000


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"Hello there, this is text.", TEXT),
        (b"WEBVTT\n\n00:00.000 --> 00:01.000\nHello", {"content-type": "text/vtt"}),
        (b'{"text": "Hello there."}', {}),
    ],
)
async def test_without_usage_the_sound_and_the_words_are_estimated(
    hear, courier, upstream, content, headers
):
    upstream.will_answer(content, headers=headers)

    reply = await hear(MODEL, ("response_format", "text"), ("file", SOUND))

    assert reply.content == content
    record = await courier.record(reply.request_id)
    assert (record.usage_source, record.audio_input_tokens) == ("estimated", 17)
    assert record.output_tokens > 2


async def test_the_duration_of_a_verbose_answer_is_usage(hear, courier, upstream):
    upstream.will_answer(b'{"text": "Hello.", "duration": 30.5, "segments": []}')

    record = await courier.record((await hear(MODEL, ("file", SOUND))).request_id)

    assert (record.usage_source, record.audio_input_tokens) == ("provider", 509)


async def test_events_are_passed_on(hear, courier, upstream):
    upstream.will_answer(DELTA, DONE)

    reply = await hear(MODEL, ("stream", "true"), ("file", SOUND))

    assert reply.content == DELTA + DONE
    record = await courier.record(reply.request_id)
    assert (record.streamed, record.input_tokens, record.output_tokens) == (True, 14, 45)


async def test_a_stream_may_be_asked_for_behind_the_file(hear, courier, upstream):
    upstream.will_answer(DELTA, DONE)

    reply = await hear(MODEL, ("file", LARGE), ("stream", "true"))

    assert reply.content == DELTA + DONE
    record = await courier.record(reply.request_id)
    assert (record.streamed, record.input_tokens, record.output_tokens) == (True, 14, 45)


async def test_events_that_are_chunks_are_passed_on_too(hear, courier, upstream):
    chunk = frame({"object": "transcription.chunk", "choices": [{"delta": {"content": "Hello"}}]})
    upstream.will_answer(chunk, frame("[DONE]"))

    reply = await hear(MODEL, ("stream", "true"), ("file", SOUND))

    record = await courier.record(reply.request_id)
    assert (record.outcome, record.usage_source, record.output_tokens) == ("ok", "estimated", 1)


async def test_a_form_that_was_kept_is_sent_to_the_next(hear, upstream):
    upstream.will_answer(error_body(), status=503)
    upstream.will_answer(HEARD)

    reply = await hear(("file", LARGE), MODEL)

    assert (reply.status, reply.headers["x-courier-attempts"]) == (200, "2")
    assert received(upstream.requests[1])[2] == LARGE


async def test_a_form_that_was_passed_on_is_sent_once(hear, courier, upstream):
    upstream.will_answer(error_body(), status=503)

    reply = await hear(MODEL, ("file", LARGE))

    assert (reply.status, reply.code, len(upstream.requests)) == (503, "upstream_unavailable", 1)
    assert "only its sender can try again" in reply.error["message"]


async def test_a_form_of_which_nothing_has_left_is_sent_to_the_next(hear, courier, upstream):
    def rows():
        Route.objects.filter(model__name="ear").update(priority=1)
        model = ServedModel.objects.get(name="ear")
        factories.make_route(model, factories.make_provider(), upstream_model="away-ear")

    await courier.make(rows)
    upstream.will_answer(HEARD)

    reply = await hear(MODEL, ("file", LARGE))

    assert (reply.status, reply.headers["x-courier-attempts"]) == (200, "2")
    assert received(upstream.requests[0])[2] == LARGE


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([("file", SOUND)], "model"),
        ([MODEL], "file"),
        ([MODEL, ("file", "text")], "file"),
        ([MODEL, MODEL, ("file", SOUND)], "model"),
        ([MODEL, ("stream", "perhaps"), ("file", SOUND)], "stream"),
        ([MODEL, ("base_url", "http://x"), ("file", SOUND)], "base_url"),
        ([("model", b"ear"), ("file", SOUND)], "model"),
        ([MODEL, ("file", LARGE), ("base_url", "http://x")], "base_url"),
        ([MODEL, ("file", LARGE), MODEL], "model"),
    ],
)
async def test_what_courier_reads_must_be_right(hear, upstream, parts, param):
    reply = await hear(*parts)

    assert (reply.status, reply.error["param"]) == (400, param)
    assert upstream.requests == []


@pytest.mark.parametrize("size", [100, 20_000, 2_000_000])
async def test_a_form_that_is_cut_reaches_nobody(hear, upstream, size):
    reply = await hear(content=form(MODEL, ("file", LARGE))[:size])

    assert (reply.status, reply.code) == (400, "malformed_form")
    assert upstream.requests == []


async def test_connections_are_good_after_an_upload_was_given_up(hear, upstream):
    await hear(content=form(MODEL, ("file", LARGE))[:-9])
    upstream.will_answer(HEARD)

    assert (await hear(MODEL, ("file", SOUND))).content == HEARD
    assert len(upstream.requests) == 1


async def test_json_is_no_form(hear, upstream):
    reply = await hear(content=b"{}", headers={"content-type": "application/json"})

    assert (reply.status, reply.code) == (415, "unsupported_media_type")


async def test_a_form_is_no_chat(courier, key):
    reply = await courier.request(
        "POST", "/v1/chat/completions", key=key, headers=FORM, content=form(MODEL)
    )

    assert (reply.status, reply.code) == (400, None)


@pytest.mark.parametrize("parts", [(MODEL, ("file", LARGE)), (("file", LARGE), MODEL)])
async def test_what_is_too_large_is_refused_while_it_is_read(
    hear, upstream, settings, parts, courier
):
    settings.COURIER_MAX_UPLOAD = 2_000_000

    async def chunks():
        content = form(*parts)
        for start in range(0, len(content), 50_000):
            yield content[start : start + 50_000]

    reply = await hear(content=chunks())

    assert (reply.status, reply.code) == (413, "request_too_large")
    assert upstream.requests == []


async def test_what_says_that_it_is_too_large_is_not_read(call, settings):
    settings.COURIER_MAX_UPLOAD = 2_000_000
    asking = call(b"", 2_000_001)

    async with asking:
        await asking.read()

    assert (asking.reply.status, asking.reply.code) == (413, "request_too_large")


@pytest.mark.parametrize("bound", ["IDLE_S", "LONGEST_S"])
@pytest.mark.parametrize("parts", [(MODEL, ("file", LARGE)), (("file", LARGE), MODEL)])
async def test_a_client_that_stops_sending_is_not_waited_for(
    call, monkeypatch, upstream, parts, bound
):
    monkeypatch.setattr(upload, bound, 0.5)
    asking = call(form(*parts)[:1_500_000], len(form(*parts)))

    async with asking:
        await asking.read()

    assert (asking.reply.status, asking.reply.code) == (408, "request_timeout")
    assert upstream.requests == []
    await until(lambda: not upstream.open_connections)


async def test_a_client_that_leaves_takes_its_upload_along(call, courier, upstream):
    asking = call(form(MODEL, ("file", LARGE))[:1_500_000], 3_000_200)

    async with asking:
        await until(lambda: upstream.open_connections)

    await until(lambda: not upstream.open_connections)
    assert (await courier.last_record()).outcome == "client_disconnected"
    assert upstream.requests == []


async def test_a_client_that_leaves_while_its_form_is_kept_leaves_nothing(call, courier):
    asking = call(form(("file", LARGE), MODEL)[:1_500_000], 3_000_200)

    async with asking:
        await until(lambda: courier.application._front_door.open)
        await asyncio.sleep(0.2)

    await until(lambda: not courier.application._front_door.open)


async def test_a_client_that_leaves_before_its_answer_is_noticed(call, courier, upstream):
    upstream.will_not_answer(STALL)
    content = form(MODEL, ("file", LARGE))
    asking = call(content, len(content))

    async with asking:
        await until(lambda: upstream.busy_connections)

    await until(lambda: upstream.departures)
    assert (await courier.last_record()).outcome == "client_disconnected"


@pytest.mark.parametrize("ending", [CUT, RESET])
async def test_an_upstream_that_leaves_is_told_of(hear, courier, upstream, ending):
    upstream.will_not_answer(ending)

    reply = await hear(MODEL, ("file", LARGE))

    assert (reply.status, reply.headers["x-courier-attempts"]) in {(502, "1"), (503, "1")}


async def test_a_key_without_the_permission_uploads_nothing(call, courier, key):
    await courier.make(lambda: type(key).objects.update(allowed_endpoints=["chat"]))
    asking = call(form(MODEL, ("file", SOUND))[:500], 3_000_000)

    async with asking:
        await asking.read()

    assert asking.reply.code == "endpoint_not_allowed"


async def test_no_file_is_left_behind(hear, upstream, settings):
    upstream.will_answer(HEARD)

    await hear(("file", LARGE), MODEL)

    assert list(settings.UPLOAD_DIR.iterdir()) == []


async def test_a_full_disk_is_told_of(hear, upstream, monkeypatch):
    monkeypatch.setattr("gateway.scratch.FREE_FLOOR", 1 << 62)

    reply = await hear(("file", LARGE), MODEL)

    assert (reply.status, reply.code) == (503, "uploads_unavailable")


def sdk(courier, key):
    return openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{courier.port}/v1", api_key=key.secret)


async def test_the_sdk_transcribes(courier, key, ear, upstream):
    upstream.will_answer(HEARD)

    async with sdk(courier, key) as client:
        heard = await client.audio.transcriptions.create(model="ear", file=("a.wav", LARGE))

    assert (heard.text, heard.usage.seconds) == ("Hello.", 90)
    assert received(upstream.requests[0])[2] == LARGE


async def test_the_sdk_reads_a_stream(courier, key, ear, upstream):
    upstream.will_answer(DELTA, DONE)

    async with sdk(courier, key) as client:
        stream = await client.audio.transcriptions.create(
            model="ear", file=("a.wav", SOUND), stream=True
        )
        events = [event async for event in stream]

    assert [event.type for event in events] == ["transcript.text.delta", "transcript.text.done"]


async def test_the_sdk_translates(courier, key, ear, upstream):
    upstream.will_answer(b'{"text": "Hello."}')

    async with sdk(courier, key) as client:
        with pytest.deprecated_call():
            heard = await client.audio.translations.create(model="ear", file=("a.wav", SOUND))

    assert heard.text == "Hello."
