"""Nano-dollars as people read them."""

from __future__ import annotations

from decimal import Decimal

#: Of a sum below one dollar, so many digits that are not leading zeros.
DIGITS = 3


def dollars(nano: int | None) -> str:
    """Dollars and cents; below one dollar, three digits. None is unknown, which is not zero."""
    if nano is None:
        return "unknown"
    amount = Decimal(nano).scaleb(-9)
    places = 2 if amount >= 1 or not amount else DIGITS - 1 - amount.adjusted()
    return f"${amount:,.{places}f}"


def exact_dollars(nano: int | None) -> str:
    """To the last nano-dollar."""
    if nano is None:
        return "unknown"
    return f"{'-' if nano < 0 else ''}${abs(Decimal(nano)).scaleb(-9):,.9f}"
