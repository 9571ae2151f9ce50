"""Runs that price a past period anew."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from usage.models.records import unconstrained


class RerateRun(models.Model):
    """A past period priced anew: first calculated and shown, and written once approved."""

    class State(models.TextChoices):
        WAITING = "waiting", "Being calculated"
        READY = "ready", "To be approved"
        APPROVED = "approved", "Being written"
        APPLIED = "applied", "Written"
        STOPPED = "stopped", "Stopped"

    first_day = models.DateField("from", help_text="In UTC.")
    last_day = models.DateField("to", help_text="Including that day.")
    model = models.CharField(max_length=200, blank=True, help_text="Empty: all models.")
    team = unconstrained("accounts.Team", null=True)
    state = models.CharField(max_length=8, choices=State, default=State.WAITING)
    #: Why it stopped, as a sentence.
    trouble = models.CharField(max_length=300, blank=True)
    #: Tells prices and markups from any others; what is approved is written with these or not.
    tariff = models.CharField(max_length=64, blank=True)
    #: For each team what it was charged, and what it would be. See `usage.rerating.TeamTotal`.
    totals = models.JSONField(default=list)
    #: The last request whose correction was written.
    position = models.UUIDField(null=True)
    #: How many corrections were written.
    written = models.PositiveBigIntegerField(default=0)
    made_by = models.CharField(max_length=150, blank=True)
    made_at = models.DateTimeField(default=timezone.now)
    approved_by = models.CharField(max_length=150, blank=True)
    #: The last sign of life of whoever works on it.
    touched_at = models.DateTimeField(null=True)
    applied_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "re-rating"
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.first_day} to {self.last_day}"
