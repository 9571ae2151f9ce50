"""Figures of reports and statements."""

from __future__ import annotations

from django import template

from usage.money import dollars, exact_dollars

register = template.Library()
register.filter("exact", exact_dollars)
register.filter("short", dollars)


@register.filter
def grouped(number: int) -> str:
    """In groups of three."""
    return f"{number:,}"


@register.filter
def percent(share: float) -> str:
    return f"{share:.1%}"
