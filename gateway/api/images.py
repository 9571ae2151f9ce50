"""POST /v1/images/generations"""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import Router

from gateway import exchange
from gateway.api.request import json_of, read_as, request_of
from gateway.dialects.openai_images import openai_images
from gateway.question import Question
from gateway.schemas.images import ImagesIn

router = Router(tags=["images"])


@router.post("/images/generations")
async def create_image(request: HttpRequest) -> HttpResponseBase:
    asked = request_of(request)
    body = json_of(asked)
    payload = read_as(ImagesIn, body)
    question = Question(openai_images, payload.model, asked.raw, body, bool(payload.stream))
    return await exchange.serve(asked.caller, asked.principal, question)
