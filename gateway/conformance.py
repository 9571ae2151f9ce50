"""The conformance suite: what each trait is found out by.

Each check asks a target in OpenAI's format, through the code that serves clients, and either
returns a sentence on what it saw, or raises what is missing.
"""

from __future__ import annotations

import asyncio
import base64
import math
import struct
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway import errors
from gateway.dialects.base import integer, items, mapping
from gateway.errors import UpstreamError
from gateway.trial import NotThere, NotTried, Trial, words_on
from lib.tokens import TokenUsage
from registry.models import CertifiedTrait

Verdict = CertifiedTrait.Verdict

#: Seconds that one check may take.
LONGEST_S = 240.0
#: Seconds that closing a connection may take.
CLOSE_WITHIN_S = 5.0
#: Requests that are sent to meet a rate limit, and how many of them at once.
PROVOKING, AT_ONCE = 60, 12
LONG = "Write the numbers from 1 to 300 as words, each on a line of its own. Do not stop early."
CITIES = "What is the weather in {}? Use the tool."
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "inhabitants": {"type": "integer"},
        "is_capital": {"type": "boolean"},
    },
    "required": ["city", "inhabitants", "is_capital"],
    "additionalProperties": False,
}
NO_SUCH_MODEL = "courier-certification-no-such-model"


#: Failures that say nothing about a trait: a provider that is busy or out of reach may have it.
PASSING = (
    errors.UpstreamRateLimited,
    errors.UpstreamUnreachable,
    errors.UpstreamTlsFailed,
    errors.UpstreamAuthFailed,
    errors.UpstreamConnectTimeout,
)
#: Nor do these, of one that has answered nothing at all.
AWAY = (*PASSING, errors.UpstreamUnavailable, errors.UpstreamTimeout)


@dataclass(slots=True)
class Finding:
    """What came of one check."""

    verdict: Verdict
    detail: str
    usage: TokenUsage = field(default_factory=TokenUsage)
    elapsed_ms: int = 0


@dataclass(frozen=True, slots=True)
class Check:
    """How a trait is looked at, and the most that this uses."""

    look: Callable[[Trial], Awaitable[str]]
    input_tokens: int
    output_tokens: int


async def find_out(trait: str, trial: Trial, *, provokes: bool = False) -> Finding:
    """Look at one trait. Whatever happens is a finding."""
    now = asyncio.get_running_loop().time
    began_at = now()
    trial.begin_anew()
    look = _provoke if trait == "retry_after" and provokes else CHECKS[trait].look
    try:
        async with asyncio.timeout(LONGEST_S):
            found = Finding(Verdict.PASSED, await look(trial))
    except NotTried as error:
        found = Finding(Verdict.SKIPPED, str(error))
    except (NotThere, errors.BadRequest) as error:
        found = Finding(Verdict.FAILED, str(error))
    except UpstreamError as error:
        says_nothing = isinstance(error, PASSING if trial.has_answered else AWAY)
        found = Finding(Verdict.SKIPPED if says_nothing else Verdict.FAILED, words_on(error))
    except TimeoutError:
        found = Finding(Verdict.FAILED, f"It took longer than {LONGEST_S:g} seconds.")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        found = Finding(Verdict.FAILED, "The answer is not of the form that it has to have.")
    found.usage, found.elapsed_ms = trial.usage, round((now() - began_at) * 1000)
    return found


async def _usage(trial: Trial) -> str:
    told = await trial.chat("Say hello.", 64)
    return _counted(told.usage)


async def _stream_usage(trial: Trial) -> str:
    heard = await trial.heard("Say hello.", 64)
    return _counted(heard.usage)


def _counted(usage: TokenUsage | None) -> str:
    if usage is None or not usage.input_tokens:
        raise NotThere("No usage is reported, so that Courier has to count for itself.")
    return f"{usage.input_tokens} input and {usage.output_tokens} output tokens were reported."


async def _tools(trial: Trial) -> str:
    told = await trial.chat(CITIES.format("Paris"), 512, tools=[TOOL])
    calls = _message(told.body).get("tool_calls")
    return _called([_call(mapping(call).get("function")) for call in items(calls)], 1)


async def _parallel_tools(trial: Trial) -> str:
    said = CITIES.format("Paris, and in Rome") + " Call it for both cities at once."
    told = await trial.chat(said, 512, tools=[TOOL])
    calls = _message(told.body).get("tool_calls")
    return _called([_call(mapping(call).get("function")) for call in items(calls)], 2)


async def _stream_tools(trial: Trial) -> str:
    heard = await trial.heard(CITIES.format("Paris"), 512, tools=[TOOL])
    calls: dict[int, dict[str, str]] = {}
    for delta in _deltas(heard.chunks):
        for piece in items(delta.get("tool_calls")):
            call = calls.setdefault(integer(piece.get("index")), {"name": "", "arguments": ""})
            for name, so_far in call.items():
                call[name] = so_far + (mapping(piece.get("function")).get(name) or "")
    return _called([_call(call) for call in calls.values()], 1)


def _call(function: Any) -> str:
    """The city that a call is about."""
    function = mapping(function)
    if function.get("name") != "get_weather":
        raise NotThere("It called a tool that was not offered.")
    try:
        city = mapping(orjson.loads(function.get("arguments") or "")).get("city")
    except orjson.JSONDecodeError:
        raise NotThere("The arguments of its call are not JSON.") from None
    if not isinstance(city, str):
        raise NotThere("Its call lacks the argument that it has to have.")
    return city


def _called(cities: Sequence[str], least: int) -> str:
    if len(cities) < least:
        raise NotThere(f"It called {len(cities) or 'no'} tool where it was asked for {least}.")
    return f"{len(cities)} call{'s' if len(cities) > 1 else ''}, with arguments as described."


async def _json_schema(trial: Trial) -> str:
    asked = {"name": "city", "schema": SCHEMA, "strict": True}
    form = {"type": "json_schema", "json_schema": asked}
    told = await trial.chat("Tell me about Paris, in JSON.", 512, response_format=form)
    try:
        answer = orjson.loads(_text(told.body))
    except orjson.JSONDecodeError:
        raise NotThere("Its answer is not JSON.") from None
    kinds = {name: type(value) for name, value in mapping(answer).items()}
    if kinds != {"city": str, "inhabitants": int, "is_capital": bool}:
        raise NotThere("Its answer is JSON, but does not keep to the schema.")
    return "The answer keeps to the schema."


async def _vision(trial: Trial) -> str:
    parts = [
        {"type": "text", "text": "What color fills this image? Answer with one word."},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{red_square()}"}},
    ]
    told = await trial.chat(parts, 256)
    if "red" not in _text(told.body).lower():
        raise NotThere("It was shown a red square, and did not name its color.")
    return "It named the color of a red square."


async def _reasoning(trial: Trial) -> str:
    said = "How many prime numbers are there below 30? Think first."
    told = await trial.chat(said, 1024, reasoning_effort="low")
    message = _message(told.body)
    thought = told.usage.reasoning_tokens if told.usage else 0
    if thought:
        return f"{thought} reasoning tokens were reported."
    if message.get("reasoning_content") or message.get("reasoning"):
        return "Its thoughts were shown; their tokens are not told apart."
    raise NotThere("Neither thoughts nor reasoning tokens came back.")


async def _logprobs(trial: Trial) -> str:
    told = await trial.chat("Say hello.", 64, logprobs=True, top_logprobs=2)
    tokens = items(mapping(_choice(told.body).get("logprobs")).get("content"))
    if not tokens or not isinstance(mapping(tokens[0]).get("logprob"), int | float):
        raise NotThere("No probabilities came back.")
    return f"The probabilities of {len(tokens)} tokens came back."


async def _stop(trial: Trial) -> str:
    said = "Count from 1 to 9 in digits, with spaces between, and say nothing else."
    told = await trial.chat(said, 256, stop=["5"])
    text = _text(told.body)
    if "4" not in text:
        raise NotTried("It did not count, so that nothing could be stopped.")
    if "5" in text or "6" in text:
        raise NotThere("It went on after the stop sequence.")
    return "It stopped at the stop sequence."


async def _output_bound(trial: Trial) -> str:
    told = await trial.chat(LONG, 16)
    reason, usage = _choice(told.body).get("finish_reason"), told.usage
    if usage and usage.output_tokens > 16:
        raise NotThere(f"It wrote {usage.output_tokens} tokens where 16 were allowed.")
    if reason != "length":
        raise NotThere("It was cut off, and did not say so.")
    return "It kept to the bound, and said so."


async def _error_shape(trial: Trial) -> str:
    attempts = (
        trial.at_another(NO_SUCH_MODEL, "Say hello."),
        trial.chat("Say hello.", 16, temperature=99),
    )
    try:
        for each in attempts:
            try:
                await each
            except (errors.UpstreamModelMissing, errors.UpstreamRejected) as error:
                status = 404 if isinstance(error, errors.UpstreamModelMissing) else error.status
                return f"A bad request was refused with status {status}."
    finally:
        for each in attempts:
            each.close()
    raise NotThere("It answered for a model that there is not, and at a temperature of 99.")


async def _cancel(trial: Trial) -> str:
    now = asyncio.get_running_loop().time
    async with trial.stream(LONG, 512) as stream:
        if stream.watch.is_complete:
            raise NotTried("The whole answer was there at once: there was nothing to cancel.")
        began_at = now()
        try:
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await stream.close()
        except TimeoutError:
            raise NotThere(f"The connection was not closed in {CLOSE_WITHIN_S:g} s.") from None
    return (
        f"The connection was closed {(now() - began_at) * 1000:.0f} ms after it was wanted. "
        "Whether the provider stops working, and charging, cannot be seen from here."
    )


async def _silence(trial: Trial) -> str:
    heard = await trial.heard(LONG, 512)
    target = trial.target
    return (
        f"First output after {heard.first_s:.1f} s, then pauses of {heard.longest_pause_s:.1f} s "
        f"at most; allowed are {target.first_byte_timeout_s:g} s and {target.idle_timeout_s:g} s."
    )


async def _retry_after(trial: Trial) -> str:
    if not trial.rate_limits:
        raise NotTried("No rate limit was met, and it is provoked only by consent.")
    return _told_when(trial.rate_limits[0])


async def _provoke(trial: Trial) -> str:
    """Ask until a rate limit is met."""
    for _ in range(PROVOKING // AT_ONCE):
        if trial.rate_limits:
            break
        every = [trial.once("Say hello.") for _ in range(AT_ONCE)]
        ended = await asyncio.gather(*every, return_exceptions=True)
        trial.rate_limits += [e for e in ended if isinstance(e, errors.UpstreamRateLimited)]
    if not trial.rate_limits:
        raise NotTried(f"{PROVOKING} requests, {AT_ONCE} at once, met no rate limit.")
    return _told_when(trial.rate_limits[0])


def _told_when(refusal: UpstreamError) -> str:
    if refusal.retry_after is None:
        raise NotThere("A rate limit was met, and nothing said when to come back.")
    return f"A rate limit was met, and said to come back in {refusal.retry_after:g} s."


async def _embeddings(trial: Trial) -> str:
    told = await trial.embeddings("Hello.")
    (vector,) = _vectors(told.body)
    if told.usage is None:
        raise NotThere("No usage is reported, so that Courier has to count for itself.")
    return f"A vector of {len(vector)} numbers, for {told.usage.input_tokens} input tokens."


async def _embeddings_order(trial: Trial) -> str:
    told = await trial.embeddings(["A red apple.", "The tax law of 1911.", "A red apple."])
    first, second, third = _vectors(told.body)
    if _likeness(first, third) < 0.99 or _likeness(first, second) >= _likeness(first, third):
        raise NotThere("Vectors do not come back in the order of their texts.")
    return "Vectors come back in the order of their texts."


def _vectors(body: Any) -> list[list[float]]:
    return [item["embedding"] for item in body["data"]]


def _likeness(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of the angle between two vectors."""
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / (math.hypot(*one) * math.hypot(*other) or 1.0)


def _choice(body: Any) -> Any:
    return mapping(body["choices"][0])


def _message(body: Any) -> Any:
    return mapping(_choice(body).get("message"))


def _text(body: Any) -> str:
    content = _message(body).get("content")
    return content if isinstance(content, str) else ""


def _deltas(chunks: Sequence[Any]) -> list[Any]:
    return [
        mapping(mapping(choice).get("delta"))
        for chunk in chunks
        for choice in items(mapping(chunk).get("choices"))
    ]


def red_square(side: int = 64) -> str:
    """A PNG image, in base64."""
    rows = (b"\x00" + b"\xff\x00\x00" * side) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pieces = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    image = b"\x89PNG\r\n\x1a\n" + b"".join(_piece(*each) for each in pieces)
    return base64.b64encode(image).decode()


def _piece(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


CHECKS = {
    "usage": Check(_usage, 20, 64),
    "stream_usage": Check(_stream_usage, 20, 64),
    "tools": Check(_tools, 120, 512),
    "stream_tools": Check(_stream_tools, 120, 512),
    "parallel_tools": Check(_parallel_tools, 130, 512),
    "json_schema": Check(_json_schema, 120, 512),
    "vision": Check(_vision, 400, 256),
    "reasoning": Check(_reasoning, 40, 1024),
    "logprobs": Check(_logprobs, 20, 64),
    "stop": Check(_stop, 40, 256),
    "output_bound": Check(_output_bound, 40, 16),
    "error_shape": Check(_error_shape, 40, 32),
    "cancel": Check(_cancel, 40, 512),
    "silence": Check(_silence, 40, 512),
    "retry_after": Check(_retry_after, 0, 0),
    "embeddings": Check(_embeddings, 10, 0),
    "embeddings_order": Check(_embeddings_order, 30, 0),
}
#: The one after which the others make sense only if it was answered.
FIRST = ("usage", "embeddings")
#: What provoking a rate limit uses more.
PROVOKED = Check(_provoke, PROVOKING * 20, PROVOKING)
