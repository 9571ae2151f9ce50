"""Token counts of one answer, by class."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """What one answer used. Names are OpenTelemetry's.

    `cached_input_tokens` and `cache_write_tokens` are parts of `input_tokens`;
    `reasoning_tokens` are a part of `output_tokens`.
    """

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens
