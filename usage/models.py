"""Usage records, their sums per day, and the exports that people made."""

from __future__ import annotations

import datetime

from django.conf import settings
from django.db import models
from django.db.models import Count, Q, Sum
from django.utils import timezone

from lib.ids import lowest_at

#: A client that leaves is not a failure: nothing was wrong on this side of the wire.
FAILED = ~Q(outcome__in=["ok", "client_disconnected"])


class UsageRecordQuerySet(models.QuerySet["UsageRecord"]):
    def since(self, moment: datetime.datetime) -> UsageRecordQuerySet:
        """Records of requests that came in at `moment` or later. Served by the primary key."""
        return self.filter(request_id__gte=lowest_at(moment))

    def before(self, moment: datetime.datetime) -> UsageRecordQuerySet:
        """Records of requests that came in earlier than `moment`. Served by the primary key."""
        return self.filter(request_id__lt=lowest_at(moment))

    def from_day(self, day: datetime.date) -> UsageRecordQuerySet:
        return self.since(_midnight(day))

    def until_day(self, day: datetime.date) -> UsageRecordQuerySet:
        """Including that day."""
        return self.before(_midnight(day + datetime.timedelta(days=1)))

    def on(self, day: datetime.date) -> UsageRecordQuerySet:
        """Records of one day, in UTC."""
        return self.from_day(day).until_day(day)

    def failed(self) -> UsageRecordQuerySet:
        return self.filter(FAILED)

    def totals(self) -> dict[str, int]:
        """Requests, errors, tokens and cost of these records, in one query."""
        sums = self.aggregate(
            requests=Count("pk"),
            errors=Count("pk", filter=FAILED),
            input_tokens=Sum("input_tokens"),
            output_tokens=Sum("output_tokens"),
            cost_nano=Sum("cost_nano"),
        )
        return {name: value or 0 for name, value in sums.items()}


def _midnight(day: datetime.date) -> datetime.datetime:
    return datetime.datetime.combine(day, datetime.time(), datetime.UTC)


class UsageRecord(models.Model):
    """One admitted request, however it ended.

    Written by the ingester from the spool, never changed. References carry no database
    constraint and names are kept as of the call, so that the log outlives what it names
    and a batch is never refused because a key was deleted meanwhile.
    """

    class Source(models.TextChoices):
        PROVIDER = "provider", "Provider"
        ESTIMATED = "estimated", "Estimated"
        NONE = "none", "None"

    class EndReason(models.TextChoices):
        COMPLETE = "complete", "Complete"
        CLIENT_GONE = "client_gone", "Client left"
        UPSTREAM_CUT = "upstream_cut", "Upstream broke off"
        TIMEOUT = "timeout", "Time-out"
        REFUSED = "refused", "Refused or failed"
        INTERRUPTED = "interrupted", "Courier was interrupted"

    request_id = models.UUIDField(primary_key=True)
    #: In UTC, taken from the request id, so that a replay meets the same row.
    day = models.DateField()
    started_at = models.DateTimeField()
    recorded_at = models.DateTimeField(default=timezone.now)

    key = models.ForeignKey(
        "accounts.ApiKey",
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    key_name = models.CharField("API key", max_length=100)
    team = models.ForeignKey(
        "accounts.Team",
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    team_name = models.CharField("team", max_length=100)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        related_name="+",
    )
    user_name = models.CharField("user", max_length=150, blank=True)

    operation = models.CharField(max_length=24)
    streamed = models.BooleanField()
    model_asked = models.CharField(max_length=200)
    model_served = models.CharField(max_length=200, blank=True)
    provider_name = models.CharField("provider", max_length=64, blank=True)
    upstream_model = models.CharField(max_length=200, blank=True)
    attempts = models.PositiveSmallIntegerField()

    input_tokens = models.PositiveBigIntegerField()
    cached_input_tokens = models.PositiveBigIntegerField()
    cache_write_tokens = models.PositiveBigIntegerField()
    output_tokens = models.PositiveBigIntegerField()
    reasoning_tokens = models.PositiveBigIntegerField()
    usage_source = models.CharField(max_length=10, choices=Source)
    #: In billionths of a US dollar. Null where the price is unknown, which is not zero.
    cost_nano = models.PositiveBigIntegerField(null=True)
    price = models.ForeignKey(
        "registry.Price",
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        related_name="+",
    )

    first_token_ms = models.PositiveIntegerField(null=True)
    total_ms = models.PositiveIntegerField()
    outcome = models.CharField(max_length=48)
    end_reason = models.CharField(max_length=12, choices=EndReason)
    status = models.PositiveSmallIntegerField()
    client_request_id = models.CharField(max_length=64, blank=True)
    trace_id = models.CharField(max_length=32, blank=True)

    objects = UsageRecordQuerySet.as_manager()

    class Meta:
        verbose_name = "request"
        ordering = ["-request_id"]
        # Ids sort by time, so that the primary key also serves days and "newest first".
        indexes = [
            models.Index(fields=["key", "-request_id"], name="usage_record_key"),
            models.Index(fields=["team", "-request_id"], name="usage_record_team"),
            models.Index(fields=["model_served", "-request_id"], name="usage_record_model"),
            models.Index(
                fields=["-request_id"], condition=~Q(outcome="ok"), name="usage_record_not_ok"
            ),
            models.Index(
                fields=["client_request_id"],
                condition=~Q(client_request_id=""),
                name="usage_record_client_id",
            ),
        ]

    def __str__(self) -> str:
        return str(self.request_id)


class DailyUsage(models.Model):
    """The sums of one day, in UTC, for one key, model and provider. Made by roll-ups only."""

    day = models.DateField()
    key = models.ForeignKey(
        "accounts.ApiKey", on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    key_name = models.CharField("API key", max_length=100)
    team = models.ForeignKey(
        "accounts.Team", on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    team_name = models.CharField("team", max_length=100)
    model = models.CharField(max_length=200)
    provider_name = models.CharField("provider", max_length=64, blank=True)

    requests = models.PositiveBigIntegerField()
    errors = models.PositiveBigIntegerField()
    estimated = models.PositiveBigIntegerField("requests with estimated usage")
    unpriced = models.PositiveBigIntegerField("requests with unknown cost")
    input_tokens = models.PositiveBigIntegerField()
    cached_input_tokens = models.PositiveBigIntegerField()
    cache_write_tokens = models.PositiveBigIntegerField()
    output_tokens = models.PositiveBigIntegerField()
    reasoning_tokens = models.PositiveBigIntegerField()
    cost_nano = models.PositiveBigIntegerField()

    class Meta:
        verbose_name = "daily usage"
        verbose_name_plural = "daily usage"
        ordering = ["-day", "team_name", "key_name", "model"]
        constraints = [
            models.UniqueConstraint(
                fields=["day", "team", "key", "model", "provider_name"], name="usage_daily_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.key_name} {self.model}"


class StaleDay(models.Model):
    """A mark that records were added to a day. The roll-up that takes it sums that day anew.

    Every batch leaves marks of its own in its own transaction, and none is ever shared:
    so no record is missed, and no writer waits for a roll-up.
    """

    day = models.DateField()

    def __str__(self) -> str:
        return str(self.day)


class SpoolCursor(models.Model):
    """How far a segment of a spool has been written to the database."""

    segment = models.UUIDField(primary_key=True)
    position = models.PositiveBigIntegerField()

    def __str__(self) -> str:
        return f"{self.segment} at {self.position}"


class QuarantinedRecord(models.Model):
    """A spooled record that the database refused. Kept as it was, with the reason."""

    #: SHA-256 of `raw`, so that a replay does not keep it twice.
    digest = models.CharField(max_length=64, unique=True, editable=False)
    raw = models.BinaryField()
    reason = models.TextField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.created_at:%Y-%m-%d %H:%M} {self.reason[:60]}"


class Export(models.Model):
    """Who downloaded which part of the log, and how it ended."""

    class State(models.TextChoices):
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        FAILED = "failed", "Broken off"

    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="exports"
    )
    filters = models.JSONField(default=dict, help_text="The filters of the list, as in its URL.")
    state = models.CharField(max_length=8, choices=State, default=State.RUNNING)
    rows = models.PositiveBigIntegerField(default=0)
    started_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-started_at"]

    def __str__(self) -> str:
        return f"Export of {self.started_at:%Y-%m-%d %H:%M}"
