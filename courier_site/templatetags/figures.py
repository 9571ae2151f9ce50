"""Numbers as people read them: 12,345, 1.2M, $0.0031."""

from __future__ import annotations

from django import template

register = template.Library()

NANO = 1_000_000_000


@register.filter
def counted(number: int) -> str:
    """Every digit, in groups of three."""
    return f"{number:,}"


@register.filter
def compact(number: int) -> str:
    """Three digits or so: 950, 12.3K, 1.2M."""
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return str(number)


@register.filter
def dollars(nano: int) -> str:
    """Nano-dollars in dollars and cents; less than a dollar, to the hundredth of a cent."""
    amount = nano / NANO
    return f"${amount:,.4f}" if 0 < amount < 1 else f"${amount:,.2f}"


@register.filter
def share_of(part: int, whole: int) -> str:
    """Part of a whole, in percent."""
    return f"{part / whole:.1%}" if whole else "0%"
