"""Numbers as people read them: 12,345, 1.2M, 3.4%, $0.0031."""

from __future__ import annotations

from django import template

from usage.money import dollars

register = template.Library()
register.filter("dollars", dollars)


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
def share_of(part: int, whole: int) -> str:
    """Part of a whole, in percent."""
    return f"{part / whole:.1%}" if whole else "0%"
