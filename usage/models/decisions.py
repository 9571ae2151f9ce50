"""Why requests went as they did: one record each, beside the log and kept for a shorter time."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from usage.models.records import unconstrained


class Decision(models.Model):
    """Why one request went as it did. It is explained by `gateway.story`.

    A request that was refused before it was admitted is in no log, sum or bill: then this tells
    by itself who asked for what, and what the refusal was.
    """

    request_id = models.UUIDField(primary_key=True)
    recorded_at = models.DateTimeField(default=timezone.now)
    #: JSON, compact, as `gateway.decision` has written it. Text, for nobody looks inside by SQL.
    told = models.TextField()

    #: The code of the refusal. Empty: the request is in the log.
    refusal = models.CharField(max_length=48, blank=True, default="")
    status = models.PositiveSmallIntegerField(default=0)
    key = unconstrained("accounts.ApiKey", null=True)
    key_name = models.CharField("API key", max_length=100, blank=True, default="")
    team = unconstrained("accounts.Team", null=True)
    team_name = models.CharField("team", max_length=100, blank=True, default="")
    operation = models.CharField(max_length=24, blank=True, default="")
    model_asked = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        verbose_name = "refused request"
        ordering = ["-request_id"]
        indexes = [
            models.Index(
                fields=["-request_id"], condition=~Q(refusal=""), name="usage_decision_refused"
            ),
        ]

    def __str__(self) -> str:
        return str(self.request_id)
