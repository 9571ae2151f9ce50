"""The models that clients may ask for, their other names, and the routes that serve them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from registry.models.base import Capable, Managed, check_model_name
from registry.models.providers import Provider
from registry.traits import TRAITS


class ServedModel(Managed, Capable):
    """A name that clients may ask for. Called "model" wherever people read it."""

    class Strategy(models.TextChoices):
        PRIORITY = "priority", "Fixed priority, then weight"
        WEIGHTED = "weighted", "Weight alone; priorities are ignored"
        LEAST_LATENCY = "least_latency", "Least latency"
        LEAST_COST = "least_cost", "Least cost"
        LEAST_BUSY = "least_busy", "Least busy"
        MOST_QUOTA = "most_quota", "Most quota left"

    class Stickiness(models.TextChoices):
        NONE = "none", "None"
        SESSION = "session", "Each session to one route"

    class OnUnsupported(models.TextChoices):
        DROP = "drop", "Leave it out, and say so in a header"
        REFUSE = "refuse", "Refuse the request"

    name = models.CharField(
        max_length=200,
        unique=True,
        help_text="What clients ask for. May contain slashes.",
    )
    description = models.CharField(max_length=300, blank=True)
    enabled = models.BooleanField(default=True)
    strategy = models.CharField(max_length=32, choices=Strategy, default=Strategy.PRIORITY)
    stickiness = models.CharField(
        max_length=16,
        choices=Stickiness,
        default=Stickiness.NONE,
        help_text="The session is what the client names (x-courier-session, prompt_cache_key, "
        "user), or else how its conversation begins.",
    )
    max_attempts = models.PositiveSmallIntegerField(
        default=3,
        validators=[MinValueValidator(1), MaxValueValidator(10)],
        help_text="Upstream calls per request at most, over all routes.",
    )
    on_unsupported = models.CharField(
        "what a route cannot do",
        max_length=8,
        choices=OnUnsupported,
        default=OnUnsupported.DROP,
        help_text="A parameter that the provider's format has no place for, or something in the "
        "request, such as an image, that no route can read.",
    )

    context_fallbacks = models.JSONField(
        default=list,
        blank=True,
        help_text="Names of models that are tried where a request is too long for this one.",
    )
    content_fallbacks = models.JSONField(
        default=list,
        blank=True,
        help_text="Names of models that are tried where this one's provider refuses the content.",
    )

    class Meta:
        verbose_name = "model"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        check_model_name(self.name)
        taken = Alias.objects.filter(name=self.name).exclude(model=self.pk).select_related("model")
        for alias in taken:
            raise ValidationError({"name": f"The model “{alias.model}” has this name as an alias."})
        for field in ("context_fallbacks", "content_fallbacks"):
            if wrong := _wrong_with(getattr(self, field), self.name):
                raise ValidationError({field: wrong})

    @staticmethod
    def unknown(names: Sequence[str]) -> list[str]:
        """Those of the names that no model has; one with a wildcard is no model to fall back to."""
        known = set(ServedModel.objects.filter(name__in=names).values_list("name", flat=True))
        return [name for name in names if name not in known or "*" in name]


def _wrong_with(names: Any, own: str) -> str:
    """What is wrong with a list of models to fall back to; empty if nothing is."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return "It is a list of names of models."
    if own in names:
        return "A model does not fall back to itself."
    return "Name each model once." if len(set(names)) < len(names) else ""


class Alias(models.Model):
    """Another name for a served model."""

    name = models.CharField(max_length=200, unique=True)
    model = models.ForeignKey(ServedModel, on_delete=models.CASCADE, related_name="aliases")

    class Meta:
        verbose_name_plural = "aliases"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        check_model_name(self.name)
        if "*" in self.name:
            raise ValidationError({"name": "Only the name of a model may end in a wildcard."})
        if ServedModel.objects.filter(name=self.name).exclude(pk=self.model_id).exists():
            raise ValidationError({"name": "Another model has this name itself."})


class Route(Capable):
    """One way to serve a model: a provider, and its own name for the model."""

    model = models.ForeignKey(ServedModel, on_delete=models.CASCADE, related_name="routes")
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="routes")
    upstream_model = models.CharField(
        max_length=200,
        help_text="The provider's own name for the model. A * stands for what the wildcard of the "
        "model's name stands for.",
    )
    priority = models.PositiveSmallIntegerField(
        default=0, help_text="0 is tried first; the next is the fallback."
    )
    weight = models.PositiveIntegerField(
        default=1,
        validators=[MaxValueValidator(1000)],
        help_text="Share among the routes of one priority.",
    )
    enabled = models.BooleanField(default=True)
    requires_certified = models.JSONField(
        default=list,
        blank=True,
        help_text="Without the newest certification having passed each of these, "
        "the route is not used.",
    )

    class Meta:
        ordering = ["model", "priority", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["model", "provider", "upstream_model"], name="registry_route_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.model.name} → {self.provider.name} / {self.upstream_model}"

    def clean(self) -> None:
        demanded = self.requires_certified
        if not isinstance(demanded, list) or any(name not in TRAITS for name in demanded):
            known = ", ".join(TRAITS)
            raise ValidationError({"requires_certified": f"It is a list of: {known}."})
