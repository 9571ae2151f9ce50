"""The HTTP face: one file per endpoint family, and how their errors are written."""

from __future__ import annotations

import logging

from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from gateway import errors
from gateway.api import (
    audio,
    billing,
    chat,
    completions,
    embeddings,
    generate_content,
    images,
    key,
    messages,
    models,
    moderations,
    rerank,
    responses,
)
from gateway.api.request import request_of
from gateway.refusal import refusal
from lib.errors import CourierError

logger = logging.getLogger(__name__)


async def has_passed_the_gate(request: HttpRequest) -> bool:
    """Whether the front door has authenticated this request. Without it, nothing is served."""
    return getattr(request, "principal", None) is not None


class GatewayAPI(NinjaAPI):
    """ninja without a response object made for every request only to be thrown away."""

    _unused = HttpResponse()

    def create_temporal_response(self, request: HttpRequest) -> HttpResponse:
        return self._unused


api = GatewayAPI(title="Courier", auth=has_passed_the_gate, docs_url=None, openapi_url=None)
api.add_router("v1", audio.router)
api.add_router("v1", billing.router)
api.add_router("v1", chat.router)
api.add_router("v1", completions.router)
api.add_router("v1", embeddings.router)
api.add_router("v1", images.router)
# Before the models, whose paths would take these too.
api.add_router("v1", generate_content.stable)
api.add_router("v1beta", generate_content.beta)
api.add_router("v1", key.router)
api.add_router("v1", messages.router)
api.add_router("v1", models.router)
api.add_router("v1", moderations.router)
api.add_router("v1", rerank.router)
api.add_router("v2", rerank.router, url_name_prefix="v2")
api.add_router("v1", responses.router)


@api.exception_handler(CourierError)
def _write_courier_error(request: HttpRequest, error: CourierError) -> HttpResponse:
    return refusal(error, request.path, request_of(request).caller)


@api.exception_handler(AuthenticationError)
@api.exception_handler(HttpError)
@api.exception_handler(ValidationError)
def _write_ninja_error(request: HttpRequest, error: Exception) -> HttpResponse:
    bad = errors.BadRequest("The request could not be read.")
    return refusal(bad, request.path, request_of(request).caller)


@api.exception_handler(Exception)
def _write_bug(request: HttpRequest, error: Exception) -> HttpResponse:
    caller = request_of(request).caller
    # The traceback's locals are not logged, for they may hold a prompt.
    logger.error("request %s failed", caller.request_id, exc_info=error)
    bug = errors.InternalError("Courier failed. The request id tells its administrators where.")
    return refusal(bug, request.path, caller)
