"""How much a key, team or user may use: limits per window, budgets per period, plans of both."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from accounts.models.people import Team, User
from registry.models import Alias, Managed

if TYPE_CHECKING:
    from accounts.models.keys import ApiKey

#: The name of a model, with * as a wildcard, in a limit or in what a key may use.
MODEL_PATTERN = re.compile(r"[A-Za-z0-9*][A-Za-z0-9._:/@+*-]*")
#: In US dollars. Redis compares amounts as doubles, which hold every nano-dollar up to here.
LARGEST_BUDGET = Decimal(9_000_000)


class Plan(Managed):
    """A named set of limits and budgets. Each key that has it counts for itself."""

    name = models.CharField(max_length=100, unique=True)
    description = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Scoped(models.Model):
    """Something that holds for exactly one key, team or user, or for each key of one plan."""

    key = models.ForeignKey(
        "accounts.ApiKey",
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="%(class)ss",
    )
    team = models.ForeignKey(
        Team, on_delete=models.CASCADE, null=True, blank=True, related_name="%(class)ss"
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="%(class)ss",
    )
    plan = models.ForeignKey(
        Plan, on_delete=models.CASCADE, null=True, blank=True, related_name="%(class)ss"
    )

    class Meta:
        abstract = True
        constraints = [
            models.CheckConstraint(
                condition=(
                    Q(key__isnull=False, team=None, user=None, plan=None)
                    | Q(key=None, team__isnull=False, user=None, plan=None)
                    | Q(key=None, team=None, user__isnull=False, plan=None)
                    | Q(key=None, team=None, user=None, plan__isnull=False)
                ),
                name="%(app_label)s_%(class)s_one_scope",
            )
        ]

    @property
    def scope(self) -> ApiKey | Team | User | Plan | None:
        """Whom it holds for. None only before it is saved."""
        return self.key or self.team or self.user or self.plan

    @property
    def manifest(self) -> str:
        """The manifest that its key, team or plan comes from, and it with them."""
        return getattr(self.scope, "managed_by", "")


class RateLimit(Scoped):
    """So many requests or tokens per window, or so many requests at once."""

    class Metric(models.TextChoices):
        REQUESTS = "requests", "Requests"
        TOKENS = "tokens", "Tokens"
        INPUT_TOKENS = "input_tokens", "Input tokens"
        OUTPUT_TOKENS = "output_tokens", "Output tokens"
        CONCURRENCY = "concurrency", "Requests at the same time"

    class Window(models.IntegerChoices):
        SECOND = 1, "per second"
        MINUTE = 60, "per minute"
        HOUR = 3600, "per hour"
        DAY = 86400, "per day"

    metric = models.CharField(max_length=16, choices=Metric)
    window_s = models.PositiveIntegerField("window", choices=Window, default=Window.MINUTE)
    amount = models.PositiveBigIntegerField()
    model = models.CharField(
        max_length=200,
        blank=True,
        help_text="Only requests for this model count; * is a wildcard. Empty: all of them.",
    )

    class Meta(Scoped.Meta):
        constraints = [
            *Scoped.Meta.constraints,
            models.UniqueConstraint(
                fields=["key", "team", "user", "plan", "metric", "window_s", "model"],
                name="accounts_ratelimit_unique",
                nulls_distinct=False,
            ),
        ]

    def __str__(self) -> str:
        window = "" if self.metric == self.Metric.CONCURRENCY else f" {self.get_window_s_display()}"
        model = f" of {self.model}" if self.model else ""
        return f"{self.amount:,} {self.get_metric_display().lower()}{window}{model}"

    def clean(self) -> None:
        if self.model and not MODEL_PATTERN.fullmatch(self.model):
            message = (
                "Enter the name of a model, such as gpt-4o, with * as a wildcard: vendor/*. "
                "It has letters, digits and . _ : / @ + -"
            )
            raise ValidationError({"model": message})
        alias = Alias.objects.filter(name=self.model).select_related("model").first()
        if alias:
            # Requests are counted by the model that serves them, under whatever name it was asked.
            message = f"“{alias.name}” is another name of {alias.model.name}: name that one."
            raise ValidationError({"model": message})


def usual_thresholds() -> list[int]:
    """The percentages at which a budget raises an alert, unless others are chosen."""
    return [50, 80, 100]


def check_thresholds(percentages: object) -> None:
    """Raise a ValidationError unless these are whole percentages from 1 to 1000."""
    if not isinstance(percentages, list) or not all(
        isinstance(one, int) and not isinstance(one, bool) and 1 <= one <= 1000
        for one in percentages
    ):
        raise ValidationError("Enter whole percentages from 1 to 1000, separated by commas.")


#: How long a rolling window is.
SPANS = {"day": "24 hours", "week": "7 days", "month": "30 days"}


class Budget(Scoped):
    """So many US dollars per period, in the time zone of the team (of a user's: in UTC)."""

    class Period(models.TextChoices):
        DAY = "day", "Day"
        WEEK = "week", "Week"
        MONTH = "month", "Month"
        TOTAL = "total", "Once"

    class Window(models.TextChoices):
        CALENDAR = "calendar", "Calendar"
        ROLLING = "rolling", "Rolling"

    amount = models.DecimalField(
        "amount in US dollars",
        max_digits=14,
        decimal_places=6,
        validators=[MinValueValidator(Decimal(0)), MaxValueValidator(LARGEST_BUDGET)],
    )
    period = models.CharField(max_length=8, choices=Period, default=Period.MONTH)
    window = models.CharField(
        max_length=8,
        choices=Window,
        default=Window.CALENDAR,
        help_text=(
            "Calendar: from the first midnight of the period to its last, in the team's time "
            "zone. Rolling: the last 24 hours, 7 days or 30 days, at every moment."
        ),
    )
    hard = models.BooleanField(
        default=True, help_text="Refuse requests when it is used up, instead of only warning."
    )
    thresholds = models.JSONField(
        "alert at percent",
        default=usual_thresholds,
        blank=True,
        validators=[check_thresholds],
        help_text="Each raises one alert per period.",
    )
    #: Spending from before this moment does not count. Null: all of the period's does.
    counts_from = models.DateTimeField(null=True, blank=True)

    class Meta(Scoped.Meta):
        constraints = [
            *Scoped.Meta.constraints,
            models.UniqueConstraint(
                fields=["key", "team", "user", "plan", "period", "window"],
                name="accounts_budget_unique",
                nulls_distinct=False,
            ),
        ]

    def __str__(self) -> str:
        amount = f"${self.amount.normalize():f}"
        if self.window == self.Window.ROLLING:
            return f"{amount} in any {SPANS[self.period]}"
        if self.period == self.Period.TOTAL:
            return f"{amount} once"
        return f"{amount} per {self.get_period_display().lower()}"

    def clean(self) -> None:
        if self.period == self.Period.TOTAL and self.window == self.Window.ROLLING:
            raise ValidationError({"window": "A budget that is given once has no rolling window."})


class BudgetRaise(models.Model):
    """So much more for a while. It ends by itself, and is kept to tell who granted it and why."""

    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="raises")
    amount = models.DecimalField(
        "additional amount in US dollars",
        max_digits=14,
        decimal_places=6,
        validators=[MinValueValidator(Decimal("0.000001")), MaxValueValidator(LARGEST_BUDGET)],
    )
    starts_at = models.DateTimeField(default=timezone.now)
    ends_at = models.DateTimeField()
    reason = models.CharField(max_length=300)
    granted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        editable=False,
        related_name="+",
    )
    granted_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-starts_at"]
        constraints = [
            models.CheckConstraint(
                condition=Q(ends_at__gt=F("starts_at")), name="accounts_budgetraise_has_an_end"
            )
        ]

    def __str__(self) -> str:
        return f"${self.amount.normalize():f} more until {self.ends_at:%Y-%m-%d %H:%M}"

    def clean(self) -> None:
        if self.ends_at and self.starts_at and self.ends_at <= self.starts_at:
            raise ValidationError({"ends_at": "Choose a moment after the start."})
