"""What staff do in a partial outage: for a while, and never by changing the configuration."""

from __future__ import annotations

from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

from registry.models.providers import Provider
from registry.models.served import Route

LONGEST = timedelta(days=7)


class Intervention(models.Model):
    """Until a moment, a provider or a route is used alone, or not at all, or is tried again."""

    class Kind(models.TextChoices):
        DRAIN = "drain", "Drain: no new requests"
        PIN = "pin", "Pin: of its models' routes only this"
        TRY_AGAIN = "try_again", "Try again now: end its pauses"

    kind = models.CharField("what", max_length=16, choices=Kind, default=Kind.DRAIN)
    provider = models.ForeignKey(
        Provider,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="interventions",
        help_text="All of its routes.",
    )
    route = models.ForeignKey(
        Route,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="interventions",
        help_text="Or this route only.",
    )
    until = models.DateTimeField(help_text="In UTC. Then it ends by itself; seven days at most.")
    reason = models.CharField(max_length=200, blank=True, help_text="For those who come later.")
    begun_by = models.CharField(max_length=150, blank=True, editable=False)
    begun_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-begun_at"]

    def __str__(self) -> str:
        return f"{self.get_kind_display().split(':')[0]} {self.route or self.provider}"

    @property
    def is_in_force(self) -> bool:
        return self.until > timezone.now()

    def clean(self) -> None:
        if (self.provider is None) == (self.route is None):
            raise ValidationError("Name a provider or a route: one of the two.")
        if self.until and not timezone.now() < self.until <= timezone.now() + LONGEST:
            raise ValidationError({"until": "Enter a moment to come, within seven days."})
