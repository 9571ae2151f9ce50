"""POST /v1/chat/completions"""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import Router

from gateway import exchange
from gateway.api.request import json_of, read_as, request_of
from gateway.dialects.openai_chat import openai_chat
from gateway.front_door import GatewayRequest
from gateway.question import Question
from gateway.schemas.chat import ChatCompletionIn

router = Router(tags=["chat"])


@router.post("/chat/completions")
async def create_chat_completion(request: HttpRequest) -> HttpResponseBase:
    asked = request_of(request)
    return await exchange.serve(asked.caller, asked.principal, question_of(asked))


def question_of(asked: GatewayRequest) -> Question:
    """What the request's body asks. Raises BadRequest."""
    body = json_of(asked)
    payload = read_as(ChatCompletionIn, body)
    return Question(openai_chat, payload.model, asked.raw, body, bool(payload.stream))
