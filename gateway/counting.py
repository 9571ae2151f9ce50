"""How many tokens a request is, where no provider says so."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from gateway import tool_text
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
from gateway.media_tokens import tokens_of, words_in
from lib import tokenizer
from lib.vocabularies import Vocabulary, vocabulary_of

#: What stands around each call of a tool, and each result.
MARKS_PER_CALL = 4

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
    vocabulary = vocabulary_of(model)
    parts = [part for message in request.messages for part in message.parts]
    words = [word for part in parts for word in _words_of(part)]
    words += [message.name for message in request.messages if message.name]
    words += _read_too(request, vocabulary)
    return (
        tokenizer.count_all(words, model)
        + sum(tokens_of(media, vocabulary) for media in _media_in(parts))
        + _marks(request, parts, vocabulary)
    )


def _marks(request: ChatRequest, parts: list[Part], vocabulary: Vocabulary) -> int:
    """Tokens that no client sees: around messages, calls and tools."""
    messages = sum(_is_marked(message, vocabulary) for message in request.messages)
    names = sum(bool(message.name) for message in request.messages)
    calls = sum(isinstance(part, ToolCall | ToolResult) for part in parts)
    return (
        vocabulary.per_conversation
        + messages * vocabulary.per_message
        + names
        + calls * MARKS_PER_CALL
        + (_marks_of_tools(request, vocabulary) if request.tools else 0)
    )


def _is_marked(message: Message, vocabulary: Vocabulary) -> bool:
    return message.role != "system" or vocabulary.marks_instructions


def _marks_of_tools(request: ChatRequest, vocabulary: Vocabulary) -> int:
    """Where there are instructions, types stand in their message instead of in one of their own."""
    joins = vocabulary.types_tools and any(each.role == "system" for each in request.messages)
    return vocabulary.before_tools - (vocabulary.per_message if joins else 0)


def _words_of(part: Part) -> Iterator[str]:
    match part:
        case Text(text=text) | Thinking(text=text) | Refusal(text=text):
            yield text
        case ToolCall(name=name, arguments=arguments):
            yield name
            yield arguments
        case ToolResult(parts=parts):
            for inner in parts:
                yield from _words_of(inner)
        case Media():
            yield words_in(part)


def _media_in(parts: list[Part]) -> Iterator[Media]:
    for part in parts:
        if isinstance(part, Media):
            yield part
        elif isinstance(part, ToolResult):
            yield from (inner for inner in part.parts if isinstance(inner, Media))


def _read_too(request: ChatRequest, vocabulary: Vocabulary) -> Iterator[str]:
    """What the model reads beside the messages."""
    if request.tools:
        written = tool_text.as_types if vocabulary.types_tools else tool_text.as_json
        yield written(request.tools)
    if request.response_format and request.response_format.schema:
        yield orjson.dumps(request.response_format.schema).decode()
