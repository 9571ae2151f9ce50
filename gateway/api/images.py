"""POST /v1/images/generations, /v1/images/edits and /v1/images/variations"""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import Router

from gateway import exchange
from gateway.api.form import form_of
from gateway.api.request import json_of, read_as, request_of
from gateway.dialects.base import ClientDialect
from gateway.dialects.openai_images import (
    openai_image_edits,
    openai_image_variations,
    openai_images,
)
from gateway.front_door import GatewayRequest
from gateway.question import Question
from gateway.schemas.images import ImageFormIn, ImagesIn

router = Router(tags=["images"])


@router.post("/images/generations")
async def create_image(request: HttpRequest) -> HttpResponseBase:
    return await _serve_json(request, openai_images)


@router.post("/images/edits")
async def edit_image(request: HttpRequest) -> HttpResponseBase:
    # Of images that are named by their URLs there is no file to send.
    if request_of(request).incoming is None:
        return await _serve_json(request, openai_image_edits)
    return await _serve_form(request, openai_image_edits)


@router.post("/images/variations")
async def vary_image(request: HttpRequest) -> HttpResponseBase:
    return await _serve_form(request, openai_image_variations)


async def _serve_json(request: HttpRequest, dialect: ClientDialect) -> HttpResponseBase:
    asked = request_of(request)
    question = question_of(asked, dialect)
    return await exchange.serve(asked.caller, asked.principal, question)


def question_of(asked: GatewayRequest, dialect: ClientDialect = openai_images) -> Question:
    """What the request's JSON asks. Raises BadRequest."""
    body = json_of(asked)
    payload = read_as(ImagesIn, body)
    return Question(dialect, payload.model, asked.raw, body, bool(payload.stream))


async def _serve_form(request: HttpRequest, dialect: ClientDialect) -> HttpResponseBase:
    asked = request_of(request)
    question = await form_of(asked, dialect, ImageFormIn)
    return await exchange.serve(asked.caller, asked.principal, question)
