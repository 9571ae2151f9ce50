"""Google's Gemini API, in its own format (ai.google.dev/api)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import orjson

from gateway import errors
from gateway.dialects.base import Json, items, mapping
from gateway.dialects.gemini_embed import gemini_embed, gemini_embed_one, resource
from gateway.dialects.gemini_generate import gemini_generate
from gateway.errors import UpstreamError
from gateway.providers.base import Addressee, Message, Provider
from lib.json_reading import loads

_STREAMING = ":streamGenerateContent?alt=sse"
#: A duration in ProtoJSON.
_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")
#: What Google calls a key that is no good; it comes with status 400.
_BAD_KEYS = ("API_KEY_INVALID", "API_KEY_EXPIRED", "API_KEY_SERVICE_BLOCKED")


class Gemini(Provider):
    kind = "gemini"
    batch_limits = {"embeddings": 100}
    paths = {
        gemini_generate: ":generateContent",
        gemini_embed: ":batchEmbedContents",
        gemini_embed_one: ":embedContent",
    }

    def url(self, target: Addressee, message: Message) -> str:
        method = _STREAMING if message.streams else self.paths[message.dialect]
        model = "/".join(quote(each, safe="") for each in _names(target.upstream_model))
        return f"{target.base_url}/{model}{method}"

    def credentials(self, target: Addressee) -> Mapping[str, str]:
        return {"x-goog-api-key": target.api_key} if target.api_key else {}

    def error(
        self, target: Addressee, status: int, headers: Mapping[str, str], content: bytes
    ) -> UpstreamError:
        """As of others, but for what Google says in an error's details, and with status 400."""
        error = _error_object(content)
        if status == 400 and _is_of_the_account(error):
            return errors.UpstreamOutOfCredit(
                f"The account at provider {target.provider_name!r} may not use it: billing is "
                "not set up, or its country is not served."
            )
        if status == 400 and _is_of_the_key(error):
            return errors.UpstreamAuthFailed(
                f"Provider {target.provider_name!r} refused Courier's own key."
            )
        delay = _retry_delay(error)
        if delay and "retry-after" not in headers:
            headers = {**headers, "retry-after": delay}
        if isinstance(error.get("status"), str):
            content = orjson.dumps({"error": {**error, "code": error["status"]}})
        return super().error(target, status, headers, content)


def _names(model: str) -> Iterator[str]:
    """The collection and the name of a model; names of other collections hold slashes."""
    collection, _, name = resource(model).partition("/")
    yield from (collection, name)


def _error_object(content: bytes) -> Mapping[str, Any]:
    try:
        body = loads(content)
    except ValueError:
        return {}
    return mapping(mapping(body[0] if isinstance(body, list) and body else body).get("error"))


def _is_of_the_key(error: Mapping[str, Any]) -> bool:
    return any(each.get("reason") in _BAD_KEYS for each in _details(error))


def _is_of_the_account(error: Mapping[str, Any]) -> bool:
    """A failed precondition: billing, or the country that the account is in."""
    return "FAILED_PRECONDITION" in (error.get("status"), error.get("code"))


def _retry_delay(error: Mapping[str, Any]) -> str:
    """The seconds of a RetryInfo among the details; empty if there is none."""
    delays = (each.get("retryDelay") for each in _details(error))
    found = (_SECONDS.fullmatch(delay) for delay in delays if isinstance(delay, str))
    return next((match[1] for match in found if match), "")


def _details(error: Mapping[str, Any]) -> Iterator[Json]:
    return (each for each in items(error.get("details")) if isinstance(each, dict))
