"""The adapters, one of each, by kind. Loaded from `registry.kinds`."""

from __future__ import annotations

from functools import cache

from django.utils.module_loading import import_string

from gateway.providers.base import Provider
from registry.kinds import PROVIDER_KINDS


@cache
def provider_of(kind: str) -> Provider:
    """The adapter for providers of this kind."""
    _, path = PROVIDER_KINDS[kind]
    adapter: Provider = import_string(path)()
    return adapter
