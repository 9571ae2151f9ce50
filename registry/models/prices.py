"""What models cost, and from when on."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, cast

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone

from registry.models.served import Route, ServedModel


class PriceQuerySet(models.QuerySet["Price"]):
    def standing(self) -> PriceQuerySet:
        """Without those that were withdrawn."""
        return self.filter(withdrawn_at=None)


def _figure(verbose_name: str, help_text: str) -> models.DecimalField[Any, Any]:
    """A figure of a price that may be left out."""
    return models.DecimalField(
        verbose_name,
        max_digits=12,
        decimal_places=6,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text=help_text,
    )


class Price(models.Model):
    """What a model, or one route of it, costs from a moment on.

    US dollars per million tokens, and per request, image and search unit. Three states: a
    price row with figures, a row marked free, and no row at all, which means that the price
    is unknown (never zero).

    A row that has begun is never changed, for requests may have been charged by it, and their
    records name it. To change it withdraws it and puts another row in its place; to delete
    it withdraws it.
    """

    model = models.ForeignKey(ServedModel, on_delete=models.CASCADE, related_name="prices")
    route = models.ForeignKey(
        Route,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="prices",
        help_text="Only what this route answers has this price. Empty: all that have none.",
    )
    starts_at = models.DateTimeField("valid from", default=timezone.now)
    free = models.BooleanField(default=False)
    input = models.DecimalField(
        max_digits=12, decimal_places=6, default=Decimal(0), validators=[MinValueValidator(0)]
    )
    cached_input = _figure("cached input", "Empty: as input.")
    cache_write = _figure("cache write, 5 minutes", "Empty: as input.")
    cache_write_1h = _figure("cache write, 1 hour", "Empty: as the write for 5 minutes.")
    output = models.DecimalField(
        max_digits=12, decimal_places=6, default=Decimal(0), validators=[MinValueValidator(0)]
    )
    reasoning = _figure("reasoning", "Empty: as output.")
    audio_input = _figure("audio input", "Empty: as input.")
    audio_output = _figure("audio output", "Empty: as output.")
    request = _figure("per request", "US dollars for each. Empty: nothing.")
    image = _figure("per image", "US dollars for each. Empty: nothing.")
    search_unit = _figure("per search unit", "US dollars for each. Empty: nothing.")
    source = models.CharField(
        max_length=100,
        blank=True,
        editable=False,
        help_text="The price list that it was taken from. Empty: a person entered it.",
    )
    #: No request is charged by it from then on. Kept for those that were.
    withdrawn_at = models.DateTimeField("withdrawn", null=True, editable=False)

    objects = PriceQuerySet.as_manager()

    #: All figures, in the order in which people read them.
    FIGURES = (
        "input",
        "cached_input",
        "cache_write",
        "cache_write_1h",
        "output",
        "reasoning",
        "audio_input",
        "audio_output",
        "request",
        "image",
        "search_unit",
    )

    class Meta:
        ordering = ["model", "-starts_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["model", "route", "starts_at"],
                name="registry_price_one_per_start",
                condition=Q(withdrawn_at=None),
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                condition=Q(input__gte=0, output__gte=0)
                & (Q(cached_input=None) | Q(cached_input__gte=0))
                & (Q(cache_write=None) | Q(cache_write__gte=0))
                & (Q(cache_write_1h=None) | Q(cache_write_1h__gte=0))
                & (Q(reasoning=None) | Q(reasoning__gte=0))
                & (Q(audio_input=None) | Q(audio_input__gte=0))
                & (Q(audio_output=None) | Q(audio_output__gte=0))
                & (Q(request=None) | Q(request__gte=0))
                & (Q(image=None) | Q(image__gte=0))
                & (Q(search_unit=None) | Q(search_unit__gte=0)),
                name="registry_price_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model.name} from {self.starts_at:%Y-%m-%d}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        before = Price.objects.filter(pk=self.pk).first() if self.pk else None
        with transaction.atomic():
            if before and before.has_begun and self._differs_from(before):
                before.withdraw()
                self.pk = None
                self._state.adding = True
                self.source = ""
            super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete it; one that has begun is kept, withdrawn."""
        if not self.has_begun:
            return super().delete(*args, **kwargs)
        self.withdraw()
        return 0, {}

    def clean(self) -> None:
        if self.free and any(getattr(self, name) for name in self.FIGURES):
            raise ValidationError({"free": "A free model has no figures: clear them, or untick."})
        if self.route is not None and self.route.model_id != self.model_id:
            raise ValidationError({"route": "This is a route of another model."})
        place = {"model": self.model_id, "route": self.route_id, "starts_at": self.starts_at}
        if Price.objects.standing().filter(**place).exclude(pk=self.pk).exists():
            raise ValidationError({"starts_at": "Another price begins at the same moment."})

    @property
    def has_begun(self) -> bool:
        return self.starts_at <= timezone.now()

    def withdraw(self) -> None:
        self.withdrawn_at = timezone.now()
        super().save(update_fields=["withdrawn_at"])

    def _differs_from(self, other: Price) -> bool:
        names = ("model_id", "route_id", "starts_at", "free", *self.FIGURES)
        return any(getattr(self, name) != getattr(other, name) for name in names)

    @classmethod
    def label(cls, figure: str) -> str:
        """A figure's name for people."""
        return str(cast("models.Field[Any, Any]", cls._meta.get_field(figure)).verbose_name)
