"""What people are told of: alerts, the webhooks that they go to, and each delivery."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from accounts.models import Budget, Team
from lib import encryption


class Webhook(models.Model):
    """Where alerts are sent, signed as Standard Webhooks asks (standardwebhooks.com)."""

    name = models.CharField(max_length=100, unique=True)
    url = models.CharField("URL", max_length=500)
    #: `whsec_…`, encrypted. Never shown again.
    sealed_secret = models.TextField(editable=False)
    team = models.ForeignKey(
        Team,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="webhooks",
        help_text="Only alerts about this team. Empty: all of them.",
    )
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def secret(self) -> str:
        """The plain secret. Raises `encryption.CannotDecrypt` if no configured key opens it."""
        return encryption.decrypt(self.sealed_secret)

    def seal(self, secret: str) -> None:
        """Replace the secret. The caller saves."""
        self.sealed_secret = encryption.encrypt(secret)


class Alert(models.Model):
    """Something that people were told once."""

    class Kind(models.TextChoices):
        THRESHOLD = "threshold", "Part of a budget used"
        SLOPE = "slope", "Unusual spending"
        RUN_OUT = "run_out", "Budget will run out early"
        DRIFT = "drift", "Sums do not agree"
        QUARANTINE = "quarantine", "A record was set aside"
        UNPRICED = "unpriced", "A model without a price was asked for"

    #: What it is the only one of, such as "threshold:7:2026-11-01:80".
    identity = models.CharField(max_length=150, unique=True)
    kind = models.CharField(max_length=12, choices=Kind)
    budget = models.ForeignKey(
        Budget, on_delete=models.SET_NULL, null=True, blank=True, related_name="alerts"
    )
    team = models.ForeignKey(
        Team, on_delete=models.SET_NULL, null=True, blank=True, related_name="alerts"
    )
    #: A sentence for people.
    text = models.CharField(max_length=500)
    #: The figures behind it, for programs.
    data = models.JSONField(default=dict)
    raised_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-raised_at"]

    def __str__(self) -> str:
        return self.text


class Delivery(models.Model):
    """One alert to one webhook or email address, and what became of it."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        DONE = "done", "Delivered"
        FAILED = "failed", "Given up"

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="deliveries")
    webhook = models.ForeignKey(
        Webhook, on_delete=models.CASCADE, null=True, blank=True, related_name="deliveries"
    )
    #: Where there is no webhook.
    email = models.EmailField(blank=True)
    state = models.CharField(max_length=8, choices=State, default=State.WAITING)
    tries = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(default=timezone.now)
    #: Why the last try failed: a status or the name of an error, never a body.
    trouble = models.CharField(max_length=200, blank=True)
    delivered_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "deliveries"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["alert", "webhook", "email"],
                name="usage_delivery_unique",
                nulls_distinct=False,
            )
        ]

    def __str__(self) -> str:
        return f"{self.alert} to {self.webhook or self.email}"
