"""What an answer used: the provider's figures, or a count of our own where it gives none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from gateway.question import Question
from lib.tokens import TokenUsage, total_of


class UsageSource(StrEnum):
    """Where the figures of a usage record come from."""

    PROVIDER = "provider"
    ESTIMATED = "estimated"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Metered:
    usage: TokenUsage
    source: UsageSource


NOTHING = Metered(TokenUsage(), UsageSource.NONE)


def metered(question: Question, reported: TokenUsage | None, said: str, model: str) -> Metered:
    """The provider's own figures where there are any, else counted from what was asked and said.

    `model` is the upstream model, whose vocabulary is used.
    """
    if reported is not None:
        return Metered(reported, UsageSource.PROVIDER)
    counted = question.dialect.counted(question.body, said, model)
    return Metered(counted, UsageSource.ESTIMATED)


def together(parts: Sequence[Metered]) -> Metered:
    """What several calls used. An estimate as soon as one of them is."""
    sources = {part.source for part in parts} - {UsageSource.NONE}
    source = UsageSource.ESTIMATED if len(sources) > 1 else next(iter(sources), UsageSource.NONE)
    return Metered(total_of(part.usage for part in parts), source)
