"""POST /v1beta/models/{model}:{method}, also under /v1, and the models in Google's shape.

Which model and what is asked of it stand in the path (google.aip.dev/136, custom methods).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import register_converter
from django.urls.converters import StringConverter
from ninja import Router

from gateway import counting, errors, exchange, judgment
from gateway.api import models
from gateway.api.request import json_of, read_as, request_of
from gateway.dialects.base import Json, mapping
from gateway.dialects.gemini_embed import GeminiEmbedding, gemini_embed, gemini_embed_one
from gateway.dialects.gemini_generate import gemini_generate
from gateway.dialects.gemini_generate.fields import told
from gateway.front_door import GatewayRequest
from gateway.json_array import JsonArray
from gateway.question import Question
from gateway.schemas.generate_content import (
    BatchEmbedContentsIn,
    EmbedContentIn,
    GenerateContentIn,
)

#: Under /v1beta, where all is Google's.
beta = Router(tags=["generate_content"])
#: Under /v1, beside the paths of others.
stable = Router(tags=["generate_content"])

LONGEST_NAME = 200


class CustomMethod(StringConverter):
    """A method's name as Google writes them. No tag of a model has a hump."""

    regex = "[a-z]+(?:[A-Z][a-z]+)+"


register_converter(CustomMethod, "custom_method")


@beta.post("/models/{path:name}")
async def call_model(request: HttpRequest, name: str) -> HttpResponseBase:
    model, _, method = name.rpartition(":")
    return await _call(request, model, method)


@beta.post("/tunedModels/{path:name}")
async def call_tuned_model(request: HttpRequest, name: str) -> HttpResponseBase:
    model, _, method = name.rpartition(":")
    return await _call(request, f"tunedModels/{model}", method)


@stable.post("/models/{path:name}:{custom_method:method}")
async def call_stable_model(request: HttpRequest, name: str, method: str) -> HttpResponseBase:
    return await _call(request, name, method)


@stable.post("/tunedModels/{path:name}:{custom_method:method}")
async def call_stable_tuned_model(request: HttpRequest, name: str, method: str) -> HttpResponseBase:
    return await _call(request, f"tunedModels/{name}", method)


async def _call(request: HttpRequest, name: str, method: str) -> HttpResponseBase:
    call = _METHODS.get(method)
    if call is None or not name:
        raise errors.UnknownUrl(f"Unknown request URL: {request.method} {request.path}.")
    name = name.removeprefix("models/")
    if len(name) > LONGEST_NAME:
        raise errors.BadRequest("The model's name is too long.", param="model")
    return await call(request_of(request), name)


async def _generate(asked: GatewayRequest, name: str) -> HttpResponseBase:
    return await exchange.serve(asked.caller, asked.principal, question_of(asked, name))


async def _stream(asked: GatewayRequest, name: str) -> HttpResponseBase:
    question = question_of(asked, name, streams=True)
    if asked.GET.get("alt") != "sse":
        asked.caller.reply.array = JsonArray()
    return await exchange.serve(asked.caller, asked.principal, question)


def question_of(asked: GatewayRequest, name: str, *, streams: bool = False) -> Question:
    """What the request's body asks of the model in its path. Raises BadRequest."""
    body = json_of(asked)
    read_as(GenerateContentIn, body)
    return Question(gemini_generate, name, asked.raw, body, streams)


async def _count(asked: GatewayRequest, name: str) -> HttpResponseBase:
    """Offline: no provider is asked, and nothing is charged."""
    given = json_of(asked)
    body = dict(mapping(told(given, "generateContentRequest"))) or given
    read_as(GenerateContentIn, body)
    model = judgment.permitted_model(
        asked.principal, Question(gemini_generate, name, asked.raw, body)
    )
    vocabulary = model.targets[0].upstream_model if model.targets else model.name
    total = counting.count(gemini_generate.read_request(body), vocabulary)
    return _json({"totalTokens": total})


async def _embed(asked: GatewayRequest, name: str) -> HttpResponseBase:
    body = json_of(asked)
    read_as(EmbedContentIn, body)
    return await _vectors(asked, name, gemini_embed_one, body)


async def _embed_many(asked: GatewayRequest, name: str) -> HttpResponseBase:
    body = json_of(asked)
    read_as(BatchEmbedContentsIn, body)
    return await _vectors(asked, name, gemini_embed, body)


async def _vectors(
    asked: GatewayRequest, name: str, dialect: GeminiEmbedding, body: Json
) -> HttpResponseBase:
    question = Question(dialect, name, asked.raw, body)
    return await exchange.serve(asked.caller, asked.principal, question)


_METHODS: dict[str, Callable[[GatewayRequest, str], Awaitable[HttpResponseBase]]] = {
    "generateContent": _generate,
    "streamGenerateContent": _stream,
    "countTokens": _count,
    "embedContent": _embed,
    "batchEmbedContents": _embed_many,
}


@beta.get("/models")
async def list_models(request: HttpRequest) -> HttpResponse:
    return models.list_resources(request)


@beta.get("/models/{path:name}")
async def retrieve_model(request: HttpRequest, name: str) -> HttpResponse:
    return models.describe_resource(request, name.removeprefix("models/"))


def _json(body: Json) -> HttpResponse:
    return HttpResponse(orjson.dumps(body), content_type="application/json")
