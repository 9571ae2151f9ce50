"""What generations of Anthropic's models differ in, by their names.

Other vendors' models that are served in this format are of no generation: nothing that only
some models know is sent to them.
"""

from __future__ import annotations

import re

from gateway.canonical import ChatRequest, Json
from gateway.dialects.drops import Drops

#: claude-opus-4-7, claude-sonnet-4-20250514, anthropic.claude-opus-4-6-v1, claude-haiku-4.5, …
_LATER = re.compile(r"claude-[a-z]+-(\d{1,2})(?!\d)(?:[-.](\d{1,2})(?!\d))?")
#: claude-3-7-sonnet-20250219, claude-3.5-haiku, …
_EARLIER = re.compile(r"claude-(\d)(?:[-.](\d))?(?!\d)")

Version = tuple[int, int]
UNKNOWN: Version = (0, 0)
_ADAPTIVE: Version = (4, 6)
_NOT_SAMPLED: Version = (4, 7)
_STRUCTURED: Version = (4, 5)

#: Tokens of thinking that an effort stands for, where the model wants a number.
BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768}
LEAST_BUDGET = 1024
#: Anthropic's scale ends where OpenAI's has its middle.
MOST_TEMPERATURE = 1.0
LEAST_TOP_P_BESIDE_THINKING = 0.95
#: What it is to leave a parameter out.
_NEUTRAL = {"temperature": 1, "top_p": 1}
#: Efforts by OpenAI's names. The highest came with the models that are no longer sampled.
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh"}


def version_of(model: str) -> Version:
    """Major and minor version; `UNKNOWN` for other makers' models."""
    found = _LATER.search(model.lower()) or _EARLIER.search(model.lower())
    return (int(found[1]), int(found[2] or 0)) if found else UNKNOWN


def thinks_adaptively(model: str) -> bool:
    """Whether the model decides itself how much to think, and is told an effort."""
    return version_of(model) >= _ADAPTIVE


def is_sampled(model: str) -> bool:
    """Whether temperature, top_p and top_k may be sent. Later models refuse them."""
    return version_of(model) < _NOT_SAMPLED


def takes_one_of_temperature_and_top_p(model: str) -> bool:
    """Whether the one is refused beside the other."""
    return version_of(model) >= (4, 1)


def has_structured_outputs(model: str) -> bool:
    """Whether answers can be held to a JSON schema."""
    return version_of(model) >= _STRUCTURED


def sampling(asked: ChatRequest, model: str, thinks: bool, drops: Drops) -> Json:  # noqa: FBT001
    """How words are chosen, as far as the model lets one say so beside thinking, or not."""
    given = {"temperature": asked.temperature, "top_p": asked.top_p, "top_k": asked.top_k}
    told: Json = {name: value for name, value in given.items() if value is not None}
    for name in _refused(told, model, thinks):
        if told.pop(name, _NEUTRAL.get(name)) != _NEUTRAL.get(name):
            drops.note(name)
    if told.get("temperature", 0) > MOST_TEMPERATURE:
        drops.note("temperature")
        told["temperature"] = MOST_TEMPERATURE
    return told


def _refused(told: Json, model: str, thinks: bool) -> list[str]:  # noqa: FBT001
    """Which of these the model refuses, alone or beside what else is asked."""
    if not is_sampled(model):
        return ["temperature", "top_p", "top_k"]
    refused = []
    if thinks and version_of(model) != UNKNOWN:
        refused += ["temperature", "top_k"]
        refused += ["top_p"] if told.get("top_p", 1) < LEAST_TOP_P_BESIDE_THINKING else []
    elif takes_one_of_temperature_and_top_p(model) and "temperature" in told:
        refused += ["top_p"]
    return refused


def effort_for(model: str, told: str) -> str:
    """An effort as the model knows it; empty where it means nothing."""
    known = _EFFORTS.get(told, "")
    return "high" if known == "xhigh" and is_sampled(model) else known
