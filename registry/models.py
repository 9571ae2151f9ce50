"""Providers, their keys, the models that clients may ask for, the routes between, and prices."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, cast

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import F, Q
from django.utils import timezone

from lib import encryption
from lib.encryption import Purpose
from registry import outbound
from registry.capabilities import COUNTS, TRAITS, Capabilities
from registry.kinds import DEFAULT_BASE_URLS, provider_kinds

#: What clients may put into a URL path and into logs: no spaces, no control characters.
MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]*\*?$"


def check_model_name(name: str) -> None:
    """Raise a ValidationError for the field `name` unless clients may ask for this name."""
    if name and not re.fullmatch(MODEL_NAME, name):
        raise ValidationError(
            {
                "name": "Begin with a letter or digit, then use letters, digits and . _ : / @ + - "
                "only. A * may stand at the end."
            }
        )


class Managed(models.Model):
    """Something that a manifest may have made; if so, people see it read-only."""

    managed_by = models.CharField(
        max_length=255,
        blank=True,
        editable=False,
        help_text="The manifest that this comes from. Empty if it was made in the admin.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True, editable=False)

    class Meta:
        abstract = True


def _known(verbose_name: str) -> models.BooleanField[Any, Any]:
    """Something that a model can do or not, if anybody has said."""
    return models.BooleanField(verbose_name, null=True, blank=True)


class Capable(models.Model):
    """What a model can do, as far as somebody has said. Empty: not known."""

    context_window = models.PositiveIntegerField(
        null=True, blank=True, help_text="Tokens of input and output together."
    )
    output_limit = models.PositiveIntegerField(
        null=True, blank=True, help_text="Tokens of output in one answer."
    )
    batch_limit = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Inputs in one upstream call for embeddings or reranking. More are split.",
    )
    tools = _known("tools")
    parallel_tools = _known("several tools at once")
    vision = _known("images")
    documents = _known("documents")
    audio_input = _known("audio input")
    json_schema = _known("JSON schema")
    reasoning = _known("reasoning")
    logprobs = _known("log probabilities")

    class Meta:
        abstract = True

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(**{name: getattr(self, name) for name in (*COUNTS, *TRAITS)})


class Provider(Managed):
    """An account at a vendor, or a server of one's own."""

    class OnDisconnect(models.TextChoices):
        CANCEL = "cancel", "Cancel the upstream request"
        DRAIN = "drain", "Read the answer to its end, for its usage"

    name = models.SlugField(max_length=64, unique=True, help_text="How routes refer to it.")
    kind = models.CharField(max_length=32, choices=provider_kinds)
    base_url = models.CharField(
        "base URL",
        max_length=500,
        blank=True,
        help_text="Such as https://llm.example.com/v1. Left empty, the kind's own is used.",
    )
    enabled = models.BooleanField(default=True)
    connect_timeout_s = models.FloatField(
        "connect", default=3, validators=[MinValueValidator(0.01), MaxValueValidator(60)]
    )
    first_byte_timeout_s = models.FloatField(
        "first byte", default=60, validators=[MinValueValidator(0.01), MaxValueValidator(3600)]
    )
    idle_timeout_s = models.FloatField(
        "between events", default=60, validators=[MinValueValidator(0.01), MaxValueValidator(3600)]
    )
    total_timeout_s = models.FloatField(
        "whole answer", default=600, validators=[MinValueValidator(0.01), MaxValueValidator(86400)]
    )
    on_disconnect = models.CharField(
        "when the client leaves",
        max_length=8,
        choices=OnDisconnect,
        default=OnDisconnect.CANCEL,
    )
    #: What only this kind of provider needs to know, such as a region. Never a secret.
    options = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def effective_base_url(self) -> str:
        return (self.base_url or DEFAULT_BASE_URLS.get(self.kind, "")).rstrip("/")

    def clean(self) -> None:
        url = self.effective_base_url
        if not url:
            raise ValidationError(
                {"base_url": "A provider of this kind needs the address of its server."}
            )
        try:
            outbound.check_url(url)
        except outbound.ForbiddenUpstream as error:
            raise ValidationError({"base_url": str(error)}) from error


class UpstreamKey(models.Model):
    """A secret that Courier presents to a provider. Encrypted at rest; never shown again."""

    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="keys")
    name = models.CharField(max_length=64, default="default")
    sealed_secret = models.TextField(editable=False)
    weight = models.PositiveIntegerField(default=1, validators=[MaxValueValidator(1000)])
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    changed_at = models.DateTimeField("secret changed", default=timezone.now, editable=False)

    class Meta:
        ordering = ["provider", "name"]
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "name"], name="registry_upstreamkey_name_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.provider.name} / {self.name}"

    @property
    def secret(self) -> str:
        """The plain secret. Raises `encryption.CannotDecrypt` if no configured key opens it."""
        return encryption.decrypt(self.sealed_secret, Purpose.UPSTREAM_KEY)

    def seal(self, secret: str) -> None:
        """Replace the secret. The caller saves."""
        self.sealed_secret = encryption.encrypt(secret, Purpose.UPSTREAM_KEY)
        self.changed_at = timezone.now()

    def reseal(self) -> None:
        """Seal the same secret with the first encryption key. Raises CannotDecrypt."""
        self.sealed_secret = encryption.encrypt(self.secret, Purpose.UPSTREAM_KEY)
        self.save(update_fields=["sealed_secret"])


class ServedModel(Managed, Capable):
    """A name that clients may ask for. Called "model" wherever people read it."""

    class Strategy(models.TextChoices):
        PRIORITY = "priority", "Fixed priority, then weight"

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
        help_text="A parameter that the provider's format has no place for.",
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
        max_length=200, help_text="The provider's own name for the model."
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
    #: Names of traits without whose certification the route is not used.
    requires_certified = models.JSONField(default=list, blank=True)

    class Meta:
        ordering = ["model", "priority", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["model", "provider", "upstream_model"], name="registry_route_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.model.name} → {self.provider.name} / {self.upstream_model}"


class Certification(models.Model):
    """One run of the conformance suite against a provider's model. Never changed afterwards."""

    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="certifications")
    upstream_model = models.CharField(max_length=200)
    started_at = models.DateTimeField(default=timezone.now)
    #: Empty while it runs.
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-started_at"]
        indexes = [models.Index(fields=["provider", "upstream_model", "-started_at"])]

    def __str__(self) -> str:
        return f"{self.provider.name} / {self.upstream_model}, {self.started_at:%Y-%m-%d %H:%M}"


class CertifiedTrait(models.Model):
    """One cell of the matrix: what a run found out about one trait."""

    class Verdict(models.TextChoices):
        PASSED = "passed", "Passed"
        FAILED = "failed", "Failed"
        SKIPPED = "skipped", "Not tried"

    certification = models.ForeignKey(
        Certification, on_delete=models.CASCADE, related_name="traits"
    )
    trait = models.CharField(max_length=32)
    verdict = models.CharField(max_length=8, choices=Verdict)
    #: Why, in a sentence. Never a secret, nor an upstream's raw words.
    detail = models.CharField(max_length=500, blank=True)
    elapsed_ms = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["certification", "trait"], name="registry_certifiedtrait_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.trait}: {self.verdict}"


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


class Revision(models.Model):
    """The number that changes with every change of the configuration. One row."""

    number = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.number)

    @staticmethod
    def bump() -> None:
        """Tell every process, as soon as this transaction commits, that something changed."""
        changed = Revision.objects.filter(pk=1).update(number=F("number") + 1)
        if not changed:
            Revision.objects.create(pk=1, number=1)
