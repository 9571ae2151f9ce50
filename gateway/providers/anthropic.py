"""Anthropic: its own format, its own names for the key and the version."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.dialects.anthropic_messages import anthropic_messages
from gateway.dialects.anthropic_messages.vocabulary import API_VERSION
from gateway.providers.base import Addressee, Message, Provider, UpstreamRequest


class Anthropic(Provider):
    kind = "anthropic"
    paths = {anthropic_messages: "/messages"}

    def request(self, target: Addressee, message: Message) -> UpstreamRequest:
        # A version that the client names is the one that it can read.
        headers = {"anthropic-version": API_VERSION, **message.told, **self.headers(target)}
        return UpstreamRequest(self.url(target, message), headers, message.body)

    def credentials(self, target: Addressee) -> Mapping[str, str]:
        return {"x-api-key": target.api_key} if target.api_key else {}
