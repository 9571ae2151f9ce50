"""What an answer used: the provider's figures, or a count of our own where it gives none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from gateway.question import Question
from lib import tokenizer
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
#: Nobody talks and nobody makes vectors without a token of input: no provider's zero is believed.
READ = frozenset({"chat", "embeddings"})


def lacks_output(question: Question, reported: TokenUsage | None) -> bool:
    """Whether the words of an answer have to be counted here, for its provider has not.

    Zeros only fill a form, and stand where a figure could not be read.
    """
    if reported is None:
        return True
    return question.dialect.task == "chat" and not reported.output_tokens


def metered(question: Question, reported: TokenUsage | None, said: str, model: str) -> Metered:
    """The provider's own figures where there are any, else counted from what was asked and said.

    `said` is what the provider has not counted: of figures that it gave before its answer, the
    output is counted here. `model` is the upstream model, whose vocabulary is used.
    """
    if reported is not None and (reported.input_tokens or question.dialect.task not in READ):
        return _with_output(reported, said, model)
    counted = question.dialect.counted(question.body, said, model)
    if reported is not None:
        output = max(reported.output_tokens, counted.output_tokens)
        counted = replace(reported, input_tokens=counted.input_tokens, output_tokens=output)
    return Metered(counted, UsageSource.ESTIMATED)


def _with_output(reported: TokenUsage, said: str, model: str) -> Metered:
    output = tokenizer.count(said, model)
    if output <= reported.output_tokens:
        return Metered(reported, UsageSource.PROVIDER)
    return Metered(replace(reported, output_tokens=output), UsageSource.ESTIMATED)


def together(parts: Sequence[Metered]) -> Metered:
    """What several calls used. An estimate as soon as one of them is."""
    sources = {part.source for part in parts} - {UsageSource.NONE}
    source = UsageSource.ESTIMATED if len(sources) > 1 else next(iter(sources), UsageSource.NONE)
    return Metered(total_of(part.usage for part in parts), source)
