"""What would become of a request: judged by the code that serves it, and nobody is called.

Nothing is held or counted, and nothing is written down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from typing import Any
from uuid import UUID

import orjson
from asgiref.sync import sync_to_async

from accounts import budgets
from accounts.errors import InvalidApiKey
from accounts.models import ApiKey
from accounts.principals import principal_of
from gateway import decision
from gateway.api import (
    audio,
    chat,
    completions,
    embeddings,
    generate_content,
    images,
    messages,
    moderations,
    rerank,
    responses,
)
from gateway.decision import Told
from gateway.dialects.base import Json
from gateway.front_door import GatewayRequest, caller_of
from gateway.judgment import Foresight, Judgment
from gateway.question import Question
from gateway.refusal import refusal
from gateway.reply import Reply
from lib.errors import CourierError
from lib.ids import lowest_at, uuid7
from registry import snapshot
from usage import budget_keeper

#: Words of this many characters are estimated to be one token; see the dialects.
CHARACTERS = 4
MOST_TOKENS = 2_000_000
#: Those that are asked for a stream in the body.
STREAMED = ("chat", "messages", "responses", "completions")
_ID_BITS = (1 << 62) - 1

Body = Callable[[str, int, int], Json]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One that can be asked what would become of a request."""

    label: str
    path: str
    read: Callable[[GatewayRequest], Question]
    #: A body for a model that asks so many tokens, and allows so many.
    body: Body


@dataclass(frozen=True, slots=True)
class Imagined:
    """A request that nobody has made."""

    key: ApiKey
    endpoint: str
    model: str = ""
    #: What is asked; None: as many tokens as are told.
    body: bytes | None = None
    input_tokens: int = 100
    output_tokens: int = 0
    streams: bool = False
    tags: str = ""
    session: str = ""
    #: When it comes. Counters are those of now all the same.
    moment: datetime | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client would be told: only of a refusal."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What would become of a request."""

    told: Told
    #: Whose request it is, as far as anybody could tell.
    judgment: Judgment | None = None
    refusal: Answer | None = None
    error: CourierError | None = field(default=None, repr=False)


async def foresee(imagined: Imagined) -> Foreseen:
    """What would become of this request now."""
    if not snapshot.is_loaded():
        await sync_to_async(snapshot.refresh)()
    if not budgets.can_be_made_known():
        # This process serves nothing, so nobody has begun to look after budgets in it.
        budget_keeper.start()
    principal = await sync_to_async(principal_of)(imagined.key)
    request = _request(imagined)
    judgment = None
    try:
        if principal is None:
            raise InvalidApiKey
        question = ENDPOINTS[imagined.endpoint].read(request)
        judgment = Foresight(request.caller, principal, question)
        judgment.choose()
        await judgment.admit()
        await judgment.order()
    except CourierError as error:
        return _refused(request, judgment, error)
    return Foreseen(decision.told(judgment), judgment)


def _refused(request: GatewayRequest, judgment: Judgment | None, error: CourierError) -> Foreseen:
    written = refusal(error, request.path, request.caller)
    answer = Answer(written.status_code, dict(written.headers), written.content)
    return Foreseen(decision.refused(judgment, error), judgment, answer, error)


def _request(imagined: Imagined) -> GatewayRequest:
    """As the front door makes it of what comes in."""
    endpoint = ENDPOINTS[imagined.endpoint]
    headers = [
        (name, value.encode("utf-8", "replace"))
        for name, value in (
            (b"x-courier-tags", imagined.tags),
            (b"x-courier-session", imagined.session),
        )
    ]
    scope: MutableMapping[str, Any] = {
        "method": "POST",
        # As servers give it: with no escapes.
        "path": endpoint.path.format(model=imagined.model),
        "headers": headers,
    }
    request = GatewayRequest(scope, BytesIO())
    reply = Reply(_send_nothing, [])
    request.caller = caller_of(_id_at(imagined.moment), headers, reply, reply.written_at)
    request.raw = imagined.body if imagined.body is not None else _body_of(imagined)
    return request


async def _send_nothing(message: MutableMapping[str, Any]) -> None:
    """There is nobody who would hear it."""


def _id_at(moment: datetime | None) -> UUID:
    if moment is None:
        return uuid7()
    return UUID(int=lowest_at(moment).int | 0x7 << 76 | uuid7().int & _ID_BITS | 0x2 << 62)


def _body_of(imagined: Imagined) -> bytes:
    make = ENDPOINTS[imagined.endpoint].body
    body = make(imagined.model, min(imagined.input_tokens, MOST_TOKENS), imagined.output_tokens)
    if imagined.streams and imagined.endpoint in STREAMED:
        body["stream"] = True
    return orjson.dumps(body)


def _words(tokens: int) -> str:
    """Text that is estimated at so many tokens."""
    return "x" * (max(tokens - 1, 1) * CHARACTERS)


def _bounded(body: Json, name: str, most: int) -> Json:
    return {**body, name: most} if most else body


def _said(tokens: int) -> list[Json]:
    return [{"role": "user", "content": _words(tokens)}]


def _chat(model: str, asked: int, most: int) -> Json:
    return _bounded({"model": model, "messages": _said(asked)}, "max_tokens", most)


def _messages(model: str, asked: int, most: int) -> Json:
    return {"model": model, "messages": _said(asked), "max_tokens": most or 1}


def _responses(model: str, asked: int, most: int) -> Json:
    return _bounded({"model": model, "input": _words(asked)}, "max_output_tokens", most)


def _completion(model: str, asked: int, most: int) -> Json:
    return _bounded({"model": model, "prompt": _words(asked)}, "max_tokens", most)


def _generation(model: str, asked: int, most: int) -> Json:
    body = {"contents": [{"role": "user", "parts": [{"text": _words(asked)}]}]}
    return {**body, "generationConfig": {"maxOutputTokens": most}} if most else body


def _input(model: str, asked: int, most: int) -> Json:
    return {"model": model, "input": _words(asked)}


def _prompt(model: str, asked: int, most: int) -> Json:
    return {"model": model, "prompt": _words(asked)}


def _ranking(model: str, asked: int, most: int) -> Json:
    return {"model": model, "query": "x", "documents": [_words(asked)]}


def _speech(model: str, asked: int, most: int) -> Json:
    return {"model": model, "input": _words(asked), "voice": "alloy"}


def _generate_content(request: GatewayRequest) -> Question:
    name = request.path.removeprefix("/v1beta/models/").removesuffix(":generateContent")
    return generate_content.question_of(request, name)


#: By the names under which they are chosen.
ENDPOINTS: dict[str, Endpoint] = {
    "chat": Endpoint("Chat completions", "/v1/chat/completions", chat.question_of, _chat),
    "messages": Endpoint("Messages", "/v1/messages", messages.question_of, _messages),
    "responses": Endpoint("Responses", "/v1/responses", responses.question_of, _responses),
    "generate_content": Endpoint(
        "generateContent",
        "/v1beta/models/{model}:generateContent",
        _generate_content,
        _generation,
    ),
    "completions": Endpoint("Completions", "/v1/completions", completions.question_of, _completion),
    "embeddings": Endpoint("Embeddings", "/v1/embeddings", embeddings.question_of, _input),
    "rerank": Endpoint("Rerank", "/v1/rerank", rerank.question_of, _ranking),
    "moderations": Endpoint("Moderations", "/v1/moderations", moderations.question_of, _input),
    "images": Endpoint("Images", "/v1/images/generations", images.question_of, _prompt),
    "speech": Endpoint("Speech", "/v1/audio/speech", audio.speech_of, _speech),
}
