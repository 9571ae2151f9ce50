"""POST /v1/rerank and /v2/rerank"""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import Router

from gateway import exchange
from gateway.api.request import json_of, read_as, request_of
from gateway.dialects.rerank import rerank
from gateway.front_door import GatewayRequest
from gateway.question import Question
from gateway.schemas.rerank import RerankIn

router = Router(tags=["rerank"])


@router.post("/rerank")
async def rank_documents(request: HttpRequest) -> HttpResponseBase:
    asked = request_of(request)
    return await exchange.serve(asked.caller, asked.principal, question_of(asked))


def question_of(asked: GatewayRequest) -> Question:
    """What the request's body asks. Raises BadRequest."""
    body = json_of(asked)
    payload = read_as(RerankIn, body)
    return Question(rerank, payload.model, asked.raw, body)
