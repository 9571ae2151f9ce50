"""What the list of models tells of each beyond OpenAI's fields: abilities, limits, prices."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from accounts.principals import Principal
from gateway.dialects.base import Json
from registry.capabilities import TRAITS
from registry.pricing import BASIS_POINTS, PICO_PER_DOLLAR, PICO_PER_TOKEN, Price
from registry.snapshot import Model, Snapshot

#: Per million tokens.
OF_TOKENS = (
    *("input", "cached_input", "cache_write", "cache_write_1h", "audio_input"),
    *("output", "reasoning", "audio_output"),
)
#: For each.
OF_EACH = ("request", "image", "search_unit")


def facts_of(model: Model, aliases: list[str], principal: Principal) -> Json:
    """Facts as fields. Null: nobody has said. Prices are what this key is charged."""
    told = model.capabilities.told()
    return {
        "description": model.description,
        "aliases": aliases,
        "context_window": told.get("context_window"),
        "max_output_tokens": told.get("output_limit"),
        "capabilities": {name: told[name] for name in TRAITS if name in told},
        "pricing": _pricing(_usual_price(model), principal.markup_bp),
    }


def names_of_each(snapshot: Snapshot, principal: Principal) -> dict[str, list[str]]:
    """The names under which a key may ask for each model, by the model's own name."""
    names: dict[str, list[str]] = {}
    for name, model in sorted(snapshot.names.items()):
        if "*" not in name and principal.may_use(name):
            names.setdefault(model, []).append(name)
    return names


def _usual_price(model: Model) -> Price | None:
    """The price now of the route that is tried first."""
    now = datetime.now(UTC)
    first = min(model.targets, key=lambda target: target.priority, default=None)
    return model.price_for(first, now) if first else model.price_at(now)


def _pricing(price: Price | None, markup_bp: int) -> dict[str, Any] | None:
    """US dollars as text, the markup included; None where the price is unknown."""
    if price is None:
        return None
    share = Decimal(max(BASIS_POINTS + markup_bp, 0)) / BASIS_POINTS
    units = {**dict.fromkeys(OF_TOKENS, PICO_PER_TOKEN), **dict.fromkeys(OF_EACH, PICO_PER_DOLLAR)}
    return {
        name: _plain(Decimal(getattr(price, name)) * share / unit) for name, unit in units.items()
    }


def _plain(amount: Decimal) -> str:
    return f"{amount.normalize():f}"
