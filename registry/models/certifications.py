"""What runs of the conformance suite found out about providers' models."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from registry.models.providers import Provider


class Certification(models.Model):
    """One run of the conformance suite against a provider's model. Never changed afterwards."""

    class Task(models.TextChoices):
        CHAT = "chat", "Chat"
        EMBEDDINGS = "embeddings", "Embeddings"

    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="certifications")
    upstream_model = models.CharField(max_length=200)
    task = models.CharField(max_length=16, choices=Task, default=Task.CHAT)
    #: Empty: the nightly run.
    asked_by = models.CharField(max_length=150, blank=True)
    #: Whether whoever asked has agreed that the provider's rate limit is provoked.
    provokes = models.BooleanField(default=False)
    started_at = models.DateTimeField(default=timezone.now)
    #: When its worker last gave a sign of life. Empty while it waits for one.
    heard_at = models.DateTimeField(null=True)
    #: Empty until it is done.
    finished_at = models.DateTimeField(null=True)
    input_tokens = models.PositiveIntegerField(default=0)
    output_tokens = models.PositiveIntegerField(default=0)
    #: What the provider charges for it. Empty: its price is not known.
    cost_nano = models.BigIntegerField(null=True)

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
