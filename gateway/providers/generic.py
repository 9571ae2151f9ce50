"""A provider without code of its own: its options describe what it is asked and how it answers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import orjson

from gateway import errors
from gateway.dialects.base import Dialect, UpstreamDialect
from gateway.dialects.generic import GenericChat
from gateway.errors import UpstreamError
from gateway.providers.base import Addressee, Message, Provider
from lib.json_reading import loads
from lib.json_template import rendered
from registry.generic import options_from


class Generic(Provider):
    kind = "generic"
    paths = {}

    def dialect_for(self, client: Dialect, target: Addressee) -> UpstreamDialect | None:
        return dialect_of(target) if client.task == GenericChat.task else None

    def url(self, target: Addressee, message: Message) -> str:
        options = dialect_of(target).options
        path = options.request.path
        if message.streams and options.stream.format != "none":
            path = options.stream.path or path
        return target.base_url + str(rendered(path, {"model": quote(target.upstream_model, "")}))

    def credentials(self, target: Addressee) -> Mapping[str, str]:
        """The headers of the description; a key as a bearer token where there are none."""
        headers = dialect_of(target).options.request.headers if target.options else None
        if headers is None:
            return super().credentials(target)
        # A name of a model may hold what a header may not.
        told = {"api_key": target.api_key, "model": quote(target.upstream_model, "/:")}
        filled = {name.lower(): rendered(value, told) for name, value in headers.items()}
        return {name: value for name, value in filled.items() if isinstance(value, str)}

    def error(
        self, target: Addressee, status: int, headers: Mapping[str, str], content: bytes
    ) -> UpstreamError:
        said = _message_in(target, content)
        if said is not None:
            content = orjson.dumps({"error": {"message": said}})
        return super().error(target, status, headers, content)


def dialect_of(target: Addressee) -> GenericChat:
    """The format that the target's provider is described to speak. Raises NoAvailableTarget."""
    try:
        return _dialect(orjson.dumps(target.options))
    except (ValueError, TypeError) as error:
        raise errors.NoAvailableTarget(
            f"The options of provider {target.provider_name!r} cannot be used."
        ) from error


@lru_cache(maxsize=256)
def _dialect(told: bytes) -> GenericChat:
    return GenericChat(options_from(orjson.loads(told)))


def _message_in(target: Addressee, content: bytes) -> str | None:
    """The message of an error, where the description says that it is."""
    path = dialect_of(target).options.response.error if target.options else None
    if path is None:
        return None
    try:
        told: Any = path.first(loads(content))
    except ValueError:
        return None
    return told if isinstance(told, str) else None
