"""POST /v1/audio/speech, /v1/audio/transcriptions and /v1/audio/translations"""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import Router

from gateway import exchange
from gateway.api.form import form_of
from gateway.api.request import json_of, read_as, request_of
from gateway.dialects.base import ClientDialect
from gateway.dialects.openai_speech import openai_speech
from gateway.dialects.openai_transcriptions import openai_transcriptions, openai_translations
from gateway.front_door import GatewayRequest
from gateway.question import Question
from gateway.schemas.speech import SpeechIn
from gateway.schemas.transcriptions import TranscriptionIn

router = Router(tags=["audio"])


@router.post("/audio/speech")
async def create_speech(request: HttpRequest) -> HttpResponseBase:
    asked = request_of(request)
    return await exchange.serve(asked.caller, asked.principal, speech_of(asked))


def speech_of(asked: GatewayRequest) -> Question:
    """What the request's body asks. Raises BadRequest."""
    body = json_of(asked)
    payload = read_as(SpeechIn, body)
    streams = payload.stream_format == "sse"
    return Question(openai_speech, payload.model, asked.raw, body, streams)


@router.post("/audio/transcriptions")
async def create_transcription(request: HttpRequest) -> HttpResponseBase:
    return await _serve_form(request, openai_transcriptions)


@router.post("/audio/translations")
async def create_translation(request: HttpRequest) -> HttpResponseBase:
    return await _serve_form(request, openai_translations)


async def _serve_form(request: HttpRequest, dialect: ClientDialect) -> HttpResponseBase:
    asked = request_of(request)
    question = await form_of(asked, dialect, TranscriptionIn)
    return await exchange.serve(asked.caller, asked.principal, question)
