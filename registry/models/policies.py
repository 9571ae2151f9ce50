"""Rules for routing that hold beside a model's own strategy."""

from __future__ import annotations

from collections.abc import Collection

from django.core.exceptions import ValidationError
from django.db import models

from registry import policies
from registry.models.base import Managed


class RoutingPolicy(Managed):
    """When its conditions hold, its actions narrow or reorder the routes of a request."""

    name = models.CharField(max_length=64, unique=True)
    description = models.CharField(max_length=300, blank=True)
    enabled = models.BooleanField(default=True)
    position = models.PositiveSmallIntegerField(
        default=100, help_text="Policies are looked at in this order; the lowest comes first."
    )
    conditions = models.JSONField(
        default=dict, blank=True, help_text="All of them must hold. None: it always holds."
    )
    actions = models.JSONField(default=dict)

    class Meta:
        verbose_name_plural = "routing policies"
        ordering = ["position", "name"]

    def __str__(self) -> str:
        return self.name

    def clean_fields(self, exclude: Collection[str] | None = None) -> None:
        super().clean_fields(exclude)
        wrong = policies.complaints(self.conditions, self.actions)
        # The admin asks for each condition and action in a field of its own, and checks it there.
        told = {name: those for name, those in wrong.items() if name not in (exclude or ())}
        if told:
            raise ValidationError(dict(told))
