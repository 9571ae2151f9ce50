"""What became of spooled records: how far they were read, what made no row, what was purged."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


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


class PurgeReceipt(models.Model):
    """What retention removed. It stays, and keeps a purged request from being written again."""

    class Kind(models.TextChoices):
        RECORDS = "records", "Requests"
        ATTEMPTS = "attempts", "Upstream attempts"
        ADJUSTMENTS = "adjustments", "Adjustments"
        HOURLY = "hourly", "Hourly sums"
        EXPORTS = "exports", "Files of exports"
        DECISIONS = "decisions", "Decision records"

    kind = models.CharField("what", max_length=12, choices=Kind)
    #: In UTC, both included.
    first_day = models.DateField("from")
    last_day = models.DateField("to")
    rows = models.PositiveBigIntegerField()
    purged_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-purged_at", "-id"]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {self.first_day} to {self.last_day}"
