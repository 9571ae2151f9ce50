"""POST /v1/completions"""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import Router

from gateway import exchange
from gateway.api.request import json_of, read_as, request_of
from gateway.dialects.openai_completions import openai_completions
from gateway.front_door import GatewayRequest
from gateway.question import Question
from gateway.schemas.completions import CompletionIn

router = Router(tags=["completions"])


@router.post("/completions")
async def create_completion(request: HttpRequest) -> HttpResponseBase:
    asked = request_of(request)
    return await exchange.serve(asked.caller, asked.principal, question_of(asked))


def question_of(asked: GatewayRequest) -> Question:
    """What the request's body asks. Raises BadRequest."""
    body = json_of(asked)
    payload = read_as(CompletionIn, body)
    return Question(openai_completions, payload.model, asked.raw, body, bool(payload.stream))
