"""POST /v1/responses. Courier keeps no response, so that there is nothing to get later."""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import Router

from gateway import errors, exchange
from gateway.api.request import json_of, read_as, request_of
from gateway.dialects.openai_responses import openai_responses
from gateway.front_door import GatewayRequest
from gateway.question import Question
from gateway.schemas.responses import ResponseIn

router = Router(tags=["responses"])


@router.post("/responses")
async def create_response(request: HttpRequest) -> HttpResponseBase:
    asked = request_of(request)
    return await exchange.serve(asked.caller, asked.principal, question_of(asked))


def question_of(asked: GatewayRequest) -> Question:
    """What the request's body asks. Raises BadRequest."""
    body = json_of(asked)
    payload = read_as(ResponseIn, body)
    if payload.background:
        # Nobody would learn what such an answer cost.
        raise errors.UnsupportedParameter(
            "Courier answers at once: ask without 'background', with 'stream': true if it takes "
            "long.",
            param="background",
        )
    return Question(openai_responses, payload.model, asked.raw, body, bool(payload.stream))


@router.api_operation(["GET", "POST", "DELETE"], "/responses/{path:rest}")
async def refuse_kept_responses(request: HttpRequest, rest: str) -> HttpResponseBase:
    raise errors.ResponseNotKept(
        "Courier keeps no responses. Send the whole conversation as 'input' to /v1/responses."
    )
