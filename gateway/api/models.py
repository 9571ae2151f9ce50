"""GET /v1/models and /v1/models/{id}"""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from django.http import HttpRequest, HttpResponse
from ninja import Router

from accounts.principals import Principal
from gateway import errors
from gateway.api.model_facts import facts_of, names_of_each
from gateway.api.request import request_of
from gateway.dialects.anthropic_messages import models as anthropic_messages_models
from gateway.dialects.base import Json
from gateway.dialects.gemini_generate import models as gemini_models
from lib.ids import EPOCH
from registry import snapshot
from registry.capabilities import UNKNOWN

router = Router(tags=["models"])


@router.get("/models")
async def list_models(request: HttpRequest) -> HttpResponse:
    if gemini_models.are_asked_for(request.headers):
        return list_resources(request)
    names = _names_for(request)
    if anthropic_messages_models.are_asked_for(request.headers):
        return _json(anthropic_messages_models.listed([_told(name) for name in names]))
    return _json({"object": "list", "data": _described(names, request)})


@router.get("/models/{path:name}")
async def retrieve_model(request: HttpRequest, name: str) -> HttpResponse:
    if gemini_models.are_asked_for(request.headers):
        return describe_resource(request, name)
    _check(request, name)
    if anthropic_messages_models.are_asked_for(request.headers):
        return _json(_told(name))
    return _json(_described([name], request)[0])


def list_resources(request: HttpRequest) -> HttpResponse:
    """The models in the form of clients that take one for a resource."""
    return _json(gemini_models.listed([_resource(name) for name in _names_for(request)]))


def describe_resource(request: HttpRequest, name: str) -> HttpResponse:
    """One model in that form."""
    _check(request, name)
    return _json(_resource(name))


def _names_for(request: HttpRequest) -> list[str]:
    principal = _permitted(request)
    names = sorted(snapshot.current().names)
    return [name for name in names if "*" not in name and principal.may_use(name)]


def _check(request: HttpRequest, name: str) -> None:
    """Raises ModelNotFound unless the caller may know of this model."""
    if not _permitted(request).may_use(name) or snapshot.current().model(name) is None:
        raise errors.ModelNotFound(f"The model {name!r} does not exist.", param="model")


def _permitted(request: HttpRequest) -> Principal:
    principal = request_of(request).principal
    if not principal.may_call("models"):
        raise errors.EndpointNotAllowed("This API key may not call models.")
    if not snapshot.is_loaded():
        raise errors.NotReady("Courier is starting. Try again in a moment.", retry_after=1)
    return principal


def _described(names: Sequence[str], request: HttpRequest) -> list[Json]:
    """OpenAI's fields of each model, and more that its clients leave alone."""
    principal, loaded = request_of(request).principal, snapshot.current()
    every = names_of_each(loaded, principal)
    described: list[Json] = []
    for name in names:
        model = loaded.model(name)
        if model is None:
            continue
        told = {"id": name, "object": "model", "created": int(model.created_at.timestamp())}
        aliases = [other for other in every.get(model.name, ()) if other != name]
        described.append({**told, "owned_by": "courier", **facts_of(model, aliases, principal)})
    return described


def _told(name: str) -> Json:
    """As clients of the other format read it."""
    model = snapshot.current().model(name)
    created_at = model.created_at if model else EPOCH
    capabilities = model.capabilities if model else UNKNOWN
    return anthropic_messages_models.described(name, created_at, capabilities)


def _resource(name: str) -> Json:
    model = snapshot.current().model(name)
    description, capabilities = (model.description, model.capabilities) if model else ("", UNKNOWN)
    return gemini_models.described(name, description, capabilities)


def _json(body: Json) -> HttpResponse:
    return HttpResponse(orjson.dumps(body), content_type="application/json")
