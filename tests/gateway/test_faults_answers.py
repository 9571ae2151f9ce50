"""F06, F11 to F14, F16, F17 and F19 to F21: answers that are no answers, or not all of one."""

import asyncio
import gzip
import json
import resource
import time
import zlib

import pytest

from gateway import attempt
from tests.fakes.upstream import (
    CUT,
    DONE,
    HEARD,
    HELLO,
    JSON,
    OPENING,
    RESET,
    SSE,
    STALL,
    STOP,
    USAGE,
    Pause,
    chunk,
    completion,
    error_body,
    frame,
    usage_chunk,
    usage_of,
)
from tests.faults.figures import figure
from tests.faults.pairs import is_whole, survived, told, told_no_secret
from tests.faults.upstream import LAST_CHUNK, Again, chunked, head, whole
from tests.faults.upstream import stream as streamed
from tests.gateway.conftest import until

both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
SECRET = "SECRET-OF-THE-UPSTREAM"


async def interrupted(pair, reply, code="stream_interrupted", *, reason="upstream_cut"):
    """The client saw a beginning, was told that it is no more than that, and is so on record."""
    assert reply.status == 200
    assert reply.failure["code"] == code
    assert b"[DONE]" not in reply.content
    assert b'"finish_reason":"stop"' not in reply.content
    record = await pair.courier.record(reply.request_id)
    assert (record.end_reason, record.usage_source) == (reason, "estimated")
    assert await pair.attempts(reply) == [("sick", code)]
    told_no_secret(reply)
    return record


async def test_f06_a_stream_that_stalls_is_ended_counted_and_left(pair, chaos):
    await pair.make(idle_timeout_s=0.5)
    chaos.always("sick", *streamed(OPENING, HELLO, chunk(" there"), STALL))
    began = time.monotonic()

    reply = await pair.ask(True)

    record = await interrupted(pair, reply, "upstream_stalled", reason="timeout")
    assert 0.5 <= time.monotonic() - began < 15
    assert record.output_tokens == 2
    await until(lambda: [each.how for each in chaos.answers("sick")] == ["left"])


WRONG = {
    "nothing": b"",
    "half an object": completion()[:40],
    "no JSON": b"{nonsense",
    "a list": b"[]",
    "a number": b"5",
    "null": b"null",
    "another object": b'{"hello": "there"}',
    "choices that are none": b'{"id": "x", "object": "chat.completion", "choices": "no"}',
    "no UTF-8": completion("Hi").replace(b"Hi", b"\xff\xfe"),
    "nested without end": b"[" * 200_000,
    "a number of 5,000 digits": b'{"choices": [], "n": %s}' % (b"9" * 5000),
}


async def test_f11_an_answer_that_is_none_is_a_failed_attempt(pair, chaos):
    await pair.make()
    for name, body in WRONG.items():
        chaos.once("sick", *whole(body))

        reply = await pair.ask()

        assert is_whole(reply), name
        assert (await pair.attempts(reply))[0] == ("sick", "upstream_bad_response"), name
        await pair.recover()


async def test_f11_a_client_is_told_of_it_in_courier_s_own_words(pair, chaos):
    await pair.make()
    chaos.always("sick", *whole(b'{"%s": 1}' % SECRET.encode()))

    await told(pair, await pair.ask(model="alone"), 502, "upstream_bad_response")


async def test_f11_a_stream_of_nonsense_is_a_failed_attempt_too(pair, chaos):
    await pair.make()
    for nonsense in (b"data: {no\n\n", frame([1]), frame("null"), b"data: \xff\n\n"):
        chaos.once("sick", *streamed(nonsense, STALL))

        await survived(pair, await pair.ask(True), "upstream_bad_response")


TRUNCATIONS = {
    "cut": (CUT,),
    "reset": (RESET,),
    "an end of the body without one of the stream": (),
    "half an event": (b'data: {"cho', CUT),
    "a reason and no end": (STOP,),
}


async def test_f12_a_truncated_stream_is_never_taken_for_a_whole_one(pair, chaos):
    await pair.make()
    for name, ending in TRUNCATIONS.items():
        chaos.once("sick", *streamed(OPENING, HELLO, HEARD, *ending))

        reply = await pair.ask(True)

        assert reply.failure["code"] == "stream_interrupted", name
        assert b"[DONE]" not in reply.content, name
        record = await pair.courier.record(reply.request_id)
        assert (record.end_reason, record.output_tokens) == ("upstream_cut", 1), name


async def test_f12_usage_that_is_missing_is_counted_and_marked(pair, chaos):
    await pair.make()
    chaos.once("sick", *streamed(OPENING, HELLO, chunk(" there."), STOP, DONE))

    reply = await pair.ask(True)

    record = await pair.courier.record(reply.request_id)
    assert is_whole(reply)
    assert (record.usage_source, record.output_tokens) == ("estimated", 3)


def dripping(data, every_s=0.05):
    """A byte at a time, without end to the last."""
    return [step for byte in data for step in (chunked(bytes([byte])), Pause(every_s))]


async def test_f13_bytes_that_make_no_event_are_no_progress(pair, chaos):
    await pair.make(idle_timeout_s=0.5)
    chaos.once("sick", *streamed(OPENING, HELLO, *dripping(chunk("x" * 500))))

    await interrupted(pair, await pair.ask(True), "upstream_stalled", reason="timeout")


async def test_f13_comments_are_no_progress(pair, chaos):
    await pair.make(idle_timeout_s=0.5)
    drip = Again(chunked(b": still here\n\n"), every_s=0.05)
    chaos.once("sick", *streamed(OPENING, HELLO, drip, ends=False))

    await interrupted(pair, await pair.ask(True), "upstream_stalled", reason="timeout")


async def test_f13_comments_before_the_first_output_buy_no_time(pair, chaos):
    await pair.make(first_byte_timeout_s=0.5)
    chaos.once("sick", *streamed(OPENING, Again(chunked(b": wait\n\n"), every_s=0.05), ends=False))

    await survived(pair, await pair.ask(True), "upstream_timeout")


async def test_f13_a_whole_answer_that_drips_has_its_time_in_all(pair, chaos):
    await pair.make(total_timeout_s=1)
    chaos.once("sick", head(), *dripping(completion("x" * 500)))
    began = time.monotonic()

    await survived(pair, await pair.ask(), "upstream_timeout")
    assert time.monotonic() - began < 15


def resident_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def test_f14_a_line_without_end_is_read_to_its_bound_only(pair, chaos):
    await pair.make()
    line = Again(chunked(b"x" * 65536), times=400)
    chaos.once("sick", *streamed(OPENING, HELLO, HEARD, b"data: ", line))
    before = resident_mib()

    reply = await pair.ask(True)

    await interrupted(pair, reply, "upstream_bad_response")
    grown = resident_mib() - before
    figure("F14", f"a line of 25 MiB: {grown:.0f} MiB more", "≤ 64 MiB")
    assert grown < 64
    answers = await until(lambda: chaos.answers("sick"))
    assert answers[0].bytes < 25 << 20


async def test_f14_a_body_without_end_is_read_to_its_bound_only(pair, chaos, settings):
    settings.COURIER_MAX_ANSWER = 1 << 20
    await pair.make()
    chaos.once("sick", head(), Again(chunked(b" " * 65536)))

    await survived(pair, await pair.ask(), "upstream_bad_response")
    await until(lambda: chaos.answers("sick"))
    assert chaos.answers("sick")[0].how == "left"


async def test_f14_headers_without_end_are_refused(pair, chaos):
    await pair.make()
    start = b"HTTP/1.1 200 OK\r\n"
    for steps in (
        (start + b"x-a: ", Again(b"y" * 65536, times=100)),
        (start, Again(b"x-a: y\r\n" * 1000, times=100)),
        (Again(b"x" * 65536, times=100),),
        (start, Again(b"%s: y\r\n" % (b"x" * 65536), times=10)),
    ):
        chaos.once("sick", *steps, CUT)

        await survived(pair, await pair.ask(), "upstream_bad_response")


async def test_f14_tiny_chunks_at_full_speed_do_not_stop_the_loop(pair, chaos):
    await pair.make()
    tiny = chunked(chunk("x")) * 200
    chaos.once(
        "sick",
        head(kind=SSE),
        chunked(OPENING),
        Again(tiny, times=100),
        chunked(STOP + DONE),
        LAST_CHUNK,
    )
    lags = []

    async def watch():
        while True:
            began, worked = time.monotonic(), time.thread_time()
            await asyncio.sleep(0.001)
            lags.append(min(time.monotonic() - began, time.thread_time() - worked))

    watching = asyncio.ensure_future(watch())
    reply = await pair.ask(True)
    watching.cancel()

    assert is_whole(reply)
    assert reply.content.count(b'"x"') == 20_000
    figure("F14", f"20,000 chunks: loop held {max(lags) * 1000:.0f} ms at most", "≤ 250 ms")
    assert max(lags) < 2


BAD = {"upstream_bad_response", "upstream_unavailable"}


async def test_f16_another_type_than_asked_for_is_a_failed_attempt(pair, chaos):
    await pair.make()
    page = b"<html><script>alert('%s')</script></html>" % SECRET.encode()
    events = b"".join((OPENING, HELLO, STOP, DONE))
    wrong = {
        "a page": (False, page, "text/html"),
        "a page for a stream": (True, page, "text/html"),
        "a page that claims to be JSON": (False, page, JSON),
        "a page that claims to be a stream": (True, page, SSE),
        "events for no stream": (False, events, SSE),
        "JSON for a stream": (True, completion(), JSON),
        "no type for a stream": (True, events, ""),
    }
    for name, (stream, body, kind) in wrong.items():
        chaos.once("sick", *whole(body, kind=kind))

        reply = await pair.ask(stream)

        assert is_whole(reply), name
        assert (await pair.attempts(reply))[0][1] in BAD, name
        assert b"<script>" not in reply.content, name
        await pair.recover()


async def test_f16_a_page_is_never_shown(pair, chaos):
    await pair.make()
    chaos.always("sick", *whole(b"<h1>%s</h1>" % SECRET.encode(), kind="text/html"))

    await told(pair, await pair.ask(model="alone"), 502, "upstream_bad_response")


def deflated(body):
    return zlib.compress(body)


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", deflated)])
async def test_f17_what_was_compressed_unasked_is_read_all_the_same(pair, chaos, coding, pack):
    await pair.make()
    events = b"".join((OPENING, HELLO, STOP, USAGE, DONE))
    chaos.once("sick", *whole(pack(completion("Packed.")), content_encoding=coding))
    packed = pack(events)
    pieces = [packed[at : at + 7] for at in range(0, len(packed), 7)]
    chaos.once("sick", *streamed(*pieces, content_encoding=coding))

    answer, stream = await pair.ask(), await pair.ask(True)

    assert answer.json["choices"][0]["message"]["content"] == "Packed."
    assert (is_whole(stream), HELLO in stream.content) == (True, True)
    assert "content-encoding" not in answer.headers


async def test_f17_what_cannot_be_unpacked_is_a_failed_attempt(pair, chaos):
    await pair.make()
    packed = gzip.compress(completion())
    wrong = {
        "a lie": ("gzip", completion()),
        "half of it": ("gzip", packed[: len(packed) // 2]),
        "something behind it": ("gzip", packed + b"more"),
        "twice": ("gzip, gzip", gzip.compress(packed)),
        "brotli": ("br", b"\x1b\x00"),
        "zstd": ("zstd", b"\x28\xb5\x2f\xfd"),
        "an unknown one": ("x-courier", completion()),
    }
    for name, (coding, body) in wrong.items():
        chaos.once("sick", *whole(body, content_encoding=coding))

        reply = await pair.ask()

        assert is_whole(reply), name
        assert (await pair.attempts(reply))[0] == ("sick", "upstream_bad_response"), name
        await pair.recover()


@both
async def test_f17_a_bomb_is_unpacked_to_its_bound_only(pair, chaos, stream):
    await pair.make()
    bomb = gzip.compress(b"data: " + b"x" * (256 << 20), compresslevel=1)
    kind = SSE if stream else JSON
    chaos.once("sick", *whole(bomb, kind=kind, content_encoding="gzip"))
    before = resident_mib()

    reply = await pair.ask(stream)

    await survived(pair, reply, "upstream_bad_response")
    grown = resident_mib() - before
    figure("F17", f"a bomb of 256 MiB: {grown:.0f} MiB more", "≤ 64 MiB")
    assert grown < 64


async def test_f17_a_length_that_lies_is_a_failed_attempt(pair, chaos):
    await pair.make()
    body = completion()
    chaos.once("sick", head(length=len(body) + 50) + body, CUT)
    reply = await pair.ask()
    assert (await pair.attempts(reply))[0] == ("sick", "upstream_unavailable")

    chaos.once("sick", head(length=len(body) - 50) + body)
    reply = await pair.ask()
    assert (await pair.attempts(reply))[0] == ("sick", "upstream_bad_response")


HOSTILE = (
    b"set-cookie: session=stolen; path=/\r\n"
    b"connection: x-hop, close\r\nx-hop: 1\r\n"
    b"x-accel-redirect: /etc/passwd\r\nx-accel-buffering: yes\r\nx-sendfile: /etc/passwd\r\n"
    b"location: http://169.254.169.254/\r\n"
    b"access-control-allow-origin: *\r\n"
    b"strict-transport-security: max-age=0\r\n"
    b"content-security-policy: default-src *\r\n"
    b"refresh: 0; url=http://evil.example\r\n"
    b"www-authenticate: Basic\r\n"
    b"server: SECRET-OF-THE-UPSTREAM\r\n"
    b"x-request-id: SECRET-OF-THE-UPSTREAM\r\n"
    b"x-courier-model-served: another\r\n"
    b"x-long: %s\r\n" % (b"y" * 20_000)
)
ALLOWED = {"date", "content-type", "content-length", "transfer-encoding", "x-request-id"}
ALLOWED |= {"cache-control", "x-accel-buffering", "x-content-type-options", "connection"}


@both
async def test_f19_of_an_upstream_s_headers_none_reaches_the_client(pair, chaos, stream):
    await pair.make()
    body = b"".join((OPENING, HELLO, STOP, USAGE, DONE)) if stream else completion()
    kind = SSE if stream else JSON
    start = head(kind=kind, length=len(body)).removesuffix(b"\r\n")
    chaos.once("sick", start + HOSTILE + b"\r\n" + body)

    reply = await pair.ask(stream)

    assert is_whole(reply)
    foreign = {name for name in reply.headers if not name.startswith("x-courier-")} - ALLOWED
    assert foreign == set()
    assert reply.headers.get("connection") != "x-hop, close"
    assert reply.headers["x-courier-model-served"] == "pair"
    assert reply.headers.get("x-accel-buffering", "no") == "no"
    told_no_secret(reply)


@pytest.mark.parametrize(
    "line",
    [
        b"x-a: b\rset-cookie: c\r\n",
        b"x-a: b\0c\r\n",
        b"x-a\x01: b\r\n",
        b"x-a: %s\r\n" % (b"y" * 65536),
    ],
    ids=["a lone CR", "a null", "an odd name", "64 KiB"],
)
async def test_f19_a_header_that_is_none_harms_nobody(pair, chaos, line):
    await pair.make()
    body = completion()
    start = head(length=len(body)).removesuffix(b"\r\n")
    chaos.once("sick", start + line + b"\r\n" + body)

    reply = await pair.ask()

    assert is_whole(reply)
    assert "set-cookie" not in reply.headers
    assert (await pair.attempts(reply))[0] in {("sick", "upstream_bad_response"), ("sick", "ok")}


LIES = {
    "negative": usage_of(-7, -3),
    "2^63": usage_of(2**63, 2**63),
    "2^70": usage_of(2**70, 2**70),
    "fractions": usage_of(7.5, 3.2),
    "texts": usage_of("7", "3"),
    "lists": {"prompt_tokens": [7], "completion_tokens": {"a": 3}},
    "booleans": {"prompt_tokens": True, "completion_tokens": True},
    "nothing": None,
    "a text": "seven",
    "not a number": json.loads('{"prompt_tokens": NaN, "completion_tokens": Infinity}'),
    "more parts than the whole": usage_of(
        7,
        3,
        prompt_tokens_details={"cached_tokens": 700},
        completion_tokens_details={"reasoning_tokens": 99},
    ),
}


async def test_f20_no_lie_about_usage_makes_a_charge_that_cannot_be(pair, chaos):
    await pair.make()
    for name, usage in LIES.items():
        body = json.loads(completion())
        chaos.once("sick", *whole(json.dumps({**body, "usage": usage}).encode()))
        last = frame({**json.loads(usage_chunk()[6:]), "usage": usage})
        chaos.once("sick", *streamed(OPENING, HELLO, STOP, last, DONE))

        for reply in (await pair.ask(), await pair.ask(True)):
            assert reply.status in {200, 502}, name
            record = await pair.courier.record(reply.request_id)
            assert record.cost_nano >= 0, name
            assert record.cached_input_tokens <= record.input_tokens, name
            assert min(record.input_tokens, record.output_tokens) >= 0, name
            assert max(record.input_tokens, record.output_tokens) < 2**62, name


async def test_f20_of_usage_that_is_told_again_and_again_the_last_counts(pair, chaos):
    await pair.make()
    growing = [chunk("word ", usage=usage_of(7, said)) for said in range(1, 6)]
    last = usage_chunk(9, 6)
    chaos.once("sick", *streamed(OPENING, *growing, STOP, usage_chunk(100, 100), last, DONE))

    reply = await pair.ask(True)

    record = await pair.courier.record(reply.request_id)
    assert (record.input_tokens, record.output_tokens) == (9, 6)
    assert record.usage_source == "provider"


ERRORS = {
    "an object": frame({"error": {"message": SECRET, "code": "overloaded"}}),
    "a text": frame({"error": SECRET}),
    "an event": b"event: error\n" + frame({"error": {"message": SECRET}}),
    # The last one, for the upstream is left alone behind it.
    "a status": frame({"error": {"message": SECRET, "code": 429, "type": "rate_limit"}}),
}


async def test_f21_an_error_inside_a_stream_before_its_output_is_a_failed_attempt(pair, chaos):
    await pair.make()
    for name, error in ERRORS.items():
        chaos.once("sick", *streamed(OPENING, error, STALL))

        reply = await pair.ask(True)

        assert is_whole(reply), name
        (provider, outcome), *_ = await pair.attempts(reply)
        assert (provider, outcome.startswith("upstream_")) == ("sick", True), name
        told_no_secret(reply)
        chaos.forget()
        await pair.recover()


async def test_f21_an_error_object_with_status_200_is_a_failed_attempt(pair, chaos):
    await pair.make()
    chaos.once("sick", *whole(error_body(SECRET)))

    await survived(pair, await pair.ask(), "upstream_unavailable")


async def test_f21_an_error_behind_output_is_told_and_counts_against_the_upstream(pair, chaos):
    await pair.make()
    chaos.always("sick", *streamed(OPENING, HELLO, HEARD, Pause(0.3), ERRORS["an object"], DONE))

    for reply in await asyncio.gather(*(pair.ask(True) for _ in range(12))):
        await interrupted(pair, reply)

    assert await pair.attempts(await pair.ask(True)) == [("well", "ok")]


async def test_f14_what_is_held_back_before_the_first_output_is_bounded(pair, chaos, monkeypatch):
    monkeypatch.setattr(attempt, "MOST_HELD", 10_000)
    await pair.make()
    chaos.once("sick", *streamed(Again(chunked(OPENING), every_s=0.0), ends=False))

    await survived(pair, await pair.ask(True), "upstream_bad_response")
