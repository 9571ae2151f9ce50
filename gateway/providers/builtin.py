"""The two upstreams that are built in, for trying and testing. They open no connection."""

from __future__ import annotations

from gateway.providers.base import Addressee
from gateway.providers.openai import OpenAICompatible


class Echo(OpenAICompatible):
    """Answers at once with what it was asked."""

    kind = "echo"

    def completes(self, target: Addressee) -> bool:
        return False


class Chaos(Echo):
    """Fails on demand: the upstream model's name says how."""

    kind = "chaos"
