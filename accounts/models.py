"""People, teams, API keys, and what each may use."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from registry.models import Managed


def everything() -> list[str]:
    """The default of a list of permissions: all. An empty list allows nothing."""
    return ["*"]


class User(AbstractUser):
    """A person who signs in."""


class Team(Managed):
    """People and keys that are counted together."""

    name = models.CharField(max_length=100, unique=True)
    members = models.ManyToManyField(
        settings.AUTH_USER_MODEL, through="Membership", related_name="teams"
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """One person's place in one team."""

    class Role(models.TextChoices):
        OWNER = "owner", "Owner"
        MEMBER = "member", "Member"

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships"
    )
    role = models.CharField(max_length=10, choices=Role, default=Role.MEMBER)

    class Meta:
        ordering = ["team", "user"]
        constraints = [
            models.UniqueConstraint(fields=["team", "user"], name="accounts_membership_unique")
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.team}"


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def usable(self, at: datetime | None = None) -> ApiKeyQuerySet:
        """Keys that open the gateway at that moment (now, if none is given)."""
        at = at or timezone.now()
        return self.filter(revoked_at=None, disabled_at=None).filter(
            Q(expires_at=None) | Q(expires_at__gt=at)
        )

    def opened_by(self, digests: list[str]) -> ApiKeyQuerySet:
        """Keys whose present or former secret has one of these digests."""
        return self.filter(Q(digest__in=digests) | Q(previous_digest__in=digests))


class ApiKey(Managed):
    """A secret that a client presents to the gateway.

    The secret is shown once, when the key is issued or rotated. Only an HMAC of it is
    kept, and its public id, so that people can tell their keys apart. After a rotation the
    former secret works until `previous_until`.
    """

    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="api_keys")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="api_keys",
        help_text="The person who answers for it, if it is anyone's own.",
    )
    name = models.CharField(max_length=100)
    public_id = models.CharField(max_length=16, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    previous_public_id = models.CharField(max_length=16, blank=True, editable=False)
    previous_digest = models.CharField(
        max_length=64, null=True, blank=True, unique=True, editable=False
    )
    previous_until = models.DateTimeField(null=True, blank=True, editable=False)
    allowed_models = models.JSONField(
        "allowed models",
        default=everything,
        blank=True,
        help_text="One per line; * is a wildcard. Empty allows nothing.",
    )
    allowed_endpoints = models.JSONField(
        "allowed endpoints",
        default=everything,
        blank=True,
        help_text="One per line, such as chat or embeddings; * allows all. Empty allows nothing.",
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    disabled_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["team", "name"],
                condition=Q(revoked_at=None),
                name="accounts_apikey_name_unique_in_team",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.public_id}…)"

    @property
    def state(self) -> str:
        """`usable`, `revoked`, `disabled` or `expired`."""
        if self.revoked_at:
            return "revoked"
        if self.disabled_at:
            return "disabled"
        if self.expires_at and self.expires_at <= timezone.now():
            return "expired"
        return "usable"


class Scoped(models.Model):
    """Something that holds for exactly one key, team or user."""

    key = models.ForeignKey(
        ApiKey, on_delete=models.CASCADE, null=True, blank=True, related_name="%(class)ss"
    )
    team = models.ForeignKey(
        Team, on_delete=models.CASCADE, null=True, blank=True, related_name="%(class)ss"
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="%(class)ss",
    )

    class Meta:
        abstract = True
        constraints = [
            models.CheckConstraint(
                condition=(
                    Q(key__isnull=False, team=None, user=None)
                    | Q(key=None, team__isnull=False, user=None)
                    | Q(key=None, team=None, user__isnull=False)
                ),
                name="%(app_label)s_%(class)s_one_scope",
            )
        ]

    @property
    def scope(self) -> ApiKey | Team | User | None:
        """The key, team or user that it holds for. None only before it is saved."""
        return self.key or self.team or self.user

    @property
    def manifest(self) -> str:
        """The manifest that its key or team comes from, and it with them."""
        return getattr(self.scope, "managed_by", "")


class RateLimit(Scoped):
    """So many requests or tokens per window, or so many requests at once."""

    class Metric(models.TextChoices):
        REQUESTS = "requests", "Requests"
        TOKENS = "tokens", "Tokens"
        CONCURRENCY = "concurrency", "Requests at the same time"

    class Window(models.IntegerChoices):
        SECOND = 1, "per second"
        MINUTE = 60, "per minute"
        HOUR = 3600, "per hour"
        DAY = 86400, "per day"

    metric = models.CharField(max_length=12, choices=Metric)
    window_s = models.PositiveIntegerField("window", choices=Window, default=Window.MINUTE)
    amount = models.PositiveBigIntegerField()

    class Meta(Scoped.Meta):
        constraints = [
            *Scoped.Meta.constraints,
            models.UniqueConstraint(
                fields=["key", "team", "user", "metric", "window_s"],
                name="accounts_ratelimit_unique",
                nulls_distinct=False,
            ),
        ]

    def __str__(self) -> str:
        window = "" if self.metric == self.Metric.CONCURRENCY else f" {self.get_window_s_display()}"
        return f"{self.amount} {self.get_metric_display().lower()}{window}"


class Budget(Scoped):
    """So many US dollars per period. Kept and shown; enforced by a later version."""

    class Period(models.TextChoices):
        DAY = "day", "Day"
        WEEK = "week", "Week"
        MONTH = "month", "Month"
        TOTAL = "total", "Once"

    amount = models.DecimalField(
        "amount in US dollars",
        max_digits=14,
        decimal_places=6,
        validators=[MinValueValidator(Decimal(0))],
    )
    period = models.CharField(max_length=8, choices=Period, default=Period.MONTH)
    hard = models.BooleanField(
        default=True, help_text="Refuse requests when it is used up, instead of only warning."
    )

    class Meta(Scoped.Meta):
        constraints = [
            *Scoped.Meta.constraints,
            models.UniqueConstraint(
                fields=["key", "team", "user", "period"],
                name="accounts_budget_unique",
                nulls_distinct=False,
            ),
        ]

    def __str__(self) -> str:
        return f"${self.amount.normalize():f} per {self.get_period_display().lower()}"
