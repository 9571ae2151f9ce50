"""What only some kinds of provider need to know: the one line of each option."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from registry import generic
from registry.kinds import NEEDS_REGION, OWN_OPTIONS, REGION, SPEAK_MORE, VERSIONED


@dataclass(frozen=True, slots=True)
class Option:
    """A key of `Provider.options`."""

    name: str
    label: str
    help: str
    kinds: frozenset[str]
    #: What may be chosen, any number of them, with labels. None: it is text.
    choices: Mapping[str, str] | None = None
    #: What the text must look like.
    pattern: str = r"[A-Za-z0-9.:/-]{1,200}"
    is_required: bool = False

    def complaint(self, value: Any) -> str:
        """Why `value` will not do, as a sentence; empty if it will. None: it is not given."""
        if value is None:
            return f"{self.name}: This is needed. {self.help}" if self.is_required else ""
        if self.choices is not None:
            known = isinstance(value, list) and all(each in self.choices for each in value)
            return "" if known else f"{self.name}: This is a list of {', '.join(self.choices)}."
        fits = isinstance(value, str) and re.fullmatch(self.pattern, value)
        return "" if fits else f"{self.name}: This does not look like one. {self.help}"


OPTIONS = (
    Option(
        "api_version",
        "API version",
        "Such as 2024-10-21. Empty: its v1 API, which needs none.",
        VERSIONED,
        pattern=r"[0-9A-Za-z-]{1,40}",
    ),
    Option(
        "region",
        "Region",
        "As the vendor names it, such as us-east-1.",
        NEEDS_REGION,
        pattern=REGION.pattern,
        is_required=True,
    ),
    Option(
        "speaks",
        "Speaks natively",
        "Formats that the server itself speaks, beside chat completions. Clients of these pass "
        "through as they are; all others are translated. Leave it empty if you do not know.",
        SPEAK_MORE,
        choices={
            "openai-responses": "Responses (/responses)",
            "anthropic-messages": "Messages (/messages)",
        },
    ),
    Option(
        "keeps",
        "Keeps answers",
        "Formats whose answers the server keeps, so that a later request can refer to them. "
        "Requests that do are sent nowhere else. Leave it empty if you do not know.",
        SPEAK_MORE,
        choices={"openai-responses": "Responses (/responses)"},
    ),
)


def options_of(kind: str) -> dict[str, Option]:
    """What providers of this kind can be told, by name."""
    return {option.name: option for option in OPTIONS if kind in option.kinds}


def complaints(kind: str, given: Any) -> list[str]:
    """What is wrong with the options of a provider of this kind, in sentences."""
    if kind in OWN_OPTIONS:
        return generic.complaints(given)
    if not isinstance(given, dict):
        return ["Options must be a mapping."]
    known = options_of(kind)
    unknown = [f"Providers of this kind have no option {name!r}." for name in given.keys() - known]
    return sorted(unknown) + [
        complaint for name, each in known.items()
        if (complaint := each.complaint(given.get(name)))
    ]  # fmt: skip
