"""OpenAI's completions of a prompt, the format before chat.

After platform.openai.com/docs/api-reference/completions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from gateway.canonical import ChatRequest, Event, Message, Text
from gateway.dialects import openai_fields as fields
from gateway.dialects import seen_words
from gateway.dialects.base import (
    ClientHalf,
    Json,
    StreamWatch,
    StreamWriter,
    integer,
    mapping,
)
from gateway.dialects.openai import (
    CHARACTERS_PER_TOKEN,
    OpenAIDialect,
    asking_for_usage,
    length_of,
)
from gateway.dialects.openai_chat.client_request import read_sampling, unread
from gateway.dialects.openai_chat.watch import ChatWatch
from gateway.dialects.openai_completions_answer import CompletionWriter, write_response
from gateway.errors import BadRequest

#: OpenAI's models that go on with a prompt; models made of them have theirs in their names.
_COMPLETES = re.compile(r"(^|:)(davinci-002|babbage-002|gpt-3\.5-turbo-instruct)")
READ = frozenset({
    "model", "prompt", "stream", "stream_options", "max_tokens", "temperature", "top_p", "top_k",
    "stop", "seed", "presence_penalty", "frequency_penalty", "n", "logprobs", "logit_bias", "echo",
    "user", "best_of",
})  # fmt: skip


def completes(model: str) -> bool:
    """Whether a model of OpenAI's goes on with a prompt."""
    return bool(_COMPLETES.search(model))


class CompletionWatch(ChatWatch):
    """Looks at one stream of completion chunks."""

    __slots__ = ()
    words = seen_words.fields(b"text")

    def ended(self, index: int, reason: str) -> Json:
        return {"index": index, "text": "", "logprobs": None, "finish_reason": reason}


class OpenAICompletions(OpenAIDialect, ClientHalf[ChatRequest]):
    """Completions. Vendors without them are asked to talk instead."""

    name = "openai-completions"
    task = "chat"
    operation = "completions"

    def readdress(self, raw: bytes, body: Json, model: str) -> bytes:
        return asking_for_usage(raw, body, model)

    def is_answer(self, body: Any) -> bool:
        return isinstance(body, dict) and isinstance(body.get("choices"), list)

    def text_in(self, body: Json) -> str:
        said = (mapping(choice).get("text") for choice in body["choices"])
        return "\n".join(text for text in said if isinstance(text, str))

    def watch(self, request: Json) -> StreamWatch:
        asked = mapping(request.get("stream_options")).get("include_usage") is True
        return CompletionWatch(hides_usage=not asked, choices=self.answers_asked(request))

    def read_request(self, body: Json) -> ChatRequest:
        prompt = the_prompt(body)
        request = ChatRequest([Message("user", [Text(prompt)])], stream=bool(body.get("stream")))
        read_sampling(body, request)
        request.user = fields.text(body, "user")
        if body.get("logprobs") is not None:
            request.logprobs = True
            request.top_logprobs = fields.whole(body, "logprobs")
        request.unknown = unread(body, READ)
        if (fields.whole(body, "best_of") or 1) > request.n:
            request.unknown.append("best_of")
        return request

    def write_response(self, events: Sequence[Event], request: Json) -> Json:
        return write_response(events, request, the_prompt(request))

    def stream_writer(self, request: Json) -> StreamWriter:
        return CompletionWriter(request, the_prompt(request))

    def input_text(self, body: Json) -> str:
        return "\n".join(text for text in prompts(body) if isinstance(text, str))

    def input_estimate(self, body: Json) -> int:
        words = length_of(self.input_text(body)) // CHARACTERS_PER_TOKEN
        return words + sum(map(tokens_in, prompts(body))) + 1

    def output_bound(self, body: Json) -> int:
        return integer(body.get("max_tokens")) * self.answers_asked(body)

    def answers_asked(self, body: Json) -> int:
        each = max(integer(body.get("n")), integer(body.get("best_of")), 1)
        return each * max(len(prompts(body)), 1)


def prompts(body: Json) -> Sequence[Any]:
    """Each prompt: a text, or a list of tokens."""
    given = body["prompt"]
    if isinstance(given, str) or (given and isinstance(given[0], int)):
        return [given]
    return list(given)


def tokens_in(prompt: Any) -> int:
    """How many tokens the client counted out itself."""
    return len(prompt) if isinstance(prompt, list) else 0


def the_prompt(body: Json) -> str:
    """The one prompt, in words, that a model can be told. Raises BadRequest."""
    given = prompts(body)
    if len(given) != 1:
        raise BadRequest(
            "The provider of this model takes one prompt at a time. Send one request for each.",
            param="prompt",
        )
    if not isinstance(given[0], str):
        raise BadRequest(
            "The provider of this model takes no tokens. Send the prompt as text.", param="prompt"
        )
    return given[0]


openai_completions = OpenAICompletions()
