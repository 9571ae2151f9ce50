"""Whether the log, the hours and the days say the same, added up without the code under test."""

from collections import Counter, defaultdict

from usage.models import (
    DailyTagUsage,
    DailyUsage,
    HourlyAttempts,
    HourlyTagUsage,
    HourlyUsage,
    UsageAdjustment,
    UsageAttempt,
    UsageRecord,
)

SCOPE = ("team_id", "user_id", "key_id")
FIGURES = ("input_tokens", "output_tokens", "cost_nano", "provider_cost_nano")


def added_up(*sources):
    """Requests, tokens and costs of each scope."""
    scopes = defaultdict(Counter)
    for rows in sources:
        for row in rows:
            scope = scopes[tuple(row[name] for name in SCOPE)]
            scope["requests"] += row.get("requests", 1)
            scope.update({name: row[name] or 0 for name in FIGURES})
    return {scope: dict(figures) for scope, figures in scopes.items()}


def logged():
    corrections = [row | {"requests": 0} for row in UsageAdjustment.objects.values()]
    return added_up(UsageRecord.objects.values(), corrections)


def tagged():
    """The cost of each tag, by the log."""
    costs = Counter()
    for tags, cost_nano in UsageRecord.objects.values_list("tags", "cost_nano"):
        costs.update({tag: cost_nano or 0 for tag in tags.split(",") if tag})
    return costs


def tags_of(sheet):
    costs = Counter()
    for tag, cost_nano in sheet.objects.values_list("tag", "cost_nano"):
        costs[tag] += cost_nano
    return costs


def all_agree():
    """True, or an AssertionError that shows who differs."""
    assert logged() == added_up(HourlyUsage.objects.values()), "hours"
    assert logged() == added_up(DailyUsage.objects.values()), "days"
    assert tagged() == tags_of(HourlyTagUsage), "tags of hours"
    assert tagged() == tags_of(DailyTagUsage), "tags of days"
    assert UsageAttempt.objects.count() == sum(
        HourlyAttempts.objects.values_list("attempts", flat=True)
    ), "attempts"
    return True
