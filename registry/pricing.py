"""What answers cost: price rows as integers, and the arithmetic of charges and holds. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from lib.tokens import TokenUsage
from registry.models import Price as PriceRow

#: Prices are held in pico-dollars, of which every stored figure is a whole number: a dollar
#: per million tokens is a million of them per token.
PICO_PER_TOKEN = 10**6
PICO_PER_DOLLAR = 10**12
PICO_PER_NANO = 1000
#: Hundredths of a percent in one whole.
BASIS_POINTS = 10_000


@dataclass(frozen=True, slots=True)
class Price:
    """A price row in memory: pico-dollars per token, and per request, image and search unit."""

    id: int
    starts_at: datetime
    input: int
    cached_input: int
    cache_write: int
    cache_write_1h: int
    audio_input: int
    output: int
    reasoning: int
    audio_output: int
    request: int
    image: int
    search_unit: int

    def cost_nano(self, usage: TokenUsage) -> int:
        """What the provider charges for one answer, in nano-dollars.

        Every token is charged in one class. Rounded up: a fraction is never given away.
        """
        cached, written = usage.cached_input_tokens, usage.cache_write_tokens
        written_1h, audio_in = usage.cache_write_1h_tokens, usage.audio_input_tokens
        reasoning, audio_out = usage.reasoning_tokens, usage.audio_output_tokens
        plain_in = usage.input_tokens - cached - written - audio_in
        plain_out = usage.output_tokens - reasoning - audio_out
        # Somebody else's figures may name parts that are more than their whole.
        pico = (
            self.request
            + (plain_in * self.input if plain_in > 0 else 0)
            + cached * self.cached_input
            + (plain_out * self.output if plain_out > 0 else 0)
            + reasoning * self.reasoning
        )
        if written:
            pico += max(written - written_1h, 0) * self.cache_write
            pico += written_1h * self.cache_write_1h
        if audio_in or audio_out:
            pico += audio_in * self.audio_input + audio_out * self.audio_output
        if usage.images or usage.search_units:
            pico += usage.images * self.image + usage.search_units * self.search_unit
        return _nano(pico)

    def hold_nano(
        self, input_tokens: int, output_tokens: int, images: int = 0, search_units: int = 0
    ) -> int:
        """The most that one request with so many tokens can cost, of whichever class they are.

        Images and searches that were not asked for are not in it: tokens do not bound
        them. But what may have any holds something, so that a budget that is used up refuses it.
        """
        dearest_input = max(
            self.input, self.cached_input, self.cache_write, self.cache_write_1h, self.audio_input
        )
        dearest_output = max(self.output, self.reasoning, self.audio_output)
        tokens = input_tokens * dearest_input + output_tokens * dearest_output
        beside = images * self.image + search_units * self.search_unit
        most = _nano(self.request + tokens + beside)
        return max(most, 1) if self.image or self.search_unit else most


def _nano(pico: int) -> int:
    return -(-pico // PICO_PER_NANO)


def charged_nano(cost_nano: int, markup_bp: int) -> int:
    """What a team is charged for what a provider charges. Rounded up, and never negative.

    `markup_bp` is in hundredths of a percent; negative, it is a discount.
    """
    return max(-(-cost_nano * (BASIS_POINTS + markup_bp) // BASIS_POINTS), 0)


def in_force(prices: Sequence[Price], moment: datetime) -> Price | None:
    """The newest of these prices, oldest first, that has begun."""
    index = bisect_right(prices, moment, key=lambda price: price.starts_at)
    return prices[index - 1] if index else None


def price_of(row: PriceRow) -> Price:
    """The arithmetic of a price row: what a figure that is left out falls back to."""
    cache_write = _else(row.cache_write, row.input)
    return Price(
        id=row.pk,
        starts_at=row.starts_at,
        input=_per_token(row.input),
        cached_input=_per_token(_else(row.cached_input, row.input)),
        cache_write=_per_token(cache_write),
        cache_write_1h=_per_token(_else(row.cache_write_1h, cache_write)),
        audio_input=_per_token(_else(row.audio_input, row.input)),
        output=_per_token(row.output),
        reasoning=_per_token(_else(row.reasoning, row.output)),
        audio_output=_per_token(_else(row.audio_output, row.output)),
        request=_each(row.request),
        image=_each(row.image),
        search_unit=_each(row.search_unit),
    )


def _else(figure: Decimal | None, fallback: Decimal) -> Decimal:
    return fallback if figure is None else figure


def _per_token(per_million: Decimal) -> int:
    return int(per_million * PICO_PER_TOKEN)


def _each(dollars: Decimal | None) -> int:
    return int((dollars or 0) * PICO_PER_DOLLAR)
