"""API keys: what clients present, and what each may use."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models.limits import Plan
from accounts.models.people import Team
from registry.models import Managed


def everything() -> list[str]:
    """The default of a list of permissions: all. An empty list allows nothing."""
    return ["*"]


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
    plan = models.ForeignKey(
        Plan,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="api_keys",
        help_text="Limits and budgets that hold where the key has none of its own.",
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
    #: Out of sight, and kept: its usage goes on to tell its name.
    archived_at = models.DateTimeField(null=True, blank=True, editable=False)

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
        """`usable`, `archived`, `revoked`, `disabled` or `expired`."""
        if self.archived_at:
            return "archived"
        if self.revoked_at:
            return "revoked"
        if self.disabled_at:
            return "disabled"
        if self.expires_at and self.expires_at <= timezone.now():
            return "expired"
        return "usable"
