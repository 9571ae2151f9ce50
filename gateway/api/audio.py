"""POST /v1/audio/speech"""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import Router

from gateway import exchange
from gateway.api.request import json_of, read_as, request_of
from gateway.dialects.openai_speech import openai_speech
from gateway.question import Question
from gateway.schemas.speech import SpeechIn

router = Router(tags=["audio"])


@router.post("/audio/speech")
async def create_speech(request: HttpRequest) -> HttpResponseBase:
    asked = request_of(request)
    body = json_of(asked)
    payload = read_as(SpeechIn, body)
    streams = payload.stream_format == "sse"
    question = Question(openai_speech, payload.model, asked.raw, body, streams)
    return await exchange.serve(asked.caller, asked.principal, question)
