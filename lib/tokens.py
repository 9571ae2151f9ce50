"""What one answer used, by class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """What one answer used. Names are OpenTelemetry's.

    `cached_input_tokens`, `cache_write_tokens` and `audio_input_tokens` are disjoint parts of
    `input_tokens`, and `cache_write_1h_tokens` is the part of `cache_write_tokens` that is
    kept for an hour. `reasoning_tokens` and `audio_output_tokens` are disjoint parts of
    `output_tokens`. Images made and search units are counted, not tokens.
    """

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_1h_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    images: int = 0
    search_units: int = 0

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


def total_of(usages: Iterable[TokenUsage]) -> TokenUsage:
    """What several answers used together, class by class."""
    all_of_them = tuple(usages)
    return TokenUsage(**{name: sum(getattr(each, name) for each in all_of_them) for name in _NAMES})


_NAMES = tuple(field.name for field in fields(TokenUsage))
