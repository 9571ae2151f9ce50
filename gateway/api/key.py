"""GET /v1/key: who am I, and what is left."""

from __future__ import annotations

import orjson
from django.http import HttpRequest, HttpResponse
from ninja import Router

from accounts.states import LimitState, limit_states
from gateway.api.request import request_of
from gateway.dialects.base import Json

router = Router(tags=["key"])


@router.get("/key")
async def describe_key(request: HttpRequest) -> HttpResponse:
    principal = request_of(request).principal
    states = await limit_states(principal)
    body = {
        "object": "key",
        "id": principal.public_id,
        "name": principal.key_name,
        "team": principal.team_name,
        "owner": principal.user_name or None,
        "allowed_models": list(principal.allowed_models),
        "allowed_endpoints": list(principal.allowed_endpoints),
        "expires_at": principal.expires_at.isoformat() if principal.expires_at else None,
        "limits": [_described(state) for state in states],
    }
    return HttpResponse(orjson.dumps(body), content_type="application/json")


def _described(state: LimitState) -> Json:
    return {
        "metric": state.metric,
        "model": state.model or None,
        "window_s": state.window_s,
        "limit": state.amount,
        "remaining": state.remaining,
        "reset_s": round(state.reset_s, 3),
    }
