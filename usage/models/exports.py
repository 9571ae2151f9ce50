"""Reports that people define, and the files that were made of them."""

from __future__ import annotations

from decimal import Decimal

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone

from accounts.models import check_time_zone


class ReportDefinition(models.Model):
    """What a report is of. The same definition and as-of give the same bytes."""

    class Dimension(models.TextChoices):
        HOUR = "hour", "Hour"
        DAY = "day", "Day"
        MONTH = "month", "Month"
        TEAM = "team", "Team"
        USER = "user", "User"
        KEY = "key", "API key"
        MODEL = "model", "Model"
        PROVIDER = "provider", "Provider"
        TAG = "tag", "Tag"

    class Period(models.TextChoices):
        TODAY = "today", "Today"
        YESTERDAY = "yesterday", "Yesterday"
        LAST_7_DAYS = "last_7_days", "The last 7 days"
        LAST_30_DAYS = "last_30_days", "The last 30 days"
        THIS_MONTH = "this_month", "This month"
        LAST_MONTH = "last_month", "Last month"
        FIXED = "fixed", "From one day to another"

    class Format(models.TextChoices):
        CSV = "csv", "CSV"
        PARQUET = "parquet", "Parquet"

    class Schedule(models.TextChoices):
        NEVER = "never", "Only on demand"
        DAILY = "daily", "Every day"
        WEEKLY = "weekly", "Every Monday"
        MONTHLY = "monthly", "On the first of every month"

    name = models.CharField(max_length=100, unique=True)
    first_dimension = models.CharField(
        "by", max_length=8, choices=Dimension, default=Dimension.TEAM
    )
    second_dimension = models.CharField("and by", max_length=8, choices=Dimension, blank=True)
    period = models.CharField(max_length=16, choices=Period, default=Period.LAST_MONTH)
    first_day = models.DateField("from", null=True, blank=True)
    last_day = models.DateField("to", null=True, blank=True, help_text="Including that day.")
    #: Column of `Dimensions`, or `tag`, to the values that are left in.
    filters = models.JSONField(default=dict, blank=True)
    time_zone = models.CharField(
        "time zone", max_length=64, default="UTC", validators=[check_time_zone]
    )
    currency = models.CharField(max_length=3, default="USD")
    rate = models.DecimalField(
        "of it per US dollar",
        max_digits=14,
        decimal_places=6,
        default=Decimal(1),
        validators=[MinValueValidator(Decimal("0.000001"))],
        help_text="Kept with the definition, so that a report can be repeated.",
    )
    format = models.CharField(max_length=8, choices=Format, default=Format.CSV)
    schedule = models.CharField(max_length=8, choices=Schedule, default=Schedule.NEVER)
    #: Email addresses that a scheduled report is announced to.
    recipients = models.JSONField(default=list, blank=True)
    last_run_at = models.DateTimeField(null=True, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        editable=False,
        related_name="+",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = "report"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class AsOf(models.Model):
    """A moment that reports were made as of, and where the log ended when the first was made.

    `upto` is a transaction id of PostgreSQL (xid8): a report knows what lower ones wrote. Kept
    for good, for a later report of the same moment must know exactly the same.
    """

    at = models.DateTimeField(unique=True)
    upto = models.BigIntegerField(default=0)

    class Meta:
        verbose_name = "moment of reports"
        verbose_name_plural = "moments of reports"
        ordering = ["-at"]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} UTC"


class Export(models.Model):
    """Who took which part of the log or which report, and how it ended."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        FAILED = "failed", "Broken off"

    class Kind(models.TextChoices):
        REQUESTS = "requests", "Requests"
        REPORT = "report", "Report"

    kind = models.CharField(max_length=8, choices=Kind, default=Kind.REQUESTS)
    format = models.CharField(
        max_length=8, choices=ReportDefinition.Format, default=ReportDefinition.Format.CSV
    )
    definition = models.ForeignKey(
        ReportDefinition, on_delete=models.SET_NULL, null=True, blank=True, related_name="exports"
    )
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="exports"
    )
    filters = models.JSONField(default=dict, help_text="The filters of the list, as in its URL.")
    #: What a report is of, as its definition said then: a definition may be changed.
    question = models.JSONField(default=dict, blank=True)
    #: The report knows what had been recorded by then, and nothing later.
    as_of = models.DateTimeField(null=True)
    state = models.CharField(max_length=8, choices=State, default=State.RUNNING)
    rows = models.PositiveBigIntegerField(default=0)
    #: About how many there will be, for the progress bar. Null where nobody knows.
    expected_rows = models.PositiveBigIntegerField(null=True)
    #: In the folder of exports. Empty for what was only streamed to a browser.
    file = models.CharField(max_length=200, blank=True)
    size = models.PositiveBigIntegerField(default=0)
    sha256 = models.CharField("SHA-256", max_length=64, blank=True)
    started_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True)
    #: The worker that has it, so that two deliveries of one task do not both write.
    claim = models.CharField(max_length=32, blank=True, editable=False)
    #: When that worker was last heard of. Null for what is streamed to a browser.
    heard_at = models.DateTimeField(null=True, editable=False)
    tries = models.PositiveSmallIntegerField(default=0, editable=False)
    #: Why there is no file, for people.
    trouble = models.CharField(max_length=200, blank=True)
    is_scheduled = models.BooleanField(default=False, editable=False)
    #: When the recipients of a scheduled report were told.
    told_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-started_at"]

    def __str__(self) -> str:
        return f"Export of {self.started_at:%Y-%m-%d %H:%M}"
