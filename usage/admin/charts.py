"""A report over time as bars, in the form that the theme's charts take."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from lib.money import NANO_PER_DOLLAR
from usage.pieces import BY_TIME
from usage.reports import Report

#: Values of the second dimension with a color of their own, from the largest on.
COLORED = 5
SHADES = ("600", "400", "800", "300", "500")
REST = "all others"
LABELS = 12


def chart_of(report: Report) -> str:
    """Costs by unit of time. Empty where the report is not by time."""
    if report.question.dimensions[0] not in BY_TIME:
        return ""
    labels = [bucket.label for bucket in report.question.buckets()]
    colored = _colored(report)
    bars: dict[str, Counter[str]] = {name: Counter() for name in colored}
    for line in report.lines:
        name = _name(line.names)
        bars.setdefault(name if name in colored else REST, Counter())[line.names[0]] += int(
            report.money(line).scaleb(9)
        )
    datasets = [_bars(name, costs, labels, n) for n, (name, costs) in enumerate(bars.items())]
    return json.dumps({"labels": labels, "datasets": datasets})


def _colored(report: Report) -> list[str]:
    costs: Counter[str] = Counter()
    for line in report.lines:
        costs[_name(line.names)] += line.sums["cost_nano"]
    return [name for name, _ in costs.most_common(COLORED)]


def _name(names: tuple[str, ...]) -> str:
    return (names[1] or "none") if len(names) > 1 else "Cost"


def _bars(name: str, costs: Counter[str], labels: list[str], number: int) -> dict[str, Any]:
    shade = f"var(--color-primary-{SHADES[number]})" if name != REST else "var(--color-base-400)"
    return {
        "label": name,
        "data": [costs[label] / NANO_PER_DOLLAR for label in labels],
        "backgroundColor": shade,
        "stack": "time",
        "maxBarThickness": 28,
        "displayYAxis": True,
        "maxTicksXLimit": LABELS,
    }
