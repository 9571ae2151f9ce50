"""What happened: one record per request, one per upstream attempt, and corrections. Append-only."""

from __future__ import annotations

import datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Count, Q, Sum
from django.utils import timezone

from lib.ids import lowest_at

#: A client that leaves is not a failure: nothing was wrong on this side of the wire.
ANSWERED = ("ok", "client_disconnected")
FAILED = ~Q(outcome__in=ANSWERED)


def unconstrained(to: str, *, null: bool = False) -> models.ForeignKey[Any, Any]:
    """A reference that outlives what it refers to: the log keeps its own names."""
    return models.ForeignKey(
        to,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=null,
        related_name="+",
    )


class Dimensions(models.Model):
    """By whom, through what. Names are as of the call; ids have no constraint."""

    team = unconstrained("accounts.Team")
    team_name = models.CharField("team", max_length=100)
    #: Null where the key is nobody's own.
    user = unconstrained(settings.AUTH_USER_MODEL, null=True)
    user_name = models.CharField("user", max_length=150, blank=True)
    key = unconstrained("accounts.ApiKey")
    key_name = models.CharField("API key", max_length=100)
    model = models.CharField(max_length=200)
    provider_name = models.CharField("provider", max_length=64, blank=True)

    class Meta:
        abstract = True

    #: What tells one row of an hour or day from another.
    KEYS = ("team", "user", "key", "model", "provider_name")
    NAMES = ("team_name", "user_name", "key_name")


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
        BUDGET = "budget", "Budget used up"

    request_id = models.UUIDField(primary_key=True)
    #: In UTC, taken from the request id, so that a replay meets the same row.
    day = models.DateField()
    started_at = models.DateTimeField()
    recorded_at = models.DateTimeField(default=timezone.now)

    key = unconstrained("accounts.ApiKey")
    key_name = models.CharField("API key", max_length=100)
    team = unconstrained("accounts.Team")
    team_name = models.CharField("team", max_length=100)
    user = unconstrained(settings.AUTH_USER_MODEL, null=True)
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
    cache_write_1h_tokens = models.PositiveBigIntegerField(default=0)
    audio_input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField()
    reasoning_tokens = models.PositiveBigIntegerField()
    audio_output_tokens = models.PositiveBigIntegerField(default=0)
    images = models.PositiveIntegerField(default=0)
    search_units = models.PositiveIntegerField(default=0)
    usage_source = models.CharField(max_length=10, choices=Source)
    #: What the team is charged, in billionths of a US dollar: the provider's cost with the
    #: team's markup. Null where the price is unknown, which is not zero.
    cost_nano = models.PositiveBigIntegerField(null=True)
    #: The same before the markup.
    provider_cost_nano = models.PositiveBigIntegerField(null=True)
    #: The team's markup at the call, in hundredths of a percent. Negative: a discount.
    markup_bp = models.IntegerField(default=0)
    price = unconstrained("registry.Price", null=True)

    first_token_ms = models.PositiveIntegerField(null=True)
    total_ms = models.PositiveIntegerField()
    outcome = models.CharField(max_length=48)
    end_reason = models.CharField(max_length=12, choices=EndReason)
    status = models.PositiveSmallIntegerField()
    client_request_id = models.CharField(max_length=64, blank=True)
    trace_id = models.CharField(max_length=32, blank=True)
    #: Labels of the request, sorted, with commas between. None has a comma in it.
    tags = models.CharField(max_length=300, blank=True, default="")

    #: That of the configuration which it was served under. Null in records from before there were.
    revision = models.PositiveBigIntegerField(null=True)

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
                fields=["end_reason", "-request_id"],
                condition=~Q(outcome="ok"),
                name="usage_record_ended",
            ),
            models.Index(
                fields=["client_request_id"],
                condition=~Q(client_request_id=""),
                name="usage_record_client_id",
            ),
        ]

    def __str__(self) -> str:
        return str(self.request_id)


class UsageAttempt(models.Model):
    """One attempt of a request: where it went, how it ended, and what it cost.

    What failed attempts cost is told here and nowhere else: a request is charged for the
    attempt that answered, and attempts are never summed into anybody's bill.
    """

    pk = models.CompositePrimaryKey("request_id", "number")
    request_id = models.UUIDField()
    #: From 1, in the order in which they were made.
    number = models.PositiveSmallIntegerField()
    started_at = models.DateTimeField()
    recorded_at = models.DateTimeField(default=timezone.now)
    key = unconstrained("accounts.ApiKey")
    team = unconstrained("accounts.Team")
    model_served = models.CharField(max_length=200)
    provider_name = models.CharField("provider", max_length=64)
    upstream_model = models.CharField(max_length=200)
    route = unconstrained("registry.Route", null=True)
    upstream_key = unconstrained("registry.UpstreamKey", null=True)
    #: `ok`, or the code of the error that ended it.
    outcome = models.CharField(max_length=48)
    #: Whether the client received its answer. What was not received was spent for nothing.
    received = models.BooleanField()
    #: Requests that were sent for it: a batch is sent in parts, and what a dead connection has
    #: lost is sent again. The database knows the default: an older version may write beside.
    calls = models.PositiveIntegerField(db_default=1)
    input_tokens = models.PositiveBigIntegerField()
    output_tokens = models.PositiveBigIntegerField()
    usage_source = models.CharField(max_length=10, choices=UsageRecord.Source)
    #: What the provider charges, without markup. Null where that is unknown.
    cost_nano = models.PositiveBigIntegerField(null=True)
    price = unconstrained("registry.Price", null=True)
    total_ms = models.PositiveIntegerField()

    class Meta:
        verbose_name = "upstream attempt"
        ordering = ["request_id", "number"]
        indexes = [
            # What a key has spent is read from the index alone.
            models.Index(
                fields=["upstream_key", "request_id"],
                include=["cost_nano"],
                name="usage_attempt_key",
            )
        ]

    def __str__(self) -> str:
        return f"{self.request_id} attempt {self.number}"


class UsageAdjustment(Dimensions):
    """A correction of one record, as signed differences. The record itself is never changed.

    It counts in the hour of the request that it corrects, and carries that request's names,
    so that sums need no look at the record.
    """

    class Reason(models.TextChoices):
        LATE_CLOSE = "late_close", "Better figures came late"
        RERATE = "rerate", "Priced anew"
        MANUAL = "manual", "Entered by a person"

    #: What it is the only one of, such as "rerate:7:<request id>": a replay adds nothing.
    identity = models.CharField(max_length=100, unique=True)
    request_id = models.UUIDField()
    #: When the request that it corrects came in.
    started_at = models.DateTimeField()
    recorded_at = models.DateTimeField(default=timezone.now)
    reason = models.CharField(max_length=10, choices=Reason)
    note = models.CharField(max_length=300, blank=True)
    made_by = models.CharField(max_length=150, blank=True)
    tags = models.CharField(max_length=300, blank=True, default="")
    input_tokens = models.BigIntegerField(default=0)
    cached_input_tokens = models.BigIntegerField(default=0)
    cache_write_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)
    images = models.BigIntegerField(default=0)
    cost_nano = models.BigIntegerField(default=0)
    provider_cost_nano = models.BigIntegerField(default=0)
    #: -1 where it gives a price to a request whose cost was unknown.
    unpriced = models.SmallIntegerField(default=0)
    price = unconstrained("registry.Price", null=True)

    class Meta:
        verbose_name = "adjustment"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["request_id"], name="usage_adjustment_request"),
            models.Index(fields=["started_at"], name="usage_adjustment_started"),
        ]

    def __str__(self) -> str:
        return f"{self.get_reason_display()}: {self.request_id}"


class TeamTag(models.Model):
    """A label that a team has used. There is a bound on how many it may have."""

    team = unconstrained("accounts.Team")
    tag = models.CharField(max_length=36)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["team", "tag"], name="usage_teamtag_unique")]

    def __str__(self) -> str:
        return self.tag
