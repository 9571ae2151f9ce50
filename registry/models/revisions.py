"""Every state that the configuration was in, who brought it about, and what is to come."""

from __future__ import annotations

import zlib

from django.conf import settings
from django.db import models
from django.utils import timezone


class RecordedRevision(models.Model):
    """What the configuration was after one change. Never changed; old ones lose their manifest."""

    class Origin(models.TextChoices):
        ADMIN = "admin", "Admin"
        MANIFEST = "manifest", "Manifest"
        COMMAND = "command", "Command"
        TASK = "task", "Task"

    #: From 1, without gaps, in the order in which they came into force.
    number = models.PositiveBigIntegerField(primary_key=True)
    made_at = models.DateTimeField("time", default=timezone.now)
    origin = models.CharField(max_length=8, choices=Origin)
    author = models.CharField(max_length=255)
    note = models.CharField(max_length=500, blank=True)
    #: What was changed, a sentence each.
    changes = models.JSONField(default=list)
    #: What was changed, by kind and name, a line each: "model gpt-4o". To find it by.
    objects_changed = models.TextField("changed", blank=True)
    #: The whole configuration as a manifest, without any secret, deflated. Null: purged.
    deflated = models.BinaryField(null=True)
    #: Rows by kind and name, with their numbers: whatever was renamed since can be found.
    rows = models.JSONField(default=dict)

    class Meta:
        verbose_name = "revision"
        ordering = ["-number"]
        permissions = [("restore_recordedrevision", "Can restore a revision")]

    def __str__(self) -> str:
        return f"revision {self.number}"

    @property
    def manifest(self) -> str | None:
        """The exported configuration; None if it was purged."""
        if self.deflated is None:
            return None
        return zlib.decompress(bytes(self.deflated)).decode()

    @staticmethod
    def deflate(manifest: str) -> bytes:
        return zlib.compress(manifest.encode(), 9)


class PreparedChange(models.Model):
    """A manifest that is to be applied once it is approved, and its time has come."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waits for approval"
        SCHEDULED = "scheduled", "Waits for its time"
        APPLIED = "applied", "In force"
        FAILED = "failed", "Failed"
        WITHDRAWN = "withdrawn", "Withdrawn"

    title = models.CharField(max_length=200)
    manifest = models.TextField(
        help_text="In YAML, as an export is. What it does not name is left alone."
    )
    starts_at = models.DateTimeField(
        "takes effect at", null=True, blank=True, help_text="Empty: as soon as it is approved."
    )
    state = models.CharField(
        max_length=10, choices=State, default=State.WAITING, editable=False, db_index=True
    )
    made_by = models.CharField(max_length=150, editable=False)
    made_at = models.DateTimeField(default=timezone.now, editable=False)
    approved_by = models.CharField(max_length=150, blank=True, editable=False)
    approved_at = models.DateTimeField(null=True, blank=True, editable=False)
    revision = models.ForeignKey(
        RecordedRevision, on_delete=models.SET_NULL, null=True, editable=False, related_name="+"
    )
    #: Why it could not be applied.
    trouble = models.TextField(blank=True, editable=False)

    class Meta:
        ordering = ["-made_at"]
        permissions = [("approve_preparedchange", "Can approve a prepared change")]

    def __str__(self) -> str:
        return self.title

    @property
    def needs_another(self) -> bool:
        """Whether somebody else than who made it has to approve it."""
        return bool(settings.COURIER_SECOND_APPROVER)
