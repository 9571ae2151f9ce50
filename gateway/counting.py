"""How many tokens a request is, where no provider says so."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterator
from typing import Any

import orjson

from gateway.canonical import (
    ChatRequest,
    EmbeddingsRequest,
    Media,
    Message,
    Part,
    Refusal,
    RerankRequest,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from lib import tokenizer
from lib.image_size import Size, size_of

#: Of an image whose size cannot be seen: it is somewhere else, or of a kind unknown.
USUAL_IMAGE: Size = (1024, 1024)
#: How much of an image is looked at for its size, in characters of base64.
_HEAD = 64 * 1024
#: What models put around each message, and at the end, to begin the answer.
MARKS_PER_MESSAGE = 4
MARKS_OF_ANSWER = 3
#: What stands around each tool and each call.
MARKS_PER_TOOL = 8


#: What can be counted.
Countable = ChatRequest | EmbeddingsRequest | RerankRequest


def count(request: Countable, model: str) -> int:
    """Input tokens of `request` as `model` (the upstream's name) would count them, or near it."""
    match request:
        case ChatRequest():
            return _of_conversation(request, model)
        case EmbeddingsRequest(inputs=inputs):
            texts = [given for given in inputs if isinstance(given, str)]
            tokens = sum(len(given) for given in inputs if not isinstance(given, str))
            return tokenizer.count_all(texts, model) + tokens
        case RerankRequest(query=query, documents=documents):
            # A model reads the query anew with each document.
            each = tokenizer.count(query, model)
            return each * len(documents) + tokenizer.count_all(documents, model)


def _of_conversation(request: ChatRequest, model: str) -> int:
    words = [word for message in request.messages for word in _words_of(message)]
    words += map(_json, _read_too(request))
    media = (part for message in request.messages for part in _media_of(message.parts))
    marks = MARKS_PER_MESSAGE * len(request.messages) + MARKS_PER_TOOL * len(request.tools)
    return (
        tokenizer.count_all(words, model)
        + sum(tokens_of(part, model) for part in media)
        + marks
        + MARKS_OF_ANSWER
    )


def tokens_of(media: Media, model: str) -> int:
    """Tokens of an image, by the maker's own formula; of documents and sounds by their length."""
    width, height = _size(media)
    return math.ceil(width * height / 750)


def _words_of(message: Message) -> Iterator[str]:
    if message.name:
        yield message.name
    for part in message.parts:
        yield from _words_in(part)


def _words_in(part: Part) -> Iterator[str]:
    match part:
        case Text(text=text) | Thinking(text=text) | Refusal(text=text):
            yield text
        case ToolCall(name=name, arguments=arguments):
            yield name
            yield arguments
        case ToolResult(parts=parts):
            for inner in parts:
                yield from _words_in(inner)


def _media_of(parts: list[Part]) -> Iterator[Media]:
    for part in parts:
        if isinstance(part, Media):
            yield part
        elif isinstance(part, ToolResult):
            yield from (inner for inner in part.parts if isinstance(inner, Media))


def _read_too(request: ChatRequest) -> Iterator[Any]:
    """What the model reads beside the messages."""
    for tool in request.tools:
        yield {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    if request.response_format and request.response_format.schema:
        yield request.response_format.schema


def _json(given: Any) -> str:
    return orjson.dumps(given).decode()


def _size(media: Media) -> Size:
    try:
        head = base64.b64decode(media.data[:_HEAD])
    except (binascii.Error, ValueError):
        return USUAL_IMAGE
    return size_of(head) or USUAL_IMAGE
