"""How much a team, key or plan of a manifest may use: its limits and budgets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from accounts.models import ApiKey, Budget, Plan, RateLimit, Team
from courier_site.manifest.document import Entry
from courier_site.manifest.vocabulary import LIMITS
from courier_site.manifest.writing import Writer

Owner = Team | ApiKey | Plan


def put_limits(writer: Writer, entry: Entry, owner: Owner) -> None:
    """Make the limits of a team, key or plan those of the manifest."""
    if not writer.decides(owner, entry, "limits"):
        return
    present = []
    for model, limits in _limits_by_model(entry):
        for name in filter(LIMITS.__contains__, limits):
            row = _limit(owner, name, model)
            wanted = {"amount": limits.whole(name)}
            label = f"limit {name}{f' for {model}' if model else ''} of {_label(owner)}"
            present.append(writer.put(row, wanted, limits, label).pk)
    writer.drop(owner.ratelimits.exclude(pk__in=present))


def _limits_by_model(entry: Entry) -> Iterator[tuple[str, Entry]]:
    """The limits for all models, under the empty name, and those for some."""
    if "limits" not in entry:
        return
    limits = entry.entry("limits")
    limits.only(*LIMITS, "models")
    yield "", limits
    if "models" not in limits:
        return
    models = limits.entry("models")
    for model in models:
        of_model = models.entry(model)
        of_model.only(*LIMITS)
        yield model, of_model


def _limit(owner: Owner, name: str, model: str) -> RateLimit:
    metric, window = LIMITS[name]
    rows = owner.ratelimits.filter(metric=metric, model=model)
    if metric != RateLimit.Metric.CONCURRENCY:
        rows = rows.filter(window_s=window)
    new = RateLimit(metric=metric, window_s=window, model=model, **_scope(owner))
    return rows.first() or new


def put_budgets(writer: Writer, entry: Entry, owner: Owner) -> None:
    """Make the budgets of a team, key or plan those of the manifest."""

    def put(item: Entry) -> Budget:
        item.only("amount", "period", "window", "hard", "thresholds", "counts_from")
        period = item.choice("period", Budget.Period.values)
        windows = Budget.Window.values
        window = item.choice("window", windows) if "window" in item else Budget.Window.CALENDAR
        kind = {"period": period, "window": window}
        row = owner.budgets.filter(**kind).first() or Budget(**kind, **_scope(owner))
        rolling = "rolling " if window == Budget.Window.ROLLING else ""
        label = f"{rolling}budget per {period} of {_label(owner)}"
        return writer.put(row, _budget_fields(item), item, label)

    writer.exactly(owner, owner.budgets.all(), entry, "budgets", put)


def _budget_fields(entry: Entry) -> dict[str, Any]:
    fields: dict[str, Any] = {"amount": entry.decimal("amount")}
    if "hard" in entry:
        fields["hard"] = entry.flag("hard")
    if "thresholds" in entry:
        fields["thresholds"] = sorted(set(entry.wholes("thresholds")))
    if "counts_from" in entry:
        fields["counts_from"] = entry.moment("counts_from")
    return fields


def _scope(owner: Owner) -> dict[str, Any]:
    return {str(owner._meta.model_name).removeprefix("api"): owner}


def _label(owner: Owner) -> str:
    return f"{owner._meta.verbose_name} {owner.name}".removeprefix("API ")
