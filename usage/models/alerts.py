"""What people are told of: alerts, the webhooks that they go to, and each delivery."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

from accounts.models import Budget, Team
from lib import encryption
from lib.encryption import Purpose
from lib.ids import uuid7
from registry import outbound


class Webhook(models.Model):
    """Where alerts are sent, signed as Standard Webhooks asks (standardwebhooks.com)."""

    name = models.CharField(max_length=100, unique=True)
    url = models.CharField("URL", max_length=500)
    #: `whsec_…`, encrypted. Never shown again.
    sealed_secret = models.TextField(editable=False)
    sealed_former_secret = models.TextField(blank=True, editable=False)
    #: Until then messages are signed with the former secret, too.
    former_until = models.DateTimeField(null=True, editable=False)
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

    def clean(self) -> None:
        try:
            outbound.check_webhook(self.url)
        except outbound.ForbiddenUpstream as error:
            raise ValidationError({"url": str(error)}) from error

    @property
    def host(self) -> str:
        """Where it leads, without a path or query, which may hold a secret of the receiver."""
        return urlsplit(self.url).netloc

    @property
    def secret(self) -> str:
        """The plain secret. Raises `encryption.CannotDecrypt` if no configured key opens it."""
        return encryption.decrypt(self.sealed_secret, Purpose.WEBHOOK_SECRET)

    @property
    def former_secret(self) -> str | None:
        """The secret before the last rotation, as long as messages are signed with it too."""
        if self.former_until is None or self.former_until <= timezone.now():
            return None
        return encryption.decrypt(self.sealed_former_secret, Purpose.WEBHOOK_SECRET)

    def seal(self, secret: str) -> None:
        """Replace the secret. The caller saves."""
        self.sealed_secret = encryption.encrypt(secret, Purpose.WEBHOOK_SECRET)

    def reseal(self) -> None:
        """Seal the same secrets with the first encryption key. Raises CannotDecrypt."""
        former = self.former_secret
        self.seal(self.secret)
        if former is not None:
            self.sealed_former_secret = encryption.encrypt(former, Purpose.WEBHOOK_SECRET)
        self.save(update_fields=["sealed_secret", "sealed_former_secret"])


class Alert(models.Model):
    """Something that people were told once."""

    class Kind(models.TextChoices):
        THRESHOLD = "threshold", "Part of a budget used"
        SLOPE = "slope", "Unusual spending"
        RUN_OUT = "run_out", "Budget will run out early"
        DRIFT = "drift", "Sums do not agree"
        QUARANTINE = "quarantine", "A record was set aside"
        UNPRICED = "unpriced", "A model without a price was asked for"
        STRAY = "stray", "Records without a partition of their day"
        KEY_OUT = "key_out", "An upstream key was refused"
        KEY_BUDGET = "key_budget", "Part of an upstream key's budget used"

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
        ordering = ["-raised_at", "-id"]

    def __str__(self) -> str:
        return self.text


class Delivery(models.Model):
    """One alert to one webhook or email address, and what became of it."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        DONE = "done", "Delivered"
        FAILED = "failed", "Given up"

    #: What a receiver tells repetitions by: the same in every try.
    message_id = models.UUIDField(default=uuid7, unique=True, editable=False)
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
        indexes = [
            models.Index(
                fields=["next_try_at"],
                condition=models.Q(state="waiting"),
                name="usage_delivery_waiting",
            )
        ]

    def __str__(self) -> str:
        return f"{self.alert} to {self.webhook or self.email}"
