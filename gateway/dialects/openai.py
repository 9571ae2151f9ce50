"""What OpenAI's formats share: the error object, usage, and a body sent to another model."""

from __future__ import annotations

import re
from typing import Any

import orjson

from gateway import sse
from gateway.dialects.base import Json, PassThroughDialect, mapping
from gateway.dialects.openai_usage import read_usage
from lib.errors import CourierError
from lib.tokens import TokenUsage

_MODEL = re.compile(rb'"model"(\s*:\s*)"(?:[^"\\]|\\.)*"')
#: How JSON may write one of the letters of the word by its number.
_ESCAPED_LETTER = re.compile(rb"\\u00(?:6[cCdDfF45])")
#: What ends a stream.
DONE = b"data: [DONE]\n\n"
#: Answers to one request, at most: OpenAI gives no more, and others ignore the number.
MOST_CHOICES = 128
_ASK_FOR_USAGE = b'{"stream_options":{"include_usage":true},'
#: Characters per token in a cheap guess, and tokens for an image of unknown size.
CHARACTERS_PER_TOKEN = 4
TOKENS_PER_IMAGE = 800


class OpenAIDialect(PassThroughDialect):
    """Errors, usage and addressing as on every endpoint of OpenAI's API."""

    def write_error(self, error: CourierError, request_id: str) -> bytes:
        return write_error(error, request_id)

    def error_frame(self, error: CourierError, request_id: str) -> bytes:
        return error_frame(error, request_id)

    def readdress(self, raw: bytes, body: Json, model: str) -> bytes:
        return with_model(raw, body, model)

    def usage_in(self, body: Json) -> TokenUsage | None:
        return read_usage(body.get("usage"))


def write_error(error: CourierError, request_id: str) -> bytes:
    """The body of an error answer."""
    return orjson.dumps({"error": error_object(error, request_id)})


def error_frame(error: CourierError, request_id: str) -> bytes:
    """An error inside a stream."""
    return sse.frame_of(write_error(error, request_id))


def error_object(error: CourierError, request_id: str) -> Json:
    named = f" (request id: {request_id})" if error.tells_request_id else ""
    return {
        "message": error.message + named,
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }


def with_model(raw: bytes, body: Json, model: str) -> bytes:
    """`raw` with another model's name, and every other byte as it was."""
    # One occurrence can only be the field itself, for `body` has it at the top. Where the
    # word occurs twice, or may be written with escapes, the body is encoded anew: of a field
    # that stands there twice, no two readers need take the same.
    if raw.count(b'"model"') == 1 and not _ESCAPED_LETTER.search(raw):
        if body["model"] == model:
            return raw
        name = orjson.dumps(model)
        edited, count = _MODEL.subn(lambda found: b'"model"' + found[1] + name, raw, count=1)
        if count:
            return edited
    return orjson.dumps({**body, "model": model})


def asking_for_usage(raw: bytes, body: Json, model: str) -> bytes:
    """`raw` with another model's name, and a stream asked to report its usage."""
    if not body.get("stream"):
        return with_model(raw, body, model)
    options = body.get("stream_options")
    if options is None and "stream_options" not in body:
        inside = with_model(raw, body, model).lstrip()[1:]
        return _ASK_FOR_USAGE + inside
    if mapping(options).get("include_usage") is True:
        return with_model(raw, body, model)
    asking = {**mapping(options), "include_usage": True}
    return orjson.dumps({**body, "model": model, "stream_options": asking})


def text_of(content: Any) -> str:
    """The words of a message's content: a string, or a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (mapping(part).get("text") for part in content)
    return "\n".join(part for part in parts if isinstance(part, str))


def length_of(text: str) -> int:
    """The length of a text as English would be that makes about as many tokens."""
    # Beyond ASCII a token is about three bytes of UTF-8: one Chinese character.
    return len(text) if text.isascii() else len(text.encode(errors="replace")) * 4 // 3


def images_in(content: Any) -> int:
    """How many parts of a message's content are images."""
    if not isinstance(content, list):
        return 0
    return sum(mapping(part).get("type") in ("image_url", "input_image") for part in content)
