"""People and the teams that they are in."""

from __future__ import annotations

import zoneinfo
from decimal import Decimal

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from registry.models import Managed


def check_time_zone(name: str) -> None:
    """Raise a ValidationError unless this is the name of a time zone, such as Asia/Seoul."""
    if name not in zoneinfo.available_timezones():
        raise ValidationError(
            "Enter a time zone by its name, such as UTC, Asia/Seoul or Europe/Berlin."
        )


class User(AbstractUser):
    """A person who signs in."""


class Team(Managed):
    """People and keys that are counted together."""

    name = models.CharField(max_length=100, unique=True)
    time_zone = models.CharField(
        "time zone",
        max_length=64,
        default="UTC",
        validators=[check_time_zone],
        help_text="Where its days, weeks and months begin: of budgets, reports and statements.",
    )
    markup_percent = models.DecimalField(
        "markup in percent",
        max_digits=6,
        decimal_places=2,
        default=Decimal(0),
        validators=[MinValueValidator(Decimal(-100)), MaxValueValidator(Decimal(1000))],
        help_text="Added to the price of every request. Negative: a discount.",
    )
    archived_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Its keys open nothing since."
    )
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
