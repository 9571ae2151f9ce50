"""Providers, and the keys that Courier presents to them."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from lib import encryption
from lib.encryption import Purpose
from registry import options, outbound
from registry.kinds import DEFAULT_BASE_URLS, default_base_url, has_its_end, provider_kinds
from registry.models.base import Managed


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
    tls_timeout_s = models.FloatField(
        "TLS", default=5, validators=[MinValueValidator(0.01), MaxValueValidator(60)]
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
    drain_timeout_s = models.FloatField(
        "reading on",
        default=60,
        validators=[MinValueValidator(0), MaxValueValidator(3600)],
        help_text="How long an answer is read to its end after its client has left, in seconds.",
    )
    #: What only this kind of provider needs to know, such as a region. Never a secret.
    options = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def effective_base_url(self) -> str:
        return (self.base_url or default_base_url(self.kind, self.options)).rstrip("/")

    def clean_fields(self, exclude: Collection[str] | None = None) -> None:
        super().clean_fields(exclude)
        # The admin asks for each option in a field of its own, and checks it there.
        wrong = options.complaints(self.kind, self.options)
        if wrong and "options" not in (exclude or ()):
            raise ValidationError({"options": wrong})

    def clean(self) -> None:
        url = self.effective_base_url
        if not url and self.kind in DEFAULT_BASE_URLS:
            return  # For lack of an option, which is told at the option.
        if not url:
            raise ValidationError(
                {"base_url": "A provider of this kind needs the address of its server."}
            )
        if not has_its_end(self.kind, url):
            raise ValidationError(
                {"base_url": "The address is too long: the path of each call is added to it."}
            )
        try:
            outbound.check_url(url)
        except outbound.ForbiddenUpstream as error:
            raise ValidationError({"base_url": str(error)}) from error


#: Of upstream models, as providers name them: no spaces, * for any letters.
MODEL_PATTERN = r"[!-~]{1,200}"
MOST_PATTERNS = 100


def _most(help_text: str) -> models.PositiveIntegerField[Any, Any]:
    return models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=f"{help_text} Empty: any.",
    )


class UpstreamKey(models.Model):
    """A secret that Courier presents to a provider. Encrypted at rest; never shown again."""

    class Period(models.TextChoices):
        DAY = "day", "Day"
        MONTH = "month", "Month"
        TOTAL = "total", "Once and for all"

    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="keys")
    name = models.CharField(max_length=64, default="default")
    sealed_secret = models.TextField(editable=False)
    weight = models.PositiveIntegerField(default=1, validators=[MaxValueValidator(1000)])
    enabled = models.BooleanField(default=True)
    allowed_models = models.JSONField(
        "models",
        default=list,
        blank=True,
        help_text="Patterns of upstream models that this key may be used for. Empty: all.",
    )
    requests_per_minute = _most("Requests per minute at most, over all instances.")
    tokens_per_minute = _most("Tokens per minute at most, over all instances.")
    concurrency = _most("Requests at the same time at most, over all instances.")
    budget = models.DecimalField(
        "budget in US dollars",
        max_digits=14,
        decimal_places=2,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text="What may be spent with this key in a period, by the provider's prices.",
    )
    budget_period = models.CharField(
        max_length=8, choices=Period, default=Period.MONTH, help_text="In UTC."
    )
    #: Since when the provider refuses the key itself, and what it said: a code of an error.
    out_since = models.DateTimeField(null=True, editable=False)
    out_reason = models.CharField(max_length=64, blank=True, editable=False)
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

    def clean(self) -> None:
        told = self.allowed_models
        if not isinstance(told, list) or len(told) > MOST_PATTERNS:
            raise ValidationError({"allowed_models": f"Give {MOST_PATTERNS} patterns at most."})
        for pattern in told:
            if not isinstance(pattern, str) or not re.fullmatch(MODEL_PATTERN, pattern):
                raise ValidationError(
                    {"allowed_models": f"{pattern!r} is no model and no pattern of models."}
                )

    @property
    def secret(self) -> str:
        """The plain secret. Raises `encryption.CannotDecrypt` if no configured key opens it."""
        return encryption.decrypt(self.sealed_secret, Purpose.UPSTREAM_KEY)

    def seal(self, secret: str) -> None:
        """Replace the secret: the provider has refused another. The caller saves."""
        self.sealed_secret = encryption.encrypt(secret, Purpose.UPSTREAM_KEY)
        self.changed_at = timezone.now()
        self.out_since, self.out_reason = None, ""

    def reseal(self) -> None:
        """Seal the same secret with the first encryption key. Raises CannotDecrypt."""
        self.sealed_secret = encryption.encrypt(self.secret, Purpose.UPSTREAM_KEY)
        self.save(update_fields=["sealed_secret"])
