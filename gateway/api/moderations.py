"""POST /v1/moderations"""

from __future__ import annotations

import orjson
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import Router

from gateway import exchange
from gateway.api.request import json_of, read_as, request_of
from gateway.dialects.openai_moderations import USUAL_MODEL, openai_moderations
from gateway.front_door import GatewayRequest
from gateway.question import Question
from gateway.schemas.moderations import ModerationsIn

router = Router(tags=["moderations"])


@router.post("/moderations")
async def create_moderation(request: HttpRequest) -> HttpResponseBase:
    asked = request_of(request)
    return await exchange.serve(asked.caller, asked.principal, question_of(asked))


def question_of(asked: GatewayRequest) -> Question:
    """What the request's body asks. Raises BadRequest."""
    told = json_of(asked)
    body = {"model": USUAL_MODEL, **told}
    payload = read_as(ModerationsIn, body)
    raw = asked.raw if "model" in told else orjson.dumps(body)
    return Question(openai_moderations, payload.model, raw, body)
