"""OpenAI's Responses (platform.openai.com/docs/api-reference/responses)."""

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
    images_in,
    length_of,
)
from gateway.dialects.openai_responses.client_answer import ResponseWriter, write_response
from gateway.dialects.openai_responses.client_request import FIELD_NAMES, read_request, state_asked
from gateway.dialects.openai_responses.events import Events, failure_of, read_usage, texts, words_of
from gateway.dialects.openai_responses.upstream_answer import ResponseReader, read_response
from gateway.dialects.openai_responses.upstream_request import write_request
from gateway.dialects.openai_responses.watch import ResponsesWatch
from lib.errors import CourierError
from lib.tokens import TokenUsage

#: Fields of a request that the model reads, beside its input.
_READ_TOO = ("tools", "text")


class OpenAIResponses(OpenAIDialect, ClientHalf[ChatRequest], UpstreamHalf[ChatRequest]):
    """Responses. Courier itself keeps none of them."""

    name = "openai-responses"
    task = "chat"
    operation = "responses"
    field_names = FIELD_NAMES

    def error_frame(self, error: CourierError, request_id: str) -> bytes:
        response = {"id": "", "object": "response", "created_at": 0, "model": "", "output": []}
        told = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
        return Events().failed({**response, **told}, error, request_id)

    def state_asked(self, body: Json) -> str:
        return state_asked(body)

    def is_answer(self, body: Any) -> bool:
        return isinstance(body, dict) and isinstance(body.get("output"), list)

    def failure_in(self, body: Any) -> Json | None:
        return failure_of(body)

    def usage_in(self, body: Json) -> TokenUsage | None:
        return read_usage(body)

    def text_in(self, body: Json) -> str:
        return "\n".join(words_of(body["output"]))

    def watch(self, request: Json) -> StreamWatch:
        return ResponsesWatch()

    def input_text(self, body: Json) -> str:
        beside = [orjson.dumps(given).decode() for given in _beside_words(body)]
        return "\n".join([*_input_words(body), *beside])

    def input_estimate(self, body: Json) -> int:
        characters = sum(map(length_of, _input_words(body)))
        characters += sum(len(orjson.dumps(given)) for given in _beside_words(body))
        given = map(mapping, items(body.get("input")))
        images = sum(images_in(item.get("content") or item.get("output")) for item in given)
        return characters // CHARACTERS_PER_TOKEN + images * TOKENS_PER_IMAGE + 1

    def output_bound(self, body: Json) -> int:
        return integer(body.get("max_output_tokens"))

    def read_request(self, body: Json) -> ChatRequest:
        return read_request(body)

    def write_response(self, events: Sequence[Event], request: Json) -> Json:
        return write_response(events, request)

    def stream_writer(self, request: Json) -> StreamWriter:
        return ResponseWriter(request)

    def write_request(self, request: ChatRequest, to: Destination, drops: Drops) -> Json:
        return write_request(request, to, drops)

    def read_response(self, body: Json) -> list[Event]:
        return read_response(body)

    def stream_reader(self) -> StreamReader:
        return ResponseReader()


def _input_words(body: Json) -> Iterator[str]:
    yield from texts(body.get("instructions"))
    given = body.get("input")
    if isinstance(given, str):
        yield given
    yield from words_of(given)


def _beside_words(body: Mapping[str, Any]) -> Iterator[Any]:
    yield from (body[name] for name in _READ_TOO if body.get(name))


openai_responses = OpenAIResponses()
