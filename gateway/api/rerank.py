"""POST /v1/rerank and /v2/rerank"""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import Router

from gateway import exchange
from gateway.api.request import json_of, read_as, request_of
from gateway.dialects.rerank import rerank
from gateway.question import Question
from gateway.schemas.rerank import RerankIn

router = Router(tags=["rerank"])


@router.post("/rerank")
async def rank_documents(request: HttpRequest) -> HttpResponseBase:
    asked = request_of(request)
    body = json_of(asked)
    payload = read_as(RerankIn, body)
    question = Question(rerank, payload.model, asked.raw, body)
    return await exchange.serve(asked.caller, asked.principal, question)
