"""GET /v1/models and /v1/models/{id}"""

from __future__ import annotations

import orjson
from django.http import HttpRequest, HttpResponse
from ninja import Router

from accounts.principals import Principal
from gateway import errors
from gateway.api.request import request_of
from gateway.dialects import anthropic_messages_models
from gateway.dialects.base import Json
from lib.ids import EPOCH
from registry import snapshot
from registry.capabilities import UNKNOWN

router = Router(tags=["models"])


@router.get("/models")
async def list_models(request: HttpRequest) -> HttpResponse:
    principal = permitted(request)
    names = sorted(snapshot.current().names)
    names = [name for name in names if "*" not in name and principal.may_use(name)]
    if anthropic_messages_models.are_asked_for(request.headers):
        return _json(anthropic_messages_models.listed([_told(name) for name in names]))
    return _json({"object": "list", "data": [_described(name) for name in names]})


@router.get("/models/{path:name}")
async def retrieve_model(request: HttpRequest, name: str) -> HttpResponse:
    principal = permitted(request)
    if not principal.may_use(name) or snapshot.current().model(name) is None:
        raise errors.ModelNotFound(f"The model {name!r} does not exist.", param="model")
    described = _told if anthropic_messages_models.are_asked_for(request.headers) else _described
    return _json(described(name))


def permitted(request: HttpRequest) -> Principal:
    """The principal, who may read the models. They are loaded."""
    principal = request_of(request).principal
    if not principal.may_call("models"):
        raise errors.EndpointNotAllowed("This API key may not call models.")
    if not snapshot.is_loaded():
        raise errors.NotReady("Courier is starting. Try again in a moment.", retry_after=1)
    return principal


def _described(name: str) -> Json:
    model = snapshot.current().model(name)
    created = int(model.created_at.timestamp()) if model else 0
    return {"id": name, "object": "model", "created": created, "owned_by": "courier"}


def _told(name: str) -> Json:
    """As clients of the other format read it."""
    model = snapshot.current().model(name)
    created_at = model.created_at if model else EPOCH
    capabilities = model.capabilities if model else UNKNOWN
    return anthropic_messages_models.described(name, created_at, capabilities)


def _json(body: Json) -> HttpResponse:
    return HttpResponse(orjson.dumps(body), content_type="application/json")
