import asyncio
import base64
import contextlib
import io
import json
import re
import struct
import wave
from pathlib import Path

import httpx
import pytest

from gateway.local_upstreams import FAULTS, Body, ChaosTransport, EchoTransport
from tests.sources import CHECKOUT


async def ask(transport, path="chat/completions", **body):
    body = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]} | body
    request = httpx.Request("POST", f"echo://local/{path}", content=json.dumps(body))
    return await transport.handle_async_request(request)


async def content_of(response):
    return b"".join([piece async for piece in response.stream])


async def echoed(**body):
    return json.loads(await content_of(await ask(EchoTransport(), **body)))


async def streamed(transport, **body):
    content = await content_of(await ask(transport, stream=True, **body))
    return content.decode().split("\n\n")[:-1]


def words(frames):
    chunks = [json.loads(frame.removeprefix("data: ")) for frame in frames if "{" in frame]
    return [c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"]]


async def test_echo_says_the_last_message_again():
    answer = await echoed()

    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "one two three"}
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, 5], "a b"),
        ("", "(nothing to echo)"),
        (None, "(nothing to echo)"),
        (5, "(nothing to echo)"),
    ],
)
async def test_echo_reads_every_form_of_content(content, answer):
    whole = await echoed(messages=[{"role": "user", "content": content}])

    assert whole["choices"][0]["message"]["content"] == answer


async def test_echo_makes_images():
    response = await ask(EchoTransport(), "images/generations", prompt="a cat", n=2)

    answer = json.loads(await content_of(response))
    assert base64.b64decode(answer["data"][1]["b64_json"]).startswith(b"\x89PNG")
    assert (answer["usage"]["input_tokens"], answer["usage"]["output_tokens"]) == (2, 2)


async def test_echo_speaks_without_a_sound():
    response = await ask(EchoTransport(), "audio/speech", input="two words")

    with wave.open(io.BytesIO(await content_of(response))) as sound:
        assert sound.getnframes() / sound.getframerate() == 0.5


@pytest.mark.parametrize(
    ("path", "field"),
    [("images/edits", "data"), ("audio/transcriptions", "text"), ("audio/translations", "text")],
)
@pytest.mark.parametrize("transport", [EchoTransport(), ChaosTransport()])
async def test_forms_are_answered_without_being_kept(path, field, transport):
    async def pieces():
        yield b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nstatus-418\r\n'
        yield b"--b--\r\n"

    request = httpx.Request("POST", f"echo://local/{path}", stream=Body(pieces()))
    response = await transport.handle_async_request(request)

    is_echo = isinstance(transport, EchoTransport)
    assert response.status_code == (200 if is_echo else 418)
    assert field in json.loads(await content_of(response)) or not is_echo


async def test_echo_streams_word_by_word():
    frames = await streamed(EchoTransport())

    assert words(frames) == ["", "one", " two", " three", ""]
    assert frames[-1] == "data: [DONE]"
    assert not any("usage" in frame for frame in frames)


async def test_echo_reports_usage_if_asked():
    frames = await streamed(EchoTransport(), stream_options={"include_usage": True})

    assert json.loads(frames[-2].removeprefix("data: "))["usage"]["total_tokens"] == 6


async def test_echo_embeds_each_input():
    answer = await echoed(path="embeddings", input=["one", "two words"])

    assert [each["index"] for each in answer["data"]] == [0, 1]
    assert [len(each["embedding"]) for each in answer["data"]] == [8, 8]
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


async def test_echo_embeds_tokens():
    answer = await echoed(path="embeddings", input=[1, 2, 3], dimensions=2)

    assert len(answer["data"]) == 1
    assert answer["usage"]["prompt_tokens"] == 3
    assert len(answer["data"][0]["embedding"]) == 2


async def test_echo_embeds_as_base64_of_the_same_numbers():
    plain = await echoed(path="embeddings", input="one")
    packed = await echoed(path="embeddings", input="one", encoding_format="base64")

    numbers = struct.unpack("<8f", base64.b64decode(packed["data"][0]["embedding"]))
    assert numbers == pytest.approx(plain["data"][0]["embedding"])


@pytest.mark.parametrize(
    ("model", "status"), [("status-429", 429), ("status-503", 503), ("status-200", 503), ("x", 404)]
)
async def test_chaos_answers_with_a_status(model, status):
    response = await ask(ChaosTransport(), model=model)

    assert response.status_code == status
    assert "error" in json.loads(await content_of(response))


async def test_chaos_asks_for_a_pause_when_it_limits():
    response = await ask(ChaosTransport(), model="status-429")

    assert response.headers["retry-after"] == "1"


async def test_chaos_refuses_the_connection():
    with pytest.raises(httpx.ConnectError):
        await ask(ChaosTransport(), model="refuse")


@pytest.mark.parametrize("model", ["silent-0", "slow-0", "flaky-0"])
async def test_chaos_answers_in_the_end(model):
    response = await ask(ChaosTransport(), model=model)

    assert json.loads(await content_of(response))["choices"]


@pytest.mark.parametrize("model", ["slow-0", "flaky-0", "silent-0"])
async def test_chaos_streams_in_the_end(model):
    assert (await streamed(ChaosTransport(), model=model))[-1] == "data: [DONE]"


async def test_chaos_cuts_a_stream_after_so_many_chunks():
    response = await ask(ChaosTransport(), model="cut-3", stream=True)
    pieces = response.stream.__aiter__()

    assert len([await anext(pieces) for _ in range(3)]) == 3
    with pytest.raises(httpx.ReadError):
        await anext(pieces)


async def test_chaos_stalls_a_stream_after_so_many_chunks():
    response = await ask(ChaosTransport(), model="stall-1", stream=True)
    pieces = response.stream.__aiter__()

    assert b"assistant" in await pieces.__anext__()
    await pieces.aclose()
    await response.stream.aclose()


@pytest.mark.parametrize("stream", [True, False])
async def test_chaos_sends_malformed_answers(stream):
    response = await ask(ChaosTransport(), model="malformed", stream=stream)

    assert b"{not json" in await content_of(response)


async def test_chaos_fails_now_and_then():
    response = await ask(ChaosTransport(), model="flaky-100")

    assert response.status_code == 503


@pytest.mark.parametrize("model", ["cut-x", "stall-x", "flaky-x", "slow-x", "silent-x", "status-x"])
async def test_chaos_takes_its_own_number_where_it_is_given_none(model, monkeypatch):
    async def sleep(seconds):
        assert seconds <= 3600

    monkeypatch.setattr(asyncio, "sleep", sleep)

    with contextlib.suppress(httpx.ReadError):
        await content_of(await ask(ChaosTransport(), model=model, stream=True))


def test_every_fault_is_tried_here():
    text = Path(__file__).read_text()

    assert [fault for fault in FAULTS if f'"{fault}' not in text] == []


async def test_echo_takes_its_own_size_where_it_is_given_none():
    answer = await echoed(path="embeddings", input="one", dimensions="many")

    assert len(answer["data"][0]["embedding"]) == 8


async def test_echo_ranks_by_the_words_that_documents_share_with_the_query():
    documents = ["cats sleep", {"text": "Seoul is in Korea"}, "where cats are"]
    asked = {"query": "Where is Seoul?", "documents": documents, "top_n": 2}

    answer = json.loads(await content_of(await ask(EchoTransport(), "rerank", **asked)))

    assert [result["index"] for result in answer["results"]] == [1, 2]
    assert answer["usage"] == {"total_tokens": 3 * 3 + 9}


@pytest.mark.parametrize(("given", "results"), [("a", 1), (["a", "b"], 2), ([{"type": "text"}], 1)])
async def test_echo_flags_nothing(given, results):
    answer = json.loads(await content_of(await ask(EchoTransport(), "moderations", input=given)))

    assert [result["flagged"] for result in answer["results"]] == [False] * results


async def test_chaos_is_at_its_rate_limit_and_says_so():
    response = await ask(ChaosTransport(), model="limited-7")

    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    assert response.headers["x-ratelimit-remaining-requests"] == "0"


@pytest.mark.parametrize(
    ("model", "code"),
    [("long", "context_length_exceeded"), ("policy", "content_policy_violation")],
)
async def test_chaos_refuses_what_is_asked(model, code):
    response = await ask(ChaosTransport(), model=model)

    assert response.status_code == 400
    assert json.loads(await content_of(response))["error"]["code"] == code


async def test_chaos_fails_inside_a_stream():
    frames = await streamed(ChaosTransport(), model="error-2")

    assert words(frames[:-1]) == ["", "one"]
    assert json.loads(frames[-1].removeprefix("data: "))["error"]["code"] == "overloaded"


@pytest.mark.parametrize(("model", "told"), [("lying", -1), ("lying-1000000", 1000000)])
async def test_chaos_lies_about_usage(model, told):
    whole = json.loads(await content_of(await ask(ChaosTransport(), model=model)))
    frames = await streamed(ChaosTransport(), model=model)

    assert whole["usage"]["completion_tokens"] == told
    assert json.loads(frames[-2].removeprefix("data: "))["usage"]["prompt_tokens"] == told
    assert frames[-1] == "data: [DONE]"


def test_every_fault_is_in_the_handbook():
    page = (CHECKOUT / "docs" / "operations.md").read_text()

    assert [name for name in FAULTS if not re.search(rf"`{name}[-`]", page)] == []
