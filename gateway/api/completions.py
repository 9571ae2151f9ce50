"""POST /v1/completions"""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import Router

from gateway import exchange
from gateway.api.request import json_of, read_as, request_of
from gateway.dialects.openai_completions import openai_completions
from gateway.question import Question
from gateway.schemas.completions import CompletionIn

router = Router(tags=["completions"])


@router.post("/completions")
async def create_completion(request: HttpRequest) -> HttpResponseBase:
    asked = request_of(request)
    body = json_of(asked)
    payload = read_as(CompletionIn, body)
    question = Question(openai_completions, payload.model, asked.raw, body, bool(payload.stream))
    return await exchange.serve(asked.caller, asked.principal, question)
