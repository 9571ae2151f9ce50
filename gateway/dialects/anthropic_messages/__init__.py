"""Anthropic's Messages (docs.claude.com/en/api/messages), on both sides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from gateway.canonical import ChatRequest, Event
from gateway.dialects.anthropic_messages.client_answer import MessagesWriter, write_response
from gateway.dialects.anthropic_messages.client_request import FIELD_NAMES, read_request
from gateway.dialects.anthropic_messages.upstream_answer import MessagesReader, read_response
from gateway.dialects.anthropic_messages.upstream_request import write_request
from gateway.dialects.anthropic_messages.usage import read_usage
from gateway.dialects.anthropic_messages.vocabulary import error_frame, write_error
from gateway.dialects.anthropic_messages.watch import MessagesWatch
from gateway.dialects.base import (
    ClientHalf,
    Destination,
    Drops,
    Json,
    PassThroughDialect,
    StreamReader,
    StreamWatch,
    StreamWriter,
    UpstreamHalf,
    integer,
    items,
    mapping,
)
from gateway.dialects.openai import CHARACTERS_PER_TOKEN, length_of, with_model
from lib.errors import CourierError
from lib.tokens import TokenUsage

#: Anthropic scales images down to so many tokens at most.
TOKENS_PER_IMAGE = 1600
#: Of a document, whose pages nobody has counted yet, per character of its base64.
CHARACTERS_PER_DOCUMENT_TOKEN = 24
#: Blocks may hold blocks: a tool's result an image, or a document with content of its own.
DEEPEST = 3


class AnthropicMessages(PassThroughDialect, ClientHalf[ChatRequest], UpstreamHalf[ChatRequest]):
    name = "anthropic-messages"
    task = "chat"
    operation = "messages"
    passed_headers = (b"anthropic-version", b"anthropic-beta")
    field_names = FIELD_NAMES
    keep_alive = b'event: ping\ndata: {"type": "ping"}\n\n'

    # Passing through

    def readdress(self, raw: bytes, body: Json, model: str) -> bytes:
        return with_model(raw, body, model)

    def is_answer(self, body: Any) -> bool:
        return isinstance(body, dict) and isinstance(body.get("content"), list)

    def usage_in(self, body: Json) -> TokenUsage | None:
        return read_usage(body.get("usage"))

    def text_in(self, body: Json) -> str:
        return "\n".join(_words_in(body["content"]))

    def watch(self, request: Json) -> StreamWatch:
        return MessagesWatch()

    # Clients

    def write_error(self, error: CourierError, request_id: str) -> bytes:
        return write_error(error, request_id)

    def error_frame(self, error: CourierError, request_id: str) -> bytes:
        return error_frame(error, request_id)

    def input_text(self, body: Json) -> str:
        contents = [body.get("system"), *(message.get("content") for message in body["messages"])]
        words = [word for content in contents for word in _words_in(content)]
        tools = body.get("tools")
        return "\n".join([*words, *([orjson.dumps(tools).decode()] if tools else [])])

    def input_estimate(self, body: Json) -> int:
        contents = [body.get("system"), *(message.get("content") for message in body["messages"])]
        characters = length_of(self.input_text(body))
        return characters // CHARACTERS_PER_TOKEN + sum(map(_media_tokens, contents)) + 1

    def output_bound(self, body: Json) -> int:
        return integer(body.get("max_tokens"))

    def read_request(self, body: Json) -> ChatRequest:
        return read_request(body)

    def write_response(self, events: Sequence[Event], request: Json) -> Json:
        return write_response(events, request)

    def stream_writer(self, request: Json) -> StreamWriter:
        return MessagesWriter(request)

    # Vendors

    def write_request(self, request: ChatRequest, to: Destination, drops: Drops) -> Json:
        return write_request(request, to, drops)

    def read_response(self, body: Json) -> list[Event]:
        return read_response(body)

    def stream_reader(self) -> StreamReader:
        return MessagesReader()


def _words_in(content: Any, depth: int = 0) -> Iterator[str]:
    """The words of a content, a request's or an answer's: a string, or blocks."""
    if isinstance(content, str):
        yield content
        return
    for block in map(mapping, items(content)):
        for name in ("text", "thinking", "name"):
            if isinstance(block.get(name), str):
                yield block[name]
        if block.get("type") == "tool_use":
            yield orjson.dumps(block.get("input")).decode()
        source = mapping(block.get("source"))
        if source.get("type") == "text" and isinstance(source.get("data"), str):
            yield source["data"]
        if depth < DEEPEST:
            yield from _words_in(block.get("content"), depth + 1)


def _media_tokens(content: Any, depth: int = 0) -> int:
    """A guess at the tokens of images and documents in a content."""
    tokens = 0
    for block in map(mapping, items(content)):
        if block.get("type") == "image":
            tokens += TOKENS_PER_IMAGE
        elif block.get("type") == "document":
            tokens += _document_tokens(mapping(block.get("source")))
        if depth < DEEPEST:
            tokens += _media_tokens(block.get("content"), depth + 1)
    return tokens


def _document_tokens(source: Mapping[str, Any]) -> int:
    data = source.get("data")
    if source.get("type") != "base64" or not isinstance(data, str):
        return 0
    return len(data) // CHARACTERS_PER_DOCUMENT_TOKEN


anthropic_messages = AnthropicMessages()
