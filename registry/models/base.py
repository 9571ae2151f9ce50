"""What models of the configuration have in common."""

from __future__ import annotations

import re
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F
from django.utils import timezone

from registry import revisions
from registry.capabilities import COUNTS, TRAITS, Capabilities

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


def _most(help_text: str) -> models.PositiveIntegerField[Any, Any]:
    """The most of something that a model takes or gives, if anybody has said."""
    return models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)], help_text=help_text
    )


def _known(verbose_name: str, help_text: str) -> models.BooleanField[Any, Any]:
    """Something that a model can do or not, if anybody has said."""
    return models.BooleanField(verbose_name, null=True, blank=True, help_text=help_text)


class Capable(models.Model):
    """What a model can do, as far as somebody has said. Empty: not known."""

    context_window = _most("Tokens of input and output together. Empty: not known.")
    output_limit = _most("Tokens of output in one answer. Empty: not known.")
    batch_limit = _most(
        "Inputs in one upstream call for embeddings or reranking; more are split. Empty: not known."
    )
    tools = _known("tools", "It calls functions that the client describes.")
    parallel_tools = _known("several tools at once", "More than one call in one answer.")
    vision = _known("images", "It reads images in messages.")
    documents = _known("documents", "It reads PDF files in messages.")
    audio_input = _known("audio input", "It hears sound in messages.")
    json_schema = _known("JSON schema", "Its answers keep to a schema that the client gives.")
    reasoning = _known("reasoning", "It thinks before it answers, as much as the client asks.")
    logprobs = _known("log probabilities", "It tells how probable each token was.")

    class Meta:
        abstract = True

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(**{name: getattr(self, name) for name in (*COUNTS, *TRAITS)})


class Revision(models.Model):
    """The number that changes with every change of the configuration. One row."""

    number = models.BigIntegerField(default=0)
    #: The newest `RecordedRevision`, and the number up to which changes are in it.
    recorded = models.BigIntegerField(default=0)
    covers = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.number)

    @staticmethod
    def bump() -> None:
        """Tell every process, as soon as this transaction commits, that something changed."""
        changed = Revision.objects.filter(pk=1).update(number=F("number") + 1)
        if not changed:
            Revision.objects.create(pk=1, number=1)
        revisions.changed()
