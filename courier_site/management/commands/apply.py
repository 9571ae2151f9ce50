"""Makes the configuration what a manifest says."""

from __future__ import annotations

from typing import Any

from courier_site import manifest
from courier_site.management.manifests import ManifestCommand


class Command(ManifestCommand):
    help = "Make the configuration what a manifest says, in one transaction, or change nothing."

    def handle(self, *args: Any, **options: Any) -> None:
        outcome = self.outcome(manifest.apply, options)
        for change in outcome.changes:
            self.stdout.write(change)
        for known in outcome.keys:
            if known.issued:
                self.stdout.write(f"API key {known.key.name}, shown only now: {known.secret}")
        if not outcome.changes:
            self.stdout.write("Nothing to change.")
