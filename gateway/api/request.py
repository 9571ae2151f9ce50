"""A request's body, read once: strict JSON, and the fields that Courier itself needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, cast

from django.conf import settings
from django.http import HttpRequest
from pydantic import BaseModel
from pydantic import ValidationError as PydanticError

from gateway.dialects.base import ClientDialect, Json
from gateway.errors import BadRequest, UnsupportedParameter
from gateway.front_door import GatewayRequest
from lib.json_reading import TooDeep
from lib.strict_json import LONGEST_TEXT, OutOfBounds, loads

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

#: Fields that say which model is asked, and how much of it. Servers made with Go read them in
#: any case, and of two that differ in nothing else, one that Courier has not looked at.
DECIDING = frozenset({
    *("model", "stream", "n", "best_of"),
    *("max_tokens", "max_completion_tokens", "max_output_tokens"),
})  # fmt: skip

#: Characters of a parser's words that a client is told: it may name what the client sent.
LONGEST_REASON = 200

#: What a header that is passed on may hold: a version, or a list of names.
_PRINTABLE = re.compile(rb"[\x20-\x7e]{1,4096}")


def request_of(request: HttpRequest) -> GatewayRequest:
    return cast(GatewayRequest, request)


def told_to(dialect: ClientDialect, request: GatewayRequest) -> dict[str, str]:
    """The headers that the client's format has a meaning for. Given twice, they are a list."""
    told: dict[str, str] = {}
    for name, value in request.scope["headers"]:
        if name in dialect.passed_headers and _PRINTABLE.fullmatch(value):
            key, text = name.decode(), value.decode()
            told[key] = f"{told[key]},{text}" if key in told else text
    return told


def json_of(request: GatewayRequest) -> Json:
    """The request's body, an object. Raises BadRequest."""
    try:
        body = loads(request.raw, _longest_text())
    except (TooDeep, OutOfBounds) as error:
        raise BadRequest(f"The body cannot be read: {error}.") from None
    except ValueError as error:
        raise BadRequest(f"The body is not valid JSON: {_first_line(str(error))}.") from None
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object.")
    refuse_steering(body)
    return body


def _longest_text() -> int:
    """Whoever lets larger bodies in means the files that they are made of."""
    return max(LONGEST_TEXT, settings.COURIER_MAX_BODY * 4 // 5)


def refuse_steering(body: Json) -> None:
    for name in body:
        meant = name.casefold()
        if meant not in STEERING and (meant == name or meant not in DECIDING):
            continue
        raise UnsupportedParameter(f"The parameter {name!r} is not supported.", param=name)


def read_as(schema: type[M], body: Json) -> M:
    """What Courier reads of `body`. Raises BadRequest, naming the first field that is wrong."""
    try:
        return schema.model_validate(body)
    except PydanticError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, _places(first["loc"], body)))
        raise BadRequest(f"Invalid {field!r}: {first['msg']}.", param=field) from None


def _places(location: Iterable[int | str], value: Any) -> Iterator[int | str]:
    """Where in the client's JSON something is wrong. Pydantic names types in between, too."""
    for part in location:
        if isinstance(value, dict if isinstance(part, str) else list):
            yield part
            value = _at(value, part)


def _at(value: Any, part: int | str) -> Any:
    try:
        return value[part]
    except (KeyError, IndexError):
        return None


def _first_line(message: str) -> str:
    return message[:LONGEST_REASON].partition("\n")[0].rstrip(".")
