"""A request's body, read once: strict JSON, and the fields that Courier itself needs."""

from __future__ import annotations

from typing import TypeVar, cast

import orjson
from django.http import HttpRequest
from pydantic import BaseModel
from pydantic import ValidationError as PydanticError

from gateway.dialects.base import Json
from gateway.errors import BadRequest, UnsupportedParameter
from gateway.front_door import GatewayRequest

M = TypeVar("M", bound=BaseModel)

#: Fields that would steer a gateway. Nothing in a body says where Courier connects, with
#: which key, or with which headers.
STEERING = frozenset(
    {
        "api_base",
        "api_key",
        "api_type",
        "api_version",
        "base_url",
        "callback_url",
        "custom_llm_provider",
        "extra_body",
        "extra_headers",
        "extra_query",
        "headers",
        "proxy",
        "user_config",
    }
)


def request_of(request: HttpRequest) -> GatewayRequest:
    return cast(GatewayRequest, request)


def json_of(request: GatewayRequest) -> Json:
    """The request's body, an object. Raises BadRequest."""
    try:
        body = orjson.loads(request.raw)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not valid JSON: {_first_line(str(error))}.") from None
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object.")
    steering = STEERING & body.keys()
    if steering:
        name = min(steering)
        raise UnsupportedParameter(f"The parameter {name!r} is not supported.", param=name)
    return body


def read_as(schema: type[M], body: Json) -> M:
    """What Courier reads of `body`. Raises BadRequest, naming the first field that is wrong."""
    try:
        return schema.model_validate(body)
    except PydanticError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise BadRequest(f"Invalid {field!r}: {first['msg']}.", param=field) from None


def _first_line(message: str) -> str:
    return message.partition("\n")[0].rstrip(".")
