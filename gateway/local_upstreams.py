"""The built-in upstreams: transports that answer in process, in OpenAI's format.

`echo` says the last message again, word by word, and counts words as tokens. `chaos`
fails as the upstream model's name says; see `FAULTS`.
"""

from __future__ import annotations

import asyncio
import base64
import random
import re
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import sha256
from itertools import count
from typing import Any

import httpx
import orjson

from gateway import local_judgments, local_media

#: Courier writes forms with their model in front.
_MODEL_FIRST = re.compile(rb'name="model"\r\n\r\n(.*?)\r\n')
_WORD = re.compile(r"\s*\S+")
_ids = count(1)
#: Seconds between the beginning of an answer and its failure.
DRAMATIC_PAUSE_S = 0.1


class Body(httpx.AsyncByteStream):
    """A body made by an async iterator."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> bytes:
        return await self._pieces.__anext__()

    async def aclose(self) -> None:
        close = getattr(self._pieces, "aclose", None)
        if close:
            await close()


class EchoTransport(httpx.AsyncBaseTransport):
    """Answers at once, whatever is asked for."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        asked = await _asked(request)
        answer = next((make for end, make in _ANSWERS if path.endswith(end)), None)
        if answer is not None:
            return _json(answer(asked))
        if path.startswith("/audio/trans"):
            return _json(local_media.transcription(asked["bytes"]))
        if path.endswith("/audio/speech"):
            return _whole(200, {"content-type": "audio/wav"}, local_media.speech(asked))
        if asked.get("stream"):
            return _stream(_said_slowly(asked, pause_s=0))
        return _json(_said(asked))


async def _asked(request: httpx.Request) -> Any:
    """The request's JSON; of a form, which is not kept, its model and its size."""
    stream = request.stream
    if isinstance(stream, httpx.ByteStream) or not isinstance(stream, httpx.AsyncByteStream):
        return orjson.loads(request.content)
    size, head = 0, b""
    async for piece in stream:
        size += len(piece)
        head = head or piece
    named = _MODEL_FIRST.search(head)
    return {"model": named[1].decode() if named else "", "bytes": size}


class ChaosTransport(httpx.AsyncBaseTransport):
    """Fails as the model's name says."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        asked = await _asked(request)
        name, _, argument = str(asked.get("model", "")).partition("-")
        fault = FAULTS.get(name)
        if fault is None:
            return _error(404, f"Chaos knows no fault of this name. It knows {', '.join(FAULTS)}.")
        return await fault(asked, argument)


async def _status(asked: Any, argument: str) -> httpx.Response:
    status = int(argument) if argument.isdigit() and 400 <= int(argument) < 600 else 503
    headers = {"retry-after": "1"} if status == 429 else {}
    return _error(status, "Chaos was asked for this.", headers)


async def _limited(asked: Any, argument: str) -> httpx.Response:
    wait = _number(argument, 30)
    headers = {
        "retry-after": str(wait),
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": f"{wait}s",
    }
    return _error(429, "Chaos is at its rate limit.", headers)


async def _long(asked: Any, argument: str) -> httpx.Response:
    return _error(400, "Chaos finds this too long.", code="context_length_exceeded")


async def _policy(asked: Any, argument: str) -> httpx.Response:
    return _error(400, "Chaos does not talk about this.", code="content_policy_violation")


async def _refuse(asked: Any, argument: str) -> httpx.Response:
    raise httpx.ConnectError("Chaos refuses the connection.")


async def _silent(asked: Any, argument: str) -> httpx.Response:
    await asyncio.sleep(_seconds(argument, 3600))
    return _good(asked)


async def _slow(asked: Any, argument: str) -> httpx.Response:
    pause = _seconds(argument, 1)
    if not asked.get("stream"):
        await asyncio.sleep(pause)
        return _json(_said(asked))
    return _stream(_said_slowly(asked, pause_s=pause))


async def _stall(asked: Any, argument: str) -> httpx.Response:
    async def pieces() -> AsyncIterator[bytes]:
        async for piece in _first(_said_slowly(asked, pause_s=0), _number(argument, 2)):
            yield piece
        await asyncio.sleep(3600)

    return _stream(pieces())


async def _cut(asked: Any, argument: str) -> httpx.Response:
    async def pieces() -> AsyncIterator[bytes]:
        async for piece in _first(_said_slowly(asked, pause_s=0), _number(argument, 2)):
            yield piece
        raise httpx.ReadError("Chaos cuts the connection.")

    return _stream(pieces())


async def _malformed(asked: Any, argument: str) -> httpx.Response:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"data: {not json\n\n"

    if asked.get("stream"):
        return _stream(pieces())
    return _whole(200, {}, b"{not json")


async def _flaky(asked: Any, argument: str) -> httpx.Response:
    if random.random() * 100 < _number(argument, 50):
        return _error(503, "Chaos was asked to fail now and then.")
    return _good(asked)


async def _error_inside(asked: Any, argument: str) -> httpx.Response:
    failure = {"error": {"message": "Chaos fails midway.", "type": "chaos", "code": "overloaded"}}

    async def pieces() -> AsyncIterator[bytes]:
        async for piece in _first(_said_slowly(asked, pause_s=0), _number(argument, 2)):
            yield piece
        # What came before is on its way by then, as with a model that takes its time.
        await asyncio.sleep(DRAMATIC_PAUSE_S)
        yield b"data: " + orjson.dumps(failure) + b"\n\n"

    return _stream(pieces()) if asked.get("stream") else _json(failure)


async def _lying(asked: Any, argument: str) -> httpx.Response:
    lie = _number(argument, -1)
    usage = {"prompt_tokens": lie, "completion_tokens": lie, "total_tokens": lie}
    if not asked.get("stream"):
        return _json({**_said(asked), "usage": usage})

    async def pieces() -> AsyncIterator[bytes]:
        async for piece in _said_slowly({**asked, "stream_options": None}, pause_s=0):
            if piece.startswith(b"data: ["):
                heading = _heading(asked, "chat.completion.chunk")
                told = {**heading, "choices": [], "usage": usage}
                yield b"data: " + orjson.dumps(told) + b"\n\n"
            yield piece

    return _stream(pieces())


def _good(asked: Any) -> httpx.Response:
    return _stream(_said_slowly(asked, pause_s=0)) if asked.get("stream") else _json(_said(asked))


#: The upstream model is the fault's name, and after a hyphen what it takes: a status, a
#: number of seconds, of chunks or of tokens, or per cent.
FAULTS: dict[str, Callable[[Any, str], Awaitable[httpx.Response]]] = {
    "status": _status,
    "limited": _limited,
    "long": _long,
    "policy": _policy,
    "refuse": _refuse,
    "silent": _silent,
    "slow": _slow,
    "stall": _stall,
    "cut": _cut,
    "error": _error_inside,
    "lying": _lying,
    "malformed": _malformed,
    "flaky": _flaky,
}


def _number(argument: str, default: int) -> int:
    return int(argument) if argument.isdigit() else default


def _seconds(argument: str, default: float) -> float:
    try:
        return min(max(float(argument), 0.0), 3600.0)
    except ValueError:
        return default


async def _first(pieces: AsyncIterator[bytes], number: int) -> AsyncIterator[bytes]:
    async for piece in pieces:
        if number <= 0:
            return
        number -= 1
        yield piece


def _error(
    status: int, message: str, headers: dict[str, str] | None = None, code: str | None = None
) -> httpx.Response:
    body = {"error": {"message": message, "type": "chaos", "param": None, "code": code}}
    return _json(body, status, headers)


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> httpx.Response:
    return _whole(status, headers or {}, orjson.dumps(body))


def _whole(status: int, headers: dict[str, str], content: bytes) -> httpx.Response:
    async def pieces() -> AsyncIterator[bytes]:
        yield content

    all_headers = {"content-type": "application/json", **headers}
    return httpx.Response(status, headers=all_headers, stream=Body(pieces()))


def _stream(pieces: AsyncIterator[bytes]) -> httpx.Response:
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Body(pieces))


def _answer_to(asked: Any) -> str:
    """What the last message said."""
    messages = asked.get("messages") or [{}]
    content = messages[-1].get("content")
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        content = " ".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) and content.strip() else "(nothing to echo)"


def _usage(asked: Any, answer: str) -> dict[str, int]:
    given = sum(_words_in(message.get("content")) for message in asked.get("messages") or ())
    said = _words_in(answer)
    return {"prompt_tokens": given, "completion_tokens": said, "total_tokens": given + said}


def _words_in(content: Any) -> int:
    return len(_WORD.findall(content if isinstance(content, str) else str(content or "")))


def _said(asked: Any) -> dict[str, Any]:
    answer = _answer_to(asked)
    message = {"role": "assistant", "content": answer}
    return {
        **_heading(asked, "chat.completion"),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": _usage(asked, answer),
    }


async def _said_slowly(asked: Any, *, pause_s: float) -> AsyncIterator[bytes]:
    heading = _heading(asked, "chat.completion.chunk")
    answer = _answer_to(asked)
    yield _chunk(heading, {"role": "assistant", "content": ""})
    for word in _WORD.findall(answer):
        await asyncio.sleep(pause_s)
        yield _chunk(heading, {"content": word})
    yield _chunk(heading, {}, finish_reason="stop")
    if (asked.get("stream_options") or {}).get("include_usage"):
        last = {**heading, "choices": [], "usage": _usage(asked, answer)}
        yield b"data: " + orjson.dumps(last) + b"\n\n"
    yield b"data: [DONE]\n\n"


def _heading(asked: Any, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-echo-{next(_ids)}",
        "object": kind,
        "created": int(time.time()),
        "model": asked.get("model"),
    }


def _chunk(heading: dict[str, Any], delta: Any, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return b"data: " + orjson.dumps({**heading, "choices": [choice]}) + b"\n\n"


def _embeddings(asked: Any) -> dict[str, Any]:
    given = asked.get("input")
    inputs = given if isinstance(given, list) and not _is_tokens(given) else [given]
    tokens = sum(len(item) if isinstance(item, list) else _words_in(item) for item in inputs)
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(item, asked)}
        for index, item in enumerate(inputs)
    ]
    return {
        "object": "list",
        "data": data,
        "model": asked.get("model"),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _is_tokens(given: list[Any]) -> bool:
    return bool(given) and isinstance(given[0], int)


def _vector(item: Any, asked: Any) -> Any:
    """Eight numbers that depend on the input only, as floats or as base64 of float32."""
    digest = sha256(orjson.dumps(item)).digest()
    numbers = [byte / 255 - 0.5 for byte in digest[: _number(str(asked.get("dimensions")), 8)]]
    if asked.get("encoding_format") == "base64":
        return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
    return numbers


#: What is answered with one object of JSON, by the end of the path.
_ANSWERS: tuple[tuple[str, Callable[[Any], dict[str, Any]]], ...] = (
    ("/embeddings", _embeddings),
    ("/rerank", local_judgments.ranking),
    ("/moderations", local_judgments.moderation),
    ("/images/generations", local_media.images),
    ("/images/edits", local_media.images),
    ("/images/variations", local_media.images),
)
