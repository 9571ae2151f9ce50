"""POST /v1/embeddings"""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import Router

from gateway import exchange
from gateway.api.request import json_of, read_as, request_of
from gateway.dialects.openai_embeddings import openai_embeddings
from gateway.front_door import GatewayRequest
from gateway.question import Question
from gateway.schemas.embeddings import EmbeddingsIn

router = Router(tags=["embeddings"])


@router.post("/embeddings")
async def create_embeddings(request: HttpRequest) -> HttpResponseBase:
    asked = request_of(request)
    return await exchange.serve(asked.caller, asked.principal, question_of(asked))


def question_of(asked: GatewayRequest) -> Question:
    """What the request's body asks. Raises BadRequest."""
    body = json_of(asked)
    payload = read_as(EmbeddingsIn, body)
    return Question(openai_embeddings, payload.model, asked.raw, body)
