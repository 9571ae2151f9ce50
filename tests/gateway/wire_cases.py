"""Answers as vendors sent them, each beside what it says. Formats join in by having a folder."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from gateway import canonical
from gateway.attempt import WholeFrames
from gateway.dialects.base import PassThroughDialect, UpstreamHalf
from gateway.dialects.generic import GenericChat
from gateway.kinds import provider_of
from lib.tokens import TokenUsage
from registry.generic import examples, options_from
from registry.kinds import PROVIDER_KINDS
from registry.pricing import price_of
from tests.gateway.targets import make_target
from tests.gateway.usages import price_row
from tests.gateway.validators import Answer

WIRE = Path(__file__).parent / "wire"
#: Every format that some kind of provider speaks.
UPSTREAM = {dialect.name: dialect for kind in PROVIDER_KINDS for dialect in provider_of(kind).paths}
#: Formats that are described by options: those of the examples that the admin offers.
UPSTREAM |= {
    f"generic-{example.name}": GenericChat(options_from(example.options)) for example in examples()
}
#: Dollars per million tokens, and per image and search: a class counted as another shows.
PRICE = price_of(
    price_row(
        {
            "input": "11",
            "cached_input": "2",
            "cache_write": "13",
            "cache_write_1h": "17",
            "audio_input": "19",
            "output": "31",
            "reasoning": "37",
            "audio_output": "41",
            "image": "0.043",
            "search_unit": "0.047",
        }
    )
)
#: A client's request that asks for all that a stream can tell, whatever its format.
REQUEST = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "Hi"}],
    "input": "Hi",
    "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
    "prompt": "Hi",
    "stream": True,
    "stream_options": {"include_usage": True},
}


@dataclass(frozen=True)
class Case:
    """One answer. `facts` are what it says; what they do not name is not checked."""

    dialect: object
    folder: str
    name: str
    content: bytes
    facts: dict
    streams: bool

    def __str__(self):
        return f"{self.folder}/{self.name}"

    @property
    def fails(self):
        return bool(self.facts.get("failure"))

    @property
    def is_complete(self):
        return self.facts.get("complete", not self.fails)

    @property
    def translates(self):
        return isinstance(self.dialect, UpstreamHalf)

    @property
    def passes(self):
        return isinstance(self.dialect, PassThroughDialect)

    def expected(self, *names):
        """Those of the facts `names` that this case states."""
        return {name: self.facts[name] for name in names if name in self.facts}


class Replay:
    """The network's part of an answer, in pieces."""

    def __init__(self, pieces):
        self._pieces = iter(pieces)

    async def __anext__(self):
        try:
            return next(self._pieces)
        except StopIteration:
            raise StopAsyncIteration from None


async def runs_of(case, pieces):
    """The runs of whole frames that the gateway makes of these pieces."""
    frames = WholeFrames(Replay(pieces), make_target(), case.dialect.framing())
    return tuple([run async for run in frames])


def all_cases():
    return [
        _case(told) for told in sorted(WIRE.glob("*/*.facts.json")) if told.parent.name in UPSTREAM
    ]


def _case(told):
    stem = told.name.removesuffix(".facts.json")
    (path,) = (path for path in told.parent.glob(f"{stem}.*") if path != told)
    return Case(
        UPSTREAM[told.parent.name],
        told.parent.name,
        stem,
        path.read_bytes(),
        json.loads(told.read_text()),
        streams=path.suffix != ".json",
    )


def gathered(events):
    """What these events say of the first answer."""
    answer = Answer()
    calls = {}
    for event in events:
        if getattr(event, "choice", 0) == 0:
            _gather(event, answer, calls)
    answer.tool_calls = [
        {**call, "arguments": json.loads(call["arguments"] or "{}")} for call in calls.values()
    ]
    return answer


def _gather(event, answer, calls):
    match event:
        case canonical.TextDelta(text=text) | canonical.RefusalDelta(text=text):
            answer.text += text
        case canonical.ThinkingDelta(text=text):
            answer.thinking += text
        case canonical.ToolCallStarted():
            assert event.index not in calls, "a call begins twice"
            calls[event.index] = {"id": event.id, "name": event.name, "arguments": ""}
        case canonical.ToolCallDelta():
            calls[event.index]["arguments"] += event.arguments
        case canonical.Finished(reason=reason):
            assert not answer.finish, "an answer finishes twice"
            answer.finish = reason
        case canonical.UsageReported(usage=usage):
            answer.usage = told_usage(usage)
        case canonical.Ended():
            answer.complete = True


def told_usage(usage):
    """The classes of a usage that are not zero."""
    return {name: count for name, count in asdict(usage).items() if count}


def cost_of(usage):
    return PRICE.cost_nano(TokenUsage(**usage))


def facts_of(answer):
    """An answer in the words of a case's facts."""
    return {
        "text": answer.text,
        "thinking": answer.thinking,
        "tool_calls": answer.tool_calls,
        "finish": answer.finish,
        "usage": answer.usage,
        "cost_nano": cost_of(answer.usage),
    }


def like(found, expected):
    """Of the calls that were found, what the facts name."""
    names = [set(call) for call in expected]
    return [
        {name: value for name, value in call.items() if name in named}
        for call, named in zip(found, names, strict=True)
    ]
