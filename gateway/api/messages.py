"""POST /v1/messages and /v1/messages/count_tokens"""

from __future__ import annotations

import orjson
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from ninja import Router

from gateway import counting, exchange, judgment
from gateway.api.request import json_of, read_as, request_of, told_to
from gateway.dialects.anthropic_messages import anthropic_messages
from gateway.front_door import GatewayRequest
from gateway.question import Question
from gateway.schemas.messages import MessageIn, TokensIn

router = Router(tags=["messages"])


@router.post("/messages")
async def create_message(request: HttpRequest) -> HttpResponseBase:
    asked = request_of(request)
    return await exchange.serve(asked.caller, asked.principal, question_of(asked))


def question_of(asked: GatewayRequest) -> Question:
    """What the request's body asks. Raises BadRequest."""
    body = json_of(asked)
    payload = read_as(MessageIn, body)
    return Question(
        anthropic_messages,
        payload.model,
        asked.raw,
        body,
        bool(payload.stream),
        told_to(anthropic_messages, asked),
    )


@router.post("/messages/count_tokens")
async def count_tokens(request: HttpRequest) -> HttpResponse:
    """Counted here, by the vocabulary of the first route's model: no provider is asked.

    Nothing is admitted, and so neither limits nor budgets count it.
    """
    asked = request_of(request)
    body = json_of(asked)
    payload = read_as(TokensIn, body)
    question = Question(anthropic_messages, payload.model, asked.raw, body)
    model = judgment.permitted_model(asked.principal, question)
    conversation = anthropic_messages.read_request(body)
    names = [target.upstream_model for target in model.targets]
    counted = counting.count(conversation, names[0] if names else model.name)
    return HttpResponse(orjson.dumps({"input_tokens": counted}), content_type="application/json")
