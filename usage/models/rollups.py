"""Sums of what happened, per hour and per day. Made by roll-ups only; any can be made anew."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from usage.models.records import Dimensions, unconstrained


class Measures(models.Model):
    """The sums. Adjustments are in them, so that any but `requests` may go down."""

    requests = models.BigIntegerField(default=0)
    errors = models.BigIntegerField(default=0)
    estimated = models.BigIntegerField("requests with estimated usage", default=0)
    unpriced = models.BigIntegerField("requests with unknown cost", default=0)
    input_tokens = models.BigIntegerField(default=0)
    cached_input_tokens = models.BigIntegerField(default=0)
    cache_write_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)
    images = models.BigIntegerField(default=0)
    #: In billionths of a US dollar; requests with unknown cost add nothing.
    cost_nano = models.BigIntegerField(default=0)
    #: Of it, what rests on estimated usage.
    estimated_cost_nano = models.BigIntegerField(default=0)
    provider_cost_nano = models.BigIntegerField(default=0)

    class Meta:
        abstract = True

    SUMS = (
        "requests",
        "errors",
        "estimated",
        "unpriced",
        "input_tokens",
        "cached_input_tokens",
        "cache_write_tokens",
        "output_tokens",
        "reasoning_tokens",
        "images",
        "cost_nano",
        "estimated_cost_nano",
        "provider_cost_nano",
    )


def _unique(table: str, when: str, *more: str) -> models.UniqueConstraint:
    return models.UniqueConstraint(
        fields=[when, *Dimensions.KEYS, *more],
        name=f"usage_{table}_unique",
        nulls_distinct=False,
    )


class HourlyUsage(Dimensions, Measures):
    """The sums of one hour, in UTC."""

    hour = models.DateTimeField()

    class Meta:
        verbose_name = "hourly usage"
        verbose_name_plural = "hourly usage"
        constraints = [_unique("hourly", "hour")]
        indexes = [
            models.Index(fields=["team", "hour"], name="usage_hourly_team"),
            models.Index(fields=["key", "hour"], name="usage_hourly_key"),
            models.Index(fields=["user", "hour"], name="usage_hourly_user"),
        ]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00} {self.key_name} {self.model}"


class DailyUsage(Dimensions, Measures):
    """The sums of one day, in UTC."""

    day = models.DateField()

    class Meta:
        verbose_name = "daily usage"
        verbose_name_plural = "daily usage"
        ordering = ["-day", "team_name", "key_name", "model"]
        constraints = [_unique("daily", "day")]
        indexes = [
            models.Index(fields=["team", "day"], name="usage_daily_team"),
            models.Index(fields=["key", "day"], name="usage_daily_key"),
            models.Index(fields=["user", "day"], name="usage_daily_user"),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.key_name} {self.model}"


class HourlyTagUsage(Dimensions, Measures):
    """The sums of one hour and one tag. A request with two tags is in two of them."""

    hour = models.DateTimeField()
    tag = models.CharField(max_length=36)

    class Meta:
        verbose_name = "hourly usage of a tag"
        constraints = [_unique("hourlytag", "hour", "tag")]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00} {self.tag}"


class DailyTagUsage(Dimensions, Measures):
    """The sums of one day and one tag. A request with two tags is in two of them."""

    day = models.DateField()
    tag = models.CharField(max_length=36)

    class Meta:
        verbose_name = "daily usage of a tag"
        constraints = [_unique("dailytag", "day", "tag")]

    def __str__(self) -> str:
        return f"{self.day} {self.tag}"


class HourlyAttempts(models.Model):
    """Upstream attempts of one hour, in UTC, and what was spent on those that nobody received."""

    hour = models.DateTimeField()
    team = unconstrained("accounts.Team")
    key = unconstrained("accounts.ApiKey")
    model = models.CharField(max_length=200)
    provider_name = models.CharField("provider", max_length=64)
    upstream_model = models.CharField(max_length=200)
    outcome = models.CharField(max_length=48)
    received = models.BooleanField()
    attempts = models.BigIntegerField(default=0)
    cost_nano = models.BigIntegerField(default=0)
    #: Attempts whose cost nobody knows.
    unpriced = models.BigIntegerField(default=0)

    KEYS = (
        "team",
        "key",
        "model",
        "provider_name",
        "upstream_model",
        "outcome",
        "received",
    )
    SUMS = ("attempts", "cost_nano", "unpriced")

    class Meta:
        verbose_name = "hourly attempts"
        verbose_name_plural = "hourly attempts"
        constraints = [
            models.UniqueConstraint(
                fields=[
                    "hour",
                    "team",
                    "key",
                    "model",
                    "provider_name",
                    "upstream_model",
                    "outcome",
                    "received",
                ],
                name="usage_hourlyattempts_unique",
            )
        ]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00} {self.provider_name} {self.outcome}"


class RollupMark(models.Model):
    """How far the roll-ups have read the log. One row.

    `upto` is a transaction id of PostgreSQL (xid8): everything that committed transactions
    below it wrote is in the sums, and nothing that others wrote. 0: nothing was read yet. In
    SQLite, whose writers come one after another, it is unused: marks of changed hours serve
    there.
    """

    upto = models.BigIntegerField(default=0)
    #: The cluster whose ids they are, so that a log that was restored in another is noticed.
    cluster = models.CharField(max_length=20, default="")
    #: When `upto` last moved.
    at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.upto} at {self.at:%Y-%m-%d %H:%M:%S}"


class StaleHour(models.Model):
    """A mark that something was added to an hour. The roll-up that takes it sums that hour anew.

    Where there are no transaction ids to go by. Every batch leaves marks of its own in its
    own transaction, so that nothing is missed.
    """

    hour = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00}"


class Reconciliation(models.Model):
    """One comparison of the log, its sums, and what Redis holds of budgets."""

    at = models.DateTimeField(default=timezone.now)
    #: The days that were compared, in UTC.
    first_day = models.DateField()
    last_day = models.DateField()
    #: Whether all of those days was compared, and not only their last hours.
    whole_days = models.BooleanField(default=True)
    differs = models.BooleanField(default=False)
    #: What differs, as lists of lines for people; empty lists where nothing does.
    findings = models.JSONField(default=dict)
    #: The largest difference found, in billionths of a US dollar.
    drift_nano = models.BigIntegerField(default=0)
    fixed = models.BooleanField(default=False)
    took_ms = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["-at"]

    def __str__(self) -> str:
        return f"{self.first_day} to {self.last_day} at {self.at:%Y-%m-%d %H:%M}"
