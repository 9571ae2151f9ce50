"""OpenAI's chat completions (platform.openai.com/docs/api-reference/chat)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from gateway.canonical import ChatRequest, Event
from gateway.dialects.base import (
    ClientHalf,
    Destination,
    Drops,
    Json,
    StreamReader,
    StreamWatch,
    StreamWriter,
    UpstreamHalf,
    integer,
    items,
    mapping,
)
from gateway.dialects.openai import (
    CHARACTERS_PER_TOKEN,
    TOKENS_PER_IMAGE,
    OpenAIDialect,
    asking_for_usage,
    images_in,
    length_of,
    text_of,
)
from gateway.dialects.openai_chat import (
    client_answer,
    client_request,
    upstream_answer,
    upstream_request,
)
from gateway.dialects.openai_chat.client_stream import ChatWriter, LegacyChatWriter
from gateway.dialects.openai_chat.upstream_answer import ChatReader
from gateway.dialects.openai_chat.watch import ChatWatch

#: Fields of a request that the model reads, beside its messages.
_READ_TOO = ("tools", "functions", "response_format")


class OpenAIChat(OpenAIDialect, ClientHalf[ChatRequest], UpstreamHalf[ChatRequest]):
    """Chat completions."""

    name = "openai-chat"
    task = operation = "chat"

    def readdress(self, raw: bytes, body: Json, model: str) -> bytes:
        return asking_for_usage(raw, body, model)

    def is_answer(self, body: Any) -> bool:
        return isinstance(body, dict) and isinstance(body.get("choices"), list)

    def text_in(self, body: Json) -> str:
        messages = [mapping(mapping(choice).get("message")) for choice in body["choices"]]
        return "\n".join(filter(None, map(_said_in, messages)))

    def watch(self, request: Json) -> StreamWatch:
        asked = mapping(request.get("stream_options")).get("include_usage") is True
        return ChatWatch(hides_usage=not asked, choices=self.answers_asked(request))

    def read_request(self, body: Json) -> ChatRequest:
        return client_request.read_request(body)

    def write_response(self, events: Sequence[Event], request: Json) -> Json:
        return client_answer.write_response(events, request)

    def stream_writer(self, request: Json) -> StreamWriter:
        legacy = client_answer.knows_functions_only(request)
        return LegacyChatWriter(request) if legacy else ChatWriter(request)

    def write_request(self, request: ChatRequest, to: Destination, drops: Drops) -> Json:
        return upstream_request.write_request(request, to, drops)

    def read_response(self, body: Json) -> list[Event]:
        return upstream_answer.read_response(body)

    def stream_reader(self) -> StreamReader:
        return ChatReader()

    def input_text(self, body: Json) -> str:
        words = [text_of(message.get("content")) for message in body["messages"]]
        words += [orjson.dumps(given).decode() for given in _beside_words(body)]
        return "\n".join(words)

    def input_estimate(self, body: Json) -> int:
        characters = images = 0
        for message in body["messages"]:
            content = message.get("content")
            characters += length_of(text_of(content))
            images += images_in(content)
        characters += sum(len(orjson.dumps(given)) for given in _beside_words(body))
        return characters // CHARACTERS_PER_TOKEN + images * TOKENS_PER_IMAGE + 1

    def output_bound(self, body: Json) -> int:
        # Some servers know one of these, and some the other.
        bounds = map(integer, (body.get("max_completion_tokens"), body.get("max_tokens")))
        return max(bounds) * self.answers_asked(body)

    def answers_asked(self, body: Json) -> int:
        return max(integer(body.get("n")), 1)


def _beside_words(body: Json) -> Iterator[Any]:
    """What the model reads beside the words of messages."""
    yield from (message["tool_calls"] for message in body["messages"] if message.get("tool_calls"))
    yield from (body[name] for name in _READ_TOO if body.get(name))


def _said_in(message: Mapping[str, Any]) -> str:
    calls = items(message.get("tool_calls"))
    arguments = [str(mapping(mapping(call).get("function")).get("arguments")) for call in calls]
    said = [text_of(message.get("content")), str(message.get("reasoning_content") or "")]
    return "\n".join([*filter(None, said), *arguments])


openai_chat = OpenAIChat()
