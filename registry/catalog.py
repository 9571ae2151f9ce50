"""The shipped list: prices and context windows as published, offline from `genai-prices`.

Where a list is finer than a price of ours can be, the dearest figure is taken, so that
nothing is given away, and a note says what was left out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import ROUND_CEILING, Decimal
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from registry.models import Price, Provider

if TYPE_CHECKING:
    from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice

SOURCE = f"genai-prices {version('genai-prices')}"
#: Units of the list, to the figure that holds them. Modalities that usage does not tell
#: apart share one.
PER_MILLION_TOKENS = {
    "input": ("input", "input_text", "input_image", "input_video"),
    "cached_input": (
        *("cache_read", "cache_text_read", "cache_audio_read"),
        *("cache_image_read", "cache_video_read"),
    ),
    "cache_write": ("cache_write", "cache_write_5m"),
    "cache_write_1h": ("cache_write_1h",),
    "output": ("output", "output_text", "output_image", "output_video", "output_citation"),
    "reasoning": ("output_reasoning",),
    "audio_input": ("input_audio",),
    "audio_output": ("output_audio",),
}
FIGURES = {
    **{f"{unit}_mtok": name for name, units in PER_MILLION_TOKENS.items() for unit in units},
    "requests_kcount": "request",
    "web_searches_kcount": "search_unit",
}
THOUSAND = "_kcount"
#: Without one of these a price says nothing of what Courier can meter.
NEEDED = frozenset({"input", "output", "request"})
SMALLEST = Decimal("0.000001")
LARGEST = Decimal(999_999)


@dataclass(frozen=True, slots=True)
class Listed:
    """What the list says that a model costs from a day on."""

    #: None: ever since.
    first_day: date | None
    #: US dollars, by the names of `Price.FIGURES`. Those that the list does not have are left out.
    figures: dict[str, Decimal]
    #: What a price of ours cannot hold, as sentences.
    notes: tuple[str, ...]

    @property
    def starts_at(self) -> datetime | None:
        return datetime.combine(self.first_day, time(), UTC) if self.first_day else None

    @property
    def is_usable(self) -> bool:
        return bool(NEEDED & self.figures.keys()) and max(self.figures.values()) <= LARGEST

    def row(self) -> Price:
        """A price row with these figures, without a model, not saved."""
        is_free = not any(self.figures.values())
        return Price(free=is_free, source=SOURCE, **({} if is_free else self.figures))


@dataclass(frozen=True, slots=True)
class Entry:
    """A model of the list."""

    #: Such as "openai / gpt-4o-mini".
    name: str
    #: Oldest first; the first holds ever since.
    periods: tuple[Listed, ...]
    #: In tokens. None: the list does not say.
    context_window: int | None = None

    def since(self, moment: datetime) -> Iterator[tuple[datetime, Listed]]:
        """What holds at `moment`, and whatever comes later, each with its start."""
        begun = [each for each in self.periods if not each.starts_at or each.starts_at <= moment]
        if begun:
            yield moment, begun[-1]
        for each in self.periods[len(begun) :]:
            yield each.starts_at or moment, each


def find(provider: Provider, upstream_model: str) -> Entry | None:
    """The entry for what a provider, told by its address, calls `upstream_model`."""
    # Imported here: it is large, and no process but the one that asks needs it.
    from genai_prices.data import providers

    url = provider.effective_base_url
    for vendor in providers:
        if re.match(vendor.api_pattern, url):
            model = vendor.find_model(upstream_model, all_providers=providers)
            if model:
                name, window = f"{vendor.id} / {model.id}", model.context_window
                return Entry(name, tuple(_periods(model)), window)
    return None


def _periods(model: ModelInfo) -> Iterator[Listed]:
    conditional = model.prices if isinstance(model.prices, list) else [_always(model.prices)]
    days = {getattr(each.constraint, "start_date", None) for each in conditional}
    variants = sorted({value for variant in model.price_variants or ()
                       for value in variant.when.values()})  # fmt: skip
    others = [f"Prices for {', '.join(variants)} processing are left out."] if variants else []
    for day in sorted(days, key=lambda day: day or date.min):
        figures, notes = _dearest(_in_force(conditional, day))
        yield Listed(day, figures, (*notes, *others))


def _always(prices: ModelPrice) -> ConditionalPrice:
    from genai_prices.types import ConditionalPrice

    return ConditionalPrice(prices=prices)


def _in_force(conditional: Iterable[ConditionalPrice], day: date | None) -> list[ModelPrice]:
    """The prices of a day: that of the last start, and each for a part of the day after it."""
    found: list[ModelPrice] = []
    for each in conditional:
        start = getattr(each.constraint, "start_date", None)
        if hasattr(each.constraint, "start_time"):
            found.append(each.prices)
        elif start is None or (day is not None and start <= day):
            found = [each.prices]
    return found


def _dearest(by_time: list[ModelPrice]) -> tuple[dict[str, Decimal], list[str]]:
    """The dearest figure of each kind, and a sentence on each that was passed over for it."""
    offered: dict[str, set[Decimal]] = defaultdict(set)
    notes: list[str] = []
    for prices in by_time:
        for key, value in _priced(prices):
            if key in FIGURES:
                offered[FIGURES[key]] |= set(_each(key, value))
            else:
                notes.append(f"Prices per {_words(key)} are left out.")
    if len(by_time) > 1:
        notes.append("The price depends on the time of day.")
    for name, figures in offered.items():
        if len(figures) > 1:
            notes.append(_choice(name, sorted(figures)))
    return {name: max(figures) for name, figures in offered.items()}, _once(notes)


def _priced(prices: ModelPrice) -> Iterator[tuple[str, Any]]:
    for key, value in vars(prices).items():
        if value is not None and not key.startswith("_"):
            yield key, value


def _each(key: str, value: Any) -> Iterator[Decimal]:
    """The figure, or each of its tiers by the length of the input, in the unit of ours."""
    unit = 1000 if key.endswith(THOUSAND) else 1
    tiers = getattr(value, "tiers", None)
    prices = [value] if tiers is None else [value.base, *(tier.price for tier in tiers)]
    for price in prices:
        yield (Decimal(price) / unit).quantize(SMALLEST, rounding=ROUND_CEILING)


def _choice(name: str, figures: list[Decimal]) -> str:
    dollars = [f"${figure.normalize():f}" for figure in figures]
    return (
        f"{Price.label(name).capitalize()}: listed at {', '.join(dollars[:-1])} and {dollars[-1]}, "
        "by length, time or kind; the dearest is taken."
    )


def _words(key: str) -> str:
    """A unit of the list for people, such as "audio hours"."""
    return key.removesuffix(THOUSAND).replace("_", " ")


def _once(notes: list[str]) -> list[str]:
    return list(dict.fromkeys(notes))
